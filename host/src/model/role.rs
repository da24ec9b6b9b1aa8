//! Who may do what: five roles, each of which may do all that the one before it may.
//!
//! A role is for all dags; [`super::dag_access`] gives another one on some of them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a user, or a token of one, may do. The order is by power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Signs in, and sees the dags that DAG permissions name.
    Member,
    /// Sees dags, runs, logs, results; no values of variables and connections.
    Viewer,
    /// Also uploads, triggers, clears and answers.
    Author,
    /// Also pauses, marks, backfills, deletes, and keeps pools, variables, connections and webhooks.
    Operator,
    /// Also keeps users and everybody's tokens, and says what dags may reach and take.
    Admin,
}

impl Role {
    /// All roles, weakest first.
    pub const ALL: [Self; 5] = [Self::Member, Self::Viewer, Self::Author, Self::Operator, Self::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Viewer => "viewer",
            Self::Author => "author",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    pub fn may(self, permission: Permission) -> bool {
        self >= permission.least_role()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a role; use member, viewer, author, operator or admin")]
pub struct RoleError(String);

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        let role = Self::ALL.into_iter().find(|role| role.as_str() == text);
        role.ok_or_else(|| RoleError(text.chars().take(40).collect()))
    }
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $variant:ident = $text:literal from $role:ident,)*) => {
        /// What a route may need.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Permission { $($(#[$doc])* $variant,)* }

        impl Permission {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name, as users are told it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The weakest role that has it; all stronger ones have it, too.
            pub fn least_role(self) -> Role {
                match self { $(Self::$variant => Role::$role,)* }
            }
        }
    };
}

permissions! {
    /// Dags, runs, logs, XComs, artifacts, recordings; the names of variables, connections and pools.
    Read = "read" from Viewer,
    /// Components and dags in YAML; going back to an older version.
    DagUpload = "dag.upload" from Author,
    /// Runs of dags, and updates of assets, which make some.
    RunTrigger = "run.trigger" from Author,
    TaskClear = "task.clear" from Author,
    ApprovalAnswer = "approval.answer" from Author,
    DagPause = "dag.pause" from Operator,
    DagDelete = "dag.delete" from Operator,
    /// States that are set by hand, and notes.
    RunMark = "run.mark" from Operator,
    RunDelete = "run.delete" from Operator,
    XComWrite = "xcom.write" from Operator,
    BackfillWrite = "backfill.write" from Operator,
    /// Dropping events of assets that wait for a run.
    AssetWrite = "asset.write" from Operator,
    PoolWrite = "pool.write" from Operator,
    /// What variables hold, and where connections lead. Secrets in them are shown to nobody.
    SettingRead = "setting.read" from Operator,
    VariableWrite = "variable.write" from Operator,
    ConnectionWrite = "connection.write" from Operator,
    WebhookWrite = "webhook.write" from Operator,
    /// Variables, connections, pools and what is said of dags, all at once.
    SettingsImport = "settings.import" from Operator,
    /// How long history is kept.
    RetentionWrite = "retention.write" from Operator,
    /// Who changed what, and what was refused.
    AuditRead = "audit.read" from Operator,
    /// What the server itself suffers from. Dags and tasks are named.
    WarningRead = "warning.read" from Operator,
    /// What dags may reach.
    GrantWrite = "grant.write" from Admin,
    /// What the attempts of one dag may have together.
    LimitsWrite = "limits.write" from Admin,
    /// The keys that seal secrets; none of them is shown.
    SecretRotate = "secret.rotate" from Admin,
    /// Users, and what they may do.
    UserWrite = "user.write" from Admin,
}

impl Permission {
    /// Whether it is about single dags, so that a DAG permission can give it.
    pub fn is_of_dag(self) -> bool {
        match self {
            Self::Read
            | Self::DagUpload
            | Self::RunTrigger
            | Self::TaskClear
            | Self::ApprovalAnswer
            | Self::DagPause
            | Self::DagDelete
            | Self::RunMark
            | Self::RunDelete
            | Self::XComWrite
            | Self::BackfillWrite
            | Self::AssetWrite
            | Self::WebhookWrite
            | Self::RetentionWrite => true,
            Self::PoolWrite
            | Self::SettingRead
            | Self::VariableWrite
            | Self::ConnectionWrite
            | Self::SettingsImport
            | Self::AuditRead
            | Self::WarningRead
            | Self::GrantWrite
            | Self::LimitsWrite
            | Self::SecretRotate
            | Self::UserWrite => false,
        }
    }

    /// Who has it, in words: "operators and admins".
    pub fn holders(self) -> String {
        let roles: Vec<_> =
            Role::ALL.into_iter().filter(|role| role.may(self)).map(|role| format!("{role}s")).collect();
        match roles.as_slice() {
            [one] => one.clone(),
            [first @ .., last] => format!("{} and {last}", first.join(", ")),
            [] => String::new(),
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stronger_role_may_all_that_a_weaker_one_may() {
        for permission in Permission::ALL {
            let may: Vec<_> = Role::ALL.into_iter().map(|role| role.may(*permission)).collect();
            assert!(may.is_sorted() && !may[0] && may[4], "{permission}");
        }
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert_eq!(
            "root".parse::<Role>().unwrap_err().to_string(),
            "`root` is not a role; use member, viewer, author, operator or admin"
        );
    }

    #[test]
    fn holders_are_told_in_words() {
        assert_eq!(Permission::UserWrite.holders(), "admins");
        assert_eq!(Permission::DagPause.holders(), "operators and admins");
        assert_eq!(Permission::RunTrigger.holders(), "authors, operators and admins");
    }
}
