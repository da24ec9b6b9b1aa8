//! Progress bars. They are drawn on standard error, and only if that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts bytes up to `total`.
pub fn bytes(what: String, total: u64) -> ProgressBar {
    bar(what, total, "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}")
}

/// A bar that counts things up to `total`.
pub fn count(what: String, total: u64) -> ProgressBar {
    bar(what, total, "{msg} [{bar:30}] {pos}/{len} {elapsed}")
}

fn bar(what: String, total: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style.progress_chars("=> ")).with_message(what)
}
