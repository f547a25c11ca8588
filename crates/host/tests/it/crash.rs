//! A host that is killed, at any moment, loses nothing and runs nothing twice.
//!
//! The real binary works on a fake daemon that outlives it and counts what it is asked to do. It is
//! killed at each named point of a run's life (with the feature `failpoints`) and at random moments
//! under load. Afterwards every message has its task, every task ran once, no card is dead, and the
//! audit and every row agree.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use connector_gate::clock::Clock;
use connector_gate::decision::{Decision, Tap};
use connector_gate::policy::Actor;
use connector_gate::state::StepState;
use connector_ledger::audit::{self, Verdict};
use connector_ledger::events::{self, NewEvent};
use connector_ledger::runs::{self, RunState, Still};
use connector_ledger::steps::decide::decide;
use connector_ledger::{Ledger, keep, outbox, steps};
use serde_json::json;
use testkit::fake::{Fake, Faults, Fixture};

use crate::api::At;
use crate::terminal::User;

/// How long anything may take here.
const LIMIT: Duration = Duration::from_mins(1);

/// Directories, each a lane of its own.
const LANES: [&str; 3] = ["one", "two", "three"];

const APPROVER: &str = "cli:crash";

/// A host's directory, the daemon it drives, and what it was asked for.
struct Yard {
    user: User,
    fake: Fake,
    ledger: Option<Ledger>,
    sent: BTreeSet<String>,
}

/// A running host. Dropping it kills it.
struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Yard {
    async fn new() -> Self {
        Self::with(Duration::from_millis(4), "").await
    }

    /// One whose daemon lets `pace` pass between two events, and whose `host.toml` begins with `first`.
    async fn with(pace: Duration, first: &str) -> Self {
        let faults = Faults { pace, ..Faults::default() };
        let fake = Fake::start(Fixture::recorded("text"), faults).await.unwrap();
        let user = User::new();
        let home = user.home.path();
        std::fs::create_dir(home.join("rules")).unwrap();
        let mut config = format!("{first}rules = \"rules\"\n[gate]\napprovers = [\"{APPROVER}\"]\n");
        for lane in LANES {
            config.push_str(&format!(
                "[connectors.{lane}]\nuse = \"connector-opencode\"\nbase_url = \"{}\"\ndirectory = \"/code/{lane}\"\n",
                fake.base_url()
            ));
            std::fs::write(home.join(format!("rules/{lane}.toml")), rule(lane)).unwrap();
        }
        std::fs::write(home.join("host.toml"), config).unwrap();
        Self { user, fake, ledger: None, sent: BTreeSet::new() }
    }

    fn start(&self, failpoint: Option<&str>) -> Host {
        let config = self.user.home.path().join("host.toml");
        let mut command = self.user.command(&["run", "--config", config.to_str().unwrap(), "--log", "error"]);
        if let Some(name) = failpoint {
            command.env("CONNECTOR_HOST_FAILPOINT", name);
        }
        Host(command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap())
    }

    fn ledger(&mut self) -> &Ledger {
        let state = self.user.state();
        self.ledger.get_or_insert_with(|| Ledger::open(&state, Clock::System).unwrap())
    }

    /// Sends a message for a task that no other message asks for.
    fn send(&mut self) {
        let number = self.sent.len();
        let text = format!("/{} task number {number}", LANES[number % LANES.len()]);
        let event = NewEvent {
            surface: "cli".into(),
            platform_id: format!("message-{number}"),
            connector: "chat".into(),
            event: "message_received".into(),
            chat: format!("chat-{}", number % 2),
            requester: Actor::from_text("cli:anna"),
            payload: json!({ "text": text }),
            reply: None,
        };
        self.ledger().write_now(|tx| events::store(tx, &event)).unwrap().unwrap();
        self.sent.insert(text);
    }

    /// Approves every card that waits.
    fn approve(&mut self) {
        let decided = self.ledger().write_now(|tx| {
            for row in steps::in_state(tx, StepState::Waiting, 1_000)? {
                let (digest, approver) = (row.digest.as_str().to_owned(), Actor::from_text(APPROVER));
                decide(tx, &Tap { step: row.id, digest, approver, chat: None, decision: Decision::Approve })?;
            }
            Ok(())
        });
        decided.unwrap();
    }

    /// Whether nothing is left to be done or told.
    fn is_settled(&mut self) -> bool {
        let goes_on = self.ledger().read_now(|tx| {
            Ok(events::any_unhandled(tx)?
                || runs::any_active(tx, None, Still::Active)?
                || outbox::any_undelivered(tx, None)?)
        });
        !goes_on.unwrap()
    }

    /// Works on, approving what comes, until `done`.
    async fn work(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let until = Instant::now() + LIMIT;
        while !done(self) {
            assert!(Instant::now() < until, "{what} did not come");
            self.approve();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Lets a host finish everything, and looks at what came of it.
    async fn settle_and_check(&mut self, what: &str) {
        let host = self.start(None);
        self.work(what, Self::is_settled).await;
        drop(host);

        let mut messages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for body in self.fake.bodies("POST /session/") {
            if let (Some(id), Some(text)) = (body["messageID"].as_str(), body["parts"][0]["text"].as_str()) {
                messages.entry(text.to_owned()).or_default().insert(id.to_owned());
            }
        }
        let ran: BTreeSet<String> = messages.keys().cloned().collect();
        assert_eq!(ran, self.sent, "{what}: a task was lost or made up");
        let twice: Vec<_> = messages.iter().filter(|(_, ids)| ids.len() != 1).collect();
        assert!(twice.is_empty(), "{what}: run twice: {twice:?}");
        assert_eq!(self.fake.tasks(), self.sent.len(), "{what}");

        let sent = self.sent.len();
        let (rows, findings) =
            self.ledger().read_now(|tx| Ok((runs::latest(tx, 10_000)?, keep::check(tx)?))).unwrap();
        assert_eq!(rows.len(), sent, "{what}");
        for row in rows {
            assert_eq!(row.state, RunState::Succeeded, "{what}: {row:?}");
        }
        assert_eq!(findings.problems, Vec::<String>::new(), "{what}");
    }
}

fn rule(lane: &str) -> String {
    format!(
        r#"
[rule]
name = "{lane}"
[trigger]
type = "ConnectorEvent"
connector = "chat"
event = "message_received"
[[conditions]]
type = "FieldMatches"
field = "trigger.text"
pattern = '^/{lane} '
[[actions]]
type = "RunConnector"
connector = "{lane}"
action = "run_task"
[actions.params]
prompt = "${{trigger.text}}"
[[actions]]
type = "Reply"
text = "done: ${{step1.output.reply}}"
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_stopped_during_turns_leaves_them_to_the_next_start() {
    let mut yard = Yard::new().await;
    for _ in 0..4 {
        let mut host = yard.start(None);
        let tasks = yard.fake.tasks();
        yard.send();
        yard.work("a turn", |yard| yard.fake.tasks() > tasks).await;
        let pid = rustix::process::Pid::from_child(&host.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(host.0.wait().unwrap().success());
    }
    yard.settle_and_check("what was left").await;
    let aborts: Vec<_> = yard.fake.requests().into_iter().filter(|line| line.contains("/abort")).collect();
    assert_eq!(aborts, Vec::<String>::new(), "nothing was stopped");
}

/// Tells a host to end while a turn goes on that would take minutes, and sees it end.
async fn end_in_a_long_turn(yard: &mut Yard) {
    let mut host = yard.start(None);
    yard.send();
    yard.work("a turn", |yard| yard.fake.running() > 0).await;
    let pid = rustix::process::Pid::from_child(&host.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let until = Instant::now() + LIMIT;
    let ended = loop {
        if let Some(ended) = host.0.try_wait().unwrap() {
            break ended;
        }
        assert!(Instant::now() < until, "it did not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(ended.success(), "{ended}");
}

fn aborts(yard: &Yard) -> usize {
    yard.fake.requests().into_iter().filter(|line| line.contains("/abort")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_leaves_a_turn_ends_and_the_turn_goes_on() {
    let mut yard = Yard::with(Duration::from_mins(1), "").await;
    end_in_a_long_turn(&mut yard).await;
    assert_eq!((aborts(&yard), yard.fake.running()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_to_cancel_when_it_stops_aborts_its_turns_and_says_what_became_of_them() {
    let mut yard = Yard::with(Duration::from_mins(1), "on_stop = \"cancel\"\n").await;
    end_in_a_long_turn(&mut yard).await;
    assert!(aborts(&yard) > 0, "it was aborted");
    let rows = yard.ledger().read_now(|tx| runs::latest(tx, 10)).unwrap();
    let states: Vec<_> = rows.iter().map(|row| row.state).collect();
    assert_eq!(states, [RunState::Cancelled]);
    assert!(yard.is_settled(), "it was told");
}

/// Kills a host `kills` times at random moments while messages keep coming.
async fn random_kills(kills: usize) {
    let mut yard = Yard::new().await;
    for round in 0..kills {
        let mut host = yard.start(None);
        let life = Duration::from_millis(30 + u64::from(random() % 600));
        let until = Instant::now() + life;
        while Instant::now() < until {
            if yard.sent.len() < (round + 1) * 2 {
                yard.send();
            }
            yard.approve();
            tokio::time::sleep(Duration::from_millis(u64::from(random() % 20))).await;
        }
        host.0.kill().unwrap();
        let status = host.0.wait().unwrap();
        assert!(!status.success() && status.code().is_none(), "it ended by itself: {status}");
    }
    yard.settle_and_check("random kills").await;
}

fn random() -> u16 {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).unwrap();
    u16::from_le_bytes(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_it_loses_nothing_and_repeats_nothing() {
    random_kills(10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; docs/gate.md has the command"]
async fn killed_two_hundred_times_it_loses_nothing_and_repeats_nothing() {
    random_kills(200).await;
}

/// Sends messages, one after another, until the host is gone; those that it said it had.
fn acknowledged(at: &At, client: usize, count: &AtomicUsize) -> Vec<(i64, String)> {
    let mut heard = Vec::new();
    loop {
        let text = format!("hello {client} {}", heard.len());
        let Some(event) = at.submitted(&text, &text) else { return heard };
        heard.push((event, text));
        count.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_host_that_is_killed_has_acknowledged_to_many_at_once_is_there() {
    let mut yard = Yard::new().await;
    let mut host = yard.start(None);
    let at = At::socket_of(&yard.user);
    yard.work("the API", |_| at.submitted("first", "hello").is_some()).await;
    let count = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..32)
        .map(|client| {
            let (at, count) = (at.clone(), Arc::clone(&count));
            std::thread::spawn(move || acknowledged(&at, client, &count))
        })
        .collect();
    yard.work("many messages", |_| count.load(Ordering::SeqCst) > 300).await;
    host.0.kill().unwrap();
    host.0.wait().unwrap();
    let heard: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    assert!(heard.len() > 300, "{}", heard.len());
    let ledger = yard.ledger();
    for (event, text) in heard {
        let row = ledger.read_now(|tx| events::get(tx, event)).unwrap();
        assert_eq!(row.unwrap().payload["text"], text);
    }
    let (findings, verdict) = ledger.read_now(|tx| Ok((keep::check(tx)?, audit::verify(tx)?))).unwrap();
    assert_eq!(findings.problems, Vec::<String>::new());
    assert!(matches!(verdict, Verdict::Intact { .. }), "{verdict:?}");
}

#[cfg(feature = "failpoints")]
mod named {
    use connector_failpoint::NAMES;

    use super::*;

    async fn killed_at(name: &'static str) {
        let mut yard = Yard::new().await;
        if name.starts_with("start.") {
            // A start that finds something to do: a step that runs, one in the queue, and one that waits.
            let host = yard.start(None);
            (0..5).for_each(|_| yard.send());
            yard.work("a running task", |yard| yard.fake.running() > 0).await;
            drop(host);
        }
        let mut host = yard.start(Some(name));
        yard.send();
        yard.send();
        let mut status = None;
        yard.work(name, |_| {
            status = host.0.try_wait().unwrap();
            status.is_some()
        })
        .await;
        let status = status.unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{name}: {status}");
        yard.settle_and_check(name).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn killed_at_any_named_point_it_loses_nothing_and_repeats_nothing() {
        let all: Vec<_> = NAMES.into_iter().map(|name| tokio::spawn(killed_at(name))).collect();
        for one in all {
            one.await.unwrap();
        }
    }
}
