//! The surface at work: polling or webhook, live status, and the watchdog.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connector_failpoint::failpoint;
use connector_surface::text::one_line;
use connector_telegram::api::{GetMe, GetWebhookInfo, Method};
use connector_telegram::config::Webhook;
use connector_telegram::frankenstein::methods::SetWebhookParams;
use connector_telegram::poll::{self, Poller};
use connector_telegram::update::{self, Me};
use connector_telegram::{ApiError, webhook};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Telegram;

/// How long without an answer until somebody is told.
const SILENCE: Duration = Duration::from_mins(2);

/// How long until Telegram is called again at the start.
const UNREACHABLE: Duration = Duration::from_secs(3);

/// How long until an update that could not be stored is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How many updates Telegram brings to the webhook at once: a slow file holds one.
const CONNECTIONS: u32 = 8;

/// Why the surface cannot run at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// Telegram refuses something that somebody has to put right.
    #[error("telegram cannot be used")]
    Api(#[from] ApiError),
    /// The webhook cannot listen.
    #[error("the webhook cannot listen")]
    Listen(#[from] std::io::Error),
}

impl Telegram {
    /// Finds out who the bot is. Waits as long as Telegram cannot be reached;
    /// a token that is not valid is an error.
    pub async fn introduce(&self) -> Result<Me, ApiError> {
        let user = self.patiently(&GetMe {}).await?;
        let me = Me { id: user.id, username: user.username.unwrap_or_default() };
        Ok(self.0.me.get_or_init(|| me).clone())
    }

    /// Calls a method until it succeeds, or fails in a way that waiting does not mend.
    async fn patiently<M: Method>(&self, method: &M) -> Result<M::Answer, ApiError> {
        loop {
            match self.0.api.call(method).await {
                Err(error) if error.is_passing() => {
                    tracing::warn!(reason = connector_contract::chain(&error), "telegram is not there yet");
                    let pause = if let ApiError::Throttled { after } = error { after } else { UNREACHABLE };
                    tokio::time::sleep(pause).await;
                }
                ended => return ended,
            }
        }
    }

    /// Takes updates until `stop`, and shows status until the surface is to finish.
    pub(super) async fn take_updates(&self, stop: &CancellationToken) -> Result<(), RunError> {
        let me = tokio::select! {
            me = self.introduce() => me?,
            () = stop.cancelled() => return Ok(()),
        };
        tracing::info!(bot = me.username, "telegram is connected");
        let this = self.clone();
        self.0.tasks.spawn(async move { this.register_commands().await });
        let this = self.clone();
        self.0.tasks.spawn(async move { this.show_live().await });
        if let Some(webhook) = self.0.settings.webhook.clone() {
            return self.serve_webhook(webhook, stop).await;
        }
        let (this, stopped) = (self.clone(), stop.clone());
        self.0.tasks.spawn(async move { this.watch(&stopped).await });
        let polling = || {
            let (this, stopped) = (self.clone(), stop.clone());
            async move { this.poll(&stopped).await }
        };
        supervised(polling).await;
        Ok(())
    }

    async fn poll(&self, stop: &CancellationToken) {
        let settings = &self.0.settings;
        let mut poller = Poller::new(self.0.api.clone(), settings.poll_timeout, self.0.health.clone());
        let mut fetching = JoinSet::new();
        loop {
            let updates = tokio::select! {
                updates = poller.next() => updates,
                Some(ended) = fetching.join_next() => {
                    match ended.map_err(JoinError::try_into_panic) {
                        Ok(Some(number)) => poller.done(number),
                        Err(Ok(panic)) => std::panic::resume_unwind(panic),
                        Ok(None) | Err(Err(_)) => {}
                    }
                    continue;
                }
                () = stop.cancelled() => return,
            };
            for raw in updates {
                let Some(number) = update::number(&raw) else { continue };
                if self.brings_file(&raw) {
                    // Nobody's tap waits for it. Dropped at the end, it is sent again.
                    let (this, stopped) = (self.clone(), stop.clone());
                    fetching.spawn(async move { this.until_taken(&raw, &stopped).await.then_some(number) });
                } else if self.until_taken(&raw, stop).await {
                    poller.done(number);
                } else {
                    return;
                }
            }
        }
    }

    /// Whether the update became durable before the surface stops.
    async fn until_taken(&self, raw: &Value, stop: &CancellationToken) -> bool {
        while !self.taken(raw).await {
            if stop.is_cancelled() {
                return false;
            }
            tokio::time::sleep(AGAIN).await;
        }
        true
    }

    /// Whether the update is durable.
    async fn taken(&self, raw: &Value) -> bool {
        match self.take(raw).await {
            Ok(()) => {
                failpoint("update.taken");
                true
            }
            Err(error) => {
                let reason = connector_contract::chain(&error);
                tracing::error!(reason, update = update::number(raw), "an update waits for the ledger");
                false
            }
        }
    }

    /// Says when polling stopped, and when it goes on.
    async fn watch(&self, stop: &CancellationToken) {
        let mut watchdog = Watchdog { patience: SILENCE + self.0.settings.poll_timeout, told: false };
        loop {
            tokio::select! {
                () = tokio::time::sleep(SILENCE / 4) => {}
                () = stop.cancelled() => return,
            }
            let (state, answered) = self.0.health.get();
            let seconds = answered.elapsed().as_secs();
            match watchdog.look(answered.elapsed()) {
                Some(Word::Silent) => {
                    tracing::error!(?state, seconds, "no update can arrive from telegram");
                }
                Some(Word::Again) => tracing::info!("updates arrive from telegram again"),
                None => {}
            }
        }
    }

    async fn serve_webhook(&self, hook: Webhook, stop: &CancellationToken) -> Result<(), RunError> {
        let listener = TcpListener::bind(hook.listen).await?;
        let receiver = Arc::new(Hooked(self.clone()));
        let router = webhook::router(&hook.path, hook.secret.clone(), receiver);
        let set = SetWebhookParams::builder()
            .url(hook.url.clone())
            .secret_token(hook.secret.expose_secret())
            .allowed_updates(poll::kinds())
            .max_connections(CONNECTIONS)
            .build();
        tokio::select! {
            done = self.patiently(&set) => done?,
            () = stop.cancelled() => return Ok(()),
        };
        tracing::info!(listen = %listener.local_addr()?, "telegram brings updates to the webhook");
        let (this, stopped) = (self.clone(), stop.clone());
        self.0.tasks.spawn(async move { this.watch_webhook(&set, hook.check, &stopped).await });
        webhook::serve(listener, router, stop.clone()).await;
        Ok(())
    }
}

impl Telegram {
    /// Asks Telegram how the webhook does; sets it again when it is gone.
    async fn watch_webhook(&self, set: &SetWebhookParams, every: Duration, stop: &CancellationToken) {
        let mut seen = 0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = stop.cancelled() => return,
            }
            let info = match self.0.api.call(&GetWebhookInfo {}).await {
                Ok(info) => info,
                Err(error) => {
                    let reason = connector_contract::chain(&error);
                    tracing::warn!(reason, "telegram does not say how the webhook does");
                    continue;
                }
            };
            let pending = info.pending_update_count;
            if info.url != set.url {
                // Its address may hold somebody else's secret, and is not shown.
                tracing::error!(pending, "the webhook was taken away or replaced; it is set again");
                tokio::select! {
                    set = self.patiently(set) => if let Err(error) = set {
                        tracing::error!(reason = connector_contract::chain(&error), "the webhook is not set");
                    },
                    () = stop.cancelled() => return,
                }
            } else if pending > 0 && info.last_error_date > seen {
                seen = info.last_error_date;
                let reason = one_line(&info.last_error_message);
                tracing::error!(pending, reason, "telegram cannot bring updates to the webhook");
            }
        }
    }
}

/// Says each silence once.
struct Watchdog {
    patience: Duration,
    told: bool,
}

/// What is to be said.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Silent,
    Again,
}

impl Watchdog {
    /// `silence` is how long ago the last request was answered.
    fn look(&mut self, silence: Duration) -> Option<Word> {
        let silent = silence > self.patience;
        match (std::mem::replace(&mut self.told, silent), silent) {
            (false, true) => Some(Word::Silent),
            (true, false) => Some(Word::Again),
            _ => None,
        }
    }
}

/// Runs what `begin` makes until it ends by itself; what broke down is begun again.
async fn supervised<F: Future<Output = ()> + Send + 'static>(begin: impl Fn() -> F) {
    while let Err(error) = tokio::spawn(begin()).await {
        tracing::error!(%error, "polling broke down and begins again");
        tokio::time::sleep(AGAIN).await;
    }
}

struct Hooked(Telegram);

#[async_trait]
impl webhook::Receiver for Hooked {
    async fn receive(&self, update: Value) -> bool {
        self.0.taken(&update).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn each_silence_is_said_once_and_so_is_its_end() {
        let mut watchdog = Watchdog { patience: Duration::from_secs(170), told: false };
        let said = [30, 170, 171, 200, 5, 60, 999].map(|silence| watchdog.look(Duration::from_secs(silence)));
        let none = None::<Word>;
        assert_eq!(said[..2], [none, None]);
        assert_eq!(said[2..], [Some(Word::Silent), None, Some(Word::Again), None, Some(Word::Silent)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_breaks_down_is_begun_again_until_it_ends_by_itself() {
        let begun = Arc::new(AtomicUsize::new(0));
        let seen = begun.clone();
        supervised(move || {
            let time = seen.fetch_add(1, Ordering::SeqCst);
            async move { assert!(time == 2, "breaks down, as it is meant to") }
        })
        .await;
        assert_eq!(begun.load(Ordering::SeqCst), 3);
    }
}
