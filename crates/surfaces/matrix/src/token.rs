//! The access token: the only secret, and a header of every request.

use std::fmt;

use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};

/// An access token as a homeserver gives it. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct AccessToken(SecretString);

/// Why a text is no token. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the access token is not one; log in once to get it, or copy the bot's own from its client")]
pub struct TokenError;

/// The shortest that is taken: what is shorter would be found in ordinary texts, and struck out there.
const SHORTEST: usize = 8;

impl AccessToken {
    /// Checks that it is one word that a header can carry.
    pub fn new(secret: SecretString) -> Result<Self, TokenError> {
        let word = secret.expose_secret();
        let fits = word.len() >= SHORTEST && word.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(secret)) } else { Err(TokenError) }
    }

    /// The token itself, for whoever keeps it.
    pub fn secret(&self) -> &SecretString {
        &self.0
    }

    /// The header's value, which no log shows.
    pub(crate) fn header(&self) -> Result<HeaderValue, TokenError> {
        let bearer = format!("Bearer {}", self.0.expose_secret());
        let mut value = HeaderValue::from_str(&bearer).map_err(|_| TokenError)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// `text` without the token, should somebody have put it there.
    pub(crate) fn redact(&self, text: &str) -> String {
        text.replace(self.0.expose_secret(), "…")
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_header_can_carry_is_a_token() {
        for good in ["syt_Ym90_nBOSovQwVQgukMKBEFFW_00bskK", "MDAxabc+/="] {
            assert!(AccessToken::new(good.into()).is_ok(), "{good}");
        }
        for bad in ["", "short", "two words of it", "syt_abcdefgh\n", "syt_abcdefghé"] {
            assert_eq!(AccessToken::new(bad.into()).unwrap_err(), TokenError, "{bad:?}");
        }
    }

    #[test]
    fn nothing_that_is_printed_shows_it() {
        let token = AccessToken::new("SECRETSECRET".into()).unwrap();
        assert_eq!(format!("{token:?} {:?}", token.header().unwrap()), "AccessToken(…) Sensitive");
        assert_eq!(token.redact("no SECRETSECRET here"), "no … here");
    }
}
