//! The kernel's calls that std and mio do not offer, each behind a safe function.
//!
//! The only crate with unsafe code: every block is as small as its call, and says why it is sound. Deliberately absent:
//! anything that a safe crate in use already offers.

pub mod datagram;
pub mod descriptor;
pub mod packet_info;
pub mod process;
pub mod ring;
pub mod socket;
