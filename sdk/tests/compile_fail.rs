//! What must not compile, and what rustc then says. The texts are those of Rust 1.95;
//! `TRYBUILD=overwrite cargo test -p airlock-sdk --test compile_fail` writes them anew.

#[test]
fn wrong_dags_do_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/compile_pass/*.rs");
    cases.compile_fail("tests/compile_fail/*.rs");
}
