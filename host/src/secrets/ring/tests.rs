//! Keys, and what they open.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn key(byte: u8) -> String {
    BASE64.encode([byte; 32])
}

fn ring(keys: &str) -> Secrets {
    let config = SecretsConfig { key: Some(keys.to_owned().into()), key_file: None };
    Secrets::open(&config, Path::new("/nonexistent")).unwrap()
}

#[test]
fn what_is_sealed_opens_in_its_own_place_only() {
    let secrets = ring(&key(1));
    let sealed = secrets.seal("variable|a|value", "hünter2".as_bytes());
    assert_eq!(secrets.unseal("variable|a|value", &sealed).unwrap().expose(), "hünter2");
    assert!(matches!(secrets.unseal("variable|b|value", &sealed), Err(SecretsError::Broken { .. })));
    assert_ne!(secrets.seal("variable|a|value", "hünter2".as_bytes()), sealed, "equal values do not look equal");
    assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
    assert_eq!(secrets.unseal("p", &secrets.seal("p", b"")).unwrap().expose(), "");
}

#[test]
fn a_sealed_value_that_was_changed_does_not_open() {
    let secrets = ring(&key(1));
    let sealed = secrets.seal("p", b"hunter2");
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(secrets.unseal("p", &changed).is_err(), "byte {at}");
        assert!(secrets.unseal("p", &sealed[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn a_wrong_key_is_noticed_and_an_old_one_still_opens() {
    let old = ring(&key(1));
    let (check, sealed) = (old.key_check(), old.seal("p", b"hunter2"));
    let wrong = ring(&key(2));
    assert!(matches!(wrong.verify_key_check(&check), Err(SecretsError::WrongKey)));
    assert!(matches!(wrong.unseal("p", &sealed), Err(SecretsError::WrongKey)));
    let rotated = ring(&format!("{},{}", key(2), key(1)));
    rotated.verify_key_check(&check).unwrap();
    assert_eq!(rotated.unseal("p", &sealed).unwrap().expose(), "hunter2");
    wrong.unseal("p", &rotated.seal("p", b"new")).unwrap();
}

#[test]
fn a_key_file_is_made_once_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Secrets::open(&SecretsConfig::default(), folder.path());
    let sealed = open().unwrap().seal("p", b"hunter2");
    let path = folder.path().join("secret.key");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(open().unwrap().unseal("p", &sealed).unwrap().expose(), "hunter2");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");

    for mode in [0o640, 0o604, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = open().unwrap_err();
        assert!(matches!(error, SecretsError::KeyFileOpen { .. }), "{error}");
        assert!(error.to_string().contains("chmod 600"));
    }
}

#[test]
fn keys_that_are_none_are_refused_without_being_shown() {
    let folder = tempfile::tempdir().unwrap();
    for bad in ["", "hunter2hunter2", "c2hvcnQ=", &format!("{},", key(1))] {
        let config = SecretsConfig { key: Some(bad.to_owned().into()), key_file: None };
        let error = Secrets::open(&config, folder.path()).unwrap_err();
        assert!(matches!(error, SecretsError::Malformed { .. }));
        assert!(bad.is_empty() || !error.to_string().contains(bad));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
    fs::write(folder.path().join("secret.key"), "").unwrap();
    fs::set_permissions(folder.path().join("secret.key"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(Secrets::open(&SecretsConfig::default(), folder.path()).is_err());
    assert!(matches!(
        Secrets::open(&SecretsConfig::default(), Path::new("/nonexistent")),
        Err(SecretsError::KeyFile { .. })
    ));
}
