//! JSON Schemas of others, and values of others against them, within a bound of effort.
//!
//! Schemas come with uploads and from tasks, values from whoever triggers and answers, and both are looked at in the process that
//! everybody shares. A schema of some lines can keep a validator busy for hours: by patterns that backtrack, and by parts that
//! refer to each other twice each. So patterns are of the kind that takes linear time, and what a schema and a value can cost at
//! most is computed before the validator sees them.

use std::collections::{HashMap, HashSet};

use chrono::DateTime;
use jsonschema::{PatternOptions, ValidationError, Validator, error::ValidationErrorKind};
use percent_encoding::percent_decode_str;
use regex::RegexBuilder;
use serde_json::Value;

/// What may be spent: some tens of nanoseconds each.
const MAX_EFFORT: u64 = 20_000_000;
/// A part of a schema that is read, and a pattern that is compiled.
const PART: u64 = 100;
const PATTERN: u64 = 100_000;
/// A compiled pattern.
const MAX_PATTERN_BYTES: usize = 256 << 10;
/// Parts in each other, references followed: what reads them goes so deep.
const MAX_NESTING: u32 = 200;
/// As [`MAX_NESTING`], with parts that are looked at again deeper in the value.
const MAX_DEPTH: u32 = 400;
/// Values that are compared for equality at the price of one part.
const COMPARED: u64 = 4;
/// So many of the schemas of an `anyOf` are told of.
const MAX_WAYS: usize = 10;
/// How large a compiled pattern is, is found by doubling from here.
const LEAST_PATTERN_BYTES: usize = 512;
/// A pattern of so many bytes, when it is compiled, reads [`TEXT_BYTES`] at the price of one part: 360 microseconds were measured for one of
/// 256 KiB, the states of whose automaton are too many to be remembered.
const PATTERN_BYTES: usize = 32;
/// So much text of a value costs as much as a value of its own.
const TEXT_BYTES: u64 = 16;

/// What is left to be spent, on all schemas and values of one request.
#[derive(Debug, Clone)]
pub struct Effort(u64);

impl Default for Effort {
    fn default() -> Self {
        Self(MAX_EFFORT)
    }
}

impl Effort {
    fn spend(&mut self, effort: u64, what: &str) -> Result<(), String> {
        let left = self.0.checked_sub(effort);
        self.0 = left.ok_or_else(|| format!("{what}; make the schema simpler"))?;
        Ok(())
    }
}

/// A schema that can be used.
#[derive(Debug)]
pub struct Schema {
    json: Value,
    /// What each pattern costs for so much text.
    patterns: HashMap<String, u64>,
    validator: Validator,
}

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// If it is none, refers to something outside of itself, or would take too long to read.
    pub fn new(json: &Value, effort: &mut Effort) -> Result<Self, String> {
        let mut patterns = Vec::new();
        let parts = count(json, &mut patterns);
        let cost = parts.saturating_mul(PART).saturating_add(PATTERN.saturating_mul(patterns.len() as u64));
        effort.spend(cost, "the schema has too many parts and patterns")?;
        let patterns = patterns.into_iter().map(|pattern| Ok((pattern.to_owned(), weight(pattern)?)));
        let patterns = patterns.collect::<Result<HashMap<_, _>, String>>()?;
        Costs::new(json, None)?.walk(json, 0, &mut HashSet::new())?;
        let options = PatternOptions::regex().size_limit(4 * MAX_PATTERN_BYTES);
        let validator = jsonschema::options()
            .with_pattern_options(options)
            .should_validate_formats(true)
            .with_format("time", is_time)
            // To tell whether a value is one, it would be compiled.
            .with_format("regex", |_: &str| true)
            .build(json)
            .map_err(|error| error.to_string())?;
        Ok(Self { json: json.clone(), patterns, validator })
    }

    /// Whether `value` fits.
    ///
    /// # Errors
    /// If it does not, or it would take too long to say.
    pub fn check(&self, value: &Value, effort: &mut Effort) -> Result<(), String> {
        let (depth, units) = size(value);
        let each = Costs::new(&self.json, None)?.of(&self.json, depth, 0)?;
        effort.spend(each.saturating_mul(units), "it would take too long to compare the value with the schema")?;
        if !self.patterns.is_empty() {
            let each = Costs::new(&self.json, Some(&self.patterns))?.of(&self.json, depth, 0)?;
            let units = text_bytes(value).div_ceil(TEXT_BYTES);
            let long = "it would take too long to compare the value's texts with the schema's patterns, of which `[a-z]` is quicker than `\\w`";
            effort.spend(each.saturating_mul(units), long)?;
        }
        self.validator.validate(value).map_err(|error| told(&error))
    }
}

/// What does not fit, and where in the value; of several schemas of which one would do, why each does not.
fn told(error: &ValidationError<'_>) -> String {
    let path = error.instance_path();
    let place = if path.is_empty() { String::new() } else { format!("at `{path}`: ") };
    let (ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context }) = error.kind() else {
        return format!("{place}{error}");
    };
    let ways = context.iter().filter_map(|errors| errors.first()).take(MAX_WAYS).map(|why| {
        let what = if why.instance_path() == path { "it".to_owned() } else { format!("`{}`", why.instance_path()) };
        why.masked_with(what).to_string()
    });
    let mut ways: Vec<_> = ways.collect();
    ways.dedup();
    format!("{place}{} does not fit: {}", error.instance(), ways.join(", or "))
}

/// RFC 3339's, and without an offset, as Airflow's `time` and as forms give it.
fn is_time(text: &str) -> bool {
    ["", "Z"].iter().any(|offset| DateTime::parse_from_rfc3339(&format!("1970-01-01T{text}{offset}")).is_ok())
}

/// What it costs to compare so much text with a pattern: as much as it is large.
fn weight(pattern: &str) -> Result<u64, String> {
    let mut bytes = LEAST_PATTERN_BYTES;
    loop {
        match RegexBuilder::new(pattern).size_limit(bytes).build() {
            Ok(_) => return Ok((bytes / PATTERN_BYTES) as u64),
            Err(regex::Error::CompiledTooBig(_)) if bytes < MAX_PATTERN_BYTES => bytes *= 2,
            Err(error) => {
                let pattern: String = pattern.chars().take(80).collect();
                return Err(format!(
                    "the pattern `{pattern}` can't be used (patterns have no look-around and no back-references): {error}"
                ));
            }
        }
    }
}

/// All text in a value.
fn text_bytes(value: &Value) -> u64 {
    match value {
        Value::Object(map) => map.iter().map(|(key, of)| key.len() as u64 + text_bytes(of)).sum(),
        Value::Array(list) => list.iter().map(text_bytes).sum(),
        Value::String(text) => text.len() as u64,
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// How many parts there are; collects all that may be patterns.
fn count<'a>(json: &'a Value, patterns: &mut Vec<&'a str>) -> u64 {
    match json {
        Value::Object(map) => {
            if let Some(Value::String(pattern)) = map.get("pattern") {
                patterns.push(pattern);
            }
            if let Some(Value::Object(of)) = map.get("patternProperties") {
                patterns.extend(of.keys().map(String::as_str));
            }
            1 + map.values().map(|part| count(part, patterns)).sum::<u64>()
        }
        Value::Array(list) => 1 + list.iter().map(|part| count(part, patterns)).sum::<u64>(),
        _ => 1,
    }
}

/// How deep a value is, and how much of it there is.
fn size(value: &Value) -> (u32, u64) {
    let all = |parts: &mut dyn Iterator<Item = &Value>| {
        parts.map(size).fold((0, 1), |(depth, units): (u32, u64), (of, more)| (depth.max(of), units + more))
    };
    let (depth, units) = match value {
        Value::Object(map) => {
            let (depth, units) = all(&mut map.values());
            (depth, units + map.keys().map(|key| key.len() as u64 / TEXT_BYTES).sum::<u64>())
        }
        Value::Array(list) => all(&mut list.iter()),
        Value::String(text) => return (0, 1 + text.len() as u64 / TEXT_BYTES),
        Value::Null | Value::Bool(_) | Value::Number(_) => return (0, 1),
    };
    (depth + 1, units)
}

const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// How often parts of a schema can be looked at for one value of a document, at most.
struct Costs<'a> {
    root: &'a Value,
    /// None: all parts are counted; else patterns only, for each [`TEXT_BYTES`] of the document.
    patterns: Option<&'a HashMap<String, u64>>,
    anchors: HashMap<&'a str, &'a Value>,
    /// By part and by how much deeper the document can be. None: it is being computed.
    known: HashMap<(*const Value, u32), Option<u64>>,
}

impl<'a> Costs<'a> {
    fn new(root: &'a Value, patterns: Option<&'a HashMap<String, u64>>) -> Result<Self, String> {
        let mut anchors = HashMap::new();
        let draft = root.get("$schema").and_then(Value::as_str).unwrap_or_default();
        // What `$id` was called.
        let id = if draft.contains("draft-04") { "id" } else { "$id" };
        find_anchors(root, id, true, &mut anchors)?;
        Ok(Self { root, patterns, anchors, known: HashMap::new() })
    }

    /// Visits all parts once, through references, and refuses what goes too deep.
    fn walk(&self, part: &'a Value, nesting: u32, seen: &mut HashSet<*const Value>) -> Result<(), String> {
        if nesting > MAX_NESTING {
            return Err(format!("the schema has more than {MAX_NESTING} parts in each other"));
        }
        match part {
            Value::Object(map) => {
                if !seen.insert(std::ptr::from_ref(part)) {
                    return Ok(());
                }
                for keyword in REFERENCES {
                    if let Some(Value::String(to)) = map.get(keyword) {
                        self.walk(self.find(to)?, nesting + 1, seen)?;
                    }
                }
                map.values().try_for_each(|part| self.walk(part, nesting + 1, seen))
            }
            Value::Array(list) => list.iter().try_for_each(|part| self.walk(part, nesting + 1, seen)),
            _ => Ok(()),
        }
    }

    /// Of `part`, for documents that are at most `depth` deeper.
    fn of(&mut self, part: &'a Value, depth: u32, nesting: u32) -> Result<u64, String> {
        let Value::Object(map) = part else { return Ok(1) };
        if nesting > MAX_DEPTH {
            return Err(format!("the schema has more than {MAX_DEPTH} parts in each other for a value of this depth"));
        }
        let nesting = nesting + 1;
        let key = (std::ptr::from_ref(part), depth);
        match self.known.get(&key) {
            Some(Some(cost)) => return Ok(*cost),
            Some(None) => return Err("the schema refers to itself without going deeper into the value".to_owned()),
            None => self.known.insert(key, None),
        };
        let (mut here, mut below) = (0_u64, 0_u64);
        for (keyword, of) in map {
            match (keyword.as_str(), of) {
                (keyword, Value::String(to)) if REFERENCES.contains(&keyword) => {
                    let target = self.find(to)?;
                    here = here.saturating_add(self.of(target, depth, nesting)?);
                }
                ("not" | "if" | "then" | "else", of) => here = here.saturating_add(self.of(of, depth, nesting)?),
                ("allOf" | "anyOf" | "oneOf", Value::Array(parts)) => {
                    for part in parts {
                        here = here.saturating_add(self.of(part, depth, nesting)?);
                    }
                }
                ("dependentSchemas" | "dependencies", Value::Object(parts)) => {
                    for part in parts.values() {
                        here = here.saturating_add(self.of(part, depth, nesting)?);
                    }
                }
                _ if depth == 0 => {}
                ("properties" | "patternProperties", Value::Object(parts)) => {
                    for part in parts.values() {
                        below = below.saturating_add(self.of(part, depth - 1, nesting)?);
                    }
                }
                (
                    "items"
                    | "prefixItems"
                    | "additionalItems"
                    | "contains"
                    | "unevaluatedItems"
                    | "propertyNames"
                    | "additionalProperties"
                    | "unevaluatedProperties",
                    of,
                ) => match of {
                    Value::Array(parts) => {
                        for part in parts {
                            below = below.saturating_add(self.of(part, depth - 1, nesting)?);
                        }
                    }
                    of => below = below.saturating_add(self.of(of, depth - 1, nesting)?),
                },
                _ => {}
            }
        }
        // What is left over is known by looking at all else again.
        if map.contains_key("unevaluatedItems") || map.contains_key("unevaluatedProperties") {
            (here, below) = (here.saturating_mul(2), below.saturating_mul(2));
        }
        let cost = here.saturating_add(below).saturating_add(self.own(map));
        self.known.insert(key, Some(cost));
        Ok(cost)
    }

    /// Of a part itself, without those in it.
    fn own(&self, map: &serde_json::Map<String, Value>) -> u64 {
        let Some(patterns) = self.patterns else {
            let all_of = |keyword: &str| map.get(keyword).map_or(0, |of| size(of).1);
            let compared = (all_of("enum") + all_of("const")) / COMPARED;
            let looked_for = all_of("required") + all_of("dependentRequired") + all_of("dependencies");
            return map.len().max(1) as u64 + compared + looked_for;
        };
        let weight = |pattern: &String| patterns.get(pattern).copied().unwrap_or_default();
        let of_text = match map.get("pattern") {
            Some(Value::String(pattern)) => weight(pattern),
            _ => 0,
        };
        let of_names = match map.get("patternProperties") {
            Some(Value::Object(of)) => of.keys().map(weight).sum(),
            _ => 0,
        };
        of_text + of_names
    }

    /// What a reference means.
    fn find(&self, to: &str) -> Result<&'a Value, String> {
        let outside = || {
            let to: String = to.chars().take(80).collect();
            format!("the schema refers to `{to}`; it may refer to parts of itself only")
        };
        let own = self.root.get("$id").and_then(Value::as_str).unwrap_or_default();
        let fragment = to.strip_prefix(own).unwrap_or(to);
        let fragment = fragment.strip_prefix('#').or(fragment.is_empty().then_some("")).ok_or_else(outside)?;
        let fragment = percent_decode_str(fragment).decode_utf8().map_err(|_| outside())?;
        if fragment.is_empty() || fragment.starts_with('/') {
            self.root.pointer(&fragment).ok_or_else(outside)
        } else {
            self.anchors.get(&*fragment).copied().ok_or_else(outside)
        }
    }
}

/// Names of parts. What is another document inside of this one could make a reference mean something else than it seems to.
fn find_anchors<'a>(
    json: &'a Value,
    id: &str,
    is_root: bool,
    anchors: &mut HashMap<&'a str, &'a Value>,
) -> Result<(), String> {
    match json {
        Value::Object(map) => {
            map.values().try_for_each(|part| find_anchors(part, id, false, anchors))?;
            if !is_root && map.get(id).is_some_and(Value::is_string) {
                return Err("a part of the schema has an `$id` of its own; only the whole may have one".to_owned());
            }
            for keyword in ["$anchor", "$dynamicAnchor"] {
                if let Some(Value::String(name)) = map.get(keyword)
                    && anchors.insert(name, json).is_some_and(|other| !std::ptr::eq(other, json))
                {
                    return Err(format!("the schema has two parts of the name `{name}`"));
                }
            }
            Ok(())
        }
        Value::Array(list) => list.iter().try_for_each(|part| find_anchors(part, id, false, anchors)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;

    fn check(schema: &Value, value: &Value) -> Result<(), String> {
        let mut effort = Effort::default();
        Schema::new(schema, &mut effort)?.check(value, &mut effort)
    }

    fn nested(times: usize) -> Value {
        (0..times).fold(json!({}), |inner, _| json!({"a": inner}))
    }

    #[test]
    fn formats_are_checked_but_for_those_that_nobody_knows() {
        for (format, fits, fits_not) in [
            ("date", "2026-02-28", "2026-02-30"),
            ("date-time", "2026-01-31T12:17:00+00:00", "tomorrow"),
            ("time", "12:13:14", "12:13"),
            ("time", "12:13:14+09:00", "noon"),
            ("duration", "PT15M", "15m"),
            ("email", "ada@example.org", "ada"),
        ] {
            for draft in ["2020-12/schema", "2019-09/schema"] {
                let schema = json!({"$schema": format!("https://json-schema.org/draft/{draft}"), "format": format});
                assert_eq!(check(&schema, &json!(fits)), Ok(()), "{format}");
                assert!(check(&schema, &json!(fits_not)).unwrap_err().contains(format), "{format}");
            }
        }
        let other = |format: &str| check(&json!({"type": ["string", "null"], "format": format}), &json!("("));
        assert_eq!(["multiline", "int64", "partial-time", "regex"].map(other), [Ok(()), Ok(()), Ok(()), Ok(())]);
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_place_and_with_what_would() {
        let told = |schema: Value, value: Value| check(&schema, &value).unwrap_err();
        let list = json!({"items": {"maximum": 9}});
        assert_eq!(told(list, json!([1, 40])), "at `/1`: 40 is greater than the maximum of 9");
        // An enum of Rust whose variants have comments, and one with a tag.
        let words = json!({"oneOf": [{"type": "string", "const": "Full"}, {"type": "string", "const": "Part"}]});
        assert_eq!(told(words, json!("full")), r#""full" does not fit: "Full" was expected, or "Part" was expected"#);
        let tagged = json!({"oneOf": [
            {"properties": {"kind": {"const": "a"}, "x": {"type": "integer"}}, "required": ["kind", "x"]},
            {"properties": {"kind": {"const": "b"}}, "required": ["kind"]},
        ]});
        let wrong = told(tagged, json!({"kind": "a", "x": "1"}));
        assert_eq!(wrong, r#"{"kind":"a","x":"1"} does not fit: `/x` is not of type "integer", or "b" was expected"#);
        let optional = json!({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]});
        assert_eq!(
            told(optional, json!("c")),
            r#""c" does not fit: it is not one of "a" or "b", or it is not of type "null""#
        );
    }

    #[test]
    fn ordinary_schemas_are_used() {
        let person = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": "https://example.org/person",
            "$defs": {
                "name": {"type": "string", "pattern": "^[A-Z][a-z]+( [A-Z][a-z]+)*$"},
                "tree": {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}},
            },
            "type": "object",
            "properties": {"name": {"$ref": "#/$defs/name"}, "family": {"$ref": "https://example.org/person#/$defs/tree"}},
            "required": ["name"],
        });
        assert_eq!(
            check(&person, &json!({"name": "Ada Lovelace", "family": {"children": [{"children": []}]}})),
            Ok(())
        );
        assert!(check(&person, &json!({"name": "ada"})).unwrap_err().contains("does not match"));
        let deep = (0..60).fold(json!({}), |inner, _| json!({"children": [inner]}));
        assert_eq!(check(&person, &json!({"name": "Ada", "family": deep})), Ok(()));
        // As many as a request can hold.
        let rows: Vec<_> = (0..20_000).map(|n| json!({"id": n, "name": "x".repeat(20)})).collect();
        let row = json!({"type": "object", "properties": {"id": {"type": "integer"}, "name": {"type": "string", "maxLength": 99}}});
        assert_eq!(check(&json!({"type": "array", "items": row}), &json!(rows)), Ok(()));
        assert_eq!(check(&json!({"pattern": "^a+$"}), &json!("a".repeat(1 << 20))), Ok(()));
        let uuid = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
        let uuids = json!(vec!["01234567-89ab-cdef-0123-456789abcdef"; 20_000]);
        assert_eq!(check(&json!({"items": {"pattern": uuid}}), &uuids), Ok(()));
        let mails = json!(vec!["ada.lovelace@example.org"; 1_000]);
        assert_eq!(check(&json!({"items": {"pattern": r"^[\w.+-]+@[\w-]+\.[\w.-]+$"}}), &mails), Ok(()));
        let countries: Vec<_> = (0..250).map(|n| format!("C{n}")).collect();
        assert_eq!(check(&json!({"items": {"enum": countries}}), &json!(vec!["C249"; 50_000])), Ok(()));
    }

    #[test]
    fn what_would_take_hours_is_refused_or_takes_a_moment() {
        let slow: Vec<_> = (0..100).map(|n| json!({"pattern": format!("(?!(a+)+b)c{n}")})).collect();
        let twice: serde_json::Map<_, _> = (0..40)
            .map(|n| {
                let next = json!({"$ref": format!("#/$defs/p{}", n + 1)});
                (format!("p{n}"), json!({"anyOf": [next, next]}))
            })
            .chain([("p40".to_owned(), json!({"const": 0}))])
            .collect();
        let chain: serde_json::Map<_, _> =
            (0..20_000).map(|n| (format!("p{n}"), json!({"$ref": format!("#/$defs/p{}", (n + 1) % 20_000)}))).collect();
        let branches = json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}], "not": {}});
        let rest =
            (0..40).fold(json!({"const": 0}), |inner, _| json!({"allOf": [inner], "unevaluatedProperties": true}));
        let cases = [
            (json!({"anyOf": slow}), json!("a".repeat(5_000)), "look-around"),
            (json!({"pattern": "(a+)+\\1$"}), json!("a".repeat(5_000)), "back-references"),
            (json!({"pattern": "(?:(?:a{1,1000}){1,1000}){1,1000}"}), json!("a"), "can't be used"),
            (
                json!({"anyOf": (0..10_000).map(|n| json!({"pattern": format!("a{n}")})).collect::<Vec<_>>()}),
                json!("a"),
                "simpler",
            ),
            (json!({"$ref": "#/$defs/p0", "$defs": twice}), json!(1), "simpler"),
            (json!({"properties": {"a": branches.clone()}}), nested(100), "simpler"),
            (
                json!({"additionalProperties": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}, "minProperties": 1}),
                nested(100),
                "simpler",
            ),
            (
                json!({"prefixItems": [{"oneOf": [{"$ref": "#"}, {"$ref": "#"}]}], "additionalProperties": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}),
                nested(60),
                "simpler",
            ),
            (json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}), json!({}), "without going deeper"),
            (json!({"$dynamicRef": "#x", "$dynamicAnchor": "x"}), json!({}), "without going deeper"),
            (json!({"$ref": "http://169.254.169.254/latest"}), json!({}), ""),
            (json!({"$ref": "file:///etc/passwd"}), json!({}), ""),
            (
                json!({"allOf": [{"$id": "http://x/", "$ref": "#/$defs/a", "$defs": {"a": true}}], "$defs": {"a": true}}),
                json!({}),
                "`$id`",
            ),
            (rest, json!({"b": 1}), "simpler"),
            (json!({"pattern": "(?:[ab]{1,40}a){1,40}[^ab]"}), json!("abba".repeat(64 << 10)), "patterns"),
            (
                json!({"patternProperties": {"(?:[ab]{1,100}b?){5}[^ab]": {}}}),
                json!({"abba".repeat(64 << 10): 1}),
                "patterns",
            ),
            (json!({"items": {"enum": (0..100_000).collect::<Vec<_>>()}}), json!(vec![99_999; 300_000]), "simpler"),
            (
                json!({"items": {"const": (0..50_000).collect::<Vec<_>>()}}),
                json!([(0..50_000).collect::<Vec<_>>(), 1]),
                "simpler",
            ),
            (
                json!({"items": {"required": (0..10_000).map(|n| format!("k{n}")).collect::<Vec<_>>()}}),
                json!(vec![json!({}); 100_000]),
                "simpler",
            ),
            (json!({"$ref": "#/$defs/p0", "$defs": chain}), json!(1), "in each other"),
        ];
        for (schema, value, says) in cases {
            let start = Instant::now();
            let refused = check(&schema, &value).unwrap_err();
            assert!(refused.contains(says), "{schema}: {refused}");
            assert!(start.elapsed() < Duration::from_secs(5), "{schema}: {:?}", start.elapsed());
        }
    }

    #[test]
    fn the_effort_is_that_of_all_together() {
        let mut effort = Effort::default();
        let pattern = json!({"pattern": "^[a-z]{1,50}$"});
        let refused = (0..1_000).find_map(|_| Schema::new(&pattern, &mut effort).err());
        assert!(refused.unwrap().contains("simpler"));
    }
}
