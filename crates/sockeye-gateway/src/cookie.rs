//! The cookie that proves an address: a keyed hash of address, port and minute, which only who receives there can know.
//!
//! The hash is SipHash-2-4 (Aumasson and Bernstein, 2012), a pseudo-random function of short texts under a secret key:
//! without the key a cookie can only be guessed, one in 2^64, and the server tells nobody whether a guess was near.
//! Deliberately absent: a table of what was handed out. A cookie is computed again to be checked, so handing out costs
//! no memory, whoever asks.

use std::net::IpAddr;

use sockeye_hub::Now;

use crate::mail::{PeerAddress, Source};

/// The length of a cookie: 64 bits in hexadecimal.
pub(crate) const COOKIE_BYTES: usize = 16;

/// The time that one hash stands for.
const PERIOD_MS: u64 = 60_000;
/// A cookie is good in the minute in which it was made and in so many after it: for two whole minutes at the least.
const PERIODS_AFTER: u64 = 2;

/// The secret that makes and checks cookies: the same for all shards of a server, another in every run.
#[derive(Clone, Copy)]
pub struct CookieKey([u64; 2]);

impl std::fmt::Debug for CookieKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("CookieKey(..)")
    }
}

/// How good a cookie is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It was made for another address, or too long ago, or never.
    None,
    /// It proves the address, and was made in an earlier minute: the peer should be given the next one.
    Aging,
    /// It proves the address.
    Fresh,
}

impl CookieKey {
    /// A key of 128 random bits.
    pub fn new(first: u64, second: u64) -> Self {
        CookieKey([first, second])
    }

    /// The cookie of an address at this time.
    pub(crate) fn cookie(&self, source: &Source, now: Now) -> [u8; COOKIE_BYTES] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let hash = self.hash(source, now.ms / PERIOD_MS);
        std::array::from_fn(|place| DIGITS[(hash >> (60 - 4 * place) & 0xf) as usize])
    }

    /// Checks a cookie that was sent from an address.
    pub(crate) fn check(&self, cookie: &str, source: &Source, now: Now) -> Proof {
        let Some(given) = parse(cookie.as_bytes()) else { return Proof::None };
        let minute = now.ms / PERIOD_MS;
        // Both numbers are compared at once, so the time it takes says nothing of how many digits were right.
        if self.hash(source, minute) == given {
            return Proof::Fresh;
        }
        let mut before = (1..=PERIODS_AFTER).filter_map(|periods| minute.checked_sub(periods));
        if before.any(|minute| self.hash(source, minute) == given) { Proof::Aging } else { Proof::None }
    }

    /// The address is written so that no two of them are the same text. Neither the socket nor our own address is in it:
    /// what is proved is that somebody receives at his address, and he receives there from any of ours.
    fn hash(&self, source: &Source, minute: u64) -> u64 {
        let mut hash = SipHash::new(self.0);
        hash.write_u64(minute);
        match &source.peer {
            PeerAddress::Ip(address) => {
                match address.ip() {
                    IpAddr::V4(ip) => hash.write_u64(u64::from(u32::from(ip))),
                    IpAddr::V6(ip) => {
                        let bits = u128::from(ip);
                        hash.write_u64((bits >> 64) as u64);
                        hash.write_u64(bits as u64);
                    }
                }
                let scope = match address {
                    std::net::SocketAddr::V4(_) => 0,
                    std::net::SocketAddr::V6(v6) => u64::from(v6.scope_id()),
                };
                let family = if address.is_ipv4() { 4 } else { 6 };
                hash.write_u64(family << 56 | scope << 16 | u64::from(address.port()));
            }
            PeerAddress::Unix(name) => {
                for piece in name.chunks(8) {
                    let mut word = [0; 8];
                    word[..piece.len()].copy_from_slice(piece);
                    hash.write_u64(u64::from_le_bytes(word));
                }
                hash.write_u64(1 << 56 | name.len() as u64);
            }
            PeerAddress::Unnamed => hash.write_u64(0),
        }
        hash.finish()
    }
}

/// Reads exactly what `cookie` writes.
fn parse(cookie: &[u8]) -> Option<u64> {
    if cookie.len() != COOKIE_BYTES {
        return None;
    }
    cookie.iter().try_fold(0, |number: u64, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

/// SipHash-2-4 over whole words of 64 bits.
struct SipHash {
    state: [u64; 4],
    words: u64,
}

impl SipHash {
    fn new(key: [u64; 2]) -> Self {
        let state = [
            key[0] ^ 0x736f_6d65_7073_6575,
            key[1] ^ 0x646f_7261_6e64_6f6d,
            key[0] ^ 0x6c79_6765_6e65_7261,
            key[1] ^ 0x7465_6462_7974_6573,
        ];
        SipHash { state, words: 0 }
    }

    fn write_u64(&mut self, word: u64) {
        self.state[3] ^= word;
        self.round();
        self.round();
        self.state[0] ^= word;
        self.words += 1;
    }

    fn finish(mut self) -> u64 {
        // The last word holds the length modulo 256, in bytes, above the bytes that are left over: none.
        let last = (self.words * 8) << 56;
        self.write_u64(last);
        self.state[2] ^= 0xff;
        for _ in 0..4 {
            self.round();
        }
        self.state.iter().fold(0, |all, word| all ^ word)
    }

    fn round(&mut self) {
        let [a, b, c, d] = &mut self.state;
        *a = a.wrapping_add(*b);
        *c = c.wrapping_add(*d);
        *b = b.rotate_left(13) ^ *a;
        *d = d.rotate_left(16) ^ *c;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*b);
        *a = a.wrapping_add(*d);
        *b = b.rotate_left(17) ^ *c;
        *d = d.rotate_left(21) ^ *a;
        *c = c.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { ms, unix_ms: 0 }
    }

    fn source(address: &str) -> Source {
        Source { socket: 0, local: None, peer: PeerAddress::Ip(address.parse().expect("an address")) }
    }

    #[test]
    fn the_hash_is_the_one_of_the_paper() {
        // Appendix A of the paper has 15 bytes; these are the reference implementation's vectors of 0, 8 and 16.
        let hash = |words: &[u64]| {
            let mut hash = SipHash::new([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
            words.iter().for_each(|word| hash.write_u64(*word));
            hash.finish()
        };

        assert_eq!(hash(&[]), 0x726f_db47_dd0e_0e31);
        assert_eq!(hash(&[0x0706_0504_0302_0100]), 0x93f5_f579_9a93_2462);
        assert_eq!(hash(&[0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]), 0x3f2a_cc7f_57c2_9bdb);
    }

    #[test]
    fn a_cookie_is_good_for_two_minutes_and_not_for_four() {
        let key = CookieKey::new(1, 2);
        let source = source("192.0.2.1:4000");

        for made_ms in [600_000, 600_001, 630_000, 659_999] {
            let cookie = key.cookie(&source, at(made_ms));
            let cookie = std::str::from_utf8(&cookie).expect("digits");

            assert_eq!(key.check(cookie, &source, at(made_ms)), Proof::Fresh);
            assert_ne!(key.check(cookie, &source, at(made_ms + 120_000)), Proof::None);
            assert_eq!(key.check(cookie, &source, at(made_ms + 180_000)), Proof::None);
            assert_eq!(key.check(cookie, &source, at(made_ms - 60_000)), Proof::None);
        }
    }

    #[test]
    fn a_cookie_proves_one_address_under_one_key() {
        let key = CookieKey::new(1, 2);
        let mine = source("192.0.2.1:4000");
        let cookie = key.cookie(&mine, at(0));
        let cookie = std::str::from_utf8(&cookie).expect("digits");

        let elsewhere = Source { socket: 3, local: "192.0.2.9".parse().ok(), ..mine.clone() };
        assert_eq!(key.check(cookie, &elsewhere, at(0)), Proof::Fresh);
        for other in ["192.0.2.1:4001", "192.0.2.2:4000", "[::c000:201]:4000", "[::ffff:c000:201]:4000"] {
            assert_eq!(key.check(cookie, &source(other), at(0)), Proof::None, "{other}");
        }
        for name in [&b"/tmp/a"[..], b"/tmp/a\0", b"/tmp/ab", b""] {
            let unix = Source { socket: 0, local: None, peer: PeerAddress::Unix(name.into()) };
            assert_eq!(key.check(cookie, &unix, at(0)), Proof::None);
            let named = key.cookie(&unix, at(0));
            let named = std::str::from_utf8(&named).expect("digits");
            assert_eq!(key.check(named, &unix, at(0)), Proof::Fresh);
            let other = Source { socket: 0, local: None, peer: PeerAddress::Unix(b"/tmp/other"[..].into()) };
            assert_eq!(key.check(named, &other, at(0)), Proof::None);
        }
        assert_eq!(CookieKey::new(1, 3).check(cookie, &mine, at(0)), Proof::None);
        assert_eq!(CookieKey::new(0, 2).check(cookie, &mine, at(0)), Proof::None);
        for wrong in ["", "0", &cookie.to_uppercase(), &cookie[1..], &format!("{cookie}0")] {
            assert!(wrong == cookie || key.check(wrong, &mine, at(0)) == Proof::None, "{wrong}");
        }
    }
}
