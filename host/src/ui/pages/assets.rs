//! Assets and their events.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    extract::{Path, Query, State},
    response::{Redirect, Response},
};
use serde::Deserialize;

use super::run::label;
use crate::{
    api::permit::Scoped,
    auth::{CurrentUser, DagScope},
    model::ids::{AssetName, DagId},
    store::{
        AssetEventFilter, AssetEventRow, AssetFilter, AssetReference, AssetRow, DagRunRow, Order, Page,
        QueuedEventFilter,
    },
    ui::{
        UiState,
        error::UiError,
        links,
        shell::{Frame, Section, Shell, go_and_tell, page},
        show::{Crumbs, Facts, Html, Pager, State as StateView, When},
    },
};

const ROWS: u32 = 100;
/// Tasks make events.
const EVENTS: &str = "/ui/events?of=tasks";

#[derive(Template)]
#[template(path = "assets.html")]
struct ListView {
    shell: Shell,
    rows: Vec<Line>,
    pager: Pager,
}

struct Line {
    name: AssetName,
    href: String,
    uri: String,
    group: String,
    producers: Html,
    consumers: Html,
    last: When,
}

#[derive(Template)]
#[template(path = "asset.html")]
struct AssetView {
    shell: Shell,
    crumbs: Crumbs,
    name: AssetName,
    is_alias: bool,
    base_href: String,
    facts: Facts,
    queued: Vec<QueuedLine>,
    events: Vec<EventLine>,
    pager: Pager,
}

struct QueuedLine {
    dag_id: DagId,
    href: String,
    count: usize,
}

struct EventLine {
    key: i64,
    /// The asset, where it is another than the page's.
    asset: Html,
    at: When,
    source: Html,
    runs: Html,
    extra: String,
}

#[derive(Debug, Deserialize)]
pub struct ListQuery {
    #[serde(default)]
    offset: u32,
}

/// The tasks or dags of one kind that name the asset, with links.
fn named(row: &AssetRow, references: &[AssetReference], kind: &str) -> Html {
    let mut html = Html::new();
    let of_kind = references.iter().filter(|reference| reference.asset == row.id && reference.kind == kind);
    for (at, reference) in of_kind.enumerate() {
        let dag_href = links::dag(&reference.dag_id);
        html = html.text(if at == 0 { "" } else { ", " });
        html = match &reference.task_id {
            Some(task_id) => {
                let href = format!("{dag_href}/tasks/{}", links::part(task_id.as_str()));
                html.link(&href, format_args!("{}.{task_id}", reference.dag_id))
            }
            None => html.link(&dag_href, &reference.dag_id),
        };
    }
    html
}

fn href(id: i64) -> String {
    format!("/assets/{id}")
}

/// `GET /assets`
pub async fn list(
    State(ui): State<UiState>,
    Scoped(scope): Scoped,
    frame: Frame,
    Query(query): Query<ListQuery>,
) -> Result<Response, UiError> {
    let filter = AssetFilter { dags: scope.seen().clone(), ..AssetFilter::default() };
    let listed = ui.store.asset_list(&filter, Page { limit: ROWS, offset: query.offset }).await?;
    let ids: Vec<_> = listed.items.iter().map(|row| row.id).collect();
    let references = references(&ui, &scope, &ids).await?;
    let zone = frame.zones_of_none();
    let line = |row: AssetRow| Line {
        href: href(row.id),
        producers: named(&row, &references, "outlet"),
        consumers: named(&row, &references, "schedule"),
        last: When { at: row.last_event.map(|(_, at)| at), zone },
        name: row.name,
        uri: row.uri,
        group: row.group,
    };
    let rows: Vec<_> = listed.items.into_iter().map(line).collect();
    let offset = usize::try_from(query.offset).unwrap_or(0);
    Ok(page(&ListView {
        shell: frame.shell(Section::Assets, "assets", "Assets").live(EVENTS.into()),
        pager: Pager::new(offset, ROWS as usize, rows.len(), listed.total, |at| format!("/assets?offset={at}")),
        rows,
    }))
}

async fn find(ui: &UiState, id: i64) -> Result<AssetRow, UiError> {
    let missing = || UiError::NotFound(format!("asset {id} does not exist"));
    ui.store.asset_get(id).await?.ok_or_else(missing)
}

/// Where dags that may be seen name the assets.
async fn references(ui: &UiState, scope: &DagScope, ids: &[i64]) -> Result<Vec<AssetReference>, UiError> {
    let references = ui.store.asset_reference_list(ids).await?;
    Ok(references.into_iter().filter(|reference| scope.sees(&reference.dag_id)).collect())
}

/// An asset that a dag names which may be seen, and where such dags name it.
async fn find_seen(ui: &UiState, scope: &DagScope, id: i64) -> Result<(AssetRow, Vec<AssetReference>), UiError> {
    let row = find(ui, id).await?;
    let references = references(ui, scope, &[id]).await?;
    if references.is_empty() && scope.seen().listed().is_some() {
        return Err(UiError::NotFound(format!("asset {id} does not exist")));
    }
    Ok((row, references))
}

/// The task instance that made the event, or who did.
pub fn source(event: &AssetEventRow) -> Html {
    match (&event.source_dag_id, &event.source_run_id, &event.source_task_id) {
        (Some(dag_id), Some(run_id), Some(task_id)) => {
            let href = links::task(dag_id, run_id, task_id, event.source_map_index);
            Html::new().link(&href, format_args!("{dag_id}.{}", label(task_id, event.source_map_index, None)))
        }
        _ => Html::new().text(event.created_by.as_deref().unwrap_or("unknown")),
    }
}

/// `GET /assets/{asset_id}`
pub async fn show(
    State(ui): State<UiState>,
    Scoped(scope): Scoped,
    frame: Frame,
    Path(asset_id): Path<i64>,
    Query(query): Query<ListQuery>,
) -> Result<Response, UiError> {
    let (row, references) = find_seen(&ui, &scope, asset_id).await?;
    let zone = frame.zones_of_none();
    let mut waiting: BTreeMap<DagId, usize> = BTreeMap::new();
    let queued =
        ui.store.asset_queue_list(&QueuedEventFilter { asset: Some(row.id), ..QueuedEventFilter::default() }).await?;
    for event in queued.into_iter().filter(|event| scope.sees(&event.dag_id)) {
        *waiting.entry(event.dag_id).or_default() += 1;
    }
    let filter = AssetEventFilter {
        dags: scope.seen().clone(),
        asset: (!row.is_alias).then_some(row.id),
        alias: row.is_alias.then_some(row.id),
        order: Order::Descending,
        ..AssetEventFilter::default()
    };
    let listed = ui.store.asset_event_list(&filter, Page { limit: ROWS, offset: query.offset }).await?;
    let keys: Vec<_> = listed.items.iter().map(|event| event.key).collect();
    let mut consumed: BTreeMap<i64, Vec<DagRunRow>> = BTreeMap::new();
    let runs = ui.store.dag_run_list_by_asset_events(&keys).await?;
    for consumer in runs.into_iter().filter(|consumer| scope.sees(&consumer.run.dag_id)) {
        consumed.entry(consumer.event).or_default().push(consumer.run);
    }
    let runs = |event: i64| {
        consumed.get(&event).into_iter().flatten().fold(Html::new(), |html, run| {
            let name = format!("{} of {}", run.run_id, run.dag_id);
            html.markup("<div>")
                .markup(StateView::from(run.state).badge())
                .text(" ")
                .link(&links::run(&run.dag_id, &run.run_id), &name)
                .markup("</div>")
        })
    };
    let events: Vec<_> = listed
        .items
        .into_iter()
        .map(|event| EventLine {
            key: event.key,
            asset: Html::new().link(&href(event.asset), &event.name),
            at: When { at: Some(event.timestamp), zone },
            source: source(&event),
            runs: runs(event.key),
            extra: if event.extra == "{}" { String::new() } else { event.extra },
        })
        .collect();
    let facts = Facts::new()
        .text("URI", &row.uri)
        .text("Group", &row.group)
        .html("Made by", named(&row, &references, "outlet"))
        .html("Read by", named(&row, &references, "inlet"))
        .html("Run after it", named(&row, &references, "schedule"))
        .maybe("Extra", (row.extra != "{}").then(|| row.extra.clone()));
    let base_href = href(row.id);
    let offset = usize::try_from(query.offset).unwrap_or(0);
    Ok(page(&AssetView {
        shell: frame
            .shell(Section::Assets, "asset", format!("{} {}", if row.is_alias { "Alias" } else { "Asset" }, row.name))
            .live(EVENTS.into()),
        crumbs: Crumbs::new([("/assets".to_owned(), "Assets".to_owned())]),
        facts,
        queued: waiting
            .into_iter()
            .map(|(dag_id, count)| QueuedLine { href: links::dag(&dag_id), dag_id, count })
            .collect(),
        pager: Pager::new(offset, ROWS as usize, events.len(), listed.total, |at| format!("{base_href}?offset={at}")),
        events,
        name: row.name,
        is_alias: row.is_alias,
        base_href,
    }))
}

#[derive(Debug, Deserialize)]
pub struct NameQuery {
    name: AssetName,
}

/// `GET /assets/named?name=...`
pub async fn named_one(
    State(ui): State<UiState>,
    Scoped(scope): Scoped,
    Query(query): Query<NameQuery>,
) -> Result<Redirect, UiError> {
    let missing = || UiError::NotFound(format!("asset `{}` does not exist", query.name));
    let row = ui.store.asset_get_by_name(&query.name).await?.ok_or_else(missing)?;
    find_seen(&ui, &scope, row.id).await.map_err(|error| match error {
        UiError::NotFound(_) => missing(),
        other => other,
    })?;
    Ok(Redirect::to(&href(row.id)))
}

/// `POST /assets/{asset_id}/event`: as if a task had made it.
pub async fn update(
    State(ui): State<UiState>,
    user: CurrentUser,
    Path(asset_id): Path<i64>,
) -> Result<Response, UiError> {
    let row = find(&ui, asset_id).await?;
    ui.scheduler.asset_update(row.name.clone(), "{}".to_owned(), user.username).await?;
    Ok(go_and_tell(&href(row.id), &format!("Asset {} was updated.", row.name)))
}
