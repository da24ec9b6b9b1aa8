//! The page, in a real browser.

use std::time::Duration;

use airlock_tests::{Client, Server, browser::Browser, build, until};
use serde_json::json;
use thirtyfour::Key;

/// A server with the dags `busy_bees` and `canary`, and a browser that has signed in.
async fn start() -> (Server, Client, Browser) {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    let browser = Browser::start(1200, 900).await.unwrap();
    browser.sign_in(&server).await;
    (server, client, browser)
}

async fn assert_no_complaints(browser: &Browser) {
    let complaints = browser.complaints().await;
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[tokio::test]
async fn nobody_gets_in_without_the_password() {
    let server = Server::start().await;
    let browser = Browser::start(1200, 900).await.unwrap();
    browser.open(&server, "/dags").await;
    browser.holds("return location.pathname === '/login'").await;
    browser.element("#username").await.send_keys("admin").await.unwrap();
    browser.element("#password").await.send_keys("guess").await.unwrap();
    browser.click("#sign-in-submit").await;
    assert!(browser.text("#sign-in-error").await.contains("wrong"));
    browser.sign_in(&server).await;
    assert_eq!(
        browser.script("return localStorage.length + sessionStorage.length").await,
        0,
        "tokens stay out of scripts"
    );
    assert_eq!(browser.script("return document.cookie.includes('session')").await, false);
    browser.click("#sign-out").await;
    browser.holds("return location.pathname === '/login'").await;
    browser.open(&server, "/dags").await;
    browser.holds("return location.pathname === '/login'").await;
}

#[tokio::test]
async fn a_run_is_triggered_with_params_and_watched_to_its_end_without_a_reload() {
    let (server, client, browser) = start().await;
    browser.open(&server, "/dags").await;
    browser.click("#dag-busy_bees [data-action=trigger]").await;
    let steps = browser.element("[data-param=steps] input").await;
    steps.clear().await.unwrap();
    steps.send_keys("15").await.unwrap();
    browser.click("#trigger-submit").await;

    browser.element("#run-state").await;
    browser.script("window.sameDocument = true").await;
    browser.holds("return document.querySelector('#run-state').dataset.state === 'running'").await;
    browser.holds("return document.querySelector('#run-state').dataset.state === 'success'").await;
    browser.holds("return document.querySelectorAll('#tasks tr[data-state=success]').length === 3").await;
    assert_eq!(browser.script("return window.sameDocument === true").await, true, "the page was loaded anew");

    let runs = client.list("/api/v2/dags/busy_bees/dagRuns", "dag_runs").await;
    assert_eq!(runs[0]["conf"], json!({"steps": 15}));
    browser.click("#tasks tr[data-task=slow_a] a").await;
    assert!(browser.text("#log-lines").await.contains("step 14 of slow_a"));
    assert_no_complaints(&browser).await;
}

#[tokio::test]
async fn a_log_grows_while_it_is_looked_at() {
    let (server, client, browser) = start().await;
    let run_id = client.trigger("busy_bees", json!({"steps": 80})).await;
    let path = format!("/dags/busy_bees/runs/{}/tasks/slow_a", run_id.replace('+', "%2B"));
    until("the task's start", Duration::from_secs(30), async || {
        let instances = client.instances("busy_bees", &run_id).await;
        instances.iter().any(|instance| instance["state"] == "running").then_some(())
    })
    .await;
    browser.open(&server, &path).await;
    browser.holds("return document.querySelectorAll('#log-lines li').length > 0").await;
    let count =
        browser.script("window.sameDocument = true; return document.querySelectorAll('#log-lines li').length").await;
    let more = format!("return document.querySelectorAll('#log-lines li').length > {count} + 10");
    let start = std::time::Instant::now();
    browser.holds(&more).await;
    // Ten lines take a second to be written; each is to be seen within a second.
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    assert_eq!(browser.script("return window.sameDocument === true").await, true);
    browser.holds("return document.querySelector('#task-state').dataset.state === 'success'").await;
    browser.holds("return document.querySelector('#log-lines').textContent.includes('step 79')").await;
    assert_no_complaints(&browser).await;
}

/// Every kind of page, with something on it.
async fn pages(client: &Client) -> Vec<String> {
    client.post("/api/v2/variables", &json!({"key": "a_variable", "value": "x"})).await.ok();
    client.post("/api/v2/connections", &json!({"connection_id": "a_connection", "conn_type": "http"})).await.ok();
    let run_id = client.trigger("busy_bees", json!({"steps": 1})).await;
    client.finished("busy_bees", &run_id).await;
    let run = format!("/dags/busy_bees/runs/{}", run_id.replace('+', "%2B"));
    let mut pages: Vec<_> = [
        "/dags",
        "/dags/busy_bees",
        "/dags/busy_bees/graph",
        "/dags/busy_bees/runs",
        "/dags/busy_bees/details",
        "/dags/busy_bees/trigger",
        "/dags/busy_bees/delete",
        "/components",
        "/variables",
        "/connections",
        "/pools",
        "/no/such/page",
    ]
    .map(str::to_owned)
    .into();
    for part in ["", "/clear", "/mark?state=failed", "/tasks/slow_a", "/tasks/sum"] {
        pages.push(format!("{run}{part}"));
    }
    pages
}

#[tokio::test]
async fn no_page_scrolls_sideways_on_a_phone_and_none_breaks_its_own_policy() {
    let (server, client, browser) = start().await;
    let pages = pages(&client).await;
    browser.be_a_phone().await;
    for page in &pages {
        browser.open(&server, page).await;
        browser.element("main").await;
        let widths = browser.script("return [document.documentElement.scrollWidth, innerWidth]").await;
        assert!(widths[0].as_f64() <= widths[1].as_f64(), "{page}: {widths}");
        assert_eq!(widths[1], 360, "{page}");
        let complaints = browser.complaints().await;
        // That a page is not there is told in the console too.
        assert!(complaints.iter().all(|text| text.contains("Failed to load resource")), "{page}: {complaints:#?}");
    }
}

#[tokio::test]
async fn each_page_has_a_title_a_heading_and_names_for_what_can_be_used() {
    let (server, client, browser) = start().await;
    for page in pages(&client).await {
        browser.open(&server, &page).await;
        browser.element("main").await;
        let nameless = browser
            .script(
                "const named = (e) => (e.labels?.length || e.getAttribute('aria-label') || e.title || e.textContent.trim()
                   || e.type === 'hidden');
                 return [...document.querySelectorAll('a[href], button, input, select, textarea')]
                   .filter((e) => !named(e)).map((e) => e.outerHTML.slice(0, 200));",
            )
            .await;
        assert_eq!(nameless, json!([]), "{page}");
        let shape = browser
            .script("return [document.title.length > 0, document.querySelectorAll('h1').length, document.documentElement.lang]")
            .await;
        assert_eq!(shape, json!([true, 1, "en"]), "{page}");
    }
}

#[tokio::test]
async fn it_is_light_or_dark_as_the_system_or_the_user_says() {
    const COLOR: &str = "return getComputedStyle(document.documentElement).backgroundColor";
    let (server, _client, browser) = start().await;
    let scheme = async |value: &str| {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        browser.devtools("Emulation.setEmulatedMedia", features).await;
        browser.open(&server, "/dags").await;
        browser.script(COLOR).await
    };
    let (light, dark) = (scheme("light").await, scheme("dark").await);
    assert_ne!(light, dark);
    // Dark by the system; the user wants it light, and keeps it over pages.
    until("a light page", Duration::from_secs(20), async || {
        browser.click("header .end > form [data-theme-switch]").await;
        (browser.script("return document.documentElement.dataset.theme").await == "light").then_some(())
    })
    .await;
    browser.open(&server, "/variables").await;
    assert_eq!(browser.script(COLOR).await, light);
    assert_no_complaints(&browser).await;
}

#[tokio::test]
async fn everything_can_be_reached_by_keyboard() {
    let (server, _client, browser) = start().await;
    browser.open(&server, "/variables").await;
    browser.press(Key::Tab).await;
    assert_eq!(browser.script("return document.activeElement.className").await, "skip");
    browser.script("document.activeElement.blur()").await;

    browser.press("?").await;
    browser.holds("return document.querySelector('dialog#help')?.open === true").await;
    browser.press(Key::Escape).await;
    browser.holds("return document.querySelector('dialog#help')?.open !== true").await;

    browser.press("g").await;
    browser.press("d").await;
    browser.holds("return location.pathname === '/dags' && document.readyState === 'complete'").await;
    browser.press("j").await;
    browser.holds("return document.activeElement.hasAttribute('data-row-link')").await;
    let name = browser.script("return document.activeElement.textContent").await;
    browser.press(Key::Enter).await;
    browser.holds(&format!("return location.pathname === '/dags/' + {name}")).await;
    browser.press("t").await;
    browser.holds("return location.pathname.endsWith('/trigger')").await;
    assert_no_complaints(&browser).await;
}

#[tokio::test]
async fn text_is_text_wherever_it_comes_from() {
    const EVIL: &str = "<script>window.pwned=1</script><img src=x onerror=\"window.pwned=1\">'; DROP TABLE dag_run; --";
    let (server, client, browser) = start().await;
    client.post("/api/v2/variables", &json!({"key": "evil", "value": EVIL, "description": EVIL})).await.ok();
    let connection = json!({
        "connection_id": "evil", "conn_type": EVIL, "description": EVIL, "host": EVIL, "login": EVIL, "schema": EVIL,
    });
    client.post("/api/v2/connections", &connection).await.ok();
    let run = json!({"logical_date": null, "conf": {"text": EVIL}, "note": EVIL});
    let run = client.post("/api/v2/dags/canary/dagRuns", &run).await.ok();
    let run_id = run["dag_run_id"].as_str().unwrap();
    client.finished("canary", run_id).await;
    assert_eq!(client.xcom("canary", run_id, "echo", "return_value").await, EVIL);

    let run_page = format!("/dags/canary/runs/{}", run_id.replace('+', "%2B"));
    for page in [
        "/variables".to_owned(),
        "/connections".to_owned(),
        "/dags?q=%3Cscript%3Ewindow.pwned%3D1%3C%2Fscript%3E".to_owned(),
        "/dags/%3Cscript%3Ewindow.pwned%3D1%3C%2Fscript%3E".to_owned(),
        run_page.clone(),
        format!("{run_page}/tasks/echo"),
        format!("{run_page}/tasks/echo?tab=outputs"),
        format!("{run_page}/tasks/echo?tab=inputs"),
    ] {
        browser.open(&server, &page).await;
        browser.element("main").await;
        assert_eq!(
            browser.script("return window.pwned === undefined && !document.querySelector('main img')").await,
            true,
            "{page}"
        );
        let complaints = browser.complaints().await;
        assert!(complaints.iter().all(|text| text.contains("Failed to load resource")), "{page}: {complaints:#?}");
    }
    browser.open(&server, "/variables").await;
    assert!(browser.text("main").await.contains("<script>"));
    assert_eq!(client.list("/api/v2/dags/canary/dagRuns", "dag_runs").await.len(), 1);
}

#[tokio::test]
async fn without_scripts_every_page_works_as_links_and_forms() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    let browser = Browser::start(1200, 900).await.unwrap();
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({"value": true})).await;
    browser.sign_in(&server).await;
    browser.open(&server, "/dags").await;
    browser.click("#dag-canary [data-action=trigger]").await;
    browser.click("#trigger-submit").await;
    browser.element("#run-state").await;
    let state = until("the run's end", Duration::from_secs(30), async || {
        browser.driver.refresh().await.ok()?;
        let state = browser.element("#run-state").await.attr("data-state").await.ok().flatten()?;
        matches!(state.as_str(), "success" | "failed").then_some(state)
    })
    .await;
    assert_eq!(state, "success");
    browser.click("#tasks tr[data-task=echo] a").await;
    assert_eq!(browser.text("#task-id").await, "echo");
}
