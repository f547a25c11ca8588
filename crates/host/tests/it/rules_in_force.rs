//! Limits and schedules: what keeps a rule from firing, and what fires it by time.

use std::time::Duration;

use connector_contract::{Provenance, SourceNote};
use connector_engine::ScheduleChat;
use connector_gate::decision::Decision;
use connector_ledger::runs::RunState;
use connector_rules::{RuleSet, SourceFile};

use crate::database;
use crate::world::{ANNA, FIX, Plan, World, event, reply_to};

const MINUTE: i64 = 60_000;

const LIMITED: &str = r#"
[rule]
name = "limited"
max_concurrent = 1
cooldown = "10m"
[trigger]
type = "ConnectorEvent"
connector = "chat"
event = "message_received"
[[actions]]
type = "RunConnector"
connector = "oc"
action = "run_task"
params = { prompt = "${trigger.text}" }
"#;

const MINUTELY: &str = r#"
[rule]
name = "minutely"
[trigger]
type = "Cron"
expression = "* * * * *"
[[actions]]
type = "RunConnector"
connector = "oc"
action = "run_task"
params = { prompt = "it is ${trigger.scheduled_at}" }
"#;

/// `FIX` with more in its header and in its step.
fn fix_with(header: &str, step: &str) -> &'static str {
    let text = FIX
        .replace("name = \"fix\"\n", &format!("name = \"fix\"\n{header}\n"))
        .replace("action = \"run_task\"\n", &format!("action = \"run_task\"\n{step}\n"));
    String::leak(text)
}

fn plan(rule: &'static str) -> Plan {
    Plan { rules: vec![rule], ..Plan::default() }
}

/// A host whose schedules report to the screen.
fn scheduled(state: &std::path::Path, now: i64) -> World {
    let world = World::start(state, now, plan(MINUTELY));
    let chat = ScheduleChat { surface: "screen".into(), chat: "main".into() };
    world.engine.schedules_report_to(chat).unwrap();
    world
}

/// The rules that come with the host, for the chat and the connector of a world.
fn built_in() -> Plan {
    let texts = [include_str!("../../rules/fix.toml"), include_str!("../../rules/continue.toml")];
    let here = |text: &str| -> &'static str {
        let text = text.replace("connector-console", "chat").replace("connector-opencode", "oc");
        String::leak(text)
    };
    Plan { rules: texts.map(here).to_vec(), ..Plan::default() }
}

impl World {
    /// The time is now `now`, and the host notices.
    fn time_passes(&self, now: i64, rule: &'static str) {
        self.set_time(now);
        self.engine.set_rules(RuleSet::parse([SourceFile::new("r.toml", rule)]).unwrap());
    }

    /// The first text that contains `part`.
    async fn told(&self, part: &str) -> String {
        let found = |world: &Self| world.screen.texts().into_iter().find(|text| text.contains(part));
        self.until(part, found).await
    }

    /// Waits until the ledger has `count` runs.
    pub(crate) async fn until_runs(&self, count: usize) {
        for _ in 0..2_000 {
            if self.runs().await.len() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("there are not {count} runs: {:#?}", self.runs().await)
    }
}

#[tokio::test]
async fn a_rule_under_way_as_often_as_it_may_begins_no_further_run_and_says_so() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), MINUTE, plan(LIMITED));
    world.say("1", "first").await;
    let card = world.card().await;
    world.say("2", "second").await;
    let told = world.told("run 2 is denied").await;
    assert!(told.contains("1 run is under way, and the rule allows 1 at once"), "{told}");
    assert_eq!(world.until_ended(2).await, RunState::Denied);
    assert_eq!(world.screen.cards().len(), 1, "nobody was asked about the second");
    world.tap(&card, ANNA, Decision::Deny).await;
    world.until_ended(1).await;
    assert!(world.audit_is_intact().await);
    world.stop().await;
}

#[tokio::test]
async fn a_cooldown_is_kept_across_a_restart_and_ends() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), MINUTE, plan(LIMITED));
    world.say("1", "first").await;
    world.tap(&world.card().await, ANNA, Decision::Approve).await;
    world.until_ended(1).await;
    world.stop().await;

    let again = World::start(state.path(), 4 * MINUTE, plan(LIMITED));
    again.say("2", "too soon").await;
    let told = again.told("run 2 is denied").await;
    assert!(told.contains("the rule ran 3 min ago; it may again in 7 min"), "{told}");
    // What was held back did not run, and does not put the end of the cooldown off.
    again.set_time(11 * MINUTE);
    again.say("3", "in time").await;
    let card = again.card().await;
    assert_eq!(card.input["prompt"], "in time");
    again.stop().await;
}

#[tokio::test]
async fn a_schedule_fires_once_at_its_time_and_reports_to_its_chat() {
    let state = tempfile::tempdir().unwrap();
    let world = scheduled(state.path(), 10 * MINUTE + 30_000);
    world.until_scheduled().await;
    world.time_passes(11 * MINUTE + 10, MINUTELY);
    let card = world.card().await;
    assert_eq!(card.input["prompt"], "it is 1970-01-01T00:11:00Z");
    assert_eq!((card.requester.as_str(), card.chat.as_str()), ("schedule:minutely", "main"));
    world.stop().await;

    let again = scheduled(state.path(), 11 * MINUTE + 20);
    again.card().await;
    assert_eq!(again.runs().await.len(), 1, "a restart does not fire the time again");
    again.stop().await;
}

#[tokio::test]
async fn a_schedule_does_not_overlap_itself_and_says_so() {
    let state = tempfile::tempdir().unwrap();
    let world = scheduled(state.path(), 10 * MINUTE + 30_000);
    world.until_scheduled().await;
    world.time_passes(11 * MINUTE, MINUTELY);
    world.card().await;
    world.time_passes(12 * MINUTE, MINUTELY);
    let told = world.told("run 2 is denied").await;
    assert!(told.contains("1 run is under way"), "{told}");
    world.stop().await;
}

#[tokio::test]
async fn times_that_passed_while_the_host_was_down_are_reported_and_not_made_up_for() {
    let state = tempfile::tempdir().unwrap();
    let world = scheduled(state.path(), 10 * MINUTE + 30_000);
    world.until_scheduled().await;
    world.stop().await;

    let again = scheduled(state.path(), 15 * MINUTE + 5);
    let told = again.told("was missed").await;
    assert!(
        told.contains("minutely was missed 4 times, from 1970-01-01T00:11:00Z to 1970-01-01T00:14:00Z"),
        "{told}"
    );
    let card = again.card().await;
    assert_eq!(card.input["prompt"], "it is 1970-01-01T00:15:00Z");
    assert_eq!(again.audited("schedule_missed").await, 1);
    assert_eq!(again.runs().await.len(), 1);
    again.stop().await;
}

#[tokio::test]
async fn a_schedule_that_is_taken_away_and_comes_back_begins_anew() {
    let state = tempfile::tempdir().unwrap();
    let world = scheduled(state.path(), 10 * MINUTE + 30_000);
    world.until_scheduled().await;
    world.time_passes(10 * MINUTE + 40_000, FIX);
    world.until_not_scheduled().await;
    world.time_passes(20 * MINUTE + 30_000, MINUTELY);
    world.until_scheduled().await;
    world.time_passes(21 * MINUTE, MINUTELY);
    world.until_runs(1).await;
    assert_eq!(world.audited("schedule_missed").await, 0);
    world.stop().await;
}

impl World {
    fn schedules(&self) -> i64 {
        database::value(self.engine.ledger().path(), "SELECT count(*) FROM schedules")
    }

    async fn until_scheduled(&self) {
        self.until_schedules(1).await;
    }

    async fn until_not_scheduled(&self) {
        self.until_schedules(0).await;
    }

    async fn until_schedules(&self, count: i64) {
        for _ in 0..2_000 {
            if self.schedules() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("there are not {count} schedules")
    }
}

#[tokio::test]
async fn schedules_report_only_to_a_surface_that_is_there() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), MINUTE, plan(MINUTELY));
    let chat = ScheduleChat { surface: "telegraph".into(), chat: "main".into() };
    let error = world.engine.schedules_report_to(chat).unwrap_err();
    assert!(error.to_string().contains("`telegraph`"), "{error}");
    world.stop().await;
}

#[tokio::test]
async fn the_agent_is_told_where_the_work_came_from_as_its_rule_says() {
    for (header, note) in [
        ("", SourceNote::Usual),
        ("provenance = false", SourceNote::None),
        (
            "provenance = \"From ${event.connector}, ${rule.name}, at ${now}.\"",
            SourceNote::Text("From chat, fix, at 1970-01-01T00:01:00Z.".into()),
        ),
    ] {
        let state = tempfile::tempdir().unwrap();
        let world = World::start(state.path(), MINUTE, plan(fix_with(header, "")));
        world.say("1", "/fix it").await;
        let card = world.card().await;
        // However late somebody taps, the note is the one that the card was made with.
        world.set_time(5 * MINUTE);
        world.tap(&card, ANNA, Decision::Approve).await;
        world.result(1).await;
        let terms = world.probe.terms.lock().unwrap().clone();
        let told = Provenance::Chat { surface: "screen".into(), rule: "fix".into(), note };
        assert_eq!(terms.iter().map(|(provenance, _)| provenance).collect::<Vec<_>>(), [&told]);
        assert_eq!(card.input["prompt"], "/fix it", "never in the prompt");
        world.stop().await;
    }
}

#[tokio::test]
async fn a_note_that_cannot_be_filled_in_fails_the_step_before_anybody_is_asked() {
    let state = tempfile::tempdir().unwrap();
    let rule = fix_with("provenance = \"From ${trigger.nobody}.\"", "");
    let world = World::start(state.path(), MINUTE, plan(rule));
    world.say("1", "/fix it").await;
    let reason = world.result(1).await.reason.unwrap();
    assert!(reason.contains("provenance") && reason.contains("trigger.nobody"), "{reason}");
    assert_eq!(world.screen.cards().len(), 0);
    world.stop().await;
}

#[tokio::test]
async fn the_run_of_a_schedule_says_so_to_its_agent() {
    let state = tempfile::tempdir().unwrap();
    let world = scheduled(state.path(), 10 * MINUTE + 30_000);
    world.until_scheduled().await;
    world.time_passes(11 * MINUTE, MINUTELY);
    world.tap(&world.card().await, ANNA, Decision::Approve).await;
    world.result(1).await;
    let terms = world.probe.terms.lock().unwrap().clone();
    let [(Provenance::Chat { note: SourceNote::Text(note), .. }, _)] = &terms[..] else {
        panic!("{terms:?}")
    };
    assert!(note.contains("the schedule of the rule \"minutely\""), "{note}");
    world.stop().await;
}

#[tokio::test]
async fn the_earlier_of_the_hosts_deadline_and_the_steps_timeout_holds() {
    // The deadline of this host is a minute.
    for (timeout, least, most) in [("", 50, 60), ("timeout = \"20s\"", 10, 20), ("timeout = \"2h\"", 50, 60)]
    {
        let state = tempfile::tempdir().unwrap();
        let world = World::start(state.path(), MINUTE, plan(fix_with("", timeout)));
        world.say("1", "/fix it").await;
        world.tap(&world.card().await, ANNA, Decision::Approve).await;
        world.result(1).await;
        let left = world.probe.terms.lock().unwrap()[0].1;
        let seconds = Duration::from_secs(least)..=Duration::from_secs(most);
        assert!(seconds.contains(&left), "{timeout:?}: {left:?}");
        world.stop().await;
    }
}

#[tokio::test]
async fn an_answer_to_a_result_goes_on_in_its_session_with_or_without_the_command() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), MINUTE, built_in());
    world.say("1", "/fix the build").await;
    let card = world.card().await;
    world.tap(&card, ANNA, Decision::Approve).await;
    let session = world.result(1).await.session_id.unwrap();

    for (answer, prompt) in [("and the docs", "and the docs"), ("/continue and the tests", "and the tests")] {
        let mut answered = event(answer, answer);
        answered.reply = Some(reply_to(&session));
        world.engine.submit(answered).await.unwrap();
        let card = world
            .until("a card for it", |world| {
                world.screen.cards().into_iter().find(|card| card.input["prompt"] == prompt)
            })
            .await;
        assert_eq!(
            (card.action.as_str(), &card.input["session_id"]),
            ("continue_session", &session.clone().into())
        );
    }
    assert_eq!(world.screen.cards().len(), 3);
    world.stop().await;
}
