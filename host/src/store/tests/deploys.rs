//! Components, dags, versions.

use super::*;

#[tokio::test]
async fn the_same_bytes_again_change_nothing() {
    let store = TestStore::new().await;
    let first = store.deployed(&["a", "b"]).await;
    assert!(first.iter().all(|dag| dag.created && dag.changed && dag.version_number == 1));
    store.dag_set_paused(&dag_id("a"), true, at(1)).await.unwrap();
    let mut again = deploy(1, vec![spec("a"), spec("b")]);
    (again.uploaded_by, again.now) = ("eve".into(), at(9));
    let again = store.deploy(&again).await.unwrap();
    assert!(again.iter().all(|dag| !dag.created && !dag.changed));
    assert_eq!(again[0].version, first[0].version);

    let dag = store.dag_get(&dag_id("a")).await.unwrap().unwrap();
    assert!(dag.is_paused);
    assert_eq!(dag.updated_at, at(1));
    let component = store.component_get(Digest([1; 32])).await.unwrap().unwrap();
    assert_eq!((component.uploaded_by.as_str(), component.uploaded_at), ("ann", at(0)));
    assert_eq!(component.dag_ids, [dag_id("a"), dag_id("b")]);
}

#[tokio::test]
async fn another_component_takes_a_dag_over_and_old_versions_stay() {
    let store = TestStore::new().await;
    let first = store.deployed(&["a"]).await;
    let mut changed = spec("a");
    changed.tags = vec!["new".into()];
    let second = store.deploy(&deploy(2, vec![changed.clone()])).await.unwrap();
    assert!(!second[0].created && second[0].changed);
    assert_eq!(second[0].version_number, 2);

    let dag = store.dag_get(&dag_id("a")).await.unwrap().unwrap();
    assert_eq!((dag.version, dag.component, &*dag.spec), (second[0].version, Digest([2; 32]), &changed));
    let old = store.dag_version_get(first[0].version).await.unwrap().unwrap();
    assert_eq!((old.component, &*old.spec), (Digest([1; 32]), &spec("a")));
    let versions = store.dag_version_list(&DagVersionFilter::of_dag(dag_id("a")), Page::default()).await.unwrap();
    assert_eq!(versions.items.iter().map(|version| version.version_number).collect::<Vec<_>>(), [2, 1]);
    let first = DagVersionFilter { component: Some(Digest([1; 32])), ..DagVersionFilter::of_dag(dag_id("a")) };
    let of_first = store.dag_version_list(&first, Page::default()).await.unwrap();
    assert_eq!((of_first.total, of_first.items[0].version_number), (1, 1));
    let newest = |digest| DagFilter { component: Some(Digest([digest; 32])), ..DagFilter::default() };
    assert_eq!(store.dag_list(&newest(1), Page::default()).await.unwrap().total, 0);
    assert_eq!(store.dag_list(&newest(2), Page::default()).await.unwrap().total, 1);
    let by_tag = |tag: &str| DagFilter { tags: vec![tag.into()], ..DagFilter::default() };
    assert_eq!(store.dag_list(&by_tag("all"), Page::default()).await.unwrap().total, 0);
    assert_eq!(store.dag_list(&by_tag("new"), Page::default()).await.unwrap().total, 1);
    assert_eq!(store.component_list(&crate::model::dag_access::DagSet::all(), Page::default()).await.unwrap().total, 2);
}

#[tokio::test]
async fn versions_of_all_dags_or_some_are_listed_the_newest_first() {
    let store = TestStore::new().await;
    store.deployed(&["a", "b", "c"]).await;
    let mut changed = spec("a");
    changed.tags = vec!["new".into()];
    store.deploy(&deploy(2, vec![changed])).await.unwrap();
    let listed = async |filter: DagVersionFilter, page| {
        let listed = store.dag_version_list(&filter, page).await.unwrap();
        let versions = listed.items.iter().map(|row| format!("{} {}", row.dag_id, row.version_number));
        (versions.collect::<Vec<_>>(), listed.total)
    };
    let (all, total) = listed(DagVersionFilter::default(), Page::default()).await;
    assert_eq!((all[0].as_str(), all.len(), total), ("a 2", 4, 4));
    let second = Page { limit: 1, offset: 1 };
    assert_eq!(listed(DagVersionFilter::default(), second).await, (vec![all[1].clone()], 4));
    let some =
        DagVersionFilter { dags: [dag_id("a"), dag_id("b")].into_iter().collect(), ..DagVersionFilter::default() };
    let (of_some, total) = listed(some, Page::default()).await;
    assert_eq!((total, of_some.iter().any(|version| version.starts_with('c'))), (3, false));
    let first = DagVersionFilter { version_number: Some(1), ..DagVersionFilter::default() };
    assert_eq!(listed(first, Page::default()).await.1, 3);
}

#[tokio::test]
async fn components_are_read_on_after_one_that_is_gone() {
    let store = TestStore::new().await;
    for component in 1..=4 {
        store.deploy(&deploy(component, Vec::new())).await.unwrap();
    }
    let after = async |after: Option<u8>| {
        let rows = store.component_list_after(after.map(|byte| Digest([byte; 32])), 2).await.unwrap();
        rows.iter().map(|row| row.digest.0[0]).collect::<Vec<_>>()
    };
    assert_eq!(after(None).await, [1, 2]);
    assert!(store.component_delete_unused(Digest([1; 32]), "components/1").await.unwrap());
    assert_eq!(after(Some(2)).await, [3, 4]);
    assert_eq!(after(Some(4)).await, Vec::<u8>::new());
}

#[tokio::test]
async fn a_large_spec_is_kept_whole_and_small() {
    let store = TestStore::new().await;
    let mut large = spec("large");
    large.params = (0..20_000)
        .map(|at| crate::model::spec::ParamSpec { name: format!("p{at}"), schema: "{}".into(), default: None })
        .collect();
    store.deploy(&deploy(1, vec![large.clone()])).await.unwrap();
    let size: i64 = db::query_scalar("SELECT length(spec) FROM dag_version").fetch_one(store.readers()).await.unwrap();
    assert!(size < 200_000, "{size}");
    let store = store.reopen().await;
    let dag = store.dag_get(&dag_id("large")).await.unwrap().unwrap();
    assert_eq!(*dag.spec, large);
    let again = store.dag_get(&dag_id("large")).await.unwrap().unwrap();
    assert!(Arc::ptr_eq(&dag.spec, &again.spec), "parsed once");
    let component = store.component_get(Digest([1; 32])).await.unwrap().unwrap();
    assert!(component.module.dags.is_empty());
}

#[tokio::test]
async fn dags_are_filtered_by_all_that_is_asked_for() {
    let store = TestStore::new().await;
    store.deployed(&["a", "b_1", "bx1"]).await;
    let mut other = spec("c");
    other.owners = vec!["bob".into()];
    other.paused_upon_creation = Some(true);
    store.deploy(&deploy(2, vec![other])).await.unwrap();
    let ids = async |filter: DagFilter| {
        let listed = store.dag_list(&filter, Page::default()).await.unwrap();
        assert_eq!(listed.total, i64::try_from(listed.items.len()).unwrap());
        listed.items.iter().map(|dag| dag.dag_id.to_string()).collect::<Vec<_>>().join(" ")
    };
    let all = DagFilter::default;
    assert_eq!(ids(all()).await, "a b_1 bx1 c");
    assert_eq!(ids(DagFilter { order: Order::Descending, ..all() }).await, "c bx1 b_1 a");
    assert_eq!(ids(DagFilter { ids: vec![dag_id("c"), dag_id("a")], ..all() }).await, "a c");
    assert_eq!(ids(DagFilter { dag_id: Like::one("b%"), ..all() }).await, "b_1 bx1");
    assert_eq!(ids(DagFilter { paused: Some(true), ..all() }).await, "c");
    assert_eq!(ids(DagFilter { owners: vec!["bob".into(), "eve".into()], ..all() }).await, "c");
    let tags: Vec<String> = vec!["all".into(), "tag-a".into()];
    assert_eq!(ids(DagFilter { tags: tags.clone(), ..all() }).await, "a b_1 bx1 c");
    assert_eq!(ids(DagFilter { tags: tags.clone(), tag_match: TagMatch::All, ..all() }).await, "a");
    let repeated = vec![tags; 5_000].concat();
    assert_eq!(ids(DagFilter { tags: repeated, tag_match: TagMatch::All, ..all() }).await, "a");
    let too_many = (0..10_000).map(|tag| format!("t{tag}")).collect();
    assert_eq!(ids(DagFilter { tags: too_many, tag_match: TagMatch::All, ..all() }).await, "");
    assert_eq!(store.dag_list_all().await.unwrap().len(), 4);
    let page = store.dag_list(&all(), Page { limit: 1, offset: 2 }).await.unwrap();
    assert_eq!((page.items[0].dag_id.as_str(), page.total), ("bx1", 4));
    assert!(store.dag_get(&dag_id("none")).await.unwrap().is_none());
    assert!(!store.dag_set_paused(&dag_id("none"), true, at(1)).await.unwrap());
}

#[tokio::test]
async fn dags_are_found_and_sorted_by_what_people_call_them() {
    let store = TestStore::new().await;
    let called = |dag_id: &str, name: Option<&str>| DagSpec { display_name: name.map(str::to_owned), ..spec(dag_id) };
    // One whose name is blank has none.
    let dags = vec![called("a", Some("Zebras 100%")), called("b", Some(" ")), called("c", Some("Apes"))];
    store.deploy(&deploy(1, dags)).await.unwrap();
    let ids = async |filter: DagFilter| {
        let listed = store.dag_list(&filter, Page::default()).await.unwrap();
        listed.items.iter().map(|dag| dag.dag_id.to_string()).collect::<Vec<_>>().join(" ")
    };
    let (all, like) = (DagFilter::default, |text: &str| Like::one(format!("%{text}%")));
    for is_filled in [false, true] {
        assert_eq!(ids(DagFilter { order_by: DagOrder::DisplayName, ..all() }).await, "c a b");
        assert_eq!(ids(DagFilter { display_name: like("E"), ..all() }).await, "a c");
        assert_eq!(ids(DagFilter { display_name: like("00\\%"), ..all() }).await, "a");
        assert_eq!(ids(DagFilter { display_name: like("b"), dag_id: like("a"), ..all() }).await, "a");
        assert_eq!(ids(DagFilter { dag_id_or_name: like("a"), ..all() }).await, "a c");
        assert_eq!(ids(DagFilter { dag_id_or_name: like("c"), ..all() }).await, "c");
        let names = store.dag_names(&["none", "b", "a"].map(dag_id)).await.unwrap();
        assert_eq!(names.into_values().collect::<Vec<_>>(), ["Zebras 100%", "b"]);
        let found = store.dag_list_ids(&DagFilter { display_name: like("apes"), ..all() }).await.unwrap();
        assert_eq!(found, [dag_id("c")]);
        if !is_filled {
            // As a version of Airlock left it that did not write them down.
            store.write(db::query("UPDATE dag_version SET display_name = NULL")).await.unwrap();
            assert_eq!(ids(DagFilter { order_by: DagOrder::DisplayName, ..all() }).await, "a b c");
            store.dag_display_names_fill().await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_upload_and_its_entry_in_the_audit_log_are_one_transaction() {
    let store = TestStore::new().await;
    let event = EventNew { event: "dag.upload".into(), route: "POST /".into(), ..EventNew::default() };
    let upload = async |deploy: &Deploy| {
        let audit = Audit::new(event.clone());
        (audit.clone().scope(store.deploy(deploy)).await, audit.take().is_some())
    };
    store.break_audit_log(true).await;
    let (refused, _) = upload(&deploy(1, vec![spec("a")])).await;
    assert!(refused.is_err());
    store.break_audit_log(false).await;
    assert!(store.component_get(Digest([1; 32])).await.unwrap().is_none());
    assert!(store.dag_get(&dag_id("a")).await.unwrap().is_none());

    let (done, is_left) = upload(&deploy(1, vec![spec("a")])).await;
    assert!(done.is_ok() && !is_left);
    // The same again changes nothing, and says nothing.
    let (done, is_left) = upload(&deploy(1, vec![spec("a")])).await;
    assert!(done.is_ok() && is_left);
    let events = store.event_list(&EventFilter::default(), Page::first(9)).await.unwrap();
    assert_eq!(events.total, 1);
    let event = &events.items[0].event;
    assert_eq!(event.object.as_deref(), Some(Digest([1; 32]).to_string().as_str()));
    assert_eq!(event.after.as_deref(), Some(r#"{"dags":{"a":1}}"#));
}
