//! What a shard's connections have asked for, and what was refused before the hub was asked.
//!
//! Deliberately absent: what the hub refuses, which it counts itself, and the echo, which asks for nothing.

use std::collections::BTreeMap;

use sockeye_wire::json::Code;

use crate::protocol::Protocol;

/// Counts of requests. They only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests by protocol, as [`Protocol::ALL`] lists them: objects, HTTP requests, messages of raw sockets.
    pub requests: [u64; Protocol::ALL.len()],
    /// Refused here, by the word that was said.
    pub refused: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Adds the counts of another shard.
    pub fn add(&mut self, other: &Tally) {
        for (sum, count) in self.requests.iter_mut().zip(other.requests) {
            *sum += count;
        }
        for (code, count) in &other.refused {
            *self.refused.entry(code).or_default() += count;
        }
    }

    #[inline]
    pub(crate) fn asked(&mut self, protocol: Protocol) {
        self.requests[protocol as usize] += 1;
    }

    #[cold]
    pub(crate) fn refused(&mut self, code: Code) {
        *self.refused.entry(code.as_str()).or_default() += 1;
    }
}
