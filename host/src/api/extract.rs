//! How requests are read: paths, queries and JSON bodies into domain types, or a 404, 413, 415 or 422 that says why not.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, MatchedPath, Request, path::ErrorKind, rejection::PathRejection},
    http::{StatusCode, header, request::Parts},
};
use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;
use utoipa::IntoParams;

use super::{
    error::{ApiError, Place},
    held::Holding,
    unserved,
};
use crate::{
    model::{
        media_type::is_json,
        time::{Timestamp, TimestampError},
    },
    store::{Like, Order, Page},
};

/// The most items that a page has, whatever was asked for. Airflow: `[api] maximum_page_limit`.
pub const MAX_PAGE_LIMIT: u32 = 100;

/// Alternatives of a pattern.
const MAX_ALTERNATIVES: usize = 100;
/// Bytes of a pattern's alternatives together.
const MAX_PATTERN_BYTES: usize = 4 << 10;

/// Parameters of the path. A name that can't be one names nothing: 404.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => Err(match error.into_kind() {
                ErrorKind::DeserializeError { message, .. } | ErrorKind::Message(message) => {
                    ApiError::not_found(message)
                }
                ErrorKind::ParseErrorAtKey { key, expected_type, .. } => {
                    ApiError::invalid(["path".to_owned(), key], format!("it must be a number ({expected_type})"))
                }
                other => ApiError::not_found(format!("the path can't be read: {other}")),
            }),
            Err(_) => Err(ApiError::not_found("the path can't be read")),
        }
    }
}

/// Parameters of the query, which may be repeated. Unknown ones are passed over, as Airflow does, but for those that only
/// Airflow knows: see [`unserved`].
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        unserved::refuse(parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str), query)?;
        let deserializer = serde_html_form::Deserializer::from_bytes(query.as_bytes());
        serde_path_to_error::deserialize(deserializer)
            .map(Self)
            .map_err(|error| ApiError::invalid(places("query", error.path()), wrong_query(error.inner().to_string())))
    }
}

/// What is wrong with a query, where those who read it say it in words of their own.
fn wrong_query(text: String) -> String {
    match text.as_str() {
        "unsupported value" => "it is given more than once".to_owned(),
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "it must be a whole number".to_owned()
        }
        "number too large to fit in target type" | "number too small to fit in target type" => {
            "it is out of range".to_owned()
        }
        _ => text,
    }
}

/// A JSON body.
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        says_json(&request)?;
        let body = read_body(request, state, Becomes::Tree).await?;
        read_json(&body).map(Self)
    }
}

/// A JSON body whose values stay the text that they are (`RawValue`), and take no more memory than it.
pub struct FlatJson<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for FlatJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        says_json(&request)?;
        let body = read_body(request, state, Becomes::Text).await?;
        read_json(&body).map(Self)
    }
}

/// A JSON body, or none.
pub struct OptionalJson<T>(pub Option<T>);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        // Of nothing it does not matter what it is.
        let is_json = says_json(&request);
        let body = read_body(request, state, Becomes::Tree).await?;
        match (body.is_empty(), is_json) {
            (true, _) => Ok(Self(None)),
            (false, Ok(())) => read_json(&body).map(|body| Self(Some(body))),
            (false, Err(error)) => Err(error),
        }
    }
}

fn says_json(request: &Request) -> Result<(), ApiError> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type.is_some_and(is_json) {
        return Ok(());
    }
    let detail = "the body must be JSON; send it with `Content-Type: application/json`";
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail))
}

/// What a body is in memory when it is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Becomes {
    Text,
    Tree,
}

async fn read_body<S: Send + Sync>(request: Request, state: &S, becomes: Becomes) -> Result<Bytes, ApiError> {
    let holding = request.extensions().get::<Arc<Holding>>().cloned();
    let body = Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large("the body is larger than this request may be"),
        _ => ApiError::bad_request("the body could not be read to its end"),
    })?;
    if let Some(holding) = holding.filter(|_| becomes == Becomes::Tree) {
        holding.add_tree(&body)?;
    }
    Ok(body)
}

fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // All bodies are objects. Of a list, serde would make one whose first field is its first element.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(ApiError::invalid(["body"], "it must be a JSON object, not a list"));
    }
    // serde_json refuses more than 128 levels.
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let (mut place, what) = (places("body", error.path()), wrong_json(error.inner()));
        // As in Airflow, what is missing has a place, too.
        let missing = what.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        place.extend(missing.map(Place::from));
        ApiError::invalid(place, what)
    })?;
    deserializer.end().map_err(|error| ApiError::invalid(["body"], error.to_string()))?;
    Ok(value)
}

/// What is wrong with a body. Where a value stands that is not wanted is said by its name, not by line and column, and what is wanted
/// not by a name of Rust's.
fn wrong_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let Some((what, _)) = text.rsplit_once(" at line ").filter(|_| error.is_data()) else { return text };
    let Some((given, wanted)) = what.rsplit_once(", expected ") else { return what.to_owned() };
    let wanted = match wanted {
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" => "a whole number, 0 or more",
        "i32" => "a whole number from -2147483648 to 2147483647",
        "i64" => "a whole number",
        "f64" => "a number",
        ours if ours.starts_with("struct ") => "an object",
        other => other,
    };
    format!("{given}, expected {wanted}")
}

fn places(root: &str, path: &serde_path_to_error::Path) -> Vec<Place> {
    use serde_path_to_error::Segment;
    let steps = path.iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(Place::Index(*index)),
        Segment::Map { key } => Some(Place::Name(key.clone())),
        Segment::Enum { variant } => Some(Place::Name(variant.clone())),
        Segment::Unknown => None,
    });
    std::iter::once(Place::from(root)).chain(steps).collect()
}

/// One thing by its name, or `~` for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope<T> {
    All,
    One(T),
}

impl<T> Scope<T> {
    /// The one, or none for all.
    pub fn one(self) -> Option<T> {
        match self {
            Self::All => None,
            Self::One(one) => Some(one),
        }
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Scope<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "~" {
            return Ok(Self::All);
        }
        text.parse().map(Self::One).map_err(serde::de::Error::custom)
    }
}

/// Which page of a list.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// Items of a page; at most 100.
    #[serde(deserialize_with = "rows")]
    limit: u32,
    /// Items that come before it.
    #[serde(deserialize_with = "rows")]
    offset: u32,
    /// The field that the list is ordered by; with `-` before it in descending order. Refused if it can't be.
    order_by: Vec<String>,
}

/// Reads a number of rows; more than there can be are as many as there can be.
fn rows<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(serde::de::Error::custom("it must be a whole number, 0 or more"));
    }
    Ok(text.parse().unwrap_or(u32::MAX))
}

impl Default for Paging {
    fn default() -> Self {
        Self { limit: 50, offset: 0, order_by: Vec::new() }
    }
}

impl Paging {
    pub fn new(limit: u32, offset: u32, order_by: Option<String>) -> Self {
        Self { limit, offset, order_by: order_by.into_iter().collect() }
    }

    // Only together with what became of `order_by`, so that no list can pass over it.
    fn page(&self) -> Page {
        Page { limit: self.limit.min(MAX_PAGE_LIMIT), offset: self.offset }
    }

    /// What `order_by` says; empty if it says nothing.
    pub fn order_text(&self) -> &str {
        self.order_by.first().map_or("", String::as_str)
    }

    /// The page, and the order that is asked for, of those in `known`; none if none is. The first of `known` is what tells rows
    /// apart that are alike in the field: it may be named after the field, in the same direction.
    ///
    /// # Errors
    /// If a field is not one to order by, or more are named than the list is ordered by.
    pub fn sorted<T: Copy + PartialEq>(&self, known: &[(&str, T)]) -> Result<(Page, Option<(T, Order)>), ApiError> {
        let mut asked: Option<(T, Order)> = None;
        for text in &self.order_by {
            let (field, order) = match text.strip_prefix('-') {
                Some(field) => (field, Order::Descending),
                None => (text.as_str(), Order::Ascending),
            };
            let found = known.iter().find(|(name, _)| *name == field).map(|(_, by)| *by);
            let by = found.ok_or_else(|| {
                let names: Vec<_> = known.iter().map(|(name, _)| format!("`{name}`")).collect();
                unsortable(field, &format!("use one of {}", names.join(", ")))
            })?;
            match asked {
                None => asked = Some((by, order)),
                Some((first, direction))
                    if direction == order && (first == by || known.first().is_some_and(|(_, key)| *key == by)) => {}
                Some(_) => {
                    return Err(ApiError::bad_request(format!(
                        "the list is ordered by one field; leave out `order_by={text}`"
                    )));
                }
            }
        }
        Ok((self.page(), asked))
    }

    /// The page, and the direction, of a list that is ordered by its key, which has these names.
    ///
    /// # Errors
    /// If it is to be ordered by something else.
    pub fn sorted_by_key(&self, names: &[&str], usual: Order) -> Result<(Page, Order), ApiError> {
        let known: Vec<_> = names.iter().map(|name| (*name, ())).collect();
        let (page, asked) = self.sorted(&known)?;
        Ok((page, asked.map_or(usual, |((), order)| order)))
    }

    /// The page of a list that has one order only: by these fields, one after the other, as `order_by` would say it.
    ///
    /// # Errors
    /// If it is to have another.
    pub fn in_order(&self, fields: &[&str]) -> Result<Page, ApiError> {
        let known = fields.iter().copied().map(Some).chain(std::iter::repeat(None));
        match self.order_by.iter().zip(known).find(|(asked, known)| *known != Some(asked.as_str())) {
            Some((asked, _)) if fields.is_empty() => Err(unsortable(asked, "leave `order_by` out")),
            Some((asked, _)) => Err(unsortable(asked, &format!("it has one order: `{}`", fields.join("`, then `")))),
            None => Ok(self.page()),
        }
    }
}

/// What a list is not ordered by.
fn unsortable(field: &str, instead: &str) -> ApiError {
    let field: String = field.chars().take(80).collect();
    ApiError::bad_request(format!("the list can't be ordered by `{field}`; {instead}"))
}

/// Refuses the fields of a body that it does not have. They are collected where `deny_unknown_fields` can't be: beside
/// `flatten`.
///
/// # Errors
/// If there are any; the first is named.
pub fn refuse_unknown(fields: &BTreeMap<String, Value>) -> Result<(), ApiError> {
    match fields.keys().next() {
        Some(name) => Err(ApiError::invalid(["body", name.as_str()], format!("unknown field `{name}`"))),
        None => Ok(()),
    }
}

/// Reads a field that must be there but may be null.
///
/// # Errors
/// As its type.
pub fn required<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// Reads a field that may be left out but must not be null.
///
/// # Errors
/// As its type.
pub fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// What a patch does with a field: one that is null is told from one that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Patch<T> {
    #[default]
    Keep,
    Set(Option<T>),
}

impl<T> Patch<T> {
    /// Whether the field is there, be it null.
    pub fn is_there(&self) -> bool {
        matches!(self, Self::Set(_))
    }

    /// What the field holds; nothing if it is null or not there.
    pub fn get(&self) -> Option<&T> {
        match self {
            Self::Keep => None,
            Self::Set(value) => value.as_ref(),
        }
    }

    /// What the field holds, taken out of it.
    pub fn into_value(self) -> Option<T> {
        match self {
            Self::Keep => None,
            Self::Set(value) => value,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::Set)
    }
}

/// Reads a yes or no of a query, in all the ways in which Airflow does: so Python writes `True`. A filter that is empty asks for
/// nothing; what is done or not is said.
///
/// # Errors
/// If it is neither.
pub fn flag<'de, D: Deserializer<'de>, T: From<bool> + Default + PartialEq>(deserializer: D) -> Result<T, D::Error> {
    match String::deserialize(deserializer)?.to_ascii_lowercase().as_str() {
        "" if T::default() != T::from(false) => Ok(T::default()),
        "true" | "t" | "yes" | "y" | "on" | "1" => Ok(true.into()),
        "false" | "f" | "no" | "n" | "off" | "0" => Ok(false.into()),
        _ => Err(serde::de::Error::custom("it must be `true` or `false`")),
    }
}

/// An instant in a query, in all the ways in which Airflow's clients write it: also with an offset without colon, with a
/// space for an unencoded `+` or between date and time, without seconds, and without an offset, which is UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instant(pub Timestamp);

impl FromStr for Instant {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let has_space = text.as_bytes().get(10) == Some(&b' ');
        let bare = if has_space { text.replacen(' ', "T", 1) } else { text.to_owned() };
        let plus = bare.replace(' ', "+");
        let times = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"];
        let with_offset = |time: &&str| DateTime::parse_from_str(&plus, &format!("{time}%#z")).ok();
        let without = |time: &&str| NaiveDateTime::parse_from_str(&bare, time).ok();
        let read = text.parse::<Timestamp>().or_else(|error| {
            let at = times.iter().find_map(with_offset).map(|at| at.with_timezone(&Utc));
            at.or_else(|| times.iter().find_map(without).map(|at| at.and_utc())).map(Timestamp::from).ok_or(error)
        });
        read.map(Self)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A filter by names, as Airflow's `*_pattern` (what they hold, with `%` for any text and `_` for any character) and
/// `*_prefix_pattern` (how they begin). `|` is or; `~` and nothing ask for nothing in particular.
///
/// # Errors
/// If it has more alternatives or is longer than names need: each name is compared with each.
pub fn pattern(holds: Option<&str>, begins: Option<&str>) -> Result<Like, ApiError> {
    let (holds, begins) = (alternatives(holds), alternatives(begins));
    let bytes: usize = holds.iter().chain(&begins).map(|text| text.len()).sum();
    if holds.len() + begins.len() > MAX_ALTERNATIVES || bytes > MAX_PATTERN_BYTES {
        return Err(ApiError::bad_request(format!(
            "a pattern has at most {MAX_ALTERNATIVES} alternatives and {MAX_PATTERN_BYTES} bytes"
        )));
    }
    Ok(Like {
        any: holds.into_iter().map(|text| format!("%{text}%")).collect(),
        prefixes: begins.into_iter().map(str::to_owned).collect(),
    })
}

/// A filter by what a text holds.
///
/// # Errors
/// If it is longer than texts need that are looked for.
pub fn text(holds: Option<&str>) -> Result<Like, ApiError> {
    match holds {
        None | Some("") => Ok(Like::default()),
        Some(text) if text.len() <= MAX_PATTERN_BYTES => Ok(Like::one(format!("%{text}%"))),
        Some(_) => Err(ApiError::bad_request(format!("a text to look for has at most {MAX_PATTERN_BYTES} bytes"))),
    }
}

/// A filter by what a text holds, in which no character has a meaning of its own.
///
/// # Errors
/// As [`text`].
pub fn literal(holds: Option<&str>) -> Result<Like, ApiError> {
    let escaped = holds.map(|holds| holds.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
    text(escaped.as_deref())
}

fn alternatives(text: Option<&str>) -> Vec<&str> {
    let texts = text.unwrap_or_default().split('|').map(str::trim).filter(|text| !text.is_empty());
    let texts: Vec<_> = texts.collect();
    if texts.contains(&"~") { Vec::new() } else { texts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_as_airflow_says() {
        let read = |holds, begins| {
            let Like { any, prefixes } = pattern(holds, begins).unwrap();
            (any.join(" "), prefixes.join(" "))
        };
        let texts = |any: &str, prefixes: &str| (any.to_owned(), prefixes.to_owned());
        assert_eq!(read(None, None), texts("", ""));
        assert_eq!(read(Some("~"), Some("")), texts("", ""));
        assert_eq!(read(Some("a_%"), None), texts("%a_%%", ""));
        assert_eq!(read(Some("a | b|"), Some("c|d")), texts("%a% %b%", "c d"));
        assert_eq!(read(Some("a|~"), Some("|")), texts("", ""));
        for (holds, fits) in
            [("a|".repeat(100), true), ("a|".repeat(101), false), ("a".repeat(4096), true), ("a".repeat(4097), false)]
        {
            assert_eq!(pattern(Some(&holds), None).is_ok(), fits, "{}", holds.len());
            assert_eq!(pattern(None, Some(&holds)).is_ok(), fits);
        }
        assert_eq!(literal(Some(r"a_%\|~")).unwrap(), Like::one(r"%a\_\%\\|~%"));
        assert_eq!(literal(Some("")).unwrap(), Like::default());
    }

    #[test]
    fn no_order_is_passed_over() {
        let paging = |order_by: &[&str]| Paging {
            order_by: order_by.iter().map(|field| (*field).to_owned()).collect(),
            ..Paging::default()
        };
        let sorted = |order_by: &[&str]| {
            let known = [("id", 1), ("name", 2), ("size", 3)];
            paging(order_by).sorted(&known).map(|(_, asked)| asked).map_err(|error| error.status().as_u16())
        };
        assert_eq!(sorted(&[]), Ok(None));
        assert_eq!(sorted(&["-name"]), Ok(Some((2, Order::Descending))));
        assert_eq!(sorted(&["-name", "-id"]), Ok(Some((2, Order::Descending))), "rows of one name are in this order");
        assert_eq!(sorted(&["name", "name"]), Ok(Some((2, Order::Ascending))));
        for wrong in
            [&["colour"][..], &["-"], &[""], &["name", "colour"], &["name", "-id"], &["name", "size"], &["id", "-id"]]
        {
            assert_eq!(sorted(wrong), Err(400), "{wrong:?}");
        }
        let by_key = |order_by: &[&str]| paging(order_by).sorted_by_key(&["id", "when"], Order::Descending);
        assert_eq!(by_key(&[]).map(|(_, order)| order).ok(), Some(Order::Descending));
        assert_eq!(by_key(&["when", "id"]).map(|(_, order)| order).ok(), Some(Order::Ascending));
        assert!(by_key(&["name"]).is_err());
        let in_order = |order_by: &[&str]| paging(order_by).in_order(&["-id", "name"]).is_ok();
        assert!(in_order(&[]) && in_order(&["-id"]) && in_order(&["-id", "name"]));
        assert!(!in_order(&["id"]) && !in_order(&["name"]) && !in_order(&["-id", "name", "x"]));
        let told = paging(&["name"]).in_order(&["-id", "name"]).err().unwrap();
        assert!(told.said().contains("it has one order: `-id`, then `name`"), "what it names is what is taken");
        assert!(paging(&["id"]).in_order(&[]).is_err_and(|error| error.said().contains("leave `order_by` out")));
    }

    #[test]
    fn instants_are_read_as_clients_write_them() {
        let expected: Timestamp = "2026-01-31T06:00:00.5Z".parse().unwrap();
        for text in [
            "2026-01-31T06:00:00.5Z",
            "2026-01-31T15:00:00.500000+09:00",
            "2026-01-31T06:00:00.500000+0000",
            "2026-01-31T15:00:00.5 09:00",
            "2026-01-31T06:00:00.500000",
            "2026-01-31 06:00:00.500000",
            "2026-01-31 15:00:00.5 09:00",
            "2026-01-31 15:00:00.5+09:00",
        ] {
            assert_eq!(text.parse(), Ok(Instant(expected)), "{text}");
        }
        let minute: Timestamp = "2026-01-31T06:00:00Z".parse().unwrap();
        for text in ["2026-01-31T06:00Z", "2026-01-31T15:00+09:00", "2026-01-31T15:00 09:00", "2026-01-31 06:00"] {
            assert_eq!(text.parse(), Ok(Instant(minute)), "{text}");
        }
        assert_eq!("2026-01-31".parse(), Ok(Instant("2026-01-31T00:00:00Z".parse().unwrap())));
        assert!("yesterday".parse::<Instant>().is_err());
    }
}
