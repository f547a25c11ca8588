//! Many rooms at once on a real Synapse that limits the bot, with a connector that does as it is told.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use testkit::Synapse;
use testkit::synapse::Options;
use tracing::Dispatch;
use tracing_subscriber::fmt::MakeWriter;
use url::form_urlencoded::Serializer;

use super::house::House;
use super::matrix::Rooms;
use super::platform::{Platform as _, Who};
use crate::probe::Shared;

/// The first of the rooms; the others follow.
const FIRST: usize = 1_000;

/// How much is asked for, and how many messages a second the server takes of the bot.
#[derive(Clone, Copy)]
struct Load {
    rooms: usize,
    runs: usize,
    rate: u32,
}

impl Load {
    fn all(self) -> usize {
        self.rooms * self.runs
    }
}

/// A log of which nothing is kept but the lines that show a secret.
#[derive(Clone, Default)]
struct Scanned(Arc<Mutex<Log>>);

#[derive(Default)]
struct Log {
    secrets: Vec<String>,
    bytes: usize,
    /// How many lines are about the connections on which the secret is sent.
    near: usize,
    shown: Vec<String>,
}

impl io::Write for Scanned {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (line, mut log) = (String::from_utf8_lossy(bytes), self.0.lock().unwrap());
        log.bytes += bytes.len();
        log.near += usize::from(line.contains("hyper_util::client"));
        if log.secrets.iter().any(|secret| line.contains(secret.as_str())) {
            log.shown.push(line.into_owned());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Scanned {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What Anna's client is told, once each.
struct Client {
    /// The rooms that it looks at.
    rooms: HashSet<String>,
    since: Option<String>,
    approved: usize,
    answered: usize,
}

impl Client {
    /// Looks once, says yes to each new card, and counts the replies.
    async fn look(&mut self, rooms: &Rooms) {
        let filter = json!({ "room": { "timeline": { "limit": 1_000, "types": ["m.room.message"] } } });
        let mut query = Serializer::new(String::new());
        query.append_pair("timeout", "1000").append_pair("filter", &filter.to_string());
        query.extend_pairs(self.since.iter().map(|since| ("since", since)));
        let path = format!("/_matrix/client/v3/sync?{}", query.finish());
        let answer = rooms.anna().call(Method::GET, &path, None).await.unwrap();
        self.since = Some(answer["next_batch"].as_str().unwrap().to_owned());
        let news = answer["rooms"]["join"].as_object().into_iter().flatten();
        for (room, news) in news {
            if !self.rooms.contains(room) {
                continue;
            }
            let events = news["timeline"]["events"].as_array().unwrap();
            for event in events.iter().filter(|it| it["sender"] == rooms.bot().id.as_str()) {
                self.see(rooms, room, event).await;
            }
        }
    }

    async fn see(&mut self, rooms: &Rooms, room: &str, event: &Value) {
        match told(event) {
            Some(Told::Card(_)) => {
                rooms.anna().react(room, event["event_id"].as_str().unwrap(), "✅").await.unwrap();
                self.approved += 1;
            }
            Some(Told::Reply(_)) => self.answered += 1,
            _ => {}
        }
    }
}

/// What a message of the bot's is, and about which task.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Card(String),
    Approved,
    Result,
    Reply(String),
    Other,
}

impl Told {
    fn card(&self) -> Option<&str> {
        if let Self::Card(task) = self { Some(task) } else { None }
    }

    fn reply(&self) -> Option<&str> {
        if let Self::Reply(task) = self { Some(task) } else { None }
    }
}

/// What a message says for the first time; nothing of an edit.
fn told(event: &Value) -> Option<Told> {
    let content = &event["content"];
    if content["m.relates_to"]["rel_type"] == "m.replace" {
        return None;
    }
    let body = content["body"].as_str()?;
    let task = || body[body.find("task-").unwrap()..].split(['.', '\n']).next().unwrap().to_owned();
    Some(if body.contains("approval needed") {
        Told::Card(task())
    } else if body.starts_with("did: ") {
        Told::Reply(task())
    } else if body.contains("is approved") {
        Told::Approved
    } else if body.contains(" done") {
        Told::Result
    } else {
        Told::Other
    })
}

/// What the bot said in a room in the end: each task asked about, done and answered once, and asked about in its order.
fn check(room: &str, messages: &[Value], load: Load) {
    let all: Vec<Told> = messages.iter().filter_map(told).collect();
    let tasks: Vec<String> = (0..load.runs).map(|number| format!("task-{number}")).collect();
    let cards: Vec<_> = all.iter().filter_map(Told::card).collect();
    let mut replies: Vec<_> = all.iter().filter_map(Told::reply).collect();
    assert_eq!(cards, tasks, "{room}: each asked about once, in order: {all:#?}");
    replies.sort_unstable();
    assert_eq!(replies, tasks, "{room}: each answered once: {all:#?}");
    for (what, number) in [(Told::Approved, load.runs), (Told::Result, load.runs), (Told::Other, 0)] {
        assert_eq!(all.iter().filter(|it| **it == what).count(), number, "{room}: {what:?} in {all:#?}");
    }
    let place = |what: &Told| all.iter().position(|it| it == what).unwrap();
    for task in tasks {
        assert!(place(&Told::Card(task.clone())) < place(&Told::Reply(task)), "{room}: {all:#?}");
    }
}

/// The peak of the memory that this process held, in MiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_024
}

#[expect(clippy::print_stdout, reason = "it prints what it measured")]
async fn carry(load: Load) {
    let limit = (f64::from(load.rate), 2 * load.rate);
    let synapse = Synapse::with(Options { rc_message: Some(limit), ..Options::default() }).await.unwrap();
    let rooms = Rooms::on(&synapse).await;
    synapse.lift_limit(rooms.anna()).await.unwrap();
    let places = rooms.more(FIRST..FIRST + load.rooms).await;
    let log = Scanned::default();
    log.0.lock().unwrap().secrets = vec![rooms.token(), "Bearer ".to_owned()];
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    // With one alone, the thread that comes by first decides for all whether a line is logged.
    let _other = Dispatch::new(tracing_subscriber::registry());
    let mut house = House::logging(rooms, Shared::open(), subscriber.into());
    house.until_heard().await;
    let mut client =
        Client { rooms: places.iter().cloned().collect(), since: None, approved: 0, answered: 0 };
    client.look(&house.platform).await;
    house.asked("/fix the first of all").await;

    let (began, before) = (Instant::now(), house.platform.calls().len());
    for number in 0..load.runs {
        for place in 0..load.rooms {
            house.platform.say(Who::Anna, FIRST + place, &format!("/fix task-{number}. {place}")).await;
        }
    }
    let said = began.elapsed();
    let limit = Instant::now() + Duration::from_secs(120 + 30 * load.all() as u64 / u64::from(load.rate));
    while client.answered < load.all() {
        client.look(&house.platform).await;
        assert!(Instant::now() < limit, "{} cards, {} replies", client.approved, client.answered);
    }
    house.until_told().await;
    let (took, calls) = (began.elapsed(), house.platform.calls());
    house.stop().await;

    let bot = &house.platform.bot().id;
    for place in &places {
        let mut messages = house.platform.anna().messages(place).await.unwrap();
        messages.retain(|it| it["sender"] == bot.as_str());
        check(place, &messages, load);
    }
    let mut prompts: HashMap<String, usize> = HashMap::new();
    for call in house.probe.calls() {
        *prompts.entry(call.input["prompt"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!((prompts.len(), prompts.values().max()), (load.all(), Some(&1)), "each task ran once");
    let log = log.0.lock().unwrap();

    let calls = &calls[before..];
    let sent = calls.iter().filter(|call| call.path.contains("/send/")).count();
    let refused = calls.iter().filter(|call| call.status == Some(429)).count();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for call in calls {
        let part = call.path.rsplit('/').find(|it| KINDS.contains(it)).unwrap_or("other");
        *kinds.entry(part).or_default() += 1;
    }
    println!(
        "{} rooms with {} runs each, {} messages a second allowed: {took:.1?} ({said:.1?} to ask), {} calls ({} a \
         run: {kinds:?}), {sent} sends ({} a second), {refused} refused with 429, {} MiB with the test's own, {} \
         KiB of log",
        load.rooms,
        load.runs,
        load.rate,
        calls.len(),
        calls.len() / load.all(),
        sent as u64 / took.as_secs().max(1),
        peak_memory(),
        log.bytes >> 10,
    );
    assert!(
        log.near > load.all() && log.shown.is_empty(),
        "{} lines of connections: {:#?}",
        log.near,
        log.shown
    );
    assert!(
        kinds.get("members").is_none_or(|looks| *looks <= load.rooms + 2),
        "{kinds:?}: each room is looked at once"
    );
    assert!(refused * 10 <= sent, "{refused} of {sent} refused: the surface keeps the pace it was told");
}

/// What is asked for, by a part of its path.
const KINDS: [&str; 8] = ["sync", "send", "messages", "members", "state", "event", "whoami", "upload"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_rooms_lose_nothing_repeat_nothing_and_keep_the_servers_limit() {
    carry(Load { rooms: 20, runs: 2, rate: 10 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo test -p connector-host --test it two_hundred_rooms -- --ignored --nocapture"]
async fn two_hundred_rooms_with_five_runs_each_lose_nothing() {
    carry(Load { rooms: 200, runs: 5, rate: 25 }).await;
}
