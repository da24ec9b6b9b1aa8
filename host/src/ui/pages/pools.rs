//! Pools of slots.

use axum::{
    Form,
    extract::{Query, State},
    response::Response,
};
use serde::Deserialize;

use super::{
    settings::{FormView, KeyQuery, Kind, ListLine, ListQuery, SettingField, SettingKind, Wrong, given},
    task_instances,
};
use crate::{
    auth::Audit,
    model::{ids::PoolName, role::Permission},
    store::{Like, Order, PoolRow, PoolUse},
    ui::{
        UiState,
        error::UiError,
        links,
        shell::{Frame, Section, page},
    },
};

const POOLS: Kind = Kind {
    section: Section::Pools,
    path: "/pools",
    one: "pool",
    many: "pools",
    about: "A pool limits how many task instances that name it run at a time, over all DAGs.",
    empty: "Tasks that name no pool are in default_pool.",
    columns: &["Name", "Slots", "Occupied", "Scheduled", "Waiting tasks hold slots", "Description"],
    permission: Permission::PoolWrite,
    loss: "Task instances that name it wait until there is such a pool again.",
};

/// `GET /pools`
pub async fn list(
    State(ui): State<UiState>,
    frame: Frame,
    Query(query): Query<ListQuery>,
) -> Result<Response, UiError> {
    let listed = ui.store.pool_list(&Like::default(), Order::Ascending, query.page()).await?;
    let used = ui.store.pool_use().await?;
    let line = |row: &PoolRow| {
        let used = used.iter().find(|used| used.pool == row.name.as_str()).cloned().unwrap_or_default();
        let slots = if row.slots < 0 { "unlimited".to_owned() } else { row.slots.to_string() };
        let waiting = if row.include_deferred { "yes" } else { "no" };
        let scheduled = used.scheduled.to_string();
        let description = row.description.clone().unwrap_or_default();
        let cells = [slots, occupied(&used, row), scheduled, waiting.to_owned(), description];
        let line = POOLS.line(row.name.as_str(), cells);
        let is_default = row.name == PoolName::default_pool();
        let asked = [("state", task_instances::ACTIVE), ("pool", row.name.as_str())];
        let more = Some((links::with_query(task_instances::PATH, &asked), "Task instances"));
        ListLine { more, delete_href: line.delete_href.filter(|_| !is_default), ..line }
    };
    let rows = listed.items.iter().map(line).collect();
    let mut view = POOLS.list(frame, &query, rows, listed.total).offered();
    view.shell = view.shell.live("/ui/events?of=tasks".into());
    Ok(page(&view))
}

/// How many slots are taken, and in which states by whom. The words are the API's.
fn occupied(used: &PoolUse, pool: &PoolRow) -> String {
    let deferred = if pool.include_deferred { used.deferred } else { 0 };
    let holders = [(used.running, "running"), (used.queued, "queued"), (deferred, "deferred")];
    let told: Vec<_> =
        holders.iter().filter(|(slots, _)| *slots > 0).map(|(slots, state)| format!("{slots} {state}")).collect();
    match told.as_slice() {
        [] => "0".to_owned(),
        told => format!("{}: {}", used.occupied(pool), told.join(", ")),
    }
}

async fn find(ui: &UiState, name: &str) -> Result<PoolRow, UiError> {
    ui.store.pool_get(&PoolName::new(name)?).await?.ok_or_else(|| POOLS.missing(name))
}

#[derive(Debug, Default, Deserialize)]
pub struct PoolForm {
    key: String,
    #[serde(default)]
    slots: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    include_deferred: bool,
    #[serde(default)]
    is_new: bool,
}

fn form(frame: Frame, typed: PoolForm, wrong: Option<Wrong>) -> FormView {
    let fields = vec![
        SettingField::key("key", "Name", &typed.key, typed.is_new),
        SettingField::new(SettingKind::Text, "slots", "Slots", typed.slots).required().help("-1: unlimited."),
        SettingField::new(SettingKind::Text, "description", "Description", typed.description),
        SettingField::check("include_deferred", "Waiting tasks hold their slots", typed.include_deferred),
    ];
    POOLS.form(frame, (&typed.key, typed.is_new), fields, wrong)
}

/// `GET /pools/edit`: a new one, or `?key=...`.
pub async fn edit(State(ui): State<UiState>, frame: Frame, Query(query): Query<KeyQuery>) -> Result<Response, UiError> {
    if query.key.is_empty() {
        return Ok(page(&form(frame, PoolForm { is_new: true, ..PoolForm::default() }, None)));
    }
    let row = find(&ui, &query.key).await?;
    let typed = PoolForm {
        key: query.key,
        slots: row.slots.to_string(),
        description: row.description.unwrap_or_default(),
        include_deferred: row.include_deferred,
        is_new: false,
    };
    Ok(page(&form(frame, typed, None)))
}

/// `POST /pools/edit`
pub async fn save(
    State(ui): State<UiState>,
    audit: Audit,
    frame: Frame,
    Form(typed): Form<PoolForm>,
) -> Result<Response, UiError> {
    let refuse = |frame, typed, wrong| Ok(form(frame, typed, Some(wrong)).refused());
    let name = match PoolName::new(typed.key.trim()) {
        Ok(name) => name,
        Err(error) => return refuse(frame, typed, Wrong::at("key", error)),
    };
    let Some(slots) = typed.slots.trim().parse().ok().filter(|slots| *slots >= -1) else {
        return refuse(frame, typed, Wrong::at("slots", "slots must be a number, 0 or more, or -1 for unlimited"));
    };
    let alone = ui.updates.lock().await;
    let known = ui.store.pool_get(&name).await?;
    if typed.is_new && known.is_some() {
        return refuse(frame, typed, POOLS.taken(name.as_str()));
    }
    let description = given(&typed.description);
    let row = PoolRow { name: name.clone(), slots, description, include_deferred: typed.include_deferred };
    audit.change(name.as_str(), &known.map(|known| known.shown()).unwrap_or_default(), &row.shown());
    ui.store.pool_put(&row).await?;
    drop(alone);
    ui.scheduler.pools_changed().await?;
    Ok(POOLS.saved(name.as_str()))
}

/// `GET /pools/delete?key=...`
pub async fn confirm_delete(
    State(ui): State<UiState>,
    frame: Frame,
    Query(query): Query<KeyQuery>,
) -> Result<Response, UiError> {
    find(&ui, &query.key).await?;
    Ok(POOLS.confirm_delete(frame, &query.key))
}

/// `POST /pools/delete`
pub async fn delete(State(ui): State<UiState>, audit: Audit, Form(query): Form<KeyQuery>) -> Result<Response, UiError> {
    let name = PoolName::new(&query.key)?;
    if name == PoolName::default_pool() {
        return Err(UiError::Conflict("the default pool can't be deleted".into()));
    }
    let alone = ui.updates.lock().await;
    let known = ui.store.pool_get(&name).await?.map(|known| known.shown());
    audit.change(name.as_str(), &known.unwrap_or_default(), &serde_json::Value::Null);
    ui.store.pool_delete(&name).await?;
    drop(alone);
    ui.scheduler.pools_changed().await?;
    Ok(POOLS.deleted(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_tells_who_holds_its_slots() {
        let pool = |include_deferred| PoolRow {
            name: PoolName::default_pool(),
            slots: 4,
            description: None,
            include_deferred,
        };
        let used = PoolUse { running: 2, deferred: 1, scheduled: 7, ..PoolUse::default() };
        assert_eq!(occupied(&used, &pool(true)), "3: 2 running, 1 deferred");
        assert_eq!(occupied(&used, &pool(false)), "2: 2 running");
        assert_eq!(occupied(&PoolUse::default(), &pool(true)), "0");
    }
}
