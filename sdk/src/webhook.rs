//! Waiting for another system to say that something happened, without asking it again and again.
//!
//! ```
//! use airlock_sdk::prelude::*;
//!
//! #[data]
//! struct Payment {
//!     amount: f64,
//! }
//!
//! #[task]
//! fn paid(ctx: &Context) -> Result<f64> {
//!     let payment: Payment = webhook::wait_for("payment").wait(ctx)?;
//!     Ok(payment.amount)
//! }
//! # let host = airlock_sdk::testing::Host::new().webhook("payment", &Payment { amount: 9.5 });
//! # assert_eq!(host.run(|ctx| paid::run(ctx)).unwrap(), 9.5);
//! ```
//!
//! The other system posts JSON to `/hooks/<dag_id>/<run_id>/<task_id>` (with `?map_index=` for a mapped task), signed with the
//! secret of the dag's webhook. The task holds nothing while it waits, and is started again from its beginning when it came.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::{
    approval::{self, Ask},
    context::Context,
    error::Result,
};

/// Who answers, to the host. No user may have this name.
const USERNAME: &str = "webhook";
const OPTION: &str = "received";
const PAYLOAD: &str = "payload";

/// Something that another system will say.
#[derive(Debug, Clone)]
#[must_use = "nothing is waited for before `wait`"]
pub struct WaitFor(Ask);

/// Waits for a payload. `subject` names it within a try, so that a task may wait for several, one after the other.
pub fn wait_for(subject: impl Into<String>) -> WaitFor {
    let ask = approval::ask(subject).options([OPTION]).required_field(PAYLOAD, serde_json::json!({}));
    WaitFor(ask.assignees([USERNAME]))
}

impl WaitFor {
    /// How long to wait in all, from the try's first start; 7 days, if nothing is said.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self(self.0.timeout(timeout))
    }

    /// The payload: until it comes the task waits, and is started again then.
    ///
    /// # Errors
    /// [`Later`](crate::Later) if it has not come, to be handed on with `?`; [`Fatal`](crate::Fatal) after the timeout; or if
    /// what came is not a `T`.
    pub fn wait<T: DeserializeOwned>(self, ctx: &Context) -> Result<T> {
        self.0.wait(ctx)?.value(PAYLOAD)
    }
}

#[cfg(not(target_family = "wasm"))]
impl crate::testing::Host {
    /// Answers a task that waits for `subject`.
    ///
    /// # Panics
    /// If `payload` can't be JSON.
    pub fn webhook<T: serde::Serialize>(self, subject: impl Into<String>, payload: &T) -> Self {
        let payload = serde_json::to_value(payload).expect("a test's payload is JSON");
        self.answer(subject, [OPTION], serde_json::json!({ PAYLOAD: payload }))
    }
}
