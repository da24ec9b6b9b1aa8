//! What `docs/deploy` says, held against the binary: names and values of settings, flags, ports, paths, and Kubernetes' own types.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::Parser as _;
use k8s_openapi::api::{
    apps::v1 as apps, batch::v1 as batch, core::v1 as core, policy::v1 as policy, rbac::v1 as rbac,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Cli,
    settings::{SETTINGS, ServeConfig, Settings},
};
use crate::{auth::routes, model::pods::settings::Fleets};

/// What a container may have besides settings.
const OTHERS: &[&str] = &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "POD_IP"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/deploy")
}

fn read(path: &str) -> String {
    fs::read_to_string(folder().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents of a file.
fn yaml(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All manifests for `kubectl apply -k` and `-f`, each with its file.
fn manifests() -> Vec<(&'static str, Value)> {
    let files = [
        "kubernetes/server.yaml",
        "kubernetes/worker.yaml",
        "kubernetes/scaled.yaml",
        "kubernetes-fleets/rights.yaml",
        "kubernetes-fleets/server.yaml",
    ];
    files.into_iter().flat_map(|file| yaml(file).into_iter().map(move |document| (file, document))).collect()
}

/// The Containerfile's `ENV`, `USER` and `EXPOSE`.
fn image() -> (Vec<(String, String)>, String, String) {
    let text = read("Containerfile");
    let word = |name: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        lines.map(|rest| rest.trim().to_owned()).next_back().unwrap_or_default()
    };
    let set = word("ENV ");
    let variables = set.split_whitespace().map(|pair| {
        let (name, value) = pair.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    });
    (variables.collect(), word("USER "), word("EXPOSE "))
}

/// The settings that `variables` make, which must be some.
fn settings(place: &str, variables: &[(String, String)]) -> ServeConfig {
    let is_known = |name: &str| OTHERS.contains(&name) || SETTINGS.iter().any(|setting| setting.variable() == name);
    let unknown: Vec<_> = variables.iter().filter(|(name, _)| !is_known(name)).collect();
    assert!(unknown.is_empty(), "{place}: {unknown:?} are no settings");
    let settings = Settings::of_variables(variables).unwrap_or_else(|error| panic!("{place}: {error}"));
    ServeConfig::from_settings(&settings).unwrap_or_else(|error| panic!("{place}: {error}"))
}

/// The value of a variable, where it is a secret one that will do.
fn value_of(name: &str, given: Option<&Value>) -> String {
    let text = given.and_then(Value::as_str).unwrap_or(match name {
        "AIRLOCK_SECRET_KEY" => "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        _ => "http://secret",
    });
    // As a shell, or Kubernetes, puts a value in place.
    text.replace("$(POD_IP)", "10.0.0.5").split("${").enumerate().fold(String::new(), |all, (at, part)| {
        if at == 0 { all + part } else { all + "secret" + part.split_once('}').map_or(part, |(_, rest)| rest) }
    })
}

fn parses(place: &str, args: &[&str]) {
    let line = ["airlock"].iter().chain(args);
    if let Err(error) = Cli::try_parse_from(line) {
        panic!("{place}: {error}");
    }
}

/// Checks that a document is a `T` and nothing more: what is no field of it is lost on the way through.
fn is_a<T: DeserializeOwned + Serialize>(place: &str, document: &Value) {
    fn fields(path: &str, value: &Value, all: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(name, value)| fields(&format!("{path}.{name}"), value, all)),
            Value::Array(items) => items.iter().for_each(|item| fields(&format!("{path}[]"), item, all)),
            Value::Null => {}
            _ => drop(all.insert(path.to_owned())),
        }
    }
    let read: T = serde_json::from_value(document.clone()).unwrap_or_else(|error| panic!("{place}: {error}"));
    let (mut given, mut kept) = (BTreeSet::new(), BTreeSet::new());
    fields("", document, &mut given);
    fields("", &serde_json::to_value(read).unwrap(), &mut kept);
    let lost: Vec<_> = given.difference(&kept).collect();
    assert!(lost.is_empty(), "{place}: {lost:?} are no fields of it");
}

/// The template of the pods of a document, if it has one.
fn pods(document: &Value) -> Option<&Value> {
    let template = match document["kind"].as_str()? {
        "Deployment" => &document["spec"]["template"],
        "ScaledJob" => &document["spec"]["jobTargetRef"]["template"],
        _ => return None,
    };
    Some(template)
}

#[test]
fn manifests_are_what_kubernetes_knows() {
    for (file, document) in manifests() {
        let kind = document["kind"].as_str().unwrap_or_default();
        let place = format!("{file}: {kind} {}", document["metadata"]["name"]);
        match kind {
            // A patch: it has no selector, which a whole one has to have.
            "Deployment" if file == "kubernetes-fleets/server.yaml" => {
                is_a::<core::PodTemplateSpec>(&place, &document["spec"]["template"]);
            }
            "Deployment" => is_a::<apps::Deployment>(&place, &document),
            "Service" => is_a::<core::Service>(&place, &document),
            "PodDisruptionBudget" => is_a::<policy::PodDisruptionBudget>(&place, &document),
            "ServiceAccount" => is_a::<core::ServiceAccount>(&place, &document),
            "Role" => is_a::<rbac::Role>(&place, &document),
            "RoleBinding" => is_a::<rbac::RoleBinding>(&place, &document),
            "ScaledJob" => is_a::<batch::JobSpec>(&place, &document["spec"]["jobTargetRef"]),
            // KEDA's own.
            "ScaledObject" | "TriggerAuthentication" => {}
            other => panic!("{place}: nobody checks a `{other}`"),
        }
    }
}

#[test]
fn containers_run_as_the_binary_and_its_image_are_made() {
    let (of_image, user, port) = image();
    settings("Containerfile", &of_image);
    let data = of_image.iter().find(|(name, _)| name == "AIRLOCK_DATA_DIR").map(|(_, path)| path.clone()).unwrap();
    for (file, document) in manifests() {
        let Some(template) = pods(&document) else { continue };
        for container in template["spec"]["containers"].as_array().unwrap() {
            let place = format!("{file}: {}", container["name"]);
            let args: Vec<_> = container["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let variables: Vec<_> = container["env"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|variable| {
                    let name = variable["name"].as_str().unwrap();
                    (name.to_owned(), value_of(name, variable.get("value")))
                })
                .collect();
            let config = settings(&place, &[of_image.clone(), variables].concat());
            // Not of a patch.
            if args.is_empty() {
                continue;
            }
            parses(&place, &args);
            let security = &template["spec"]["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{place}");
            assert_eq!(security["runAsUser"].to_string(), user, "{place}");
            assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false, "{place}");
            if args.contains(&"--worker") {
                let url = config.workers_url.unwrap();
                assert_eq!(url, "http://airlock", "{place}: the Service");
                assert!(template["spec"]["terminationGracePeriodSeconds"].as_u64() > Some(60), "{place}: it drains");
                continue;
            }
            // Where it writes is a volume of its own, which its group may write.
            let mounts = container["volumeMounts"].as_array().unwrap();
            assert!(mounts.iter().any(|mount| data.starts_with(mount["mountPath"].as_str().unwrap())), "{place}");
            assert_eq!(security["fsGroup"].to_string(), user, "{place}");
            assert_eq!(config.listen.port().to_string(), port, "{place}");
            assert_eq!(container["ports"][0]["containerPort"].to_string(), port, "{place}");
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                let asks = &container[probe]["httpGet"];
                assert_eq!(asks["port"], container["ports"][0]["name"], "{place}: {probe}");
                let path = asks["path"].as_str().unwrap();
                let is_open = routes::access("GET", path) == Some(routes::Access::Public);
                assert!(is_open, "{place}: {probe} asks for {path}");
            }
        }
    }
}

#[test]
fn what_manifests_name_is_there() {
    let all = manifests();
    let of_kind = |kind: &'static str| {
        all.iter().filter(move |(_, document)| document["kind"] == kind).map(|(_, document)| document)
    };
    let labels: Vec<_> = of_kind("Deployment").map(|one| &one["spec"]["template"]["metadata"]["labels"]).collect();
    for selector in of_kind("Service")
        .map(|one| &one["spec"]["selector"])
        .chain(of_kind("PodDisruptionBudget").map(|one| &one["spec"]["selector"]["matchLabels"]))
    {
        assert!(labels.contains(&selector), "{selector} selects nothing");
    }
    for deployment in of_kind("Deployment").filter(|one| !one["spec"]["selector"].is_null()) {
        assert_eq!(deployment["spec"]["selector"]["matchLabels"], deployment["spec"]["template"]["metadata"]["labels"]);
    }
    for scaled in of_kind("ScaledObject") {
        let target = &scaled["spec"]["scaleTargetRef"]["name"];
        let found = of_kind("Deployment").find(|one| one["metadata"]["name"] == *target);
        let env = &found.unwrap_or_else(|| panic!("there is no Deployment {target}"))["spec"]["template"]["spec"]["containers"]
            [0]["env"];
        let slots = env.as_array().unwrap().iter().find(|one| one["name"] == "AIRLOCK_PARALLELISM").unwrap();
        assert_eq!(slots["value"], scaled["spec"]["triggers"][0]["metadata"]["targetValue"], "slots of a worker");
    }
    // What KEDA asks for.
    let asked = of_kind("ScaledObject").chain(of_kind("ScaledJob")).map(|one| &one["spec"]["triggers"][0]["metadata"]);
    for metadata in asked {
        let field = metadata["valueLocation"].as_str().unwrap();
        let load = serde_json::to_value(crate::scheduler::Workload::default()).unwrap();
        assert!(load[field].is_u64(), "{field} is not in {load}");
        assert!(metadata["url"].as_str().unwrap().starts_with("http://airlock/api/v2/workers?queue="), "{metadata}");
    }
    // The Secret that the docs make has each key that is asked for.
    let docs = fs::read_to_string(folder().join("../scale-out.md")).unwrap();
    for text in all.iter().map(|(_, document)| document.to_string()) {
        for key in text
            .split("\"secretKeyRef\":{")
            .skip(1)
            .filter_map(|rest| rest.split("\"key\":\"").nth(1)?.split('"').next())
        {
            assert!(docs.contains(&format!("--from-literal={key}=")), "docs/scale-out.md makes no `{key}`");
        }
    }
    for name in ["kubernetes", "kubernetes-fleets"] {
        let kustomization = &yaml(&format!("{name}/kustomization.yaml"))[0];
        let of = |field: &str| kustomization[field].as_array().cloned().unwrap_or_default();
        let files = of("configMapGenerator").into_iter().flat_map(|one| one["files"].as_array().cloned().unwrap());
        let patches = of("patches").into_iter().filter_map(|patch| patch.get("path").cloned());
        for file in of("resources").into_iter().chain(files).chain(patches) {
            assert!(folder().join(name).join(file.as_str().unwrap()).exists(), "{name}: there is no {file}");
        }
    }
    let fleets = Fleets::parse(&read("kubernetes-fleets/fleets.yaml")).unwrap();
    assert_eq!(fleets.fleets.len(), 2);
}

#[test]
fn the_compose_file_starts_what_it_names() {
    let compose = &yaml("compose.yaml")[0];
    let (of_image, _, port) = image();
    let services = compose["services"].as_object().unwrap();
    let aliases: Vec<_> = services
        .values()
        .filter_map(|service| service["networks"]["default"]["aliases"].as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, service) in services {
        let needs = &service["depends_on"];
        let needs: Vec<_> = match needs {
            Value::Object(map) => map.keys().cloned().collect(),
            other => other.as_array().into_iter().flatten().map(|one| one.as_str().unwrap().to_owned()).collect(),
        };
        assert!(needs.iter().all(|need| services.contains_key(need)), "{name} needs {needs:?}");
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let volume = volume.as_str().unwrap().split(':').next().unwrap();
            assert!(compose["volumes"].as_object().unwrap().contains_key(volume), "{name}: volume {volume}");
        }
        if service["image"] != "airlock" {
            continue;
        }
        assert!(folder().join("../..").join(service["build"]["dockerfile"].as_str().unwrap()).is_file());
        let variables: Vec<_> = service["environment"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(variable, value)| {
                (variable.clone(), value_of(variable, Some(value).filter(|_| variable != "AIRLOCK_SECRET_KEY")))
            })
            .collect();
        let config = settings(name, &[of_image.clone(), variables].concat());
        let command: Vec<_> = service["command"].as_str().unwrap_or("serve").split(' ').collect();
        parses(name, &command);
        let url = if command.contains(&"--worker") { config.workers_url } else { config.cluster_url };
        let host = reqwest::Url::parse(&url.unwrap()).unwrap();
        assert_eq!(host.port().map(|port| port.to_string()), Some(port.clone()), "{name}");
        let is_there = |host: &str| services.contains_key(host) || aliases.contains(&host);
        assert!(is_there(host.host_str().unwrap()), "{name}: {host}");
        for published in service["ports"].as_array().into_iter().flatten() {
            assert!(published.as_str().unwrap().ends_with(&format!(":{port}")), "{name}: {published}");
        }
    }
}

#[test]
fn the_unit_of_systemd_and_the_container_file_start_the_binary() {
    let unit = read("airlock.service");
    let of = |name: &str| {
        let found = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.map(str::to_owned).collect::<Vec<_>>()
    };
    let start = &of("ExecStart")[0];
    let (binary, args) = start.split_once(' ').unwrap();
    assert!(binary.starts_with('/') && binary.ends_with("/airlock"), "{binary}");
    parses("airlock.service", &args.split(' ').collect::<Vec<_>>());
    let variables: Vec<_> = of("Environment")
        .iter()
        .flat_map(|line| line.split(' '))
        .map(|pair| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap())
        .collect();
    let config = settings("airlock.service", &variables);
    assert_eq!(config.data_dir, Path::new("/var/lib").join(&of("StateDirectory")[0]));
    // By default five starts within ten seconds are the last.
    assert_eq!((of("Restart"), of("StartLimitIntervalSec")), (vec!["always".into()], vec!["0".into()]));
    // The children end with their work, and not with the signal that asks their parent to drain.
    assert_eq!(of("KillMode"), ["mixed"]);
    // Without it runners go on without a filter of their own: see `sandbox::confine`.
    assert!(of("SystemCallFilter")[0].split(' ').any(|call| call == "seccomp"), "{unit}");

    let file = read("Containerfile");
    let version = file.split("rust:").nth(1).unwrap().split('-').next().unwrap();
    assert!(version >= env!("CARGO_PKG_RUST_VERSION"), "rust {version} is too old");
    let entry: Vec<String> =
        serde_json::from_str(file.split("ENTRYPOINT ").nth(1).unwrap().lines().next().unwrap()).unwrap();
    assert_eq!(entry, ["airlock"]);
    let command: Vec<String> =
        serde_json::from_str(file.split("CMD ").nth(1).unwrap().lines().next().unwrap()).unwrap();
    parses("Containerfile", &command.iter().map(String::as_str).collect::<Vec<_>>());
}
