//! A server without pages and figures, for machines that are asked for none.

use sockeye_gateway::{Asset, Pages, Tally};
use sockeye_hub::Hub;

pub(crate) struct NoPages;

impl Pages for NoPages {
    fn asset(&self, _: &str) -> Option<Asset> {
        None
    }

    fn metrics(&self, _: &Hub, _: &Tally) -> String {
        String::new()
    }

    fn draining(&self) -> bool {
        false
    }

    fn ready(&self) -> bool {
        true
    }
}
