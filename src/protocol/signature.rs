//! Who said it: the signature of a request, and of every line of its answer.

use std::collections::HashMap;
use std::fmt;

use ring::{digest, hmac};
use secrecy::{ExposeSecret, SecretString};

use crate::text;

pub const HEADER: &str = "X-WP-Cron-Runner";
/// What the runner answers is marked as well: another program that has its port cannot speak for it.
pub const ANSWER_HEADER: &str = "X-WP-Cron-Runner-Answer";
/// A signature is good for this long, in both directions.
pub const WINDOW_MS: i64 = 60_000;

/// One of a site's keys: 256 bits, known to the runner and to that site.
///
/// ring's HMAC rather than the crates hmac and sha2: ring is in the tree already, as TLS's provider.
#[derive(Clone)]
pub struct Key {
    hmac: hmac::Key,
    hex: SecretString,
    kid: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Key({}, [REDACTED])", self.kid)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        is_equal(self.hex.expose_secret(), other.hex.expose_secret())
    }
}

impl Key {
    /// From its 64 hex characters; None where it is anything else.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let digits: Option<Vec<u8>> = hex.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
        let bytes: Vec<u8> =
            digits?.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
        if hex.len() != 64 || bytes.len() != 32 {
            return None;
        }
        let kid = text::hex(digest::digest(&digest::SHA256, &bytes).as_ref().get(..4)?);
        Some(Self {
            hmac: hmac::Key::new(hmac::HMAC_SHA256, &bytes),
            hex: SecretString::from(hex.to_ascii_lowercase()),
            kid,
        })
    }

    #[cfg(test)]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// For the block in wp-config.php, the only other place where the key lives.
    pub fn expose_hex(&self) -> &str {
        self.hex.expose_secret()
    }

    fn mac(&self, text: &str) -> String {
        text::hex(hmac::sign(&self.hmac, text.as_bytes()).as_ref())
    }

    /// Every line of the answer to the request with this nonce begins with this.
    pub fn marker(&self, nonce: &str) -> String {
        let mac = self.mac(&format!("wp-cron-runner/1 frames\n{nonce}"));
        format!("wpcr1:{}:", mac.get(..16).unwrap_or_default())
    }

    /// Of the answer to the request with this nonce.
    pub fn answer_mac(&self, nonce: &str, status: u16, body: &[u8]) -> String {
        self.mac(&format!("wp-cron-runner/1 answer\n{nonce}\n{status}\n{}", sha256(body)))
    }

    pub fn is_answer_mac(&self, nonce: &str, status: u16, body: &[u8], mac: &str) -> bool {
        is_equal(&self.answer_mac(nonce, status, body), mac)
    }

    pub fn is_frame_mac(&self, nonce: &str, seq: u64, json: &str, mac: &str) -> bool {
        let expected = self.mac(&format!("wp-cron-runner/1 frame\n{nonce}\n{seq}\n{json}"));
        expected.get(..32).is_some_and(|expected| is_equal(expected, mac))
    }

    #[cfg(test)]
    pub fn frame(&self, nonce: &str, seq: u64, json: &str) -> String {
        let mac = self.mac(&format!("wp-cron-runner/1 frame\n{nonce}\n{seq}\n{json}"));
        format!("\n{}{seq}:{} {json}\n", self.marker(nonce), &mac[..32])
    }
}

/// Without telling by its duration where the first difference is.
fn is_equal(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

/// What a signature covers besides the key.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub site: &'a str,
    pub path_and_query: &'a str,
    pub host: &'a str,
    pub ts_ms: i64,
    pub nonce: &'a str,
    pub body: &'a [u8],
}

impl Message<'_> {
    fn string_to_sign(&self, kid: &str) -> String {
        let body = sha256(self.body);
        let ts = self.ts_ms.to_string();
        let host = host_name(self.host);
        ["wp-cron-runner/1", "POST", self.path_and_query, &host, self.site, kid, &ts, self.nonce, &body].join("\n")
    }

    /// The value of the header that goes with the request.
    pub fn sign(&self, key: &Key) -> String {
        let sig = key.mac(&self.string_to_sign(&key.kid));
        format!("v=1;site={};kid={};ts={};nonce={};sig={sig}", self.site, key.kid, self.ts_ms, self.nonce)
    }
}

/// The host as it is signed: lower case, without the port. Servers hand the port on or not as they like: Debian's nginx gives
/// PHP a `HTTP_HOST` that has none.
fn host_name(host: &str) -> String {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.to_ascii_lowercase()
}

/// As 64 hex characters.
pub fn sha256(bytes: &[u8]) -> String {
    text::hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// 128 bits that nobody guesses, as 32 hex characters.
pub fn random_hex<const BYTES: usize>() -> Result<String, std::io::Error> {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0_u8; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| std::io::Error::other("the system has no random numbers"))?;
    Ok(text::hex(&bytes))
}

/// Checks what the plugin sends to the runner. The nonces of good signatures are remembered for as long as these are good.
#[derive(Debug, Default)]
pub struct Door {
    seen: HashMap<String, i64>,
}

impl Door {
    /// One answer for all causes: somebody who guesses learns nothing. Else who asks, for the answer.
    pub fn admits<'a>(
        &mut self,
        keys: &[Key],
        header: &'a str,
        mut message: Message<'a>,
        now_ms: i64,
    ) -> Option<Admitted> {
        let parts = parse(header)?;
        message.ts_ms = parts.ts_ms;
        message.nonce = parts.nonce;
        let is_his =
            |key: &&Key| key.kid == parts.kid && is_equal(&key.mac(&message.string_to_sign(&key.kid)), parts.sig);
        let key = keys.iter().find(is_his).filter(|_| parts.site == message.site)?.clone();
        if (now_ms - parts.ts_ms).abs() > WINDOW_MS {
            return None;
        }
        self.seen.retain(|_, ts| (now_ms - *ts).abs() <= 2 * WINDOW_MS);
        let is_new = self.seen.insert(parts.nonce.to_string(), parts.ts_ms).is_none();
        is_new.then(|| Admitted { key, nonce: parts.nonce.to_string() })
    }
}

/// A request that was signed with this key.
#[derive(Debug, Clone)]
pub struct Admitted {
    pub key: Key,
    pub nonce: String,
}

/// Which site the header speaks of. Nothing is proven by that.
pub fn site_of(header: &str) -> Option<&str> {
    parse(header).map(|parts| parts.site)
}

struct Parts<'a> {
    site: &'a str,
    kid: &'a str,
    ts_ms: i64,
    nonce: &'a str,
    sig: &'a str,
}

fn parse(header: &str) -> Option<Parts<'_>> {
    if header.len() > 512 {
        return None;
    }
    let mut fields = header.split(';');
    let mut field = |name: &str| fields.next()?.strip_prefix(name)?.strip_prefix('=');
    if field("v")? != "1" {
        return None;
    }
    let parts = Parts {
        site: field("site")?,
        kid: field("kid")?,
        ts_ms: field("ts")?.parse().ok()?,
        nonce: field("nonce")?,
        sig: field("sig")?,
    };
    let is_hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    (fields.next().is_none() && is_hex(parts.nonce, 32) && is_hex(parts.sig, 64)).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Vector {
        name: String,
        key: String,
        site: String,
        ts: i64,
        nonce: String,
        path: String,
        host: String,
        body: String,
        kid: String,
        string_to_sign: String,
        header: String,
        marker: String,
        frames: Vec<VectorFrame>,
    }

    #[derive(serde::Deserialize)]
    struct VectorFrame {
        seq: u64,
        json: String,
        mac: String,
        wire: String,
    }

    fn vectors() -> Vec<Vector> {
        serde_json::from_str(include_str!("../../tests/vectors/signature.json")).unwrap()
    }

    impl Vector {
        fn message(&self) -> Message<'_> {
            Message {
                site: &self.site,
                path_and_query: &self.path,
                host: &self.host,
                ts_ms: self.ts,
                nonce: &self.nonce,
                body: self.body.as_bytes(),
            }
        }
    }

    #[test]
    fn the_vectors_that_php_reads_too() {
        assert!(vectors().len() >= 3);
        for vector in vectors() {
            let key = Key::from_hex(&vector.key).unwrap();
            assert_eq!(key.kid(), vector.kid, "{}", vector.name);
            assert_eq!(vector.message().string_to_sign(key.kid()), vector.string_to_sign, "{}", vector.name);
            assert_eq!(vector.message().sign(&key), vector.header, "{}", vector.name);
            assert_eq!(key.marker(&vector.nonce), vector.marker, "{}", vector.name);
            for frame in &vector.frames {
                assert_eq!(key.frame(&vector.nonce, frame.seq, &frame.json), frame.wire, "{}", vector.name);
                assert!(key.is_frame_mac(&vector.nonce, frame.seq, &frame.json, &frame.mac));
                assert!(!key.is_frame_mac(&vector.nonce, frame.seq + 1, &frame.json, &frame.mac));
            }
        }
    }

    #[test]
    fn the_door_opens_once_and_only_for_the_exact_words() {
        let vector = vectors().pop().unwrap();
        let keys = [Key::from_hex(&vector.key).unwrap()];
        let mut door = Door::default();
        let header = vector.header.as_str();
        for wrong in [
            Message { path_and_query: "/v1/sites/shop/run", ..vector.message() },
            Message { host: "localhost:9747", ..vector.message() },
            Message { site: "other", ..vector.message() },
            Message { body: b"x", ..vector.message() },
        ] {
            assert!(door.admits(&keys, header, wrong, vector.ts).is_none(), "{wrong:?}");
        }
        for at in 0..header.len() {
            let mut bytes = header.as_bytes().to_vec();
            bytes[at] ^= 1;
            let flipped = String::from_utf8(bytes).unwrap();
            assert!(door.admits(&keys, &flipped, vector.message(), vector.ts).is_none(), "byte {at}: {flipped}");
        }
        assert!(door.admits(&keys, header, vector.message(), vector.ts + 61_000).is_none());
        assert!(door.admits(&keys, header, vector.message(), vector.ts - 61_000).is_none());
        assert!(door.admits(&keys, header, vector.message(), vector.ts + 59_000).is_some());
        assert!(door.admits(&keys, header, vector.message(), vector.ts + 59_000).is_none(), "a replay");
    }

    #[test]
    fn a_key_is_64_hex_characters_and_never_printed() {
        let hex = "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f";
        let key = Key::from_hex(hex).unwrap();
        assert!(!format!("{key:?}").contains("0011"));
        assert!(Key::from_hex(&hex[1..]).is_none() && Key::from_hex(&format!("{}zz", &hex[2..])).is_none());
        assert_ne!(random_hex::<16>().unwrap(), random_hex::<16>().unwrap());
    }
}
