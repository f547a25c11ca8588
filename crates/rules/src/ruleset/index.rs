//! Which rules an event could fire, without asking most of them.
//!
//! Rules are grouped by (connector, event). In a large group, a rule is found through one of its
//! own conditions: a field that must equal something through a hash table, a field that must
//! contain or begin with some text through one automaton for all such texts, which reads the
//! event's text once. What an index finds is a candidate; all its conditions are then asked, cheap
//! ones first. So an event that fires nothing costs the same however many rules there are.

use std::collections::HashMap;
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use jiff::Timestamp;
use serde_json::Value;

use crate::condition::Condition;
use crate::event::Event;
use crate::path::Path;
use crate::rule::Rule;
use crate::scope::Lookup;

/// From this many rules on, an index is worth building.
const WORTH: usize = 4;

/// Below this, a number is a whole number that a float holds exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;

#[derive(Default)]
pub(super) struct Index {
    by_event: HashMap<String, HashMap<String, Group>>,
    /// For each rule, its conditions in the order of their cost.
    orders: Vec<Box<[usize]>>,
}

/// The rules of one (connector, event).
#[derive(Default)]
struct Group {
    /// Rules that are asked every time.
    always: Vec<usize>,
    equal: Vec<(Path, Equal)>,
    texts: Vec<(Path, Texts)>,
}

/// Rules by what a field must equal.
#[derive(Default)]
struct Equal {
    texts: HashMap<String, Vec<usize>>,
    numbers: HashMap<i64, Vec<usize>>,
}

/// Rules by a text that a field must have in it.
struct Texts {
    automaton: AhoCorasick,
    /// By the automaton's number of the text.
    rules: Vec<Vec<usize>>,
}

/// What a rule can be found through.
enum Handle<'a> {
    Equal(&'a Path, &'a [Value]),
    Text(&'a Path, &'a str),
}

impl Index {
    pub(super) fn new(rules: &[Arc<Rule>]) -> Self {
        let mut members: HashMap<&str, HashMap<&str, Vec<usize>>> = HashMap::new();
        for (at, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.enabled()) {
            let (connector, event) = rule.listens_to();
            let events = members.entry(connector).or_default();
            events.entry(event).or_default().push(at);
        }
        let group = |(event, at): (&str, Vec<usize>)| (event.to_owned(), Group::new(&at, rules));
        let by_event = members
            .into_iter()
            .map(|(connector, events)| {
                let groups = events.into_iter().map(group).collect();
                (connector.to_owned(), groups)
            })
            .collect();
        Self { by_event, orders: rules.iter().map(|rule| order(rule)).collect() }
    }

    /// The places of the rules that the event could fire, in ascending order.
    pub(super) fn candidates(&self, event: &Event, now: Timestamp) -> Vec<usize> {
        let events = self.by_event.get(&event.connector);
        let group = events.and_then(|events| events.get(&event.event));
        group.map_or_else(Vec::new, |group| group.candidates(event, now))
    }

    /// Whether the rule at that place fires, its trigger having been seen to.
    pub(super) fn fires(&self, at: usize, rule: &Rule, event: &Event, now: Timestamp) -> bool {
        let lookup = Lookup::before_run(event, rule.name(), now);
        let conditions = rule.conditions();
        let order = self.orders.get(at).into_iter().flatten();
        let mut ordered = order.filter_map(|at| conditions.get(*at));
        ordered.all(|condition| condition.holds(&lookup))
    }
}

fn order(rule: &Rule) -> Box<[usize]> {
    let mut order: Vec<_> = (0..rule.conditions().len()).collect();
    order.sort_by_key(|at| rule.conditions()[*at].cost());
    order.into()
}

impl Group {
    fn new(members: &[usize], rules: &[Arc<Rule>]) -> Self {
        let mut group = Self::default();
        let mut equal: HashMap<&Path, Vec<(usize, &[Value])>> = HashMap::new();
        let mut texts: HashMap<&Path, Vec<(usize, &str)>> = HashMap::new();
        for at in members {
            match rules.get(*at).and_then(|rule| handle(rule)) {
                Some(Handle::Equal(field, values)) => {
                    equal.entry(field).or_default().push((*at, values));
                }
                Some(Handle::Text(field, text)) => texts.entry(field).or_default().push((*at, text)),
                None => group.always.push(*at),
            }
        }
        for (field, found) in equal {
            if found.len() < WORTH {
                group.always.extend(found.iter().map(|(at, _)| *at));
            } else {
                group.equal.push((field.clone(), Equal::new(&found)));
            }
        }
        for (field, found) in texts {
            let index = (found.len() >= WORTH).then(|| Texts::new(&found)).flatten();
            match index {
                Some(index) => group.texts.push((field.clone(), index)),
                None => group.always.extend(found.iter().map(|(at, _)| *at)),
            }
        }
        group.always.sort_unstable();
        group
    }

    fn candidates(&self, event: &Event, now: Timestamp) -> Vec<usize> {
        let mut found = self.always.clone();
        let lookup = Lookup::before_run(event, "", now);
        for (field, index) in &self.equal {
            if let Ok(value) = lookup.get(field) {
                index.find(&value, &mut found);
            }
        }
        for (field, index) in &self.texts {
            if let Ok(value) = lookup.get(field) {
                index.find(&value, &mut found);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The condition that leaves out most events, if an index can use it.
fn handle(rule: &Rule) -> Option<Handle<'_>> {
    let mut best: Option<(usize, Handle<'_>)> = None;
    for condition in rule.conditions() {
        let found = match condition {
            Condition::FieldEquals { field, value } if key(value).is_some() => {
                (usize::MAX, Handle::Equal(field, std::slice::from_ref(value)))
            }
            Condition::FieldIn { field, values } if values.iter().all(|one| key(one).is_some()) => {
                (usize::MAX - 1, Handle::Equal(field, values))
            }
            Condition::FieldStartsWith { field, value } | Condition::FieldContains { field, value } => {
                (value.len(), Handle::Text(field, value))
            }
            _ => continue,
        };
        // The rule's own name is a value that a group does not have.
        let usable = condition.field().is_some_and(|field| field.in_trigger().is_some());
        if usable && best.as_ref().is_none_or(|(weight, _)| found.0 > *weight) {
            best = Some(found);
        }
    }
    best.map(|(_, handle)| handle)
}

/// A value that a hash table can find.
enum Key<'a> {
    Text(&'a str),
    Number(i64),
}

fn key(value: &Value) -> Option<Key<'_>> {
    match value {
        Value::String(text) => Some(Key::Text(text)),
        Value::Number(number) => number.as_i64().map(Key::Number).or_else(|| {
            let float = number.as_f64()?;
            #[expect(clippy::cast_possible_truncation, reason = "whole and in range: exact")]
            let whole = float as i64;
            (float.fract() == 0.0 && float.abs() < EXACT).then_some(Key::Number(whole))
        }),
        _ => None,
    }
}

impl Equal {
    fn new(rules: &[(usize, &[Value])]) -> Self {
        let mut index = Self::default();
        for (at, values) in rules {
            for value in *values {
                match key(value) {
                    Some(Key::Text(text)) => {
                        index.texts.entry(text.to_owned()).or_default().push(*at);
                    }
                    Some(Key::Number(number)) => {
                        index.numbers.entry(number).or_default().push(*at);
                    }
                    None => {}
                }
            }
        }
        index
    }

    fn find(&self, value: &Value, found: &mut Vec<usize>) {
        let rules = match key(value) {
            Some(Key::Text(text)) => self.texts.get(text),
            Some(Key::Number(number)) => self.numbers.get(&number),
            None => None,
        };
        found.extend(rules.into_iter().flatten());
    }
}

impl Texts {
    fn new(rules: &[(usize, &str)]) -> Option<Self> {
        let mut by_text: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, text) in rules {
            by_text.entry(text).or_default().push(*at);
        }
        let (texts, rules): (Vec<_>, Vec<_>) = by_text.into_iter().unzip();
        let automaton = AhoCorasick::new(texts).ok()?;
        Some(Self { automaton, rules })
    }

    fn find(&self, value: &Value, found: &mut Vec<usize>) {
        match value {
            Value::String(text) => {
                for hit in self.automaton.find_overlapping_iter(text) {
                    found.extend(self.rules.get(hit.pattern().as_usize()).into_iter().flatten());
                }
            }
            // An item of a list is compared whole, and a text that is equal is contained.
            Value::Array(items) => items.iter().filter(|item| item.is_string()).for_each(|item| {
                self.find(item, found);
            }),
            _ => {}
        }
    }
}
