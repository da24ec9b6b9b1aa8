//! What may be shown of a setting: values under telling names are masked. Airflow: `secrets_masker`.

use serde_json::Value;

use super::SecretString;

/// What is shown instead of a secret.
pub const MASK: &str = "***";

/// Parts of names whose values are secrets, in lower case.
const SENSITIVE: &[&str] = &[
    "access_key",
    "access_token",
    "api_key",
    "apikey",
    "authorization",
    "credential",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "secret",
    "token",
];
/// Deeper values are masked whole.
const MAX_DEPTH: usize = 32;

/// Whether what is called `name` is a secret.
pub fn is_sensitive(name: &str) -> bool {
    let name = name.to_lowercase().replace('-', "_");
    SENSITIVE.iter().any(|part| name.contains(part))
}

/// What of `text` may not be shown under `name`: all that [`redact`] masks.
pub fn sensitive_in(name: &str, text: &str) -> Vec<SecretString> {
    let mut found = Vec::new();
    if is_sensitive(name) {
        found.push(text.to_owned().into());
    }
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        gather(&mut found, value, is_sensitive(name));
    }
    found
}

/// Adds the texts and numbers that are secret, or under a telling name.
fn gather(found: &mut Vec<SecretString>, value: Value, is_secret: bool) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                gather(found, value, is_secret || is_sensitive(&name));
            }
        }
        Value::Array(items) => items.into_iter().for_each(|item| gather(found, item, is_secret)),
        Value::String(text) if is_secret => found.push(text.into()),
        Value::Number(number) if is_secret => found.push(number.to_string().into()),
        Value::String(_) | Value::Number(_) | Value::Null | Value::Bool(_) => {}
    }
}

/// `text` as it may be shown under `name`: JSON objects with their secrets masked.
pub fn redact(name: &str, text: &str) -> String {
    if is_sensitive(name) {
        return if text.is_empty() { String::new() } else { MASK.to_owned() };
    }
    match serde_json::from_str::<Value>(text) {
        Ok(mut value @ (Value::Object(_) | Value::Array(_))) => {
            if redact_value(&mut value, 0) {
                value.to_string()
            } else {
                text.to_owned()
            }
        }
        _ => text.to_owned(),
    }
}

/// Masks what is under telling names. Answers whether there was any.
fn redact_value(value: &mut Value, depth: usize) -> bool {
    if depth > MAX_DEPTH {
        *value = MASK.into();
        return true;
    }
    match value {
        Value::Object(fields) => {
            let mut masked = false;
            for (name, value) in fields {
                if is_sensitive(name) {
                    *value = MASK.into();
                    masked = true;
                } else {
                    masked |= redact_value(value, depth + 1);
                }
            }
            masked
        }
        Value::Array(items) => items.iter_mut().fold(false, |masked, item| redact_value(item, depth + 1) | masked),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// `new`, with each masked value in it replaced by what `old` has in its place: whoever sends back what was shown
/// changes nothing.
pub fn restore(new: &str, old: &str) -> String {
    if new == MASK {
        return old.to_owned();
    }
    match (serde_json::from_str::<Value>(new), serde_json::from_str::<Value>(old)) {
        (Ok(mut new_value), Ok(old_value)) => {
            if restore_value(&mut new_value, &old_value) {
                new_value.to_string()
            } else {
                new.to_owned()
            }
        }
        _ => new.to_owned(),
    }
}

fn restore_value(new: &mut Value, old: &Value) -> bool {
    match (new, old) {
        (new @ Value::String(_), old) if *new == MASK => {
            *new = old.clone();
            true
        }
        (Value::Object(new), Value::Object(old)) => new
            .iter_mut()
            .filter_map(|(name, value)| Some((value, old.get(name)?)))
            .fold(false, |restored, (value, old)| restore_value(value, old) | restored),
        (Value::Array(new), Value::Array(old)) => {
            new.iter_mut().zip(old).fold(false, |restored, (value, old)| restore_value(value, old) | restored)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_under_telling_names_are_masked_and_come_back() {
        assert_eq!(redact("target", "a < b"), "a < b");
        assert_eq!(redact("db_password", "hunter2"), MASK);
        assert_eq!(redact("My-API-Key", "x"), MASK);
        assert_eq!(redact("target", "{\"a\": 1}"), "{\"a\": 1}", "nothing to mask: as it was written");
        let found =
            |name, text| sensitive_in(name, text).iter().map(|secret| secret.expose().to_owned()).collect::<Vec<_>>();
        assert_eq!(found("target", "a < b"), Vec::<String>::new());
        assert_eq!(found("db_password", "hunter2"), ["hunter2"]);
        assert_eq!(found("x", r#"{"a": ["b"], "token": {"c": ["d", 12345]}}"#), ["d", "12345"]);
        let extra = r#"{"host":"h","list":[{"client_secret":"s"}],"token":"t"}"#;
        let shown = redact("extra", extra);
        assert_eq!(shown, r#"{"host":"h","list":[{"client_secret":"***"}],"token":"***"}"#);
        assert_eq!(restore(&shown, extra), extra);
        assert_eq!(restore(r#"{"token":"new"}"#, extra), r#"{"token":"new"}"#);
        assert_eq!(restore(MASK, "hunter2"), "hunter2");
    }
}
