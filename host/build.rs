//! Builds the crate again when a file appears in a folder that is embedded whole: the compiler only notices changes of
//! files that were there before.

fn main() {
    for folder in ["../sdk/src", "../sdk/macros/src", "../sdk/template", "../web", "../migrations"] {
        println!("cargo:rerun-if-changed={folder}");
    }
}
