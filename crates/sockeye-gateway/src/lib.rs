//! sockeye-gateway
