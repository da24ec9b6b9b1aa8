//! Where values come from, and what seals them.

use std::{fs, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tempfile::TempDir;

use super::*;
use crate::{
    secrets::SecretsConfig,
    store::{StoreConfig, VariableRow},
};

fn key(byte: u8) -> String {
    BASE64_STANDARD.encode(std::array::from_fn::<u8, 32, _>(|n| byte.wrapping_add(u8::try_from(7 * n).unwrap())))
}

fn masters(keys: &[u8]) -> Secrets {
    let keys: Vec<_> = keys.iter().map(|byte| key(*byte)).collect();
    let config = SecretsConfig { key: Some(keys.join(",").into()), ..SecretsConfig::default() };
    Secrets::open(&config, std::path::Path::new("/nonexistent")).unwrap()
}

async fn store(folder: &TempDir) -> Store {
    let config = StoreConfig::of_test(folder.path()).await;
    Store::open(&config).await.unwrap()
}

fn name(text: &str) -> VariableKey {
    VariableKey::new(text).unwrap()
}

async fn put(vault: &Vault, secrets: &Secrets, text: &str, value: &str) {
    let key = name(text);
    let sealed = secrets.seal(&place::variable(&key), value.as_bytes());
    let row = VariableRow { key, sealed, description: None, updated_at: Timestamp::default() };
    vault.store().variable_put(&row).await.unwrap();
}

async fn variable(vault: &Vault, text: &str) -> Option<String> {
    vault.variable(&name(text)).await.unwrap().map(|value| value.expose().to_owned())
}

#[tokio::test]
async fn rotation_seals_all_anew_and_deletes_the_old_key_when_nobody_can_need_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    // As an installation of before there were data keys.
    let old = masters(&[1]);
    let vault = Vault::new(store.clone(), old.clone());
    for nth in 0..250 {
        put(&vault, &old, &format!("v{nth}"), &format!("value {nth}")).await;
    }
    let id = ConnectionId::new("db").unwrap();
    let sealed = |place: String, text: &str| Some(old.seal(&place, text.as_bytes()));
    let connection = ConnectionRow {
        sealed_password: sealed(place::connection_password(&id), "hunter2"),
        sealed_extra: sealed(place::connection_extra(&id), "{}"),
        ..ImportedConnection::parse("http://h").unwrap().into_connection(&id).row
    };
    store.connection_put(&connection).await.unwrap();

    let vault = Vault::open(store.clone(), masters(&[1]), Vec::new()).await.unwrap();
    let status = vault.keys().await.unwrap();
    assert_eq!((status.data_keys.len(), status.waiting, status.master_keys[0].needed_by), (1, 252, 253));
    vault.seal_anew().await.unwrap();
    let status = vault.keys().await.unwrap();
    assert_eq!((status.data_keys[0].values, status.waiting, status.master_keys[0].needed_by), (252, 0, 1));

    vault.rotate().await.unwrap();
    assert_eq!(variable(&vault, "v7").await.as_deref(), Some("value 7"), "before it is sealed anew");
    // Somebody sealed with the key of before and writes only now.
    let late = store.variable_get(&name("v7")).await.unwrap().unwrap();
    // A crash: what is left to do is found in the rows.
    let vault = Vault::open(store.clone(), masters(&[1]), Vec::new()).await.unwrap();
    assert_eq!(vault.keys().await.unwrap().waiting, 252);
    vault.seal_anew().await.unwrap();
    store.variable_put(&late).await.unwrap();
    let now = Clock.now();
    assert!(vault.forget_keys(now).await.unwrap().is_some_and(|wait| wait > Duration::from_mins(9)));
    assert_eq!(vault.keys().await.unwrap().data_keys.len(), 2, "it may be in use");
    vault.forget_keys(now.after(Duration::from_hours(1))).await.unwrap();
    assert_eq!(vault.keys().await.unwrap().data_keys.len(), 2, "a value needs it");
    vault.seal_anew().await.unwrap();
    assert_eq!(vault.forget_keys(now.after(Duration::from_hours(1))).await.unwrap(), None);
    let status = vault.keys().await.unwrap();
    assert_eq!((status.data_keys.len(), status.data_keys[0].values, status.waiting), (1, 252, 0));
    assert_eq!(variable(&vault, "v249").await.as_deref(), Some("value 249"));
    let opened = vault.connection(&id).await.unwrap().unwrap();
    assert_eq!(opened.password.unwrap().expose(), "hunter2");
}

#[tokio::test]
async fn a_new_master_key_takes_over_at_the_start_and_a_wrong_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let secrets = masters(&[1]);
    let vault = Vault::open(store.clone(), secrets.clone(), Vec::new()).await.unwrap();
    put(&vault, &secrets, "city", "Seoul").await;
    let vault = Vault::open(store.clone(), masters(&[2, 1]), Vec::new()).await.unwrap();
    let needed: Vec<_> = vault.keys().await.unwrap().master_keys.iter().map(|key| key.needed_by).collect();
    assert_eq!(needed, [1, 0]);
    let vault = Vault::open(store.clone(), masters(&[2]), Vec::new()).await.unwrap();
    assert_eq!(variable(&vault, "city").await.as_deref(), Some("Seoul"));
    for wrong in [&[1][..], &[3, 1]] {
        let refused = Vault::open(store.clone(), masters(wrong), Vec::new()).await;
        assert!(matches!(refused, Err(VaultError::Secrets(SecretsError::WrongKey))), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_value_that_can_not_be_opened_stays_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let secrets = masters(&[1]);
    let vault = Vault::open(store.clone(), secrets.clone(), Vec::new()).await.unwrap();
    for text in ["a", "b", "c"] {
        put(&vault, &secrets, text, text).await;
    }
    let moved = store.variable_get(&name("a")).await.unwrap().unwrap().sealed;
    let row = VariableRow { key: name("b"), sealed: moved, description: None, updated_at: Timestamp::default() };
    store.variable_put(&row).await.unwrap();
    vault.rotate().await.unwrap();
    vault.seal_anew().await.unwrap();
    let status = vault.keys().await.unwrap();
    assert_eq!((status.waiting, status.data_keys[0].values), (1, 2));
    assert_eq!(vault.forget_keys(Clock.now().after(Duration::from_hours(1))).await.unwrap(), None);
    assert_eq!(vault.keys().await.unwrap().data_keys.len(), 2);
}

#[tokio::test]
async fn places_are_asked_in_order_and_the_database_last() {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    fs::create_dir_all(files.join("variables/team")).unwrap();
    fs::create_dir_all(files.join("connections")).unwrap();
    for (path, text) in [
        ("variables/city", "Busan\n"),
        ("variables/team/a", "blue\r\n"),
        ("connections/shop", "http://ada:hush@shop.org/base?x=1\n"),
        ("connections/broken", "{\"password\": hush"),
    ] {
        fs::write(files.join(path), text).unwrap();
    }
    let environment = [
        ("AIRLOCK_VAR_CITY", "Seoul"),
        ("AIRLOCK_VAR_lower", "never found"),
        ("AIRLOCK_VAR_WITH-DASH", "never found"),
        ("AIRLOCK_CONN_MAIL", "{\"conn_type\":\"smtp\"}"),
        ("PATH", "/"),
    ];
    let environment = Environment::of(environment.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap();
    assert!(Environment::of([("AIRLOCK_URL".to_owned(), String::new())]).is_none());
    let store = store(&folder).await;
    let secrets = masters(&[1]);
    let backends: Vec<Box<dyn Backend>> = vec![Box::new(environment), Box::new(Files::new(files.clone()))];
    let vault = Vault::open(store.clone(), secrets.clone(), backends).await.unwrap();
    for text in ["city", "team/a", "own"] {
        put(&vault, &secrets, text, "of the database").await;
    }
    let of = async |text: &str| variable(&vault, text).await;
    assert_eq!(of("city").await.as_deref(), Some("Seoul"));
    assert_eq!(of("team/a").await.as_deref(), Some("blue"));
    assert_eq!(of("own").await.as_deref(), Some("of the database"));
    assert_eq!(of("team").await, None, "a folder is no value");
    assert_eq!(of("lower").await, None, "and so it is not listed");
    let connection = async |id: &str| vault.connection(&ConnectionId::new(id).unwrap()).await;
    let shop = connection("shop").await.unwrap().unwrap();
    assert_eq!((shop.row.host.as_deref(), shop.password.unwrap().expose()), (Some("shop.org"), "hush"));
    assert_eq!(connection("mail").await.unwrap().unwrap().row.conn_type, "smtp");
    let error = connection("broken").await.unwrap_err().to_string();
    assert!(error.contains("connection `broken`") && !error.contains("hush"), "{error}");
    let outside = vault.outside().await.unwrap();
    let listed: Vec<_> = outside.iter().map(|(_, found)| found.variables.iter().cloned().collect::<Vec<_>>()).collect();
    assert_eq!(listed, [vec!["city".to_owned()], vec!["city".to_owned(), "team/a".to_owned()]]);
    // What was answered holds for a moment; a folder that is gone is a fault.
    fs::remove_dir_all(&files).unwrap();
    assert_eq!(of("team/a").await.as_deref(), Some("blue"));
    let error = vault.variable(&name("never/asked")).await.unwrap_err().to_string();
    assert!(error.contains("the folder is not there"), "{error}");
}
