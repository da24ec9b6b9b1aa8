//! What the pages show and what their forms do.

mod calendar;
mod dags;
mod live;
mod roles;
mod runs;
mod tasks;
mod world;

use std::collections::BTreeSet;

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use self::world::{Answer, EVIL, id, newest};
pub use self::{
    dags::{dag, node},
    world::World,
};
use crate::{
    model::{
        dag_access::DagSet,
        ids::{Digest, RunId, TaskId},
        state::{RunState, TaskState},
    },
    store::{InstanceKey, Page, TaskInstanceFilter},
};

async fn all_pages(world: &World) -> Vec<String> {
    let (weather, mapped, large) =
        (newest(world, "weather").await, newest(world, "mapped").await, newest(world, "large").await);
    let fixed = [
        "/dags",
        "/dags?q=wea",
        "/dags?tag=demo&paused=true",
        "/dags?q=nothing",
        "/dags?last=failed",
        "/dags?favorites=true",
        "/runs",
        "/runs?state=failed&q=wea",
        "/task-instances",
        "/task-instances?state=active&q=wea&task=extract&pool=default_pool&day=2026-10-21",
        "/dags/weather",
        "/dags/weather?q=check&runs=5",
        "/dags/weather/graph",
        "/dags/weather/runs",
        "/dags/weather/runs?state=failed",
        "/dags/weather/runs?day=2026-10-21",
        "/dags/weather/calendar",
        "/dags/weather/calendar?year=2026",
        "/dags/weather/details",
        "/dags/weather/grants",
        "/dags/weather/trigger",
        "/dags/weather/delete",
        "/dags/fan_300",
        "/dags/fan_300/graph",
        "/dags/fan_300/graph?fold=false",
        "/dags/large",
        "/dags/large/graph",
        "/dags/mapped",
        "/components",
        "/variables",
        "/variables/edit",
        "/connections",
        "/connections/edit",
        "/pools",
        "/pools/edit",
        "/pools/edit?key=default_pool",
    ];
    let component = format!("/components/{}", Digest([7; 32]));
    let of_run = [
        "",
        "?state=success",
        "?state=failed&q=mon",
        "?fold=false",
        "/clear",
        "/clear?only_failed=true&chosen=true",
        "/mark?state=failed",
        "/mark?state=success",
        "/delete",
    ];
    let of_task = [
        "/extract",
        "/extract?tab=outputs",
        "/extract?tab=inputs",
        "/extract?tab=details",
        "/extract?try=1&level=warn&q=x",
        "/report?tab=inputs",
        "/monthly_figures",
        "/extract/clear",
        "/extract/clear?chosen=true&upstream=true&past=true",
        "/extract/mark",
        "/extract/mark?state=skipped&downstream=true",
    ];
    let of_mapped =
        ["/each", "/each?map_index=3", "/each?map_index=3&tab=inputs", "/each/clear?map_index=3", "/sum?tab=inputs"];
    fixed
        .iter()
        .map(|path| (*path).to_owned())
        .chain([component, large])
        .chain(of_run.iter().map(|rest| format!("{weather}{rest}")))
        .chain(of_task.iter().map(|rest| format!("{weather}/tasks{rest}")))
        .chain(of_mapped.iter().map(|rest| format!("{mapped}/tasks{rest}")))
        .collect()
}

/// What stands in `body` after each `mark`, up to the next quote.
fn listed(body: &str, mark: &str) -> Vec<String> {
    body.split(mark).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
}

#[tokio::test]
async fn task_instances_of_all_dags_are_found_by_what_they_are() {
    fn all(keys: &[String], is: fn(&str) -> bool) -> bool {
        !keys.is_empty() && keys.iter().all(|key| is(key))
    }
    let world = World::new().await;
    let list = async |query: &str| listed(&world.get(&format!("/task-instances{query}")).await.body, "<tr data-key=\"");
    assert_eq!(list("").await.len(), 50);
    assert!(all(&list("?q=weat&state=failed").await, |key| key.starts_with("weather ")));
    assert!(all(&list("?q=weat&task=extract").await, |key| key.contains(" extract ")));
    assert!(all(&list("?q=weather&day=2026-10-21&pool=default_pool").await, |key| key.contains("2026-10-21")));
    let active = list("?q=weather&state=active").await;
    assert!(active.len() > list("?q=weather&state=running").await.len(), "{active:?}");
    for query in ["?pool=none_such", "?q=none_such", "?task=%00"] {
        assert!(world.get(&format!("/task-instances{query}")).await.body.contains("No task instances here"), "{query}");
    }
    for query in ["?after=nonsense", "?after=%5B1%5D", "?day=nonsense"] {
        let answer = world.get(&format!("/task-instances{query}")).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
    }
    let pools = world.get("/pools").await.body;
    assert_eq!(listed(&pools, "href=\"/task-instances?state=active").len(), 1, "{pools}");
    world.end().await;
}

#[tokio::test]
async fn the_pages_of_task_instances_follow_each_other_to_the_end() {
    let world = World::new().await;
    let (mut keys, mut path) = (Vec::new(), Some("/task-instances?q=weather".to_owned()));
    while let Some(next) = path {
        let body = world.get(&next).await.body;
        keys.extend(listed(&body, "<tr data-key=\""));
        let links = listed(&body, "rel=\"next\" href=\"");
        path = links.first().map(|link| link.replace("&#38;", "&").replace("&amp;", "&"));
    }
    let filter = TaskInstanceFilter { dags: DagSet::one(id("weather")), ..TaskInstanceFilter::default() };
    let total = world.ui.store.task_instance_list(&filter, Page::default()).await.unwrap().total;
    assert_eq!(i64::try_from(keys.len()).unwrap(), total);
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
    world.end().await;
}

#[tokio::test]
async fn runs_of_all_dags_are_found_by_their_state_and_their_dag() {
    let world = World::new().await;
    let list = async |query: &str| listed(&world.get(&format!("/runs{query}")).await.body, "<tr data-key=\"");
    let failed = list("?state=failed").await;
    for dag_id in ["weather ", "fan_300 ", "mapped ", "large "] {
        assert_eq!(failed.iter().filter(|key| key.starts_with(dag_id)).count(), 1, "{dag_id}{failed:?}");
    }
    let mapped = list("?q=mapp").await;
    assert!(mapped.len() == 6 && mapped.iter().all(|key| key.starts_with("mapped ")), "{mapped:?}");
    assert_eq!(list("").await.len(), 39);
    assert_eq!(list("?offset=30").await.len(), 9);
    assert!(list("?q=nothing").await.is_empty());
    // Behind the end of a list there is a way back.
    for path in ["/dags", "/runs", "/dags/weather/runs", "/components", "/pools", "/users"] {
        let body = world.get(&format!("{path}?offset=5000")).await.body;
        assert!(body.contains(&format!("<p><a href=\"{path}?offset=0\">Show its last page</a>")), "{path}{body}");
    }
    assert!(world.get("/variables?offset=5000").await.body.contains("None yet"), "there is none on any page");
    world.end().await;
}

#[tokio::test]
async fn a_failed_run_names_the_task_that_failed_first() {
    let world = World::new().await;
    let list = world.get("/dags/fan_300/runs?state=failed").await.body;
    let run = listed(&list, "<td class=\"grow\"><a href=\"").remove(0);
    // Six of its tasks failed, and this one before the others.
    let first = format!("<a href=\"{run}/tasks/part_199\">part_199</a>");
    let why = "trap: wasm <code>unreachable</code> instruction executed";
    for path in ["/dags/fan_300/runs", "/runs?q=fan_300"] {
        assert!(world.get(path).await.body.contains(&format!("{first}: {why}")), "{path}");
    }
    let page = world.get(&run).await.body;
    assert!(page.contains(&format!("<p id=\"run-failure\">{first} failed first, <time ")), "{page}");
    assert!(page.contains(&format!("<a href=\"{run}?state=failed\">All 6 that failed</a>")), "{page}");
    // What it kept from running names it, too.
    let list = world.get("/dags/weather/runs?state=failed").await.body;
    let run = listed(&list, "<td class=\"grow\"><a href=\"").remove(0);
    let kept = world.get(&format!("{run}/tasks/yearly_summary")).await.body;
    let failed = format!("<dd><div><a href=\"{run}/tasks/monthly_figures\">monthly_figures</a></div></dd>");
    assert!(kept.contains(&format!("<dt>Failed upstream</dt>{failed}")), "{kept}");
    assert!(kept.contains("It did not run.") && !kept.contains("none yet") && !kept.contains("log-try"), "{kept}");
    // What a run says itself comes before what its tasks do.
    assert!(world.get("/runs?q=weather").await.body.contains("task <code>monthly_figures</code> failed"));
    let newest = newest(&world, "fan_300").await;
    assert!(world.get(&newest).await.body.contains("id=\"run-failure\""), "it runs, and some of it failed");
    world.end().await;
}

#[tokio::test]
async fn a_run_lists_its_instances_page_by_page() {
    let world = World::new().await;
    let (large, mapped, weather) =
        (newest(&world, "large").await, newest(&world, "mapped").await, newest(&world, "weather").await);
    let list = async |path: String| listed(&world.get(&path).await.body, "<tr data-task=\"");
    let page = list(format!("{large}?offset=9950")).await;
    assert_eq!((page.len(), page[0].as_str(), page[49].as_str()), (50, "t09950", "t09999"));
    assert_eq!(list(format!("{large}?q=t0999")).await.len(), 10);
    assert_eq!(list(format!("{large}?q=nothing&sort=duration")).await, [""; 0]);
    let body = world.get(&format!("{large}?state=skipped&offset=100")).await.body;
    assert!(body.contains("101 – 200 of 910"));

    // A mapped task has its instances where it stands in the dag.
    let each = vec!["each"; 7];
    assert_eq!(list(mapped.clone()).await, [vec!["list"], each.clone(), vec!["sum"]].concat());
    assert_eq!(list(format!("{mapped}?offset=3")).await, [&each[2..], &["sum"]].concat());
    assert_eq!(list(format!("{mapped}?q=each&offset=5")).await, &each[5..]);
    let first = listed(&world.get(&format!("{mapped}?q=each&offset=5")).await.body, "/tasks/each?map_index=");
    assert_eq!(first, ["5", "6"]);
    let chips = world.get(&format!("{mapped}/tasks/each")).await.body;
    assert_eq!(listed(&chips, "<a class=\"chip ").len(), 7);
    assert!(chips.contains("<b>0</b>") && chips.contains("1 – 7 of 7"));

    assert_eq!(list(weather.clone()).await[..2], ["extract", "check_quality"]);
    assert!(world.get(&format!("{weather}?sort=duration")).await.body.contains("aria-sort=\"descending\""));
    assert!(world.get(&weather).await.body.contains("/dags/weather/trigger?from=scheduled__"), "trigger again");
    // The newest run leads to the one before, and that one back.
    let newest = world.get(&weather).await.body;
    assert!(!newest.contains("id=\"newer-run\""));
    let older = listed(&newest, "rel=\"prev\" href=\"").remove(0);
    assert_eq!(listed(&world.get(&older).await.body, "rel=\"next\" href=\""), [weather]);
    // Also where all runs came about for the same instant, each step leads to another run.
    let mut run = mapped;
    for _ in 0..5 {
        let older = listed(&world.get(&run).await.body, "rel=\"prev\" href=\"").remove(0);
        assert_eq!(listed(&world.get(&older).await.body, "rel=\"next\" href=\""), [run]);
        run = older;
    }
    assert!(!world.get(&run).await.body.contains("id=\"older-run\""));
    world.end().await;
}

#[tokio::test]
async fn times_are_told_in_the_chosen_zone() {
    let world = World::new().await;
    let run = newest(&world, "weather").await;
    let chosen = async |zone: &str, local: &str| {
        let answer = world.post("/ui/zone", &[("zone", zone), ("local", local), ("next", &run)]).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, run.as_str()));
        let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        let cookies = format!("{}; {cookie}", world.cookie);
        let request = Request::get(&run).header(header::COOKIE, cookies).body(Body::empty()).unwrap();
        let body = world.send(request).await.body;
        body.split_once("<time ").unwrap().1.split_once("</time>").unwrap().0.rsplit_once('>').unwrap().1.to_owned()
    };
    assert_eq!(chosen("utc", "").await, "2026-10-21 06:00:00 UTC");
    assert_eq!(chosen("dag", "").await, "2026-10-20 23:00:00 PDT");
    assert_eq!(chosen("local", "Asia/Seoul").await, "2026-10-21 15:00:00 KST");
    for unknown in ["", "Mars/Olympus", "a; b=c"] {
        assert_eq!(chosen("local", unknown).await, "2026-10-21 06:00:00 UTC", "{unknown}");
    }
    world.end().await;
}

#[tokio::test]
async fn every_page_is_there_and_holds_nothing_that_is_not_escaped() {
    let world = World::new().await;
    for path in all_pages(&world).await {
        let answer = world.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        assert!(answer.header("content-type").starts_with("text/html"), "{path}");
        assert!(!answer.body.contains("<script>"), "{path} has text that is markup");
        assert!(!answer.body.contains(" style="), "{path} has an inline style");
        assert!(!answer.body.contains(" onclick="), "{path} has an inline script");
        let rows = answer.body.matches("<tr").count() + answer.body.matches("<li").count();
        assert!(rows < 500, "{path} has {rows} rows");
        assert!(answer.body.len() < 300_000, "{path} has {} bytes", answer.body.len());
    }
    world.end().await;
}

#[tokio::test]
async fn without_a_session_there_is_nothing_but_the_sign_in() {
    let world = World::new().await;
    for path in all_pages(&world).await {
        let answer = world.send(Request::get(&path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
        assert!(answer.header("location").starts_with("/login?next=%2F"), "{path}: {}", answer.header("location"));
    }
    for path in ["/ui/events", "/ui/dags/weather/grid", "/ui/dag_versions/1/tasks"] {
        let answer = world.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    // What was to be changed is not, which is told; then it goes on where the form stood.
    for (from, next) in [("http://here/variables/edit?key=a", "%2Fvariables%2Fedit%3Fkey%3Da"), ("what", "%2Fdags")] {
        let request = Request::post("/variables/edit").header(header::REFERER, from).body(Body::empty()).unwrap();
        let answer = world.send(request).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (StatusCode::SEE_OTHER, &*format!("/login?next={next}"))
        );
        assert!(answer.header("set-cookie").contains("The%20session%20is%20over"), "{:?}", answer.headers);
    }
    let answer = world.send(Request::get("/login?next=//evil.example").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body.contains("name=\"next\" value=\"/dags\""));
    world.end().await;
}

#[tokio::test]
async fn a_notice_is_told_once_to_who_looks() {
    let world = World::new().await;
    let done = world.post("/variables/edit", &[("key", "told"), ("value", "1"), ("is_new", "true")]).await;
    let notice = done.header("set-cookie").split(';').next().unwrap();
    let ask = |path: &str| Request::get(path).header(header::COOKIE, format!("{}; {notice}", world.cookie));
    let is_told = |answer: &Answer| answer.body.contains("Variable told was saved.");
    // Another window asks for its page again, and a script for what it draws: neither has anybody who reads it.
    for (path, header) in [("/dags", "x-airlock-again"), ("/ui/dags/weather/grid", "accept")] {
        let answer = world.send(ask(path).header(header, "true").body(Body::empty()).unwrap()).await;
        assert_eq!(
            (answer.status, is_told(&answer), answer.header("set-cookie")),
            (StatusCode::OK, false, ""),
            "{path}"
        );
    }
    for (path, status) in [("/variables", StatusCode::OK), ("/nothing", StatusCode::NOT_FOUND)] {
        let answer = world.send(ask(path).body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, is_told(&answer)), (status, true), "{path}");
        assert!(
            answer.header("set-cookie").starts_with("airlock_notice=; ")
                && answer.header("set-cookie").ends_with("Max-Age=0")
        );
    }
    assert_eq!(world.get("/variables").await.header("set-cookie"), "", "there is nothing to forget");
    world.end().await;
}

#[tokio::test]
async fn every_answer_has_the_policy() {
    let world = World::new().await;
    let style = super::assets::address("app.css");
    for path in ["/login", "/dags", "/nothing", "/dags/nothing", "/ui/dags/weather/grid", &style, "/"] {
        let answer = world.get(path).await;
        assert!(
            answer.header("content-security-policy").starts_with("default-src 'none'; script-src 'self'"),
            "{path}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin", "{path}");
    }
    assert_eq!(world.get("/nothing").await.status, StatusCode::NOT_FOUND);
    assert!(world.get("/nothing").await.body.contains("id=\"error\""));
    world.end().await;
}

#[tokio::test]
async fn signing_in_gives_a_session_and_signing_out_takes_it_away() {
    let world = World::new().await;
    let form = |password: &str| Body::from(format!("username=ada&password={password}&next=%2Fdags%2Fweather"));
    let request = |password: &str, site: &str| {
        Request::post("/login")
            .header("sec-fetch-site", site)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form(password))
            .unwrap()
    };
    let wrong = world.send(request("wrong", "same-origin")).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.body.contains("id=\"sign-in-error\"") && wrong.body.contains("value=\"ada\""));
    assert_eq!(world.send(request("a+long+password", "cross-site")).await.status, StatusCode::FORBIDDEN);

    let right = world.send(request("a+long+password", "same-origin")).await;
    assert_eq!((right.status, right.header("location")), (StatusCode::SEE_OTHER, "/dags/weather"));
    let cookie = right.header("set-cookie").split(';').next().unwrap().to_owned();
    assert!(right.header("set-cookie").contains("HttpOnly; SameSite=Lax"));
    let with_cookie = |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path).header(header::COOKIE, &cookie);
        request.header("sec-fetch-site", "same-origin").body(Body::empty()).unwrap()
    };
    assert_eq!(world.send(with_cookie("GET", "/dags")).await.status, StatusCode::OK);
    assert_eq!(world.send(with_cookie("POST", "/logout")).await.header("location"), "/login");
    assert_eq!(world.send(with_cookie("GET", "/dags")).await.status, StatusCode::SEE_OTHER);
    world.end().await;
}

#[tokio::test]
async fn a_form_from_another_site_changes_nothing() {
    let world = World::new().await;
    for site in [None, Some("cross-site"), Some("same-site")] {
        let mut request = Request::post("/dags/weather/pause")
            .header(header::COOKIE, &world.cookie)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(site) = site {
            request = request.header("sec-fetch-site", site);
        }
        let answer = world.send(request.body(Body::from("paused=true")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{site:?}");
        assert!(answer.body.contains("id=\"error\""));
    }
    assert!(!world.ui.dag(&id("weather")).await.unwrap().is_paused);
    world.end().await;
}

#[tokio::test]
async fn a_dag_is_shown_by_its_display_name_and_found_by_it_and_by_its_id() {
    let world = World::new().await;
    for q in ["one+of", "mappe"] {
        let body = world.get(&format!("/dags?q={q}")).await.body;
        assert_eq!(listed(&body, "<tr data-dag=\""), ["mapped"]);
        assert!(body.contains(">Each one of them &#60;script") && body.contains("<code class=\"id\">mapped</code>"));
    }
    let body = world.get("/dags/mapped").await.body;
    assert!(body.contains("<h1>Each one of them") && body.contains("<code class=\"id\">mapped</code>"), "{body}");
    assert!(world.get("/dags/large").await.body.contains("<h1>large</h1>"));
    world.end().await;
}

#[tokio::test]
async fn the_switch_pauses_and_leads_back() {
    let world = World::new().await;
    let answer = world.post("/dags/weather/pause", &[("paused", "true"), ("next", "/dags?q=wea")]).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/dags?q=wea"));
    assert!(world.ui.dag(&id("weather")).await.unwrap().is_paused);
    assert_eq!(world.post("/dags/nothing/pause", &[("paused", "true")]).await.status, StatusCode::NOT_FOUND);
    world.end().await;
}

#[tokio::test]
async fn triggering_tells_what_is_wrong_beside_its_field_and_else_leads_to_the_run() {
    let world = World::new().await;
    let wrong = [("param.days", "40"), ("param.station", EVIL), ("logical_date", "yesterday"), ("run_id", "a b")];
    let answer = world.post("/dags/weather/trigger", &wrong).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.body.contains("40 is greater than the maximum of 31"), "{}", answer.body);
    assert!(answer.body.contains("is not an instant") && answer.body.contains("is not valid"));
    assert!(!answer.body.contains("<script>"));

    let right = [
        ("param.days", "28"),
        ("param.station", EVIL),
        ("param.unit", "inch"),
        ("param.from", "2026-01-01"),
        ("param.extra", "{}"),
        ("logical_date", "2031-01-01T00:00:00Z"),
        ("run_id", "mine"),
        ("note", EVIL),
    ];
    let answer = world.post("/dags/weather/trigger", &right).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/dags/weather/runs/mine"));
    let run = world.ui.run(&id("weather"), &RunId::new("mine").unwrap()).await.unwrap();
    let wanted =
        json!({"days": 28, "extra": {}, "from": "2026-01-01", "station": EVIL, "strict": false, "unit": "inch"});
    assert_eq!(serde_json::from_str::<Value>(&run.conf.unwrap()).unwrap(), wanted);
    assert_eq!((run.triggered_by.as_str(), run.triggering_user.as_deref()), ("ui", Some("ada")));
    assert_eq!(run.note.as_deref(), Some(EVIL));

    let again = world.post("/dags/weather/trigger", &right).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert!(again.body.contains("id=\"form-error\"") && again.body.contains("value=\"2031-01-01T00:00:00Z\""));
    let same = world.get("/dags/weather/trigger?from=mine").await;
    assert!(same.body.contains("value=\"28\""), "the form is filled from the run");
    world.end().await;
}

#[tokio::test]
async fn clearing_and_marking_change_what_their_previews_list() {
    let world = World::new().await;
    let runs = super::data::newest_runs(&world.ui, &id("weather"), 2).await.unwrap();
    let failed = &runs[0];
    let base = super::links::run(&failed.dag_id, &failed.run_id);
    let preview = world.get(&format!("{base}/tasks/monthly_figures/clear")).await;
    for task in ["monthly_figures", "report", "yearly_summary"] {
        assert!(preview.body.contains(&format!("data-affected=\"{task}\"")), "{task}");
    }
    assert!(!preview.body.contains("data-affected=\"extract\""));
    // The button sends what is ticked, whatever was ticked when the preview was made.
    assert!(preview.body.contains("id=\"apply-submit\" form=\"options\" formmethod=\"post\""), "{}", preview.body);
    assert!(!preview.body.contains("method=\"post\" action=\"/dags"), "no other form has options: {}", preview.body);
    let preview = world.get(&format!("{base}/tasks/extract/mark")).await;
    assert!(preview.body.contains(">Mark</button>"), "it names no state: another may be chosen: {}", preview.body);
    let page = world.get(&base).await.body;
    assert!(page.contains("<div class=\"notice error\"><div>task <code>monthly_figures</code> failed &lt;script&gt;"));
    let all = world.get(&format!("{base}/clear")).await;
    assert_eq!(
        listed(&all.body, "data-affected=\""),
        ["extract", "check_quality", "monthly_figures", "quarantine", "report", "yearly_summary"],
        "upstream first"
    );

    let state_of = async |task: &str| {
        let key = InstanceKey { dag_run: failed.key, task_id: TaskId::new(task).unwrap(), map_index: -1 };
        world.ui.store.task_instance_get(&key).await.unwrap().unwrap().state
    };
    let answer =
        world.post(&format!("{base}/tasks/monthly_figures/clear"), &[("chosen", "true"), ("downstream", "true")]).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (StatusCode::SEE_OTHER, &*format!("{base}/tasks/monthly_figures"))
    );
    assert_ne!(state_of("monthly_figures").await, TaskState::Failed);
    assert_eq!(state_of("extract").await, TaskState::Success);

    let mark = [("state", "skipped"), ("chosen", "true")];
    assert_eq!(world.post(&format!("{base}/tasks/extract/mark"), &mark).await.status, StatusCode::SEE_OTHER);
    assert_eq!(state_of("extract").await, TaskState::Skipped);
    assert_eq!(world.post(&format!("{base}/mark"), &[("state", "failed")]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(world.ui.run(&failed.dag_id, &failed.run_id).await.unwrap().state, RunState::Failed);
    assert_eq!(world.post(&format!("{base}/note"), &[("note", EVIL)]).await.status, StatusCode::SEE_OTHER);
    assert!(!world.get(&base).await.body.contains("<script>"));
    let long = "much to say ".repeat(100);
    let refused = world.post(&format!("{base}/note"), &[("note", long.as_str())]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.body.contains("id=\"run-note-error\"") && refused.body.contains(&long), "what was typed is lost");
    let answer = world.post(&format!("{base}/delete"), &[]).await;
    assert_eq!(answer.header("location"), "/dags/weather/runs");
    assert_eq!(world.get(&base).await.status, StatusCode::NOT_FOUND);
    world.end().await;
}

#[tokio::test]
async fn secrets_go_in_and_never_out() {
    let world = World::new().await;
    let secret = "hunter2-hunter2";
    let variable = [("key", "reports/a"), ("value", secret), ("description", EVIL), ("is_new", "true")];
    assert_eq!(world.post("/variables/edit", &variable).await.header("location"), "/variables");
    assert_eq!(world.post("/variables/edit", &variable).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let connection = [
        ("key", "db"),
        ("conn_type", "postgres"),
        ("host", "h"),
        ("port", "5432"),
        ("login", EVIL),
        ("password", secret),
        ("extra", "{\"token\": \"hunter2-hunter2\"}"),
        ("is_new", "true"),
    ];
    assert_eq!(world.post("/connections/edit", &connection).await.header("location"), "/connections");
    for path in ["/variables", "/variables/edit?key=reports%2Fa", "/connections", "/connections/edit?key=db"] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(!answer.body.contains("hunter2") && !answer.body.contains("<script>"), "{path}");
    }

    // It can be tried out, which tells no secret either. (The name leads nowhere: RFC 6761.)
    let list = world.get("/connections").await.body;
    assert!(list.contains("<form method=\"post\" action=\"/connections/test\">"), "{list}");
    let elsewhere = [("key", "db"), ("conn_type", "postgres"), ("host", "db.invalid")];
    let refused = world.post("/connections/edit", &elsewhere).await;
    assert!(refused.status == StatusCode::UNPROCESSABLE_ENTITY && refused.body.contains("anew"), "{}", refused.body);
    let elsewhere = [&elsewhere[..], &[("password", "hunter2-anew"), ("clear_extra", "true")]].concat();
    assert_eq!(world.post("/connections/edit", &elsewhere).await.status, StatusCode::SEE_OTHER);
    let tested = world.post("/connections/test", &[("key", "db")]).await;
    assert_eq!((tested.status, tested.header("location")), (StatusCode::SEE_OTHER, "/connections"));
    assert!(!tested.body.contains("hunter2"));
    let notice = tested.header("set-cookie").split(';').next().unwrap_or_default();
    let list = Request::get("/connections").header(header::COOKIE, format!("{}; {notice}", world.cookie));
    let list = world.send(list.body(Body::empty()).unwrap()).await.body;
    assert!(
        list.contains("<div class=\"notice error\" role=\"status\" id=\"notice\"><div>Connection db can"),
        "{list}"
    );
    assert_eq!(world.post("/connections/test", &[("key", "absent")]).await.status, StatusCode::NOT_FOUND);

    // An empty value keeps what is there.
    let edited = [("key", "reports/a"), ("value", ""), ("description", "new")];
    assert_eq!(world.post("/variables/edit", &edited).await.status, StatusCode::SEE_OTHER);
    let key = "reports/a".parse().unwrap();
    let row = world.ui.store.variable_get(&key).await.unwrap().unwrap();
    let place = crate::secrets::place::variable(&key);
    assert_eq!(world.ui.secrets.unseal(&place, &row.sealed).unwrap().expose(), secret);
    assert_eq!(row.description.as_deref(), Some("new"));
    // Lines end as they do elsewhere, not as in what a browser sends.
    let script = [("key", "script"), ("value", "one\r\ntwo\r\n"), ("is_new", "true")];
    assert_eq!(world.post("/variables/edit", &script).await.status, StatusCode::SEE_OTHER);
    let script = "script".parse().unwrap();
    let row = world.ui.store.variable_get(&script).await.unwrap().unwrap();
    let place = crate::secrets::place::variable(&script);
    assert_eq!(world.ui.secrets.unseal(&place, &row.sealed).unwrap().expose(), "one\ntwo\n");
    let edited = [("key", "db"), ("conn_type", "postgres"), ("host", "db.invalid"), ("clear_extra", "true")];
    assert_eq!(world.post("/connections/edit", &edited).await.status, StatusCode::SEE_OTHER);
    let row = world.ui.store.connection_get(&"db".parse().unwrap()).await.unwrap().unwrap();
    assert!(row.sealed_password.is_some() && row.sealed_extra.is_none());

    let port = "port <code>99999</code> is not a number";
    for (path, form, field, told) in [
        ("/variables/edit", vec![("key", "<b>"), ("value", "x")], "key", "variable key"),
        ("/variables/edit", vec![("key", "new"), ("value", "")], "value", "a new variable needs a value"),
        ("/connections/edit", vec![("key", "x"), ("conn_type", "http"), ("port", "99999")], "port", port),
        ("/connections/edit", vec![("key", "x"), ("conn_type", "http"), ("extra", "[]")], "extra", "the extra is not"),
        ("/pools/edit", vec![("key", "p"), ("slots", "-2")], "slots", "slots must be"),
        ("/pools/edit", vec![("key", "default_pool"), ("slots", "1")], "key", "pool <code>default_pool</code> exists"),
        ("/users/edit", vec![("key", "bo"), ("role", "viewer"), ("password", "x")], "password", "the password"),
        ("/users/edit", vec![("key", "bo"), ("role", "viewer"), ("dag_permissions", "x")], "dag_permissions", ""),
        ("/tokens/new", vec![("name", "t"), ("days", "9999")], "days", "a token is good for"),
        ("/password", vec![("present_password", "no"), ("password", "a long one")], "present_password", "the present"),
        ("/dags/weather/limits", vec![("memory_mib", "x")], "memory_mib", "it must be a number"),
    ] {
        let answer = world.post(path, &[&form[..], &[("is_new", "true")]].concat()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        let error = format!("<span class=\"error\" id=\"{field}-error\">{told}");
        assert!(answer.body.contains(&error) && !answer.body.contains("id=\"form-error\""), "{path}: {}", answer.body);
        assert!(answer.body.contains(&format!("aria-describedby=\"{field}-error")), "{path}: {}", answer.body);
    }
    // What was typed stays, and what is wrong with a field that can't be changed is said above.
    let body = world.post("/pools/edit", &[("key", "p"), ("slots", "two"), ("is_new", "true")]).await.body;
    assert!(body.contains("name=\"key\" value=\"p\" required>") && body.contains("value=\"two\""), "{body}");
    assert!(world.post("/pools/edit", &[("key", ""), ("slots", "1")]).await.body.contains("id=\"form-error\""));
    // A secret is not put back, which the form says; what was ticked is ticked.
    let typed = [("key", "db"), ("conn_type", "http"), ("port", "x"), ("password", "hunter2"), ("clear_extra", "true")];
    let body = world.post("/connections/edit", &typed).await.body;
    assert!(body.contains("id=\"password-lost\"") && !body.contains("id=\"extra-lost\""), "{body}");
    assert!(body.contains("name=\"clear_extra\" value=\"true\" checked") && !body.contains("hunter2"), "{body}");
    let body = world.post("/variables/edit", &[("key", "<b>"), ("value", "hunter2")]).await.body;
    assert!(body.contains("id=\"value-lost\"") && !body.contains("hunter2"), "{body}");
    assert_eq!(world.post("/variables/delete", &[("key", "reports/a")]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(world.get("/variables/edit?key=reports%2Fa").await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.post("/pools/delete", &[("key", "default_pool")]).await.status, StatusCode::CONFLICT);
    world.end().await;
}

#[tokio::test]
async fn artifacts_are_downloads_in_which_nothing_runs() {
    let world = World::new().await;
    let base = format!("{}/tasks/extract/artifact", newest(&world, "weather").await);
    let page = world.get(&format!("{base}?name=page.html&inline=true")).await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.header("content-type"), "application/octet-stream");
    assert!(page.header("content-disposition").starts_with("attachment; filename=\"page.html\""));
    let chart = world.get(&format!("{base}?name=report%2Fchart.svg&inline=true")).await;
    assert_eq!(chart.header("content-type"), "image/svg+xml");
    assert!(chart.header("content-security-policy").ends_with("sandbox"));
    assert!(chart.header("content-disposition").starts_with("inline; filename=\"chart.svg\""));
    assert_eq!(world.get(&format!("{base}?name=..%2Fsecret.key")).await.status, StatusCode::NOT_FOUND);
    world.end().await;
}

#[tokio::test]
async fn the_grid_of_ten_thousand_tasks_is_small() {
    let world = World::new().await;
    let request = Request::get("/ui/dags/large/grid?runs=1")
        .header(header::COOKIE, &world.cookie)
        .header(header::ACCEPT_ENCODING, "gzip")
        .body(Body::empty())
        .unwrap();
    let response = world.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
    let packed = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    assert!(packed.len() <= 10 << 10, "{} bytes", packed.len());

    let grid: Value = serde_json::from_str(&world.get("/ui/dags/large/grid").await.body).unwrap();
    let run = &grid["runs"][1];
    assert_eq!(run["cells"].as_str().unwrap().len(), 10_000);
    assert!(run["cells"].as_str().unwrap().starts_with("ssrk.."), "{}", &run["cells"].as_str().unwrap()[..20]);
    let tasks = world.get(grid["tasks"].as_str().unwrap()).await;
    assert!(tasks.header("cache-control").contains("immutable"));
    assert_eq!(serde_json::from_str::<Value>(&tasks.body).unwrap()["tasks"].as_array().unwrap().len(), 10_000);
    world.end().await;
}

#[tokio::test]
async fn a_plain_log_ends_well_when_it_is_compressed() {
    let world = World::new().await;
    let request = Request::get(format!("{}/tasks/extract/log", newest(&world, "weather").await))
        .header(header::COOKIE, &world.cookie)
        .header(header::ACCEPT_ENCODING, "gzip")
        .body(Body::empty())
        .unwrap();
    let answer = world.send(request).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "text/plain; charset=utf-8"));
    world.end().await;
}

#[tokio::test]
async fn a_wide_graph_is_folded_until_it_is_asked_for_whole() {
    let world = World::new().await;
    let version = world.ui.dag(&id("fan_300")).await.unwrap().version;
    let boxes = async |folded| {
        let answer = world.get(&super::links::version_graph(version, folded)).await;
        let boxes = serde_json::from_str::<Value>(&answer.body).unwrap()["boxes"].take();
        serde_json::from_value::<Vec<Vec<Value>>>(boxes).unwrap()
    };
    let (folded, whole) = (boxes(true).await, boxes(false).await);
    // A box of 298 tasks says how many there are; the block of the same has a square for each.
    assert_eq!(
        [&folded, &whole].map(|boxes| boxes.iter().map(|members| members.len() - 4).collect::<Vec<_>>()),
        [vec![1, 298, 1], vec![1, 298, 1]]
    );
    assert_eq!(folded[1][3], 50);
    assert_eq!((&whole[1][2], &whole[1][3]), (&json!(24 * 10 + 12), &json!(13 * 10 + 30)));
    let large = world.ui.dag(&id("large")).await.unwrap().version;
    let whole = world.get(&super::links::version_graph(large, false)).await;
    let whole: Value = serde_json::from_str(&whole.body).unwrap();
    assert_eq!(whole["boxes"].as_array().unwrap().len(), 10_000, "10,000 tasks that differ are still drawn");
    world.end().await;
}

#[tokio::test]
async fn assets_are_kept_by_their_content() {
    let world = World::new().await;
    let path = super::assets::address("app.js");
    let answer = world.get(&path).await;
    assert!(answer.header("cache-control").contains("immutable"));
    let request = Request::get(&path).header(header::IF_NONE_MATCH, answer.header("etag")).body(Body::empty()).unwrap();
    assert_eq!(world.send(request).await.status, StatusCode::NOT_MODIFIED);
    assert_eq!(world.get("/static/old/app.js").await.header("cache-control"), "no-cache");
    assert_eq!(world.get("/static/old/nothing.js").await.status, StatusCode::NOT_FOUND);
    world.end().await;
}
