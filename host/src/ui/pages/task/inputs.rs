//! What an instance was given.

use std::collections::BTreeMap;

use askama::Template;
use serde_json::{Map, Value};

use super::{super::run::pretty, Found, outputs::shown, part};
use crate::{
    model::{
        dag::{Node, Source},
        expand::List,
        ids::XComKey,
        spec::SourceSpec,
    },
    store::InstanceKey,
    ui::{UiState, error::UiError, show::Html},
};

#[derive(Template)]
#[template(path = "task_inputs.html")]
struct InputsPart {
    inputs: Vec<InputView>,
}

struct InputView {
    name: String,
    source: String,
    text: Option<String>,
    not_shown: Option<String>,
}

pub async fn view(ui: &UiState, found: &Found, try_number: u32) -> Result<Html, UiError> {
    let mut inputs = Vec::new();
    let rendered = rendered(ui, found, try_number).await?;
    let params: serde_json::Value =
        serde_json::from_str(found.run.conf.as_deref().unwrap_or_default()).unwrap_or_default();
    for binding in found.node().map(|node| node.inputs.as_slice()).unwrap_or_default() {
        let (source, text, not_shown) = match &binding.source {
            Source::Literal(SourceSpec::Literal(json)) => ("fixed".to_owned(), Some(pretty(json)), None),
            Source::Literal(SourceSpec::Bytes { media_type, .. }) => {
                (format!("fixed, {media_type}"), None, Some("It is not text.".to_owned()))
            }
            Source::Literal(SourceSpec::Param(name)) | Source::Param(name) => {
                let value = params.get(name).map(|value| pretty(&value.to_string()));
                let missing = value.is_none().then(|| "The run has no such param.".to_owned());
                (format!("param {name}"), value, missing)
            }
            Source::Literal(SourceSpec::Output(name)) => (format!("result of {name}"), None, None),
            Source::Literal(SourceSpec::Element { .. }) => ("an element".to_owned(), None, None),
            Source::Literal(SourceSpec::Template(json)) => ("template".to_owned(), Some(pretty(json)), None),
            Source::Template(written) => {
                let written = text_of(&written.text);
                if let Some(value) = rendered.get(&binding.name) {
                    (format!("template {written}"), Some(shown_value(value)), None)
                } else {
                    let why = "It is a template, and not rendered (yet).".to_owned();
                    ("template".to_owned(), Some(written), Some(why))
                }
            }
            Source::Output(upstream) => output(ui, found, *upstream).await?,
            Source::Element { axis, list } => element(ui, found, *axis as usize, *list as usize).await?,
        };
        inputs.push(InputView { name: binding.name.clone(), source, text, not_shown });
    }
    part(&InputsPart { inputs })
}

/// What the templates of a try became, by input.
async fn rendered(ui: &UiState, found: &Found, try_number: u32) -> Result<Map<String, Value>, UiError> {
    if !found.node().is_some_and(Node::has_templates) {
        return Ok(Map::new());
    }
    let wanted = [(found.key.clone(), try_number)];
    let fields = ui.store.rendered_fields_list(&wanted).await?.remove(&wanted[0]);
    Ok(fields.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default())
}

/// A template as it was written: a text without its quotes.
fn text_of(json: &str) -> String {
    serde_json::from_str::<String>(json).unwrap_or_else(|_| pretty(json))
}

/// A rendered value: a text as it is.
fn shown_value(value: &Value) -> String {
    value.as_str().map_or_else(|| pretty(&value.to_string()), ToOwned::to_owned)
}

/// The result of an upstream task, as an input.
async fn output(
    ui: &UiState,
    found: &Found,
    upstream: u32,
) -> Result<(String, Option<String>, Option<String>), UiError> {
    let dag = &found.shape.dag;
    let node = dag.node(upstream);
    let source = format!("result of {}", node.task_id);
    let own = found.node();
    let is_together = own.is_some_and(|own| dag.mapped_group(own) == dag.mapped_group(node)) && node.expand.is_none();
    let map_index = match dag.expansion(node) {
        None => -1,
        Some(_) if is_together => found.key.map_index,
        Some(_) => return Ok((source, None, Some("A list of the results of all its instances.".into()))),
    };
    let key = InstanceKey { dag_run: found.key.dag_run, task_id: node.task_id.clone(), map_index };
    let Some(value) = ui.store.xcom_get(&key, &XComKey::return_value()).await? else {
        return Ok((source, None, Some("It has no result (yet).".into())));
    };
    let (text, not_shown) = shown(&value);
    Ok((source, text, not_shown))
}

/// The instance's element of a list that it is expanded over, as an input.
async fn element(
    ui: &UiState,
    found: &Found,
    axis: usize,
    list: usize,
) -> Result<(String, Option<String>, Option<String>), UiError> {
    let dag = &found.shape.dag;
    let unknown = || ("an element".to_owned(), None, Some("It is not known (yet).".to_owned()));
    let Some(expand) = found.node().and_then(|node| dag.expansion(node)) else { return Ok(unknown()) };
    let mut lists: BTreeMap<u32, Vec<serde_json::Value>> = BTreeMap::new();
    for source in expand.sources() {
        let (task_id, map_index) = (dag.node(source).task_id.clone(), -1);
        let key = InstanceKey { dag_run: found.key.dag_run, task_id, map_index };
        let value = ui.store.xcom_get(&key, &XComKey::return_value()).await?;
        let text = value.as_ref().and_then(|value| shown(value).0);
        lists.extend(text.and_then(|text| serde_json::from_str(&text).ok()).map(|list| (source, list)));
    }
    let length = |source| lists.get(&source).map(|list| u32::try_from(list.len()).unwrap_or(u32::MAX));
    let index = u32::try_from(found.key.map_index).ok();
    let Some(index) = index.and_then(|map_index| expand.element(axis, map_index, length)) else { return Ok(unknown()) };
    let at = index as usize;
    Ok(match &expand.axes[axis][list] {
        List::Literal(elements) => {
            (format!("element {index} of a fixed list"), elements.get(at).map(|json| pretty(json)), None)
        }
        List::Output(source) => {
            let item = lists.get(source).and_then(|list| list.get(at));
            let item = item.map(|item| pretty(&item.to_string()));
            let missing =
                item.is_none().then(|| "The list is too long to be shown, or that of a mapped task.".to_owned());
            (format!("element {index} of the result of {}", dag.node(*source).task_id), item, missing)
        }
    })
}
