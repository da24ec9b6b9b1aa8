//! Which dags somebody may see, run and edit. Airflow: DAG-level permissions, `DAG:<id>`.
//!
//! A user has a role for all dags, and DAG permissions, each of which gives a role on some of them. What counts for a dag is the
//! strongest; so a permission never takes anything away, and whoever is to see some dags only is a [`Role::Member`].

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    grants::NamePattern,
    ids::DagId,
    role::{Permission, Role, RoleError},
};

/// DAG permissions of a user at most.
pub const MAX_DAG_PERMISSIONS: usize = 200;
/// Characters of a tag at most.
const MAX_TAG_CHARS: usize = 250;

/// Some dags: as text an id (`load`), the beginning of ids (`sales-*`) or a tag (`tag:sales`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DagSelector {
    Id(NamePattern),
    /// The dags whose newest version has this tag.
    Tag(String),
}

/// A role on some dags. As text `sales-*=author`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Words", into = "Words")]
pub struct DagPermission {
    pub dags: DagSelector,
    /// Viewer, author or operator.
    pub role: Role,
}

/// A DAG permission that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DagPermissionError {
    #[error(
        "`{text}` names no dags: {why}; write an id as `load`, the beginning of ids as `sales-*`, or a tag as `tag:sales`"
    )]
    Dags { text: String, why: String },
    #[error(transparent)]
    Role(#[from] RoleError),
    #[error(
        "`{0}` can't be the role on some dags; use viewer, author or operator (member is nobody's, admin is for all dags)"
    )]
    NoDagRole(Role),
    #[error("`{0}` is not a DAG permission; write dags and a role, as `sales-*=author`")]
    Form(String),
    #[error("dags `{0}` are named twice")]
    Twice(String),
    #[error("a user has at most {MAX_DAG_PERMISSIONS} DAG permissions; name dags by a common beginning or a tag")]
    TooMany,
}

/// As it stands in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = r#"an object, as {"dags": "sales-*", "role": "author"}"#)]
struct Words {
    dags: String,
    role: Role,
}

impl TryFrom<Words> for DagPermission {
    type Error = DagPermissionError;

    fn try_from(words: Words) -> Result<Self, DagPermissionError> {
        Self::new(words.dags.parse()?, words.role)
    }
}

impl From<DagPermission> for Words {
    fn from(permission: DagPermission) -> Self {
        Self { dags: permission.dags.to_string(), role: permission.role }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(300).collect()
}

impl DagSelector {
    pub fn matches(&self, dag_id: &DagId, tags: &[String]) -> bool {
        match self {
            Self::Id(pattern) => pattern.matches(dag_id.as_str()),
            Self::Tag(tag) => tags.contains(tag),
        }
    }
}

impl FromStr for DagSelector {
    type Err = DagPermissionError;

    fn from_str(text: &str) -> Result<Self, DagPermissionError> {
        let wrong = |why: String| DagPermissionError::Dags { text: shorten(text), why };
        match text.strip_prefix("tag:") {
            Some(tag) if tag.is_empty() || tag.chars().count() > MAX_TAG_CHARS || tag.chars().any(char::is_control) => {
                Err(wrong(format!("a tag has 1 to {MAX_TAG_CHARS} characters")))
            }
            Some(tag) => Ok(Self::Tag(tag.to_owned())),
            None => NamePattern::new(text, DagId::new).map(Self::Id).map_err(wrong),
        }
    }
}

impl fmt::Display for DagSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(pattern) => f.write_str(pattern.as_str()),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
        }
    }
}

impl DagPermission {
    /// # Errors
    /// If `role` is none that somebody can have on some dags.
    pub fn new(dags: DagSelector, role: Role) -> Result<Self, DagPermissionError> {
        match role {
            Role::Viewer | Role::Author | Role::Operator => Ok(Self { dags, role }),
            Role::Member | Role::Admin => Err(DagPermissionError::NoDagRole(role)),
        }
    }

    /// Those of a user, sorted.
    ///
    /// # Errors
    /// If they are too many, or dags are named twice.
    pub fn checked(mut all: Vec<Self>) -> Result<Vec<Self>, DagPermissionError> {
        if all.len() > MAX_DAG_PERMISSIONS {
            return Err(DagPermissionError::TooMany);
        }
        all.sort();
        match all.windows(2).find(|pair| pair[0].dags == pair[1].dags) {
            Some(pair) => Err(DagPermissionError::Twice(pair[0].dags.to_string())),
            None => Ok(all),
        }
    }
}

impl FromStr for DagPermission {
    type Err = DagPermissionError;

    fn from_str(text: &str) -> Result<Self, DagPermissionError> {
        // A tag may have one in it.
        let (dags, role) = text.rsplit_once('=').ok_or_else(|| DagPermissionError::Form(shorten(text)))?;
        Self::new(dags.trim().parse()?, role.trim().parse()?)
    }
}

impl fmt::Display for DagPermission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.dags, self.role)
    }
}

/// What somebody may do with dags. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DagAccess {
    /// The role on every dag.
    general: Role,
    /// Those that give more than `general`.
    permissions: Arc<[DagPermission]>,
}

impl DagAccess {
    /// Of a user of role `general`.
    pub fn new(general: Role, permissions: &[DagPermission]) -> Self {
        let more = permissions.iter().filter(|permission| permission.role > general);
        Self { general, permissions: more.cloned().collect() }
    }

    /// The same, but nowhere more than `limit`: what a token of the user may do.
    #[must_use]
    pub fn limited(&self, limit: Role) -> Self {
        let cut = |permission: &DagPermission| DagPermission { role: permission.role.min(limit), ..permission.clone() };
        let permissions: Vec<_> = self.permissions.iter().map(cut).collect();
        Self::new(self.general.min(limit), &permissions)
    }

    /// Whether all dags are alike to it.
    pub fn is_general(&self) -> bool {
        self.permissions.is_empty()
    }

    pub fn general(&self) -> Role {
        self.general
    }

    /// Those that give more than the general role.
    pub fn permissions(&self) -> &[DagPermission] {
        &self.permissions
    }

    /// The strongest role that it gives anywhere.
    pub fn strongest(&self) -> Role {
        self.permissions.iter().map(|permission| permission.role).max().unwrap_or(self.general)
    }

    /// Whether a dag's tags count for the role on it.
    pub fn asks_for_tags(&self) -> bool {
        self.permissions.iter().any(|permission| matches!(permission.dags, DagSelector::Tag(_)))
    }

    /// The role on a dag with these tags.
    pub fn role_on(&self, dag_id: &DagId, tags: &[String]) -> Role {
        let given = self.permissions.iter().filter(|permission| permission.dags.matches(dag_id, tags));
        given.map(|permission| permission.role).max().unwrap_or(self.general)
    }

    pub fn may(&self, permission: Permission, dag_id: &DagId, tags: &[String]) -> bool {
        self.general.may(permission) || (permission.is_of_dag() && self.role_on(dag_id, tags).may(permission))
    }

    /// Whether there can be a dag with which it may do that.
    pub fn may_somewhere(&self, permission: Permission) -> bool {
        self.general.may(permission) || (permission.is_of_dag() && self.strongest().may(permission))
    }

    /// With which of `dags` (each with its tags) it may do what needs `permission`.
    pub fn those(&self, permission: Permission, dags: &[(DagId, Vec<String>)]) -> DagSet {
        if self.general.may(permission) {
            return DagSet::all();
        }
        dags.iter()
            .filter(|(dag_id, tags)| self.may(permission, dag_id, tags))
            .map(|(dag_id, _)| dag_id.clone())
            .collect()
    }
}

/// Who uploads, and which dags that may bring.
#[derive(Debug, Clone)]
pub struct Uploader {
    pub username: String,
    pub access: DagAccess,
}

impl Uploader {
    /// Somebody who may upload whatever there is: whoever owns the machine.
    pub fn owner(username: &str) -> Self {
        Self { username: username.to_owned(), access: DagAccess::new(Role::Admin, &[]) }
    }

    /// Whether this is one for whom it has to be asked of each dag.
    pub fn is_limited(&self) -> bool {
        !self.access.general().may(Permission::DagUpload)
    }
}

/// All dags, or some of them. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DagSet(Option<Arc<BTreeSet<DagId>>>);

impl DagSet {
    /// Whichever there are, now and later.
    pub fn all() -> Self {
        Self(None)
    }

    pub fn one(dag_id: DagId) -> Self {
        [dag_id].into_iter().collect()
    }

    /// Those of `asked` that are among these; all of these if nothing in particular is asked for.
    #[must_use]
    pub fn narrowed(&self, asked: Vec<DagId>) -> Self {
        if asked.is_empty() {
            return self.clone();
        }
        asked.into_iter().filter(|dag_id| self.contains(dag_id)).collect()
    }

    pub fn contains(&self, dag_id: &DagId) -> bool {
        self.0.as_ref().is_none_or(|dags| dags.contains(dag_id))
    }

    /// Its dags; none: all.
    pub fn listed(&self) -> Option<&BTreeSet<DagId>> {
        self.0.as_deref()
    }

    /// The dag, if it is one alone.
    pub fn the_one(&self) -> Option<&DagId> {
        self.listed().filter(|dags| dags.len() == 1)?.first()
    }
}

impl FromIterator<DagId> for DagSet {
    fn from_iter<I: IntoIterator<Item = DagId>>(dags: I) -> Self {
        Self(Some(Arc::new(dags.into_iter().collect())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn access(general: Role, permissions: &[&str]) -> DagAccess {
        let permissions: Vec<DagPermission> = permissions.iter().map(|text| text.parse().unwrap()).collect();
        DagAccess::new(general, &permissions)
    }

    fn dag(text: &str) -> DagId {
        DagId::new(text).unwrap()
    }

    #[test]
    fn a_set_is_narrowed_to_what_is_asked_for_and_never_widened() {
        let some: DagSet = [dag("a"), dag("b")].into_iter().collect();
        assert_eq!(some.narrowed(vec![]), some);
        assert_eq!(some.narrowed(vec![dag("b"), dag("c")]), DagSet::one(dag("b")));
        assert!(some.narrowed(vec![dag("c")]).listed().unwrap().is_empty());
        assert_eq!(DagSet::all().narrowed(vec![dag("c")]).the_one(), Some(&dag("c")));
        assert_eq!((DagSet::all().the_one(), some.the_one()), (None, None));
    }

    #[test]
    fn a_permission_in_json_that_is_in_the_commands_words_is_told_how_to_be() {
        let refused = serde_json::from_str::<DagPermission>(r#""sales-*=author""#).unwrap_err().to_string();
        assert!(refused.contains(r#"expected an object, as {"dags": "sales-*", "role": "author"}"#), "{refused}");
    }

    #[test]
    fn the_strongest_of_what_matches_counts() {
        let access = access(Role::Member, &["sales-*=viewer", "sales-eu=operator", "tag:etl=author", "load=viewer"]);
        for (dag_id, tags, role) in [
            ("sales-us", &[][..], Role::Viewer),
            ("sales-us", &["etl"], Role::Author),
            ("sales-eu", &["etl"], Role::Operator),
            ("sales", &[], Role::Member),
            ("load", &[], Role::Viewer),
            ("loader", &[], Role::Member),
            ("etl", &["tag:etl"], Role::Member),
        ] {
            let tags: Vec<_> = tags.iter().map(ToString::to_string).collect();
            assert_eq!(access.role_on(&dag(dag_id), &tags), role, "{dag_id} {tags:?}");
            assert_eq!(access.may(Permission::Read, &dag(dag_id), &tags), role > Role::Member);
        }
        assert!(access.may_somewhere(Permission::DagPause) && !access.may_somewhere(Permission::GrantWrite));
        // What is about no single dag is not given by a permission on some.
        assert!(!access.may_somewhere(Permission::PoolWrite));
        assert!(!access.may(Permission::PoolWrite, &dag("sales-eu"), &[]));
        let token = access.limited(Role::Author);
        assert_eq!(token.role_on(&dag("sales-eu"), &[]), Role::Author);
        assert_eq!(token.limited(Role::Member), DagAccess::new(Role::Member, &[]));
    }

    #[test]
    fn what_can_not_be_is_refused_with_the_way_out() {
        for (text, why) in [
            ("sales", "write dags and a role"),
            ("=viewer", "names no dags"),
            ("*=viewer", "at least one character"),
            ("a b=viewer", "names no dags"),
            ("tag:=viewer", "1 to 250"),
            ("load=root", "is not a role"),
            ("load=admin", "admin is for all dags"),
            ("load=member", "can't be the role"),
        ] {
            let error = text.parse::<DagPermission>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        let twice = vec!["load=viewer".parse().unwrap(), "load=author".parse().unwrap()];
        assert_eq!(DagPermission::checked(twice), Err(DagPermissionError::Twice("load".into())));
        let many = (0..=MAX_DAG_PERMISSIONS).map(|n| format!("d{n}=viewer").parse().unwrap()).collect();
        assert_eq!(DagPermission::checked(many), Err(DagPermissionError::TooMany));
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        for text in ["sales-*=author", "tag:a=b=viewer", "load=operator"] {
            let permission: DagPermission = text.parse().unwrap();
            assert_eq!(permission.to_string(), text);
            let json = serde_json::to_string(&permission).unwrap();
            assert_eq!(serde_json::from_str::<DagPermission>(&json).unwrap(), permission);
        }
        assert!(serde_json::from_str::<DagPermission>(r#"{"dags":"load","role":"admin"}"#).is_err());
    }

    fn roles() -> impl Strategy<Value = Role> {
        proptest::sample::select(Role::ALL.to_vec())
    }

    proptest! {
        /// A permission gives and never takes; a limit is one everywhere.
        #[test]
        fn permissions_only_add_and_limits_hold(
            general in roles(),
            limit in roles(),
            given in proptest::collection::vec(("(tag:)?[ab]{1,2}", 1..4_usize), 0..4),
            id in "[ab]{1,2}",
            tags in proptest::collection::vec("[ab]{1,2}", 0..2),
        ) {
            let permissions: Vec<_> = given
                .iter()
                .map(|(dags, role)| DagPermission::new(dags.parse().unwrap(), Role::ALL[*role]).unwrap())
                .collect();
            let (access, dag_id) = (DagAccess::new(general, &permissions), dag(&id));
            prop_assert!(access.role_on(&dag_id, &tags) >= general);
            prop_assert!(access.strongest() >= access.role_on(&dag_id, &tags));
            let limited = access.limited(limit);
            prop_assert_eq!(limited.role_on(&dag_id, &tags), access.role_on(&dag_id, &tags).min(limit));
            for permission in Permission::ALL {
                let those = access.those(*permission, &[(dag_id.clone(), tags.clone())]);
                prop_assert_eq!(those.contains(&dag_id), access.may(*permission, &dag_id, &tags));
                prop_assert!(access.may_somewhere(*permission) || !access.may(*permission, &dag_id, &tags));
            }
        }
    }
}
