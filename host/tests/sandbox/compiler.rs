//! What an upload is answered.

use airlock::sandbox::MAX_COMPONENT_BYTES;

use crate::children::{GUESTS, compile, guests_that_describe, module, refused};

#[test]
fn a_component_is_compiled_and_described() {
    let module = module(compile(&GUESTS));
    assert_eq!((module.sdk.as_str(), module.entries.len(), module.dags.len()), ("guests", 1, 1));
    let dag = &module.dags[0];
    assert_eq!((dag.dag_id.as_str(), dag.nodes.len(), dag.edges.len()), ("guests", 3, 2));
    assert_eq!(dag.grants.variables, ["a"]);
}

#[test]
fn a_large_dag_is_described() {
    let module = module(compile(&guests_that_describe("many")));
    assert_eq!(module.dags[0].nodes.len(), 10_000);
}

#[test]
fn a_describe_that_does_not_behave_is_refused_with_its_reason() {
    for (behaviour, says) in [
        ("error", "`describe` answered an error: the guest does not feel like it"),
        // 2 s of CPU time, or 20 s on a busy machine.
        ("loop", "longer than "),
        ("sleep", "`describe` took longer than 20 s"),
        ("trap", "`describe` failed: panicked: describe had enough (tests/guests/src/describe.rs:"),
        ("allocate", "out of memory: the task asked for more than its limit of 128 MiB"),
        ("nodes", "dag `guests` has 100001 nodes; the limit is 100000"),
        ("text", "dag `guests`: doc has 2097152 bytes; the limit is 1048576"),
        ("json", "dag `guests`, task `t0`: input `x` is not JSON: "),
        ("variable", "Denied(\\\"`describe` runs without any grant"),
    ] {
        let refused = refused(compile(&guests_that_describe(behaviour)));
        assert!(refused.contains(&says.replace("\\\"", "\"")), "{behaviour}: {refused}");
    }
}

#[test]
fn bytes_that_are_no_component_of_ours_are_refused() {
    let cut = &GUESTS[..GUESTS.len() / 2];
    let mut flipped = GUESTS.clone();
    let middle = flipped.len() / 2;
    flipped[middle..middle + 64].fill(0xff);
    let import = b"airlock:task/variables@0.1.0";
    let mut other = GUESTS.clone();
    let at = other.windows(import.len()).position(|window| window == import).unwrap();
    other[at..at + import.len()].copy_from_slice(b"airlock:task/valuables@0.1.0");
    let huge = vec![0; MAX_COMPONENT_BYTES + 1];
    for (wasm, says) in [
        (&b""[..], "the upload is empty"),
        (b"\0asm\x01\0\0\0", "core module"),
        (cut, "broken or cut off"),
        (&flipped, "the component"),
        (&other, "imports `airlock:task/valuables@0.1.0`, which airlock does not have"),
        (&huge, "larger than 64 MiB"),
    ] {
        let refused = refused(compile(wasm));
        assert!(refused.contains(says), "{says}: {refused}");
    }
}
