//! What media types say.

const JSON_SUFFIX: &str = "+json";

/// Whether values of the media type are JSON: `application/json`, or any with the suffix `+json`, parameters aside. RFC 6839, section 3.1.
pub fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let suffix = essence.len().checked_sub(JSON_SUFFIX.len()).and_then(|at| essence.get(at..));
    essence.eq_ignore_ascii_case("application/json")
        || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(JSON_SUFFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_many_names() {
        for json in ["application/json", "Application/JSON ; charset=utf-8", "application/geo+json", "model/x+JSON;v=1"]
        {
            assert!(is_json(json), "{json}");
        }
        for other in
            ["", "text/plain", "application/json-seq", "application/geo+json-seq", "text/plain; x=+json", "日+json日"]
        {
            assert!(!is_json(other), "{other}");
        }
    }
}
