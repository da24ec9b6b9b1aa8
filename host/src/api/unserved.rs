//! Parameters by which Airflow narrows a list and Airlock does not. Were they passed over, as those are that nobody
//! knows, the answer would hold more than was asked for.

use super::error::ApiError;

/// By route. With `*`, all names that begin so.
const NAMES: &[(&str, &[&str])] = &[
    ("/api/v2/dags", &["timetable_type"]),
    ("/api/v2/dags/{dag_id}/dagRuns", &["partition_*", "updated_at_*"]),
    ("/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances", &["executor", "updated_at_*"]),
    ("/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/listMapped", &["executor", "updated_at_*"]),
    ("/api/v2/eventLogs", &["try_number"]),
];

/// Refuses a query of a request to `route` that asks for what is not served.
///
/// # Errors
/// 422, with the parameter.
pub fn refuse(route: &str, query: &str) -> Result<(), ApiError> {
    let Some((_, unserved)) = NAMES.iter().find(|(known, _)| *known == route) else { return Ok(()) };
    let asked = |name: &str, value: &str| !matches!(value, "" | "~") && unserved.iter().any(|it| is(it, name));
    // What can't be read is told by whoever reads it.
    let pairs: Vec<(String, String)> = serde_html_form::from_str(query).unwrap_or_default();
    match pairs.into_iter().find(|(name, value)| asked(name, value)) {
        Some((name, _)) => {
            let why = "Airlock does not filter by it; leave it out, and filter what comes";
            Err(ApiError::invalid(["query".to_owned(), name], why))
        }
        None => Ok(()),
    }
}

fn is(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |begin| name.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::document;

    #[test]
    fn what_is_not_served_is_refused_and_what_nobody_knows_is_not() {
        let dags = |query| refuse("/api/v2/dags", query).map_err(|error| error.status().as_u16());
        assert_eq!(dags("limit=3&timetable_type=cron"), Err(422));
        assert_eq!(dags("timetable_type=&bundle_name=component&exclude_stale=true&_=1"), Ok(()));
        let runs = |query| refuse("/api/v2/dags/{dag_id}/dagRuns", query).is_ok();
        assert!(
            runs("partition_key_pattern=~") && !runs("partition_key_pattern=x") && !runs("updated_at_gte=2026-01-01")
        );
        assert!(refuse("/api/v2/pools", "timetable_type=cron").is_ok());
    }

    #[test]
    fn nothing_that_is_documented_is_refused() {
        let document = serde_json::to_value(document()).unwrap();
        for (route, unserved) in NAMES {
            let item = document["paths"][*route].as_object().unwrap_or_else(|| panic!("{route} is no route"));
            for operation in ["get", "delete"].iter().filter_map(|method| item.get(*method)) {
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    let name = parameter["name"].as_str().unwrap();
                    let is_refused = parameter["in"] == "query" && unserved.iter().any(|it| is(it, name));
                    assert!(!is_refused, "{route} {name}");
                }
            }
        }
    }
}
