//! Who somebody is here whom another system vouches for: from the claims of an ID token (OpenID Connect) to a name and a role.

use std::str::FromStr;

use serde_json::Value;

use super::role::Role;

/// Values of the roles claim that are looked at; somebody may be in many groups.
const MAX_VALUES: usize = 10_000;

/// Whom an issuer vouches for. A subject never changes, and is never given to somebody else (OpenID Connect Core, 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub issuer: String,
    pub subject: String,
}

/// What claims mean here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignInRules {
    /// None: `preferred_username`, or else a verified `email`.
    pub username_claim: Option<String>,
    /// None: roles are given here, and the default is that of newcomers.
    pub roles_claim: Option<String>,
    pub roles: ClaimedRoles,
    /// None: who has no role by the claim may not come in.
    pub default_role: Option<Role>,
}

/// The roles of values of a claim. As text `airlock-admins=admin,data=author`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimedRoles(Vec<(String, Role)>);

/// A text that gives no roles.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a value of the claim, `=` and a role, as `airlock-admins=admin`")]
pub struct ClaimedRolesError(String);

/// Why somebody who is vouched for may not come in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    #[error("you were recognised, but you have no role here; ask an admin to give you one where you signed in")]
    NoRole,
    #[error(
        "you were recognised, but nothing says what you are called: the claim {claim} is missing; ask an admin to look at \
         `oidc.scopes` and `oidc.username_claim`"
    )]
    NoName { claim: String },
}

impl FromStr for ClaimedRoles {
    type Err = ClaimedRolesError;

    fn from_str(text: &str) -> Result<Self, ClaimedRolesError> {
        let pair = |part: &str| {
            let wrong = || ClaimedRolesError(part.chars().take(80).collect());
            // Names of groups may hold the sign, roles don't.
            let (value, role) = part.rsplit_once('=').ok_or_else(wrong)?;
            let value = value.trim();
            if value.is_empty() {
                return Err(wrong());
            }
            Ok((value.to_owned(), role.trim().parse().map_err(|_| wrong())?))
        };
        text.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect::<Result<_, _>>().map(Self)
    }
}

impl ClaimedRoles {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The strongest of what `claim` - a text, or a list of texts - gives.
    fn strongest(&self, claim: &Value) -> Option<Role> {
        let values = claim.as_array().map_or(std::slice::from_ref(claim), Vec::as_slice);
        let values = values.iter().take(MAX_VALUES).filter_map(Value::as_str);
        values.filter_map(|value| self.0.iter().filter(|(named, _)| named == value).map(|(_, role)| *role).max()).max()
    }
}

impl SignInRules {
    /// What the person is called. An `email` counts only where the issuer says that it was verified.
    ///
    /// # Errors
    /// If the claims don't say.
    pub fn username(&self, claims: &Value) -> Result<String, SignInError> {
        // Some issuers write it as a text.
        let is_verified = claims.get("email_verified").is_some_and(|claim| *claim == true || *claim == "true");
        let read = |claim: &str| {
            let text = find(claims, claim)?.as_str().map(str::trim).filter(|text| !text.is_empty())?;
            (claim != "email" || is_verified).then(|| text.to_owned())
        };
        match &self.username_claim {
            Some(claim) => read(claim).ok_or_else(|| SignInError::NoName { claim: format!("`{claim}`") }),
            None => read("preferred_username")
                .or_else(|| read("email"))
                .ok_or_else(|| SignInError::NoName { claim: "`preferred_username` (or a verified `email`)".into() }),
        }
    }

    /// The role from now on of somebody who has `present` here, or is new.
    ///
    /// # Errors
    /// If there is none.
    pub fn role(&self, claims: &Value, present: Option<Role>) -> Result<Role, SignInError> {
        let role = match &self.roles_claim {
            Some(claim) => find(claims, claim).and_then(|claim| self.roles.strongest(claim)),
            None => present,
        };
        role.or(self.default_role).ok_or(SignInError::NoRole)
    }
}

/// The claim of that name, or at that path (`realm_access.roles`). Names come first: some are URLs, which have dots.
fn find<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| name.split('.').try_fold(claims, |value, part| value.get(part)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(username: &str, roles_claim: &str, roles: &str, default_role: Option<Role>) -> SignInRules {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        SignInRules {
            username_claim: given(username),
            roles_claim: given(roles_claim),
            roles: roles.parse().unwrap(),
            default_role,
        }
    }

    #[test]
    fn names_are_what_the_issuer_vouches_for() {
        for (claim, claims, name) in [
            ("", json!({"preferred_username": "ann", "email": "a@b", "email_verified": true}), Some("ann")),
            ("", json!({"email": "a@b", "email_verified": true}), Some("a@b")),
            ("", json!({"email": "a@b", "email_verified": false}), None),
            ("", json!({"email": "a@b"}), None),
            ("", json!({"email": "a@b", "email_verified": "true"}), Some("a@b")),
            ("", json!({"email": "a@b", "email_verified": "false"}), None),
            ("", json!({"preferred_username": "  ", "name": "Ann"}), None),
            ("", json!({"preferred_username": 7}), None),
            ("upn", json!({"upn": " ann@b ", "preferred_username": "x"}), Some("ann@b")),
            ("upn", json!({"preferred_username": "x"}), None),
            ("email", json!({"email": "a@b"}), None),
        ] {
            assert_eq!(rules(claim, "", "", None).username(&claims).ok().as_deref(), name, "{claim} {claims}");
        }
    }

    #[test]
    fn the_strongest_role_of_the_claim_counts() {
        let groups = "ops=operator, data=author,CN=admins=admin,ops=viewer";
        for (claim, claims, default_role, role) in [
            ("groups", json!({"groups": ["data", "ops", "else"]}), None, Some(Role::Operator)),
            ("groups", json!({"groups": "data"}), None, Some(Role::Author)),
            ("groups", json!({"groups": ["CN=admins"]}), None, Some(Role::Admin)),
            ("groups", json!({"groups": ["Ops", 7, null, {"ops": 1}]}), None, None),
            ("groups", json!({"groups": {"ops": "ops"}}), None, None),
            ("groups", json!({}), Some(Role::Member), Some(Role::Member)),
            ("groups", json!({"groups": ["data"]}), Some(Role::Operator), Some(Role::Author)),
            ("realm_access.roles", json!({"realm_access": {"roles": ["ops"]}}), None, Some(Role::Operator)),
            ("https://x.org/roles", json!({"https://x.org/roles": ["ops"]}), None, Some(Role::Operator)),
        ] {
            // What somebody was before is of no account.
            for present in [None, Some(Role::Admin)] {
                let found = rules("", claim, groups, default_role).role(&claims, present);
                assert_eq!(found.ok(), role, "{claim} {claims} {present:?}");
            }
        }
    }

    #[test]
    fn without_a_claim_roles_are_given_here() {
        let claims = json!({"groups": ["ops"]});
        let newcomers = |default_role| rules("", "", "ops=admin", default_role);
        assert_eq!(newcomers(Some(Role::Viewer)).role(&claims, None), Ok(Role::Viewer));
        assert_eq!(newcomers(Some(Role::Viewer)).role(&claims, Some(Role::Operator)), Ok(Role::Operator));
        assert_eq!(newcomers(None).role(&claims, None), Err(SignInError::NoRole));
    }

    #[test]
    fn texts_that_give_no_roles_are_told() {
        assert_eq!("".parse::<ClaimedRoles>(), Ok(ClaimedRoles::default()));
        for text in ["ops", "ops=root", "=admin", "ops=admin,data"] {
            assert!(text.parse::<ClaimedRoles>().is_err(), "{text}");
        }
    }
}
