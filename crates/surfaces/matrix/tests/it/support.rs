//! A bot and people on a real homeserver.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::ask::RejectAsks;
use connector_contract::{
    Checkpoint, CheckpointError, CheckpointLog, Connector, ConnectorFactory as _, Context, Grant, Origin,
    OutboundHttp, ProgressSink, Provenance, Reach,
};
use connector_matrix::sync::Synced;
use connector_matrix::update::{Incoming, Received};
use connector_matrix::{AccessToken, Api, Config, EventId, MatrixFactory, RoomId, Rooms, Settings, Syncer};
use secrecy::ExposeSecret as _;
use serde_json::json;
use testkit::Synapse;
use testkit::synapse::User;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long anything may take that a server does at once.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// A bot with its client.
pub(crate) struct Bot {
    pub(crate) user: User,
    pub(crate) api: Api,
    pub(crate) base: String,
}

/// A name that no other test has.
pub(crate) fn name(what: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("{what}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) async fn person(synapse: &Synapse) -> User {
    synapse.register(&name("anna")).await.unwrap()
}

pub(crate) fn http(origin: &Origin) -> OutboundHttp {
    OutboundHttp::new([Grant::new(origin.clone(), Reach::Loopback).unwrap()]).unwrap()
}

pub(crate) fn origin(synapse: &Synapse) -> Origin {
    synapse.base_url().parse().unwrap()
}

/// The client of a person, for what tests do as one.
pub(crate) fn api_of(synapse: &Synapse, user: &User) -> Api {
    let origin = origin(synapse);
    Api::new(http(&origin), origin, AccessToken::new(user.token.clone()).unwrap())
}

pub(crate) async fn bot(synapse: &Synapse) -> Bot {
    let user = synapse.register(&name("bot")).await.unwrap();
    Bot { api: api_of(synapse, &user), user, base: synapse.base_url() }
}

/// A configuration that lets these people in in private, and everybody in these rooms; without a server.
pub(crate) fn config_of(bot: &User, people: &[&User], rooms: &[&RoomId]) -> Config {
    Config {
        user: bot.id.clone(),
        access_token: bot.token.clone(),
        sync_timeout: 1,
        allow_users: people.iter().map(|it| it.id.clone()).collect(),
        allow_rooms: rooms.iter().map(ToString::to_string).collect(),
        ..Config::default()
    }
}

/// A syncer of checked settings.
pub(crate) fn syncer_of(api: &Api, mut settings: Settings, since: Option<String>) -> Syncer {
    // Synapse answers a first request of the same kind from memory for two minutes.
    static NEXT: AtomicUsize = AtomicUsize::new(5_000);
    settings.sync_timeout = Duration::from_millis(NEXT.fetch_add(1, Ordering::Relaxed) as u64);
    let rooms = Rooms::new(api.clone(), settings.user.clone(), settings.allow.clone());
    Syncer::new(api.clone(), settings, Arc::new(rooms), since)
}

impl Bot {
    /// A syncer that takes what these people say to the bot alone.
    pub(crate) fn syncer(&self, people: &[&User]) -> Syncer {
        self.syncer_from((people, &[]), None)
    }

    pub(crate) fn syncer_from(
        &self,
        (people, rooms): (&[&User], &[&RoomId]),
        since: Option<String>,
    ) -> Syncer {
        let config = Config { homeserver: self.base.clone(), ..config_of(&self.user, people, rooms) };
        syncer_of(&self.api, config.check().unwrap(), since)
    }

    /// A room of the bot and this person, and a syncer that has seen all of it.
    pub(crate) async fn room_with(&self, person: &User) -> (RoomId, Syncer) {
        let room: RoomId = person.direct(&self.user.id).await.unwrap().parse().unwrap();
        self.api.join(&room).await.unwrap();
        let mut syncer = self.syncer(&[person]);
        settle(&mut syncer).await;
        (room, syncer)
    }
}

/// Takes the first answer, and whatever is there already.
pub(crate) async fn settle(syncer: &mut Syncer) {
    let first = syncer.next().await;
    syncer.done(first.next);
}

/// What comes until `enough` is true of all of it.
pub(crate) async fn until(syncer: &mut Syncer, enough: impl Fn(&[Incoming]) -> bool) -> Vec<Incoming> {
    let mut items = Vec::new();
    let all = async {
        while !enough(&items) {
            let Synced { items: more, next, lost } = syncer.next().await;
            assert!(!lost, "the server has forgotten nothing");
            items.extend(more);
            syncer.done(next);
        }
    };
    assert!(tokio::time::timeout(SOON, all).await.is_ok(), "it does not come: {items:?}");
    items
}

/// The next item alone.
pub(crate) async fn one(syncer: &mut Syncer) -> Incoming {
    let mut items = until(syncer, |items| !items.is_empty()).await;
    assert_eq!(items.len(), 1, "{items:?}");
    items.remove(0)
}

pub(crate) async fn message(syncer: &mut Syncer) -> Received {
    match one(syncer).await {
        Incoming::Message(message) => message,
        other => panic!("no message: {other:?}"),
    }
}

pub(crate) fn texts(items: &[Incoming]) -> Vec<String> {
    let text = |item: &Incoming| match item {
        Incoming::Message(message) => Some(message.text.clone()),
        _ => None,
    };
    items.iter().filter_map(text).collect()
}

pub(crate) fn event(id: &str) -> EventId {
    id.parse().unwrap()
}

impl Bot {
    /// The connector, as a host makes it, for a bot that may speak with these people alone.
    pub(crate) async fn connector(&self, people: &[&User]) -> Box<dyn Connector> {
        let people: Vec<&str> = people.iter().map(|it| it.id.as_str()).collect();
        let config = json!({
            "homeserver": self.base,
            "user": self.user.id,
            "access_token": self.user.token.expose_secret(),
            "allow_users": people,
        });
        MatrixFactory.create(config).await.unwrap()
    }
}

/// What a host gives to a call.
pub(crate) fn context(synapse: &Synapse, checkpoints: Arc<dyn CheckpointLog>) -> Context {
    Context {
        http: http(&origin(synapse)),
        deadline: Instant::now() + SOON,
        cancel: CancellationToken::new(),
        progress: ProgressSink::discard(),
        asks: Arc::new(RejectAsks),
        checkpoints,
        resume: None,
        provenance: Provenance::Local,
        approved: None,
    }
}

/// Remembers what was announced.
#[derive(Default)]
pub(crate) struct Announced(std::sync::Mutex<Vec<Checkpoint>>);

impl Announced {
    pub(crate) fn last(&self) -> Option<Checkpoint> {
        self.0.lock().unwrap().last().cloned()
    }
}

#[async_trait]
impl CheckpointLog for Announced {
    async fn record(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        self.0.lock().unwrap().push(checkpoint);
        Ok(())
    }
}
