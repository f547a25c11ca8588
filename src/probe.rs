//! Who answers at the origin, and in which dialect.
//!
//! A call asks before it begins: the dialect that was right the last time alone,
//! or, when that does not fit any more or nothing is known, all of them at once. A
//! daemon that was replaced by one of the other generation is noticed by the next
//! call; a turn under way keeps the dialect it began with.
//!
//! Nothing here knows what the generations are: each dialect recognises its own.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::Request;
use tokio::time::{Instant, sleep};

use crate::config::Probe;
use crate::event_stream::EventStream;
use crate::link::{Link, LinkError};
use crate::timing::Timing;
use crate::wire::{Dialect, Health, Process};

/// One dialect, and the events of the daemons that speak it.
pub(crate) struct Peer {
    pub(crate) dialect: Arc<dyn Dialect>,
    pub(crate) events: EventStream,
}

/// All dialects, and who answered last.
pub(crate) struct DaemonProbe {
    all: Vec<Arc<Peer>>,
    known: Mutex<Option<Known>>,
    probe: Probe,
}

/// The dialect of whoever does not say who it is.
const OF_STRANGERS: &str = "v1";

#[derive(Clone)]
struct Known {
    peer: Arc<Peer>,
    process: Process,
}

/// Why there is nobody to talk to.
#[derive(Debug)]
pub(crate) enum ProbeError {
    Unsupported(String),
    /// It says this of itself.
    Unwell(&'static str),
    Starting,
    /// It wants the password that this variable holds; where it does not tell of which
    /// generation it is, one of these.
    Locked {
        variables: Vec<&'static str>,
    },
    Stranger,
    Unreachable(LinkError),
}

impl DaemonProbe {
    pub(crate) fn new(dialects: Vec<Arc<dyn Dialect>>, timing: Timing, event_bytes: usize) -> Self {
        let peer = |dialect: Arc<dyn Dialect>| {
            let events = EventStream::new(Arc::clone(&dialect), timing, event_bytes);
            Arc::new(Peer { dialect, events })
        };
        Self { all: dialects.into_iter().map(peer).collect(), known: Mutex::default(), probe: Probe::Strict }
    }

    /// The same, taking whom `probe` says.
    pub(crate) fn taking(self, probe: Probe) -> Self {
        Self { probe, ..self }
    }

    /// The one whose dialect has this name.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<Peer>> {
        self.all.iter().find(|peer| peer.dialect.name() == name).cloned()
    }

    /// Who answered last; before anybody did, any.
    pub(crate) fn last(&self) -> Arc<Peer> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().map_or_else(|| Arc::clone(&self.all[0]), |known| Arc::clone(&known.peer))
    }

    /// Finds who answers now. A daemon that is starting is waited for a little.
    pub(crate) async fn meet(&self, link: &Link) -> Result<Arc<Peer>, ProbeError> {
        let until = Instant::now() + link.timing.request;
        let mut pause = link.timing.poll_min;
        loop {
            match self.ask(link).await {
                Err(ProbeError::Starting) if Instant::now() + pause < until => sleep(pause).await,
                other => return other,
            }
            pause = (pause * 2).min(link.timing.poll_max);
        }
    }

    async fn ask(&self, link: &Link) -> Result<Arc<Peer>, ProbeError> {
        match self.ask_known(link).await {
            Some(peer) => Ok(peer),
            None => self.ask_all(link).await,
        }
    }

    async fn ask_known(&self, link: &Link) -> Option<Arc<Peer>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Known { peer, process } = known?;
        let Ok(Health::Fine(now)) = health(link, &peer, peer.dialect.health()).await else { return None };
        if now != process {
            self.learn(&peer, now);
        }
        Some(peer)
    }

    /// All at once: what is foreign to a daemon may take it long to refuse.
    async fn ask_all(&self, link: &Link) -> Result<Arc<Peer>, ProbeError> {
        let mut asked: FuturesUnordered<_> = self
            .all
            .iter()
            .enumerate()
            .map(|(order, peer)| async move { (order, health(link, peer, peer.dialect.health()).await) })
            .collect();
        let mut answers = Vec::new();
        while let Some((order, answer)) = asked.next().await {
            match answer {
                Ok(Health::Fine(process)) => {
                    self.learn(&self.all[order], process);
                    return Ok(Arc::clone(&self.all[order]));
                }
                other => answers.push((order, other)),
            }
        }
        answers.sort_by_key(|(order, _)| *order);
        let mut error = None;
        for (order, answer) in answers {
            match answer {
                Ok(Health::Stranger) => {}
                Ok(Health::Locked) if matches!(error, Some(ProbeError::Locked { .. })) => {
                    if let Some(ProbeError::Locked { variables }) = &mut error {
                        variables.push(self.all[order].dialect.password_variable());
                    }
                }
                Ok(health) if matches!(error, None | Some(ProbeError::Unreachable(_))) => {
                    error = Some(reason(&self.all[order], &health));
                }
                Ok(_) => {}
                Err(unreachable) => error = error.or(Some(ProbeError::Unreachable(unreachable))),
            }
        }
        let error = match error {
            Some(error) => error,
            None => self.ask_legacy(link).await,
        };
        match (error, self.named(OF_STRANGERS)) {
            (ProbeError::Stranger, Some(peer)) if self.probe == Probe::Lenient => {
                self.learn_of_stranger(&peer);
                Ok(peer)
            }
            (error, _) => Err(error),
        }
    }

    /// What does not answer as any daemon that is spoken to may be an older one.
    async fn ask_legacy(&self, link: &Link) -> ProbeError {
        for peer in &self.all {
            for request in peer.dialect.legacy_health() {
                if let Ok(Health::Unsupported(why)) = health(link, peer, request).await {
                    return ProbeError::Unsupported(why);
                }
            }
        }
        ProbeError::Stranger
    }

    /// It is warned of once, until somebody else answers.
    fn learn_of_stranger(&self, peer: &Arc<Peer>) {
        let process = Process { version: semver::Version::new(0, 0, 0), pid: None, untested: true };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|known| known.process != process) {
            let generation = peer.dialect.generation();
            tracing::warn!(generation, "what answers does not say that it is opencode; `probe` lets it pass");
            *known = Some(Known { peer: Arc::clone(peer), process });
        }
    }

    fn learn(&self, peer: &Arc<Peer>, process: Process) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_some_and(|known| known.process == process) {
            return;
        }
        let Process { version, pid, untested } = &process;
        let generation = peer.dialect.generation();
        if *untested {
            tracing::warn!(%version, generation, "an untested version of opencode answers; its turns may fail");
        } else {
            tracing::debug!(%version, ?pid, generation, "a daemon answers");
        }
        *known = Some(Known { peer: Arc::clone(peer), process });
    }
}

/// A stranger is whoever gives no answer that this dialect understands.
async fn health(link: &Link, peer: &Peer, request: Request<bytes::Bytes>) -> Result<Health, LinkError> {
    let (status, body) = link.probe(request).await?;
    Ok(peer.dialect.read_health(status, &body))
}

fn reason(peer: &Peer, health: &Health) -> ProbeError {
    match health {
        Health::Unsupported(why) => ProbeError::Unsupported(why.clone()),
        Health::Unwell(words) => ProbeError::Unwell(words),
        Health::Starting => ProbeError::Starting,
        Health::Locked => ProbeError::Locked { variables: vec![peer.dialect.password_variable()] },
        Health::Fine(_) | Health::Stranger => ProbeError::Stranger,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use tracing_subscriber::util::SubscriberInitExt as _;

    use super::*;
    use crate::wire::dialects;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_untested_version_is_warned_of_once_for_each_process() {
        let log = Log::default();
        let writer = log.clone();
        let _guard = tracing_subscriber::fmt().with_writer(move || writer.clone()).set_default();
        let origin = "http://127.0.0.1:4096".parse().unwrap();
        let probe = DaemonProbe::new(dialects(&origin, None, None), Timing::default(), 1 << 10);
        for (pid, warnings) in [(1, 1), (1, 1), (2, 2), (2, 2)] {
            let version = semver::Version::new(2, 9, 0);
            probe.learn(&probe.all[0], Process { version, pid: Some(pid), untested: true });
            let told = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
            assert_eq!(told.matches("untested version").count(), warnings, "{told}");
            assert!(told.contains("2.9.0"), "{told}");
        }
    }
}
