//! The contract, on every kind of storage that runs in a test process.

#[path = "../../../tests/src/cloud.rs"]
mod cloud;

use cloud::{Cloud, Service};
use futures_util::TryStreamExt as _;
use tempfile::TempDir;
use uuid::Uuid;

use super::{keys::Stem, *};
use crate::model::{
    ids::{Digest, TaskId},
    spec::ComponentKind,
};

fn local() -> (Blobs, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/objects", folder.path().display());
    (Blobs::open(&url).unwrap(), folder)
}

fn files_in(folder: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(files_in(&path));
        } else {
            names.push(path.display().to_string());
        }
    }
    names
}

fn stem(restart: u32) -> Stem {
    Stem::of_attempt(7, &TaskId::new("t").unwrap(), -1, 1, restart)
}

/// What must hold on any storage.
async fn meets_the_contract(blobs: &Blobs) {
    let key = keys::xcom(&stem(0), Uuid::new_v4());
    assert_eq!(blobs.get(&key).await.unwrap(), None);
    assert_eq!(blobs.get_range(&key, 0..1).await.unwrap(), None);
    assert!(blobs.stream(&key).await.unwrap().is_none());
    blobs.delete(&key).await.unwrap();
    blobs.ping().await.unwrap();

    blobs.put(&key, Bytes::from_static(b"0123456789")).await.unwrap();
    assert_eq!(blobs.get(&key).await.unwrap().unwrap(), "0123456789");
    assert_eq!(blobs.get_range(&key, 3..5).await.unwrap().unwrap(), "34");
    assert_eq!(blobs.get_range(&key, 8..50).await.unwrap().unwrap(), "89");
    let read = blobs.stream(&key).await.unwrap().unwrap();
    assert_eq!(read.size_bytes, 10);
    assert_eq!(read.stream.try_collect::<Vec<_>>().await.unwrap().concat(), b"0123456789");
    blobs.put(&key, Bytes::new()).await.unwrap();
    assert_eq!(blobs.get(&key).await.unwrap().unwrap(), "");

    for size in [0, 1, 5 << 20, (11 << 20) + 3] {
        let key = keys::artifact(&stem(0), Uuid::new_v4());
        let bytes: Vec<u8> = (0..size).map(|at: u32| at.to_le_bytes()[1]).collect();
        let mut writer = blobs.writer(&key).unwrap();
        for piece in bytes.chunks(700_001) {
            writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        assert_eq!(blobs.get(&key).await.unwrap(), None, "not there before it is finished");
        writer.finish().await.unwrap();
        assert!(blobs.get(&key).await.unwrap().unwrap() == bytes, "{size}");
        let read = blobs.stream(&key).await.unwrap().unwrap().stream.try_collect::<Vec<_>>().await.unwrap();
        assert!(
            read.iter().all(|piece| piece.len() as u64 <= PIECE_BYTES),
            "one request for all would end before a slow reader"
        );
        assert!(read.concat() == bytes, "{size}");
    }

    let abandoned = keys::artifact(&stem(0), Uuid::new_v4());
    let mut writer = blobs.writer(&abandoned).unwrap();
    writer.write(Bytes::from(vec![1; 6 << 20])).await.unwrap();
    drop(writer);
    blobs.close().await;
    assert_eq!(blobs.get(&abandoned).await.unwrap(), None);

    let mut listed: Vec<_> = blobs.list("artifacts").unwrap().try_collect().await.unwrap();
    listed.sort_by_key(|blob: &BlobInfo| blob.size_bytes);
    assert_eq!(listed.iter().map(|blob| blob.size_bytes).collect::<Vec<_>>(), [0, 1, 5 << 20, (11 << 20) + 3]);
    let mut keys: Vec<String> = listed.into_iter().map(|blob| blob.key).collect();
    assert!(blobs.get(&keys[1]).await.unwrap().is_some(), "a listed key is the key");
    keys.push("artifacts/not/there".into());
    blobs.delete_many(&keys).await.unwrap();
    blobs.delete_many(&keys).await.unwrap();
    assert_eq!(blobs.list("artifacts").unwrap().try_collect::<Vec<_>>().await.unwrap(), []);
    assert!(blobs.get(&key).await.unwrap().is_some());
    all_of_an_attempt_is_found(blobs).await;
}

/// Among what others have in the same folder.
async fn all_of_an_attempt_is_found(blobs: &Blobs) {
    let mut stems: Vec<_> = (0..2_000).map(stem).filter(|stem| stem.shard() == "ab").collect();
    stems.sort();
    let others = ["00000000000000000000000000000000", "ffffffffffffffffffffffffffffffff"];
    let mut all: Vec<_> = others.iter().map(|name| format!("recordings/ab/{name}")).collect();
    all.extend(stems[..3].iter().flat_map(|stem| [0, u128::MAX].map(|id| keys::recording(stem, Uuid::from_u128(id)))));
    for key in &all {
        blobs.put(key, Bytes::new()).await.unwrap();
    }
    let found = async |first: usize, last: usize| {
        let [first, last] = [first, last].map(|at| stems[at].prefix("recordings"));
        let listed = blobs.list_between("recordings/ab", &first, &last).unwrap();
        let mut found: Vec<_> = listed.try_collect().await.unwrap();
        found.sort();
        found
    };
    for (first, last) in [(0, 0), (1, 1), (0, 1), (1, 2), (0, 2), (3, 3)] {
        let expected =
            all[2..].iter().filter(|key| (first..=last).any(|at| Stem::in_key(key).as_ref() == Some(&stems[at])));
        assert_eq!(found(first, last).await, expected.cloned().collect::<Vec<_>>(), "{first} to {last}");
    }
    blobs.delete_many(&all).await.unwrap();
    // There may be no such folder yet.
    let none: Vec<_> = blobs
        .list_between("recordings/ac", "recordings/ac/a-", "recordings/ac/b-")
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn a_local_folder_meets_the_contract_and_keeps_no_half_files() {
    let (blobs, folder) = local();
    meets_the_contract(&blobs).await;
    assert_eq!(files_in(folder.path()).len(), 1);
}

#[tokio::test]
async fn memory_meets_the_contract() {
    meets_the_contract(&Blobs::in_memory()).await;
}

#[tokio::test]
async fn a_key_cannot_leave_its_storage() {
    let (blobs, _folder) = local();
    for key in ["../outside", "a/../../outside", "/etc/passwd/..", "a//b"] {
        assert!(matches!(blobs.put(key, Bytes::new()).await, Err(BlobError::Refused(_))), "{key}");
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_an_error_that_says_so() {
    let (blobs, folder) = local();
    std::fs::remove_dir_all(folder.path().join("objects")).unwrap();
    std::fs::write(folder.path().join("objects"), b"a file").unwrap();
    let error = blobs.put("xcoms/a", Bytes::from_static(b"1")).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
}

#[test]
fn an_address_that_is_wrong_says_why_and_tells_no_secret() {
    let refused = |url: &str| Blobs::open(url).unwrap_err().to_string();
    assert!(refused("objects").contains("`objects` is not a storage url"));
    assert!(refused("file:///dev/null/objects").contains("the folder `/dev/null/objects` can't be made"));
    assert!(refused("ftp://host/x").contains("`ftp` is not a kind of storage"));
    assert!(refused("file://host/x").contains("not an absolute path"));
    assert!(refused("s3://").contains("no bucket") || refused("s3://").contains("host"));
    assert!(refused("s3://bucket?allow_http=yes").contains("`allow_http` must be `true` or `false`"));
    let text = refused("s3://bucket?secret_access_key=hunter2");
    assert!(text.contains("`secret_access_key` is not known") && !text.contains("hunter2"), "{text}");
    let text = refused("az://container?sas_token=hunter2");
    assert!(text.contains("`account`, `endpoint`, `allow_http` are") && !text.contains("hunter2"), "{text}");
    assert!(refused("gs://bucket?region=eu").contains("`region` is not known"));
    assert!(refused("az://container/prefix").contains("ccount"), "{}", refused("az://container/prefix"));
}

fn with(url: &str, settings: &[(&str, &str)]) -> Blobs {
    let (objects, prefix) = location::open_with(url, settings).unwrap();
    Blobs { objects, prefix, place: url.into(), folder: None, aborts: TaskTracker::new() }
}

fn of_cloud(scheme: &str, cloud: &Cloud) -> Blobs {
    let settings = cloud.env().iter().map(|(name, value)| (name.to_lowercase(), *value)).collect::<Vec<_>>();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    with(&cloud.url(scheme), &settings)
}

#[tokio::test]
async fn azure_meets_the_contract() {
    let cloud = Cloud::start(Service::Azure).await;
    let blobs = of_cloud("az", &cloud);
    meets_the_contract(&blobs).await;
    is_a_bucket(&blobs, &cloud).await;
}

#[tokio::test]
async fn google_cloud_meets_the_contract() {
    let cloud = Cloud::start(Service::Google).await;
    let blobs = of_cloud("gs", &cloud);
    meets_the_contract(&blobs).await;
    is_a_bucket(&blobs, &cloud).await;
}

/// What is asked of buckets only: that objects are below the prefix, and lists of many pages.
async fn is_a_bucket(blobs: &Blobs, cloud: &Cloud) {
    let keys: Vec<_> = (0..7).map(|at| format!("logs/{at}")).collect();
    for key in &keys {
        blobs.put(key, Bytes::from_static(b"x")).await.unwrap();
    }
    assert!(blobs.copy("logs/0", "logs/6").await.unwrap() && !blobs.copy("logs/none", "logs/6").await.unwrap());
    let mut listed: Vec<_> = blobs.list("logs").unwrap().map_ok(|blob| blob.key).try_collect().await.unwrap();
    listed.sort();
    assert_eq!(listed, keys);
    let after: Vec<_> = blobs.list_after("logs", Some("logs/4")).unwrap().try_collect().await.unwrap();
    assert_eq!(after.len(), 2);
    assert!(cloud.keys().iter().all(|key| key.starts_with("files/")), "{:?}", cloud.keys());
    blobs.put("xcoms/large", vec![7; 12 << 20].into()).await.unwrap();
    assert_eq!(blobs.info("xcoms/large").await.unwrap().unwrap().size_bytes, 12 << 20);
    assert!(cloud.largest_request() <= 5 << 20, "a request for all of it would end before a slow line");
    assert_eq!(cloud.unfinished(), 0);
    let info = blobs.info("logs/1").await.unwrap().unwrap();
    assert_eq!((info.key.as_str(), info.size_bytes), ("logs/1", 1));
    assert_eq!(blobs.get_range_of(&info, 0..1).await.unwrap().unwrap(), "x");
    blobs.put("logs/1", Bytes::from_static(b"yy")).await.unwrap();
    assert_eq!(blobs.get_range_of(&info, 0..1).await.unwrap(), None, "it is another one by now");
}

#[tokio::test]
async fn wrong_credentials_are_denied_and_not_tried_again() {
    let (azure, google) = (Cloud::start(Service::Azure).await, Cloud::start(Service::Google).await);
    for blobs in [
        with(
            &azure.url("az"),
            &[("azure_storage_account_name", cloud::ACCOUNT), ("azure_storage_account_key", "Z3Vlc3M=")],
        ),
        with(&google.url("gs"), &[("google_bearer_token", "guess")]),
    ] {
        let error = blobs.ping().await.unwrap_err();
        assert!(matches!(error, BlobError::Denied(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let query = format!("endpoint=http://127.0.0.1:{port}&allow_http=true");
    let s3 = [("aws_access_key_id", "a"), ("aws_secret_access_key", "b"), ("aws_region", "us-east-1")];
    let azure = [("azure_storage_account_name", "a"), ("azure_storage_account_key", "Yg==")];
    let away = async |url: &str, settings: &[(&str, &str)]| {
        let error = with(&format!("{url}?{query}"), settings).get("xcoms/a").await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
    };
    tokio::join!(
        away("s3://bucket/prefix", &s3),
        away("az://container/prefix", &azure),
        away("gs://bucket/prefix", &[("google_bearer_token", "a")])
    );
}

#[test]
fn keys_are_made_of_what_the_server_chose() {
    let id = Uuid::from_u128(0xab);
    assert_eq!(keys::xcom_by_hand(id), "xcoms/ab/000000000000000000000000000000ab");
    assert_eq!(Stem::in_key(&keys::xcom_by_hand(id)), None);
    // As a server of before made it, whose attempts were lost with it.
    let key = "artifacts/ff/ffc4e50ee7991c386cab08da55b09bdd-000000000000000000000000000000ab";
    assert_eq!(keys::artifact(&stem(0), id), key);
    assert_eq!(Stem::in_key(key), Some(stem(0)));
    assert_ne!(stem(0), stem(1));
    let digest = Digest([0xcd; 32]);
    assert_eq!(keys::component(&digest, ComponentKind::Wasm), format!("components/cd/{digest}.wasm"));
    assert_eq!(keys::component_of(&keys::component(&digest, ComponentKind::Wasm)), Some(digest));
    for other in ["components/cd/ab.wasm", "components", "xcoms/ab/000000000000000000000000000000ab"] {
        assert_eq!(keys::component_of(other), None, "{other}");
    }
}
