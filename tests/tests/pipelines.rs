//! The example pipelines, from upload to the downloaded report: on a local folder and on S3.

use airlock_tests::{Client, Server, build, http::RUN_LIMIT, s3::Bucket, until};
use reqwest::Method;
use serde_json::{Value, json};

/// January 2012 to December 2015.
const MONTHS: usize = 48;

#[tokio::test]
async fn hello_runs_on_a_local_folder() {
    hello(&Server::start().await).await;
}

#[tokio::test]
async fn hello_runs_on_s3() {
    let bucket = Bucket::open().await;
    hello(&on(&bucket).await).await;
}

#[tokio::test]
async fn weather_finds_the_wettest_month_on_a_local_folder() {
    weather(&Server::start().await).await;
}

#[tokio::test]
async fn weather_finds_the_wettest_month_on_s3() {
    let bucket = Bucket::open().await;
    weather(&on(&bucket).await).await;
}

async fn on(bucket: &Bucket) -> Server {
    let server = Server::builder().flag("--storage-url", &bucket.url);
    bucket.env.iter().fold(server, |server, (name, value)| server.env(name, value)).start().await
}

async fn hello(server: &Server) {
    let client = server.client().await;
    let deployed = client.upload(build::component("hello")).await.ok();
    assert_eq!(deployed["dags"][0]["dag_id"], "hello");
    let again = client.upload(build::component("hello")).await.ok();
    assert_eq!(again["dags"][0]["changed"], false, "the same bytes change nothing: {again}");

    let run_id = client.trigger("hello", json!({"name": "ada"})).await;
    let run = client.finished("hello", &run_id).await;
    assert_eq!(run["state"], "success", "{run}");
    assert_eq!(run["conf"]["name"], "ada");
    assert_eq!(client.xcom("hello", &run_id, "say", "return_value").await, "Hello, ada!");
    assert!(client.log("hello", &run_id, "say", 1).await.contains("Hello, ada!\n"));
    for instance in client.instances("hello", &run_id).await {
        assert_eq!((&instance["state"], &instance["try_number"]), (&json!("success"), &json!(1)), "{instance}");
    }
}

async fn weather(server: &Server) {
    let client = server.client().await;
    client.upload(build::component("weather")).await.ok();
    client.set_paused("weather", false).await;
    let runs = until("48 runs of `weather`", RUN_LIMIT, async || {
        let runs = client.list("/api/v2/dags/weather/dagRuns", "dag_runs").await;
        let over = runs.iter().filter(|run| matches!(run["state"].as_str(), Some("success" | "failed"))).count();
        (over == MONTHS).then_some(runs)
    })
    .await;
    assert_eq!(runs.len(), MONTHS, "a run for each month, and no other");
    assert!(runs.iter().all(|run| run["state"] == "success" && run["run_type"] == "scheduled"), "{runs:?}");
    let mut dates: Vec<_> = runs.iter().map(|run| run["logical_date"].as_str().unwrap()).collect();
    dates.sort_unstable();
    assert_eq!((dates[0], dates[MONTHS - 1]), ("2012-01-01T00:00:00Z", "2015-12-01T00:00:00Z"));
    dates.dedup();
    assert_eq!(dates.len(), MONTHS);

    // The yearly summary of 2014's December read the figures of the year's other runs.
    let december = run_of(&runs, "2014-12-01T00:00:00Z");
    let summary = client.xcom("weather", december, "yearly_summary", "return_value").await;
    assert_eq!((&summary["wettest_month"], &summary["months"]), (&json!("2014-03"), &json!(12)), "{summary}");

    let march = run_of(&runs, "2014-03-01T00:00:00Z");
    let chart = download(&client, march, "report", "rain.svg").await;
    assert!(chart.starts_with("<svg") && chart.contains("2014-03"), "{chart}");
    let report = download(&client, march, "report", "report.md").await;
    assert!(report.contains("rain: 240.0 mm") && report.contains("wettest month so far"), "{report}");
}

fn run_of<'a>(runs: &'a [Value], logical_date: &str) -> &'a str {
    let run = runs.iter().find(|run| run["logical_date"] == logical_date);
    run.and_then(|run| run["dag_run_id"].as_str()).unwrap_or_else(|| panic!("no run of {logical_date}"))
}

/// The text of an artifact, whose headers must be safe in a browser.
async fn download(client: &Client, run_id: &str, task_id: &str, name: &str) -> String {
    let path = format!("/api/v2/dags/weather/dagRuns/{run_id}/taskInstances/{task_id}/artifacts/{name}");
    let answer = client.request(Method::GET, &path).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert!(header("content-disposition").starts_with("attachment"));
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert!(
        header("content-security-policy").contains("sandbox") || header("content-security-policy").contains("'none'")
    );
    answer.text().await.unwrap()
}
