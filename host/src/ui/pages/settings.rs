//! What variables, connections, pools and users have in common: a list, a form, a question before they go.

use std::{borrow::Cow, collections::BTreeSet, fmt::Display};

use askama::Template;
use axum::{http::StatusCode, response::Response};
use serde::Deserialize;

use super::{Question, confirm};
use crate::{
    model::role::Permission,
    store::Page,
    ui::{
        doc,
        error::UiError,
        links,
        shell::{Frame, Section, Shell, go_and_tell, page_with},
        show::{Crumbs, Html, Pager},
    },
    vault::{Found, Vault},
};

pub const ROWS: u32 = 100;

/// `?offset=..`
#[derive(Debug, Deserialize)]
pub struct ListQuery {
    #[serde(default)]
    pub offset: u32,
}

impl ListQuery {
    /// Which rows are shown.
    pub fn page(&self) -> Page {
        Page { limit: ROWS, offset: self.offset }
    }

    /// The ways to the other pages of the list at `path`.
    pub fn pager(&self, path: &str, shown: usize, total: i64) -> Pager {
        let offset = usize::try_from(self.offset).unwrap_or(0);
        Pager::new(offset, ROWS as usize, shown, total, |at| format!("{path}?offset={at}"))
    }
}

/// `?key=..`
#[derive(Debug, Default, Deserialize)]
pub struct KeyQuery {
    #[serde(default)]
    pub key: String,
}

/// One kind of settings: where its pages are, and what they say of it.
pub struct Kind {
    pub section: Section,
    /// Of the list; the other pages are below it.
    pub path: &'static str,
    /// One of them, in lower case.
    pub one: &'static str,
    /// Several, in lower case.
    pub many: &'static str,
    pub about: &'static str,
    /// What a list says that has none.
    pub empty: &'static str,
    pub columns: &'static [&'static str],
    /// What it takes to change one.
    pub permission: Permission,
    /// What follows when one goes.
    pub loss: &'static str,
}

/// `word` as it stands at the beginning of a line.
fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

impl Kind {
    /// A page of the list; `total` are on all of its pages.
    pub fn list(&self, frame: Frame, query: &ListQuery, rows: Vec<ListLine>, total: i64) -> ListView {
        let heading = capital(self.many);
        ListView {
            shell: frame.shell(self.section, self.many, heading.clone()),
            heading: heading.into(),
            about: self.about,
            empty: self.empty,
            new: Some((format!("{}/edit", self.path), format!("New {}", self.one))),
            permission: Some(self.permission),
            columns: self.columns.to_vec(),
            pager: query.pager(self.path, rows.len(), total),
            beside: Vec::new(),
            rows,
        }
    }

    /// A line of the list, whose first cell is the key.
    pub fn line(&self, key: &str, rest: impl IntoIterator<Item = String>) -> ListLine {
        ListLine::new(self.path, key, rest)
    }

    /// The form of a new one, or of that with the key.
    pub fn form(
        &self,
        frame: Frame,
        (key, is_new): (&str, bool),
        mut fields: Vec<SettingField>,
        wrong: Option<Wrong>,
    ) -> FormView {
        let heading = if is_new { format!("New {}", self.one) } else { format!("{} {key}", capital(self.one)) };
        fields.push(SettingField::new(SettingKind::Fixed, "is_new", "", is_new.to_string()));
        FormView {
            shell: frame.shell(self.section, self.one, heading.clone()),
            crumbs: self.crumbs(),
            heading,
            wrong,
            action: format!("{}/edit", self.path).into(),
            fields,
            back: self.path.into(),
        }
    }

    fn crumbs(&self) -> Crumbs {
        Crumbs::new([(self.path.to_owned(), capital(self.many))])
    }

    pub fn missing(&self, key: &str) -> UiError {
        UiError::NotFound(format!("{} `{key}` does not exist", self.one))
    }

    /// Why there can't be a new one.
    pub fn taken(&self, key: &str) -> Wrong {
        Wrong::at("key", format_args!("{} `{key}` exists already; edit it instead", self.one))
    }

    /// To the list, when one was saved.
    pub fn saved(&self, key: &str) -> Response {
        go_and_tell(self.path, &format!("{} {key} was saved.", capital(self.one)))
    }

    /// To the list, when one was deleted.
    pub fn deleted(&self, key: &str) -> Response {
        go_and_tell(self.path, &format!("{} {key} was deleted.", capital(self.one)))
    }

    /// Asks whether that with the key shall go.
    pub fn confirm_delete(&self, frame: Frame, key: &str) -> Response {
        let question = Question {
            section: self.section,
            crumbs: self.crumbs(),
            text: format!("Delete {key}?"),
            lines: vec![self.loss.to_owned()],
            action: format!("{}/delete", self.path),
            fields: vec![("key", key.to_owned())],
            verb: "Delete",
            dangerous: true,
            back: self.path.to_owned(),
        };
        confirm(frame, question)
    }
}

#[derive(Template)]
#[template(path = "settings_list.html")]
pub struct ListView {
    pub shell: Shell,
    pub heading: Cow<'static, str>,
    pub about: &'static str,
    pub empty: &'static str,
    /// Where one is made, and what the button says; none: that is not done here.
    pub new: Option<(String, String)>,
    /// What it takes to change something; none: everybody may.
    pub permission: Option<Permission>,
    pub columns: Vec<&'static str>,
    pub rows: Vec<ListLine>,
    pub pager: Pager,
    /// Other pages that belong to it, and their names.
    pub beside: Vec<(&'static str, &'static str)>,
}

pub struct ListLine {
    pub key: String,
    pub cells: Vec<String>,
    /// Where more of it is to be seen, and what the link says.
    pub more: Option<(String, &'static str)>,
    /// None of whoever may only look.
    pub edit_href: Option<String>,
    pub delete_href: Option<String>,
    /// What else can be done with it.
    pub deed: Option<Deed>,
}

/// A button that posts the key of its line.
pub struct Deed {
    pub action: &'static str,
    pub label: &'static str,
    /// What it does.
    pub title: &'static str,
}

impl ListLine {
    /// A line whose first cell is its key.
    pub fn new(path: &str, key: &str, rest: impl IntoIterator<Item = String>) -> Self {
        let address = |action: &str| links::with_query(&format!("{path}/{action}"), &[("key", key)]);
        Self {
            cells: std::iter::once(key.to_owned()).chain(rest).collect(),
            more: None,
            edit_href: Some(address("edit")),
            delete_href: Some(address("delete")),
            deed: None,
            key: key.to_owned(),
        }
    }
}

/// Shows where settings are kept, if any are outside of the database: as one more column, and the others as lines that can't be
/// edited, on the first page. `names`: those of a place that are of this kind.
///
/// # Errors
/// If a place can't be asked.
pub async fn tell_places(
    vault: &Vault,
    view: &mut ListView,
    is_first: bool,
    names: fn(&Found) -> &BTreeSet<String>,
) -> Result<(), UiError> {
    if !vault.has_backends() {
        return Ok(());
    }
    let outside = vault.outside().await?;
    let place_of = |key: &str| outside.iter().find(|(_, found)| found.has(names(found), key)).map(|(place, _)| place);
    view.columns.push("Kept in");
    for row in &mut view.rows {
        let hidden = place_of(&row.key).map(|place| format!(", hidden by {place}")).unwrap_or_default();
        row.cells.push(format!("the database{hidden}"));
    }
    let all: BTreeSet<&String> = outside.iter().flat_map(|(_, found)| names(found)).collect();
    for key in all.into_iter().filter(|_| is_first).take(ROWS as usize) {
        let mut cells = vec![key.clone()];
        cells.resize(view.columns.len() - 1, String::new());
        cells.push(place_of(key).cloned().unwrap_or_default());
        let key = key.clone();
        view.rows.push(ListLine { key, cells, more: None, edit_href: None, delete_href: None, deed: None });
    }
    Ok(())
}

#[derive(Template)]
#[template(path = "settings_form.html")]
pub struct FormView {
    pub shell: Shell,
    pub crumbs: Crumbs,
    pub heading: String,
    pub wrong: Option<Wrong>,
    pub action: Cow<'static, str>,
    pub fields: Vec<SettingField>,
    pub back: Cow<'static, str>,
}

/// What is wrong with what was typed.
pub struct Wrong {
    /// The field that it is about, by name; empty: it is about the form.
    field: &'static str,
    text: String,
}

impl Wrong {
    pub fn at(field: &'static str, text: impl Display) -> Self {
        Self { field, text: text.to_string() }
    }

    /// About several fields, or about nothing that can be typed.
    pub fn at_all(text: impl Display) -> Self {
        Self::at("", text)
    }

    fn told(&self) -> Html {
        doc::line(&self.text)
    }
}

impl FormView {
    /// The form, again: what was typed is refused, as it says.
    pub fn refused(&self) -> Response {
        page_with(StatusCode::UNPROCESSABLE_ENTITY, self)
    }

    /// What is wrong with the field.
    fn wrong_with(&self, field: &SettingField) -> Option<&Wrong> {
        self.wrong.as_ref().filter(|wrong| wrong.field == field.name && field.kind != SettingKind::Fixed)
    }

    /// What is wrong, if no field says it.
    fn wrong_at_all(&self) -> Option<Html> {
        let is_said = self.fields.iter().any(|field| self.wrong_with(field).is_some());
        self.wrong.as_ref().filter(|_| !is_said).map(Wrong::told)
    }

    /// The attributes of a field that is to be looked at.
    fn attributes(&self, field: &SettingField) -> Html {
        let name = field.name;
        match (self.wrong_with(field).is_some(), field.is_lost) {
            (false, false) => Html::new(),
            (true, false) => invalid(format_args!("{name}-error")).markup(" autofocus"),
            (false, true) => invalid(format_args!("{name}-lost")),
            (true, true) => invalid(format_args!("{name}-error {name}-lost")).markup(" autofocus"),
        }
    }

    /// What stands below a field: what is wrong with it, and what else there is to say.
    fn below(&self, field: &SettingField) -> Html {
        let mut html = Html::new();
        let name = field.name;
        let error = |html: Html, of: &str| html.markup(format_args!("<span class=\"error\" id=\"{name}-{of}\">"));
        if let Some(wrong) = self.wrong_with(field) {
            html = error(html, "error").markup(wrong.told()).markup("</span>");
        }
        if field.is_lost {
            html = error(html, "lost").text("Type it again: a secret is not put back into the form.").markup("</span>");
        }
        if field.help.is_empty() {
            html
        } else {
            html.markup("<span class=\"help\">").text(field.help).markup("</span>")
        }
    }
}

fn invalid(described_by: impl Display) -> Html {
    Html::new().markup(format_args!(" aria-invalid=\"true\" aria-describedby=\"{described_by}\""))
}

impl ListView {
    /// The cells of a row, each with the heading of its column.
    fn cells<'a>(&'a self, row: &'a ListLine) -> impl Iterator<Item = (&'static str, &'a str)> {
        self.columns.iter().copied().zip(row.cells.iter().map(String::as_str))
    }

    /// What stands between backticks is code.
    fn told(&self, text: &str) -> Html {
        let _ = self;
        doc::line(text)
    }

    fn may_change(&self) -> bool {
        self.permission.is_none_or(|permission| self.shell.may(permission))
    }

    /// The list as whoever asks may use it: who may change nothing is offered nothing.
    #[must_use]
    pub fn offered(mut self) -> Self {
        if !self.may_change() {
            for row in &mut self.rows {
                (row.edit_href, row.delete_href, row.deed) = (None, None, None);
            }
        }
        self
    }
}

/// How a field is edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    Text,
    Area,
    /// One of the field's choices.
    Choice,
    /// What is there is never shown.
    Password,
    Check,
    /// It can't be changed.
    Fixed,
}

pub struct SettingField {
    pub name: &'static str,
    pub label: &'static str,
    pub help: &'static str,
    pub kind: SettingKind,
    pub value: String,
    /// Of [`SettingKind::Choice`] only.
    pub choices: Vec<&'static str>,
    pub required: bool,
    /// Whether a secret was typed that the form, which is refused, does not put back.
    pub is_lost: bool,
}

impl SettingField {
    pub fn new(kind: SettingKind, name: &'static str, label: &'static str, value: impl Into<String>) -> Self {
        let (value, choices) = (value.into(), Vec::new());
        Self { name, label, help: "", kind, value, choices, required: false, is_lost: false }
    }

    /// A box to tick.
    pub fn check(name: &'static str, label: &'static str, is_ticked: bool) -> Self {
        Self::new(SettingKind::Check, name, label, is_ticked.to_string())
    }

    /// A secret, of which the form that is refused says that it is to be typed again: whoever thinks it there would lose it.
    #[must_use]
    pub fn lost(self, is_lost: bool) -> Self {
        Self { is_lost, ..self }
    }

    /// One of `choices`.
    pub fn choice(
        name: &'static str,
        label: &'static str,
        value: impl Into<String>,
        choices: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        Self { choices: choices.into_iter().collect(), ..Self::new(SettingKind::Choice, name, label, value) }.required()
    }

    #[must_use]
    pub fn required(self) -> Self {
        Self { required: true, ..self }
    }

    #[must_use]
    pub fn help(self, help: &'static str) -> Self {
        Self { help, ..self }
    }

    /// The field of the key: it names a new thing, and stays that of an old one.
    pub fn key(name: &'static str, label: &'static str, value: &str, is_new: bool) -> Self {
        let kind = if is_new { SettingKind::Text } else { SettingKind::Fixed };
        Self::new(kind, name, label, value).required()
    }
}

/// What was typed in several lines: browsers send it with CR LF between them, whatever was typed or pasted.
pub fn lines(text: &str) -> String {
    text.replace("\r\n", "\n")
}

/// The text, if it is not empty.
pub fn given(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
