//! Which rules an event could fire, without asking most of them.
//!
//! First by (connector, event); for now that is all.

use std::collections::HashMap;
use std::sync::Arc;

use crate::condition::Condition;
use crate::event::Event;
use crate::rule::Rule;

#[derive(Default)]
pub(super) struct Index {
    by_event: HashMap<String, HashMap<String, Vec<usize>>>,
}

impl Index {
    pub(super) fn new(rules: &[Arc<Rule>]) -> Self {
        let mut index = Self::default();
        for (at, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.enabled()) {
            let (connector, event) = rule.listens_to();
            let events = index.by_event.entry(connector.to_owned()).or_default();
            events.entry(event.to_owned()).or_default().push(at);
        }
        index
    }

    pub(super) fn candidates(&self, event: &Event) -> Vec<usize> {
        let events = self.by_event.get(&event.connector);
        let rules = events.and_then(|events| events.get(&event.event));
        rules.cloned().unwrap_or_default()
    }

    #[expect(clippy::unused_self, reason = "the order will be kept here")]
    pub(super) fn order<'a>(&self, rule: &'a Rule) -> Vec<&'a Condition> {
        let mut order: Vec<_> = rule.conditions().iter().collect();
        order.sort_by_key(|condition| condition.cost());
        order
    }
}
