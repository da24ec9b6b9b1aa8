//! The settings that the server runs with. Secrets are masked.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    error::ApiError,
    extract::{Path, Query},
    paths::ConfigPath,
};

/// The section of settings that stand in no table of `airlock.toml`. Airflow: `[core]`.
const CORE: &str = "core";

/// A setting, as `airlock config show` prints it.
#[derive(Debug, Clone)]
pub struct ShownSetting {
    /// As in `airlock.toml`; a dot is a table.
    pub key: &'static str,
    /// Secrets as `***`; none: it is not set.
    pub value: Option<String>,
}

/// Airflow: `Config`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Config {
    sections: Vec<ConfigSection>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ConfigSection {
    /// A table of `airlock.toml`; `core` is what stands in none.
    name: String,
    options: Vec<ConfigOption>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ConfigOption {
    key: String,
    value: String,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ConfigQuery {
    section: Option<String>,
}

/// The settings that are set, those of one section or all.
fn sections(settings: &[ShownSetting], of: Option<&str>) -> Vec<ConfigSection> {
    let mut sections: Vec<ConfigSection> = Vec::new();
    let set = settings.iter().filter_map(|setting| Some((setting.key, setting.value.as_deref()?)));
    for (key, value) in set {
        let (name, key) = key.split_once('.').unwrap_or((CORE, key));
        if of.is_some_and(|of| of != name) {
            continue;
        }
        let option = ConfigOption { key: key.to_owned(), value: value.to_owned() };
        match sections.iter_mut().find(|section| section.name == name) {
            Some(section) => section.options.push(option),
            None => sections.push(ConfigSection { name: name.to_owned(), options: vec![option] }),
        }
    }
    sections
}

/// The settings that are set, by the tables of `airlock.toml`.
#[utoipa::path(
    get, path = "/api/v2/config", tag = "Config", params(ConfigQuery), responses((status = 200, body = Config)),
)]
pub async fn get_config(State(api): State<Api>, Query(query): Query<ConfigQuery>) -> Result<Json<Config>, ApiError> {
    let sections = sections(&api.config.settings, query.section.as_deref());
    match query.section {
        Some(name) if sections.is_empty() => Err(ApiError::not_found(format!("nothing is set in section `{name}`"))),
        _ => Ok(Json(Config { sections })),
    }
}

/// One setting.
#[utoipa::path(
    get, path = "/api/v2/config/section/{section}/option/{option}", tag = "Config", params(ConfigPath),
    responses((status = 200, body = Config)),
)]
pub async fn get_config_value(State(api): State<Api>, Path(path): Path<ConfigPath>) -> Result<Json<Config>, ApiError> {
    let mut sections = sections(&api.config.settings, Some(&path.section));
    for section in &mut sections {
        section.options.retain(|option| option.key == path.option);
    }
    if sections.iter().all(|section| section.options.is_empty()) {
        let text = format!("option `{}` of section `{}` is not set, or is no setting", path.option, path.section);
        return Err(ApiError::not_found(text));
    }
    Ok(Json(Config { sections }))
}
