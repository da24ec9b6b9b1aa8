//! The page, in a real browser.

use std::{env, process::Command, time::Duration};

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
async fn lists_are_brought_up_to_date_while_they_are_looked_at() {
    let (server, client, browser) = start().await;
    let open = async |path: &str| {
        browser.open(&server, path).await;
        browser.holds("return document.querySelector('#live')?.dataset.liveState === 'on'").await;
        browser.script("window.sameDocument = true").await;
    };
    let shows = async |css: &str| {
        browser.holds(&format!("return document.querySelector('{css}') !== null && window.sameDocument")).await;
    };
    open("/pools").await;
    client.post("/api/v2/pools", &json!({"name": "late", "slots": 3})).await.ok();
    shows("#list tr[data-key=late]").await;
    open("/assets").await;
    client.upload(build::component("shapes")).await.ok();
    shows("#list tr[data-key=orders]").await;
    open("/components").await;
    client.upload(build::component("bench")).await.ok();
    shows("#components tbody tr:nth-child(3)").await;
    open("/task-instances?q=busy").await;
    client.trigger("busy_bees", json!({"steps": 1})).await;
    shows("#instances tr[data-state=success]:nth-child(3)").await;
    assert_no_complaints(&browser).await;
}

#[tokio::test]
async fn a_backfill_is_watched_to_its_end_without_a_reload() {
    let (server, client, browser) = start().await;
    client.upload(build::component("control")).await.ok();
    let daily = "dag_id: daily\nschedule: 0 6 * * *\ntasks: {work: {uses: control/sleep, with: {duration: 200ms}}}\n";
    client.upload(daily.into()).await.ok();
    browser.open(&server, "/dags/daily/backfills").await;
    browser.script("window.sameDocument = true").await;
    browser.holds("return document.querySelector('#live')?.dataset.liveState === 'on'").await;
    let body = json!({"dag_id": "daily", "from_date": "2026-01-01T00:00:00Z", "to_date": "2026-01-04T00:00:00Z",
        "max_active_runs": 1});
    client.post("/api/v2/backfills", &body).await.ok();
    browser.holds("return document.querySelector('#backfills progress')?.value === 3").await;
    browser.holds("return document.querySelector('#backfills tbody').textContent.includes('over')").await;
    assert_eq!(browser.script("return window.sameDocument === true").await, true, "the page was loaded anew");
}

#[tokio::test]
async fn the_grid_has_its_colours_in_a_palette_of_the_system() {
    const COLOURS: &str = "const canvas = document.querySelector('#grid canvas');
        const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return new Set(new Uint32Array(data.buffer)).size > 2";
    let (server, client, browser) = start().await;
    let run = client.trigger("busy_bees", json!({"steps": 1})).await;
    client.finished("busy_bees", &run).await;
    let features = json!({"features": [{"name": "forced-colors", "value": "active"}]});
    browser.devtools("Emulation.setEmulatedMedia", features).await;
    browser.open(&server, "/dags/busy_bees").await;
    browser.holds("return document.querySelector('#grid')?.dataset.ready === 'true'").await;
    browser.holds(COLOURS).await;
}

#[tokio::test]
async fn a_link_to_a_line_finds_it_in_a_long_log() {
    let (server, client, browser) = start().await;
    let run_id = client.trigger("hostile_flood", json!({})).await;
    client.finished("hostile_flood", &run_id).await;
    let path = format!("/dags/hostile_flood/runs/{}/tasks/flood", run_id.replace('+', "%2B"));
    let at = async |query: &str, line: u32| {
        let seen = format!("document.querySelector('#L{line}:target') !== null");
        browser.holds(&format!("return location.search === '{query}' && {seen}")).await;
    };
    browser.open(&server, &format!("{path}#L7")).await;
    at("?before=257", 7).await;
    browser.click("#log-later").await;
    at("?try=1&before=757", 257).await;
    browser.click("#log-later").await;
    at("?try=1&before=1257", 757).await;
    browser.click("#log-first").await;
    at("?try=1&before=500", 0).await;
    // A hit leads to the lines about it.
    browser.open(&server, &format!("{path}?q=x&before=1000")).await;
    assert_eq!(browser.text("#log-later").await, "Newest lines");
    browser.click("#L900 .at").await;
    at("?try=1&before=1150", 900).await;
}

#[tokio::test]
async fn fields_that_a_script_left_out_come_back_and_no_others() {
    const LEFT_OUT: &str = "const form = document.querySelector('#filters'), locked = document.createElement('input');
        locked.disabled = true;
        form.append(locked);
        form.addEventListener('submit', (event) => event.preventDefault());
        form.requestSubmit();
        const left = form.elements.q.disabled;
        dispatchEvent(new Event('pageshow'));
        return [left, form.elements.q.disabled, locked.disabled];";
    let (server, _client, browser) = start().await;
    browser.open(&server, "/dags").await;
    browser.holds("return document.querySelector('#live')?.dataset.liveState === 'on'").await;
    assert_eq!(browser.script(LEFT_OUT).await, json!([true, false, true]));
}

#[tokio::test]
async fn a_stream_that_is_refused_is_asked_for_again() {
    const REFUSED: &str = "window.Stream = EventSource;
        window.EventSource = class extends Stream { constructor() { super('/ui/nowhere'); } };
        for (const name of ['pagehide', 'pageshow']) dispatchEvent(new Event(name));";
    let (server, _client, browser) = start().await;
    browser.open(&server, "/dags").await;
    browser.holds("return document.querySelector('#live')?.dataset.liveState === 'on'").await;
    browser.script(REFUSED).await;
    browser.holds("return document.querySelector('#live').dataset.liveState === 'lost'").await;
    browser.script("window.EventSource = Stream").await;
    browser.holds("return document.querySelector('#live').dataset.liveState === 'on'").await;
}

#[tokio::test]
async fn a_page_whose_session_is_over_leads_to_the_sign_in_and_back() {
    let (server, _client, browser) = start().await;
    browser.open(&server, "/runs?q=busy").await;
    browser.holds("return document.querySelector('#live')?.dataset.liveState === 'on'").await;
    browser.script("window.sameDocument = true; fetch('/logout', { method: 'POST' })").await;
    browser.holds("return document.querySelector('#live').textContent === 'signed out' && window.sameDocument").await;
    browser.click("#refresh").await;
    browser.holds("return location.pathname === '/login'").await;
    assert_eq!(browser.script("return document.querySelector('[name=next]').value").await, "/runs?q=busy");
}

#[tokio::test]
async fn a_change_leaves_focus_and_selection_where_they_are() {
    const MOVES: &str =
        "const {morph} = await import(document.querySelector('script[type=module]').src.replace('app.js', 'live.js'));
        const list = (names) => {
          const list = document.createElement('ul');
          for (const name of names) {
            const item = document.createElement('li'), button = document.createElement('button');
            item.dataset.key = name;
            button.textContent = name;
            item.append(button);
            list.append(item, ' ');
          }
          return list;
        };
        const told = [];
        for (const names of ['abcd', 'dcba', 'bcda', 'xcy', 'c', 'zabc']) {
          const old = list('abcd');
          document.body.append(old);
          old.querySelector('[data-key=c] button').focus();
          morph(old, list(names));
          told.push(`${old.textContent.replaceAll(' ', '')} ${document.activeElement.textContent}`);
          old.remove();
        }
        return told.join();";
    let (server, client, browser) = start().await;
    let first = client.trigger("busy_bees", json!({"steps": 1})).await;
    client.finished("busy_bees", &first).await;
    browser.open(&server, "/dags/busy_bees/runs").await;
    browser.holds("return document.querySelector('#live')?.dataset.liveState === 'on'").await;
    browser
        .script(
            "document.querySelector('#runs [data-row-link]').focus();
             getSelection().selectAllChildren(document.activeElement);",
        )
        .await;
    let second = client.trigger("busy_bees", json!({"steps": 80})).await;
    browser.holds("return document.querySelectorAll('#runs tbody tr').length === 2").await;
    let rows = "return [...document.querySelectorAll('#runs tbody tr')].map((row) => row.dataset.run)";
    assert_eq!(browser.script(rows).await, json!([second, first]));
    let held = "return [document.activeElement.textContent, getSelection().toString()]";
    assert_eq!(browser.script(held).await, json!([first, first]));

    // What stands before the link goes when the run ends.
    browser.open(&server, &format!("/dags/busy_bees/runs/{}", second.replace('+', "%2B"))).await;
    browser.element("#cancel-run").await;
    browser.script("document.querySelector('#trigger-again').focus()").await;
    browser.holds("return document.querySelector('#cancel-run') === null").await;
    assert_eq!(browser.script("return document.activeElement.id").await, "trigger-again");

    // Whatever moves: what has the focus stays, and all are in order.
    let moved = browser.script(&format!("return (async () => {{ {MOVES} }})()")).await;
    assert_eq!(moved, "abcd c,dcba c,bcda c,xcy c,c c,zabc c");
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
        "/dags/busy_bees/runs?day=2026-01-31",
        "/dags/busy_bees/calendar",
        "/dags/busy_bees/backfills",
        "/dags/busy_bees/grants",
        "/dags/busy_bees/details",
        "/dags/busy_bees/limits",
        "/dags/busy_bees/retention",
        "/dags/busy_bees/webhook",
        "/dags/busy_bees/webhook/replace",
        "/dags/busy_bees/webhook/delete",
        "/dags/busy_bees/trigger",
        "/dags/busy_bees/delete",
        "/components",
        "/variables",
        "/connections",
        "/variables/edit",
        "/connections/edit",
        "/pools",
        "/pools/edit",
        "/assets",
        "/runs",
        "/runs?state=failed&q=busy",
        "/task-instances",
        "/task-instances?state=success&q=busy&task=sum&pool=default_pool&day=2026-01-31",
        "/approvals",
        "/workers",
        "/users",
        "/users/edit",
        "/audit",
        "/tokens",
        "/tokens/new",
        "/password",
        "/dags?q=no_such_dag",
        "/dags/canary",
        "/no/such/page",
    ]
    .map(str::to_owned)
    .into();
    for part in [
        "",
        "?sort=duration",
        "?q=nothing",
        "/clear",
        "/mark?state=failed",
        "/tasks/slow_a",
        "/tasks/slow_a?tab=outputs",
        "/tasks/sum",
        "/tasks/sum?tab=inputs",
        "/tasks/sum?tab=details",
        "/tasks/sum/clear",
        "/tasks/sum/mark",
    ] {
        pages.push(format!("{run}{part}"));
    }
    client.upload(build::component("shapes")).await.ok();
    for (dag_id, task) in [("grouped", "outer.inner.double"), ("mapped_group", "each.picky"), ("on_a_cluster", "picky")]
    {
        let run_id = client.trigger(dag_id, json!({})).await;
        client.finished(dag_id, &run_id).await;
        let run = format!("/dags/{dag_id}/runs/{}", run_id.replace('+', "%2B"));
        let graph = format!("/dags/{dag_id}/graph");
        pages.extend([format!("/dags/{dag_id}"), graph, format!("{run}/tasks/{task}"), run]);
    }
    let run_id = client.trigger("make_tables", json!({})).await;
    client.finished("make_tables", &run_id).await;
    pages.extend(["tables", "tables/a"].map(|name| format!("/assets/named?name={name}")));
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

/// axe-core, as a PyPI package carries it: its file is a script like any other.
fn axe() -> String {
    const WHERE: &str = "import importlib.util as util; print(util.find_spec('axe_playwright_python').origin)";
    let python = env::var_os("AIRLOCK_TEST_PYTHON").expect(
        "`cargo xtask test` installs axe-playwright-python and names its Python in AIRLOCK_TEST_PYTHON; \
         else do so by hand: python3 -m venv DIR && DIR/bin/pip install --no-deps axe-playwright-python",
    );
    let output = Command::new(python).args(["-c", WHERE]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let module = String::from_utf8(output.stdout).unwrap();
    std::fs::read_to_string(std::path::Path::new(module.trim()).with_file_name("axe.min.js")).unwrap()
}

#[tokio::test]
async fn axe_finds_nothing_that_keeps_anybody_out() {
    const RUN: &str = "const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
        const {violations} = await axe.run(document, {runOnly: tags});
        return violations.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.html.slice(0, 200)}`));";
    let (server, client, browser) = start().await;
    let axe = axe();
    let pages = pages(&client).await;
    for (scheme, is_phone) in [("light", false), ("dark", true)] {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        browser.devtools("Emulation.setEmulatedMedia", features).await;
        if is_phone {
            browser.be_a_phone().await;
        }
        for page in &pages {
            browser.open(&server, page).await;
            browser.element("main").await;
            browser.holds("return document.querySelector('#graph, #grid')?.dataset.ready !== undefined || !document.querySelector('#graph, #grid')").await;
            browser.script(&axe).await;
            let found = browser.script(&format!("return (async () => {{ {RUN} }})()")).await;
            assert_eq!(found, json!([]), "{page}, {scheme}");
        }
    }
}

#[tokio::test]
async fn times_are_told_in_the_zone_that_was_chosen() {
    let (server, client, browser) = start().await;
    let run_id = client.trigger("busy_bees", json!({"steps": 1})).await;
    client.finished("busy_bees", &run_id).await;
    let zone = json!({"timezoneId": "Asia/Seoul"});
    browser.devtools("Emulation.setTimezoneOverride", zone).await;
    browser.open(&server, "/dags/busy_bees/runs").await;
    let told = "#runs time";
    assert!(browser.text(told).await.ends_with(" UTC"));
    for (name, end) in [("DAG time", " UTC"), ("Seoul", " KST"), ("UTC", " UTC")] {
        browser.click("header .end > form [data-zone-switch]").await;
        browser.holds(&format!("return document.querySelector('[data-zone-switch]')?.textContent === '{name}'")).await;
        assert!(browser.text(told).await.ends_with(end), "{name}");
    }
    assert_no_complaints(&browser).await;
}

#[tokio::test]
async fn ten_thousand_tasks_are_shown_while_they_run_and_hold_nobody_up() {
    const WATCH: &str = "window.frozen = 0;
        new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
          window.frozen = Math.max(window.frozen, entry.duration);
        })).observe({type: 'longtask', buffered: true});";
    let (server, client, browser) = start().await;
    client.upload(build::component("bench")).await.ok();
    let run_id = client.trigger("wide_10000", json!({})).await;
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({"source": WATCH})).await;
    let run_page = format!("/dags/wide_10000/runs/{}?fold=false", run_id.replace('+', "%2B"));
    browser.open(&server, &run_page).await;
    browser.holds("return document.querySelector('#graph')?.dataset.ready === 'true'").await;
    browser.holds("return document.querySelector('#run-state').dataset.state === 'success'").await;
    browser.holds("return document.querySelectorAll('#tasks tbody tr').length === 100").await;
    // Each task is a square of the graph; all of them have become green.
    let squares = "[...document.querySelectorAll('#graph path.square')].map((path) =>
        [path.classList[1], path.getAttribute('d').split('M').length - 1].join(' ')).join()";
    browser.holds(&format!("return {squares} === 's-success 10000'")).await;
    let frozen = browser.script("return window.frozen").await;
    assert!(frozen.as_f64().unwrap() < 1_000.0, "the page stood still for {frozen} ms");
    assert_no_complaints(&browser).await;
}

#[tokio::test]
async fn a_group_is_closed_and_opened_and_stays_so() {
    const BOXES: &str = "return [...document.querySelectorAll('#graph .node')].map((node) =>
        (node.dataset.task ?? node.dataset.group) + ' ' + (node.querySelector('.under') ?? node.querySelector('.times'))?.textContent).sort().join()";
    let (server, client, browser) = start().await;
    client.upload(build::component("shapes")).await.ok();
    let run_id = client.trigger("mapped_group", json!({})).await;
    browser.open(&server, "/dags/mapped_group/graph").await;
    let boxes = async |expected: &str| {
        browser.holds(&format!("{} === '{expected}'", BOXES.replacen("return ", "return (", 1) + ")")).await;
    };
    let open = "count undefined,each.double [3],each.picky [3],sum undefined";
    // It is told what the instances are in while the page is looked at.
    boxes(open).await;
    client.finished("mapped_group", &run_id).await;
    browser.holds("return document.querySelectorAll('[data-task=\"each.picky\"] .side').length === 2").await;
    let closed = "count undefined,each 1 failed · +2,sum undefined";
    browser.click("#graph .head[data-group=each]").await;
    boxes(closed).await;
    assert_eq!(browser.script("return document.activeElement.getAttribute('aria-expanded')").await, "false");
    browser.open(&server, &format!("/dags/mapped_group/runs/{}", run_id.replace('+', "%2B"))).await;
    boxes(closed).await;
    browser.script("document.querySelector('#graph [data-group=each]').focus()").await;
    browser.press(Key::Enter).await;
    boxes(open).await;
    assert_eq!(browser.script("return document.activeElement.getAttribute('aria-expanded')").await, "true");
    let teardown = "return document.querySelector('[data-task=delete_cluster] title').textContent.includes('teardown')";
    browser.open(&server, "/dags/on_a_cluster/graph").await;
    browser.element("#graph [data-task=delete_cluster] .role").await;
    browser.holds(teardown).await;
    browser.open(&server, "/dags/grouped/graph").await;
    browser.holds("return document.querySelector('#graph .label')?.textContent === 'when all is done'").await;
    browser.holds("return document.querySelector('[data-group=\"outer.inner\"] title').textContent.includes('The inner group.')").await;
    assert_no_complaints(&browser).await;
}

#[tokio::test]
async fn a_closed_group_is_one_row_of_the_grid() {
    let (server, client, browser) = start().await;
    client.upload(build::component("shapes")).await.ok();
    let run_id = client.trigger("grouped", json!({})).await;
    client.finished("grouped", &run_id).await;
    browser.open(&server, "/dags/grouped").await;
    browser.holds("return document.querySelector('#grid')?.dataset.ready === 'true'").await;
    let said = async |expected: &str| {
        browser.holds(&format!("return document.querySelector('#grid-said').textContent.includes('{expected}')")).await;
    };
    // The table has the groups, too, above their tasks and with a state for each run.
    let rows = "return [...document.querySelectorAll('#grid-twin tbody tr')]
        .map(row => `${row.className}:${row.cells[0].textContent}:${row.cells[1].querySelector('a').title.split(' ').pop()}`)
        .join(' ')";
    let rows = browser.script(rows).await;
    let rows = rows.as_str().unwrap();
    let at = |row: &str| rows.find(row).unwrap_or_else(|| panic!("no {row} in {rows}"));
    assert!(at("group:group outer:success") < at("group:group outer.inner:success"), "{rows}");
    assert!(at("group:group outer.inner:success") < at(":outer.inner.double:success"), "{rows}");
    let height = "return document.querySelector('#grid .space').offsetHeight";
    let open = browser.script(height).await.as_i64().unwrap();
    browser.script("document.querySelector('#grid').focus()").await;
    until("the group's row", Duration::from_secs(20), async || {
        browser.press(Key::Down).await;
        let said = browser.script("return document.querySelector('#grid-said').textContent").await;
        said.as_str().unwrap().starts_with("outer, 2 tasks").then_some(())
    })
    .await;
    browser.press(Key::Enter).await;
    said("outer, closed").await;
    assert_eq!(browser.script(height).await.as_i64().unwrap(), open - 3 * 22, "two tasks and a group are hidden");
    browser.open(&server, "/dags/grouped/graph").await;
    browser.element("#graph .node.closed[data-group=outer]").await;
    assert_no_complaints(&browser).await;
}

#[tokio::test]
async fn what_happens_while_states_are_fetched_is_not_lost() {
    const SLOW: &str = "const real = window.fetch;
        window.fetch = async (url, ...rest) => {
          const answer = await real(url, ...rest);
          if (String(url).includes('/states') || String(url).includes('/grid')) {
            await new Promise((done) => setTimeout(done, 4000));
          }
          return answer;
        };";
    let (server, client, browser) = start().await;
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({"source": SLOW})).await;
    let run_id = client.trigger("busy_bees", json!({"steps": 35})).await;
    browser.open(&server, &format!("/dags/busy_bees/runs/{}", run_id.replace('+', "%2B"))).await;
    browser.holds("return document.querySelector('#run-state')?.dataset.state === 'success'").await;
    browser.holds("return document.querySelectorAll('#graph .node.s-success').length === 3").await;
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
    let mut said = browser.script("return document.querySelector('[data-theme-switch]').innerText").await;
    while said != "Light" {
        browser.click("header .end > form [data-theme-switch]").await;
        let now = format!("document.querySelector('[data-theme-switch]')?.innerText ?? {said}");
        browser.holds(&format!("return ({now}) !== {said}")).await;
        said = browser.script(&format!("return {now}")).await;
    }
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
    // A key that comes before the focus has left the dialog that was closed.
    browser
        .script(
            "const dialog = document.querySelector('dialog#help'), button = dialog.querySelector('button');
             dialog.close();
             button.dispatchEvent(new KeyboardEvent('keydown', { key: '?', bubbles: true }));",
        )
        .await;
    browser.holds("return document.querySelector('dialog#help')?.open === true").await;
    browser.press(Key::Escape).await;
    browser.holds("return document.querySelector('dialog#help')?.open !== true").await;

    browser.press("g").await;
    browser.press("d").await;
    browser.holds("return location.pathname === '/dags' && document.readyState === 'complete'").await;
    browser.press("j").await;
    browser.holds("return document.activeElement.hasAttribute('data-row-link')").await;
    let name = browser.script("return document.activeElement.closest('[data-dag]').dataset.dag").await;
    browser.press(Key::Enter).await;
    browser.holds(&format!("return location.pathname === '/dags/' + {name}")).await;
    browser.press("7").await;
    browser.holds("return location.pathname.endsWith('/details') && document.readyState === 'complete'").await;
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
