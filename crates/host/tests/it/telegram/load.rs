//! Many chats at once, with Telegram's limits in force, on a fake daemon.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use testkit::fake::{Fake, Faults, Fixture};
use testkit::telegram::{FakeTelegram, Shown, TOKEN};

use crate::terminal::{Terminal, User};

/// Directories, each a line of its own.
const LANES: usize = 8;

/// What the recorded turn answers.
const REPLY: &str = "Done: hello";

/// The first chat; the others follow.
const FIRST: i64 = 1_001;

/// How much is asked for.
#[derive(Clone, Copy)]
struct Load {
    chats: i64,
    runs: usize,
}

impl Load {
    fn all(self) -> usize {
        usize::try_from(self.chats).unwrap() * self.runs
    }

    fn chats(self) -> impl Iterator<Item = i64> {
        FIRST..FIRST + self.chats
    }
}

fn rule(lane: usize) -> String {
    format!(
        "[rule]\nname = \"lane-{lane}\"\n[trigger]\ntype = \"ConnectorEvent\"\nconnector = \"connector-telegram\"\n\
         event = \"message_received\"\n[[conditions]]\ntype = \"FieldStartsWith\"\nfield = \"trigger.text\"\n\
         value = \"/fix {lane} \"\n[[actions]]\ntype = \"RunConnector\"\nconnector = \"lane-{lane}\"\n\
         action = \"run_task\"\n[actions.params]\nprompt = \"${{trigger.text}}\"\n"
    )
}

fn start(user: &User, telegram: &FakeTelegram, daemon: &Fake, load: Load) -> Terminal {
    let home = user.home.path();
    std::fs::create_dir(home.join("rules")).unwrap();
    let mut config = format!("rules = \"rules\"\nmax_running = {LANES}\n");
    let people: Vec<String> = load.chats().map(|chat| chat.to_string()).collect();
    let approvers: Vec<String> = people.iter().map(|it| format!("\"telegram:{it}\"")).collect();
    config.push_str(&format!("[gate]\napprovers = [{}]\n", approvers.join(", ")));
    for lane in 0..LANES {
        std::fs::write(home.join(format!("rules/{lane}.toml")), rule(lane)).unwrap();
        config.push_str(&format!(
            "[connectors.lane-{lane}]\nuse = \"connector-opencode\"\nbase_url = \"{}\"\ndirectory = \"/code/{lane}\"\n",
            daemon.base_url()
        ));
    }
    config.push_str(&format!(
        "[surfaces.telegram]\nbot_token = \"env:TELEGRAM_BOT_TOKEN\"\napi_base = \"{}\"\npoll_timeout = 2\n\
         allow_users = [{}]\n",
        telegram.base_url(),
        people.join(", ")
    ));
    std::fs::write(home.join("host.toml"), config).unwrap();
    let mut host = user.start(&["run", "-c", home.join("host.toml").to_str().unwrap()]);
    host.expect("telegram is connected");
    host
}

/// Approves each card as it shows, until every run has its reply.
async fn approve_all(telegram: &FakeTelegram, load: Load) {
    let mut tapped = HashSet::new();
    let limit = Duration::from_secs(60 + load.all() as u64 / 2);
    loop {
        let look = |screen: &[Shown]| {
            let cards = screen.iter().filter(|shown| shown.text.contains("Approval needed"));
            let new = cards.filter(|card| tapped.insert((card.chat, card.id)));
            let new: Vec<(i64, i32)> = new.map(|card| (card.chat, card.id)).collect();
            let replies = screen.iter().filter(|shown| shown.text == REPLY).count();
            (!new.is_empty() || replies >= load.all()).then_some(new)
        };
        let new = telegram.wait_everywhere(limit, look).await;
        if new.is_empty() {
            return;
        }
        for (chat, card) in new {
            telegram.tap(chat.unsigned_abs(), chat, card, "Approve");
        }
    }
}

/// What each chat shows in the end: every task once, in the order of its asking.
fn check(screens: &BTreeMap<i64, Vec<Shown>>, load: Load) {
    for (chat, screen) in screens {
        assert_eq!(screen.len(), 2 * load.runs, "a card and a reply each, nothing twice: {screen:#?}");
        let heads: Vec<&Shown> = screen.iter().filter(|shown| shown.text.contains(" done in ")).collect();
        assert_eq!(heads.len(), load.runs, "{chat}: {screen:#?}");
        assert!(heads.is_sorted_by_key(|head| run_of(head)), "cards came in order: {heads:#?}");
        let mut answered: Vec<i32> = screen.iter().filter_map(|shown| shown.answers).collect();
        answered.sort_unstable();
        let ids: Vec<i32> = heads.iter().map(|head| head.id).collect();
        assert_eq!(answered, ids, "each headline has its own reply");
    }
}

fn run_of(head: &Shown) -> u64 {
    head.text.split(['.', ' ']).nth(1).unwrap().parse().unwrap()
}

/// The peak of the memory that a process held, in MiB.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_024
}

#[expect(clippy::print_stdout, reason = "it prints what it measured")]
async fn carry(load: Load) {
    let daemon = Fake::start(Fixture::recorded("text"), Faults::default()).await.unwrap();
    let telegram = FakeTelegram::start().unwrap();
    telegram.strict();
    let user = User::new()
        .with_variable("TELEGRAM_BOT_TOKEN", TOKEN)
        .with_variable("CONNECTOR_HOST_LOG", "warn,connector_host::telegram::run=info");
    let mut host = start(&user, &telegram, &daemon, load);
    let began = Instant::now();
    for number in 0..load.runs {
        for chat in load.chats() {
            let lane = usize::try_from(chat).unwrap() % LANES;
            telegram.write(chat.unsigned_abs(), chat, &format!("/fix {lane} task {number}"));
        }
    }
    approve_all(&telegram, load).await;
    let took = began.elapsed();
    let memory = peak_memory(host.pid());
    telegram.wait_until_acknowledged().await;
    host.signal(Signal::TERM);
    assert_eq!(host.wait(), 0);
    assert_eq!(daemon.tasks(), load.all(), "every task ran once");
    check(&load.chats().map(|chat| (chat, telegram.screen(chat))).collect(), load);
    let calls = telegram.calls();
    let refused = calls.iter().filter(|call| call.status == 429).count();
    let called = |method: &str| calls.iter().filter(|call| call.method == method).count();
    println!(
        "{} chats with {} runs each: {took:.1?}, {} calls ({} sends, {} edits; {} a second), {refused} refused with 429, {memory} MiB",
        load.chats,
        load.runs,
        calls.len(),
        called("sendMessage"),
        called("editMessageText"),
        calls.len() as u64 / took.as_secs().max(1),
    );
    assert_eq!(refused, 0, "the host keeps Telegram's pace by itself");
}

#[tokio::test]
async fn many_chats_lose_nothing_repeat_nothing_and_stay_within_the_limits() {
    carry(Load { chats: 30, runs: 5 }).await;
}

#[tokio::test]
#[ignore = "takes two minutes: cargo test -p connector-host --test it two_hundred_chats -- --ignored --nocapture"]
async fn two_hundred_chats_with_five_runs_each_lose_nothing() {
    carry(Load { chats: 200, runs: 5 }).await;
}
