//! Who changed what, and what was refused.

use askama::Template;
use axum::{
    extract::{Query, State},
    response::Response,
};
use serde::Deserialize;

use super::settings::{ROWS, given};
use crate::{
    store::{EventFilter, EventRow, Order, Page},
    ui::{
        UiState,
        error::UiError,
        links,
        shell::{Frame, Section, Shell, page},
        show::{Pager, told},
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
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditView {
    shell: Shell,
    username: String,
    event: String,
    dag_id: String,
    rows: Vec<Line>,
    pager: Pager,
}

struct Line {
    at: String,
    who: String,
    event: String,
    is_denied: bool,
    object: String,
    change: String,
    from: String,
}

impl Line {
    fn new(EventRow { event, .. }: EventRow, zone: chrono_tz::Tz) -> Self {
        let who = event.username.unwrap_or_else(|| "—".to_owned());
        let map_index = event.map_index.map(|index| index.to_string());
        let about: Vec<_> =
            [event.dag_id, event.run_id, event.task_id, map_index, event.object].into_iter().flatten().collect();
        Self {
            at: told(event.at, zone),
            who: event.token.map_or_else(|| who.clone(), |token| format!("{who} (token {token})")),
            event: event.event,
            is_denied: event.is_denied,
            object: about.join(" / "),
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

/// `GET /audit`
pub async fn list(
    State(ui): State<UiState>,
    frame: Frame,
    Query(query): Query<ListQuery>,
) -> Result<Response, UiError> {
    let filter = EventFilter {
        dag_id: given(&query.dag_id),
        event: given(&query.event),
        username: given(&query.username),
        order: Order::Descending,
        ..EventFilter::default()
    };
    let listed = ui.store.event_list(&filter, Page { limit: ROWS, offset: query.offset }).await?;
    let zone = frame.zones_of_none().shown;
    let rows: Vec<_> = listed.items.into_iter().map(|row| Line::new(row, zone)).collect();
    let offset = usize::try_from(query.offset).unwrap_or(0);
    let ListQuery { username, event, dag_id, .. } = query;
    let pager = Pager::new(offset, ROWS as usize, rows.len(), listed.total, |at| {
        let offset = at.to_string();
        let query = [("username", &*username), ("event", &event), ("dag_id", &dag_id), ("offset", &offset)];
        links::with_query("/audit", &query)
    });
    Ok(page(&AuditView {
        shell: frame.shell(Section::Audit, "audit", "Audit Log"),
        username,
        event,
        dag_id,
        rows,
        pager,
    }))
}
