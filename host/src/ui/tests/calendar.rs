//! A dag's year, its days, its backfills, and the marks that people put on dags.

use super::{world::at, *};
use crate::{
    model::{
        backfill::{Intervals, ReprocessBehavior},
        role::Role,
    },
    store::BackfillNew,
};

/// What the page says of a day, and where it leads.
fn day(body: &str, date: &str) -> (String, String) {
    let at = body.find(&format!("aria-label=\"{date}: ")).unwrap_or_else(|| panic!("{date} in {body}"));
    let told = body[at..].split('"').nth(1).unwrap().to_owned();
    let href = body[..at].rsplit("href=\"").next().unwrap().split('"').next().unwrap().replace("&amp;", "&");
    (told, href)
}

#[tokio::test]
async fn the_calendar_tells_of_each_day_and_leads_to_its_runs() {
    let world = World::new().await;
    let page = world.get("/dags/weather/calendar?year=2026").await;
    assert_eq!(page.status, StatusCode::OK);
    // Runs are thirty days apart: nth 0 runs, nth 1 failed.
    let (told, _) = day(&page.body, "2026-10-21");
    assert_eq!(told, "2026-10-21: 1 run, 1 not over");
    let (told, href) = day(&page.body, "2026-09-21");
    assert_eq!((told.as_str(), href.as_str()), ("2026-09-21: 1 run, 1 failed", "/dags/weather/runs?day=2026-09-21"));
    assert_eq!(page.body.matches("<caption>").count(), 12);
    assert!(page.body.contains("id=\"year-before\""), "there are runs of 2025");

    let runs = world.get(&href).await.body;
    assert_eq!(listed(&runs, "data-run=\"").len(), 1, "{runs}");
    assert!(runs.contains("of 2026-09-21 in UTC"));
    let failed = world.get(&format!("{href}&state=success")).await.body;
    assert_eq!(listed(&failed, "data-run=\"").len(), 0);
    assert!(
        failed.contains("/dags/weather/runs?state=failed&#38;day=2026-09-21")
            || failed.contains("state=failed&amp;day=2026-09-21"),
        "{failed}"
    );

    let past = world.get("/dags/weather/calendar?year=1999").await.body;
    assert!(!past.contains("id=\"year-before\"") && past.contains("id=\"year-after\""));
    world.end().await;
}

/// A run at 06:00 UTC is one of the day before in Honolulu.
#[tokio::test]
async fn days_are_those_of_the_chosen_zone() {
    let world = World::new().await;
    let cookies = format!("{}; airlock_zone=Pacific/Honolulu", world.cookie);
    let get = async |path: &str| {
        let request = Request::get(path).header(header::COOKIE, &cookies).body(Body::empty()).unwrap();
        world.send(request).await.body
    };
    let (told, href) = day(&get("/dags/weather/calendar?year=2026").await, "2026-09-20");
    assert_eq!(told, "2026-09-20: 1 run, 1 failed");
    assert_eq!(listed(&get(&href).await, "data-run=\"").len(), 1);
    assert_eq!(listed(&get("/dags/weather/runs?day=2026-09-21").await, "data-run=\"").len(), 0);
    world.end().await;
}

#[tokio::test]
async fn days_and_years_that_are_none_are_told() {
    let world = World::new().await;
    for (path, text) in [
        ("/dags/weather/calendar?year=0", "there is no year 0"),
        ("/dags/weather/calendar?year=10000", "ask for 1 to 9999"),
        ("/dags/weather/runs?day=yesterday", "a day is written as 2026-01-31"),
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert!(answer.body.contains(text), "{path}: {}", answer.body);
    }
    assert_eq!(world.get("/dags/nothing/calendar").await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.get("/dags/weather/calendar?year=9999").await.status, StatusCode::OK);
    world.end().await;
}

#[tokio::test]
async fn a_star_is_ones_own_and_leads_back() {
    let mut world = World::new().await;
    let answer = world.post("/dags/weather/favorite", &[("favorite", "true"), ("next", "/dags?q=wea")]).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/dags?q=wea"));
    // Once more changes nothing.
    world.post("/dags/weather/favorite", &[("favorite", "true"), ("next", "")]).await;
    let list = async |world: &World| listed(&world.get("/dags?favorites=true").await.body, "data-dag=\"");
    assert_eq!(list(&world).await, ["weather"]);
    let pressed = "aria-pressed=\"true\"";
    assert!(world.get("/dags/weather/calendar").await.body.contains(pressed));
    assert!(!world.get("/dags/mapped").await.body.contains(pressed));
    assert_eq!(world.post("/dags/nothing/favorite", &[("favorite", "true")]).await.status, StatusCode::NOT_FOUND);

    // Whoever may only look has marks too, and sees none of others.
    world.sign_in_as(Role::Viewer).await;
    assert_eq!(list(&world).await, [] as [&str; 0]);
    world.post("/dags/mapped/favorite", &[("favorite", "true"), ("next", "")]).await;
    assert_eq!(list(&world).await, ["mapped"]);
    world.post("/dags/mapped/favorite", &[("favorite", "false"), ("next", "")]).await;
    assert_eq!(list(&world).await, [] as [&str; 0]);
    world.end().await;
}

#[tokio::test]
async fn backfills_that_are_more_than_a_page_lead_on() {
    let world = World::new().await;
    let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z"));
    let new = BackfillNew {
        dag_id: id("weather"),
        intervals: Intervals { from, to, until: to, run_backwards: false },
        max_active_runs: 1,
        reprocess_behavior: ReprocessBehavior::None,
        dag_run_conf: "{}".into(),
        total: 1,
        triggering_user: None,
    };
    for _ in 0..51 {
        world.ui.store.backfill_create(&new).await.unwrap();
    }
    let first = world.get("/dags/weather/backfills").await.body;
    assert_eq!(listed(&first, "data-backfill=\"").len(), 50);
    assert!(first.contains("1 – 50 of 51"), "{first}");
    let next = listed(&first, "rel=\"next\" href=\"").remove(0);
    assert_eq!(listed(&world.get(&next).await.body, "data-backfill=\"").len(), 1);
    world.end().await;
}
