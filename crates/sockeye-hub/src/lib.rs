//! sockeye-hub
