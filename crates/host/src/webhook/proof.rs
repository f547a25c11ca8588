//! How a request shows whose it is.

use std::time::Duration;

use connector_gate::clock::Millis;
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::config::Verify;

/// A shorter secret could be guessed.
const SHORTEST: usize = 16;

/// The signatures of a request that are looked at: a sender that changes its secret sends two.
const SIGNATURES: usize = 8;

/// Where GitLab puts the token.
const GITLAB: &str = "x-gitlab-token";

/// The two names of each header of Standard Webhooks.
const ID: [&str; 2] = ["webhook-id", "svix-id"];
const TIMESTAMP: [&str; 2] = ["webhook-timestamp", "svix-timestamp"];
const SIGNATURE: [&str; 2] = ["webhook-signature", "svix-signature"];

/// How a request shows whose it is, with what it is checked against.
#[derive(Debug)]
pub enum Proof {
    /// The HMAC-SHA256 of the body, in hexadecimal.
    Github {
        /// The key.
        secret: SecretString,
        /// Where the signature is.
        header: HeaderName,
    },
    /// The HMAC-SHA256 of id, time and body, by Standard Webhooks.
    Standard {
        /// As it was written.
        secret: SecretString,
        /// The key that it says.
        key: SecretSlice<u8>,
    },
    /// The secret itself.
    Token {
        /// It.
        secret: SecretString,
        /// Where it is.
        header: HeaderName,
    },
    /// Nothing is shown.
    None,
}

/// Why a request is not who it should be from. What header it is to have, and what is in it, is not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// What it is to carry is not there, or there twice.
    #[error("the header that shows whose the request is is not there, or there twice")]
    Header,
    /// The signature is of something else, or made with another secret.
    #[error("the signature is not that of this body by this webhook's secret")]
    Signature,
    /// The token is another.
    #[error("the token is not this webhook's")]
    Token,
    /// It was signed long ago, or in the future.
    #[error("the request was signed at another time than now, by more than {0} s")]
    Time(u64),
}

impl Proof {
    /// What `verify` wants, with its secret and the header that it is in.
    pub(super) fn new(
        verify: Verify,
        secret: Option<SecretString>,
        header: Option<HeaderName>,
    ) -> Result<Self, String> {
        if matches!(verify, Verify::Standard | Verify::None) && header.is_some() {
            return Err("`header` is for `verify = \"github\"` and `verify = \"token\"`".to_owned());
        }
        let secret = match (verify, secret) {
            (Verify::None, None) => return Ok(Self::None),
            (Verify::None, Some(_)) => {
                return Err(
                    "with `verify = \"none\"` nothing is done with a `secret`; leave one of them out"
                        .to_owned(),
                );
            }
            (_, None) => {
                return Err("there is no `secret`; name one, as in `secret = \"env:HOOK_SECRET\"`".to_owned());
            }
            (_, Some(secret)) => secret,
        };
        if secret.expose_secret().len() < SHORTEST {
            return Err(format!(
                "the secret could be guessed: it has less than {SHORTEST} characters; `openssl rand -hex 32` prints one"
            ));
        }
        let or_usual = |name: &'static str| header.unwrap_or(HeaderName::from_static(name));
        Ok(match verify {
            Verify::Github => Self::Github { secret, header: or_usual("x-hub-signature-256") },
            Verify::Token => Self::Token { secret, header: or_usual(GITLAB) },
            Verify::Standard | Verify::None => {
                let key = standard_key(secret.expose_secret())?;
                Self::Standard { secret, key: key.into() }
            }
        })
    }

    /// The header that it is in, where there is one for each.
    pub(super) fn header(&self) -> Option<&HeaderName> {
        match self {
            Self::Github { header, .. } | Self::Token { header, .. } => Some(header),
            Self::Standard { .. } | Self::None => None,
        }
    }

    /// Where senders of this kind usually put a delivery's id.
    pub(super) fn id_header(&self) -> Option<&'static str> {
        match self {
            Self::Github { .. } => Some("x-github-delivery"),
            Self::Token { header, .. } if *header == GITLAB => Some("idempotency-key"),
            _ => None,
        }
    }

    /// The id that is signed with the body, where it is.
    pub(super) fn delivery_id<'h>(&self, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
        if matches!(self, Self::Standard { .. }) { either(headers, ID).ok() } else { None }
    }

    /// As it was written.
    pub(super) fn secret(&self) -> Option<&SecretString> {
        match self {
            Self::Github { secret, .. } | Self::Standard { secret, .. } | Self::Token { secret, .. } => {
                Some(secret)
            }
            Self::None => None,
        }
    }

    /// Whether the body of a request is read: it has what that is to be checked by, or the right token.
    pub fn admits(&self, headers: &HeaderMap) -> Result<(), Refused> {
        match self {
            Self::Github { header, .. } => only(headers, header).map(drop),
            Self::Token { secret, header } => is_token(headers, header, secret),
            Self::Standard { .. } => {
                [ID, TIMESTAMP, SIGNATURE].into_iter().try_for_each(|names| either(headers, names).map(drop))
            }
            Self::None => Ok(()),
        }
    }

    /// Whether a request is from who knows the secret. How long that takes says nothing of the secret.
    pub fn holds(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Millis,
        tolerance: Duration,
    ) -> Result<(), Refused> {
        match self {
            Self::Github { secret, header } => {
                let signature = only(headers, header)?.as_bytes();
                let hex = signature.strip_prefix(b"sha256=").unwrap_or(signature);
                let signature = HEXLOWER_PERMISSIVE.decode(hex).map_err(|_| Refused::Signature)?;
                is_signed(secret.expose_secret().as_bytes(), &[body], &signature)
            }
            Self::Token { secret, header } => is_token(headers, header, secret),
            Self::Standard { key, .. } => {
                let (id, signed_at) = (either(headers, ID)?, either(headers, TIMESTAMP)?);
                is_recent(signed_at, now, tolerance)?;
                let signed: [&[u8]; 5] = [id.as_bytes(), b".", signed_at.as_bytes(), b".", body];
                let signatures = either(headers, SIGNATURE)?.as_bytes();
                let all = signatures.split(|byte| *byte == b' ').take(SIGNATURES);
                let mut ours = all.filter_map(|one| BASE64.decode(one.strip_prefix(b"v1,")?).ok());
                if ours.any(|one| is_signed(key.expose_secret(), &signed, &one).is_ok()) {
                    Ok(())
                } else {
                    Err(Refused::Signature)
                }
            }
            Self::None => Ok(()),
        }
    }
}

/// The key of a secret as Standard Webhooks writes it: base64 after `whsec_`.
fn standard_key(secret: &str) -> Result<Vec<u8>, String> {
    let text = secret.strip_prefix("whsec_").unwrap_or(secret);
    let key = BASE64.decode(text.as_bytes()).ok().filter(|key| key.len() >= SHORTEST);
    key.ok_or_else(|| {
        format!(
            "the secret is none of Standard Webhooks: that is `whsec_` and {SHORTEST} bytes or more in base64"
        )
    })
}

fn is_token(headers: &HeaderMap, header: &HeaderName, secret: &SecretString) -> Result<(), Refused> {
    let given = only(headers, header)?.as_bytes();
    let same = given.ct_eq(secret.expose_secret().as_bytes());
    if bool::from(same) { Ok(()) } else { Err(Refused::Token) }
}

fn is_signed(key: &[u8], parts: &[&[u8]], signature: &[u8]) -> Result<(), Refused> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| Refused::Signature)?;
    for part in parts {
        mac.update(part);
    }
    mac.verify_slice(signature).map_err(|_| Refused::Signature)
}

/// Whether a time in whole seconds, as it is written, is close to now.
fn is_recent(written: &HeaderValue, now: Millis, tolerance: Duration) -> Result<(), Refused> {
    let seconds = tolerance.as_secs();
    let at = written.to_str().ok().and_then(|text| text.parse::<u32>().ok());
    let apart = at.map(|at| now.abs_diff(Millis::from(at) * 1_000));
    if apart.is_some_and(|apart| apart <= seconds * 1_000) { Ok(()) } else { Err(Refused::Time(seconds)) }
}

/// The value of a header that is there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h HeaderValue, Refused> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(Refused::Header),
    }
}

/// The same of a header that has two names, of which the first counts where both are there.
fn either<'h>(headers: &'h HeaderMap, names: [&'static str; 2]) -> Result<&'h HeaderValue, Refused> {
    let [first, second] = names.map(HeaderName::from_static);
    let second_alone = headers.contains_key(&second) && !headers.contains_key(&first);
    only(headers, if second_alone { &second } else { &first })
}
