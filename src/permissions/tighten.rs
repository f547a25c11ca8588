//! The rules that a session gets: never looser than what is in force without them.
//!
//! opencode takes the last rule that matches, so a rule behind others replaces what
//! they say, stricter or not. [`tighten`] therefore looks at the rules below and gives
//! those that make a bound hold on top of them: for each kind and pattern the stricter
//! of the two, or nothing. It allows nothing by itself. An exception within the bound,
//! such as `git status *` from a `*` that asks, is let through as far as the rules
//! below allow it and no further; where patterns cross, so that it cannot be told how
//! far, the stricter stays.

use super::glob::{covers, overlaps};
use super::{Action, WireRule};

/// The rules that make `bound` hold behind `below`, in the order the daemon takes them.
///
/// For everything that can be asked, `below` and then these decide at least as strictly
/// as `below` alone and as `bound` alone.
pub(crate) fn tighten(below: &[WireRule], bound: &[WireRule]) -> Vec<WireRule> {
    let mut added: Vec<WireRule> = Vec::new();
    for rule in bound {
        match rule.action {
            Action::Deny => added.push(rule.clone()),
            Action::Ask => added.extend(asking(rule, below)),
            Action::Allow if added.iter().any(|it| it.action != Action::Allow && crosses(it, rule)) => {
                added.extend(exception(rule, below));
            }
            Action::Allow => {}
        }
    }
    added
}

/// What `rules` decide: their last match, and without one the daemon asks.
pub(crate) fn decide<'a>(rules: impl IntoIterator<Item = &'a WireRule>, kind: &str, what: &str) -> Action {
    let matching = |rule: &&WireRule| covers(&rule.permission, kind) && covers(&rule.pattern, what);
    rules.into_iter().filter(matching).last().map_or(Action::Ask, |rule| rule.action)
}

/// Whether `saved`, a grant that wins over rules that ask, lets something pass that
/// `rules` ask about.
pub(crate) fn passes(rules: &[WireRule], saved: &WireRule) -> bool {
    let shadowed = |common: &WireRule, later: &[WireRule]| {
        later.iter().any(|it| {
            it.action != Action::Ask
                && covers(&it.permission, &common.permission)
                && covers(&it.pattern, &common.pattern)
        })
    };
    let default = WireRule { permission: "*".into(), pattern: "*".into(), action: Action::Ask };
    if !shadowed(saved, rules) && !rules.iter().any(|rule| contains(rule, saved)) && crosses(&default, saved)
    {
        return true;
    }
    rules.iter().enumerate().any(|(at, rule)| {
        rule.action == Action::Ask
            && crosses(rule, saved)
            && !shadowed(&within(saved, rule).unwrap_or_else(|| saved.clone()), &rules[at + 1..])
    })
}

/// A rule that asks, and within it what is denied below.
fn asking(rule: &WireRule, below: &[WireRule]) -> Vec<WireRule> {
    let mut added = vec![rule.clone()];
    for it in below.iter().filter(|it| crosses(it, rule)) {
        let action = it.action.max(Action::Ask);
        let denied = |what: &WireRule| added.iter().any(|it| it.action == Action::Deny && crosses(it, what));
        match within(rule, it) {
            Some(common) if action == Action::Deny || denied(&common) => {
                if contains(&common, rule) {
                    added.clear();
                }
                added.push(WireRule { action, ..common });
            }
            None if action == Action::Deny => added.push(it.clone()),
            Some(_) | None => {}
        }
    }
    added
}

/// What an exception lets through: what is decided below. Nothing where that cannot be
/// written down.
fn exception(rule: &WireRule, below: &[WireRule]) -> Vec<WireRule> {
    let mut added = vec![WireRule { action: Action::Ask, ..rule.clone() }];
    for it in below.iter().filter(|it| crosses(it, rule)) {
        match within(rule, it) {
            Some(common) => {
                if contains(&common, rule) {
                    added.clear();
                }
                added.push(WireRule { action: it.action, ..common });
            }
            None if it.action == Action::Allow => {}
            None => return Vec::new(),
        }
    }
    added
}

/// What two rules both are about, if that is one kind and one pattern.
fn within(one: &WireRule, other: &WireRule) -> Option<WireRule> {
    let narrower = |one: &str, other: &str| match (covers(one, other), covers(other, one)) {
        (true, _) => Some(other.to_owned()),
        (false, true) => Some(one.to_owned()),
        (false, false) => None,
    };
    Some(WireRule {
        permission: narrower(&one.permission, &other.permission)?,
        pattern: narrower(&one.pattern, &other.pattern)?,
        action: one.action,
    })
}

fn contains(wide: &WireRule, narrow: &WireRule) -> bool {
    covers(&wide.permission, &narrow.permission) && covers(&wide.pattern, &narrow.pattern)
}

fn crosses(one: &WireRule, other: &WireRule) -> bool {
    overlaps(&one.permission, &other.permission) && overlaps(&one.pattern, &other.pattern)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(text: &str) -> Vec<WireRule> {
        let rule = |line: &str| {
            let mut words = line.split_whitespace();
            let (permission, action) = (words.next()?.to_owned(), words.next_back()?);
            let action = match action {
                "allow" => Action::Allow,
                "ask" => Action::Ask,
                _ => Action::Deny,
            };
            Some(WireRule { permission, pattern: words.collect::<Vec<_>>().join(" "), action })
        };
        text.split(',').filter_map(rule).collect()
    }

    fn written(rules: &[WireRule]) -> String {
        let word = |action| match action {
            Action::Allow => "allow",
            Action::Ask => "ask",
            Action::Deny => "deny",
        };
        let rule = |it: &WireRule| format!("{} {} {}", it.permission, it.pattern, word(it.action));
        rules.iter().map(rule).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_session_gets_the_stricter_per_kind_and_pattern_or_nothing() {
        for (below, bound, added) in [
            // Nothing is allowed that was not.
            ("* * allow, edit * deny", "edit * allow", ""),
            ("* * allow, bash * deny", "bash * ask", "bash * deny"),
            ("* * allow", "bash * ask", "bash * ask"),
            ("* * allow, bash * ask", "bash * ask", "bash * ask"),
            ("* * allow", "external_directory * deny", "external_directory * deny"),
            // What is denied below stays denied within what is asked.
            ("* * allow, bash git push * deny", "bash * ask", "bash * ask, bash git push * deny"),
            // What is allowed again below is asked, not denied.
            (
                "* * allow, bash git * deny, bash git log * allow",
                "bash * ask",
                "bash * ask, bash git * deny, bash git log * ask",
            ),
            // Rules for every kind.
            ("* * deny, read * allow", "bash * ask", "bash * deny"),
            ("* * allow, edit * deny", "* * ask", "* * ask, edit * deny"),
            // Exceptions of the bound itself, as far as they are allowed below.
            ("* * allow", "bash * ask, bash git status * allow", "bash * ask, bash git status * allow"),
            (
                "* * allow, bash * ask",
                "bash * deny, bash git status * allow",
                "bash * deny, bash git status * ask",
            ),
            (
                "* * allow, bash git push * deny",
                "bash * ask, bash git * allow",
                "bash * ask, bash git push * deny, bash git * allow, bash git push * deny",
            ),
            // Patterns that cross: the stricter stays.
            ("* * allow, bash *x deny", "bash * ask, bash git * allow", "bash * ask, bash *x deny"),
        ] {
            assert_eq!(written(&tighten(&rules(below), &rules(bound))), added, "{below} | {bound}");
        }
    }

    #[test]
    fn a_saved_grant_passes_only_what_would_be_asked() {
        for (below, saved, passed) in [
            ("* * allow, shell * ask", "shell git * allow", true),
            ("* * allow", "shell git * allow", false),
            ("* * allow, shell * ask, shell * deny", "shell git * allow", false),
            ("* * allow, shell * ask, shell git push * deny", "shell git * allow", true),
            ("* * allow, shell * ask, shell git * allow", "shell git * allow", false),
            ("* * allow, webfetch * ask", "shell git * allow", false),
            ("", "shell * allow", true),
        ] {
            assert_eq!(passes(&rules(below), &rules(saved)[0]), passed, "{below} | {saved}");
        }
    }

    /// opencode's own matching, written another way than ours.
    fn matches(pattern: &str, text: &str) -> bool {
        fn go(pattern: &[u8], text: &[u8]) -> bool {
            match pattern.split_first() {
                None => text.is_empty(),
                Some((b'*', rest)) => (0..=text.len()).any(|at| go(rest, &text[at..])),
                Some((b'?', rest)) => !text.is_empty() && go(rest, &text[1..]),
                Some((c, rest)) => text.first() == Some(c) && go(rest, &text[1..]),
            }
        }
        go(pattern.as_bytes(), text.as_bytes())
            || pattern.strip_suffix(" *").is_some_and(|short| go(short.as_bytes(), text.as_bytes()))
    }

    /// Last match wins.
    fn model(rules: &[WireRule], kind: &str, text: &str) -> Option<Action> {
        let last = rules.iter().rfind(|it| matches(&it.permission, kind) && matches(&it.pattern, text));
        last.map(|it| it.action)
    }

    const KINDS: [&str; 3] = ["bash", "edit", "web"];
    const TEXTS: [&str; 11] =
        ["", "a", "b", "ab", "ba", "aab", "git", "git log", "git push", "git push x", "gitx"];

    fn rule(patterns: &'static [&'static str]) -> impl Strategy<Value = WireRule> {
        let kinds: &[&str] = if patterns == NESTED { &KINDS_NESTED } else { &KINDS_ANY };
        let kinds = prop::sample::select(kinds);
        let actions = prop::sample::select(&[Action::Allow, Action::Ask, Action::Deny][..]);
        (kinds, prop::sample::select(patterns), actions).prop_map(|(kind, pattern, action)| WireRule {
            permission: kind.to_owned(),
            pattern: pattern.to_owned(),
            action,
        })
    }

    const KINDS_ANY: [&str; 6] = ["*", "bash", "edit", "web", "w*", "?ash"];
    const KINDS_NESTED: [&str; 5] = ["*", "bash", "edit", "web", "w*"];
    /// Any patterns at all, those that cross included.
    const ANY: &[&str] =
        &["*", "a*", "*b", "ab", "a?", "?b", "*a*", "git *", "git push *", "git", "git*", "*x", "git push"];
    /// Of these, any two are within each other or apart.
    const NESTED: &[&str] = &["*", "git *", "git push *", "git log", "a", "b"];

    fn check(below: &[WireRule], bound: &[WireRule], exact: bool) -> Result<(), TestCaseError> {
        let added = tighten(below, bound);
        let all: Vec<WireRule> = below.iter().chain(&added).cloned().collect();
        for kind in KINDS {
            for text in TEXTS {
                let low = model(below, kind, text).unwrap_or(Action::Ask);
                let wanted = low.max(model(bound, kind, text).unwrap_or(Action::Allow));
                let got = model(&all, kind, text).unwrap_or(Action::Ask);
                let shown = || format!("{kind} {text:?}: {} | {}", written(below), written(&added));
                prop_assert!(got >= wanted, "{got:?} is looser than {wanted:?}, {}", shown());
                prop_assert!(!exact || got == wanted, "{got:?} is not {wanted:?}, {}", shown());
                prop_assert_eq!(got, decide(&all, kind, text), "{}", shown());
            }
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_session_is_never_looser_than_its_strictest_layer(
            below in prop::collection::vec(rule(ANY), 0..8),
            bound in prop::collection::vec(rule(ANY), 0..6),
        ) {
            check(&below, &bound, false)?;
        }

        #[test]
        fn what_is_allowed_below_and_not_tightened_still_works(
            below in prop::collection::vec(rule(NESTED), 0..8),
            bound in prop::collection::vec(rule(NESTED), 0..6),
        ) {
            check(&below, &bound, true)?;
        }

        #[test]
        fn several_bounds_hold_together(
            below in prop::collection::vec(rule(ANY), 0..6),
            held in prop::collection::vec(rule(ANY), 0..4),
            bound in prop::collection::vec(rule(ANY), 0..4),
        ) {
            // A session that has rules of its own already, which may allow what is denied below.
            let mut all: Vec<WireRule> = below.iter().chain(&held).cloned().collect();
            for bound in [&below, &bound] {
                let added = tighten(&all, bound);
                all.extend(added);
            }
            for kind in KINDS {
                for text in TEXTS {
                    let low = model(&below, kind, text).unwrap_or(Action::Allow);
                    let wanted = low.max(model(&bound, kind, text).unwrap_or(Action::Allow));
                    let got = model(&all, kind, text).unwrap_or(Action::Ask);
                    prop_assert!(got >= wanted, "{kind} {text:?}: {got:?} {wanted:?}");
                }
            }
        }
    }
}
