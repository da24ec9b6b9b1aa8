//! Who changed what, and what was refused.

use askama::Template;
use axum::{
    extract::{Query, State},
    response::Response,
};
use serde::Deserialize;

use super::{
    run::label,
    settings::{ROWS, given},
};
use crate::{
    model::{
        ids::{DagId, Digest, RunId, TaskId},
        role::Permission,
    },
    store::{EventFilter, EventNew, EventRow, Listed, Order, Page},
    ui::{
        UiState,
        error::UiError,
        links,
        shell::{Frame, Section, Shell, page},
        show::{Facts, Html, Pager, told},
    },
};

#[derive(Debug, Deserialize)]
pub struct ListQuery {
    #[serde(default)]
    offset: u32,
    #[serde(default)]
    username: String,
    #[serde(default)]
    event: String,
    #[serde(default)]
    dag_id: String,
    #[serde(default)]
    run_id: String,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditView {
    shell: Shell,
    username: String,
    event: String,
    dag_id: String,
    run_id: String,
    /// It is asked for a run, and not said of which dag: the log knows what is about a dag, not what is about a run.
    wants_dag: bool,
    rows: Vec<Line>,
    pager: Pager,
}

struct Line {
    at: String,
    who: String,
    event: String,
    is_denied: bool,
    about: Html,
    change: String,
    from: String,
}

impl Line {
    fn new(EventRow { event, .. }: EventRow, zone: chrono_tz::Tz) -> Self {
        let about = about(&event);
        let who = event.username.unwrap_or_else(|| "—".to_owned());
        Self {
            at: told(event.at, zone),
            who: event.token.map_or_else(|| who.clone(), |token| format!("{who} (token {token})")),
            event: event.event,
            is_denied: event.is_denied,
            about,
            change: match (event.before, event.after) {
                (Some(before), Some(after)) => format!("{before} → {after}"),
                (None, Some(after)) => after,
                (Some(before), None) => format!("{before} → nothing"),
                (None, None) => String::new(),
            },
            from: event.peer.unwrap_or_default(),
        }
    }
}

/// What an entry is about, with the ways there. What was refused may be about things that never were: they are told as they were
/// asked for.
fn about(event: &EventNew) -> Html {
    let dag_id = event.dag_id.as_deref().and_then(|id| DagId::new(id).ok());
    let run = dag_id.as_ref().zip(event.run_id.as_deref().and_then(|id| RunId::new(id).ok()));
    let task = run.as_ref().zip(event.task_id.as_deref().and_then(|id| TaskId::new(id).ok()));
    let map_index = event.map_index.unwrap_or(-1);
    let task_name = match (&task, event.map_index) {
        (Some((_, task_id)), _) => Some(label(task_id, map_index, None)),
        (None, Some(0..)) => event.task_id.as_ref().map(|id| format!("{id} [{map_index}]")),
        (None, _) => event.task_id.clone(),
    };
    let parts = [
        (event.dag_id.clone(), dag_id.as_ref().map(links::dag)),
        (event.run_id.clone(), run.as_ref().map(|(dag_id, run_id)| links::run(dag_id, run_id))),
        (task_name, task.map(|((dag_id, run_id), task_id)| links::task(dag_id, run_id, &task_id, map_index))),
        (event.object.clone().filter(|object| event.dag_id.as_ref() != Some(object)), object(event)),
    ];
    let mut html = Html::new();
    for (text, href) in parts {
        let Some(text) = text else { continue };
        let between = if html.is_empty() { "" } else { " / " };
        html = html.text(between);
        html = match href {
            Some(href) => html.link(&href, text),
            None => html.text(text),
        };
    }
    html
}

/// Where the entry's object can be seen, if it is one that has a page and was not deleted.
fn object(event: &EventNew) -> Option<String> {
    let object = event.object.as_deref().filter(|_| event.dag_id.is_none() && event.after.is_some())?;
    let path = match event.event.as_str() {
        "dag.upload" => return object.parse::<Digest>().ok().map(|digest| links::component(&digest)),
        "variable.write" => "/variables/edit",
        "connection.write" => "/connections/edit",
        "pool.write" => "/pools/edit",
        "user.write" => "/users/edit",
        _ => return None,
    };
    Some(links::with_query(path, &[("key", object)]))
}

/// Adds the way to who changed something about the dag, or about a run of it, for whoever may look there.
pub fn with_changes(facts: Facts, shell: &Shell, dag_id: &DagId, run_id: Option<&RunId>) -> Facts {
    let may = shell.role().is_some_and(|role| role.may(Permission::AuditRead));
    if !may {
        return facts;
    }
    let run_id = run_id.map_or("", RunId::as_str);
    let href = links::with_query("/audit", &[("dag_id", dag_id.as_str()), ("run_id", run_id)]);
    facts.html("Who changed it", Html::new().link(&href, "Audit Log"))
}

/// `GET /audit`
pub async fn list(
    State(ui): State<UiState>,
    frame: Frame,
    Query(query): Query<ListQuery>,
) -> Result<Response, UiError> {
    let filter = EventFilter {
        dag_id: given(&query.dag_id),
        run_id: given(&query.run_id),
        event: given(&query.event),
        username: given(&query.username),
        order: Order::Descending,
        ..EventFilter::default()
    };
    let wants_dag = filter.run_id.is_some() && filter.dag_id.is_none();
    let listed = if wants_dag {
        Listed { items: Vec::new(), total: 0 }
    } else {
        ui.store.event_list(&filter, Page { limit: ROWS, offset: query.offset }).await?
    };
    let zone = frame.zones_of_none().shown;
    let rows: Vec<_> = listed.items.into_iter().map(|row| Line::new(row, zone)).collect();
    let offset = usize::try_from(query.offset).unwrap_or(0);
    let ListQuery { username, event, dag_id, run_id, .. } = query;
    let pager = Pager::new(offset, ROWS as usize, rows.len(), listed.total, |at| {
        let offset = at.to_string();
        let query = [("username", &*username), ("event", &event), ("dag_id", &dag_id), ("run_id", &run_id)];
        links::with_query("/audit", &[&query[..], &[("offset", &*offset)]].concat())
    });
    Ok(page(&AuditView {
        shell: frame.shell(Section::Audit, "audit", "Audit Log"),
        username,
        event,
        dag_id,
        run_id,
        wants_dag,
        rows,
        pager,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_leads_to_what_it_is_about() {
        let event = |task_id: &str, map_index| EventNew {
            dag_id: Some("d".into()),
            run_id: Some("r".into()),
            task_id: Some(task_id.into()),
            map_index,
            object: Some("why".into()),
            ..EventNew::default()
        };
        let run = "<a href=\"/dags/d\">d</a> / <a href=\"/dags/d/runs/r\">r</a>";
        let told = |event: &EventNew| about(event).to_string();
        for (map_index, task) in [
            (Some(3), "<a href=\"/dags/d/runs/r/tasks/t?map_index=3\">t [3]</a>"),
            (Some(-1), "<a href=\"/dags/d/runs/r/tasks/t\">t</a>"),
        ] {
            assert_eq!(told(&event("t", map_index)), format!("{run} / {task} / why"));
        }
        // What can't be has no page.
        assert_eq!(told(&event("<t>", Some(0))), format!("{run} / &lt;t&gt; [0] / why"));
        let nowhere = EventNew { dag_id: Some("<d>".into()), ..event("t", None) };
        assert_eq!(told(&nowhere), "&lt;d&gt; / r / t / why");
        assert_eq!(told(&EventNew::default()), "");
    }
}
