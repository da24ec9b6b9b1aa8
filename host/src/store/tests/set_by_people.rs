//! Variables, connections, users, sessions, pools, settings; and the database itself.

use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::model::{
    grants::{Decisions, Grant, GrantError, GrantsPolicy},
    ids::{ConnectionId, VariableKey},
    role::Role,
    sign_in::Identity,
};

fn of_password(hash: &str) -> UserChange {
    UserChange { password_hash: Some(hash.to_owned()), ..UserChange::default() }
}

fn of_role(role: Role) -> UserChange {
    UserChange { role: Some(role), ..UserChange::default() }
}

async fn changed(store: &Store, username: &str, change: UserChange, now: Timestamp) -> bool {
    let changed = store.user_change(username, &change, now, |_, _| {}).await.unwrap();
    matches!(changed, UserChanged::Done(_))
}

#[tokio::test]
async fn variables_and_connections_read_back_the_same() {
    let store = TestStore::new().await;
    let key = VariableKey::new("reports/target").unwrap();
    let variable =
        VariableRow { key: key.clone(), sealed: vec![0, 1, 255], description: Some("d".into()), updated_at: at(1) };
    assert!(store.variable_put_new(&variable).await.unwrap());
    assert!(!store.variable_put_new(&VariableRow { sealed: vec![3], ..variable.clone() }).await.unwrap());
    store.variable_put(&VariableRow { sealed: vec![2], ..variable }).await.unwrap();
    let row = store.variable_get(&key).await.unwrap().unwrap();
    assert_eq!((row.sealed, row.description.as_deref(), row.updated_at), (vec![2], Some("d"), at(1)));
    assert_eq!(store.variable_list(&Like::default(), Order::Ascending, Page::default()).await.unwrap().total, 1);
    assert_eq!(
        store.variable_list(&Like::one("REP%"), Order::Ascending, Page::default()).await.unwrap().items.len(),
        1
    );
    assert_eq!(store.variable_list(&Like::one("x%"), Order::Ascending, Page::default()).await.unwrap().total, 0);
    let heads = store.variable_head_list(&Like::one("rep%"), Page::default()).await.unwrap();
    assert_eq!((heads.total, heads.items[0].key.as_str(), heads.items[0].updated_at), (1, "reports/target", at(1)));
    let bytes = async |like: &str, limit| {
        store.variable_list_bytes(&Like::one(like), Order::Ascending, Page::first(limit)).await.unwrap()
    };
    assert_eq!((bytes("rep%", 9).await, bytes("rep%", 0).await, bytes("x%", 9).await), (1, 0, 0));
    assert!(store.variable_delete(&key).await.unwrap());
    assert!(!store.variable_delete(&key).await.unwrap());

    let id = ConnectionId::new("db").unwrap();
    let connection = ConnectionRow {
        id: id.clone(),
        conn_type: "postgres".into(),
        description: None,
        host: Some("h".into()),
        schema: Some("s".into()),
        login: Some("'; --".into()),
        port: Some(65_535),
        sealed_password: Some(vec![1]),
        sealed_extra: None,
        updated_at: at(2),
    };
    assert!(store.connection_put_new(&connection).await.unwrap());
    assert!(!store.connection_put_new(&ConnectionRow { port: None, ..connection.clone() }).await.unwrap());
    let row = store.connection_get(&id).await.unwrap().unwrap();
    assert_eq!(format!("{row:?}"), format!("{connection:?}"));
    assert_eq!(
        store.connection_list(&Like::default(), Order::Ascending, Page::default()).await.unwrap().items.len(),
        1
    );
    let head = store.connection_head_list(&Like::default(), Page::default()).await.unwrap().items.remove(0);
    assert_eq!((head.id, head.has_password, head.port), (id.clone(), true, Some(65_535)));
    assert_eq!(store.connection_list_bytes(&Like::default(), Order::Ascending, Page::default()).await.unwrap(), 1);
    assert!(store.connection_delete(&id).await.unwrap());
    assert!(store.connection_get(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn what_was_ended_or_changed_meanwhile_is_not_brought_back() {
    let store = TestStore::new().await;
    for name in ["ann", "bob"] {
        assert!(store.user_create(&user(name)).await.unwrap());
    }
    let session = SessionRow {
        secret_hash: [1; 32],
        username: "ann".into(),
        kind: "cookie".into(),
        created_at: at(1),
        expires_at: at(5),
    };
    // A sign-in that was checked by the old password.
    assert!(changed(&store, "ann", of_password("new"), at(2)).await);
    assert!(!store.session_create(&session, Some("old")).await.unwrap());
    assert!(store.session_create(&session, Some("new")).await.unwrap());
    // A new password keeps the role that somebody gave meanwhile.
    assert!(changed(&store, "ann", of_role(Role::Viewer), at(3)).await);
    assert!(changed(&store, "ann", of_password("newer"), at(4)).await);
    assert_eq!(store.user_get("ann").await.unwrap().unwrap().role, Role::Viewer);
    // The sessions of the old password ended with it.
    assert!(store.session_get(&[1; 32]).await.unwrap().is_none());
    assert!(store.session_create(&session, Some("newer")).await.unwrap());
    // A session that is used while it is ended.
    assert!(store.session_renew(&[1; 32], at(9)).await.unwrap());
    store.session_delete_of_user("ann").await.unwrap();
    assert!(!store.session_renew(&[1; 32], at(19)).await.unwrap());
    assert!(store.session_get(&[1; 32]).await.unwrap().is_none());
    // A new password for somebody who is deleted while it is hashed.
    assert!(store.user_delete("ann").await.unwrap());
    assert!(!changed(&store, "ann", of_password("newest"), at(5)).await);
    assert!(store.user_get("ann").await.unwrap().is_none());
}

#[tokio::test]
async fn an_identity_is_one_user_who_has_no_password() {
    let store = TestStore::new().await;
    let identity = |subject: &str| Identity { issuer: "https://a".into(), subject: subject.into() };
    let user = |username: &str, identity: Option<Identity>| UserRow {
        username: username.to_owned(),
        password_hash: String::new(),
        role: Role::Admin,
        dag_permissions: Vec::new(),
        identity,
        created_at: at(1),
        updated_at: at(1),
    };
    assert!(store.user_create(&user("ann", Some(identity("1")))).await.unwrap());
    assert!(!store.user_create(&user("other", Some(identity("1")))).await.unwrap(), "one user of an identity");
    assert!(!store.user_create(&user("ann", Some(identity("2")))).await.unwrap(), "one identity of a user");
    // Of those without one there may be many.
    for name in ["bob", "eve"] {
        assert!(store.user_create(&user(name, None)).await.unwrap());
    }
    let found = store.user_get_by_identity(&identity("1")).await.unwrap().unwrap();
    assert_eq!((found.username.as_str(), &found.identity), ("ann", &Some(identity("1"))));
    let elsewhere = Identity { issuer: "https://b".into(), ..identity("1") };
    assert!(store.user_get_by_identity(&elsewhere).await.unwrap().is_none());

    assert!(!changed(&store, "ann", of_password("hash"), at(2)).await);
    assert_eq!(store.user_get("ann").await.unwrap().unwrap().password_hash, "");
    // The issuer's word counts also for the last admin.
    for name in ["bob", "eve"] {
        assert!(store.user_delete(name).await.unwrap());
    }
    assert!(!changed(&store, "ann", of_role(Role::Viewer), at(3)).await);
    assert!(store.user_set_role_vouched(&identity("1"), Role::Viewer, at(3)).await.unwrap());
    assert!(!store.user_set_role_vouched(&identity("2"), Role::Viewer, at(3)).await.unwrap());
    assert_eq!(store.user_list(Page::default()).await.unwrap().items[0].role, Role::Viewer);
}

#[tokio::test]
async fn a_deleted_user_has_no_sessions() {
    let store = TestStore::new().await;
    for name in ["ann", "bob"] {
        assert!(store.user_create(&user(name)).await.unwrap());
        assert!(!store.user_create(&user(name)).await.unwrap(), "nobody is made twice");
    }
    assert_eq!(store.user_count().await.unwrap(), 2);
    let session = |hash: u8, username: &str, expires| SessionRow {
        secret_hash: [hash; 32],
        username: username.into(),
        kind: "bearer".into(),
        created_at: at(1),
        expires_at: at(expires),
    };
    for session in [session(1, "ann", 5), session(2, "ann", 9), session(3, "bob", 9), session(4, "bob", 9)] {
        assert!(store.session_create(&session, Some("old")).await.unwrap());
    }
    assert!(!store.session_create(&session(9, "nobody", 9), None).await.unwrap());
    assert_eq!(store.session_delete_expired(at(5)).await.unwrap(), 1);
    let (session, role) = store.session_get(&[2; 32]).await.unwrap().unwrap();
    assert_eq!((session.username.as_str(), role.general()), ("ann", Role::Admin));
    assert!(changed(&store, "ann", of_role(Role::Viewer), at(6)).await);
    assert_eq!(store.session_get(&[2; 32]).await.unwrap().unwrap().1.general(), Role::Viewer);
    assert!(!changed(&store, "bob", of_role(Role::Operator), at(6)).await, "the last admin");
    assert!(!store.user_delete("bob").await.unwrap(), "the last admin");
    assert!(store.user_delete("ann").await.unwrap());
    assert!(store.session_get(&[2; 32]).await.unwrap().is_none());
    assert!(store.session_delete(&[3; 32]).await.unwrap());
    assert_eq!(store.session_delete_of_user("bob").await.unwrap(), 1);
    let listed = store.user_list(Page::default()).await.unwrap();
    assert_eq!((listed.items[0].username.as_str(), listed.total), ("bob", 1));
    assert!(store.user_get("ann").await.unwrap().is_none());
}

#[tokio::test]
async fn there_is_a_default_pool_from_the_start() {
    let store = TestStore::new().await;
    let pool = store.pool_get(&PoolName::default_pool()).await.unwrap().unwrap();
    assert_eq!((pool.slots, pool.include_deferred), (128, false));
    let unlimited = PoolRow { slots: -1, include_deferred: true, ..pool };
    assert!(!store.pool_put_new(&unlimited).await.unwrap());
    store.pool_put(&unlimited).await.unwrap();
    assert_eq!(
        store.pool_list(&Like::default(), Order::Ascending, Page::default()).await.unwrap().items,
        std::slice::from_ref(&unlimited)
    );
    assert!(store.pool_put(&PoolRow { slots: -2, ..unlimited }).await.is_err());
    assert!(store.pool_delete(&PoolName::default_pool()).await.unwrap());
}

#[tokio::test]
async fn a_setting_is_stored_once() {
    let store = TestStore::new().await;
    assert!(store.setting_put_new("key_check", b"1").await.unwrap());
    assert!(!store.setting_put_new("key_check", b"2").await.unwrap());
    assert_eq!(store.setting_get("key_check").await.unwrap(), Some(b"1".to_vec()));
    assert_eq!(store.setting_get("other").await.unwrap(), None);
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_is_named() {
    let path: std::path::PathBuf = "/nonexistent/airlock.db".into();
    let error = Store::open(&StoreConfig { place: StorePlace::Sqlite(path), synchronous: Synchronous::Full })
        .await
        .unwrap_err();
    assert!(error.to_string().contains("/nonexistent/airlock.db"));
    let store = TestStore::new().await;
    store.ping().await.unwrap();
    store.close().await;
    assert!(store.ping().await.unwrap_err().is_transient());
}

#[tokio::test]
async fn the_database_is_durable_and_shrinks() {
    let store = TestStore::on_sqlite().await;
    let mut writer = store.writer().await.unwrap();
    for (pragma, expected) in
        [("journal_mode", "wal"), ("auto_vacuum", "2"), ("foreign_keys", "1"), ("synchronous", "1")]
    {
        let statement = db::Sql::of_test(format!("SELECT CAST({pragma} AS TEXT) FROM pragma_{pragma}"));
        let value: String = db::query_scalar(statement).fetch_one(&mut writer.connection).await.unwrap();
        assert_eq!(value, expected, "{pragma}");
    }
}

/// As SQLite does it on a full disk, in the middle of a transaction and by itself.
#[tokio::test]
async fn a_transaction_that_the_database_gave_up_is_not_the_last() {
    let store = TestStore::new().await;
    let mut writer = store.writer().await.unwrap();
    let mut transaction = writer.begin().await.unwrap();
    transaction.run("ROLLBACK").await.unwrap();
    drop(writer);
    for _ in 0..2 {
        let mut writer = store.writer().await.unwrap();
        writer.begin().await.unwrap().commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_transaction_that_is_dropped_is_undone() {
    let store = TestStore::new().await;
    let put = || db::query("INSERT INTO setting (name, value) VALUES ('half', $1)").bind(vec![0]);
    for commits in [false, true] {
        let mut writer = store.writer().await.unwrap();
        let mut transaction = writer.begin().await.unwrap();
        put().execute(&mut *transaction).await.unwrap();
        if commits {
            transaction.commit().await.unwrap();
        }
        drop(writer);
        // The next writer's turn.
        store.vacuum_step().await.unwrap();
        assert_eq!(store.setting_get("half").await.unwrap().is_some(), commits);
    }
}

#[tokio::test]
async fn a_transaction_that_is_dropped_holds_no_locks() {
    let store = TestStore::new().await;
    let another = Store::open(&config(&store.folder).await).await.unwrap();
    let mut writer = store.writer().await.unwrap();
    let mut transaction = writer.begin().await.unwrap();
    let put = db::query("INSERT INTO setting (name, value) VALUES ('contested', $1)").bind(vec![0]);
    put.execute(&mut *transaction).await.unwrap();
    drop(writer);
    let put = another.setting_put_new("contested", b"1");
    assert!(timeout(Duration::from_secs(4), put).await.expect("nobody holds the row").unwrap());
}

#[tokio::test]
async fn decisions_about_grants_are_kept_and_go_with_their_dag() {
    let store = TestStore::new().await;
    store.deployed(&["a", "b"]).await;
    let grant = |text: &str| text.parse::<Grant>().unwrap();
    let approve = |text: &'static str| move |all: &mut Decisions| all.approve(&[grant(text)].into());
    let change = async |dag: &str, seconds, change: &dyn Fn(&mut Decisions) -> Result<(), GrantError>| {
        store.dag_decisions_change(&dag_id(dag), ("ann", at(seconds)), change).await.unwrap()
    };
    assert_eq!(change("gone", 1, &approve("dag:x")).await, GrantsChanged::NoDag);
    assert!(matches!(change("a", 1, &|_| Err("?".parse::<Grant>().unwrap_err())).await, GrantsChanged::Refused(_)));
    assert_eq!(store.dag_decisions_all().await.unwrap().len(), 0);
    change("a", 1, &approve("variable:x y*")).await;
    change("a", 2, &approve("variable:x y*")).await;
    change("a", 3, &|all| all.revoke(&[grant("http:x.org:8443")].into())).await;
    let policy = |all: &mut Decisions| {
        all.policy = Some(GrantsPolicy::review());
        Ok(())
    };
    change("b", 4, &policy).await;
    let store = store.reopen().await;
    let rows = store.dag_grant_list(&dag_id("a")).await.unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row.request.to_string(), row.is_approved, row.decided_at)).collect();
    let known = [("http:x.org:8443".to_owned(), false, at(3)), ("variable:x y*".to_owned(), true, at(1))];
    assert_eq!(told, known);
    let all = store.dag_decisions_all().await.unwrap();
    assert_eq!((all[&dag_id("a")].by_grant.len(), &all[&dag_id("a")].policy), (2, &None));
    assert_eq!((all[&dag_id("b")].by_grant.len(), &all[&dag_id("b")].policy), (0, &Some(GrantsPolicy::review())));
    assert_eq!(store.dag_decisions(&[dag_id("b")]).await.unwrap().len(), 1);
    // The last change wins over the ones before.
    let changed = store
        .dag_decisions_change(&dag_id("a"), ("bob", at(5)), |all| all.revoke(&[grant("variable:x y*")].into()))
        .await;
    assert!(matches!(changed.unwrap(), GrantsChanged::Done));
    assert_eq!(store.dag_grant_list(&dag_id("a")).await.unwrap()[1].decided_by, "bob");
    store.dag_delete(&dag_id("a")).await.unwrap();
    assert_eq!(store.dag_grant_list(&dag_id("a")).await.unwrap(), []);
}
