//! Headless Chromium, driven by its own chromedriver.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context;
use tempfile::TempDir;
use thirtyfour::{CapabilitiesHelper, ChromiumLikeCapabilities, DesiredCapabilities, WebDriver};
use tokio::net::TcpStream;

use crate::wait::until;

/// A browser with an empty profile. Ends when it is dropped.
#[derive(Debug)]
pub struct Browser {
    pub driver: WebDriver,
    chromedriver: Child,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser whose window has `width` x `height` CSS pixels.
    ///
    /// # Errors
    /// If `chromium` and `chromedriver` are not installed: `cargo xtask test` installs them where it may.
    pub async fn start(width: u32, height: u32) -> anyhow::Result<Self> {
        let profile = TempDir::with_prefix("airlock-browser-")?;
        let port = free_port()?;
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let chromedriver =
            command.spawn().context("can't start `chromedriver`; install the packages chromium and chromium-driver")?;
        let mut starting = Starting(Some(chromedriver));
        until("chromedriver", Duration::from_secs(30), async || TcpStream::connect(("127.0.0.1", port)).await.ok())
            .await;

        let mut capabilities = DesiredCapabilities::chrome();
        for flag in [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--user-data-dir={}", profile.path().display()),
            &format!("--window-size={width},{height}"),
        ] {
            capabilities.add_arg(flag)?;
        }
        capabilities.set("goog:loggingPrefs", serde_json::json!({"browser": "ALL"}))?;
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities).await?;
        let chromedriver = starting.0.take().context("the driver was started")?;
        Ok(Self { driver, chromedriver, _profile: profile })
    }
}

/// Ends the driver if the browser does not start.
struct Starting(Option<Child>);

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // chromedriver ends its browser when it is asked to end, not when it is killed.
        if let Some(pid) = i32::try_from(self.chromedriver.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.chromedriver.wait();
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
