//! When scheduled rules fire.

use connector_rules::{RuleSet, Timestamp};

use crate::support::one;

fn cron(expression: &str, more: &str) -> RuleSet {
    one(&format!(
        "[rule]\nname = \"nightly\"\n[trigger]\ntype = \"Cron\"\nexpression = \"{expression}\"\n{more}\n\
         [[actions]]\ntype = \"Reply\"\ntext = \"${{trigger.scheduled_at}}\"\n"
    ))
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn next(expression: &str, zone: &str, after: &str) -> Option<String> {
    let set = cron(expression, &format!("timezone = \"{zone}\""));
    let next = set.rules()[0].schedule().unwrap().next_after(time(after));
    next.map(|next| next.to_string())
}

#[test]
fn the_next_time_is_that_of_the_time_zone() {
    for (expression, zone, after, expected) in [
        ("0 3 * * *", "UTC", "2026-01-05T02:59:59Z", "2026-01-05T03:00:00Z"),
        ("0 3 * * *", "UTC", "2026-01-05T03:00:00Z", "2026-01-06T03:00:00Z"),
        ("0 3 * * *", "Europe/Berlin", "2026-01-05T00:00:00Z", "2026-01-05T02:00:00Z"),
        ("0 3 * * *", "Europe/Berlin", "2026-07-05T00:00:00Z", "2026-07-05T01:00:00Z"),
        ("30 9 * * 1-5", "America/New_York", "2026-01-09T23:00:00Z", "2026-01-12T14:30:00Z"),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        // In Berlin 02:30 does not exist on 29 March 2026: it is made up for right after the gap.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"),
    ] {
        let found = next(expression, zone, after);
        assert_eq!(found.as_deref(), Some(expected), "{expression} {zone} {after}");
    }
}

#[test]
fn a_time_that_happens_twice_is_met_once() {
    // In Berlin 02:30 happens at 00:30Z and at 01:30Z on 25 October 2026.
    let first = next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z").unwrap();
    assert_eq!(first, "2026-10-25T00:30:00Z");
    let second = next("30 2 * * *", "Europe/Berlin", &first).unwrap();
    assert_eq!(second, "2026-10-26T01:30:00Z");
}

#[test]
fn a_day_that_never_comes_has_no_time() {
    assert_eq!(next("0 0 31 2 *", "UTC", "2026-01-01T00:00:00Z"), None);
}

#[test]
fn missed_times_are_listed_up_to_a_limit() {
    let set = cron("0 * * * *", "");
    let schedule = set.rules()[0].schedule().unwrap();
    let (from, until) = (time("2026-01-05T00:30:00Z"), time("2026-01-05T03:00:00Z"));
    let missed: Vec<_> = schedule.between(from, until, 10).map(|at| at.to_string()).collect();
    assert_eq!(missed, ["2026-01-05T01:00:00Z", "2026-01-05T02:00:00Z", "2026-01-05T03:00:00Z"]);
    assert_eq!(schedule.between(from, until, 2).count(), 2);
}

#[test]
fn the_event_of_a_time_fires_its_rule_and_is_the_same_event_each_time() {
    let set = cron("0 3 * * *", "");
    let (rule, schedule) = set.schedules().next().unwrap();
    let at = time("2026-01-05T03:00:00Z");
    let event = schedule.event(rule.name(), at);
    assert_eq!(set.matching(&event, at).count(), 1);
    assert_eq!(event, schedule.event(rule.name(), at));
    assert_ne!(event.id, schedule.event(rule.name(), time("2026-01-06T03:00:00Z")).id);
}

#[test]
fn runs_of_a_schedule_do_not_overlap_unless_they_may() {
    let limit = |more: &str| {
        let set = cron("0 3 * * *", more);
        set.rules()[0].max_concurrent().map(std::num::NonZeroU32::get)
    };
    assert_eq!(limit(""), Some(1));
    assert_eq!(limit("overlap = true"), None);
}

#[test]
fn a_rule_that_is_switched_off_has_no_schedule_in_force() {
    let set =
        one("[rule]\nname = \"r\"\nenabled = false\n[trigger]\ntype = \"Cron\"\nexpression = \"@daily\"\n\
         [[actions]]\ntype = \"Reply\"\ntext = \"a\"\n");
    assert_eq!(set.schedules().count(), 0);
}
