//! The bot's token: the only secret, and a part of every request's path.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

/// A token as `@BotFather` gives it, checked for its shape so that it cannot
/// change the path it is put into. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Token(SecretString);

/// Why a text is no token. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bot token is not one; it looks like 123456789:AA… and comes from @BotFather")]
pub struct TokenError;

impl Token {
    /// Checks the shape: digits, a colon, letters.
    pub fn new(secret: SecretString) -> Result<Self, TokenError> {
        let (id, key) = secret.expose_secret().split_once(':').ok_or(TokenError)?;
        let is_key = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let fits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        if fits && key.len() >= 16 && key.bytes().all(is_key) { Ok(Self(secret)) } else { Err(TokenError) }
    }

    /// The bot's own user id, which is no secret.
    pub fn bot_id(&self) -> &str {
        self.0.expose_secret().split(':').next().unwrap_or_default()
    }

    /// The path of a method. Whoever calls this holds the secret in the answer.
    pub(crate) fn path(&self, method: &str) -> String {
        format!("/bot{}/{method}", self.0.expose_secret())
    }

    /// The path of a file's content.
    pub(crate) fn file_path(&self, file: &str) -> String {
        format!("/file/bot{}/{file}", self.0.expose_secret())
    }

    /// `text` without the token, should somebody have put it there.
    pub(crate) fn redact(&self, text: &str) -> String {
        let secret = self.0.expose_secret();
        let key = secret.split_once(':').map_or(secret, |(_, key)| key);
        text.replace(key, "…")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_change_a_path_is_a_token() {
        for good in ["1:AAAAAAAAAAAAAAAA", "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"] {
            assert!(Token::new(good.into()).is_ok(), "{good}");
        }
        for bad in [
            "",
            ":",
            "1:",
            "AAAAAAAAAAAAAAAA",
            "1:short",
            "1:AAAAAAAAAAAAAAA/",
            "1:AAAAAAAA/../AAAAAAAA",
            "1:AAAAAAAAAAAAAAAA?x",
            "a:AAAAAAAAAAAAAAAA",
            "1:AAAAAAAAAAAAAAAA\n",
        ] {
            assert_eq!(Token::new(bad.into()).unwrap_err(), TokenError, "{bad:?}");
        }
    }

    #[test]
    fn nothing_that_is_printed_shows_it() {
        let token = Token::new("42:SECRETSECRETSECRET".into()).unwrap();
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert_eq!(token.redact("POST /bot42:SECRETSECRETSECRET/getMe"), "POST /bot42:…/getMe");
        assert_eq!(token.bot_id(), "42");
    }
}
