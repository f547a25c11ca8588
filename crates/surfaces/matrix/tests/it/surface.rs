//! The surface on a real Synapse, before an engine that remembers what it was told.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::Progress;
use connector_contract::ask::PermissionReply;
use connector_gate::ask::{Answer, Answered};
use connector_gate::decision::{Decision, Tap, Tapped};
use connector_gate::digest::Digest;
use connector_gate::ids::StepId;
use connector_gate::people::People;
use connector_gate::policy::Actor;
use connector_gate::state::StepState;
use connector_matrix::{Config, Matrix, RoomId};
use connector_surface::inbox::{About, Message, Receiver, Sent};
use connector_surface::view::{CardDecision, CardView, Field, ResultView, Standing};
use connector_surface::{DeliveryError, Inbox, InboxError, OpenAsk, Surface as _, View, words};
use serde_json::{Value, json};
use testkit::Synapse;
use testkit::synapse::{Options, User};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::support::{Bot, SOON, bot, config_of, person};

const DIGEST: &str = "93839bb3bab5cafe93839bb3bab5cafe93839bb3bab5cafe93839bb3bab5cafe";

/// Remembers what it is told, and takes everybody but strangers for an approver.
pub(crate) struct Engine {
    taken: Mutex<Vec<Message>>,
    pub(crate) place: Mutex<Option<String>>,
    taps: Mutex<Vec<Tap>>,
    sent: Mutex<Vec<Sent>>,
    strangers: Mutex<BTreeSet<String>>,
    pub(crate) answers: Mutex<Vec<(u64, Answer)>>,
    /// What is sent is recorded while there are permits.
    records: Semaphore,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            taken: Mutex::default(),
            place: Mutex::default(),
            taps: Mutex::default(),
            sent: Mutex::default(),
            strangers: Mutex::default(),
            answers: Mutex::default(),
            records: Semaphore::new(1_000),
        }
    }
}

impl Engine {
    fn knows(&self, who: &Actor) -> bool {
        let who = who.to_string();
        !self.strangers.lock().unwrap().iter().any(|it| who == format!("matrix:{it}"))
    }

    /// Whether it was told how far all was read.
    pub(crate) fn has_a_place(&self) -> bool {
        self.place.lock().unwrap().is_some()
    }

    fn texts(&self) -> Vec<String> {
        self.taken.lock().unwrap().iter().map(|it| it.text.clone()).collect()
    }

    fn decisions(&self) -> Vec<(String, Decision)> {
        self.taps.lock().unwrap().iter().map(|it| (it.approver.to_string(), it.decision)).collect()
    }
}

#[async_trait]
impl Receiver for Engine {
    async fn take(
        &self,
        _surface: &str,
        messages: Vec<Message>,
        place: Option<String>,
    ) -> Result<usize, InboxError> {
        if messages.iter().any(|it| it.text == "unreadable") {
            return Err(InboxError::Unreadable("its row".to_owned()));
        }
        let mut taken = self.taken.lock().unwrap();
        let before = taken.len();
        for message in messages {
            if !taken.iter().any(|it| it.id == message.id) {
                taken.push(message);
            }
        }
        if place.is_some() {
            *self.place.lock().unwrap() = place;
        }
        Ok(taken.len() - before)
    }

    async fn place(&self, _surface: &str) -> Result<Option<String>, InboxError> {
        Ok(self.place.lock().unwrap().clone())
    }

    async fn decide(&self, tap: Tap) -> Result<Tapped, InboxError> {
        let knows = self.knows(&tap.approver);
        let first = self.taps.lock().unwrap().is_empty();
        let answer = match tap.decision {
            _ if !knows => return Ok(Tapped::NotAllowed { reason: "you may not".to_owned() }),
            _ if !first => Tapped::Already { state: StepState::Approved, by: None, at: None },
            Decision::Deny => Tapped::Denied,
            _ => Tapped::Approved,
        };
        self.taps.lock().unwrap().push(tap);
        Ok(answer)
    }

    async fn answer(&self, number: u64, _by: &Actor, answer: Answer) -> Result<Answered, InboxError> {
        self.answers.lock().unwrap().push((number, answer));
        Ok(Answered::PassedOn)
    }

    async fn record(&self, _surface: &str, sent: Sent) -> Result<(), InboxError> {
        self.records.acquire().await.unwrap().forget();
        self.sent.lock().unwrap().push(sent);
        Ok(())
    }

    async fn sent(&self, delivery: i64, part: &str) -> Result<Vec<String>, InboxError> {
        let sent = self.sent.lock().unwrap();
        let of_part = sent.iter().filter(|it| it.delivery == Some(delivery) && it.part == part);
        Ok(of_part.map(|it| it.message.clone()).collect())
    }

    async fn about(&self, _surface: &str, chat: &str, message: &str) -> Result<Option<About>, InboxError> {
        let sent = self.sent.lock().unwrap();
        let found = sent.iter().rfind(|it| it.chat == chat && it.message == message);
        Ok(found.and_then(|it| Some(About { step: it.step?, part: it.part.clone() })))
    }

    async fn message_of(
        &self,
        _surface: &str,
        chat: &str,
        step: StepId,
        part: &str,
    ) -> Result<Option<String>, InboxError> {
        let sent = self.sent.lock().unwrap();
        let found = sent.iter().rfind(|it| it.chat == chat && it.step == Some(step) && it.part == part);
        Ok(found.map(|it| it.message.clone()))
    }

    fn is_approver(&self, who: &Actor) -> bool {
        self.knows(who)
    }
}

/// A surface that runs, and who is in the room with it.
pub(crate) struct Stage {
    pub(crate) matrix: Matrix,
    pub(crate) engine: Arc<Engine>,
    pub(crate) bot: Bot,
    pub(crate) anna: User,
    pub(crate) room: RoomId,
    stop: CancellationToken,
    running: Option<tokio::task::JoinHandle<()>>,
}

/// A surface that runs on what `engine` remembers.
pub(crate) async fn run(
    synapse: &Synapse,
    (bot, people, rooms): (&Bot, &[&User], &[&RoomId]),
    engine: &Arc<Engine>,
) -> (Matrix, CancellationToken, tokio::task::JoinHandle<()>) {
    let config = Config { homeserver: synapse.base_url(), ..config_of(&bot.user, people, rooms) };
    let settings = config.check().unwrap();
    let matrix = Matrix::new(settings, "connector-matrix").unwrap();
    let (stop, inbox) = (CancellationToken::new(), Inbox::new(engine.clone(), "matrix"));
    let (this, until) = (matrix.clone(), stop.clone());
    let running = tokio::spawn(async move { this.run(inbox, until).await.unwrap() });
    let live = async {
        while !engine.has_a_place() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, live).await.unwrap();
    (matrix, stop, running)
}

impl Stage {
    pub(crate) async fn set(synapse: &Synapse) -> Self {
        let (bot, anna) = (bot(synapse).await, person(synapse).await);
        Self::of(synapse, bot, anna).await
    }

    async fn of(synapse: &Synapse, bot: Bot, anna: User) -> Self {
        let engine = Arc::new(Engine::default());
        let (matrix, stop, running) = run(synapse, (&bot, &[&anna], &[]), &engine).await;
        let room: RoomId = anna.direct(&bot.user.id).await.unwrap().parse().unwrap();
        let stage = Self { matrix, engine, bot, anna, room, stop, running: Some(running) };
        // It accepts by itself.
        stage.bot_is_in(&stage.room).await;
        stage
    }

    /// Waits until the bot is in a room.
    pub(crate) async fn bot_is_in(&self, room: &RoomId) {
        let is_in =
            async || self.anna.members(room.as_str()).await.is_ok_and(|it| it.contains(&self.bot.user.id));
        self.eventually("the bot is in the room", is_in).await;
    }

    /// Ends the surface.
    pub(crate) async fn pause(&mut self) {
        self.stop.cancel();
        if let Some(running) = self.running.take() {
            running.await.unwrap();
            self.matrix.finish().await;
        }
    }

    /// Ends the surface and runs another on what the engine remembers, which lets these rooms in as well.
    pub(crate) async fn again(&mut self, synapse: &Synapse, rooms: &[&RoomId]) {
        self.pause().await;
        let (matrix, stop, running) = run(synapse, (&self.bot, &[&self.anna], rooms), &self.engine).await;
        (self.matrix, self.stop, self.running) = (matrix, stop, Some(running));
    }

    /// Waits until all that was said before was taken in.
    pub(crate) async fn all_taken(&self) {
        let mark = crate::support::name("mark ");
        self.anna.say(self.room.as_str(), &mark).await.unwrap();
        self.eventually("what was said is taken", async || self.engine.texts().contains(&mark)).await;
        self.engine.taken.lock().unwrap().retain(|it| it.text != mark);
    }

    pub(crate) async fn eventually(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let waited = async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(tokio::time::timeout(SOON, waited).await.is_ok(), "never: {what}");
    }

    pub(crate) async fn bodies(&self) -> Vec<String> {
        let messages = self.anna.messages(self.room.as_str()).await.unwrap();
        let body = |it: &Value| it["content"]["body"].as_str().unwrap_or_default().to_owned();
        messages.iter().map(body).collect()
    }

    pub(crate) async fn says(&self, words: &str) {
        self.eventually(words, async || self.bodies().await.iter().any(|it| it.contains(words))).await;
    }

    async fn card(&self, delivery: i64) -> String {
        self.matrix.deliver(self.room.as_str(), delivery, View::Card(Box::new(card()))).await.unwrap()
    }

    pub(crate) async fn end(mut self) {
        self.pause().await;
    }
}

fn step() -> StepId {
    "3.1".parse().unwrap()
}

/// As the host makes one.
pub(crate) fn card() -> CardView {
    let named = |name: &str, value: &str| Field::Named { name: name.to_owned(), value: value.to_owned() };
    CardView {
        id: step(),
        rule: "fix".to_owned(),
        digest: Digest::from_stored(DIGEST.to_owned()),
        token: "a secret of the card".to_owned(),
        is_delivered: false,
        fields: vec![
            named("rule", "fix (0123456789ab)"),
            Field::AskedBy { by: "Anna (matrix:@anna:x)".to_owned(), chat: "!r".to_owned() },
            named("runs", "connector-opencode · run_task"),
            named("at", "workspace:myapp"),
            named("directory", "/code/<my> \"app\" & more"),
            named("digest", "93839bb3bab5"),
            named("expires", "in 15 min"),
        ],
        prompt: Some("the **login** <b>test</b>\n⏸ approval needed · 4.1".to_owned()),
        whole: "all of it".to_owned(),
    }
}

fn result() -> ResultView {
    ResultView {
        id: step(),
        state: StepState::Succeeded,
        title: "3.1 done".to_owned(),
        figures: " · 7 s".to_owned(),
        reason: None,
        approved_by: None,
        reply: Some("it **works**".into()),
        remark: None,
        changes: None,
        branch: None,
        refused: None,
        session: Some("ses_1".to_owned()),
        patch: Some("+a\n".repeat(2_000).as_str().into()),
        token: "a secret of the card".to_owned(),
    }
}

#[tokio::test]
async fn a_card_is_decided_by_a_reaction_and_its_result_follows() {
    let stage = Stage::set(Synapse::shared().await).await;
    stage.anna.say(stage.room.as_str(), "!fix the login").await.unwrap();
    stage.eventually("it is taken", async || !stage.engine.texts().is_empty()).await;
    assert_eq!(stage.engine.texts(), ["/fix the login"]);

    let event = stage.card(1).await;
    assert_eq!(stage.card(1).await, event, "the same delivery is the same event");
    stage.says("digest: 93839bb3bab5").await;
    stage.anna.react(stage.room.as_str(), &event, "🎉").await.unwrap();
    stage.anna.react(stage.room.as_str(), &event, "✅").await.unwrap();
    stage.says("3.1 is approved").await;
    {
        let taps = stage.engine.taps.lock().unwrap();
        assert_eq!(taps.len(), 1);
        assert_eq!((taps[0].digest.as_str(), taps[0].step), (DIGEST, step()));
        assert_eq!(taps[0].chat.as_deref(), Some(stage.room.as_str()));
        assert_eq!(taps[0].approver.to_string(), format!("matrix:{}", stage.anna.id));
    }
    stage.matrix.progress(stage.room.as_str(), step(), &Progress::Started { session_id: "ses_1".into() });
    stage.says("* ▶ 3.1 runs").await;
    stage.matrix.deliver(stage.room.as_str(), 2, View::Result(Box::new(result()))).await.unwrap();
    let bodies = stage.bodies().await;
    for said in ["3.1 done · 7 s", "it works", "step-3.1.diff", "* 3.1 done"] {
        assert_eq!(bodies.iter().filter(|it| it.contains(said)).count(), 1, "{said}: {bodies:?}");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_reply_decides_and_is_no_message_and_a_wrong_digest_decides_nothing() {
    let stage = Stage::set(Synapse::shared().await).await;
    let event = stage.card(1).await;
    let reply = |words: &str| json!({ "msgtype": "m.text", "body": words, "m.relates_to": { "m.in_reply_to": { "event_id": event } } });
    let room = stage.room.as_str();
    stage.anna.send(room, "m.room.message", &reply("y 000000000000")).await.unwrap();
    stage.says("another digest").await;
    assert!(stage.engine.decisions().is_empty());
    stage.anna.send(room, "m.room.message", &reply("why?")).await.unwrap();
    stage.eventually("it is taken", async || stage.engine.texts() == ["why?"]).await;
    assert_eq!(stage.engine.taken.lock().unwrap()[0].answers.as_ref(), Some(&event));
    stage.anna.send(room, "m.room.message", &reply("n 93839bb3bab5")).await.unwrap();
    stage.says("3.1 is refused").await;
    assert_eq!(stage.engine.decisions(), [(format!("matrix:{}", stage.anna.id), Decision::Deny)]);
    assert_eq!(stage.engine.texts(), ["why?"]);
    stage.end().await;
}

#[tokio::test]
async fn a_card_that_was_taken_away_is_decided_by_nothing() {
    let stage = Stage::set(Synapse::shared().await).await;
    let event = stage.card(1).await;
    stage.anna.redact(stage.room.as_str(), &event).await.unwrap();
    // Servers take a reaction to it all the same.
    stage.anna.react(stage.room.as_str(), &event, "✅").await.unwrap();
    stage.all_taken().await;
    assert!(stage.engine.decisions().is_empty());
    stage.end().await;
}

#[tokio::test]
async fn what_somebody_else_wrote_is_no_card() {
    let stage = Stage::set(Synapse::shared().await).await;
    let event = stage.card(1).await;
    let room = stage.room.as_str();
    let copy = stage.anna.event(room, &event).await.unwrap()["content"].clone();
    assert_eq!(copy["connector-host"]["digest"], DIGEST);
    let own = stage.anna.send(room, "m.room.message", &copy).await.unwrap();
    stage.anna.react(room, &own, "✅").await.unwrap();
    stage.all_taken().await;
    assert!(stage.engine.decisions().is_empty());
    stage.end().await;
}

#[tokio::test]
async fn a_reaction_that_comes_before_the_card_is_on_record_decides() {
    let stage = Stage::set(Synapse::shared().await).await;
    stage.engine.records.forget_permits(1_000);
    let (matrix, room) = (stage.matrix.clone(), stage.room.to_string());
    let delivering =
        tokio::spawn(async move { matrix.deliver(&room, 1, View::Card(Box::new(card()))).await.unwrap() });
    stage.says("approval needed").await;
    let messages = stage.anna.messages(stage.room.as_str()).await.unwrap();
    let event = messages.last().unwrap()["event_id"].as_str().unwrap();
    stage.anna.react(stage.room.as_str(), event, "✅").await.unwrap();
    stage.says("3.1 is approved").await;
    assert!(stage.engine.sent.lock().unwrap().is_empty() && !delivering.is_finished());
    stage.engine.records.add_permits(1_000);
    assert_eq!(delivering.await.unwrap(), event);
    stage.end().await;
}

#[tokio::test]
async fn who_may_not_decide_is_told_nothing() {
    let stage = Stage::set(Synapse::shared().await).await;
    stage.engine.strangers.lock().unwrap().insert(stage.anna.id.clone());
    let event = stage.card(1).await;
    let before = stage.bodies().await;
    stage.anna.react(stage.room.as_str(), &event, "✅").await.unwrap();
    let reply = json!({ "msgtype": "m.text", "body": "y 000000000000", "m.relates_to": { "m.in_reply_to": { "event_id": event } } });
    stage.anna.send(stage.room.as_str(), "m.room.message", &reply).await.unwrap();
    stage.all_taken().await;
    assert_eq!(stage.bodies().await.len(), before.len() + 2);
    assert!(stage.engine.decisions().is_empty());
    assert_eq!(stage.engine.texts(), ["y 000000000000"], "what a stranger says to a card is a message");
    stage.end().await;
}

#[tokio::test]
async fn who_sends_too_much_is_told_once_and_dropped() {
    let stage = Stage::set(Synapse::shared().await).await;
    stage.engine.strangers.lock().unwrap().insert(stage.anna.id.clone());
    for number in 0..60 {
        stage.anna.say(stage.room.as_str(), &format!("/fix {number}")).await.unwrap();
    }
    stage.says(words::TOO_MUCH).await;
    stage.engine.strangers.lock().unwrap().clear();
    stage.all_taken().await;
    let taken = stage.engine.texts().len();
    assert!((30..60).contains(&taken), "{taken}");
    assert_eq!(stage.bodies().await.iter().filter(|it| *it == words::TOO_MUCH).count(), 1);
    stage.end().await;
}

#[tokio::test]
async fn each_of_two_who_decide_at_once_is_answered() {
    let synapse = Synapse::shared().await;
    let mut stage = Stage::set(synapse).await;
    let ben = person(synapse).await;
    let room = stage.room.clone();
    stage.again(synapse, &[&room]).await;
    stage.anna.post(room.as_str(), "invite", &json!({ "user_id": ben.id })).await.unwrap();
    ben.post(room.as_str(), "join", &json!({})).await.unwrap();
    let event = stage.card(1).await;
    let (one, other) =
        tokio::join!(stage.anna.react(room.as_str(), &event, "✅"), ben.react(room.as_str(), &event, "❌"));
    one.unwrap();
    other.unwrap();
    let answered = async || stage.bodies().await.iter().filter(|it| it.starts_with("3.1 is ")).count() == 2;
    stage.eventually("both are answered", answered).await;
    let late = stage.bodies().await.iter().filter(|it| it.contains("already")).count();
    assert_eq!((stage.engine.decisions().len(), late), (2, 1), "the first decides, and the other is told");
    stage.end().await;
}

#[tokio::test]
async fn what_was_said_while_nothing_ran_is_taken_in_once() {
    let synapse = Synapse::shared().await;
    let mut stage = Stage::set(synapse).await;
    stage.anna.say(stage.room.as_str(), "before").await.unwrap();
    stage.eventually("it is taken", async || stage.engine.texts() == ["before"]).await;
    stage.pause().await;
    stage.anna.say(stage.room.as_str(), "meanwhile").await.unwrap();
    stage.engine.taken.lock().unwrap().clear();
    stage.again(synapse, &[]).await;
    stage.anna.say(stage.room.as_str(), "after").await.unwrap();
    stage.eventually("all is taken", async || stage.engine.texts() == ["meanwhile", "after"]).await;
    stage.end().await;
}

#[tokio::test]
async fn one_message_that_cannot_be_taken_takes_none_with_it() {
    let synapse = Synapse::shared().await;
    let mut stage = Stage::set(synapse).await;
    stage.all_taken().await;
    stage.pause().await;
    let before = stage.engine.place.lock().unwrap().clone();
    for words in ["one", "unreadable", "two"] {
        stage.anna.say(stage.room.as_str(), words).await.unwrap();
    }
    stage.again(synapse, &[]).await;
    stage.eventually("the others are taken", async || stage.engine.texts() == ["one", "two"]).await;
    stage.eventually("the place is", async || *stage.engine.place.lock().unwrap() != before).await;
    stage.end().await;
}

#[tokio::test]
async fn what_comes_in_does_not_wait_for_what_is_answered() {
    let synapse = Synapse::with(Options { rc_message: Some((0.1, 4)), ..Options::default() }).await.unwrap();
    let stage = Stage::set(&synapse).await;
    let event = stage.card(1).await;
    for number in 2..5 {
        stage.matrix.deliver(stage.room.as_str(), number, View::Text(format!("{number}"))).await.unwrap();
    }
    stage.anna.react(stage.room.as_str(), &event, "✅").await.unwrap();
    stage.eventually("it is decided", async || !stage.engine.decisions().is_empty()).await;
    stage.anna.say(stage.room.as_str(), "after it").await.unwrap();
    stage.eventually("it is taken", async || stage.engine.texts() == ["after it"]).await;
    assert!(!stage.bodies().await.iter().any(|it| it.contains("is approved")), "the answer has to wait");
    stage.says("3.1 is approved").await;
    stage.end().await;
}

fn is_later(delivered: &Result<String, DeliveryError>) -> bool {
    matches!(delivered, Err(DeliveryError::Later(_)))
}

#[tokio::test]
async fn nothing_is_said_where_nobody_allowed_it_and_it_is_not_taken_for_said() {
    let synapse = Synapse::shared().await;
    let stage = Stage::set(synapse).await;
    let eve = person(synapse).await;
    let theirs: RoomId = eve.direct(&stage.bot.user.id).await.unwrap().parse().unwrap();
    stage.bot.api.join(&theirs).await.unwrap();
    let views =
        || [View::Card(Box::new(card())), View::Result(Box::new(result())), View::Text("hi".to_owned())];
    for (number, view) in (1..).zip(views()) {
        let delivered = stage.matrix.deliver(theirs.as_str(), number, view).await;
        assert!(is_later(&delivered), "{delivered:?}");
    }
    stage.matrix.progress(theirs.as_str(), step(), &Progress::Started { session_id: "ses_1".into() });
    stage.all_taken().await;
    assert!(eve.messages(theirs.as_str()).await.unwrap().is_empty());
    // A third person makes a private room one of strangers.
    stage.anna.post(stage.room.as_str(), "invite", &json!({ "user_id": eve.id })).await.unwrap();
    eve.post(stage.room.as_str(), "join", &json!({})).await.unwrap();
    let delivered = async || {
        is_later(&stage.matrix.deliver(stage.room.as_str(), 9, View::Text("secret".to_owned())).await)
    };
    stage.eventually("it is seen that they are there", delivered).await;
    stage.end().await;
}

#[tokio::test]
async fn a_card_waits_for_the_bot_to_be_back_in_the_room() {
    let stage = Stage::set(Synapse::shared().await).await;
    stage.anna.post(stage.room.as_str(), "kick", &json!({ "user_id": stage.bot.user.id })).await.unwrap();
    for view in [View::Card(Box::new(card())), View::Text("hello".to_owned())] {
        let delivered = stage.matrix.deliver(stage.room.as_str(), 1, view).await;
        assert!(is_later(&delivered), "{delivered:?}");
    }
    assert!(stage.engine.sent.lock().unwrap().is_empty());
    stage.anna.post(stage.room.as_str(), "invite", &json!({ "user_id": stage.bot.user.id })).await.unwrap();
    stage.bot_is_in(&stage.room).await;
    stage.all_taken().await;
    let event = stage.card(1).await;
    assert!(event.starts_with('$'));
    stage.end().await;
}

#[tokio::test]
async fn what_is_still_to_be_told_goes_to_the_room_that_replaces_another() {
    let stage = Stage::set(Synapse::shared().await).await;
    let room = stage.room.as_str();
    let upgraded = stage.anna.post(room, "upgrade", &json!({ "new_version": "12" })).await.unwrap();
    let to: RoomId = upgraded["replacement_room"].as_str().unwrap().parse().unwrap();
    let delivered = stage.matrix.deliver(room, 1, View::Text("hello".to_owned())).await;
    assert!(is_later(&delivered), "the bot is not in it: {delivered:?}");
    stage.anna.post(to.as_str(), "invite", &json!({ "user_id": stage.bot.user.id })).await.unwrap();
    stage.bot_is_in(&to).await;
    let moved = async || match stage.matrix.deliver(room, 1, View::Text("hello".to_owned())).await {
        Err(DeliveryError::Moved { to: there }) => there == to.as_str(),
        delivered => panic!("{delivered:?}"),
    };
    assert!(moved().await);
    stage.matrix.deliver(to.as_str(), 1, View::Text("hello".to_owned())).await.unwrap();
    stage.end().await;
}

/// Nobody can write there any more, and it is said to be replaced.
async fn replaced(by: &User, room: &RoomId, to: &RoomId) {
    let levels = json!({ "users": { by.id.as_str(): 100 }, "events_default": 50 });
    by.set_state(room.as_str(), "m.room.power_levels", &levels).await.unwrap();
    let tombstone = json!({ "body": "moved", "replacement_room": to.as_str() });
    by.set_state(room.as_str(), "m.room.tombstone", &tombstone).await.unwrap();
}

#[tokio::test]
async fn a_tombstone_sends_nothing_to_a_room_that_nobody_allowed_nor_round_in_a_circle() {
    let synapse = Synapse::shared().await;
    let stage = Stage::set(synapse).await;
    let eve = person(synapse).await;
    let theirs: RoomId = eve.direct(&stage.bot.user.id).await.unwrap().parse().unwrap();
    stage.bot.api.join(&theirs).await.unwrap();
    let old = json!({ "preset": "private_chat", "is_direct": true, "invite": [stage.bot.user.id], "room_version": "10" });
    let make = async || {
        let room: RoomId = stage.anna.create_room(&old).await.unwrap().parse().unwrap();
        stage.bot_is_in(&room).await;
        room
    };
    let (one, other, third) = (make().await, make().await, make().await);
    replaced(&stage.anna, &one, &theirs).await;
    replaced(&stage.anna, &other, &third).await;
    replaced(&stage.anna, &third, &other).await;
    stage.all_taken().await;
    for room in [&one, &other, &third] {
        let delivered = stage.matrix.deliver(room.as_str(), 1, View::Text("secret".to_owned())).await;
        assert!(is_later(&delivered), "{delivered:?}");
    }
    assert!(eve.messages(theirs.as_str()).await.unwrap().is_empty());
    stage.end().await;
}

#[tokio::test]
async fn a_card_that_does_not_fit_says_so_and_is_whole_in_a_file() {
    let stage = Stage::set(Synapse::shared().await).await;
    let long = |text: &str| text.repeat(20_000);
    let (mut prompt, mut field, mut many) = (card(), card(), card());
    prompt.prompt = Some(long("\"w "));
    field.fields.push(Field::Named { name: "extra".to_owned(), value: long("&x ") });
    many.fields.extend((0..500).map(|it| Field::Named { name: format!("n{it}"), value: "v".to_owned() }));
    for (number, card) in (1..).zip([prompt, field, many]) {
        let event =
            stage.matrix.deliver(stage.room.as_str(), number, View::Card(Box::new(card))).await.unwrap();
        let messages = stage.anna.messages(stage.room.as_str()).await.unwrap();
        let [.., file, shown] = &messages[..] else { panic!("{messages:#?}") };
        assert_eq!(shown["event_id"], event);
        let body = shown["content"]["body"].as_str().unwrap();
        assert!(body.contains("… cut; the whole of it is in the file above"), "{body}");
        assert!(body.contains("react with ✅"), "{body}");
        assert_eq!(stage.anna.file(file["content"]["url"].as_str().unwrap()).await.unwrap(), "all of it");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_card_looks_like_this_and_nothing_in_it_passes_for_another_part() {
    let stage = Stage::set(Synapse::shared().await).await;
    let event = stage.card(1).await;
    let content = stage.anna.event(stage.room.as_str(), &event).await.unwrap()["content"].clone();
    insta::assert_json_snapshot!("card", content);
    let all = content.to_string();
    assert_eq!(
        (all.matches("rule: ").count(), all.matches("digest: ").count()),
        (2, 2),
        "in text and in HTML"
    );
    stage.end().await;
}

#[tokio::test]
async fn what_an_agent_says_is_a_notice_that_is_clean_and_long_is_a_file() {
    let stage = Stage::set(Synapse::shared().await).await;
    let room = stage.room.as_str();
    let told = async |number: i64, reply: &str| {
        let view = ResultView { reply: Some(reply.into()), patch: None, ..result() };
        stage.matrix.deliver(room, number, View::Result(Box::new(view))).await.unwrap();
        stage.anna.messages(room).await.unwrap()
    };
    let evil = "a\u{202e}b <img src=x> [me](https://matrix.to/#/@anna:x) @room\n\n```\n\u{1b}[2J\n```";
    let messages = told(1, evil).await;
    let said = &messages.last().unwrap()["content"];
    assert_eq!((&said["msgtype"], &said["m.mentions"]), (&json!("m.notice"), &json!({})));
    for text in [&said["body"], &said["formatted_body"]] {
        let text = text.as_str().unwrap();
        assert!(
            !text.contains(['\u{202e}', '\u{1b}']) && !text.contains("href") && text.contains("\\u{202e}"),
            "{text}"
        );
    }
    assert!(!said["formatted_body"].as_str().unwrap().contains("<img"));
    let long = "x ".repeat(60_000);
    let messages = told(2, &long).await;
    let file = &messages.last().unwrap()["content"];
    assert_eq!(stage.anna.file(file["url"].as_str().unwrap()).await.unwrap(), long);
    stage.matrix.deliver(room, 3, View::Text("a\u{202e}b".to_owned())).await.unwrap();
    assert_eq!(stage.bodies().await.last().unwrap(), "a\\u{202e}b");
    stage.end().await;
}

#[tokio::test]
async fn a_card_shows_who_approved_it_and_can_be_decided_until_it_waits_no_longer() {
    let stage = Stage::set(Synapse::shared().await).await;
    let event = stage.card(1).await;
    let decision = CardDecision::Awaited { approved_by: vec!["Ben".to_owned()], needed: 2 };
    let mut standing = Standing { card: card(), decision };
    stage.matrix.changed(stage.room.as_str(), &standing).await.unwrap();
    let last = async || {
        let messages = stage.anna.messages(stage.room.as_str()).await.unwrap();
        messages.last().unwrap()["content"].clone()
    };
    let now = last().await;
    assert_eq!(now["m.relates_to"]["event_id"], event.as_str());
    let body = now["m.new_content"]["body"].as_str().unwrap();
    assert!(
        body.contains("3.1 approved by Ben; 1 of 2 approvals") && body.contains("react with ✅"),
        "{body}"
    );
    stage.anna.react(stage.room.as_str(), &event, "✅").await.unwrap();
    stage.says("3.1 is approved").await;
    standing.decision = CardDecision::Approved { by: Some("Anna".to_owned()) };
    stage.matrix.changed(stage.room.as_str(), &standing).await.unwrap();
    assert_eq!(last().await["m.new_content"]["body"], "3.1 approved by Anna");
    stage.end().await;
}

#[tokio::test]
async fn whoever_is_asked_anew_gets_a_new_card_and_the_old_one_says_so() {
    let stage = Stage::set(Synapse::shared().await).await;
    let old = stage.card(1).await;
    let mut again = card();
    again.fields.insert(0, Field::Again("changed after the approval".to_owned()));
    again.token = "another".to_owned();
    let new = stage.matrix.deliver(stage.room.as_str(), 2, View::Card(Box::new(again))).await.unwrap();
    assert_ne!(old, new);
    let messages = stage.anna.messages(stage.room.as_str()).await.unwrap();
    let edit = messages.iter().find(|it| it["content"]["m.relates_to"]["event_id"] == old.as_str()).unwrap();
    assert_eq!(edit["content"]["m.new_content"]["body"], "3.1 is asked about again, below");
    stage.end().await;
}

#[tokio::test]
async fn a_card_in_a_thread_is_decided_there() {
    let stage = Stage::set(Synapse::shared().await).await;
    let opener = stage.anna.say(stage.room.as_str(), "here").await.unwrap();
    let chat = format!("{}/{opener}", stage.room);
    let event = stage.matrix.deliver(&chat, 1, View::Card(Box::new(card()))).await.unwrap();
    stage.anna.react(stage.room.as_str(), &event, "👍🏽").await.unwrap();
    stage.says("3.1 is approved").await;
    assert_eq!(stage.engine.taps.lock().unwrap()[0].chat.as_deref(), Some(chat.as_str()));
    let messages = stage.anna.messages(stage.room.as_str()).await.unwrap();
    let answer = messages.last().unwrap();
    assert_eq!(answer["content"]["m.relates_to"]["event_id"], opener.as_str());
    stage.end().await;
}

#[tokio::test]
async fn an_encrypted_room_is_left_with_one_notice_each_time() {
    let stage = Stage::set(Synapse::shared().await).await;
    let encryption = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    let room = stage.room.as_str();
    stage.anna.set_state(room, "m.room.encryption", &encryption).await.unwrap();
    for times in 1..=2 {
        let said = async || {
            stage.bodies().await.iter().filter(|it| it.contains("this room is encrypted")).count() == times
        };
        stage.eventually("it says why", said).await;
        let alone = async || stage.anna.members(room).await.unwrap().len() == 1;
        stage.eventually("it leaves", alone).await;
        if times == 1 {
            stage.anna.post(room, "invite", &json!({ "user_id": stage.bot.user.id })).await.unwrap();
        }
    }
    stage.end().await;
}

pub(crate) fn permission(number: u64, command: &str) -> OpenAsk {
    let asked = json!({
        "type": "permission", "id": format!("per_{number}"), "session_id": "ses_1", "permission": "bash",
        "patterns": [command], "metadata": { "command": command },
    });
    OpenAsk {
        number,
        times: 1,
        step: step(),
        asked: serde_json::from_value(asked).unwrap(),
        approvers: Vec::new(),
        people: People::default(),
    }
}

#[tokio::test]
async fn an_ask_is_answered_by_a_reaction_or_a_reply_and_says_what_became_of_it() {
    let stage = Stage::set(Synapse::shared().await).await;
    let room = stage.room.as_str();
    let event = async |words: &str| {
        stage.says(words).await;
        let messages = stage.anna.messages(room).await.unwrap();
        let asked =
            messages.iter().find(|it| it["content"]["body"].as_str().unwrap().contains(words)).unwrap();
        asked["event_id"].as_str().unwrap().to_owned()
    };
    let (first, second) = (permission(1, "cargo test"), permission(2, "rm -r target"));
    stage.matrix.ask(room, &first);
    stage.matrix.ask(room, &second);
    let (of_first, of_second) = (event("│ cargo test").await, event("│ rm -r target").await);
    stage.anna.react(room, &of_first, "👍").await.unwrap();
    stage.eventually("it is answered", async || stage.engine.answers.lock().unwrap().len() == 1).await;
    let why = json!({
        "msgtype": "m.text", "body": "too much", "m.relates_to": { "m.in_reply_to": { "event_id": of_second } },
    });
    stage.anna.send(room, "m.room.message", &why).await.unwrap();
    stage.eventually("it is answered", async || stage.engine.answers.lock().unwrap().len() == 2).await;
    let answers = stage.engine.answers.lock().unwrap().clone();
    let refused = Answer::Permission(PermissionReply::Reject { message: "too much".to_owned() });
    assert_eq!(answers, [(1, Answer::Permission(PermissionReply::Once)), (2, refused)]);
    assert!(stage.engine.texts().is_empty(), "an answer is no message");

    let anna = Actor::new("matrix", &stage.anna.id);
    stage.matrix.ask_answered(room, &first, &answers[0].1, &anna);
    stage.says(&format!("answered by {anna}")).await;
    stage.matrix.ask_closed(room, &second, None);
    stage.says("no longer asked").await;
    // Its agent asks once more: it is the same message, which can be answered again.
    stage.matrix.ask(room, &OpenAsk { times: 2, ..second.clone() });
    let again = async || {
        let messages = stage.anna.messages(room).await.unwrap();
        let last = messages.last().unwrap()["content"].clone();
        last["m.relates_to"]["event_id"] == of_second.as_str()
            && last["m.new_content"]["body"].as_str().unwrap().contains("│ rm -r target")
    };
    stage.eventually("it is asked again", again).await;
    stage.anna.react(room, &of_second, "❌").await.unwrap();
    stage.eventually("it is answered", async || stage.engine.answers.lock().unwrap().len() == 3).await;
    stage.end().await;
}

#[tokio::test]
async fn a_reaction_is_an_event_where_it_is_about_no_card_and_of_somebody_who_is_heard() {
    let synapse = Synapse::shared().await;
    let mut stage = Stage::set(synapse).await;
    let ghost = synapse.register(&crate::support::name("telegram_")).await.unwrap();
    let room = stage.room.clone();
    stage.again(synapse, &[&room]).await;
    stage.anna.post(room.as_str(), "invite", &json!({ "user_id": ghost.id })).await.unwrap();
    ghost.post(room.as_str(), "join", &json!({})).await.unwrap();
    let said = stage.anna.say(room.as_str(), "it is green").await.unwrap();
    let relation = json!({ "rel_type": "m.thread", "event_id": said });
    let in_thread = json!({ "msgtype": "m.text", "body": "really", "m.relates_to": relation });
    let answered = stage.anna.send(room.as_str(), "m.room.message", &in_thread).await.unwrap();
    let (card, gone) = (stage.card(1).await, stage.card(2).await);
    stage.anna.redact(room.as_str(), &gone).await.unwrap();
    // A decision of somebody who may not decide, and what decides nothing, are about a card all the same.
    stage.engine.strangers.lock().unwrap().insert(stage.anna.id.clone());
    for (who, about, key) in [
        (&stage.anna, &card, "✅"),
        (&stage.anna, &card, "🎉"),
        (&stage.anna, &gone, "🎉"),
        (&ghost, &said, "🎉"),
    ] {
        who.react(room.as_str(), about, key).await.unwrap();
    }
    let seen = stage.anna.react(room.as_str(), &said, "🚀").await.unwrap();
    stage.anna.react(room.as_str(), &answered, "✅").await.unwrap();
    stage.all_taken().await;
    let taken = stage.engine.taken.lock().unwrap().clone();
    let reactions: Vec<&Message> = taken.iter().filter(|it| it.trigger == "reaction_received").collect();
    assert_eq!(
        reactions.iter().map(|it| it.payload["key"].as_str().unwrap()).collect::<Vec<_>>(),
        ["🚀", "✅"]
    );
    let (first, second) = (reactions[0], reactions[1]);
    assert_eq!(
        (first.id.as_str(), first.user.as_str(), first.chat.as_str()),
        (&*seen, &*stage.anna.id, room.as_str())
    );
    assert_eq!(first.answers.as_ref(), Some(&said));
    let of_first =
        ["message_id", "reaction_id", "user_id", "chat_type"].map(|key| first.payload[key].as_str());
    assert_eq!(of_first, [Some(&*said), Some(&*seen), Some(&*stage.anna.id), Some("group")]);
    assert_eq!(second.chat, format!("{room}/{said}"), "what a thread has is of its own conversation");
    assert_eq!(second.payload["topic_id"], json!(said));
    stage.end().await;
}

#[tokio::test]
async fn who_reacts_too_much_is_dropped_without_a_word_and_is_still_heard() {
    let stage = Stage::set(Synapse::shared().await).await;
    stage.engine.strangers.lock().unwrap().insert(stage.anna.id.clone());
    let said = stage.anna.say(stage.room.as_str(), "it is green").await.unwrap();
    for number in 0..60 {
        stage.anna.react(stage.room.as_str(), &said, &format!("{number}")).await.unwrap();
    }
    let after = stage.anna.say(stage.room.as_str(), "/fix it").await.unwrap();
    stage.all_taken().await;
    let taken = stage.engine.taken.lock().unwrap().clone();
    let reactions = taken.iter().filter(|it| it.trigger == "reaction_received").count();
    assert!((30..60).contains(&reactions), "{reactions}");
    assert!(taken.iter().any(|it| it.id == after), "what is said is counted by itself");
    let shown = stage.anna.messages(stage.room.as_str()).await.unwrap();
    assert!(!shown.iter().any(|it| it["content"]["body"] == words::TOO_MUCH), "{shown:#?}");
    stage.end().await;
}
