//! Settings of the server: from flags, `AIRLOCK_*` variables and `airlock.toml`, in that order.
//!
//! [`SETTINGS`] is the one list: flags, variables, file keys, `config show` and the help are made from it.

mod list;

use std::{
    collections::{BTreeMap, HashMap},
    fmt, fs,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use clap::{Arg, ArgMatches, Command};
use http::{HeaderName, HeaderValue};
use reqwest::Url;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

pub use self::list::{OF_ONE_PROCESS, SETTINGS};
use super::{
    error::{CliError, Kind, OrFail, Result},
    tls::TlsFiles,
};
use crate::{
    api::config::ShownSetting,
    auth::OidcConfig,
    model::{
        cron::Cron,
        grants::GrantsPolicy,
        limits::{DagLimits, MAX_LIMIT},
        proxies::TrustedProxies,
        queue::Queues,
        recording::Recording,
        retention::{MAX_AUDIT_COUNT, MAX_COUNT, MAX_DAYS, Retention},
        sign_in::{ClaimedRoles, SignInRules},
        signers::Signers,
        traffic::{MAX_AT_A_TIME, TrafficCaps},
    },
    scheduler::RetentionConfig,
    store::Synchronous,
    vault::{CONNECTION_PREFIX, HashiCorpConfig, Login, VARIABLE_PREFIX},
};

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// The key in `airlock.toml`; a dot is a table. The flag and the variable are named after it.
    pub key: &'static str,
    /// What a value looks like, for help and for errors.
    pub accepts: &'static str,
    /// As text; none: what `help` says.
    pub default: Option<&'static str>,
    pub help: &'static str,
    /// Never printed, and no flag: a command line is public.
    pub secret: bool,
}

/// Variables that begin like settings and are something else.
const OTHER_VARIABLES: &[&str] = &["AIRLOCK_CONFIG", "AIRLOCK_URL", "AIRLOCK_TOKEN", "AIRLOCK_PASSWORD"];

impl Setting {
    /// As in `--database-synchronous`.
    pub fn flag(&self) -> String {
        self.key.replace(['.', '_'], "-")
    }

    /// As in `AIRLOCK_DATABASE_SYNCHRONOUS`.
    pub fn variable(&self) -> String {
        format!("AIRLOCK_{}", self.key.replace('.', "_").to_uppercase())
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Variable(String),
    File(PathBuf),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The flags of the settings, as clap reads them.
#[derive(Debug, Clone, Default)]
pub struct SettingArgs {
    config: Option<PathBuf>,
    flags: BTreeMap<&'static str, String>,
}

impl SettingArgs {
    /// Those of a command that works on a data directory.
    pub fn of_data_dir(config: Option<PathBuf>, data_dir: Option<String>) -> Self {
        Self { config, flags: data_dir.map(|data_dir| ("data_dir", data_dir)).into_iter().collect() }
    }
}

impl clap::Args for SettingArgs {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Settings file [env: AIRLOCK_CONFIG] [default: airlock.toml, if there is one]");
        SETTINGS.iter().filter(|setting| !setting.secret).fold(command.arg(config), |command, setting| {
            let default = setting.default.map_or(String::new(), |default| format!(" [default: {default}]"));
            command.arg(Arg::new(setting.key).long(setting.flag()).value_name(setting.accepts).help(format!(
                "{} [env: {}]{default}",
                setting.help,
                setting.variable()
            )))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for SettingArgs {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        self.config = matches.get_one("config").cloned();
        for setting in SETTINGS.iter().filter(|setting| !setting.secret) {
            if let Some(value) = matches.get_one::<String>(setting.key) {
                self.flags.insert(setting.key, value.clone());
            }
        }
        Ok(())
    }
}

/// Each setting's value, and where it came from.
#[derive(Debug)]
pub struct Settings {
    values: BTreeMap<&'static str, (String, Origin)>,
    /// Variables and connections in the environment.
    environment: Vec<(String, String)>,
}

impl Settings {
    /// Gathers `args`, this process's environment and the settings file.
    ///
    /// # Errors
    /// If the file can't be read, or something in it or in the environment is not a setting.
    pub fn load(args: &SettingArgs) -> Result<Self> {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let file = args.config.clone().or_else(|| std::env::var_os("AIRLOCK_CONFIG").map(PathBuf::from));
        let file = match file {
            Some(path) => Some(path),
            None => Some(PathBuf::from("airlock.toml")).filter(|path| path.exists()),
        };
        let file = match file {
            Some(path) => {
                let text = fs::read_to_string(&path)
                    .or_fail(Kind::Usage, || format!("can't read the settings file `{}`", path.display()))?;
                Some((path, text))
            }
            None => None,
        };
        Self::gather(&args.flags, &variables, file)
    }

    fn gather(
        flags: &BTreeMap<&'static str, String>,
        variables: &BTreeMap<String, String>,
        file: Option<(PathBuf, String)>,
    ) -> Result<Self> {
        let mut values: BTreeMap<_, _> = SETTINGS
            .iter()
            .filter_map(|setting| Some((setting.key, (setting.default?.to_owned(), Origin::Default))))
            .collect();
        if let Some((path, text)) = file {
            for (key, value) in read_file(&path, &text)? {
                values.insert(key, (value, Origin::File(path.clone())));
            }
        }
        for (name, value) in variables.iter().filter(|(name, _)| name.starts_with("AIRLOCK_")) {
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.variable() == *name) {
                values.insert(setting.key, (value.clone(), Origin::Variable(name.clone())));
            } else if !is_other_variable(name) {
                return Err(CliError::text(Kind::Usage, format!("the variable `{name}` is not a setting"))
                    .hint(format!("{}unset it, and `airlock config show` lists all", meant(name, Setting::variable))));
            }
        }
        for (key, value) in flags {
            values.insert(key, (value.clone(), Origin::Flag));
        }
        let ours = |name: &str| [VARIABLE_PREFIX, CONNECTION_PREFIX].iter().any(|prefix| name.starts_with(prefix));
        let environment = variables.iter().filter(|(name, _)| ours(name));
        Ok(Self { values, environment: environment.map(|(name, value)| (name.clone(), value.clone())).collect() })
    }

    /// Those of an environment alone.
    ///
    /// # Errors
    /// If something in it is not a setting.
    #[cfg(test)]
    pub fn of_variables(variables: &[(String, String)]) -> Result<Self> {
        Self::gather(&BTreeMap::new(), &variables.iter().cloned().collect(), None)
    }

    /// The value of `key`, which has no default, read as a `T`; none if it is not set. Blank it is refused: an empty secret is a
    /// mistake of whoever sets it, and no secret.
    ///
    /// # Errors
    /// If the text is not a `T`, or blank.
    pub fn get<T: FromStr>(&self, key: &str) -> Result<Option<T>> {
        let Some((text, origin)) = self.values.get(key) else { return Ok(None) };
        let value = Some(text).filter(|text| !text.trim().is_empty()).and_then(|text| text.parse().ok());
        value.map(Some).ok_or_else(|| Self::refuse(key, text, origin))
    }

    /// The value of `key`, which has a default, read as a `T` that `holds`.
    ///
    /// # Errors
    /// If the text is not such a `T`.
    pub fn require<T: FromStr>(&self, key: &str, holds: impl FnOnce(&T) -> bool) -> Result<T> {
        let (text, origin) = self.values.get(key).ok_or_else(|| {
            CliError::text(Kind::Usage, format!("the setting `{key}` has no value")).hint("see `airlock serve --help`")
        })?;
        text.parse().ok().filter(holds).ok_or_else(|| Self::refuse(key, text, origin))
    }

    fn refuse(key: &str, text: &str, origin: &Origin) -> CliError {
        let setting = SETTINGS.iter().find(|setting| setting.key == key);
        let is_secret = setting.is_some_and(|setting| setting.secret) && !text.trim().is_empty();
        let shown = if is_secret { "***" } else { text };
        let accepts = setting.map_or("", |setting| setting.accepts);
        CliError::text(Kind::Usage, format!("the setting `{key}` can't be `{shown}` (from {origin})"))
            .hint(format!("it takes {accepts}"))
    }

    /// Each setting with its value (secrets as `***`; none if it is not set) and origin.
    pub fn shown(&self) -> impl Iterator<Item = (&'static Setting, Option<(&str, &Origin)>)> {
        SETTINGS.iter().map(|setting| {
            let value = self.values.get(setting.key);
            let shown = value.map(|(text, origin)| (if setting.secret { "***" } else { text.as_str() }, origin));
            (setting, shown)
        })
    }
}

/// A whole number from the one to the other.
struct Within<const FIRST: u32, const LAST: u32>(u32);

impl<const FIRST: u32, const LAST: u32> FromStr for Within<FIRST, LAST> {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        text.parse().ok().filter(|number| (FIRST..=LAST).contains(number)).map(Self).ok_or(())
    }
}

/// Headers as `name=value,name=value`.
#[derive(Default)]
struct Headers(HashMap<String, String>);

impl FromStr for Headers {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').ok_or(())?;
            let name = HeaderName::from_str(name.trim()).map_err(drop)?;
            HeaderValue::from_str(value.trim()).map_err(drop)?;
            Ok((name.to_string(), value.trim().to_owned()))
        };
        text.split(',').map(pair).collect::<std::result::Result<_, ()>>().map(Self)
    }
}

/// Whether `name` is for clients or tests, is a variable or a connection, or was set by Kubernetes for a service called `airlock`.
fn is_other_variable(name: &str) -> bool {
    OTHER_VARIABLES.contains(&name)
        || ["AIRLOCK_TEST_", "AIRLOCK_PORT", "AIRLOCK_SERVICE_", VARIABLE_PREFIX, CONNECTION_PREFIX]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Asks whether the setting was meant that is nearest to `wrong`, if one is near; settings are shown by `name`.
fn meant(wrong: &str, name: impl Fn(&Setting) -> String) -> String {
    let plain = |name: &str| name.trim_start_matches("AIRLOCK_").to_lowercase().replace('.', "_");
    let wrong = plain(wrong);
    let distance = |setting: &&Setting| strsim::damerau_levenshtein(&wrong, &plain(setting.key));
    let nearest = SETTINGS.iter().min_by_key(distance).filter(|setting| distance(setting) * 3 <= wrong.len());
    nearest.map_or_else(String::new, |setting| format!("did you mean `{}`? Otherwise ", name(setting)))
}

fn read_file(path: &Path, text: &str) -> Result<Vec<(&'static str, String)>> {
    let table: toml::Table =
        text.parse().or_fail(Kind::Usage, || format!("can't read the settings file `{}`", path.display()))?;
    let mut flat = Vec::new();
    flatten("", &table, &mut flat);
    flat.into_iter()
        .map(|(key, value)| {
            let fail = |why: &str| CliError::text(Kind::Usage, format!("`{key}` in `{}` {why}", path.display()));
            let setting = SETTINGS.iter().find(|setting| setting.key == key).ok_or_else(|| {
                let meant = meant(&key, |setting| setting.key.to_owned());
                fail("is not a setting").hint(format!("{meant}take it out, and `airlock config show` lists all"))
            })?;
            let text = match value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Integer(_) | toml::Value::Boolean(_) => value.to_string(),
                _ => {
                    let takes = format!("it takes {}", setting.accepts);
                    return Err(fail("must be text, a whole number, true or false").hint(takes));
                }
            };
            Ok((setting.key, text))
        })
        .collect()
}

fn flatten<'a>(prefix: &str, table: &'a toml::Table, flat: &mut Vec<(String, &'a toml::Value)>) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, flat),
            value => flat.push((key, value)),
        }
    }
}

/// The Vault that `settings` name, if they do.
fn hashicorp(settings: &Settings) -> Result<Option<HashiCorpConfig>> {
    let Some(url) = settings.get::<Url>("secrets.vault_url")? else { return Ok(None) };
    let login = match (settings.get::<String>("secrets.vault_token")?, settings.get("secrets.vault_role")?) {
        (Some(token), None) => Login::Token(token.into()),
        (None, Some(role)) => {
            Login::Kubernetes { role, token_file: settings.require("secrets.vault_jwt_file", |_| true)? }
        }
        _ => {
            let text = "`secrets.vault_url` needs one of `secrets.vault_token` and `secrets.vault_role`";
            return Err(CliError::text(Kind::Usage, text.to_owned()).hint("set AIRLOCK_SECRETS_VAULT_TOKEN"));
        }
    };
    Ok(Some(HashiCorpConfig {
        url,
        mount: settings.require("secrets.vault_mount", |mount: &String| !mount.is_empty())?,
        path: settings.require("secrets.vault_path", |_| true)?,
        namespace: settings.get("secrets.vault_namespace")?,
        login,
    }))
}

/// The provider that `settings` name, if they do.
fn oidc(settings: &Settings) -> Result<Option<OidcConfig>> {
    let wrong = |text: &'static str, hint: &'static str| Err(CliError::text(Kind::Usage, text).hint(hint));
    let roles_claim: Option<String> = settings.get("oidc.roles_claim")?;
    let roles: ClaimedRoles = settings.get("oidc.roles")?.unwrap_or_default();
    let default_role = settings.get("oidc.default_role")?;
    let (issuer, client_id) = match (settings.get("oidc.issuer")?, settings.get("oidc.client_id")?) {
        (Some(issuer), Some(client_id)) => (issuer, client_id),
        (None, None) => return Ok(None),
        (Some(_), None) => {
            return wrong(
                "`oidc.issuer` is set and `oidc.client_id` is not",
                "register Airlock at the provider, and name the id",
            );
        }
        (None, Some(_)) => return wrong("`oidc.client_id` is set and `oidc.issuer` is not", "name the provider's URL"),
    };
    if roles_claim.is_some() == roles.is_empty() {
        return wrong(
            "of `oidc.roles_claim` and `oidc.roles` one is set",
            "set both, as `groups` and `airlock-admins=admin`, or none",
        );
    }
    if roles_claim.is_none() && default_role.is_none() {
        return wrong(
            "nobody who signs in by `oidc.issuer` would have a role",
            "set `oidc.roles_claim` and `oidc.roles`, or `oidc.default_role`",
        );
    }
    let scopes: String = settings.require("oidc.scopes", |_| true)?;
    Ok(Some(OidcConfig {
        issuer,
        client_id,
        client_secret: settings.get::<String>("oidc.client_secret")?.map(Into::into),
        scopes: scopes.split_whitespace().filter(|scope| *scope != "openid").map(str::to_owned).collect(),
        redirect_url: settings.get("oidc.redirect_url")?,
        button: settings.require("oidc.button", |text: &String| !text.trim().is_empty())?,
        rules: SignInRules { username_claim: settings.get("oidc.username_claim")?, roles_claim, roles, default_role },
    }))
}

fn traffic(settings: &Settings) -> Result<TrafficCaps> {
    const MAX_BYTES: u64 = 1 << 50;
    let number = |key, most: u64| settings.require(key, |number| (1..=most).contains(number));
    Ok(TrafficCaps {
        at_a_time: settings.require("egress.max_at_a_time", |number| (1..=MAX_AT_A_TIME).contains(number))?,
        requests: number("egress.max_requests", 1_000_000_000)?,
        sent_bytes: number("egress.max_sent_bytes", MAX_BYTES)?,
        received_bytes: number("egress.max_received_bytes", MAX_BYTES)?,
        time: Duration::from_secs(number("egress.max_seconds", 31_536_000)?),
    })
}

fn dag_limits(settings: &Settings) -> Result<DagLimits> {
    let limit = |key| settings.require(key, |limit: &u32| *limit <= MAX_LIMIT).map(Some);
    Ok(DagLimits {
        memory_mib: limit("limits.memory_mib")?,
        cpu_seconds_per_day: limit("limits.cpu_seconds_per_day")?,
        log_mib_per_day: limit("limits.log_mib_per_day")?,
        data_mib_per_day: limit("limits.data_mib_per_day")?,
        network_mib_per_day: limit("limits.network_mib_per_day")?,
        host_calls_per_day: limit("limits.host_calls_per_day")?,
    })
}

/// How the server logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

/// The settings as `airlock serve` takes them.
pub struct ServeConfig {
    /// All settings as they are shown.
    pub shown: Arc<[ShownSetting]>,
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub tls: Option<TlsFiles>,
    pub trusted_proxies: TrustedProxies,
    pub signers: Signers,
    pub parallelism: u32,
    pub synchronous: Synchronous,
    pub database_url: Option<String>,
    pub cluster_url: Option<String>,
    pub workers_local: bool,
    /// None: that of tasks that name none; of a server that takes no workers all.
    pub workers_queues: Option<Queues>,
    pub workers_attempts: Option<NonZeroU32>,
    /// None: most of what there is.
    pub workers_memory_mib: Option<u32>,
    pub workers_token: Option<String>,
    pub workers_url: Option<String>,
    pub workers_name: Option<String>,
    /// A file.
    pub kubernetes_fleets: Option<PathBuf>,
    pub storage_url: Option<String>,
    pub secret_key: Option<String>,
    pub secret_key_file: Option<PathBuf>,
    pub secret_key_command: Option<String>,
    /// `AIRLOCK_VAR_*` and `AIRLOCK_CONN_*`.
    pub environment: Vec<(String, String)>,
    pub secrets_files: Option<PathBuf>,
    pub hashicorp: Option<HashiCorpConfig>,
    pub admin_password: Option<String>,
    pub oidc: Option<OidcConfig>,
    pub grants_policy: GrantsPolicy,
    pub egress_allow_private: bool,
    pub traffic: TrafficCaps,
    pub dag_limits: DagLimits,
    pub sqlite_folder: Option<PathBuf>,
    pub record: Recording,
    pub max_recording_bytes: u64,
    pub traces_url: Option<String>,
    pub traces_headers: HashMap<String, String>,
    pub retention: RetentionConfig,
    pub backup: Option<BackupConfig>,
    pub log_level: String,
    pub log_format: LogFormat,
}

impl ServeConfig {
    /// The queues whose task instances the server runs itself.
    pub fn local_queues(&self) -> Queues {
        let all = || if self.workers_token.is_none() { Queues::All } else { Queues::default() };
        self.workers_queues.clone().unwrap_or_else(all)
    }

    /// The settings of a server that lives as long as one run, in `folder`. Nobody's settings matter to it.
    ///
    /// # Errors
    /// If a default is not what its setting takes.
    pub fn of_trial(folder: &Path, egress_allow_private: bool) -> Result<Self> {
        let settings = Settings::gather(&BTreeMap::new(), &BTreeMap::new(), None)?;
        Ok(Self {
            data_dir: folder.to_owned(),
            synchronous: Synchronous::Normal,
            egress_allow_private,
            log_level: "warn".into(),
            ..Self::from_settings(&settings)?
        })
    }

    /// # Errors
    /// If a value is not what its setting takes.
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        let shown = settings
            .shown()
            .map(|(setting, value)| ShownSetting { key: setting.key, value: value.map(|(text, _)| text.to_owned()) });
        Ok(Self {
            shown: shown.collect(),
            data_dir: settings.require("data_dir", |path: &PathBuf| !path.as_os_str().is_empty())?,
            listen: settings.require("listen", |_| true)?,
            tls: tls(settings)?,
            trusted_proxies: settings.get("server.trusted_proxies")?.unwrap_or_default(),
            signers: settings.get("components.signers")?.unwrap_or_default(),
            parallelism: settings.require("parallelism", |count| (1..=100_000).contains(count))?,
            synchronous: match settings
                .require("database.synchronous", |text: &String| text == "full" || text == "normal")?
            {
                text if text == "full" => Synchronous::Full,
                _ => Synchronous::Normal,
            },
            database_url: settings.get("database.url")?,
            cluster_url: settings.get("cluster.url")?,
            workers_local: settings.require("workers.local", |_| true)?,
            workers_queues: settings.get("workers.queues")?,
            workers_attempts: settings.get("workers.attempts")?,
            workers_memory_mib: settings.get::<Within<1, { 1 << 24 }>>("workers.memory_mib")?.map(|mib| mib.0),
            workers_token: settings.get("workers.token")?,
            workers_url: settings.get("workers.url")?,
            workers_name: settings.get("workers.name")?,
            kubernetes_fleets: settings.get("kubernetes.fleets")?,
            storage_url: settings.get("storage.url")?,
            secret_key: settings.get("secret_key")?,
            secret_key_file: settings.get("secret_key_file")?,
            secret_key_command: settings.get("secret_key_command")?,
            environment: settings.environment.clone(),
            secrets_files: settings.get("secrets.files")?,
            hashicorp: hashicorp(settings)?,
            admin_password: settings.get("admin_password")?,
            oidc: oidc(settings)?,
            grants_policy: settings.require("grants.policy", |_| true)?,
            egress_allow_private: settings.require("egress.allow_private", |_| true)?,
            traffic: traffic(settings)?,
            dag_limits: dag_limits(settings)?,
            sqlite_folder: settings.get("sql.sqlite_folder")?,
            record: settings.require("recording.default", |_| true)?,
            max_recording_bytes: settings
                .require("recording.max_bytes", |bytes| (1 << 10..=1 << 30).contains(bytes))?,
            traces_url: settings.get("traces.url")?,
            traces_headers: settings.get::<Headers>("traces.headers")?.unwrap_or_default().0,
            retention: retention(settings)?,
            backup: backup(settings)?,
            log_level: settings.require("log.level", |filter: &String| is_log_filter(filter))?,
            log_format: settings.require("log.format", |_| true)?,
        })
    }
}

/// Whether `filter` says what is logged. A word that is no level would be the name of a module, and silence all others; nothing is
/// read as `error`.
fn is_log_filter(filter: &str) -> bool {
    let is_word = |part: &&str| part.chars().all(char::is_alphanumeric);
    !filter.trim().is_empty()
        && filter.parse::<EnvFilter>().is_ok()
        && filter.split(',').map(str::trim).filter(is_word).all(|word| word.parse::<LevelFilter>().is_ok())
}

fn tls(settings: &Settings) -> Result<Option<TlsFiles>> {
    match (settings.get("tls.cert")?, settings.get("tls.key")?) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(CliError::text(Kind::Usage, "`tls.cert` is set and `tls.key` is not")
            .hint("name the file of the certificate's key")),
        (None, Some(_)) => Err(CliError::text(Kind::Usage, "`tls.key` is set and `tls.cert` is not")
            .hint("name the file of the certificate")),
    }
}

/// Backups that the server makes by itself.
pub struct BackupConfig {
    /// A folder or a url.
    pub url: String,
    pub schedule: Cron,
    /// None: all stay.
    pub keep: Option<NonZeroU32>,
}

fn backup(settings: &Settings) -> Result<Option<BackupConfig>> {
    let schedule: Option<String> = settings.get("backup.schedule")?;
    let keep = NonZeroU32::new(settings.require("backup.keep", |count: &u32| *count <= 100_000)?);
    match (settings.get("backup.url")?, schedule) {
        (Some(url), Some(text)) => {
            let schedule = Cron::new(&text, chrono_tz::UTC)
                .or_fail(Kind::Usage, || format!("the setting `backup.schedule` can't be `{text}`"))?;
            Ok(Some(BackupConfig { url, schedule, keep }))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(CliError::text(Kind::Usage, "`backup.url` is set and `backup.schedule` is not")
            .hint("say when, as `15 3 * * *`")),
        (None, Some(_)) => Err(CliError::text(Kind::Usage, "`backup.schedule` is set and `backup.url` is not")
            .hint("name a folder or a url")),
    }
}

fn retention(settings: &Settings) -> Result<RetentionConfig> {
    // 0: for ever.
    let up_to =
        |key, most| -> Result<_> { Ok(NonZeroU32::new(settings.require(key, |number: &u32| *number <= most)?)) };
    let days = |key| up_to(key, MAX_DAYS);
    Ok(RetentionConfig {
        dags: Retention {
            runs_days: days("retention.runs_days")?,
            runs_count: up_to("retention.runs_count", MAX_COUNT)?,
            logs_days: days("retention.logs_days")?,
            data_days: days("retention.data_days")?,
        },
        versions_days: days("retention.versions_days")?,
        versions_count: up_to("retention.versions_count", MAX_COUNT)?,
        asset_events_days: days("retention.asset_events_days")?,
        audit_days: days("retention.audit_days")?,
        audit_count: up_to("retention.audit_count", MAX_AUDIT_COUNT)?,
    })
}

#[cfg(test)]
mod tests;
