//! Headless Chromium, driven by its own chromedriver.

use std::{
    io::{Read, Write},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::{
    By, CapabilitiesHelper, ChromiumLikeCapabilities, DesiredCapabilities, TypingData, WebDriver, WebElement,
};
use tokio::net::TcpStream;

use crate::{
    server::{ADMIN_PASSWORD, Server},
    wait::until,
};

/// How long a page may take to show something, on a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(30);

/// A browser with an empty profile. Ends when it is dropped.
#[derive(Debug)]
pub struct Browser {
    pub driver: WebDriver,
    chromedriver: Chromedriver,
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
        let started =
            command.spawn().context("can't start `chromedriver`; install the packages chromium and chromium-driver");
        let chromedriver = Chromedriver { child: started?, port };
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
        capabilities.set("goog:loggingPrefs", json!({"browser": "ALL"}))?;
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities).await?;
        Ok(Self { driver, chromedriver, _profile: profile })
    }
}

impl Browser {
    /// Opens `path` on `server`.
    pub async fn open(&self, server: &Server, path: &str) {
        self.driver.goto(format!("{}{path}", server.url)).await.expect("the page must open");
    }

    /// Signs in as `admin`, by the form.
    pub async fn sign_in(&self, server: &Server) {
        self.open(server, "/login").await;
        self.element("#username").await.send_keys("admin").await.expect("the field takes keys");
        self.element("#password").await.send_keys(ADMIN_PASSWORD).await.expect("the field takes keys");
        self.element("#sign-in-submit").await.click().await.expect("the button can be clicked");
        self.element("#who").await;
    }

    /// Asks `question` until it answers something; a failure tells what the browser shows.
    async fn until<T>(&self, what: String, mut question: impl AsyncFnMut() -> Option<T>) -> T {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            if let Some(answer) = question().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let url = self.driver.current_url().await.map_or_else(|error| error.to_string(), String::from);
        let shown = self.driver.source().await.unwrap_or_default();
        panic!("waited {LIMIT:?} in vain for {what} on {url}\n{}", shown.chars().take(20_000).collect::<String>());
    }

    /// The element that `css` selects, as soon as it is there.
    pub async fn element(&self, css: &str) -> WebElement {
        self.until(format!("an element `{css}`"), async || self.driver.find(By::Css(css)).await.ok()).await
    }

    /// Clicks on what `css` selects.
    pub async fn click(&self, css: &str) {
        self.until(format!("a click on `{css}`"), async || {
            self.driver.find(By::Css(css)).await.ok()?.click().await.ok()
        })
        .await;
    }

    /// The text of what `css` selects.
    pub async fn text(&self, css: &str) -> String {
        self.until(format!("the text of `{css}`"), async || {
            self.driver.find(By::Css(css)).await.ok()?.text().await.ok()
        })
        .await
    }

    /// What the script returns.
    pub async fn script(&self, script: &str) -> Value {
        let answer = self.driver.execute(script, Vec::new()).await;
        answer.unwrap_or_else(|error| panic!("`{script}`: {error}")).json().clone()
    }

    /// Presses a key, for whatever has the focus.
    pub async fn press(&self, key: impl Into<TypingData>) {
        self.driver.action_chain().send_keys(key).perform().await.expect("keys can be pressed");
    }

    /// Waits until the script returns true.
    pub async fn holds(&self, script: &str) {
        self.until(format!("`{script}`"), async || (self.script(script).await == true).then_some(())).await;
    }

    /// A command of the Chrome DevTools protocol.
    pub async fn devtools(&self, command: &str, params: Value) {
        self.driver.cdp().send_raw(command, params).await.expect("the browser knows the command");
    }

    /// Makes the window as small as a phone's.
    pub async fn be_a_phone(&self) {
        let params = json!({"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true});
        self.devtools("Emulation.setDeviceMetricsOverride", params).await;
    }

    /// What the console complains about since the last time: errors, refused scripts and styles.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.driver.get_log("browser").await.expect("the browser keeps a log");
        entries.into_iter().filter(|entry| entry.level == "SEVERE").map(|entry| entry.message).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver would end its session by a request on connections of the runtime that this very thread keeps
        // from running: it would wait for ever. So the request goes by hand, and the driver's own is called off.
        let _ = self.chromedriver.end_session(&self.driver.session_id().to_string());
        let _ = self.driver.clone().leak();
    }
}

/// Ends with its value.
#[derive(Debug)]
struct Chromedriver {
    child: Child,
    port: u16,
}

impl Chromedriver {
    /// Ends the browser of a session.
    fn end_session(&self, session: &str) -> std::io::Result<()> {
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", self.port))?;
        socket.set_read_timeout(Some(LIMIT))?;
        write!(socket, "DELETE /session/{session} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        // Answered when the browser has ended.
        socket.read_exact(&mut [0])
    }
}

impl Drop for Chromedriver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
