//! A form from JSON Schemas: each param of a dag becomes a field, and what was typed becomes JSON again.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::model::{
    schema::{Effort, Schema},
    spec::ParamSpec,
};

/// A field of the form.
#[derive(Debug, Clone, Default)]
pub struct Field {
    /// The param's name.
    pub name: String,
    /// The `id` of its element.
    pub id: String,
    /// The `name` of its element.
    pub input: String,
    pub help: Option<String>,
    /// `text`, `number`, `date`, `boolean`, `choice` or `json`.
    pub kind: &'static str,
    pub value: String,
    pub choices: Vec<String>,
    pub step: &'static str,
    pub least: Option<String>,
    pub most: Option<String>,
    pub required: bool,
    pub error: Option<String>,
    schema: Value,
    has_default: bool,
}

impl Field {
    fn new(param: &ParamSpec) -> Self {
        let schema: Value = serde_json::from_str(&param.schema).unwrap_or(Value::Null);
        let default: Option<Value> = param.default.as_deref().and_then(|json| serde_json::from_str(json).ok());
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let only: Vec<&str> = types.iter().copied().filter(|name| *name != "null").collect();
        let choices: Vec<String> = match schema.get("enum") {
            Some(Value::Array(values)) => values.iter().filter(|value| !value.is_null()).map(shown).collect(),
            _ => Vec::new(),
        };
        let kind = match only.as_slice() {
            _ if !choices.is_empty() => "choice",
            ["string"] if schema.get("format").and_then(Value::as_str) == Some("date") => "date",
            ["string"] => "text",
            ["integer" | "number"] => "number",
            ["boolean"] => "boolean",
            _ => "json",
        };
        let bound = |name: &str| schema.get(name).filter(|value| value.is_number()).map(ToString::to_string);
        let value = match (&default, kind) {
            (None | Some(Value::Null), _) => String::new(),
            (Some(value), "json") => serde_json::to_string_pretty(value).unwrap_or_default(),
            (Some(value), _) => shown(value),
        };
        Self {
            id: format!("param-{}", param.name),
            input: format!("param.{}", param.name),
            help: schema.get("description").and_then(Value::as_str).map(str::to_owned),
            kind,
            value,
            choices,
            step: if only == ["integer"] { "1" } else { "any" },
            least: bound("minimum"),
            most: bound("maximum"),
            required: default.is_none() && types.len() == only.len(),
            error: None,
            name: param.name.clone(),
            has_default: default.is_some_and(|default| !default.is_null()),
            schema,
        }
    }

    /// Whether it may stay empty and nothing takes its place.
    pub fn is_optional(&self) -> bool {
        !self.required && !self.has_default
    }

    /// The JSON of what stands in the field; none: the dag's default is to be taken.
    fn json(&self) -> Result<Option<Value>, String> {
        let text = self.value.as_str();
        let value = match self.kind {
            "boolean" => Value::Bool(text == "true"),
            "choice" => match self.schema.get("enum").and_then(Value::as_array) {
                Some(values) if !text.is_empty() => values
                    .iter()
                    .find(|value| !value.is_null() && shown(value) == text)
                    .cloned()
                    .ok_or("choose one of the list")?,
                _ => return self.nothing(),
            },
            "text" if !text.is_empty() || self.has_default => Value::String(text.to_owned()),
            _ if text.trim().is_empty() => return self.nothing(),
            "number" => match serde_json::from_str(text.trim()) {
                Ok(number @ Value::Number(_)) => number,
                _ => return Err("write a number".into()),
            },
            "json" => serde_json::from_str(text).map_err(|error| format!("this is not JSON: {error}"))?,
            _ => Value::String(text.to_owned()),
        };
        let mut effort = Effort::default();
        match Schema::new(&self.schema, &mut effort) {
            Ok(schema) => schema.check(&value, &mut effort)?,
            // A schema that can't be used is told by the trigger, which refuses it.
            Err(error) => tracing::debug!(error = %error, "a param's schema can't be used"),
        }
        Ok(Some(value))
    }

    fn nothing(&self) -> Result<Option<Value>, String> {
        if self.required { Err("a value is needed".into()) } else { Ok(None) }
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The fields of `params`, filled with `conf` where it has a value and with the defaults where not.
pub fn fields(params: &[ParamSpec], conf: &Map<String, Value>) -> Vec<Field> {
    let filled = |param: &ParamSpec| {
        let mut field = Field::new(param);
        match conf.get(&param.name) {
            None | Some(Value::Null) => {}
            Some(value) if field.kind == "json" => {
                field.value = serde_json::to_string_pretty(value).unwrap_or_default();
            }
            Some(value) => field.value = shown(value),
        }
        field
    };
    params.iter().map(filled).collect()
}

/// Reads what was typed into the fields.
///
/// # Errors
/// The fields as they were typed, each wrong one with what is wrong.
pub fn read(params: &[ParamSpec], typed: &BTreeMap<String, String>) -> Result<Map<String, Value>, Vec<Field>> {
    let mut fields: Vec<Field> = params.iter().map(Field::new).collect();
    let mut conf = Map::new();
    let mut is_wrong = false;
    for field in &mut fields {
        field.value = typed.get(&field.input).cloned().unwrap_or_default();
        match field.json() {
            Ok(Some(value)) => {
                conf.insert(field.name.clone(), value);
            }
            Ok(None) => {}
            Err(error) => {
                field.error = Some(error);
                is_wrong = true;
            }
        }
    }
    if is_wrong { Err(fields) } else { Ok(conf) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn param(name: &str, schema: &Value, default: Option<Value>) -> ParamSpec {
        ParamSpec { name: name.into(), schema: schema.to_string(), default: default.map(|value| value.to_string()) }
    }

    fn params() -> Vec<ParamSpec> {
        vec![
            param("city", &json!({"type": "string", "title": "City"}), Some(json!("Seattle"))),
            param("days", &json!({"type": "integer", "minimum": 1, "maximum": 31}), None),
            param("mean", &json!({"type": "number"}), Some(json!(0.5))),
            param("dry", &json!({"type": "boolean"}), Some(json!(true))),
            param("unit", &json!({"enum": ["mm", "inch", 3]}), Some(json!("mm"))),
            param("from", &json!({"type": "string", "format": "date"}), None),
            param("extra", &json!({"type": "object"}), Some(json!({"a": 1}))),
            param("maybe", &json!({"type": ["string", "null"]}), None),
        ]
    }

    fn typed(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| (format!("param.{name}"), (*value).to_owned())).collect()
    }

    #[test]
    fn each_type_has_its_field() {
        let kinds: Vec<_> = fields(&params(), &Map::new()).iter().map(|field| (field.kind, field.required)).collect();
        let wanted = ["text", "number", "number", "boolean", "choice", "date", "json", "text"];
        assert_eq!(kinds.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), wanted);
        assert_eq!(kinds.iter().filter(|(_, required)| *required).count(), 2);
    }

    #[test]
    fn what_is_typed_becomes_json_of_the_right_type() {
        let typed = typed(&[
            ("city", "Bergen"),
            ("days", "3"),
            ("mean", "1.5"),
            ("unit", "3"),
            ("from", "2012-01-01"),
            ("extra", "{\"b\": [1]}"),
            ("maybe", ""),
        ]);
        let conf = read(&params(), &typed).unwrap();
        let wanted = json!({"city": "Bergen", "days": 3, "mean": 1.5, "dry": false, "unit": 3, "from": "2012-01-01",
            "extra": {"b": [1]}});
        assert_eq!(Value::Object(conf), wanted);
    }

    #[test]
    fn what_is_wrong_is_told_beside_its_field_and_stays_typed() {
        let typed = typed(&[("days", "40"), ("mean", "x"), ("unit", "mile"), ("extra", "{"), ("from", "")]);
        let fields = read(&params(), &typed).unwrap_err();
        let wrong: Vec<_> =
            fields.iter().filter(|field| field.error.is_some()).map(|field| field.name.as_str()).collect();
        assert_eq!(wrong, ["days", "mean", "unit", "from", "extra"]);
        assert_eq!(fields[1].value, "40");
    }
}
