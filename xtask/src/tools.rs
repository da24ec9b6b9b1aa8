//! What a build or a test needs beyond Rust: installed where that may be done, named where it may not.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::shell::{cargo, read, root, run, target_dir};

/// The target that tasks are built for.
pub const WASM_TARGET: &str = "wasm32-wasip2";

/// Adds the wasm target to the tool chain, if it is not there.
pub fn wasm_target() -> Result<()> {
    let rustc = || Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let folder = read(rustc().current_dir(root()).args(["--print", "target-libdir", "--target", WASM_TARGET]))?;
    if Path::new(folder.trim()).is_dir() {
        return Ok(());
    }
    run(Command::new("rustup").current_dir(root()).args(["target", "add", WASM_TARGET])).with_context(|| {
        format!("the target {WASM_TARGET} is not installed; add it with `rustup target add {WASM_TARGET}`")
    })
}

/// Builds the binary and answers where it is, with all optimisations if `release`.
///
/// Of the whole workspace, as the tests are: otherwise other features of dependencies would count, and most of them would be compiled twice.
pub fn airlock(release: bool) -> Result<PathBuf> {
    let (profile, folder) = if release { ("release", "release") } else { ("dev", "debug") };
    run(&mut cargo(&["build", "--workspace", "--bin", "airlock", "--profile", profile]))?;
    Ok(target_dir().join(folder).join("airlock"))
}

/// Builds the packages under `folders` into components and answers where they are.
pub fn components(folders: &[&str]) -> Result<PathBuf> {
    let packages = packages_under(folders)?;
    let mut command = cargo(&["build", "--target", WASM_TARGET, "--profile", "task"]);
    for package in &packages {
        command.args(["--package", package]);
    }
    run(&mut command)?;
    Ok(target_dir().join(WASM_TARGET).join("task"))
}

/// The ids of the workspace's packages whose manifests are under one of `folders`: a name may also be that of a library.
fn packages_under(folders: &[&str]) -> Result<Vec<String>> {
    let metadata = read(&mut cargo(&["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata).context("`cargo metadata` is not JSON")?;
    let packages = metadata["packages"].as_array().context("`cargo metadata` has no packages")?;
    let mut ids = Vec::new();
    for package in packages {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let is_under = folders.iter().any(|folder| manifest.starts_with(root().join(folder)));
        if let (true, Some(id)) = (is_under, package["id"].as_str()) {
            ids.push(id.to_owned());
        }
    }
    if ids.is_empty() {
        bail!("the workspace has no packages under {}", folders.join(", "));
    }
    Ok(ids)
}

/// Whether `program` answers to `--version`.
pub fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Chromium and its driver.
pub fn browser() -> Result<()> {
    let missing: Vec<_> = [("chromium", "chromium"), ("chromedriver", "chromium-driver")]
        .into_iter()
        .filter(|(program, _)| !is_installed(program))
        .map(|(_, package)| package)
        .collect();
    apt_install(&missing)
}

/// Servers of databases, which tests start on folders of their own.
pub fn databases() -> Result<()> {
    let has_postgres = env::var_os("AIRLOCK_TEST_PG_BIN").is_some() || Path::new("/usr/lib/postgresql").is_dir();
    let mut missing = Vec::new();
    if !has_postgres && !is_installed("initdb") {
        missing.push("postgresql");
    }
    if !is_installed("mariadbd") {
        missing.push("mariadb-server");
    }
    apt_install(&missing)
}

/// A compiler of C++, which libFuzzer is written in.
pub fn cxx() -> Result<()> {
    if env::var_os("CXX").is_some() || is_installed("c++") { Ok(()) } else { apt_install(&["g++"]) }
}

/// Python with `apache-airflow-client`, `componentize-py`, `schemathesis` and the axe-core that is in `axe-playwright-python`, in an
/// environment of its own; answers the interpreter.
pub fn python() -> Result<PathBuf> {
    const CLIENT: &str = "apache-airflow-client==3.3.2";
    // `docs/languages.md` names it.
    const COMPONENTIZE: &str = "componentize-py==0.25.1";
    const AXE: &str = "axe-playwright-python==0.1.8";
    const SCHEMATHESIS: &str = "schemathesis==4.32.5";
    let wanted = [CLIENT, COMPONENTIZE, AXE, SCHEMATHESIS].join("\n");
    let venv = target_dir().join("test-python");
    let python = venv.join("bin").join("python");
    let mark = venv.join("installed");
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) && is_installed(&python.to_string_lossy()) {
        return Ok(python);
    }
    if !is_installed("python3") {
        apt_install(&["python3", "python3-venv"])?;
    }
    let make_venv = || run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    if make_venv().is_err() {
        // Debian's python3 comes without it.
        apt_install(&["python3-venv"])?;
        make_venv()?;
    }
    // axe comes alone: the browser is driven by the tests, not by what that package brings.
    for packages in [&[CLIENT, COMPONENTIZE, SCHEMATHESIS][..], &["--no-deps", AXE]] {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages);
        run(&mut pip).context("can't install Python packages; pip needs PyPI (or a mirror in PIP_INDEX_URL)")?;
    }
    fs::write(mark, wanted)?;
    Ok(python)
}

fn apt_install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    let is_root = read(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !is_root || !is_installed("apt-get") {
        bail!("{list} must be installed for the tests; on Debian: sudo apt-get install {list}");
    }
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    run(apt().args(["update", "--quiet"]))?;
    run(apt().args(["install", "--quiet", "--yes", "--no-install-recommends"]).args(packages))
}
