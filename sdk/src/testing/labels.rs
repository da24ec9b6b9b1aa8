//! What a task calls its instance.

use super::{Host, host::with};
use crate::error::HostError;

/// ```
/// use airlock_sdk::{prelude::*, testing::Host};
///
/// #[task]
/// fn rows(ctx: &Context, file: &str) -> Result<usize> {
///     ctx.set_map_label(format!("{file}, {} bytes", file.len()))?;
///     Ok(file.len())
/// }
///
/// let host = Host::new().map_index(3);
/// host.run(|ctx| rows::run(ctx, "a.csv")).unwrap();
/// assert_eq!(host.map_label().as_deref(), Some("a.csv, 5 bytes"));
/// assert!(Host::new().run(|ctx| rows::run(ctx, "a.csv")).is_err(), "it is not mapped");
/// ```
impl Host {
    /// What a task called its instance, by `Context::set_map_label`.
    pub fn map_label(&self) -> Option<String> {
        self.state.borrow().label.clone()
    }
}

pub fn label_set(label: &str) -> Result<(), HostError> {
    with("a label", |state| {
        if state.place.1.is_none() || label.trim().is_empty() {
            return Err(HostError::Invalid("the task is not mapped, or the label is empty".to_owned()));
        }
        state.label = Some(label.trim().to_owned());
        Ok(())
    })
}
