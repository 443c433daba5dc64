//! The first page: plain files, embedded in the binary, with what HTTP has to say about them.
//!
//! Deliberately absent: a build step, files read at run time, and routing (`/ch/NAME` answers with the page at `/` when a
//! browser prefers HTML; the gateway decides that).

use sockeye_gateway::Asset;

/// The policy every asset is sent with: nothing from elsewhere, nothing inline, no frame around it.
///
/// `connect-src` needs no more than `'self'`: it covers the WebSocket of the same host and port.
pub const CONTENT_SECURITY_POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

/// Returns the file at `path`, or `None` where the console has none.
///
/// The path is compared as it stands in the request line: these names need no percent-encoding.
pub fn asset(path: &str) -> Option<Asset> {
    match path {
        "/" => Some(PAGE),
        "/client.js" => Some(CLIENT),
        "/page.js" => Some(PAGE_SCRIPT),
        "/style.css" => Some(STYLE),
        "/favicon.svg" => Some(FAVICON),
        _ => None,
    }
}

/// Embeds a file, with a tag computed from its content while compiling.
macro_rules! embed {
    ($file:literal, $content_type:literal) => {{
        const BYTES: &[u8] = include_bytes!($file);
        const TAG: [u8; 18] = quoted_hash(BYTES);
        const ETAG: &str = match core::str::from_utf8(&TAG) {
            Ok(tag) => tag,
            Err(_) => panic!("hexadecimal digits and quotes are ASCII"),
        };
        Asset { content_type: $content_type, bytes: BYTES, etag: ETAG }
    }};
}

const PAGE: Asset = embed!("page.html", "text/html; charset=utf-8");
const CLIENT: Asset = embed!("client.js", "text/javascript; charset=utf-8");
const PAGE_SCRIPT: Asset = embed!("page.js", "text/javascript; charset=utf-8");
const STYLE: Asset = embed!("style.css", "text/css; charset=utf-8");
const FAVICON: Asset = embed!("favicon.svg", "image/svg+xml");

/// FNV-1a, 64 bits, in hexadecimal and quotes. It tells versions apart; nobody is defended against.
const fn quoted_hash(bytes: &[u8]) -> [u8; 18] {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }

    let mut tag = [b'"'; 18];
    let mut digit = 0;
    while digit < 16 {
        tag[digit + 1] = b"0123456789abcdef"[(hash >> (60 - 4 * digit)) as usize & 15];
        digit += 1;
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: [&str; 5] = ["/", "/client.js", "/page.js", "/style.css", "/favicon.svg"];

    #[test]
    fn every_asset_has_its_own_quoted_tag() {
        let mut tags: Vec<_> = PATHS.iter().map(|path| text(path).1).collect();

        tags.sort_unstable();
        tags.dedup();

        assert_eq!(tags.len(), PATHS.len());
        assert!(tags.iter().all(|tag| tag.len() == 18 && tag.starts_with('"') && tag.ends_with('"')));
    }

    #[test]
    fn the_page_links_only_to_embedded_files_by_absolute_paths() {
        let (page, _) = text("/");

        let links: Vec<_> = page
            .split(&[' ', '>'])
            .filter_map(|word| word.strip_prefix("href=\"").or(word.strip_prefix("src=\"")))
            .filter_map(|rest| rest.split('"').next())
            .filter(|link| !link.starts_with('#'))
            .collect();

        assert!(links.len() >= 4, "{links:?}");
        for link in links {
            assert!(asset(link).is_some(), "{link} is not embedded");
        }
    }

    #[test]
    fn nothing_inline_is_left_for_the_policy_to_refuse() {
        let (page, _) = text("/");
        let (script, _) = text("/page.js");

        for inline in ["<style", " style=", " onclick=", " onload=", " onerror=", "javascript:"] {
            assert!(!page.contains(inline), "{inline}");
        }
        assert!(page.matches("<script").count() == page.matches("<script type=\"module\" src=").count());
        assert!(!script.contains("innerHTML") && !script.contains("insertAdjacentHTML"));
    }

    #[test]
    fn other_paths_are_not_assets() {
        assert!(["", "/x", "/page.html", "//", "/client.js/"].iter().all(|path| asset(path).is_none()));
    }

    fn text(path: &str) -> (&'static str, &'static str) {
        let asset = asset(path).expect("an embedded path");
        (core::str::from_utf8(asset.bytes).expect("UTF-8"), asset.etag)
    }
}
