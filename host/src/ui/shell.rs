//! What all pages share: head, navigation, colours, a message from the page before.

use std::{convert::Infallible, sync::Arc};

use askama::Template;
use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{Html, IntoResponse, Redirect, Response},
};

use chrono_tz::Tz;

use super::{
    assets, links,
    show::{self, Zones},
};
use crate::{
    api::identity::cookie_value,
    auth::CurrentUser,
    model::{
        ids::DagId,
        role::{Permission, Role},
        spec::DagSpec,
        warning::Warning,
    },
};

const THEME_COOKIE: &str = "airlock_theme";
const ZONE_COOKIE: &str = "airlock_zone";
const NOTICE_COOKIE: &str = "airlock_notice";
/// What the page's script sends where it asks for a page again on its own. Nobody reads a notice there: it waits for the window
/// that its user looks at.
const AGAIN: &str = "x-airlock-again";
/// Stands before a notice of an error; notices begin with a word.
const ERROR_MARK: char = '!';

/// Which part of the page a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Dags,
    Runs,
    Approvals,
    Assets,
    Components,
    Variables,
    Connections,
    Pools,
    Workers,
    Users,
    Audit,
    /// Behind one's name, not in the navigation.
    Tokens,
    None,
}

impl Section {
    /// What it takes to see it, for all dags; none: it shows everybody what is theirs.
    fn permission(self) -> Option<Permission> {
        match self {
            Self::Users => Some(Permission::UserWrite),
            Self::Audit => Some(Permission::AuditRead),
            Self::Variables | Self::Connections | Self::Pools | Self::Workers => Some(Permission::Read),
            Self::Dags | Self::Runs | Self::Approvals | Self::Assets | Self::Components | Self::Tokens | Self::None => {
                None
            }
        }
    }
}

/// What is looked at every day.
const SECTIONS: &[(Section, &str, &str)] = &[
    (Section::Dags, "dags", "DAGs"),
    (Section::Runs, "runs", "Runs"),
    (Section::Approvals, "approvals", "Required Actions"),
    (Section::Assets, "assets", "Assets"),
    (Section::Components, "components", "Components"),
];

/// What is set up, and looked after. Airflow: the menu Admin.
const ADMIN_SECTIONS: &[(Section, &str, &str)] = &[
    (Section::Variables, "variables", "Variables"),
    (Section::Connections, "connections", "Connections"),
    (Section::Pools, "pools", "Pools"),
    (Section::Workers, "workers", "Workers"),
    (Section::Users, "users", "Users"),
    (Section::Audit, "audit", "Audit Log"),
];

/// A link of the navigation.
pub struct NavItem {
    pub name: &'static str,
    pub label: &'static str,
    pub href: String,
    pub current: bool,
}

/// Something to tell once.
#[derive(Debug, Clone)]
pub struct Notice {
    /// A CSS class: empty, `warn` or `error`.
    pub kind: &'static str,
    pub text: String,
}

impl Notice {
    /// What the page before left to be told.
    fn read(cookie: &str) -> Self {
        let (kind, text) = match cookie.strip_prefix(ERROR_MARK) {
            Some(text) => ("error", text),
            None => ("", cookie),
        };
        let text = percent_encoding::percent_decode_str(text).decode_utf8_lossy().chars().take(500).collect();
        Self { kind, text }
    }
}

/// In which zone instants are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneChoice {
    Utc,
    /// In that of the dag that they are about.
    Dag,
    /// In that of the browser.
    Local(Tz),
}

impl ZoneChoice {
    /// Of a form or a cookie: `utc`, `dag` or the name of a zone. What is not known is UTC.
    pub fn new(name: &str) -> Self {
        match name {
            "dag" => Self::Dag,
            name => name.parse().ok().filter(|zone| *zone != Tz::UTC).map_or(Self::Utc, Self::Local),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Utc => "utc",
            Self::Dag => "dag",
            Self::Local(zone) => zone.name(),
        }
    }
}

/// What a request says about how pages are to look. An extractor that never fails.
#[derive(Debug, Clone)]
pub struct Frame {
    user: Option<CurrentUser>,
    theme: &'static str,
    zone: ZoneChoice,
    notice: Option<Notice>,
    here: String,
    warnings: Warnings,
}

/// What an operator should know of; nothing for others. The guard hands it on with the request.
#[derive(Debug, Clone, Default)]
pub struct Warnings(pub Arc<[Warning]>);

impl<S: Send + Sync> FromRequestParts<S> for Frame {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

impl Frame {
    /// As an extractor that never fails.
    pub fn of(parts: &Parts) -> Self {
        let theme = match cookie_value(&parts.headers, THEME_COOKIE) {
            Some("dark") => "dark",
            Some("light") => "light",
            _ => "auto",
        };
        let notice = cookie_value(&parts.headers, NOTICE_COOKIE).filter(|text| !text.is_empty());
        let notice = notice.filter(|_| !parts.headers.contains_key(AGAIN)).map(Notice::read);
        let here = if parts.method == axum::http::Method::GET {
            parts.uri.path_and_query().map_or("/dags", axum::http::uri::PathAndQuery::as_str)
        } else {
            "/dags"
        };
        Self {
            user: parts.extensions.get::<CurrentUser>().cloned(),
            theme,
            zone: ZoneChoice::new(cookie_value(&parts.headers, ZONE_COOKIE).unwrap_or_default()),
            notice,
            here: here.to_owned(),
            warnings: parts.extensions.get::<Warnings>().cloned().unwrap_or_default(),
        }
    }

    /// Whether its page tells what the page before left to be told.
    pub fn has_notice(&self) -> bool {
        self.notice.is_some()
    }

    /// Whether the user may do what needs `permission`.
    pub fn may(&self, permission: Permission) -> bool {
        self.user.as_ref().is_some_and(|user| user.may(permission))
    }

    /// The zones of what is about a dag.
    pub fn zones(&self, dag: &DagSpec) -> Zones {
        self.zones_in(show::zone(dag))
    }

    /// The zones of what is about no dag.
    pub fn zones_of_none(&self) -> Zones {
        self.zones_in(Tz::UTC)
    }

    fn zones_in(&self, of_dag: Tz) -> Zones {
        let shown = match self.zone {
            ZoneChoice::Utc => Tz::UTC,
            ZoneChoice::Dag => of_dag,
            ZoneChoice::Local(zone) => zone,
        };
        Zones { shown, of_dag }
    }

    /// The shell of a page.
    pub fn shell(self, section: Section, page: &'static str, title: impl Into<String>) -> Shell {
        Shell {
            title: title.into(),
            section,
            page,
            user: self.user,
            theme: self.theme,
            zone: self.zone,
            notice: self.notice,
            here: self.here,
            warnings: self.warnings,
            events: None,
        }
    }
}

/// What `base.html` needs.
pub struct Shell {
    pub title: String,
    section: Section,
    /// Names the page for scripts and tests.
    pub page: &'static str,
    user: Option<CurrentUser>,
    pub theme: &'static str,
    zone: ZoneChoice,
    pub notice: Option<Notice>,
    /// The address of this page.
    pub here: String,
    warnings: Warnings,
    /// The address of the stream that keeps it up to date.
    pub events: Option<String>,
}

impl Shell {
    #[must_use]
    pub fn live(mut self, events: String) -> Self {
        self.events = Some(events);
        self
    }

    /// Who has signed in.
    pub fn user(&self) -> Option<&str> {
        self.user.as_ref().map(|user| user.username.as_str())
    }

    /// What an operator should know of, and the page that says more, if there is one.
    pub fn warnings(&self) -> Vec<(String, Option<String>)> {
        let told = self.warnings.0.iter().map(|Warning { text, task, .. }| {
            let place = task.as_ref();
            let address = place.map(|at| links::task(&at.dag_id, &at.run_id, &at.task_id, at.map_index));
            (text.clone(), address)
        });
        told.collect()
    }

    /// The user's role for all dags.
    pub fn role(&self) -> Option<Role> {
        self.user.as_ref().map(CurrentUser::role)
    }

    /// Whether the page may offer what needs `permission`. The server refuses it anyway to whoever may not do it.
    pub fn may(&self, permission: Permission) -> bool {
        self.user.as_ref().is_some_and(|user| user.may(permission))
    }

    /// The same for a dag that the page's address does not name.
    pub fn may_with(&self, permission: Permission, dag_id: &DagId, tags: &[String]) -> bool {
        self.user.as_ref().is_some_and(|user| user.dags.may(permission, dag_id, tags))
    }

    /// The same for whichever dag.
    pub fn may_somewhere(&self, permission: Permission) -> bool {
        self.user.as_ref().is_some_and(|user| user.dags.may_somewhere(permission))
    }

    pub fn asset(&self, name: &str) -> String {
        let _ = self;
        assets::address(name)
    }

    pub fn nav(&self) -> impl Iterator<Item = NavItem> {
        self.items(SECTIONS)
    }

    pub fn admin_nav(&self) -> impl Iterator<Item = NavItem> {
        self.items(ADMIN_SECTIONS)
    }

    /// Whether the menu Admin has anything for the user.
    pub fn has_admin(&self) -> bool {
        self.admin_nav().next().is_some()
    }

    /// Whether this page is one of the menu Admin.
    pub fn is_admin(&self) -> bool {
        self.admin_nav().any(|item| item.current)
    }

    fn items(&self, sections: &'static [(Section, &'static str, &'static str)]) -> impl Iterator<Item = NavItem> {
        let offered = sections.iter().filter(|(section, ..)| {
            section.permission().is_none_or(|needed| self.role().is_some_and(|role| role.may(needed)))
        });
        offered.map(|&(section, name, label)| NavItem {
            name,
            label,
            href: format!("/{name}"),
            current: section == self.section,
        })
    }

    /// How the present zone is called on the switch.
    pub fn zone(&self) -> &'static str {
        match self.zone {
            ZoneChoice::Utc => "UTC",
            ZoneChoice::Dag => "DAG time",
            ZoneChoice::Local(zone) => zone.name().rsplit('/').next().unwrap_or("Local"),
        }
    }

    /// What the switch of the zone leads to, as (value, words). A browser that runs scripts names its own zone.
    pub fn next_zone(&self) -> (&'static str, &'static str) {
        match self.zone {
            ZoneChoice::Utc => ("dag", "each DAG's own time zone"),
            ZoneChoice::Dag => ("local", "this browser's time zone"),
            ZoneChoice::Local(_) => ("utc", "UTC"),
        }
    }

    pub fn next_theme(&self) -> &'static str {
        match self.theme {
            "auto" => "dark",
            "dark" => "light",
            _ => "auto",
        }
    }
}

/// A page with status 200.
pub fn page(template: &impl Template) -> Response {
    page_with(StatusCode::OK, template)
}

pub fn page_with(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(error = %error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Forgets the notice, if `response` is the page that tells it.
pub fn notice_told(response: &mut Response) {
    let media_type = response.headers().get(header::CONTENT_TYPE);
    if media_type.is_some_and(|media_type| media_type.as_bytes().starts_with(b"text/html")) {
        response.headers_mut().append(header::SET_COOKIE, set_cookie(NOTICE_COOKIE, "", 0));
    }
}

/// Goes on to `to` (303) and tells `notice` there.
pub fn go_and_tell(to: &str, notice: &str) -> Response {
    go_with(to, &links::part(notice))
}

/// Goes on to `to` (303) and tells there what went wrong.
pub fn go_and_warn(to: &str, error: &str) -> Response {
    go_with(to, &format!("{ERROR_MARK}{}", links::part(error)))
}

fn go_with(to: &str, notice: &str) -> Response {
    ([(header::SET_COOKIE, set_cookie(NOTICE_COOKIE, notice, 30))], Redirect::to(to)).into_response()
}

/// Remembers the theme and goes on to `to`.
pub fn set_theme(theme: &str, to: &str) -> Response {
    let known = match theme {
        "dark" => "dark",
        "light" => "light",
        _ => "auto",
    };
    ([(header::SET_COOKIE, set_cookie(THEME_COOKIE, known, 31_536_000))], Redirect::to(to)).into_response()
}

/// Remembers the zone and goes on to `to`.
pub fn set_zone(zone: ZoneChoice, to: &str) -> Response {
    ([(header::SET_COOKIE, set_cookie(ZONE_COOKIE, zone.name(), 31_536_000))], Redirect::to(to)).into_response()
}

fn set_cookie(name: &str, value: &str, max_age_s: u32) -> HeaderValue {
    // Percent-encoded text leaves `;`, `,` and non-ASCII; none of them may end the cookie.
    let value: String = value.chars().filter(|c| c.is_ascii_graphic() && !";,\"\\".contains(*c)).take(2_000).collect();
    HeaderValue::from_str(&format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age_s}"))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}
