//! Followers: the chats that rules name beside the one that asks, and whether a host may tell them.
//!
//! A rule says who is to be told; whether a chat is written to is for its surface's configuration. Both are looked at
//! when rules are read, and again by each run that is made.

use std::collections::BTreeMap;
use std::sync::Arc;

use connector_rules::{ChatAddress, Rule, RuleSet};
use connector_surface::Surface;

/// The followers of `rules` that are not admitted, and why.
pub fn refused(
    rules: &RuleSet,
    admits: impl Fn(&ChatAddress) -> Result<(), String>,
) -> BTreeMap<ChatAddress, String> {
    let all = rules.rules().iter().flat_map(|rule| rule.followers());
    all.filter_map(|chat| Some((chat.clone(), admits(chat).err()?))).collect()
}

/// What is wrong with the followers of a rule, in words; nothing where all are admitted.
pub fn fault(rule: &Rule, admits: impl Fn(&ChatAddress) -> Result<(), String>) -> Option<String> {
    let wrong =
        |chat: &ChatAddress| Some(format!("`{chat}` cannot be told of runs: {}", admits(chat).err()?));
    let faults: Vec<String> = rule.followers().iter().filter_map(wrong).collect();
    (!faults.is_empty()).then(|| format!("followers of the rule {}: {}", rule.name(), faults.join("; ")))
}

/// Whether one of these surfaces may tell a chat that did not ask.
pub fn admitted_by<'a>(
    surfaces: impl IntoIterator<Item = &'a Arc<dyn Surface>>,
    (surface, chat): (&str, &str),
) -> Result<(), String> {
    let mut known = Vec::new();
    for it in surfaces {
        if it.name() == surface {
            return it.admits(chat);
        }
        known.push(it.name());
    }
    Err(unknown(surface, known))
}

/// What is said of a chat of a surface that is not among the `known` ones.
pub fn unknown(surface: &str, mut known: Vec<&str>) -> String {
    known.sort_unstable();
    let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    let known =
        if known.is_empty() { "there is none".to_owned() } else { format!("there is {}", known.join(", ")) };
    format!("no surface `{surface}` is configured; {known}")
}
