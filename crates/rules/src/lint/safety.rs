//! Who can make a rule run, who must agree, and what should not be in a file.

use super::{Lint, below, steps_with_paths};
use crate::condition::Condition;
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::rule::{Action, Trigger};
use crate::secret;

impl Lint<'_> {
    /// A trigger that anybody could cause, with nothing that asks who it was.
    pub(super) fn check_open_trigger(&mut self) {
        let rule = self.rule;
        let Trigger::ConnectorEvent { connector, event } = rule.trigger() else {
            return;
        };
        let trigger = self.catalog.trigger(connector, event);
        let open = trigger.is_some_and(|trigger| trigger.open);
        let fields = &self.policy.identity_fields;
        let asks_who = rule.conditions().iter().any(|one| asks_who(one, fields));
        if open && !asks_who && self.mutates() {
            let message = format!("anybody who can reach `{connector}` can fire this rule");
            let help = "let the surface admit certain people only, or ask who it was: a \
                        `FieldIn` on `trigger.user_id` or `trigger.chat_id`";
            let path = ["trigger", "event"];
            self.warn(Code::OpenTrigger, &path, message, Some(help.to_owned()));
        }
    }

    /// Whether a step does more than read; an action that is not known does.
    fn mutates(&self) -> bool {
        self.rule.all_steps().any(|step| match &step.action {
            Action::RunConnector { connector, action, .. } => {
                self.catalog.action(connector, action).is_none_or(|declared| !declared.read_only)
            }
            Action::Reply { .. } | Action::Delay { .. } | Action::Dedupe { .. } => false,
        })
    }

    /// A mutating action that runs without asking.
    pub(super) fn check_exemptions(&mut self) {
        let rule = self.rule;
        for (path, step) in steps_with_paths(rule) {
            let Action::RunConnector { connector, action, .. } = &step.action else {
                continue;
            };
            let declared = self.catalog.action(connector, action);
            let harmless = declared.is_some_and(|declared| declared.read_only);
            let exempted = self.policy.exemptions.iter().any(|one| {
                one.connector == *connector
                    && one.action.as_ref().is_none_or(|name| name == action)
                    && one.rule.as_ref().is_none_or(|name| name == rule.name())
            });
            if exempted && !harmless {
                let message = format!("`{connector}.{action}` runs here without approval");
                let help = Some("the host's configuration exempts it".to_owned());
                let path = below(&path, &["action"]);
                self.warn(Code::ExemptedAction, &path, message, help);
            }
        }
    }

    /// Approvals that nobody, or not enough people, can give.
    pub(super) fn check_approvals(&mut self) {
        let rule = self.rule;
        let Some(approvers) = rule.approvers() else {
            return;
        };
        let needed = rule.approvals_needed().get() as usize;
        let mut names = approvers.to_vec();
        names.sort();
        names.dedup();
        if names.is_empty() {
            let message = "nobody may approve this rule's steps".to_owned();
            let help = Some("name approvers, or leave the key out for the host's list".to_owned());
            self.warn(Code::Approvals, &["rule", "approvers"], message, help);
        } else if names.len() < needed {
            let message = format!("{needed} approvals are needed and {} can give one", names.len());
            self.error(Code::Approvals, &["rule", "approvals_needed"], message, None);
        } else if rule.require_other_approver() && names.len() == needed {
            let message = format!(
                "a request by `{}` can never be approved, because their own approval does not count",
                names[0]
            );
            self.warn(Code::Approvals, &["rule", "approvers"], message, None);
        }
    }

    /// Chats that the host may not tell.
    pub(super) fn check_followers(&mut self) {
        let policy = self.policy;
        for chat in self.rule.followers() {
            if let Some(why) = policy.refused_followers.get(chat) {
                self.error(
                    Code::Followers,
                    &["rule", "followers"],
                    format!("`{chat}` cannot be told of runs: {why}"),
                    None,
                );
            }
        }
    }

    /// Secrets anywhere in the file, comments included.
    pub(super) fn check_secrets(&mut self) {
        let source = &self.rule.source;
        let found = secret::find(&source.text).into_iter().map(|span| {
            let message = "this looks like a secret";
            Diagnostic::new(Severity::Error, Code::Secret, source, span, message)
                .help("keep it in the connector's configuration, and change it: it has been seen")
        });
        self.findings.extend(found);
    }
}

/// Whether a condition holds only for certain people or chats.
fn asks_who(condition: &Condition, fields: &[String]) -> bool {
    match condition {
        Condition::FieldEquals { field, .. } | Condition::FieldIn { field, .. } => {
            field.in_trigger().is_some_and(|keys| fields.contains(&keys.join(".")))
        }
        Condition::All { conditions } => conditions.iter().any(|one| asks_who(one, fields)),
        Condition::Any { conditions } => {
            !conditions.is_empty() && conditions.iter().all(|one| asks_who(one, fields))
        }
        _ => false,
    }
}
