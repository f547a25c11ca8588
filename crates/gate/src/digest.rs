//! What an approval is bound to.
//!
//! The digest is SHA-256 over a version line and the canonical JSON (RFC 8785)
//! of everything that decides what will run. Two steps with one digest are the
//! same request; a step whose digest changed is another request.

use std::fmt;

use connector_contract::Target;
use data_encoding::HEXLOWER;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::people::People;

/// The key of a target's settings under which a connector's instance says something of itself: it is shown, and no part of what
/// is approved.
pub const TOLD: &str = "told";

/// Changes whenever the meaning of [`Bound`]'s encoding does.
const VERSION: &[u8] = b"connector-host step v1\n";

/// How much of a digest a card shows, in hexadecimal digits; no decision may name less.
pub const SHORT: usize = 12;

/// Everything an approver agrees to.
#[derive(Debug, Serialize)]
pub struct Bound<'a> {
    /// The connector instance.
    pub connector: &'a str,
    /// Its action.
    pub action: &'a str,
    /// The resolved input.
    pub input: &'a Value,
    /// Origin, directory, model, agent, permissions: what the connector says it would touch.
    pub target: &'a Target,
    /// The rule's name.
    pub rule: &'a str,
    /// The rule's version.
    pub rule_version: &'a str,
    /// Who asked.
    pub requester: &'a str,
    /// Through which surface.
    pub surface: &'a str,
    /// In which chat.
    pub chat: &'a str,
    /// The version of the rule in force when somebody was asked; none if it was removed.
    pub rule_now: Option<&'a str>,
    /// How often somebody was asked, this time included: an old card does not answer a new question.
    pub asked: u32,
    /// Whose accounts there are, as far as anybody said.
    #[serde(skip_serializing_if = "People::is_empty")]
    pub people: &'a People,
}

/// A digest, written in 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// Takes a digest that [`Display`](fmt::Display) wrote.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// All of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Enough of it to tell two cards apart.
    pub fn short(&self) -> &str {
        self.0.get(..SHORT).unwrap_or(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Bound<'_> {
    /// The digest.
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        let mut hasher = Sha256::new();
        hasher.update(VERSION);
        let mut bound = serde_json::to_value(self)?;
        // What a daemon says of itself is shown, and is nothing that is decided here.
        if let Some(settings) = bound.pointer_mut("/target/settings").and_then(Value::as_object_mut) {
            settings.remove(TOLD);
        }
        hasher.update(serde_json_canonicalizer::to_vec(&bound)?);
        Ok(Digest(HEXLOWER.encode(&hasher.finalize())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Actor;
    use serde_json::json;

    fn digest_of(edit: impl FnOnce(&mut Value, &mut Target, &mut [String; 7])) -> Digest {
        digest_with(&People::default(), edit)
    }

    fn digest_with(people: &People, edit: impl FnOnce(&mut Value, &mut Target, &mut [String; 7])) -> Digest {
        let mut input = json!({ "prompt": "fix it", "title": "t" });
        let mut target = Target {
            origin: Some("http://127.0.0.1:1".into()),
            settings: [("model".into(), json!("a/b"))].into(),
        };
        let mut texts =
            ["opencode", "run_task", "fix", "v1", "console:me", "console", "main"].map(String::from);
        edit(&mut input, &mut target, &mut texts);
        let [connector, action, rule, rule_version, requester, surface, chat] = &texts;
        Bound {
            connector,
            action,
            input: &input,
            target: &target,
            rule,
            rule_version,
            requester,
            surface,
            chat,
            rule_now: Some(rule_version),
            asked: 1,
            people,
        }
        .digest()
        .unwrap()
    }

    #[test]
    fn the_same_request_has_the_same_digest_however_it_is_written() {
        let written_otherwise = digest_of(|input, _, _| *input = json!({ "title": "t", "prompt": "fix it" }));
        assert_eq!(digest_of(|_, _, _| {}), written_otherwise);
    }

    #[test]
    fn whatever_changes_what_runs_changes_the_digest() {
        let original = digest_of(|_, _, _| {});
        let mut seen = vec![original];
        let mut differs = |digest: Digest| {
            assert!(!seen.contains(&digest));
            seen.push(digest);
        };
        differs(digest_of(|input, _, _| input["prompt"] = json!("fix it ")));
        differs(digest_of(|input, _, _| input["model"] = json!("x/y")));
        differs(digest_of(|_, target, _| target.origin = Some("http://127.0.0.1:2".into())));
        differs(digest_of(|_, target, _| target.origin = None));
        differs(digest_of(|_, target, _| _ = target.settings.insert("model".into(), json!("x/y"))));
        for place in 0..7 {
            differs(digest_of(|_, _, texts| texts[place].push('x')));
        }
        for (name, accounts) in [("anna", &["cli:a"][..]), ("ben", &["cli:a"]), ("anna", &["cli:a", "cli:b"])]
        {
            let accounts = accounts.iter().map(|it| Actor::from_text(*it)).collect();
            let people = People::of([(name.to_owned(), accounts)]).unwrap();
            differs(digest_with(&people, |_, _, _| {}));
        }
    }

    #[test]
    fn the_encoding_is_the_one_released() {
        // A change here makes every waiting card ask again: raise VERSION with it.
        insta::assert_snapshot!(digest_of(|_, _, _| {}), @"b9c2a9c980bf5b85a51e5159c7c6b514caa07ddf88e45dd2622256c6ca1d86e9");
    }
}
