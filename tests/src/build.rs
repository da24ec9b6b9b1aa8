//! The binary and the components under test.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The root of the workspace.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// The `airlock` binary: `AIRLOCK_TEST_BIN`, or the one that is built now.
pub fn binary() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        env::var_os("AIRLOCK_TEST_BIN").map_or_else(
            || {
                cargo(&["build", "--quiet", "--package", "airlock"]);
                target_dir().join("debug").join("airlock")
            },
            PathBuf::from,
        )
    })
}

/// The component that package `name` is built into, as `hello` or `airlock-guest-hostile`.
pub fn component(name: &str) -> Vec<u8> {
    let path = component_path(name);
    fs::read(&path).unwrap_or_else(|error| panic!("can't read the component `{}`: {error}", path.display()))
}

/// Where the component of package `name` is.
pub fn component_path(name: &str) -> PathBuf {
    let file = format!("{}.wasm", name.replace('-', "_"));
    if let Some(folder) = env::var_os("AIRLOCK_TEST_WASM_DIR") {
        return PathBuf::from(folder).join(file);
    }
    // A name may also be that of a library.
    let package = format!("{name}@{}", env!("CARGO_PKG_VERSION"));
    cargo(&["build", "--quiet", "--package", &package, "--target", "wasm32-wasip2", "--profile", "task"]);
    target_dir().join("wasm32-wasip2").join("task").join(file)
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn cargo(args: &[&str]) {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(args).current_dir(root()).status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "cargo {} failed: {status:?}",
        args.join(" ")
    );
}
