//! Style sheet, scripts and icon: embedded, under an address that changes with any of them.

use std::sync::LazyLock;

use axum::{
    body::Body,
    extract::Path,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use rust_embed::RustEmbed;
use sha2::{Digest as _, Sha256};

#[derive(RustEmbed)]
#[folder = "../web/static"]
struct Files;

/// The first digits of the SHA-256 over all files. Scripts import each other by relative addresses, so all of them share it.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut names: Vec<_> = Files::iter().collect();
    names.sort();
    let mut sha = Sha256::new();
    for name in names {
        if let Some(file) = Files::get(&name) {
            sha.update(name.as_bytes());
            sha.update(file.metadata.sha256_hash());
        }
    }
    sha.finalize().iter().take(6).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
});

/// The address of file `name`.
pub fn address(name: &str) -> String {
    format!("/static/{}/{name}", *VERSION)
}

/// `GET /static/{version}/{name}`. An old version gets the present file, but does not keep it.
pub async fn get(Path((version, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let Some(file) = Files::get(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let tag = format!("\"{}-{name}\"", *VERSION);
    let caching = if version == *VERSION { "public, max-age=31536000, immutable" } else { "no-cache" };
    let about = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, caching.to_owned())];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    let media_type = match name.rsplit_once('.') {
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "application/octet-stream",
    };
    (about, [(header::CONTENT_TYPE, media_type)], Body::from(file.data.into_owned())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_assets_are_small() {
        let bytes: usize = Files::iter().filter_map(|name| Files::get(&name)).map(|file| file.data.len()).sum();
        assert!(bytes < 120 << 10, "{bytes} bytes before compression");
    }

    #[test]
    fn scripts_hold_nothing_that_the_policy_or_the_offline_reader_refuses() {
        for name in Files::iter() {
            let text = String::from_utf8(Files::get(&name).unwrap().data.into_owned()).unwrap();
            for refused in ["innerHTML", "eval(", "new Function", "setAttribute('style'", "@import", "https://"] {
                assert!(!text.contains(refused), "{name} holds {refused}");
            }
        }
    }
}
