//! Users whom a provider vouches for: let in, made at their first sign-in, given the role that the provider says.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{
    Auth, AuthError, NewSession, SessionKind,
    oidc::{Answer, Begun, Oidc, OidcError, Vouched},
    users::check_name,
};
use crate::{
    model::sign_in::SignInError,
    store::{Audit, EventNew, UserRow},
};

/// How the audit log says that somebody came this way.
const ROUTE: &str = "oidc";

impl Auth {
    /// The provider that signs in, if there is one.
    pub fn provider(&self) -> Option<&Oidc> {
        self.inner.config.oidc.as_ref()
    }

    /// Begins a sign-in that comes back to `here`, and goes on at `next`.
    ///
    /// # Errors
    /// If there is no provider, or it can't be asked.
    pub async fn vouched_begin(&self, here: &str, next: &str) -> Result<Begun, AuthError> {
        let provider = self.provider().ok_or(AuthError::NoProvider)?;
        Ok(provider.begin(here, next, self.inner.clock.now()).await?)
    }

    /// Opens a session of the page for whom the provider vouches, who is made a user if this is the first time; and says where the
    /// browser wanted to go.
    ///
    /// # Errors
    /// If the provider does not vouch, or may not: the name is another one's, or there is no role.
    pub async fn vouched_finish(
        &self,
        cookie: &str,
        answer: Answer,
        peer: Option<IpAddr>,
    ) -> Result<(NewSession, String), AuthError> {
        let inner = &self.inner;
        let provider = self.provider().ok_or(AuthError::NoProvider)?;
        let taken = inner.throttle.take_of_peer(peer, inner.clock.now());
        taken.map_err(|retry_after| AuthError::Throttled { retry_after })?;
        let event = self.event("sign_in", None, peer, ROUTE.to_owned());
        let vouched = match provider.finish(cookie, answer, inner.clock.now()).await {
            Ok(vouched) => vouched,
            Err(error) => {
                if let OidcError::NotBegun = error {
                    // It cost nothing, is no news, and other sites can make a browser come here.
                    inner.throttle.succeeded_of_peer(peer);
                } else {
                    self.record_denial(refusal(event, &error.to_string())).await;
                }
                return Err(error.into());
            }
        };
        let Vouched { identity, .. } = &vouched;
        let event = EventNew { object: Some(format!("{} {}", identity.issuer, identity.subject)), ..event };
        match self.let_in(&vouched, event.clone()).await {
            Ok(session) => {
                inner.throttle.succeeded_of_peer(peer);
                Ok((session, vouched.next))
            }
            Err(error) => {
                self.record_denial(refusal(event, &error.to_string())).await;
                Err(error)
            }
        }
    }

    /// Makes the user, or brings its role up to date, and opens a session. What changes, and the entry of the audit log, are one
    /// transaction.
    async fn let_in(&self, vouched: &Vouched, event: EventNew) -> Result<NewSession, AuthError> {
        let inner = &self.inner;
        let Vouched { identity, claims, .. } = vouched;
        let rules = self.provider().ok_or(AuthError::NoProvider)?.rules();
        let present = inner.store.user_get_by_identity(identity).await?;
        let role = match rules.role(claims, present.as_ref().map(|user| user.role)) {
            Ok(role) => role,
            Err(error) => {
                if let Some(user) = present {
                    // What was open is over with the role that it had.
                    self.end_sessions_of(&user.username).await?;
                }
                return Err(error.into());
            }
        };
        let before = present.as_ref().map_or(Value::Null, UserRow::shown);
        let now = inner.clock.now();
        let is_new = present.is_none();
        let user = if let Some(user) = present {
            UserRow { role, ..user }
        } else {
            let username = rules.username(claims)?;
            check_name(&username)?;
            UserRow {
                username,
                password_hash: String::new(),
                role,
                dag_permissions: Vec::new(),
                identity: Some(identity.clone()),
                created_at: now,
                updated_at: now,
            }
        };
        let audit = Audit::new(EventNew { username: Some(user.username.clone()), ..event });
        let object = format!("{} {}", identity.issuer, identity.subject);
        let opened = audit.clone().scope(async {
            audit.change(&object, &before, &user.shown());
            if is_new {
                // Its name may be somebody's whom this issuer does not vouch for; nobody is taken over.
                let is_made = inner.store.user_create(&user).await?;
                if !is_made && inner.store.user_get_by_identity(identity).await?.is_none() {
                    return Err(AuthError::NameTaken(user.username.clone()));
                }
            } else if before["role"] != json!(role) {
                inner.store.user_set_role_vouched(identity, role, now).await?;
                self.forget_verified();
            }
            self.open_if(&user.username, SessionKind::Cookie, Some("")).await?.ok_or(AuthError::UnknownToken)
        });
        opened.await
    }
}

fn refusal(event: EventNew, why: &str) -> EventNew {
    EventNew { after: Some(json!({"why": why}).to_string()), ..event }
}

impl From<SignInError> for AuthError {
    fn from(error: SignInError) -> Self {
        Self::NotLetIn(error)
    }
}
