//! Uploads that have to be signed.

use axum::http::Method;
use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{Answer, TestApi, dag_access::library};
use crate::{
    model::signers::tests::{ANN, DAG, DAG_BY_ANN},
    scheduler::SchedulerConfig,
};

async fn upload(api: &TestApi, text: &str, signature: Option<&str>) -> Answer {
    let request = api.request(Method::POST, "/api/v2/components").header("content-type", "application/yaml");
    let request =
        signature.into_iter().fold(request, |request, signature| request.header(crate::api::SIGNATURE, signature));
    api.raw(request.body(text.to_owned().into()).unwrap()).await
}

#[tokio::test]
async fn only_what_is_signed_is_accepted_and_its_signer_is_shown() {
    let signature = BASE64_STANDARD.encode(DAG_BY_ANN);
    // Where nobody asks for signatures, none counts.
    let api = TestApi::new().await;
    library(&api.store).await;
    let unasked = upload(&api, DAG, Some(&signature)).await.ok();
    let path = format!("/api/v2/components/{}", unasked["digest"].as_str().unwrap());
    assert!(api.get(&path).await.ok()["signer"].is_null());

    let signers = format!("ann={ANN}").parse().unwrap();
    let api = TestApi::with(SchedulerConfig { signers, ..SchedulerConfig::default() }).await;
    library(&api.store).await;
    for (text, signature, why) in [
        (DAG, None, "it is not signed"),
        (DAG, Some("%%"), "in base64"),
        (DAG, Some("bm9uc2Vuc2U="), "can't be read"),
        (
            "dag_id: other\ntasks: {a: {uses: lib/work}}\n",
            Some(signature.as_str()),
            "of none of `ann`, or of other bytes",
        ),
    ] {
        let problem = upload(&api, text, signature).await.refused(422);
        assert!(problem.to_string().contains(why), "{problem}");
    }
    assert_eq!(api.get("/api/v2/dags").await.ok()["total_entries"], 1, "nothing was brought");
    upload(&api, DAG, Some(&signature)).await.ok();
    assert_eq!(api.get(&path).await.ok()["signer"], "ann");
    let log = api.get("/api/v2/eventLogs?event=dag.upload&order_by=-event_log_id").await.ok();
    assert!(log["event_logs"][0]["extra"].as_str().unwrap().contains("ann"), "{log}");
}
