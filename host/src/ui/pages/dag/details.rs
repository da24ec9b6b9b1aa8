//! What a dag is: schedule, limits, grants, params, versions.

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};

use super::{super::audit, DagHead};
use crate::{
    model::{ids::DagId, role::Permission, spec::ScheduleSpec},
    store::{DagVersionFilter, Page},
    ui::{
        UiState, doc,
        error::UiError,
        links,
        shell::{Frame, Section, Shell, page},
        show::{self, Facts, Html, Span, When},
    },
};

#[derive(Template)]
#[template(path = "dag_details.html")]
struct DetailsView {
    shell: Shell,
    head: DagHead,
    facts: Facts,
    params: Vec<ParamLine>,
    versions: Vec<VersionLine>,
    next_runs: Vec<show::WhenBoth>,
    doc: Html,
}

struct ParamLine {
    name: String,
    default: String,
    schema: String,
}

struct VersionLine {
    number: i64,
    href: String,
    digest: String,
    at: When,
    /// Its page; the only version has none.
    changes: Option<String>,
}

/// How many days of its calendar are holidays, if it has one.
fn holidays(schedule: &ScheduleSpec) -> Option<String> {
    match schedule {
        ScheduleSpec::Cron { calendar: Some(calendar), .. } => Some(show::grouped(calendar.holidays.len())),
        _ => None,
    }
}

/// How long runs are kept, for those who may say so with a link to do it.
fn kept(frame: &Frame, dag_id: &DagId, how_long: String) -> Html {
    if frame.may(Permission::RetentionWrite) {
        Html::new().link(&format!("{}/retention", links::dag(dag_id)), how_long)
    } else {
        Html::new().text(how_long)
    }
}

/// What all attempts may have together, for admins with a link to say so.
fn limits(frame: &Frame, dag_id: &DagId, words: String) -> Html {
    if frame.may(Permission::LimitsWrite) {
        Html::new().link(&format!("{}/limits", links::dag(dag_id)), words)
    } else {
        Html::new().text(words)
    }
}

/// `GET /dags/{dag_id}/details`
pub async fn details(State(ui): State<UiState>, frame: Frame, Path(dag_id): Path<DagId>) -> Result<Response, UiError> {
    let dag = ui.dag(&dag_id).await?;
    let spec = &dag.spec;
    let zone = frame.zones(spec);
    let versions = ui.store.dag_version_list(&DagVersionFilter::of_dag(dag_id.clone()), Page::first(20)).await?.items;
    let next_runs = ui.scheduler.next_runs(&dag_id, None, 10).await.unwrap_or_default();
    let seconds = |ms: u64| Span(Some(std::time::Duration::from_millis(ms)));
    let retention = ui.scheduler.retention().dags.of_dag(ui.store.dag_numbers_get(&dag_id).await?);
    let seen = ui.scheduler.dag_limits(&dag_id).await?;
    let has_webhook = ui.store.webhook_get(&dag_id).await?.is_some();
    let webhook = if has_webhook { format!("/hooks/{dag_id}") } else { "none".to_owned() };
    let told: Vec<_> = spec.callbacks.iter().map(|it| format!("{}: {}", it.event.as_str(), it.target)).collect();
    let types: Vec<_> = spec.allowed_run_types.iter().map(|it| it.as_str()).collect();
    let facts = Facts::new()
        .text("Schedule", show::schedule(spec))
        .text("Time zone", &spec.timezone)
        .html("Start", When { at: spec.start, zone })
        .html("End", When { at: spec.end, zone })
        .maybe("Holidays", holidays(&spec.schedule))
        .maybe("Jitter, at most", spec.jitter_ms.map(seconds))
        .text("Catchup", if spec.catchup { "yes" } else { "no" })
        .maybe("Runs come about", (!types.is_empty()).then(|| types.join(", ")))
        .text("Runs at a time", spec.max_active_runs)
        .text("Tasks at a time, per run", spec.max_active_tasks)
        .maybe(
            "Paused after failures in a row",
            (spec.max_consecutive_failed_dag_runs > 0).then_some(spec.max_consecutive_failed_dag_runs),
        )
        .maybe("Run timeout", spec.run_timeout_ms.map(seconds))
        .text("Tasks", show::grouped(spec.nodes.len()))
        .maybe("Owners", (!spec.owners.is_empty()).then(|| spec.owners.join(", ")))
        .maybe("Deadline of a run", spec.deadline_ms.map(seconds))
        .maybe("Who is told", (!told.is_empty()).then(|| told.join(", ")))
        .html("Webhook", Html::new().link(&format!("{}/webhook", links::dag(&dag_id)), webhook))
        .html("Runs are kept", kept(&frame, &dag_id, super::retention::runs(retention)))
        .text("Logs are kept", super::retention::logs(retention))
        .text("XComs and artifacts are kept", super::retention::data(retention))
        .html("Limits of all its attempts", limits(&frame, &dag_id, super::limits::words(&seen)))
        .html("Created", When { at: Some(dag.created_at), zone })
        .html("Changed", When { at: Some(dag.updated_at), zone });
    let params = spec
        .params
        .iter()
        .map(|param| ParamLine {
            name: param.name.clone(),
            default: param.default.clone().unwrap_or_else(|| "needed".into()),
            schema: param.schema.clone(),
        })
        .collect();
    let versions = versions
        .into_iter()
        .map(|version| VersionLine {
            number: version.version_number,
            href: links::component(&version.component),
            digest: super::super::components::short(&version.component),
            at: When { at: Some(version.created_at), zone },
            changes: (dag.version_number > 1).then(|| links::dag_version(&dag_id, version.version_number)),
        })
        .collect();
    let shell = frame.shell(Section::Dags, "dag-details", format!("{dag_id} details"));
    let facts = audit::with_changes(facts, &shell, &dag_id, None);
    Ok(page(&DetailsView {
        head: DagHead::new(&ui, &dag, "details", &shell, zone).await?,
        shell,
        facts,
        params,
        versions,
        next_runs: next_runs.into_iter().map(|run| show::WhenBoth(When { at: Some(run.run_after), zone })).collect(),
        doc: spec.doc.as_deref().map(doc::render).unwrap_or_default(),
    }))
}
