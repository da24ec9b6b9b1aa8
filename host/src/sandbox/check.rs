//! A look at a component's structure before wasmtime compiles it.
//!
//! Compiling takes time and memory that a few KiB of hostile wasm can drive to minutes and gigabytes (measured: 1,000 nested
//! loops in 10 KB, 20,000 nested components in 230 KB). One pass over the bytes refuses what could; it validates nothing else.

use wasmparser::{BinaryReaderError, ComponentExternalKind, Encoding, FunctionBody, Operator, Parser, Payload};

/// Components in components.
const MAX_NESTING: usize = 16;
const MAX_MODULES: usize = 64;
const MAX_COMPONENTS: usize = 256;
const MAX_FUNCTIONS: usize = 100_000;
const MAX_BODY_BYTES: usize = 1 << 20;
const MAX_LOCALS: u64 = 10_000;
const MAX_BLOCK_NESTING: usize = 10_000;
const MAX_LOOP_NESTING: u64 = 128;
/// Locals times nested loops: what the register allocator suffers from.
const MAX_LOOPED_LOCALS: u64 = 100_000;

/// The interfaces of our own that a component may import, of any 0.1.x.
const OWN: &[&str] = &[
    "types",
    "xcom",
    "variables",
    "connections",
    "sql",
    "objects",
    "artifacts",
    "assets",
    "dags",
    "approvals",
    "labels",
    "retries",
    "log",
];
const OWN_VERSION: &str = "0.1.";

/// What of WASI 0.2 is linked.
const WASI: &[&str] = &[
    "cli/environment",
    "cli/exit",
    "cli/stderr",
    "cli/stdin",
    "cli/stdout",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stderr",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "clocks/monotonic-clock",
    "clocks/wall-clock",
    "filesystem/preopens",
    "filesystem/types",
    "http/outgoing-handler",
    "http/types",
    "io/error",
    "io/poll",
    "io/streams",
    "random/insecure",
    "random/insecure-seed",
    "random/random",
    "sockets/instance-network",
    "sockets/ip-name-lookup",
    "sockets/network",
    "sockets/tcp",
    "sockets/tcp-create-socket",
    "sockets/udp",
    "sockets/udp-create-socket",
];
const WASI_VERSION: &str = "0.2.";

/// Of a name that is refused, so many characters are told.
const MAX_SHOWN_CHARS: usize = 100;

const HOW_TO_BUILD: &str =
    "build it with `cargo build --release --target wasm32-wasip2`, or as your language makes a component";

/// Refuses what is not a component that could run here, with a reason for its author.
pub fn check(wasm: &[u8]) -> Result<(), String> {
    if wasm.is_empty() {
        return Err("the upload is empty; send the bytes of a .wasm file".to_owned());
    }
    if wasmtime::Engine::detect_precompiled(wasm).is_some() || wasm.starts_with(b"\x7fELF") {
        return Err(
            "this is compiled code, which is never accepted; send the .wasm component that it was made from".to_owned()
        );
    }
    if wasm.trim_ascii_start().starts_with(b"(") {
        return Err("this is WebAssembly text; send the binary, as `wasm-tools parse` makes it".to_owned());
    }
    if !wasm.starts_with(b"\0asm") {
        return Err(format!("this is not WebAssembly (it does not begin with `\\0asm`); {HOW_TO_BUILD}"));
    }
    if !Parser::is_component(wasm) {
        let what = if Parser::is_core_wasm(wasm) { "a core module, not a component" } else { "of an unknown version" };
        return Err(format!("this WebAssembly is {what}; {HOW_TO_BUILD}"));
    }
    Walk::default().walk(wasm).map_err(|why| match why {
        Why::Broken(error) => {
            format!(
                "the component is broken or cut off at byte {}: {}; upload it again",
                error.offset(),
                error.message()
            )
        }
        Why::Refused(text) => text,
    })
}

enum Why {
    Broken(BinaryReaderError),
    Refused(String),
}

impl From<BinaryReaderError> for Why {
    fn from(error: BinaryReaderError) -> Self {
        Self::Broken(error)
    }
}

#[derive(Default)]
struct Walk {
    /// Open modules and components; the outermost component is 1.
    depth: usize,
    components: usize,
    modules: usize,
    functions: usize,
    runner: bool,
    /// `airlock:task/runner` of a version that is not ours.
    other_runner: Option<String>,
}

impl Walk {
    fn walk(mut self, wasm: &[u8]) -> Result<(), Why> {
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::Version { encoding, .. } => self.open(encoding)?,
                Payload::End(_) => self.depth -= 1,
                Payload::ComponentImportSection(imports) if self.depth == 1 => {
                    for import in imports {
                        check_import(import?.name.name)?;
                    }
                }
                Payload::ComponentExportSection(exports) if self.depth == 1 => {
                    for export in exports {
                        let export = export?;
                        if export.kind == ComponentExternalKind::Instance {
                            self.see_export(export.name.name);
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => self.see_function(&body)?,
                _ => {}
            }
        }
        match (self.runner, self.other_runner) {
            (true, _) => Ok(()),
            (false, Some(name)) => Err(Why::Refused(format!(
                "the component exports `{name}`, and this airlock speaks `airlock:task/runner@{OWN_VERSION}x`; \
                 build it with the SDK, or `wit/task.wit`, of this version"
            ))),
            (false, None) => Err(Why::Refused(
                "the component does not export `airlock:task/runner`; \
                 name its tasks and dags in `airlock_sdk::export!`, or, without the SDK, implement the world `task` of \
                 `wit/task.wit`"
                    .to_owned(),
            )),
        }
    }

    fn open(&mut self, encoding: Encoding) -> Result<(), Why> {
        self.depth += 1;
        limit(self.depth, MAX_NESTING, "components nested in each other")?;
        if encoding == Encoding::Component {
            self.components += 1;
            limit(self.components, MAX_COMPONENTS, "components")
        } else {
            self.modules += 1;
            limit(self.modules, MAX_MODULES, "core modules")
        }
    }

    fn see_export(&mut self, name: &str) {
        if let Some(version) = name.strip_prefix("airlock:task/runner") {
            if version.strip_prefix('@').is_some_and(|version| version.starts_with(OWN_VERSION)) {
                self.runner = true;
            } else {
                self.other_runner = Some(shown(name));
            }
        }
    }

    fn see_function(&mut self, body: &FunctionBody<'_>) -> Result<(), Why> {
        self.functions += 1;
        limit(self.functions, MAX_FUNCTIONS, "functions")?;
        limit(body.range().len(), MAX_BODY_BYTES, "bytes in one function; build with optimisation")?;

        let mut locals = 0_u64;
        for declared in body.get_locals_reader()? {
            locals += u64::from(declared?.0);
        }
        limit(locals, MAX_LOCALS, "locals in one function")?;

        let mut operators = body.get_operators_reader()?;
        let mut blocks: Vec<bool> = Vec::new();
        let mut loops = 0;
        while !operators.eof() {
            let is_loop = match operators.read()? {
                Operator::Loop { .. } => true,
                Operator::Block { .. } | Operator::If { .. } | Operator::TryTable { .. } => false,
                Operator::End => {
                    loops -= u64::from(blocks.pop().unwrap_or(false));
                    continue;
                }
                _ => continue,
            };
            blocks.push(is_loop);
            limit(blocks.len(), MAX_BLOCK_NESTING, "blocks nested in each other")?;
            if is_loop {
                loops += 1;
                limit(loops, MAX_LOOP_NESTING, "loops nested in each other")?;
                limit(loops * locals, MAX_LOOPED_LOCALS, "locals times nested loops in one function")?;
            }
        }
        Ok(())
    }
}

fn limit<N: Copy + PartialOrd + std::fmt::Display>(found: N, most: N, what: &str) -> Result<(), Why> {
    if found > most {
        return Err(Why::Refused(format!("the component is refused unseen: {found} {what}; the limit is {most}")));
    }
    Ok(())
}

/// A name as it is shown: what is not printed is written as its number, and what is too long is cut.
fn shown(name: &str) -> String {
    name.chars().take(MAX_SHOWN_CHARS).flat_map(char::escape_debug).collect()
}

fn check_import(name: &str) -> Result<(), Why> {
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    let own = interface.strip_prefix("airlock:task/").map(|own| (OWN.contains(&own), OWN_VERSION));
    let wasi = interface.strip_prefix("wasi:").map(|wasi| (WASI.contains(&wasi), WASI_VERSION));
    match own.or(wasi) {
        Some((true, ours)) if version.starts_with(ours) => Ok(()),
        Some((true, ours)) => Err(Why::Refused(format!(
            "the component imports `{}`, and airlock has `{interface}@{ours}x`; build it for that version",
            shown(name)
        ))),
        _ => Err(Why::Refused(format!(
            "the component imports `{}`, which airlock does not have; a task may import the interfaces of \
             `airlock:task@{OWN_VERSION}x` and WASI 0.2 (io, clocks, random, cli, filesystem, sockets, http)",
            shown(name)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::{COMPONENT, MODULE, leb, section};

    /// A component of one module with one function of these locals and operators.
    fn function(locals: usize, operators: &[u8]) -> Vec<u8> {
        let locals = [&[1][..], &leb(locals), &[0x7f]].concat();
        let body = [&locals[..], operators].concat();
        let code = [&[1][..], &leb(body.len()), &body].concat();
        let module = [MODULE, &section(1, &[1, 0x60, 0, 0]), &section(3, &[1, 0]), &section(10, &code)].concat();
        [COMPONENT, &section(1, &module)].concat()
    }

    fn nested(block: u8, times: usize) -> Vec<u8> {
        let mut operators = [block, 0x40].repeat(times);
        operators.extend(vec![0x0b; times + 1]);
        operators
    }

    #[test]
    fn what_is_not_a_component_is_named() {
        for (bytes, says) in [
            (&b""[..], "empty"),
            (b"hello", "not WebAssembly"),
            (b" (component)", "WebAssembly text"),
            (b"\x7fELF\x02\x01\x01", "compiled code"),
            (MODULE, "core module"),
            (b"\0asm\x09\0\x09\0", "unknown version"),
            (COMPONENT, "does not export `airlock:task/runner`"),
            (b"\0asm\x0d\0\x01\0\x01\x09\0", "broken or cut off"),
        ] {
            let refused = check(bytes).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
    }

    #[test]
    fn compile_bombs_are_refused_unseen() {
        let mut deep = COMPONENT.to_vec();
        for _ in 0..1_000 {
            deep = [COMPONENT, &section(4, &deep)].concat();
        }
        for (bytes, says) in [
            (deep, "17 components nested"),
            (function(64, &nested(0x03, 200)), "129 loops nested"),
            (function(1_000, &nested(0x03, 120)), "locals times nested loops"),
            (function(40_000, &[0x0b]), "40000 locals"),
            (function(1, &nested(0x02, 20_000)), "10001 blocks"),
            (function(1, &[vec![0x01; 2 << 20], vec![0x0b]].concat()), "bytes in one function"),
        ] {
            let refused = check(&bytes).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
    }

    #[test]
    fn an_ordinary_function_is_not_refused() {
        let refused = check(&function(600, &nested(0x03, 30))).unwrap_err();
        assert!(refused.contains("does not export"), "{refused}");
    }

    #[test]
    fn imports_are_refused_by_name() {
        let import = |name: &str| match check_import(name) {
            Ok(()) => String::new(),
            Err(Why::Refused(text)) => text,
            Err(Why::Broken(_)) => unreachable!("a name is not parsed"),
        };
        for name in ["airlock:task/log@0.1.0", "airlock:task/types@0.1.7", "wasi:io/streams@0.2.6"] {
            assert_eq!(import(name), "");
        }
        assert!(import("wasi:keyvalue/store@0.2.0-draft2").contains("`wasi:keyvalue/store@0.2.0-draft2`"));
        assert!(import("wasi:http/types@0.3.0").contains("wasi:http/types@0.2.x"));
        assert!(import("airlock:task/log@0.2.0").contains("airlock:task/log@0.1.x"));
        assert!(import("env").contains("`env`"));
        let strange = import(&format!("\u{202e}\u{1b}[2J{}", "x".repeat(100_000)));
        assert!(strange.contains("`\\u{202e}\\u{1b}[2Jxxx") && strange.len() < 500, "{strange}");
    }
}
