//! Keys, and what they open.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;

fn key(byte: u8) -> String {
    BASE64.encode(std::array::from_fn::<u8, 32, _>(|n| byte.wrapping_add(u8::try_from(7 * n).unwrap())))
}

fn ring(keys: &str) -> Secrets {
    let config = SecretsConfig { key: Some(keys.to_owned().into()), ..SecretsConfig::default() };
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
    for bad in [
        "",
        "hunter2hunter2",
        "c2hvcnQ=",
        &format!("{},", key(1)),
        &BASE64.encode([0; 32]),
        &BASE64.encode(b"0123456789abcde0123456789abcde01"),
    ] {
        let config = SecretsConfig { key: Some(bad.to_owned().into()), ..SecretsConfig::default() };
        let error = Secrets::open(&config, folder.path()).unwrap_err();
        assert!(matches!(error, SecretsError::Malformed { .. } | SecretsError::Guessable { .. }));
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

#[test]
fn keys_come_from_a_named_file_or_a_command_too() {
    let folder = tempfile::tempdir().unwrap();
    let open = |config: SecretsConfig| Secrets::open(&config, folder.path());
    let by_command = |command: String| open(SecretsConfig { key_command: Some(command), ..SecretsConfig::default() });
    let path = folder.path().join("keys");
    let by_file = || open(SecretsConfig { key_file: Some(path.clone()), ..SecretsConfig::default() });
    assert!(matches!(by_file(), Err(SecretsError::KeyFile { .. })), "one that is named is not made");
    fs::write(&path, format!("{}\n\n{}\n", key(2), key(1))).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let sealed = ring(&key(1)).seal("p", b"hunter2");
    assert_eq!(by_file().unwrap().unseal("p", &sealed).unwrap().expose(), "hunter2");
    let secrets = by_command(format!("cat {}", path.display())).unwrap();
    assert_eq!(secrets.unseal("p", &sealed).unwrap().expose(), "hunter2");
    for (command, why) in [("exit 7", "exit status: 7"), ("echo", "holds no key"), ("echo hunter2", "holds no key")] {
        let error = by_command(command.to_owned()).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains(command), "{error}");
    }
    let both = SecretsConfig { key: Some(key(1).into()), key_file: Some(path.clone()), key_command: None };
    assert!(matches!(open(both), Err(SecretsError::SeveralSources)));
}

#[test]
fn data_keys_seal_and_a_master_key_is_changed_without_touching_what_they_sealed() {
    let old = ring(&key(1));
    let before = old.seal("p", b"by the master key");
    let (first, second) = (old.new_data_key(), old.new_data_key());
    assert_ne!(first.id, second.id);
    old.install(std::slice::from_ref(&first)).unwrap();
    let by_first = old.seal("p", b"hunter2");
    assert!(by_first.starts_with(&old.header()) && !before.starts_with(&old.header()));
    old.install(&[second.clone(), first.clone()]).unwrap();
    assert!(!by_first.starts_with(&old.header()));
    for (sealed, plain) in [(&before, "by the master key"), (&by_first, "hunter2")] {
        assert_eq!(old.unseal("p", sealed).unwrap().expose(), plain);
    }
    assert_eq!(old.rewrap(&first).unwrap(), None);

    let both = ring(&format!("{},{}", key(2), key(1)));
    let wrapped: Vec<_> = [&second, &first].map(|key| both.rewrap(key).unwrap().unwrap()).into();
    both.install(&wrapped).unwrap();
    let new = ring(&key(2));
    new.install(&wrapped).unwrap();
    assert_eq!(new.unseal("p", &by_first).unwrap().expose(), "hunter2");
    assert!(matches!(new.unseal("p", &before), Err(SecretsError::WrongKey)), "it has to be sealed again before");
    assert!(matches!(new.install(std::slice::from_ref(&first)), Err(SecretsError::WrongKey)));
    assert!(new.unseal("p", &by_first).is_ok(), "a failed change changes nothing");
    let swapped = WrappedKey { id: second.id, wrapped: wrapped[1].wrapped.clone() };
    assert!(matches!(new.install(&[swapped]), Err(SecretsError::Broken { .. })));
}
