//! What a component's custom sections say of its origin. Nothing in them is needed to run it, so that nothing in them refuses it.

use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use wasmparser::{BinaryReader, CustomSectionReader, Parser, Payload, ProducersSectionReader};

use crate::model::provenance::{MAX_PRODUCERS, Provenance};

/// As `wasm-tools metadata` names them (crate `wasm-metadata`); they hold text and nothing else.
const LABELS: [&str; 7] = ["authors", "description", "homepage", "licenses", "revision", "source", "version"];
/// Languages and tools, see <https://github.com/WebAssembly/tool-conventions/blob/main/ProducersSection.md>.
const PRODUCERS: &str = "producers";
/// Where `cargo auditable` writes its list: JSON, packed by zlib.
const AUDITABLE: &str = ".dep-v0";
/// Such a list of a thousand packages has some 100 KiB.
const MAX_LIST_BYTES: usize = 8 << 20;
/// Sections that are looked at; a component has a few in each of its modules.
const MAX_SECTIONS: usize = 1_000;

/// Reads a component that was [checked](super::check).
pub fn read(wasm: &[u8]) -> Provenance {
    let mut provenance = Provenance::default();
    let (mut depth, mut sections) = (0_usize, 0);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload {
            Ok(Payload::Version { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::CustomSection(section)) => {
                sections += 1;
                if sections > MAX_SECTIONS {
                    provenance.note(&format!("it has more than {MAX_SECTIONS} custom sections; the rest is not read"));
                    break;
                }
                see(&mut provenance, &section, depth == 1);
            }
            Ok(_) => {}
            // It was checked before.
            Err(_) => break,
        }
    }
    provenance
}

fn see(provenance: &mut Provenance, section: &CustomSectionReader<'_>, is_outermost: bool) {
    let name = section.name();
    if is_outermost && LABELS.contains(&name) {
        provenance.label(name, &String::from_utf8_lossy(section.data()));
    } else if name == AUDITABLE {
        if let Err(why) = packages(provenance, section.data()) {
            provenance.note(&format!("the list of packages (section `{AUDITABLE}`) can't be read: {why}"));
        }
    } else if name == PRODUCERS
        && let Err(error) = producers(provenance, BinaryReader::new(section.data(), section.data_offset()))
    {
        provenance.note(&format!("the section `{PRODUCERS}` can't be read: {}", error.message()));
    }
}

fn packages(provenance: &mut Provenance, packed: &[u8]) -> Result<(), String> {
    let json = decompress_to_vec_zlib_with_limit(packed, MAX_LIST_BYTES)
        .map_err(|error| format!("it does not unpack within {} MiB: {error}", MAX_LIST_BYTES >> 20))?;
    provenance.auditable(&json).map_err(|error| error.to_string())
}

fn producers(provenance: &mut Provenance, section: BinaryReader<'_>) -> wasmparser::Result<()> {
    for field in ProducersSectionReader::new(section)? {
        let field = field?;
        for value in field.values.into_iter().take(MAX_PRODUCERS) {
            let value = value?;
            provenance.producer(field.name, value.name, value.version);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::{COMPONENT, MODULE, leb, section};

    fn text(text: &str) -> Vec<u8> {
        [&leb(text.len()), text.as_bytes()].concat()
    }

    fn custom(name: &str, data: &[u8]) -> Vec<u8> {
        section(0, &[&text(name), data].concat())
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        miniz_oxide::deflate::compress_to_vec_zlib(bytes, 6)
    }

    #[test]
    fn sections_of_a_component_and_of_its_modules_are_read() {
        let tools =
            [&[1][..], &text("processed-by"), &[2], &text("rustc"), &text("1.95"), &text("lld"), &text("22")].concat();
        let list = zlib(br#"{"packages": [{"name": "serde", "version": "1.0.228", "source": "crates.io"}]}"#);
        let module =
            [MODULE, &custom("producers", &tools), &custom(".dep-v0", &list), &custom("version", b"9")].concat();
        let component =
            [COMPONENT, &section(1, &module), &custom("version", b"1.2.3"), &custom("licenses", b"MIT")].concat();
        let provenance = read(&component);
        assert!(provenance.notes.is_empty(), "{provenance:?}");
        let labels: Vec<_> = provenance.labels.iter().map(|l| format!("{} {}", l.name, l.value)).collect();
        assert_eq!(labels, ["licenses MIT", "version 1.2.3"]);
        let tools: Vec<_> = provenance.producers.iter().map(|p| format!("{} {}", p.name, p.version)).collect();
        assert_eq!(tools, ["lld 22", "rustc 1.95"]);
        assert_eq!(provenance.packages.unwrap().first().unwrap().name, "serde");
    }

    #[test]
    fn what_is_broken_is_said_and_refuses_nothing() {
        let bomb = zlib(&vec![b' '; 64 << 20]);
        assert!(bomb.len() < 100_000);
        let broken = [
            COMPONENT,
            &custom(".dep-v0", b"not zlib"),
            &custom(".dep-v0", &bomb),
            &custom(".dep-v0", &zlib(b"{}")),
            &custom("producers", &[200, 200, 200]),
            &custom("authors", b"\xff\x1b[2J<script>"),
        ]
        .concat();
        let provenance = read(&broken);
        assert_eq!(provenance.notes.len(), 4, "{provenance:?}");
        assert_eq!(provenance.packages, None);
        assert_eq!(provenance.labels.first().unwrap().value, "\u{fffd}[2J<script>");
        let many = [COMPONENT, &custom("x", b"").repeat(2_000)].concat();
        assert_eq!(read(&many).notes.len(), 1);
    }
}
