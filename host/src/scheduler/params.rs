//! A run's params: the dag's defaults, overridden by what the trigger gave, checked against their schemas.

use serde_json::{Map, Value};

use crate::model::{
    schema::{Effort, Schema},
    spec::ParamSpec,
};

/// Checks that `conf`, over the defaults of `params`, fits their schemas.
///
/// Keys of `conf` that are no param are allowed, as in Airflow (`dag_run_conf_overrides_params`).
///
/// # Errors
/// The first param that is missing or does not fit its schema, named, with what the schema wants.
pub fn check(params: &[ParamSpec], conf: &Map<String, Value>) -> Result<(), String> {
    let mut effort = Effort::default();
    for param in params {
        let name = &param.name;
        let schema: Value = serde_json::from_str(&param.schema)
            .map_err(|error| format!("param `{name}`: its schema is not JSON: {error}"))?;
        let value = match (conf.get(name), &param.default) {
            (Some(given), _) => given.clone(),
            (None, Some(default)) => serde_json::from_str(default)
                .map_err(|error| format!("param `{name}`: its default is not JSON: {error}"))?,
            (None, None) => return Err(format!("param `{name}` has no default; give it a value")),
        };
        let schema = Schema::new(&schema, &mut effort)
            .map_err(|error| format!("param `{name}`: its schema can't be used: {error}"))?;
        schema.check(&value, &mut effort).map_err(|error| format!("param `{name}`: {error}"))?;
    }
    Ok(())
}

/// The params of a run whose `conf` was accepted, as a JSON object: the defaults, overridden by `conf`.
pub fn merged(params: &[ParamSpec], conf: &str) -> String {
    let mut merged: Map<String, Value> = serde_json::from_str(conf).unwrap_or_default();
    for param in params {
        if let Some(default) = &param.default
            && !merged.contains_key(&param.name)
            && let Ok(default) = serde_json::from_str(default)
        {
            merged.insert(param.name.clone(), default);
        }
    }
    Value::Object(merged).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn param(name: &str, schema: &Value, default: Option<Value>) -> ParamSpec {
        ParamSpec { name: name.into(), schema: schema.to_string(), default: default.map(|value| value.to_string()) }
    }

    fn conf(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_the_trigger_gives_overrides_the_default_and_unknown_keys_stay() {
        let params = [param("n", &json!({"type": "integer", "minimum": 1}), Some(json!(3)))];
        assert_eq!(check(&params, &conf(json!({}))), Ok(()));
        assert_eq!(check(&params, &conf(json!({"n": 7, "other": true}))), Ok(()));
        assert_eq!(merged(&params, "{}"), r#"{"n":3}"#);
        assert_eq!(merged(&params, r#"{"n":7,"other":true}"#), r#"{"n":7,"other":true}"#);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let params = [param("n", &json!({"type": "integer", "minimum": 1}), None)];
        assert!(check(&params, &conf(json!({}))).unwrap_err().contains("param `n` has no default; give it a value"));
        assert!(check(&params, &conf(json!({"n": 0}))).unwrap_err().contains("param `n`"));
        assert!(check(&params, &conf(json!({"n": "x"}))).unwrap_err().contains("param `n`"));
    }
}
