//! What looks like a secret, so that it is reported and never repeated.
//!
//! Shapes of well-known tokens, and any fixed text given to a key that is named like a secret. A
//! miss costs a warning; a hit costs one line of a rule file being shown with asterisks.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// Tokens whose shape alone gives them away; the whole match is the secret.
const SHAPES: &[&str] = &[
    r"\bsk-[A-Za-z0-9_-]{16,}",
    r"\bgh[pousr]_[A-Za-z0-9]{20,}",
    r"\bgithub_pat_[A-Za-z0-9_]{20,}",
    r"\bglpat-[A-Za-z0-9_-]{16,}",
    r"\bxox[abeprs]-[A-Za-z0-9-]{10,}",
    r"\bAKIA[0-9A-Z]{16}\b",
    r"\bAIza[0-9A-Za-z_-]{30,}",
    r"\bnpm_[A-Za-z0-9]{30,}",
    r"\b[0-9]{8,10}:[A-Za-z0-9_-]{30,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
];

/// A key named like a secret, given fixed text; the group `value` is the secret.
const ASSIGNED: &str = r#"(?i)\b[a-z0-9_-]*(?:password|passwd|secret|api_?key|access_?key|token)["']?\s*=\s*["'](?<value>[^"'$\s]{4,})["']"#;

static FORBIDDEN: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&format!("{}|{ASSIGNED}", SHAPES.join("|"))).ok());

/// Where secrets lie in a text. A value that names where to find one (`env:VAR`) is none.
pub(crate) fn find(text: &str) -> Vec<Range<usize>> {
    let Some(pattern) = FORBIDDEN.as_ref() else {
        return Vec::new();
    };
    pattern
        .captures_iter(text)
        .filter_map(|found| found.name("value").or_else(|| found.get(0)))
        .filter(|secret| !secret.as_str().starts_with("env:"))
        .map(|secret| secret.range())
        .collect()
}

/// The text with every secret replaced by as many asterisks as it has bytes.
pub(crate) fn redact(text: &str) -> Cow<'_, str> {
    let secrets = find(text);
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for secret in secrets {
        shown.push_str(&text[from..secret.start]);
        shown.push_str(&"*".repeat(secret.len()));
        from = secret.end;
    }
    shown.push_str(&text[from..]);
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_compiles() {
        assert!(FORBIDDEN.is_some());
    }

    #[test]
    fn secrets_are_masked_and_the_rest_keeps_its_place() {
        for (text, shown) in [
            ("password = \"hunter22\"  # é", "password = \"********\"  # é"),
            ("x = 'ghp_abcdefghijklmnopqrst12'", "x = '**************************'"),
            (
                "bot_token = \"123456789:AAaaBBbbCCccDDddEEeeFFffGGggHHhh\"",
                &format!("bot_token = \"{}\"", "*".repeat(42)),
            ),
        ] {
            assert_eq!(redact(text), shown);
            assert_eq!(text.len(), shown.len());
        }
    }

    #[test]
    fn names_of_secrets_and_references_are_not_secrets() {
        for text in [
            "password = \"env:OPENCODE_PASSWORD\"",
            "token = \"${trigger.token}\"",
            "prompt = \"explain what a password is\"",
            "cost = \"12:34\"",
        ] {
            assert!(find(text).is_empty(), "{text}");
        }
    }
}
