//! The templates of a dag, checked.

use std::collections::BTreeSet;

use serde_json::Value;

use super::shorten;
use crate::model::{
    grants::Grants,
    spec::{BindingSpec, ConcurrencySpec, DagSpec, NodeSpec, SourceSpec},
    template::{Names, Template, TemplateError, TextTemplate},
};

/// An input in which there are templates.
#[derive(Debug, Clone)]
pub struct TemplateInput {
    /// JSON, as it was written.
    pub text: String,
    pub template: Template,
}

/// How many may be at a time of those whose key is rendered to the same text.
#[derive(Debug, Clone)]
pub struct Concurrency {
    pub key: TextTemplate,
    /// At least 1.
    pub limit: u32,
}

/// What the templates of a dag may name.
pub(super) struct Words<'a> {
    pub params: BTreeSet<&'a str>,
    pub grants: &'a Grants,
}

impl<'a> Words<'a> {
    pub fn new(spec: &'a DagSpec, grants: &'a Grants) -> Self {
        Self { params: spec.params.iter().map(|param| param.name.as_str()).collect(), grants }
    }

    pub fn input(&self, name: &str, json: &str, schema: &str) -> Result<TemplateInput, String> {
        let value: Value =
            serde_json::from_str(json).map_err(|error| format!("input `{name}` is not JSON: {error}"))?;
        // A schema that can't be read says nothing of what is wanted.
        let schema = serde_json::from_str(schema).unwrap_or_default();
        let names = Names { params: &self.params, grants: Some(self.grants), has_task: true, inputs: None };
        match Template::new(&value, &schema, &names) {
            Ok(template) => Ok(TemplateInput { text: json.to_owned(), template }),
            Err((at, error)) if at.is_empty() => Err(format!("input `{name}`: the template is wrong in {error}")),
            Err((at, error)) => Err(format!("input `{name}`: the template at `{}` is wrong in {error}", shorten(&at))),
        }
    }

    pub fn label(&self, node: &NodeSpec, is_mapped: bool) -> Result<Option<TextTemplate>, String> {
        let Some(text) = &node.map_index_template else { return Ok(None) };
        if !is_mapped {
            return Err("it has a map_index_template and is not mapped; leave it out".into());
        }
        let template = self.of_instance(node, text);
        template.map(Some).map_err(|error| format!("its map_index_template is wrong in {error}"))
    }

    pub fn concurrency_of_task(&self, node: &NodeSpec) -> Result<Option<Concurrency>, String> {
        let is_fixed = node.expand.as_ref().is_none_or(|expand| expand.sources().next().is_none());
        // What is known when slots are given out, without reading anything.
        let is_known = |binding: &&BindingSpec| match &binding.source {
            SourceSpec::Literal(_) | SourceSpec::Param(_) => true,
            SourceSpec::Element { .. } => node.expand.is_some() && is_fixed,
            SourceSpec::Bytes { .. } | SourceSpec::Template(_) | SourceSpec::Output(_) => false,
        };
        let inputs = node.inputs.iter().filter(is_known).map(|binding| binding.name.as_str()).collect();
        let names = Names { params: &self.params, grants: None, has_task: true, inputs: Some(&inputs) };
        concurrency(node.concurrency.as_ref(), |text| TextTemplate::new(text, &names)).map_err(|why| {
            let unknown = node.inputs.iter().any(|binding| !is_known(&binding) && why.contains(&binding.name));
            if unknown {
                format!("{why}; a key sees inputs that are fixed, params, or elements of fixed lists")
            } else {
                why
            }
        })
    }

    fn of_instance(&self, node: &NodeSpec, text: &str) -> Result<TextTemplate, TemplateError> {
        let inputs: BTreeSet<_> = node.inputs.iter().map(|binding| binding.name.as_str()).collect();
        let grants = Some(self.grants);
        TextTemplate::new(text, &Names { params: &self.params, grants, has_task: true, inputs: Some(&inputs) })
    }
}

/// How many runs of a dag may run at a time with one key.
///
/// # Errors
/// If the key is not a template over the run and its params, or the limit is 0.
pub fn run_concurrency(spec: &DagSpec) -> Result<Option<Concurrency>, String> {
    let params = spec.params.iter().map(|param| param.name.as_str()).collect();
    let names = Names { params: &params, grants: None, has_task: false, inputs: None };
    concurrency(spec.concurrency.as_ref(), |text| TextTemplate::new(text, &names))
}

fn concurrency(
    spec: Option<&ConcurrencySpec>,
    template: impl Fn(&str) -> Result<TextTemplate, TemplateError>,
) -> Result<Option<Concurrency>, String> {
    let Some(ConcurrencySpec { key, limit }) = spec else { return Ok(None) };
    if *limit == 0 {
        return Err("concurrency_limit must be at least 1, or nothing would ever run".into());
    }
    if key.trim().is_empty() {
        return Err("its concurrency_key is empty; write a text such as `{{ params.customer }}`".into());
    }
    let key = template(key).map_err(|error| format!("its concurrency_key is wrong in {error}"))?;
    Ok(Some(Concurrency { key, limit: *limit }))
}
