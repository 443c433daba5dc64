//! sockeye-wire
