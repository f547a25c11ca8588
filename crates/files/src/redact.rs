//! Takes secrets out of what is written down.

use data_encoding::BASE64;
use secrecy::{ExposeSecret, SecretString};

const SHOWN: &str = "[redacted]";

/// Knows the secrets that a text is written without. Has no `Debug` on purpose.
#[derive(Clone, Default)]
pub struct Redactor(Vec<SecretString>);

impl Redactor {
    /// Adds a secret. Values too short to be secrets are left alone, because hiding every `1` would hide the text as
    /// well.
    pub fn add(&mut self, secret: &str) {
        if secret.len() >= 6 {
            self.0.push(SecretString::from(secret));
            // The longest first: another may be its beginning.
            self.0.sort_by_key(|it| std::cmp::Reverse(it.expose_secret().len()));
        }
    }

    /// Adds a password, and what it is sent as by Basic authentication of `user`.
    pub fn add_password(&mut self, user: &str, password: &str) {
        if password.len() >= 6 {
            self.add(&BASE64.encode(format!("{user}:{password}").as_bytes()));
            self.add(password);
        }
    }

    /// A text without the secrets.
    pub fn text(&self, text: &str) -> String {
        let hidden = |text: String, secret: &SecretString| text.replace(secret.expose_secret(), SHOWN);
        self.0.iter().fold(text.to_owned(), hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_taken_out_as_it_is_sent_too() {
        let mut redactor = Redactor::default();
        redactor.add_password("opencode", "s3cr3t-pass");
        let text = redactor.text("s3cr3t-pass b3BlbmNvZGU6czNjcjN0LXBhc3M= 1");
        assert_eq!(text, "[redacted] [redacted] 1");
    }

    #[test]
    fn what_is_too_short_to_be_a_secret_is_left_alone() {
        let mut redactor = Redactor::default();
        redactor.add("1");
        redactor.add_password("opencode", "12345");
        assert_eq!(redactor.text("12345"), "12345");
    }

    #[test]
    fn of_two_secrets_the_one_that_begins_with_the_other_is_taken_out_whole() {
        let mut redactor = Redactor::default();
        for secret in ["abcdef", "abcdef-prod-1"] {
            redactor.add(secret);
        }
        assert_eq!(redactor.text("abcdef-prod-1 abcdef"), "[redacted] [redacted]");
    }
}
