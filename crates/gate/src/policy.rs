//! What asks, and whom.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use connector_rules::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::people::{People, Person};

/// An account: someone who acts: `console`, `cli:anna`, `telegram:12345`. The part before
/// the colon is the surface, which vouches for the part after it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Actor(String);

impl Actor {
    /// The user `user` of `surface`.
    pub fn new(surface: &str, user: &str) -> Self {
        Self(if user.is_empty() { surface.to_owned() } else { format!("{surface}:{user}") })
    }

    /// An actor as configuration or the ledger writes it.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As configuration writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Who they are there; nothing where the surface has one user.
    pub fn user(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, user)| user)
    }

    /// The surface that vouches for them.
    pub fn surface(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(surface, _)| surface)
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What happens at the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// A person decides.
    Ask,
    /// It passes: an exemption that somebody wrote down.
    Allow,
    /// Nobody can approve it.
    Deny,
}

/// An exemption from the default: it names connector, action and rule, so that
/// none reaches further than it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyRule {
    /// The connector instance.
    pub connector: String,
    /// Its action.
    pub action: String,
    /// The rule whose steps it is about.
    pub rule: String,
    /// What happens instead of asking.
    pub policy: Policy,
}

/// Who approves, and how many of them it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Who may. Empty means nobody.
    pub approvers: Vec<Actor>,
    /// How many persons it takes.
    pub needed: u32,
    /// Whether the requester's own approval does not count, through whichever account.
    pub other: bool,
    /// Whose accounts there are.
    pub people: People,
}

impl Terms {
    /// The terms of a rule's steps: the rule's own list where it has one; of the rest, the
    /// stricter.
    pub fn of(rule: &Rule, gate: &GateConfig) -> Self {
        let approvers = match rule.approvers() {
            Some(own) => own.iter().map(Actor::from_text).collect(),
            None => gate.approvers.clone(),
        };
        Self {
            approvers,
            needed: rule.approvals_needed().get().max(gate.approvals_needed),
            other: rule.require_other_approver() || gate.require_other_approver,
            people: gate.people.clone(),
        }
    }

    /// Whether the approvals of `given` are enough for a request of `requester`.
    pub fn satisfied_by<'a>(&self, given: impl IntoIterator<Item = &'a Actor>, requester: &Actor) -> bool {
        // Even where no approval were asked for, nobody's is none.
        self.count(given, requester) >= self.needed.max(1)
    }

    /// How many persons approved a request of `requester`, of those who may.
    pub fn count<'a>(&self, given: impl IntoIterator<Item = &'a Actor>, requester: &Actor) -> u32 {
        let counted: BTreeSet<Person<'_>> = self
            .approvers
            .iter()
            .filter(|approver| !self.bars(approver, requester))
            .filter_map({
                let given: BTreeSet<&Actor> = given.into_iter().collect();
                move |approver| given.contains(approver).then(|| self.people.person(approver))
            })
            .collect();
        u32::try_from(counted.len()).unwrap_or(u32::MAX)
    }

    /// Whether an account's approval does not count since its person asked.
    pub fn bars(&self, account: &Actor, requester: &Actor) -> bool {
        self.other && self.people.are_one(account, requester)
    }
}

/// How the gate is set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GateConfig {
    /// Who may approve. Empty means nobody.
    pub approvers: Vec<Actor>,
    /// How many persons it takes.
    pub approvals_needed: u32,
    /// Whether the requester's own approval does not count, through whichever account.
    pub require_other_approver: bool,
    /// How long a delivered card waits, in seconds.
    pub expiry_secs: u64,
    /// How long "allow for this session" holds, in seconds.
    pub session_allowance_secs: u64,
    /// Exemptions.
    pub policy: Vec<PolicyRule>,
    /// How many cards one chat may have waiting.
    pub max_waiting_per_chat: u32,
    /// How many cards may wait in all.
    pub max_waiting: u32,
    /// Whose accounts there are; they have a table of their own, `[people]`.
    #[serde(skip)]
    pub people: People,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self {
            approvers: Vec::new(),
            approvals_needed: 1,
            require_other_approver: false,
            expiry_secs: 15 * 60,
            session_allowance_secs: 8 * 60 * 60,
            policy: Vec::new(),
            max_waiting_per_chat: 20,
            max_waiting: 10_000,
            people: People::default(),
        }
    }
}

impl GateConfig {
    /// What happens to `action` of `connector` when `rule` asks for it.
    pub fn policy(&self, connector: &str, action: &str, rule: &str, read_only: bool) -> Policy {
        let written = self
            .policy
            .iter()
            .find(|entry| entry.connector == connector && entry.action == action && entry.rule == rule);
        match written {
            Some(entry) => entry.policy,
            None if read_only => Policy::Allow,
            None => Policy::Ask,
        }
    }

    /// How long "allow for this session" holds.
    pub fn session_allowance(&self) -> Duration {
        Duration::from_secs(self.session_allowance_secs)
    }

    /// How long a delivered card waits.
    pub fn expiry(&self) -> Duration {
        Duration::from_secs(self.expiry_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_mutate_asks_unless_all_three_names_are_exempted() {
        let exempt = PolicyRule {
            connector: "oc".into(),
            action: "run_task".into(),
            rule: "fix".into(),
            policy: Policy::Allow,
        };
        let gate = GateConfig { policy: vec![exempt], ..GateConfig::default() };
        for (connector, action, rule, read_only, expected) in [
            ("oc", "run_task", "fix", false, Policy::Allow),
            ("oc", "run_task", "other", false, Policy::Ask),
            ("oc", "continue_session", "fix", false, Policy::Ask),
            ("oc2", "run_task", "fix", false, Policy::Ask),
            ("oc2", "look", "fix", true, Policy::Allow),
        ] {
            assert_eq!(
                gate.policy(connector, action, rule, read_only),
                expected,
                "{connector} {action} {rule}"
            );
        }
    }

    #[test]
    fn enough_are_enough_different_people_who_may() {
        let actors = |names: &[&str]| names.iter().map(|name| Actor::from_text(*name)).collect::<Vec<_>>();
        let anna = Actor::from_text("anna");
        for (needed, other, given, enough) in [
            (1, false, &["anna"][..], true),
            (1, false, &[], false),
            (0, false, &[], false),
            (1, false, &["mallory"], false),
            (2, false, &["ben", "ben"], false),
            (2, false, &["ben", "anna"], true),
            (1, true, &["anna"], false),
            (2, true, &["anna", "ben"], false),
            (2, true, &["anna", "ben", "cleo"], true),
        ] {
            let approvers = actors(&["anna", "ben", "cleo"]);
            let terms = Terms { approvers, needed, other, people: People::default() };
            assert_eq!(terms.satisfied_by(&actors(given), &anna), enough, "{needed} {other} {given:?}");
        }
    }

    #[test]
    fn by_default_nobody_may_approve() {
        assert!(GateConfig::default().approvers.is_empty());
    }
}
