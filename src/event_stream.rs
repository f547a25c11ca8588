//! One event stream for each directory, shared by all turns in it.
//!
//! A stream is opened when the first turn subscribes and closed when the last
//! one leaves. In between it is kept open: when it breaks, or is silent for
//! longer than three heartbeats, of whatever kind, it is opened again after a growing, jittered
//! pause. Events are handed to the turn whose session they are about, the events
//! of child sessions to the turn of their parent; events that are nobody's are
//! not even read.
//!
//! A turn that does not keep up loses events and is told so. A stream that is
//! not there delays a turn and never fails it: the truth is in the daemon's
//! record, which turns read for themselves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use connector_contract::OutboundHttp;
use futures_util::StreamExt as _;
use http::StatusCode;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::random;
use crate::sse::Decoder;
use crate::timing::Timing;
use crate::wire::{Dialect, Signal, Told};

/// Events a turn may fall behind.
const BACKLOG: usize = 512;

/// What a subscriber is told.
#[derive(Debug)]
pub(crate) enum StreamEvent {
    Signal {
        session: String,
        signal: Signal,
    },
    Live(bool),
    /// Events were lost; read the daemon's state.
    Lost,
}

/// The event streams of one connector. Dropping it closes none: subscriptions do.
pub(crate) struct EventStream {
    dialect: Arc<dyn Dialect>,
    timing: Timing,
    event_bytes: usize,
    feed: Mutex<Weak<Feed>>,
}

impl EventStream {
    pub(crate) fn new(dialect: Arc<dyn Dialect>, timing: Timing, event_bytes: usize) -> Self {
        Self { dialect, timing, event_bytes, feed: Mutex::new(Weak::new()) }
    }

    /// Subscribes to a session's events; opens the stream if nobody has.
    pub(crate) fn subscribe(&self, http: &OutboundHttp, session: &str) -> Subscription {
        Subscription::new(self.feed(http), session)
    }

    /// Opens the stream for a subscription that will follow; dropping what is returned closes it again,
    /// unless somebody has subscribed.
    pub(crate) fn open_ahead(&self, http: &OutboundHttp) -> Ahead {
        Ahead { _feed: self.feed(http) }
    }

    fn feed(&self, http: &OutboundHttp) -> Arc<Feed> {
        let mut current = lock(&self.feed);
        current.upgrade().unwrap_or_else(|| {
            let feed = self.open(http);
            *current = Arc::downgrade(&feed);
            feed
        })
    }

    fn open(&self, http: &OutboundHttp) -> Arc<Feed> {
        let feed = Arc::new(Feed::default());
        let reader = Reader {
            dialect: Arc::clone(&self.dialect),
            http: http.clone(),
            timing: self.timing,
            event_bytes: self.event_bytes,
            feed: Arc::downgrade(&feed),
            closed: feed.closed.clone(),
        };
        tokio::spawn(async move {
            let closed = reader.closed.clone();
            tokio::select! {
                () = closed.cancelled() => {}
                () = reader.run() => {}
            }
        });
        feed
    }
}

/// Keeps a stream open that nobody listens to yet.
pub(crate) struct Ahead {
    _feed: Arc<Feed>,
}

/// One stream and who listens to it. Dropping it closes the stream.
struct Feed {
    listeners: Mutex<Listeners>,
    live: watch::Sender<bool>,
    closed: CancellationToken,
    undecodable: AtomicU64,
}

#[derive(Default)]
struct Listeners {
    next: u64,
    by_id: HashMap<u64, Listener>,
    by_session: HashMap<String, Vec<u64>>,
}

struct Listener {
    sender: mpsc::Sender<StreamEvent>,
    lost: Arc<AtomicBool>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            listeners: Mutex::default(),
            live: watch::Sender::new(false),
            closed: CancellationToken::new(),
            undecodable: AtomicU64::new(0),
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Listener {
    fn tell(&self, notice: StreamEvent) {
        if self.sender.try_send(notice).is_err() {
            self.lost.store(true, Ordering::Relaxed);
        }
    }
}

impl Feed {
    fn set_live(&self, live: bool) {
        if self.live.send_replace(live) == live {
            return;
        }
        for listener in lock(&self.listeners).by_id.values() {
            listener.tell(StreamEvent::Live(live));
        }
    }

    /// Hands one event to whoever it concerns.
    fn dispatch(&self, dialect: &dyn Dialect, data: &[u8]) {
        if let Err(error) = self.try_dispatch(dialect, data) {
            let count = self.undecodable.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::debug!(%error, count, "event skipped");
        }
    }

    fn try_dispatch(&self, dialect: &dyn Dialect, data: &[u8]) -> Result<(), crate::wire::Undecodable> {
        let mut listeners = lock(&self.listeners);
        let known = |session: &str, created: bool| created || listeners.by_session.contains_key(session);
        let Some(Told { session, signal }) = dialect.read_event(data, &known)? else { return Ok(()) };
        if let Signal::Created { session: child, parent: Some(parent), .. } = &signal {
            listeners.adopt(parent, child);
        }
        let Some(ids) = listeners.by_session.get(&session) else { return Ok(()) };
        for listener in ids.iter().filter_map(|id| listeners.by_id.get(id)) {
            listener.tell(StreamEvent::Signal { session: session.clone(), signal: signal.clone() });
        }
        Ok(())
    }
}

impl Listeners {
    /// Whoever listens to the parent listens to the child.
    fn adopt(&mut self, parent: &str, child: &str) {
        for id in self.by_session.get(parent).cloned().unwrap_or_default() {
            self.follow(id, child);
        }
    }

    fn follow(&mut self, id: u64, session: &str) {
        let ids = self.by_session.entry(session.to_owned()).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }

    fn leave(&mut self, id: u64) {
        self.by_id.remove(&id);
        self.by_session.retain(|_, ids| {
            ids.retain(|it| *it != id);
            !ids.is_empty()
        });
    }
}

/// A turn's place at the stream. Dropping it leaves.
pub(crate) struct Subscription {
    feed: Arc<Feed>,
    id: u64,
    receiver: mpsc::Receiver<StreamEvent>,
    lost: Arc<AtomicBool>,
}

impl Subscription {
    fn new(feed: Arc<Feed>, session: &str) -> Self {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let lost = Arc::new(AtomicBool::new(false));
        let id = {
            let mut listeners = lock(&feed.listeners);
            let id = listeners.next;
            listeners.next += 1;
            listeners.by_id.insert(id, Listener { sender, lost: Arc::clone(&lost) });
            listeners.follow(id, session);
            id
        };
        Self { feed, id, receiver, lost }
    }

    /// Waits until events arrive, at most `limit`. Returns whether they do.
    pub(crate) async fn opened(&self, limit: Duration) -> bool {
        let mut live = self.feed.live.subscribe();
        timeout(limit, live.wait_for(|live| *live)).await.is_ok_and(|it| it.is_ok())
    }

    /// Asks for the events of a child session too.
    pub(crate) fn follow(&self, session: &str) {
        lock(&self.feed.listeners).follow(self.id, session);
    }

    /// The next notice. Cancel safe.
    pub(crate) async fn next(&mut self) -> StreamEvent {
        if self.lost.load(Ordering::Relaxed) && self.receiver.is_empty() {
            self.lost.store(false, Ordering::Relaxed);
            return StreamEvent::Lost;
        }
        match self.receiver.recv().await {
            Some(notice) => notice,
            // The sender lives in the feed, which this subscription holds.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        lock(&self.feed.listeners).leave(self.id);
    }
}

/// Keeps one stream open.
struct Reader {
    dialect: Arc<dyn Dialect>,
    http: OutboundHttp,
    timing: Timing,
    event_bytes: usize,
    feed: Weak<Feed>,
    closed: CancellationToken,
}

impl Reader {
    async fn run(&self) {
        let mut pause = self.timing.reconnect_min;
        loop {
            let opened = Instant::now();
            self.read_once().await;
            let Some(feed) = self.feed.upgrade() else { return };
            feed.set_live(false);
            drop(feed);
            // A stream that greets and breaks at once is as bad as none.
            let lasted = opened.elapsed() >= self.timing.stream_silence / 3;
            pause =
                if lasted { self.timing.reconnect_min } else { (pause * 2).min(self.timing.reconnect_max) };
            tokio::time::sleep(random::jitter(pause)).await;
        }
    }

    /// Reads one connection to its end.
    async fn read_once(&self) {
        let opened = timeout(self.timing.request, self.http.send(self.dialect.events())).await;
        let response = match opened {
            Ok(Ok(response)) if response.status() == StatusCode::OK => response,
            Ok(Ok(response)) => {
                tracing::debug!(status = response.status().as_u16(), "event stream refused");
                return;
            }
            Ok(Err(error)) => {
                tracing::debug!(error = connector_contract::chain(&error), "event stream not opened");
                return;
            }
            Err(_) => return,
        };
        let mut chunks = std::pin::pin!(response.chunks());
        let mut decoder = Decoder::new(self.event_bytes);
        let mut lived = false;
        while let Ok(Some(Ok(chunk))) = timeout(self.timing.stream_silence, chunks.next()).await {
            let Some(feed) = self.feed.upgrade() else { return };
            decoder.feed(&chunk, |data| {
                if !lived {
                    lived = true;
                    feed.set_live(true);
                }
                feed.dispatch(self.dialect.as_ref(), data);
            });
        }
        if decoder.skipped() > 0 {
            tracing::warn!(
                count = decoder.skipped(),
                limit = self.event_bytes,
                "events were too long and skipped"
            );
        }
    }
}
