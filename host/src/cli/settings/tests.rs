//! Settings.

use super::*;

fn gather(flags: &[(&'static str, &str)], variables: &[(&str, &str)], file: &str) -> Result<Settings> {
    let flags = flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    let variables = variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Settings::gather(&flags, &variables, Some(("airlock.toml".into(), file.to_owned())))
}

fn shown(settings: &Settings, key: &str) -> (String, String) {
    let (_, value) = settings.shown().find(|(setting, _)| setting.key == key).unwrap();
    let (text, origin) = value.unwrap();
    (text.to_owned(), origin.to_string())
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let file = "parallelism = 1\nlisten = \"127.0.0.1:1\"\n[log]\nlevel = \"warn\"\n";
    let variables = [("AIRLOCK_PARALLELISM", "2"), ("AIRLOCK_LISTEN", "127.0.0.1:2"), ("HOME", "/")];
    let settings = gather(&[("parallelism", "3")], &variables, file).unwrap();
    assert_eq!(shown(&settings, "parallelism"), ("3".into(), "flag".into()));
    assert_eq!(shown(&settings, "listen"), ("127.0.0.1:2".into(), "AIRLOCK_LISTEN".into()));
    assert_eq!(shown(&settings, "log.level"), ("warn".into(), "airlock.toml".into()));
    assert_eq!(shown(&settings, "database.synchronous"), ("full".into(), "default".into()));
    let config = ServeConfig::from_settings(&settings).unwrap();
    assert_eq!((config.parallelism, config.synchronous), (3, Synchronous::Full));
}

#[test]
fn an_address_of_ipv6_has_brackets() {
    let flags = [("listen", "[::1]:8080"), ("server.trusted_proxies", "[::1],[fd00::]/8")];
    let config = ServeConfig::from_settings(&gather(&flags, &[], "").unwrap()).unwrap();
    assert_eq!(config.listen, "[::1]:8080".parse::<SocketAddr>().unwrap());
    assert!(config.trusted_proxies.trusts("fd00::7".parse().unwrap()));
}

#[test]
fn unknown_keys_are_errors_that_name_the_key() {
    for (variables, file, named) in [
        (vec![], "[database]\nsyncronous = \"full\"\n", "`database.syncronous`"),
        (vec![], "listen = [1]\n", "`listen`"),
        (vec![("AIRLOCK_LISTN", "x")], "", "`AIRLOCK_LISTN`"),
    ] {
        let error = gather(&[], &variables, file).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().contains(named), "{error}");
    }
    for (wrong, hint) in [
        ("AIRLOCK_LISTN", "did you mean `AIRLOCK_LISTEN`? Otherwise "),
        ("AIRLOCK_RETENTION_RUN_DAYS", "did you mean `AIRLOCK_RETENTION_RUNS_DAYS`? Otherwise "),
        ("AIRLOCK__CORE__DAGS_FOLDER", ""),
    ] {
        assert_eq!(meant(wrong, Setting::variable), hint);
    }
    assert_eq!(meant("database_url", |setting| setting.key.to_owned()), "did you mean `database.url`? Otherwise ");
    gather(&[], &[("AIRLOCK_URL", "x"), ("AIRLOCK_PORT_8080_TCP", "x"), ("AIRLOCK_SERVICE_HOST", "x")], "").unwrap();
}

#[test]
fn values_out_of_range_name_the_setting_and_what_it_takes() {
    for (key, value) in [
        ("parallelism", "0"),
        ("parallelism", "-1"),
        ("listen", "nowhere"),
        ("workers.memory_mib", "0"),
        ("workers.memory_mib", "16777217"),
        ("database.synchronous", "off"),
        ("egress.allow_private", "yes"),
        ("egress.max_at_a_time", "65"),
        ("egress.max_requests", "0"),
        ("egress.max_seconds", "31536001"),
        ("limits.memory_mib", "-1"),
        ("limits.cpu_seconds_per_day", "1000000001"),
        ("oidc.roles", "ops=root"),
        ("oidc.default_role", "root"),
        ("recording.default", "on"),
        ("recording.max_bytes", "1"),
        ("retention.runs_days", "-1"),
        ("retention.runs_count", "100001"),
        ("retention.versions_count", "100001"),
        ("retention.audit_count", "100000001"),
        ("log.level", "x=y=z"),
        ("log.level", "warning"),
        ("log.level", "info,verbose"),
    ] {
        let settings = gather(&[(key, value)], &[], "").unwrap();
        let error = ServeConfig::from_settings(&settings).err().expect(key).to_string();
        assert!(error.contains(key) && error.contains(value), "{error}");
    }
}

#[test]
fn what_is_set_to_nothing_is_refused() {
    for key in ["workers.token", "secret_key", "database.url", "components.signers", "sql.sqlite_folder", "log.level"] {
        for blank in ["", " "] {
            let settings = gather(&[(key, blank)], &[], "").unwrap();
            let error = ServeConfig::from_settings(&settings).err().expect(key);
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains(&format!("`{key}` can't be `{blank}`")), "{error}");
        }
    }
}

#[test]
fn a_provider_without_what_it_needs_is_told() {
    let issuer = [("oidc.issuer", "https://login.example.org"), ("oidc.client_id", "airlock")];
    let read = |more: &[(&'static str, &str)]| {
        ServeConfig::from_settings(&gather(&[issuer.as_slice(), more].concat(), &[], "").unwrap())
    };
    assert!(read(&[("oidc.default_role", "viewer")]).unwrap().oidc.is_some());
    let config = read(&[("oidc.roles_claim", "groups"), ("oidc.roles", "a=admin"), ("oidc.scopes", "openid  groups")]);
    assert_eq!(config.unwrap().oidc.unwrap().scopes, ["groups"]);
    for (more, named) in [
        (&[][..], "would have a role"),
        (&[("oidc.roles_claim", "groups")], "`oidc.roles`"),
        (&[("oidc.roles", "a=admin")], "`oidc.roles_claim`"),
    ] {
        let error = read(more).err().unwrap().to_string();
        assert!(error.contains(named), "{error}");
    }
    for one in issuer {
        let error = ServeConfig::from_settings(&gather(&[one], &[], "").unwrap()).err().unwrap().to_string();
        assert!(error.contains("is set and"), "{error}");
    }
}

#[test]
fn secrets_are_not_shown_and_have_no_flag() {
    let settings = gather(&[], &[("AIRLOCK_ADMIN_PASSWORD", "hunter22")], "").unwrap();
    assert_eq!(shown(&settings, "admin_password"), ("***".into(), "AIRLOCK_ADMIN_PASSWORD".into()));
    let help = <SettingArgs as clap::Args>::augment_args(Command::new("serve")).render_long_help().to_string();
    assert!(help.contains("--database-synchronous") && !help.contains("--admin-password"));
}

#[test]
fn what_each_process_has_for_itself_are_settings() {
    for key in OF_ONE_PROCESS {
        assert!(SETTINGS.iter().any(|setting| setting.key == *key), "`{key}`");
    }
}
