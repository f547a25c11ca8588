//! The agent's asks as rows: seen and answered by the command line, and what that grants.

use connector_contract::ask::{PermissionAsk, PermissionReply, QuestionReply};
use connector_gate::ask::{Answer, Answered, Asked};
use connector_gate::clock::Clock;
use connector_gate::decision::Decision;
use connector_gate::policy::{Actor, GateConfig};
use connector_ledger::asks::{self, AskRow, AskState, Put};
use connector_ledger::{Ledger, Tx, grants, keep};
use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::model::{Script, ScriptedModel};
use testkit::scratch;

use crate::database;
use crate::house::{House, caller};
use crate::probe::Shared;
use crate::telegram::{ANNA, CHAT};
use crate::terminal::{User, opencode, processes_below};
use crate::world::{ANNA as SCREEN, Plan, World};

/// Who has the command line here.
const CLI: &str = "cli:anna";

fn may(id: &str, session: &str, command: &str) -> Asked {
    Asked::Permission(PermissionAsk {
        id: id.into(),
        session_id: session.into(),
        permission: "bash".into(),
        patterns: vec![command.into()],
        metadata: json!({ "command": command }),
        call: None,
    })
}

/// A host that is asked by its agents, and another process beside it.
struct Beside {
    world: World,
    ledger: Ledger,
    asked: u32,
}

impl Beside {
    fn start(state: &std::path::Path, approvers: &[&str]) -> Self {
        let approvers = approvers.iter().map(|it| Actor::from_text(*it)).collect();
        let gate = GateConfig { approvers, ..GateConfig::default() };
        let world = World::start(state, 1_000, Plan { gate, probe: Shared::open(), ..Plan::default() });
        let ledger = Ledger::open_existing(state, Clock::manual(1_000).0).unwrap();
        Self { world, ledger, asked: 0 }
    }

    /// Begins a task whose agent asks this.
    async fn task(&mut self, id: &str, asks: Vec<Asked>) {
        *self.world.probe.asks.lock().unwrap() = asks;
        self.world.probe.answers.lock().unwrap().clear();
        self.world.say(id, &format!("/fix {id}")).await;
        let place = self.asked as usize;
        self.asked += 1;
        let card = self.world.until("a card", |world| world.screen.cards().get(place).cloned()).await;
        self.world.tap(&card, SCREEN, Decision::Approve).await;
    }

    fn open(&self) -> Vec<AskRow> {
        self.ledger.read_now(asks::open).unwrap()
    }

    /// The open ask with this key, once it is there.
    async fn ask(&self, key: &str) -> AskRow {
        self.world.until("an ask", |_| self.open().into_iter().find(|row| row.asked.id() == key)).await
    }

    fn answer(&self, row: &AskRow, by: &str, reply: PermissionReply) -> Answered {
        let (by, answer) = (Actor::from_text(by), Answer::Permission(reply));
        self.ledger.write_now(|tx| asks::answer(tx, row.id, &by, &answer)).unwrap()
    }

    /// What the agent heard, once its task has ended.
    async fn heard(&self) -> Vec<Value> {
        self.world.result(self.asked as usize).await;
        self.world.probe.answers.lock().unwrap().clone()
    }
}

fn once() -> Value {
    json!({ "type": "once" })
}

#[tokio::test]
async fn an_ask_is_a_row_that_another_process_answers_once_and_its_agent_hears() {
    let state = tempfile::tempdir().unwrap();
    let mut beside = Beside::start(state.path(), &[SCREEN, CLI]);
    beside.task("1", vec![may("per_1", "ses_1", "make")]).await;
    let row = beside.ask("per_1").await;
    assert_eq!((row.step.to_string().as_str(), &row.asked), ("1.1", &may("per_1", "ses_1", "make")));
    assert_eq!(beside.answer(&row, "cli:mallory", PermissionReply::Once), Answered::NotAllowed);
    let (by, words) = (Actor::from_text(CLI), Answer::Question(QuestionReply::Reject));
    let answered = beside.ledger.write_now(|tx| asks::answer(tx, row.id, &by, &words)).unwrap();
    assert!(matches!(answered, Answered::DoesNotFit(_)), "{answered:?}");
    assert_eq!(beside.answer(&row, CLI, PermissionReply::Once), Answered::PassedOn);
    assert_eq!(beside.answer(&row, CLI, PermissionReply::Always), Answered::NotOpen);
    assert_eq!(beside.heard().await, [once()]);

    let closed = beside.ledger.read_now(|tx| asks::get(tx, row.id)).unwrap().unwrap();
    assert_eq!((closed.state, closed.answered_by), (AskState::Answered, Some(by)));
    let Asked::Permission(kept) = closed.asked else { panic!("it is a permission") };
    assert_eq!(
        (kept.metadata, kept.patterns),
        (Value::Null, vec!["make".to_owned()]),
        "what it quoted is let go of"
    );
    assert_eq!(beside.world.audited("ask_answered").await, 1);
    assert!(beside.world.audit_is_intact().await);
    beside.world.stop().await;
}

#[tokio::test]
async fn a_surface_answers_an_ask_for_its_own_users_alone() {
    let state = tempfile::tempdir().unwrap();
    let mut beside = Beside::start(state.path(), &[SCREEN]);
    beside.task("1", vec![may("per_1", "ses_1", "make")]).await;
    let open = |world: &World| world.engine.open_asks().first().map(|ask| ask.number);
    let number = beside.world.until("an ask", open).await;
    let answer = async |surface: &str| {
        let inbox = beside.world.engine.inbox(surface);
        inbox.answer("anna", number, Answer::Permission(PermissionReply::Once)).await.unwrap()
    };
    assert_eq!(answer("lines").await, Answered::NotAllowed);
    assert_eq!(answer("screen").await, Answered::PassedOn);
    assert_eq!(answer("screen").await, Answered::NotOpen);
    assert_eq!(beside.heard().await, [once()]);
    beside.world.stop().await;
}

#[tokio::test]
async fn an_ask_whose_step_is_stopped_is_no_longer_open() {
    let state = tempfile::tempdir().unwrap();
    let mut beside = Beside::start(state.path(), &[SCREEN, CLI]);
    beside.task("1", vec![may("per_1", "ses_1", "make")]).await;
    let row = beside.ask("per_1").await;
    beside.world.engine.cancel(row.step, &Actor::from_text(SCREEN)).await.unwrap();
    beside.world.result(1).await;
    assert_eq!(beside.answer(&row, CLI, PermissionReply::Once), Answered::NotOpen);
    assert_eq!(beside.open(), []);
    beside.world.stop().await;
}

#[tokio::test]
async fn an_ask_asked_again_is_the_same_row_and_keeps_its_answer_until_its_agent_has_heard_it() {
    let state = tempfile::tempdir().unwrap();
    let mut beside = Beside::start(state.path(), &[SCREEN, CLI]);
    beside.task("1", vec![may("per_0", "ses_1", "wait")]).await;
    let wait = beside.ask("per_0").await;
    let approvers = [Actor::from_text(CLI)];
    let put_for = |asked: &Asked, approvers: &[Actor]| {
        beside.ledger.write_now(|tx| asks::put(tx, wait.step, asked, approvers)).unwrap()
    };
    let put = |asked: &Asked| match put_for(asked, &approvers) {
        Put::Asked(row) => *row,
        other => panic!("{other:?}"),
    };
    let (make, all) = (may("per_1", "ses_1", "make"), may("per_1", "ses_1", "make all"));
    let first = put(&make);
    let again = put(&make);
    assert_eq!((first.id, first.times, again.id, again.times), (again.id, 1, first.id, 2));
    // What waited for the first asking has nothing to close any more.
    let close = |tx: &Tx<'_>| asks::close(tx, (first.id, 1), AskState::Withdrawn, None);
    assert!(!beside.ledger.write_now(close).unwrap());
    assert_eq!(beside.answer(&first, CLI, PermissionReply::Once), Answered::PassedOn);
    let kept = Put::Answered(first.id, Answer::Permission(PermissionReply::Once), approvers[0].clone());
    assert_eq!(put(&may("per_2", "ses_1", "make")).state, AskState::Open, "another key is another ask");
    assert_eq!(put_for(&make, &approvers), kept);
    assert_eq!(put_for(&make, &approvers), kept, "it has not heard it yet");

    // Something else under the same key is another number: who answers what they read decides no other.
    let other = put(&all);
    assert_eq!((other.id == first.id, other.state, other.answer.clone()), (false, AskState::Open, None));
    assert_eq!(beside.answer(&first, CLI, PermissionReply::Once), Answered::NotOpen);
    let make_again = Put::Answered(first.id, Answer::Permission(PermissionReply::Once), approvers[0].clone());
    assert_eq!(put_for(&make, &approvers), make_again);
    let after = beside.ledger.read_now(|tx| asks::get(tx, other.id)).unwrap().unwrap();
    assert_eq!(after.state, AskState::Open, "an answer that is given once more asks nobody");

    // Whoever may answer no more has answered nothing; and what was heard is asked anew.
    let others = [Actor::from_text(SCREEN)];
    assert!(matches!(put_for(&make, &others), Put::Asked(_)));
    let reopened = put(&make);
    assert_eq!(beside.answer(&reopened, CLI, PermissionReply::Once), Answered::PassedOn);
    beside.ledger.write_now(|tx| asks::heard(tx, reopened.id)).unwrap();
    assert!(matches!(put_for(&make, &approvers), Put::Asked(_)));

    beside.answer(&wait, CLI, PermissionReply::Once);
    beside.heard().await;
    // Nothing of it runs any more: what is asked late is asked of nobody, and nothing is left open.
    assert!(matches!(put_for(&may("per_9", "ses_1", "late"), &approvers), Put::Refused(_)));
    assert_eq!(beside.open(), []);
    assert_eq!(beside.world.read(keep::check).await.problems, Vec::<String>::new());
    beside.world.stop().await;
}

#[tokio::test]
async fn a_row_of_an_ask_that_was_edited_answers_nothing_and_holds_nobody_else_up() {
    for (edit, answerable) in [
        // Answered by nobody whom the audit knows of.
        (
            "UPDATE asks SET state = 'answered', answer = '{\"type\":\"once\"}', answered_by = 'cli:anna'",
            false,
        ),
        ("UPDATE asks SET approvers = '[\"cli:anna\",\"cli:mallory\"]'", false),
        ("UPDATE asks SET asked = json_set(asked, '$.metadata.command', 'ls')", false),
        ("UPDATE asks SET asked = json_set(asked, '$.metadata.command', 'ls'), shown = 'x'", false),
        ("UPDATE asks SET asked = 'no json'", false),
        ("UPDATE asks SET state = 'unheard of'", false),
        ("SELECT 1", true),
    ] {
        let state = tempfile::tempdir().unwrap();
        let mut beside = Beside::start(state.path(), &[SCREEN, CLI]);
        beside.task("1", vec![may("per_1", "ses_1", "make")]).await;
        let row = beside.ask("per_1").await;
        database::edit(beside.ledger.path(), edit);
        for who in ["cli:mallory", CLI] {
            let by = Actor::from_text(who);
            let answer = Answer::Permission(PermissionReply::Always);
            let answered = beside.ledger.write_now(|tx| asks::answer(tx, row.id, &by, &answer));
            let passed = matches!(answered, Ok(Answered::PassedOn));
            assert_eq!(passed, answerable && who == CLI, "{edit}: {answered:?}");
        }
        assert_eq!(beside.ledger.read_now(grants::open).unwrap().len(), usize::from(answerable), "{edit}");
        // The host goes on with others, and with the step's end.
        if !answerable {
            let heard = beside.world.probe.answers.lock().unwrap().clone();
            assert_eq!(heard, Vec::<Value>::new(), "{edit}");
            beside.world.engine.cancel(row.step, &Actor::from_text(SCREEN)).await.unwrap();
        }
        beside.world.result(1).await;
        beside.task("2", vec![]).await;
        beside.world.result(2).await;
        beside.world.stop().await;
    }
}

#[tokio::test]
async fn what_was_allowed_for_a_session_holds_for_those_bytes_in_it_alone_until_it_is_revoked() {
    let state = tempfile::tempdir().unwrap();
    let mut beside = Beside::start(state.path(), &[SCREEN, CLI]);
    let asks =
        vec![may("per_1", "ses_1", "make"), may("per_2", "ses_1", "make"), may("per_3", "ses_1", "make ")];
    beside.task("1", asks).await;
    let first = beside.ask("per_1").await;
    assert_eq!(beside.answer(&first, CLI, PermissionReply::Always), Answered::PassedOn);
    // The second is granted; the third is other bytes.
    let third = beside.ask("per_3").await;
    beside.answer(&third, CLI, PermissionReply::Once);
    assert_eq!(beside.heard().await, [once(), once(), once()], "no agent is told more than this once");
    assert_eq!(beside.world.audited("ask_granted").await, 1);
    beside.world.stop().await;

    // It survives the host, and holds in later turns of its session, and in no other session.
    let mut beside = Beside::start(state.path(), &[SCREEN, CLI]);
    beside.task("2", vec![may("per_4", "ses_1", "make"), may("per_5", "ses_2", "make")]).await;
    let other = beside.ask("per_5").await;
    beside.answer(&other, CLI, PermissionReply::Once);
    assert_eq!(beside.heard().await, [once(), once()]);
    assert_eq!(beside.world.audited("ask_granted").await, 2);

    // Revoked while a turn goes on, it does not hold for that turn's next ask.
    let asks =
        vec![may("per_6", "ses_1", "make"), may("per_7", "ses_2", "wait"), may("per_8", "ses_1", "make")];
    beside.task("3", asks).await;
    let wait = beside.ask("per_7").await;
    let held = beside.ledger.read_now(grants::open).unwrap();
    assert_eq!(held.len(), 1, "{held:?}");
    let revoke = |tx: &Tx<'_>| grants::revoke(tx, held[0].id, &Actor::from_text(CLI));
    assert!(beside.ledger.write_now(revoke).unwrap());
    assert!(!beside.ledger.write_now(revoke).unwrap());
    beside.answer(&wait, CLI, PermissionReply::Once);
    let again = beside.ask("per_8").await;
    beside.answer(&again, CLI, PermissionReply::Once);
    assert_eq!(beside.heard().await, [once(), once(), once()]);
    assert_eq!(beside.ledger.read_now(grants::open).unwrap(), []);
    assert!(beside.world.audit_is_intact().await);
    assert_eq!(beside.world.read(keep::check).await.problems, Vec::<String>::new());
    beside.world.stop().await;
}

#[tokio::test]
async fn a_grant_of_whom_nobody_may_be_asked_any_more_or_that_was_edited_holds_for_nothing() {
    for (edit, approvers) in [
        ("UPDATE grants SET parts = json_set(parts, '$[0].text', 'make all')", &[SCREEN, CLI][..]),
        ("UPDATE grants SET session_id = 'ses_2'", &[SCREEN, CLI]),
        ("UPDATE grants SET expires_at = expires_at + 1", &[SCREEN, CLI]),
        ("UPDATE grants SET expires_at = 0", &[SCREEN, CLI]),
        (
            "UPDATE grants SET revoked_at = NULL, revoked_by = NULL, parts = '[{\"name\":\"command\",\"text\":\"make\"}]'",
            &[SCREEN, CLI],
        ),
        ("UPDATE grants SET granted_by = 'anna'", &[SCREEN, CLI]),
        ("UPDATE grants SET place = '[\"elsewhere\",null]'", &[SCREEN, CLI]),
        (
            "INSERT INTO grants SELECT id + 1, run_id, idx, connector, place, session_id, permission, parts, granted_by,
               created_at, expires_at, NULL, NULL FROM grants; DELETE FROM grants WHERE id = 1",
            &[SCREEN, CLI],
        ),
        ("SELECT 1", &[SCREEN]),
    ] {
        let state = tempfile::tempdir().unwrap();
        let mut beside = Beside::start(state.path(), &[SCREEN, CLI]);
        beside.task("1", vec![may("per_1", "ses_1", "make")]).await;
        let first = beside.ask("per_1").await;
        beside.answer(&first, CLI, PermissionReply::Always);
        beside.heard().await;
        if edit.contains("revoked_at = NULL") {
            let held = beside.ledger.read_now(grants::open).unwrap();
            assert_eq!(serde_json::to_value(&held[0].parts).unwrap(), json!([{ "name": "command", "text": "make" }]));
            let revoke = |tx: &Tx<'_>| grants::revoke(tx, held[0].id, &Actor::from_text(CLI));
            assert!(beside.ledger.write_now(revoke).unwrap());
        }
        beside.world.stop().await;
        database::edit(beside.ledger.path(), edit);

        let mut beside = Beside::start(state.path(), approvers);
        let command = if edit.contains("make all") { "make all" } else { "make" };
        let session = if edit.contains("ses_2") { "ses_2" } else { "ses_1" };
        beside.task("2", vec![may("per_2", session, command)]).await;
        let asked = beside.ask("per_2").await;
        beside.answer(&asked, SCREEN, PermissionReply::Once);
        beside.heard().await;
        assert_eq!(beside.world.audited("ask_granted").await, 0, "{edit}");
        beside.world.stop().await;
    }
}

#[tokio::test]
async fn an_ask_is_listed_whole_answered_by_the_command_line_and_its_message_says_by_whom() {
    let mut house = House::new("permission-once").await;
    let (telegram, cli) = (format!("telegram:{ANNA}"), caller());
    house.configure("", &[("anna", &[&telegram, &cli])]);
    house.start();
    house.telegram.write(ANNA, CHAT, "/fix it");
    let card = house.card(CHAT).await;
    house.telegram.tap(ANNA, CHAT, card.id, "Approve");
    let message = house.see(CHAT, |shown| shown.text.contains("may the agent use bash?")).await;
    let asks = house.until_asks(1).await;
    assert_eq!(asks[0]["asked"]["call"]["input"]["command"], "echo hi > out.txt; ls", "{asks}");
    assert_eq!((&asks[0]["id"], &asks[0]["step"]), (&json!(1), &json!("1.1")));
    let listed = house.user.run(&["approvals", "asks"]).text();
    for part in
        ["may it use bash?", "echo hi > out.txt; ls", "telegram:42 (anna)", "approvals answer 1 allow"]
    {
        assert!(listed.contains(part), "{part}: {listed}");
    }

    let answered = house.user.run(&["approvals", "answer", "1", "allow", "--session"]);
    assert!(
        answered.code() == 0 && answered.text().contains("allowed for this session"),
        "{}",
        answered.text()
    );
    let over = house.see(CHAT, |shown| shown.id == message.id && shown.buttons.is_empty()).await;
    let wanted = format!("allowed for this session · answered by {cli} (anna)");
    assert!(over.text.contains(&wanted) && over.text.contains("echo hi > out.txt; ls"), "{}", over.text);
    house.see(CHAT, |shown| shown.text.contains("1.1 done")).await;
    assert_eq!(house.decisions(), ["once"], "no daemon is told more");
    assert_eq!(house.until_asks(0).await, json!([]));
    let again = house.user.run(&["approvals", "answer", "1", "allow"]);
    assert!(again.code() == 1 && again.text().contains(&format!("over already, answered by {cli} (anna)")));
    let unknown = house.user.run(&["approvals", "answer", "9", "allow"]);
    assert!(unknown.code() == 2 && unknown.text().contains("there is no ask 9"), "{}", unknown.text());

    let granted = house.user.run(&["approvals", "grants", "--json"]).json();
    assert_eq!(
        granted[0]["parts"][0],
        json!({ "name": "command", "text": "echo hi > out.txt; ls" }),
        "{granted}"
    );
    assert_eq!((&granted[0]["granted_by"], &granted[0]["person"]), (&json!(cli), &json!("anna")));
    let listed = house.user.run(&["approvals", "grants"]).text();
    assert!(listed.contains("echo hi > out.txt; ls") && listed.contains("approvals revoke g1"), "{listed}");
    let revoked = house.user.run(&["approvals", "revoke", "g1"]);
    assert!(revoked.code() == 0 && revoked.text().contains("grant g1 is revoked"), "{}", revoked.text());
    assert_eq!(house.user.run(&["approvals", "revoke", "g1"]).code(), 1);
    assert_eq!(house.user.run(&["approvals", "revoke", "g2"]).code(), 2);
    assert!(house.user.run(&["approvals", "grants"]).text().contains("nothing is granted"));
    house.stop();
}

#[tokio::test]
async fn what_is_answered_while_no_host_runs_reaches_the_agent_at_the_next_start() {
    let mut house = House::new("permission-once").await;
    house.configure("", &[]);
    house.start();
    house.telegram.write(ANNA, CHAT, "/fix it");
    let card = house.card(CHAT).await;
    house.telegram.tap(ANNA, CHAT, card.id, "Approve");
    let message = house.see(CHAT, |shown| shown.text.contains("may the agent use bash?")).await;
    house.until_asks(1).await;
    house.crash();
    let answered = house.user.run(&["approvals", "answer", "1", "reject", "not that way"]);
    assert!(
        answered.code() == 0 && answered.text().contains("rejected: not that way"),
        "{}",
        answered.text()
    );
    assert_eq!(house.decisions(), Vec::<Value>::new());

    house.start();
    house
        .see(CHAT, |shown| shown.id == card.id && shown.text.contains("1.1 ") && shown.buttons.is_empty())
        .await;
    let over = house.see(CHAT, |shown| shown.id == message.id && shown.buttons.is_empty()).await;
    assert!(over.text.contains(&format!("rejected · answered by {}", caller())), "{}", over.text);
    assert_eq!(house.decisions(), ["reject"]);
    house.stop();
}

#[tokio::test]
async fn questions_are_answered_by_the_command_line_with_numbers_or_words() {
    let mut house = House::new("question").await;
    house.configure("", &[]);
    house.start();
    house.telegram.write(ANNA, CHAT, "/fix it");
    let card = house.card(CHAT).await;
    house.telegram.tap(ANNA, CHAT, card.id, "Approve");
    let asks = house.until_asks(1).await;
    let option = asks[0]["asked"]["questions"][0]["options"][0]["label"].as_str().unwrap().to_owned();
    for wrong in
        [&["approvals", "answer", "1", "1; 2; 3"][..], &["approvals", "answer", "1", "1", "--session"]]
    {
        let ended = house.user.run(wrong);
        assert_eq!(ended.code(), 2, "{}", ended.text());
    }
    let answered = house.user.run(&["approvals", "answer", "1", "1"]);
    assert!(
        answered.code() == 0 && answered.text().contains(&format!("answered: {option}")),
        "{}",
        answered.text()
    );
    house.see(CHAT, |shown| shown.text.contains("1.1 done")).await;
    let sent = house.daemon.bodies(house.daemon.generation().question_reply());
    assert_eq!(sent, [json!({ "answers": [[option]] })]);
    house.stop();
}

#[tokio::test]
async fn an_ask_of_a_task_from_the_command_line_waits_for_it_on_the_real_daemon() {
    let script = Script::default()
        .call("ask me", 0, "bash", json!({ "command": "echo asked > asked.txt", "description": "asks" }))
        .reply("ask me", "I was allowed.");
    let model = ScriptedModel::start(script).unwrap();
    let mut own = model.config();
    own["permission"] = json!({ "bash": "ask" });
    let user = User::new().with_opencode_config(&own);
    let home = user.home.path();
    let workspace = home.join("app");
    std::fs::create_dir(&workspace).unwrap();
    scratch::repository(&workspace, &[("hello.txt", "hello\n")]).unwrap();
    std::fs::create_dir(home.join("rules")).unwrap();
    std::fs::write(home.join("rules/fix.toml"), include_str!("../../rules/telegram/fix.toml")).unwrap();
    let config = format!(
        "rules = \"rules\"\nopencode = \"{}\"\n[gate]\napprovers = [\"{}\"]\n\
         [workspaces.app]\ndirectory = \"app\"\n[connectors.connector-opencode]\nworkspace = \"app\"\n",
        opencode().await,
        caller(),
    );
    std::fs::write(home.join("host.toml"), config).unwrap();
    let mut host = user.start(&["run", "-c", home.join("host.toml").to_str().unwrap()]);
    host.expect("host is running");
    assert_eq!(user.run(&["send", "--as", "connector-telegram", "/fix ask me"]).code(), 0);
    host.expect("waits for approval");
    assert_eq!(user.run(&["approvals", "approve", "1.1"]).code(), 0);
    let said = host.expect("the agent asks; see `approvals asks`");
    assert!(said.contains("answer with `approvals answer 1`"), "{said}");
    let listed = user.run(&["approvals", "asks"]).text();
    assert!(listed.contains("echo asked > asked.txt"), "{listed}");
    assert!(!std::fs::exists(workspace.join("asked.txt")).unwrap());
    let answered = user.run(&["approvals", "answer", "1", "allow"]);
    assert_eq!(answered.code(), 0, "{}", answered.text());
    host.expect("succeeded");
    assert!(std::fs::exists(workspace.join("asked.txt")).unwrap());
    host.signal(Signal::TERM);
    assert_eq!(host.wait(), 0);
    assert_eq!(processes_below(home), []);
}
