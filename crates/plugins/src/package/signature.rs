//! Who signed a manifest.
//!
//! A signed manifest has these two lines, one after the other, among its top-level
//! keys, each ended by a single line feed:
//!
//! ```toml
//! signature_alg = "ed25519"
//! signature = "…128 lower-case hexadecimal digits…"
//! ```
//!
//! Signed are the file's bytes without the second line (its line feed goes with
//! it), by Ed25519 as in RFC 8032, not prehashed and without a context. There is one
//! way to write a signed file, so whatever else is found is a [`SignatureFault`],
//! not a variant: a signature that is not where or how it should be was not put
//! there by whoever signed.
//!
//! The signature is over the manifest alone. It says who asks for these powers, not
//! who made the executable.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use connector_contract::Manifest;
use data_encoding::HEXLOWER;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::Deserialize;

const ALGORITHM_LINE: &[u8] = b"signature_alg = \"ed25519\"\n";
const START: &[u8] = b"signature = \"";
const END: &[u8] = b"\"\n";

/// Whose signatures count: `[plugin_trust]` of `host.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Public keys by the names of those who hold them.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub keys: BTreeMap<String, PublicKey>,
    /// Whether every package must be signed by one of them.
    #[serde(default)]
    pub require_signature: bool,
}

/// An Ed25519 public key, written as 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicKey(VerifyingKey);

/// Why a text is no [`PublicKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an Ed25519 public key is 64 lower-case hexadecimal digits, and not one of the keys that fit every signature"
)]
pub struct KeyError;

/// Why what stands in a manifest as its signature is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// `signature_alg` is something else.
    #[error("signature_alg is `{0}`; only ed25519 is known")]
    Algorithm(String),
    /// `signature` without `signature_alg`.
    #[error("there is a signature, and no signature_alg in the line before it")]
    NoAlgorithm,
    /// `signature_alg` without `signature`.
    #[error("there is a signature_alg and no signature")]
    NoSignature,
    /// Several lines that begin like a signature.
    #[error("more than one line begins with `signature =`")]
    Doubled,
    /// A line that begins like the signature and is not the manifest's.
    #[error("a line begins with `signature =` and is not the manifest's signature")]
    Elsewhere,
    /// Windows line ends.
    #[error("the signature's line ends with a carriage return; a signed manifest has plain line feeds")]
    CarriageReturn,
    /// Not written as it must be.
    #[error(
        "the signature is not written as `signature = \"…\"` with 128 lower-case hexadecimal digits and nothing after it"
    )]
    Form,
    /// Not right after `signature_alg`.
    #[error("the signature does not stand right after the line `signature_alg = \"ed25519\"`")]
    Moved,
}

/// A well-formed signature, and what it is over.
#[derive(Debug)]
pub(super) struct Signed {
    message: Vec<u8>,
    signature: Signature,
}

impl Signed {
    /// The signature in `bytes`, which were read as `manifest`. `None` when it has none.
    pub(super) fn read(bytes: &[u8], manifest: &Manifest) -> Result<Option<Self>, SignatureFault> {
        let lines = signature_lines(bytes);
        match (&manifest.signature_alg, &manifest.signature) {
            (None, None) if lines.is_empty() => return Ok(None),
            (None, None) => return Err(SignatureFault::Elsewhere),
            (Some(other), _) if other != "ed25519" => return Err(SignatureFault::Algorithm(other.clone())),
            (Some(_), None) => return Err(SignatureFault::NoSignature),
            (None, Some(_)) => return Err(SignatureFault::NoAlgorithm),
            (Some(_), Some(_)) => {}
        }
        let (start, line) = match lines.as_slice() {
            [] => return Err(SignatureFault::Form),
            [one] => *one,
            _ => return Err(SignatureFault::Doubled),
        };
        let digits = digits(line)?;
        if manifest.signature.as_deref().map(str::as_bytes) != Some(digits) {
            return Err(SignatureFault::Elsewhere);
        }
        let before = &bytes[..start];
        if !(before == ALGORITHM_LINE || before.ends_with(&[b"\n", ALGORITHM_LINE].concat())) {
            return Err(SignatureFault::Moved);
        }
        let signature = decoded(digits).ok_or(SignatureFault::Form)?;
        let message = [before, &bytes[start + line.len()..]].concat();
        Ok(Some(Self { message, signature: Signature::from_bytes(&signature) }))
    }

    /// Who of those trusted made it.
    pub(super) fn signer<'a>(&self, trust: &'a Trust) -> Option<&'a str> {
        let made = |key: &PublicKey| key.0.verify_strict(&self.message, &self.signature).is_ok();
        trust.keys.iter().find(|(_, key)| made(key)).map(|(name, _)| name.as_str())
    }
}

/// Each line that begins with `signature` and an equals sign, with where it starts.
fn signature_lines(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut start = 0;
    let mut found = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let key = line.trim_ascii_start().strip_prefix(b"signature");
        if key.is_some_and(|rest| rest.trim_ascii_start().starts_with(b"=")) {
            found.push((start, line));
        }
        start += line.len();
    }
    found
}

fn digits(line: &[u8]) -> Result<&[u8], SignatureFault> {
    if line.ends_with(b"\r\n") {
        return Err(SignatureFault::CarriageReturn);
    }
    line.strip_prefix(START).and_then(|rest| rest.strip_suffix(END)).ok_or(SignatureFault::Form)
}

fn decoded<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    HEXLOWER.decode(digits).ok()?.try_into().ok()
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = decoded(text.as_bytes()).ok_or(KeyError)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError)?;
        if key.is_weak() { Err(KeyError) } else { Ok(Self(key)) }
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
