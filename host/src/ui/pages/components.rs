//! Components: the list, the upload, one of them.

use std::fmt::Write as _;

use askama::Template;
use axum::{
    extract::{Multipart, Path, Query, State},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;

use crate::{
    api::{audit, permit::Scoped},
    auth::{Audit, CurrentUser, DagScope},
    blobs::keys,
    model::{
        ids::{DagId, Digest},
        provenance::{Label, Package, Producer, Provenance},
        spec::{ComponentKind, EntrySpec, ParameterSpec},
    },
    store::{ComponentRow, Page},
    ui::{
        UiState, doc,
        error::UiError,
        links,
        shell::{Frame, Section, Shell, go_and_tell, page, page_with},
        show::{self, Bytes as Size, Crumbs, Facts, Html, Pager, When},
    },
};

const ROWS: u32 = 50;

/// The first digits of a digest.
pub fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(12).collect()
}

#[derive(Template)]
#[template(path = "components.html")]
struct ComponentsView {
    shell: Shell,
    error: Option<String>,
    /// What is uploaded has to be signed.
    is_signed: bool,
    rows: Vec<ComponentLine>,
    pager: Pager,
}

struct ComponentLine {
    digest: Digest,
    short: String,
    href: String,
    dags: String,
    entries: usize,
    size: Size,
    sdk: String,
    at: When,
    by: String,
}

#[derive(Debug, Default, Deserialize)]
pub struct ComponentsQuery {
    #[serde(default)]
    offset: u32,
}

async fn view(
    ui: &UiState,
    frame: Frame,
    scope: &DagScope,
    offset: u32,
    error: Option<String>,
) -> Result<ComponentsView, UiError> {
    let listed = ui.store.component_list(scope.seen(), Page { limit: ROWS, offset }).await?;
    let zone = frame.zones_of_none();
    let line = |row: &ComponentRow| ComponentLine {
        short: short(&row.digest),
        href: links::component(&row.digest),
        dags: if row.dag_ids.is_empty() { "none".into() } else { names(&row.dag_ids) },
        entries: row.module.entries.len(),
        size: Size(row.size_bytes),
        sdk: row.module.sdk.clone(),
        at: When { at: Some(row.uploaded_at), zone },
        by: row.uploaded_by.clone(),
        digest: row.digest,
    };
    let rows: Vec<_> =
        listed.items.into_iter().filter_map(|row| scope.of_component(row)).map(|row| line(&row)).collect();
    let start = usize::try_from(offset).unwrap_or(0);
    Ok(ComponentsView {
        shell: frame.shell(Section::Components, "components", "Components").live("/ui/events?of=dags".into()),
        error,
        is_signed: ui.scheduler.asks_for_signatures(),
        pager: Pager::new(start, ROWS as usize, rows.len(), listed.total, |at| format!("/components?offset={at}")),
        rows,
    })
}

fn names(dags: &[DagId]) -> String {
    let mut names: Vec<_> = dags.iter().take(5).map(DagId::to_string).collect();
    if dags.len() > names.len() {
        names.push(format!("{} more", dags.len() - names.len()));
    }
    names.join(", ")
}

/// `GET /components`
pub async fn list(
    State(ui): State<UiState>,
    Scoped(scope): Scoped,
    frame: Frame,
    Query(query): Query<ComponentsQuery>,
) -> Result<Response, UiError> {
    Ok(page(&view(&ui, frame, &scope, query.offset, None).await?))
}

/// `POST /components`: a form with the file as its field `component`, and what signs it as `signature`.
pub async fn upload(
    State(ui): State<UiState>,
    Scoped(scope): Scoped,
    frame: Frame,
    audit: Audit,
    user: CurrentUser,
    mut form: Multipart,
) -> Result<Response, UiError> {
    let unreadable = |error: axum::extract::multipart::MultipartError| UiError::Invalid(error.body_text());
    let mut upload = ui.scheduler.upload(&user.username)?;
    let (mut wasm, mut signature) = (None, None);
    while let Some(mut field) = form.next_field().await.map_err(unreadable)? {
        if field.name() == Some("component") {
            while let Some(piece) = field.chunk().await.map_err(unreadable)? {
                upload.push(&piece)?;
            }
            wasm = Some(upload.take());
        } else if field.name() == Some("signature") {
            let bytes = field.bytes().await.map_err(unreadable)?;
            signature = Some(String::from_utf8_lossy(&bytes).into_owned()).filter(|text| !text.is_empty());
        }
    }
    let refused = match wasm {
        Some(wasm) if !wasm.is_empty() => match ui.scheduler.deploy(wasm, signature.as_deref(), &user.uploader()).await
        {
            Ok(deployed) => {
                audit::uploaded(&audit, &deployed);
                let dags: Vec<_> = deployed.dags.iter().map(|dag| dag.dag_id.to_string()).collect();
                let mut what = match (deployed.created, dags.is_empty()) {
                    (false, _) => "The component was known already.".to_owned(),
                    (true, true) => "The component was uploaded.".to_owned(),
                    (true, false) => format!("The component was uploaded. Active now: {}.", dags.join(", ")),
                };
                let waiting: Vec<_> = deployed.pending().map(|(dag_id, _)| dag_id.to_string()).collect();
                if !waiting.is_empty() {
                    let _ = write!(
                        what,
                        " Asks for more than it may reach, and waits for an admin: {}.",
                        waiting.join(", ")
                    );
                }
                for dag in &deployed.dags {
                    let spec = ui.dag(&dag.dag_id).await?.spec;
                    for warning in ui.scheduler.dag_warnings(&spec).await? {
                        let _ = write!(what, " {}: {warning}.", dag.dag_id);
                    }
                }
                return Ok(go_and_tell(&links::component(&deployed.digest), &what));
            }
            Err(error) if error.is_refusal() => error.to_string(),
            Err(error) => return Err(error.into()),
        },
        _ => "no file was chosen; choose a component (.wasm), or dags in YAML".to_owned(),
    };
    Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &view(&ui, frame, &scope, 0, Some(refused)).await?))
}

#[derive(Template)]
#[template(path = "component.html")]
struct ComponentView {
    shell: Shell,
    crumbs: Crumbs,
    short: String,
    facts: Facts,
    dags: Vec<DagLine>,
    entries: Vec<EntryView>,
    /// How dags in YAML name its entries: what stands before the `/`.
    name: String,
    /// Dags whose tasks are entries of it without having come with it.
    users: Vec<(DagId, String)>,
    /// What it says of where it comes from.
    provenance: Option<ProvenanceView>,
    /// The text, if it is YAML.
    source: Option<String>,
}

struct ProvenanceView {
    facts: Facts,
    packages: Option<Vec<Package>>,
    notes: Vec<String>,
}

struct DagLine {
    dag_id: DagId,
    href: String,
    schedule: String,
    tasks: String,
    now: &'static str,
}

struct EntryView {
    name: String,
    signature: String,
    doc: Html,
    schemas: Vec<(String, String)>,
}

/// `GET /components/{digest}`
pub async fn show(
    State(ui): State<UiState>,
    Scoped(scope): Scoped,
    frame: Frame,
    Path(digest): Path<Digest>,
) -> Result<Response, UiError> {
    let missing = || UiError::NotFound(format!("component `{digest}` does not exist"));
    let whole = ui.store.component_get(digest).await?.ok_or_else(missing)?;
    let brought = whole.dag_ids.len();
    let row = scope.of_component(whole).ok_or_else(missing)?;
    let mut dags = Vec::new();
    for dag_id in row.dag_ids.iter().take(200) {
        let Some(dag) = ui.store.dag_get(dag_id).await? else { continue };
        dags.push(DagLine {
            href: links::dag(dag_id),
            schedule: show::schedule(&dag.spec),
            tasks: show::grouped(dag.spec.nodes.len()),
            now: if dag.component == digest { "its newest version" } else { "newer versions come from elsewhere" },
            dag_id: dag_id.clone(),
        });
    }
    let source = match row.module.kind {
        ComponentKind::Wasm => None,
        // It is the text of dags that may not be seen, too.
        ComponentKind::Yaml if row.dag_ids.len() < brought => None,
        ComponentKind::Yaml => {
            let stored = ui.blobs.get(&keys::component(&digest, ComponentKind::Yaml)).await?;
            Some(stored.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).ok_or_else(missing)?)
        }
    };
    let users = ui.store.component_users(digest).await?;
    let users = users
        .into_iter()
        .filter(|dag_id| scope.sees(dag_id))
        .map(|dag_id| (dag_id.clone(), links::dag(&dag_id)))
        .collect();
    let facts = Facts::new()
        .maybe("Name", (!row.module.name.is_empty()).then(|| named(&row)))
        .html("SHA-256", Html::new().markup("<code>").text(digest).markup("</code>"))
        .text("Size", Size(row.size_bytes))
        .text("SDK", &row.module.sdk)
        .html("Uploaded", When { at: Some(row.uploaded_at), zone: frame.zones_of_none() })
        .text("By", &row.uploaded_by)
        .maybe("Signed by", row.signer.clone());
    let provenance = ui.store.component_provenance(digest).await?.map(provenance);
    Ok(page(&ComponentView {
        shell: frame.shell(Section::Components, "component", format!("Component {}", short(&digest))),
        crumbs: Crumbs::new([("/components".to_owned(), "Components".to_owned())]),
        short: short(&digest),
        facts,
        dags,
        entries: row.module.entries.iter().take(200).map(entry).collect(),
        name: row.module.name.clone(),
        users,
        provenance,
        source,
    }))
}

/// `licenses` as `Licenses`: it is one of our own words, or as good as one.
fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn provenance(said: Provenance) -> ProvenanceView {
    let mut facts = Facts::new();
    for Label { name, value } in said.labels {
        facts = facts.text(&capital(&name), value);
    }
    for Producer { field, name, version } in said.producers {
        facts = facts.text(&capital(&field), format!("{name} {version}").trim());
    }
    let packages = said.packages.map(|packages| packages.into_iter().collect());
    ProvenanceView { facts, packages, notes: said.notes.into_iter().collect() }
}

/// The component's name and version, as it says them.
fn named(row: &ComponentRow) -> String {
    let module = &row.module;
    format!("{} {}", module.name, module.version).trim().to_owned()
}

fn entry(entry: &EntrySpec) -> EntryView {
    let input = |input: &ParameterSpec| format!("{}{}", input.name, if input.required { "" } else { "?" });
    let inputs: Vec<_> = entry.inputs.iter().map(input).collect();
    let mut schemas: Vec<_> =
        entry.inputs.iter().map(|input| (format!("Input {}", input.name), super::run::pretty(&input.schema))).collect();
    schemas.extend(entry.output.as_deref().map(|schema| ("Output".to_owned(), super::run::pretty(schema))));
    EntryView {
        name: entry.name.clone(),
        signature: format!("({})", inputs.join(", ")),
        doc: entry.doc.as_deref().map(doc::render).unwrap_or_default(),
        schemas,
    }
}
