//! A run with an audience: asked for in one chat, seen, decided and answered in another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use connector_contract::Progress;
use connector_contract::ask::PermissionReply;
use connector_engine::{Answer, Answered, LeftOut};
use connector_gate::decision::{Decision, Tap, Tapped};
use connector_gate::ids::StepId;
use connector_gate::people::People;
use connector_gate::policy::{Actor, GateConfig};
use connector_gate::state::StepState;
use connector_ledger::audience::{self, Member};
use connector_ledger::events::NewEvent;
use connector_ledger::keep;
use connector_ledger::steps::StepRow;
use connector_rules::{RuleSet, SourceFile};
use connector_surface::inbox::{Message, Sent};
use connector_surface::view::{CardDecision, Field, Standing};
use connector_surface::{DeliveryError, OpenAsk, Surface, View};
use serde_json::json;

use crate::probe::Shared;
use crate::world::{ANNA, BEN, Plan, World};

const MINUTE: i64 = 60_000;

/// Anna's account in the other room.
const ANNA_THERE: &str = "room:anna";

const FOLLOWED: &str = r#"
[rule]
name = "fix"
followers = ["room:there"]
[trigger]
type = "ConnectorEvent"
connector = "chat"
event = "message_received"
[[conditions]]
type = "FieldContains"
field = "trigger.text"
value = "/fix"
[[actions]]
type = "RunConnector"
connector = "oc"
action = "run_task"
[actions.params]
prompt = "${trigger.text}"
"#;

/// A surface that notes what each of its chats is shown, a line each.
#[derive(Default)]
struct Room {
    shown: Mutex<Vec<(String, String)>>,
    broken: AtomicBool,
    /// Its chat `there` is `new` now.
    moved: AtomicBool,
    /// Which of its chats may be told, beside `there`.
    admits: Mutex<Vec<&'static str>>,
    /// Nor may that one.
    closed: AtomicBool,
}

impl Room {
    fn note(&self, chat: &str, line: String) {
        self.shown.lock().unwrap().push((chat.to_owned(), line));
    }

    fn shown(&self) -> Vec<String> {
        self.shown.lock().unwrap().iter().map(|(chat, line)| format!("{chat}: {line}")).collect()
    }

    fn deliverable(&self) -> Result<(), DeliveryError> {
        let broken = self.broken.load(Ordering::SeqCst);
        if broken { Err(DeliveryError::Later("the room is locked".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl Surface for Room {
    fn name(&self) -> &'static str {
        "room"
    }

    async fn deliver(&self, chat: &str, _parcel: i64, notice: View) -> Result<String, DeliveryError> {
        self.deliverable()?;
        if chat == "there" && self.moved.load(Ordering::SeqCst) {
            return Err(DeliveryError::Moved { to: "new".to_owned() });
        }
        let line = match notice {
            View::Card(card) => {
                let asked = card.fields.iter().find_map(|field| match field {
                    Field::Named { name, value } if name == "asked by" => Some(value.clone()),
                    _ => None,
                });
                format!("card {} asked by {}", card.id, asked.unwrap_or_default())
            }
            View::Result(result) => format!("result {}", result.title),
            View::Text(text) => format!("text {text}"),
        };
        self.note(chat, line);
        Ok("m".to_owned())
    }

    async fn changed(&self, chat: &str, standing: &Standing) -> Result<(), DeliveryError> {
        self.deliverable()?;
        let awaited = matches!(standing.decision, CardDecision::Awaited { .. });
        let waits = if awaited { "waits" } else { "is decided" };
        self.note(chat, format!("{waits}: {}", standing.words()));
        Ok(())
    }

    fn admits(&self, chat: &str) -> Result<(), String> {
        let is_there = chat == "there" && !self.closed.load(Ordering::SeqCst);
        let may = is_there || self.admits.lock().unwrap().contains(&chat);
        if may { Ok(()) } else { Err("there is no such room".to_owned()) }
    }

    fn takes_answers(&self) -> bool {
        true
    }

    fn progress(&self, chat: &str, step: StepId, progress: &Progress) {
        if let Progress::Text { so_far } = progress {
            self.note(chat, format!("{step} says {so_far}"));
        }
    }

    fn ask(&self, chat: &str, ask: &OpenAsk) {
        self.note(chat, format!("ask {}", ask.number));
    }

    fn ask_closed(&self, chat: &str, ask: &OpenAsk, by: Option<&Actor>) {
        self.note(
            chat,
            format!("ask {} closed by {}", ask.number, by.map(Actor::as_str).unwrap_or_default()),
        );
    }
}

fn actor(name: &str) -> Actor {
    Actor::from_text(name)
}

/// Anna has an account in each room.
fn gate() -> GateConfig {
    let people = People::of([("anna".to_owned(), vec![actor(ANNA), actor(ANNA_THERE)])]).unwrap();
    let approvers = [ANNA, BEN, ANNA_THERE, "room:ben"].map(actor).to_vec();
    GateConfig { approvers, people, expiry_secs: 3_600, ..GateConfig::default() }
}

fn world(state: &tempfile::TempDir, plan: Plan) -> (World, Arc<Room>) {
    world_with(state, 1_000, Arc::default(), plan)
}

fn world_with(state: &tempfile::TempDir, now: i64, room: Arc<Room>, plan: Plan) -> (World, Arc<Room>) {
    let plan =
        Plan { rules: vec![FOLLOWED], gate: GateConfig { people: gate().people, ..plan.gate }, ..plan };
    (World::start(state.path(), now, Plan { surfaces: vec![room.clone()], ..plan }), room)
}

/// The rule, with these followers in place of its own.
fn followed_by(followers: &str) -> RuleSet {
    let rule = FOLLOWED.replace("[\"room:there\"]", followers);
    RuleSet::parse([SourceFile::new("0.toml", rule)]).unwrap()
}

fn number(world: &World, sql: &str) -> i64 {
    crate::database::value(world.engine.ledger().path(), sql)
}

/// Waits until the ledger answers this with more than nothing.
async fn until_so(world: &World, sql: &str) {
    for _ in 0..2_000 {
        if number(world, sql) > 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("never: {sql}")
}

/// Waits until there is nothing more to tell.
async fn until_told(world: &World) {
    until_so(world, "SELECT NOT EXISTS (SELECT 1 FROM outbox WHERE delivered_at IS NULL)").await;
}

async fn until(room: &Room, line: &str) {
    for _ in 0..2_000 {
        if room.shown().iter().any(|shown| shown == line) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{line:?} is not among {:#?}", room.shown())
}

async fn tap(world: &World, card: &StepRow, (who, chat): (&str, &str), decision: Decision) -> Tapped {
    let digest = card.digest.as_str().to_owned();
    let chat = Some(chat.to_owned());
    world.engine.tap(Tap { step: card.id, digest, approver: actor(who), chat, decision }).await.unwrap()
}

fn standings(world: &World) -> Vec<String> {
    world.screen.standings.lock().unwrap().clone()
}

#[tokio::test]
async fn a_card_is_decided_in_any_chat_that_follows_its_run_and_in_no_other() {
    let state = tempfile::tempdir().unwrap();
    let probe = Shared::open();
    *probe.progress.lock().unwrap() = vec![Progress::Text { so_far: "so".to_owned() }];
    let (world, room) = world(&state, Plan { gate: gate(), probe, ..Plan::default() });
    world.say("1", "/fix it").await;
    let card = world.card().await;
    until(&room, "there: card 1.1 asked by screen:anna (anna) in screen:main").await;
    let told = world.read(move |tx| audience::of_run(tx, card.id.run)).await;
    assert_eq!(told, [Member::new("screen", "main"), Member::new("room", "there")]);

    for place in [("room:ben", "main"), ("room:ben", "elsewhere"), (BEN, "there"), ("cli:ben", "there")] {
        let answer = tap(&world, &card, place, Decision::Approve).await;
        let reason = "its card is in another chat".to_owned();
        assert_eq!(answer, Tapped::NotAllowed { reason }, "{place:?}");
    }
    assert_eq!(tap(&world, &card, ("room:ben", "there"), Decision::Approve).await, Tapped::Approved);
    world.result(1).await;
    until(&room, "there: result 1.1 done").await;
    assert!(room.shown().contains(&"there: 1.1 says so".to_owned()), "{:?}", room.shown());
    let already = tap(&world, &card, (BEN, "main"), Decision::Deny).await;
    assert!(matches!(already, Tapped::Already { by: Some(by), .. } if by == actor("room:ben")));
    until_told(&world).await;
    let pruned = world.engine.ledger().write_now(|tx| keep::prune(tx, i64::MAX, 100)).unwrap();
    assert_eq!((pruned.runs, number(&world, "SELECT count(*) FROM followers")), (1, 0));
    world.stop().await;
}

#[tokio::test]
async fn a_decision_in_one_chat_is_shown_on_the_cards_of_the_others_until_their_result() {
    let state = tempfile::tempdir().unwrap();
    let gate = GateConfig { approvals_needed: 2, ..gate() };
    let (world, room) = world(&state, Plan { gate, probe: Shared::closed(), ..Plan::default() });
    world.say("1", "/fix it").await;
    let card = world.card().await;
    until(&room, "there: card 1.1 asked by screen:anna (anna) in screen:main").await;

    let counted = Tapped::Counted { have: 1, need: 2 };
    assert_eq!(tap(&world, &card, (ANNA, "main"), Decision::Approve).await, counted);
    let so_far = "1.1 approved by screen:anna (anna); 1 of 2 approvals";
    until(&room, &format!("there: waits: {so_far}")).await;
    world.until("its own chat says so too", |world| (standings(world) == [so_far]).then_some(())).await;
    // The same person once more, by the other account: it changes nothing and is shown nowhere.
    assert_eq!(tap(&world, &card, (ANNA_THERE, "there"), Decision::Approve).await, counted);
    assert_eq!(tap(&world, &card, ("room:ben", "there"), Decision::Approve).await, Tapped::Approved);
    let decided = "1.1 approved by room:ben".to_owned();
    world.until("who decided", |world| standings(world).contains(&decided).then_some(())).await;
    world.probe.gate.add_permits(1);
    until(&room, "there: result 1.1 done").await;
    until_told(&world).await;
    let (shown, votes) = (room.shown(), |line: &&String| line.contains("waits: "));
    assert!(!shown.iter().any(|line| line.contains("is decided")), "where it was tapped it is known");
    assert_eq!(
        (shown.iter().filter(votes).count(), standings(&world)),
        (1, vec![so_far.to_owned(), decided])
    );
    world.stop().await;
}

#[tokio::test]
async fn one_person_in_two_chats_is_one_approval() {
    let state = tempfile::tempdir().unwrap();
    let gate = GateConfig { approvals_needed: 2, ..gate() };
    let (world, room) = world(&state, Plan { gate, ..Plan::default() });
    world.say("1", "/fix it").await;
    let card = world.card().await;
    until(&room, "there: card 1.1 asked by screen:anna (anna) in screen:main").await;
    let counted = Tapped::Counted { have: 1, need: 2 };
    assert_eq!(tap(&world, &card, (ANNA, "main"), Decision::Approve).await, counted);
    assert_eq!(tap(&world, &card, (ANNA_THERE, "there"), Decision::Approve).await, counted);
    assert_eq!(world.probe.calls().len(), 0);
    let once = "1.1 approved by screen:anna (anna); 1 of 2 approvals";
    until(&room, &format!("there: waits: {once}")).await;
    assert_eq!(tap(&world, &card, ("room:ben", "there"), Decision::Approve).await, Tapped::Approved);
    world.result(1).await;
    world.stop().await;
}

#[tokio::test]
async fn a_card_expires_from_its_first_delivery_and_is_denied_only_where_no_chat_takes_it() {
    let state = tempfile::tempdir().unwrap();
    let (world, room) = world(&state, Plan { gate: gate(), ..Plan::default() });
    room.broken.store(true, Ordering::SeqCst);
    world.say("1", "/fix one").await;
    let one = world.card().await;
    assert_eq!(world.until_delivered(one.id).await.expires_at, Some(1_000 + 60 * MINUTE));
    world.set_time(1_000 + 16 * MINUTE);
    // In no chat that takes it: only the room, whose line does not go on, has the second card to come.
    *world.screen.broken.lock().unwrap() = true;
    world.say("2", "/fix two").await;
    world.until("the second card", |world| room_waits_for(world, "2.1").then_some(())).await;
    world.set_time(1_000 + 33 * MINUTE);
    world.say("3", "wake up").await;
    let denied = async |step: &str| {
        let id: StepId = step.parse().unwrap();
        for _ in 0..2_000 {
            let row = world.step(id).await;
            if row.state == StepState::Denied {
                return row.reason.unwrap();
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("{step} is not denied")
    };
    let reason = denied("2.1").await;
    assert!(reason.contains("could not be delivered"), "{reason}");
    assert_eq!(world.step(one.id).await.state, StepState::Waiting, "it is in one chat");

    *world.screen.broken.lock().unwrap() = false;
    room.broken.store(false, Ordering::SeqCst);
    world.set_time(1_000 + 36 * MINUTE);
    world.say("4", "wake up").await;
    until(&room, "there: card 1.1 asked by screen:anna (anna) in screen:main").await;
    until(&room, "there: result 2.1 was not run").await;
    assert_eq!(
        world.step(one.id).await.expires_at,
        Some(1_000 + 60 * MINUTE),
        "the later one prolongs nothing"
    );
    world.stop().await;
}

#[tokio::test]
async fn a_chat_that_became_another_follows_the_run_from_there() {
    let state = tempfile::tempdir().unwrap();
    let (world, room) = world(&state, Plan { gate: gate(), ..Plan::default() });
    room.admits.lock().unwrap().push("new");
    room.moved.store(true, Ordering::SeqCst);
    world.say("1", "/fix it").await;
    let card = world.card().await;
    until(&room, "new: card 1.1 asked by screen:anna (anna) in screen:main").await;
    assert_eq!(world.step(card.id).await.state, StepState::Waiting, "where it was asked for is as it was");
    let gone = tap(&world, &card, ("room:ben", "there"), Decision::Approve).await;
    assert!(matches!(gone, Tapped::NotAllowed { .. }), "{gone:?}");
    assert_eq!(tap(&world, &card, ("room:ben", "new"), Decision::Approve).await, Tapped::Approved);
    until(&room, "new: result 1.1 done").await;
    world.stop().await;
}

fn room_waits_for(world: &World, step: &str) -> bool {
    let id: StepId = step.parse().unwrap();
    let sql = format!(
        "SELECT count(*) FROM outbox WHERE surface = 'room' AND kind = 'card' AND run_id = {} AND delivered_at IS NULL",
        id.run.0
    );
    crate::database::value::<i64>(world.engine.ledger().path(), &sql) == 1
}

#[tokio::test]
async fn an_ask_is_shown_and_answered_in_every_chat_and_closed_in_all() {
    let state = tempfile::tempdir().unwrap();
    let (world, room) = world(&state, Plan { gate: gate(), ..Plan::default() });
    world.say("1", "/fix MAY I").await;
    let card = world.card().await;
    tap(&world, &card, (BEN, "main"), Decision::Approve).await;
    until(&room, "there: ask 1").await;
    assert_eq!(world.screen.asks.lock().unwrap().as_slice(), ["main: ask 1"]);
    let yes = Answer::Permission(PermissionReply::Once);
    let answered = world.engine.inbox("room").answer("ben", 1, yes).await.unwrap();
    assert_eq!(answered, Answered::PassedOn);
    let result = world.result(1).await;
    assert_eq!(result.output.unwrap()["reply"], json!("answered: {\"type\":\"once\"}"));
    until(&room, "there: ask 1 closed by room:ben").await;
    assert_eq!(
        world.screen.asks.lock().unwrap().as_slice(),
        ["main: ask 1", "main: ask 1 closed by room:ben"]
    );
    world.stop().await;
}

#[tokio::test]
async fn an_ask_that_one_chat_cannot_show_waits_in_the_other() {
    let state = tempfile::tempdir().unwrap();
    let (world, room) = world(&state, Plan { gate: gate(), ..Plan::default() });
    world.say("1", "/fix MAY I").await;
    let card = world.card().await;
    tap(&world, &card, (BEN, "main"), Decision::Approve).await;
    until(&room, "there: ask 1").await;
    let unshown = async |times, place| {
        world.engine.reject_unshown((1, times), place, "too long").await.unwrap();
        world.engine.open_asks().len()
    };
    for (times, place, why) in [
        (1, ("screen", "main"), "it is shown in another"),
        (1, ("screen", "main"), "that is the same chat"),
        (2, ("room", "there"), "that is another time that it was asked"),
    ] {
        assert_eq!(unshown(times, place).await, 1, "{why}");
    }
    unshown(1, ("room", "there")).await;
    let result = world.result(1).await;
    assert!(result.output.unwrap()["reply"].as_str().unwrap().contains("reject"));
    world.stop().await;
}

#[tokio::test]
async fn an_ask_that_is_shown_to_nobody_who_may_answer_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let approvers = vec![actor(ANNA), actor(BEN)];
    let gate = GateConfig { approvers, ..gate() };
    let (world, room) = world(&state, Plan { gate, ..Plan::default() });
    world.say("1", "/fix MAY I").await;
    let card = world.card().await;
    tap(&world, &card, (BEN, "main"), Decision::Approve).await;
    until(&room, "there: ask 1").await;
    world.engine.reject_unshown((1, 1), ("screen", "main"), "too long").await.unwrap();
    let result = world.result(1).await;
    assert!(result.output.unwrap()["reply"].as_str().unwrap().contains("reject"));
    world.stop().await;
}

#[tokio::test]
async fn a_chat_that_its_surface_does_not_admit_is_told_nothing_of_a_run() {
    let state = tempfile::tempdir().unwrap();
    let (world, room) = world(&state, Plan { gate: gate(), ..Plan::default() });
    world.engine.set_rules(followed_by(r#"["room:elsewhere", "nowhere:there"]"#));
    world.say("1", "/fix it").await;
    let card = world.card().await;
    tap(&world, &card, (BEN, "main"), Decision::Approve).await;
    world.result(1).await;
    assert_eq!(world.read(move |tx| audience::of_run(tx, card.id.run)).await.len(), 1);
    until_told(&world).await;
    assert_eq!(room.shown(), Vec::<String>::new());
    world.stop().await;
}

#[tokio::test]
async fn a_chat_that_the_rule_names_no_more_is_told_no_more_and_decides_nothing() {
    let state = tempfile::tempdir().unwrap();
    let (world, room) = world(&state, Plan { gate: gate(), ..Plan::default() });
    world.say("1", "/fix it").await;
    let card = world.card().await;
    until(&room, "there: card 1.1 asked by screen:anna (anna) in screen:main").await;
    world.engine.set_rules(followed_by("[]"));
    until_so(&world, "SELECT NOT EXISTS (SELECT 1 FROM followers)").await;
    let gone = tap(&world, &card, ("room:ben", "there"), Decision::Approve).await;
    assert_eq!(gone, Tapped::NotAllowed { reason: "its card is in another chat".to_owned() });
    tap(&world, &card, (BEN, "main"), Decision::Approve).await;
    let again = world.until("the second card", |world| world.screen.cards().get(1).cloned()).await;
    tap(&world, &again, (BEN, "main"), Decision::Approve).await;
    world.result(1).await;
    until_told(&world).await;
    assert_eq!(room.shown().len(), 1, "{:?}", room.shown());
    let why: String = crate::database::value(
        world.engine.ledger().path(),
        "SELECT concat_ws('|', detail ->> 'surface', detail ->> 'chat', detail ->> 'reason') FROM audit
         WHERE kind = 'follower_left'",
    );
    assert_eq!(why, "room|there|the rule `fix` names it no more");
    assert!(world.audit_is_intact().await);
    world.stop().await;
}

#[tokio::test]
async fn a_slip_in_a_rules_file_takes_nobody_away_that_it_named() {
    let state = tempfile::tempdir().unwrap();
    let (world, room) = world(&state, Plan { gate: gate(), ..Plan::default() });
    world.engine.set_rules(followed_by("[\"room:there\"]"));
    world.say("1", "/fix it").await;
    let card = world.card().await;
    until(&room, "there: card 1.1 asked by screen:anna (anna) in screen:main").await;
    let left_out = LeftOut { path: "0.toml".into(), brief: "has a mistake".into(), reason: String::new() };
    world.engine.set_usable_rules(RuleSet::default(), &[left_out]);
    // Once that is answered, the rules that are left have been looked at.
    world.say("2", "/fix that").await;
    world
        .until("the rule is off", |world| world.screen.texts().pop().filter(|it| it.contains("is off")))
        .await;
    world.engine.set_rules(followed_by("[\"room:there\"]"));
    let yes = tap(&world, &card, ("room:ben", "there"), Decision::Approve).await;
    assert!(!matches!(yes, Tapped::NotAllowed { .. }), "{yes:?}");
    world.result(1).await;
    until_told(&world).await;
    assert_eq!(world.audited("follower_left").await, 0);
    world.stop().await;
}

#[tokio::test]
async fn a_chat_that_leaves_while_a_step_runs_sees_its_ask_close_and_nothing_more() {
    let state = tempfile::tempdir().unwrap();
    let (world, room) = world(&state, Plan { gate: gate(), ..Plan::default() });
    world.say("1", "/fix MAY I").await;
    let card = world.card().await;
    tap(&world, &card, (BEN, "main"), Decision::Approve).await;
    until(&room, "there: ask 1").await;
    world.engine.set_rules(followed_by("[]"));
    until(&room, "there: ask 1 closed by ").await;
    let shown = room.shown().len();
    let yes = Answer::Permission(PermissionReply::Once);
    assert_eq!(world.engine.answer(1, &actor(BEN), yes).await.unwrap(), Answered::PassedOn);
    world.result(1).await;
    until_told(&world).await;
    assert_eq!(room.shown().len(), shown, "{:?}", room.shown());
    world.stop().await;
}

#[tokio::test]
async fn a_chat_that_its_surface_tells_no_more_is_not_told_after_a_restart_what_was_left_for_it() {
    let state = tempfile::tempdir().unwrap();
    let (world, room) = world(&state, Plan { gate: gate(), ..Plan::default() });
    room.broken.store(true, Ordering::SeqCst);
    world.say("1", "/fix it").await;
    let card = world.card().await;
    until_so(&world, "SELECT count(*) FROM outbox WHERE surface = 'room' AND attempts > 0").await;
    world.stop().await;

    let room = Arc::new(Room::default());
    room.closed.store(true, Ordering::SeqCst);
    let (world, room) = world_with(&state, 2_000, room, Plan { gate: gate(), ..Plan::default() });
    // The screen is new, and is shown it again.
    let card = StepRow { digest: card.digest, ..world.card().await };
    let gone = tap(&world, &card, ("room:ben", "there"), Decision::Approve).await;
    assert!(matches!(gone, Tapped::NotAllowed { .. }), "{gone:?}");
    tap(&world, &card, (BEN, "main"), Decision::Approve).await;
    world.result(1).await;
    until_told(&world).await;
    assert_eq!(room.shown(), Vec::<String>::new());
    assert_eq!(world.audited("follower_left").await, 1);
    world.stop().await;
}

#[tokio::test]
async fn a_chat_that_became_one_which_may_not_be_told_follows_no_more_and_one_that_did_already_is_told_once()
{
    for (followers, admits, shown) in [
        (r#"["room:there"]"#, &[][..], [].as_slice()),
        (r#"["room:there", "room:new"]"#, &["new"], &["new: card 1.1", "new: result 1.1 done"]),
    ] {
        let state = tempfile::tempdir().unwrap();
        let (world, room) = world(&state, Plan { gate: gate(), ..Plan::default() });
        *room.admits.lock().unwrap() = admits.to_vec();
        world.engine.set_rules(followed_by(followers));
        room.moved.store(true, Ordering::SeqCst);
        world.say("1", "/fix it").await;
        let card = world.card().await;
        until_told(&world).await;
        assert!(!world.read(move |tx| audience::has(tx, card.id.run, ("room", "there"))).await);
        let is_there = world.read(move |tx| audience::has(tx, card.id.run, ("room", "new"))).await;
        assert_eq!(is_there, !admits.is_empty());
        tap(&world, &card, (BEN, "main"), Decision::Approve).await;
        world.result(1).await;
        until_told(&world).await;
        let all = room.shown();
        let lines = all.iter().filter(|line| !line.contains("is decided"));
        let lines: Vec<&str> = lines.map(|line| line.split(" asked by").next().unwrap()).collect();
        assert_eq!(lines, shown, "{followers}");
        world.stop().await;
    }
}

#[tokio::test]
async fn a_chat_that_takes_nothing_denies_no_card_that_another_is_about_to_show() {
    let state = tempfile::tempdir().unwrap();
    let (world, room) = world(&state, Plan { gate: gate(), ..Plan::default() });
    room.broken.store(true, Ordering::SeqCst);
    // The screen is at it all this while.
    *world.screen.slow.lock().unwrap() = std::time::Duration::from_secs(4);
    world.say("1", "/fix it").await;
    until_so(&world, "SELECT count(*) FROM outbox WHERE surface = 'room' AND attempts > 0").await;
    world.set_time(1_000 + 16 * MINUTE);
    world.say("2", "wake up").await;
    until_so(&world, "SELECT count(*) FROM outbox WHERE surface = 'room' AND attempts > 1").await;
    assert_eq!(
        number(&world, "SELECT count(*) FROM outbox WHERE delivered_at IS NOT NULL"),
        0,
        "it was too fast"
    );
    assert_eq!(world.step("1.1".parse().unwrap()).await.state, StepState::Waiting);
    *world.screen.slow.lock().unwrap() = std::time::Duration::ZERO;
    let card = world.card().await;
    assert_eq!(world.until_delivered(card.id).await.state, StepState::Waiting);
    world.stop().await;
}

#[tokio::test]
async fn a_card_that_was_put_out_right_before_the_host_ended_is_not_denied_by_the_first_try_of_the_next() {
    let state = tempfile::tempdir().unwrap();
    let (first, room) = world(&state, Plan { gate: gate(), ..Plan::default() });
    first.say("1", "/fix it").await;
    first.card().await;
    until(&room, "there: card 1.1 asked by screen:anna (anna) in screen:main").await;
    until_told(&first).await;
    let file = first.engine.ledger().path().to_owned();
    first.stop().await;
    // As if it had ended before it tried to show it anywhere.
    crate::database::edit(
        &file,
        "UPDATE outbox SET delivered_at = NULL; UPDATE steps SET delivered_at = NULL, expires_at = NULL",
    );
    let room = Arc::new(Room::default());
    room.broken.store(true, Ordering::SeqCst);
    let plan = Plan { gate: gate(), ..Plan::default() };
    let (world, _room) = world_with(&state, 1_000 + 20 * MINUTE, room, plan);
    *world.screen.broken.lock().unwrap() = true;
    until_so(
        &world,
        "SELECT count(*) = 2 FROM outbox WHERE kind = 'card' AND attempts > 0 OR delivered_at > 1",
    )
    .await;
    assert_eq!(world.step("1.1".parse().unwrap()).await.state, StepState::Waiting);
    *world.screen.broken.lock().unwrap() = false;
    world.set_time(1_000 + 22 * MINUTE);
    world.say("2", "wake up").await;
    world.until_delivered("1.1".parse().unwrap()).await;
    world.stop().await;
}

#[tokio::test]
async fn where_a_run_is_followed_nobody_goes_on_with_it_but_those_who_have_to_do_with_it() {
    let state = tempfile::tempdir().unwrap();
    let (world, room) = world(&state, Plan { gate: gate(), ..Plan::default() });
    world.say("1", "/fix it").await;
    let card = world.card().await;
    until(&room, "there: card 1.1 asked by screen:anna (anna) in screen:main").await;
    let inbox = world.engine.inbox("room");
    let write = async |id: &str, user: &str, text: &str, answers: Option<&str>| {
        let message = Message {
            id: id.to_owned(),
            chat: "there".to_owned(),
            user: user.to_owned(),
            trigger: "message_received",
            text: text.to_owned(),
            answers: answers.map(str::to_owned),
            payload: serde_json::Map::new(),
        };
        inbox.take(vec![message]).await.unwrap();
    };
    write("1", "carol", "/status", None).await;
    until(&room, "there: text 1.1 · waiting · /fix it").await;
    write("2", "carol", "/abort 1.1", None).await;
    until(&room, "there: text 1.1: only whoever asked for it, or may approve it, stops it").await;

    tap(&world, &card, (BEN, "main"), Decision::Approve).await;
    until(&room, "there: result 1.1 done").await;
    let (chat, message, part) = ("there".to_owned(), "m".to_owned(), "result".to_owned());
    inbox.record(Sent { chat, message, step: Some(card.id), delivery: None, part }).await.unwrap();
    for (id, user, may) in [("3", "carol", 0), ("4", "ben", 1), ("5", "anna", 1)] {
        write(id, user, "and the docs", Some("m")).await;
        let sql =
            format!("SELECT reply IS NOT NULL FROM events WHERE surface = 'room' AND platform_id = '{id}'");
        assert_eq!(number(&world, &sql), may, "{user}");
    }
    world.stop().await;
}

#[tokio::test]
async fn what_is_refused_because_too_much_waits_is_told_to_who_asked_alone_and_cards_count_where_they_are() {
    let state = tempfile::tempdir().unwrap();
    let gate = GateConfig { max_waiting_per_chat: 1, ..gate() };
    let (world, room) = world(&state, Plan { gate, ..Plan::default() });
    world.say("1", "/fix one").await;
    world.card().await;
    world.say("2", "/fix two").await;
    let refused = world.result(1).await;
    assert!(refused.reason.unwrap().contains("too many cards are waiting"));
    let there =
        NewEvent { surface: "room".into(), chat: "there".into(), ..crate::world::event("3", "/fix three") };
    world.engine.submit(there).await.unwrap();
    until(&room, "there: result 3.1 was not run").await;
    until_told(&world).await;
    assert!(!room.shown().iter().any(|line| line.contains("2.1")), "{:?}", room.shown());
    world.stop().await;
}

#[tokio::test]
async fn the_audit_says_who_follows_a_run_and_in_which_chat_it_was_decided() {
    let state = tempfile::tempdir().unwrap();
    let gate = GateConfig { approvals_needed: 2, ..gate() };
    let (world, room) = world(&state, Plan { gate, ..Plan::default() });
    world.say("1", "/fix it").await;
    let card = world.card().await;
    until(&room, "there: card 1.1 asked by screen:anna (anna) in screen:main").await;
    tap(&world, &card, ("room:ben", "elsewhere"), Decision::Approve).await;
    tap(&world, &card, (ANNA, "main"), Decision::Approve).await;
    tap(&world, &card, ("room:ben", "there"), Decision::Approve).await;
    world.result(1).await;
    let said = "SELECT group_concat(kind || ' ' || coalesce(detail ->> 'followers', detail ->> 'chat'), ', ' ORDER BY seq)
         FROM audit WHERE kind IN ('run', 'tap_refused', 'vote', 'approved')";
    let said: String = crate::database::value(world.engine.ledger().path(), said);
    assert_eq!(said, "run [\"room:there\"], tap_refused elsewhere, vote main, vote there, approved there");
    world.stop().await;
}
