//! What a number of the protocol stands for.

use sha2::{Digest as _, Sha256};

use super::PROTOCOL;

/// A digest of all messages, without comments and blanks.
const MESSAGES: &str = "5c42a4c8f77e0045";

/// Of the types from elsewhere in frames this sees the names only: a change of one of those is to be noticed by whoever makes it.
#[test]
fn messages_change_with_the_number_of_the_protocol_only() {
    let source = [include_str!("mod.rs"), include_str!("frame.rs")].concat();
    let lines =
        source.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.starts_with("pub const PROTOCOL"));
    let text: String = lines.flat_map(|line| line.chars().filter(|letter| !letter.is_whitespace())).collect();
    let digest = Sha256::digest(text.as_bytes());
    let digest: Vec<_> = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        digest.concat(),
        MESSAGES,
        "what supervisors and runners say has changed. If it was released as protocol {PROTOCOL}, raise `wire::PROTOCOL`; then put the new \
         digest here"
    );
}
