//! Takes secrets, terminal escapes and control characters out of what a process printed.

use data_encoding::BASE64;
use secrecy::{ExposeSecret, SecretString};

const SHOWN: &str = "[redacted]";
const LINE: usize = 400;

/// Knows the secrets of one daemon. Has no `Debug` on purpose.
#[derive(Clone, Default)]
pub struct Redactor(Vec<SecretString>);

impl Redactor {
    /// Adds a secret and its Basic-authentication form. Values too short to be secrets are left alone,
    /// because hiding every `1` would hide the text as well.
    pub fn add(&mut self, secret: &str) {
        if secret.len() >= 6 {
            self.0.push(SecretString::from(secret));
            self.0.push(SecretString::from(BASE64.encode(format!("opencode:{secret}").as_bytes())));
            // The longest first: another may be its beginning.
            self.0.sort_by_key(|it| std::cmp::Reverse(it.expose_secret().len()));
        }
    }

    /// A text without the secrets.
    pub fn text(&self, text: &str) -> String {
        let hidden = |text: String, secret: &SecretString| text.replace(secret.expose_secret(), SHOWN);
        self.0.iter().fold(text.to_owned(), hidden)
    }

    /// One printed line as it may be shown and kept.
    pub(crate) fn line(&self, line: &str) -> String {
        let plain = anstream::adapter::strip_str(line).to_string();
        let mut text: String =
            plain.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect();
        text = self.text(&text);
        match text.char_indices().nth(LINE) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_escapes_and_control_characters_are_taken_out() {
        let mut redactor = Redactor::default();
        redactor.add("s3cr3t-pass");
        assert_eq!(
            redactor.line("\u{1b}[91mError\u{1b}[0m: s3cr3t-pass\u{7} b3BlbmNvZGU6czNjcjN0LXBhc3M="),
            "Error: [redacted] [redacted]"
        );
    }

    #[test]
    fn of_two_secrets_the_one_that_begins_with_the_other_is_taken_out_whole() {
        let mut redactor = Redactor::default();
        for secret in ["abcdef", "abcdef-prod-1"] {
            redactor.add(secret);
        }
        assert_eq!(redactor.line("abcdef-prod-1 abcdef"), "[redacted] [redacted]");
    }

    #[test]
    fn long_lines_are_cut_at_a_character() {
        let line = Redactor::default().line(&"é".repeat(1000));
        assert_eq!(line.chars().count(), LINE + 1);
    }
}
