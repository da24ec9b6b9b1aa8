//! The addresses of the page.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::{
    auth::leads_here,
    model::ids::{AssetName, DagId, Digest, RunId, TaskId},
    store::{BackfillId, DagVersionKey, XComRow},
};

/// What may not stand as it is in a part of a path or in a query's value.
const RESERVED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b',')
    .add(b';')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'/')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// `text` as a part of a path or a query's value.
pub fn part(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The runs of a backfill.
pub fn backfill_runs(dag_id: &DagId, backfill: BackfillId) -> String {
    with_query(&format!("{}/runs", dag(dag_id)), &[("backfill", &backfill.0.to_string())])
}

/// An address whose empty query values are left out.
pub fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut address = path.to_owned();
    for (at, (name, value)) in query.iter().filter(|(_, value)| !value.is_empty()).enumerate() {
        let sign = if at == 0 { '?' } else { '&' };
        write!(address, "{sign}{name}={}", part(value)).expect("a String takes all that is written to it");
    }
    address
}

pub fn dag(dag_id: &DagId) -> String {
    format!("/dags/{}", part(dag_id.as_str()))
}

/// A version of a dag, by its number.
pub fn dag_version(dag_id: &DagId, number: i64) -> String {
    format!("{}/versions/{number}", dag(dag_id))
}

pub fn run(dag_id: &DagId, run_id: &RunId) -> String {
    format!("{}/runs/{}", dag(dag_id), part(run_id.as_str()))
}

/// A task's instance. `map_index` is -1 if the task is not mapped.
pub fn task(dag_id: &DagId, run_id: &RunId, task_id: &TaskId, map_index: i32) -> String {
    let path = format!("{}/tasks/{}", run(dag_id, run_id), part(task_id.as_str()));
    if map_index < 0 { path } else { format!("{path}?map_index={map_index}") }
}

/// Where the API gives out an XCom's bytes.
pub fn xcom_content(xcom: &XComRow) -> String {
    let (dag_id, run_id) = (part(xcom.dag_id.as_str()), part(xcom.run_id.as_str()));
    let (task_id, key) = (part(xcom.instance.task_id.as_str()), part(xcom.key.as_str()));
    format!("/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}/content")
}

/// An asset, by its name.
pub fn asset(name: &AssetName) -> String {
    with_query("/assets/named", &[("name", name.as_str())])
}

pub fn component(digest: &Digest) -> String {
    format!("/components/{digest}")
}

/// The names of a version's tasks. It never changes.
pub fn version_tasks(version: DagVersionKey) -> String {
    format!("/ui/dag_versions/{}/tasks", version.0)
}

/// Where the boxes of a version's graph stand. It never changes.
pub fn version_graph(version: DagVersionKey, folded: bool) -> String {
    format!("/ui/dag_versions/{}/graph{}", version.0, if folded { "" } else { "?fold=false" })
}

/// `next` if it is a path of this very server, else the start.
pub fn local(next: &str) -> &str {
    if leads_here(next) { next } else { "/dags" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_server_are_followed() {
        assert_eq!(local("/dags/a?x=1#y"), "/dags/a?x=1#y");
        for evil in ["", "dags", "//evil", "/\\evil", "https://evil", "/\t/evil", "/a\r\nb", "javascript:1", "/ä"] {
            assert_eq!(local(evil), "/dags", "{evil:?}");
        }
    }

    #[test]
    fn names_stay_one_part_of_the_path() {
        let (dag_id, run_id) =
            (DagId::new("a.b").unwrap(), RunId::new("scheduled__2026-01-01T00:00:00+00:00").unwrap());
        assert_eq!(run(&dag_id, &run_id), "/dags/a.b/runs/scheduled__2026-01-01T00:00:00%2B00:00");
        assert_eq!(with_query("/dags", &[("q", "a&b=c"), ("tag", "")]), "/dags?q=a%26b%3Dc");
    }
}
