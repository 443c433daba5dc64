//! The pages of a fuzzed server: one, and figures that are always the same.

use sockeye_gateway::{Asset, Pages, Tally};
use sockeye_hub::Hub;

pub(crate) struct FewPages;

impl Pages for FewPages {
    fn asset(&self, path: &str) -> Option<Asset> {
        (path == "/").then_some(Asset { content_type: "text/html", bytes: b"<p>", etag: "\"1\"" })
    }

    fn metrics(&self, _: &Hub, _: &Tally) -> String {
        "metrics 1\n".into()
    }

    fn draining(&self) -> bool {
        false
    }

    fn ready(&self) -> bool {
        true
    }
}
