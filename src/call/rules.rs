//! The permission rules of a session: looked up, and put on top of what holds below.

use bytes::Bytes;
use connector_contract::ConnectorError;

use super::Call;
use crate::config::SavedRules;
use crate::link::LinkError;
use crate::permissions::tighten::{passes, tighten};
use crate::permissions::{Action, WireRule};
use crate::wire::{Below, HeldRule, SessionFacts};

/// How many rules behind a session's others are looked at for being ours.
const OURS: usize = 100;

/// What a session is to be under.
pub(super) struct Powers {
    /// What holds without the session's own rules; `None` where nothing has to be known
    /// of it.
    below: Option<Vec<WireRule>>,
    bound: Vec<WireRule>,
}

impl Powers {
    /// What is to be put behind the rules that a session has: nothing if it is under its
    /// bound already.
    pub(super) fn missing(&self, held: &[HeldRule]) -> Vec<WireRule> {
        // What cannot be read may allow anything.
        let unknown = || WireRule { permission: "*".into(), pattern: "*".into(), action: Action::Allow };
        let held: Vec<WireRule> = held.iter().map(|it| it.rule.clone().unwrap_or_else(unknown)).collect();
        let first = held.len().saturating_sub(OURS);
        if (first..held.len()).any(|from| self.added(&held[..from]) == held[from..]) {
            return Vec::new();
        }
        self.added(&held)
    }

    fn added(&self, held: &[WireRule]) -> Vec<WireRule> {
        let below = self.below.as_deref().unwrap_or_default();
        let mut all = [below, held].concat();
        let mut added = Vec::new();
        // A session's own rules may have loosened what is below them.
        if held.iter().any(|it| it.action != Action::Deny) && !below.is_empty() {
            added = tighten(&all, below);
            all.extend(added.iter().cloned());
        }
        added.extend(tighten(&all, &self.bound));
        added
    }

    /// Those of the grants `saved` that a session with these rules of its own would not be asked about
    /// although a rule asks; nothing where there is no bound.
    pub(super) fn passing(&self, held: &[WireRule], saved: &[WireRule]) -> Vec<String> {
        let Some(below) = &self.below else { return Vec::new() };
        let in_force = [below.as_slice(), held].concat();
        let passing = saved.iter().filter(|grant| passes(&in_force, grant));
        passing.map(|grant| format!("{} `{}`", grant.permission, grant.pattern)).collect()
    }

    fn in_force(&self, held: &[HeldRule]) -> Vec<WireRule> {
        let held = held.iter().filter_map(|it| it.rule.clone());
        self.below.iter().flatten().cloned().chain(held).collect()
    }
}

impl Call<'_> {
    /// What a session for this call is to be under, whose prompts go to `agent`.
    pub(super) async fn powers(&self, agent: Option<&str>) -> Result<Powers, ConnectorError> {
        let dialect = &self.link.dialect;
        let wanted = self.shared.settings.permissions_for(&self.ctx.provenance);
        let below = match &wanted {
            Some(_) => Some(self.below(agent).await?),
            None => None,
        };
        let mut bound = dialect.rules(wanted.unwrap_or_default().wire());
        bound.extend(dialect.never().iter().map(|kind| denied(kind)));
        Ok(Powers { below, bound })
    }

    pub(super) async fn below(&self, agent: Option<&str>) -> Result<Vec<WireRule>, ConnectorError> {
        let dialect = &self.link.dialect;
        let mut pause = self.shared.timing.poll_min;
        let until = tokio::time::Instant::now() + self.shared.timing.request;
        loop {
            let [agents, config] = dialect.below();
            let bodies: Result<[Bytes; 2], LinkError> = async {
                let (agents, config) = tokio::join!(self.link.fetch(agents), self.link.fetch(config));
                Ok([agents?, config?])
            }
            .await;
            let below = bodies.and_then(|bodies| Ok(dialect.read_below(&bodies, agent)?));
            let late = tokio::time::Instant::now() + pause > until;
            match below.map_err(|error| self.untold(error))? {
                Below::Rules(rules) => return Ok(rules),
                // The prompt will fail and say why; an agent that comes later may do nothing.
                Below::NoAgent if late || !dialect.loads_late() => return Ok(vec![denied("*")]),
                Below::NotYet if late => return Err(self.untold_yet()),
                Below::NoAgent | Below::NotYet => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(self.shared.timing.poll_max);
        }
    }

    /// Rules that are not known could be loosened unseen.
    fn untold(&self, error: LinkError) -> ConnectorError {
        match error {
            LinkError::Undecodable(why) => ConnectorError::Refused {
                reason: format!(
                    "the daemon does not tell the rules of its agents ({why}), so nothing was sent to the agent; use another opencode"
                ),
            },
            other => self.not_started(other),
        }
    }

    fn untold_yet(&self) -> ConnectorError {
        ConnectorError::Unavailable {
            reason: format!(
                "the daemon at {} has not loaded its configuration, so the rules of its agents are not known; try again",
                self.shared.settings.origin
            ),
            source: None,
        }
    }

    /// What was granted for good wins over rules that ask: those rules would ask nobody.
    pub(super) async fn check_saved(
        &self,
        facts: &SessionFacts,
        powers: &Powers,
    ) -> Result<(), ConnectorError> {
        let (Some(project), Some(_)) = (&facts.project, &powers.below) else { return Ok(()) };
        let Some(request) = self.link.dialect.saved(project) else { return Ok(()) };
        if self.shared.settings.saved_rules(&self.ctx.provenance) == SavedRules::Show {
            return Ok(());
        }
        let saved =
            self.link.fetch(request).await.and_then(|body| Ok(self.link.dialect.read_saved(&body)?));
        let saved = saved.map_err(|error| self.not_started(error))?;
        let in_force = powers.in_force(&facts.rules);
        let passing: Vec<String> = saved
            .iter()
            .filter(|grant| passes(&in_force, grant))
            .map(|grant| format!("{} `{}`", grant.permission, grant.pattern))
            .collect();
        if passing.is_empty() {
            return Ok(());
        }
        Err(ConnectorError::Refused {
            reason: format!(
                "the project has saved permissions that would pass without being asked about: {}; remove them in opencode, or set `saved_rules = \"show\"`",
                passing.join(", ")
            ),
        })
    }
}

fn denied(kind: &str) -> WireRule {
    WireRule { permission: kind.to_owned(), pattern: "*".to_owned(), action: Action::Deny }
}

/// An agent without the rules it should have would never have to ask.
pub(super) fn check_rules(facts: &SessionFacts, rules: &[WireRule]) -> Result<(), ConnectorError> {
    if facts.is_under(rules) {
        return Ok(());
    }
    Err(ConnectorError::Refused {
        reason: format!(
            "the daemon did not take the permission rules of session {}, so nothing was sent to the agent; use a newer opencode",
            facts.id
        ),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn rules(text: &str) -> Vec<WireRule> {
        let rule = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let action = serde_json::from_value(Value::from(words[2])).unwrap();
            WireRule { permission: words[0].into(), pattern: words[1].into(), action }
        };
        text.split(", ").filter(|it| !it.is_empty()).map(rule).collect()
    }

    fn held(text: &str) -> Vec<HeldRule> {
        let held = |rule| HeldRule { rule: Some(rule), raw: Value::Null };
        rules(text).into_iter().map(held).collect()
    }

    #[test]
    fn a_session_that_is_continued_is_under_its_bound_once_and_for_all() {
        let below = Some(rules("* * allow, bash * deny"));
        let powers = Powers { below, bound: rules("edit * ask, task * deny") };
        for before in ["", "edit * allow", "bash * ask, edit * allow", "edit * deny", "task * deny"] {
            let before = held(before);
            let added = powers.missing(&before);
            let after: Vec<HeldRule> = before
                .into_iter()
                .chain(added.into_iter().map(|it| HeldRule { rule: Some(it), raw: Value::Null }))
                .collect();
            assert_eq!(powers.missing(&after), [], "{after:?}");
            let all = powers.in_force(&after);
            let decide = |kind| crate::permissions::tighten::decide(&all, kind, "x");
            assert!(decide("edit") >= Action::Ask, "{all:?}");
            assert_eq!((decide("bash"), decide("task")), (Action::Deny, Action::Deny), "{all:?}");
        }
    }

    #[test]
    fn a_rule_that_cannot_be_read_is_taken_for_one_that_allows_everything() {
        let powers = Powers { below: Some(rules("* * allow, bash * deny")), bound: rules("edit * ask") };
        let added = powers.missing(&[HeldRule { rule: None, raw: Value::Null }]);
        assert_eq!(added, rules("bash * deny, edit * ask"));
    }
}
