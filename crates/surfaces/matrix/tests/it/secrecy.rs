//! The token is in no log, however much is logged.

use std::io;
use std::sync::{Arc, Mutex};

use secrecy::ExposeSecret as _;
use serde_json::json;
use testkit::Synapse;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{bot, message, person};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_token_is_in_no_log_at_trace() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let walk = async {
        let (room, mut syncer) = bot.room_with(&anna).await;
        anna.say(room.as_str(), "hello").await.unwrap();
        message(&mut syncer).await;
        let said = json!({ "msgtype": "m.text", "body": "hello" });
        bot.api.send(&room, "m.room.message", "t", &said).await.unwrap();
        let nowhere = "!nowhere".parse().unwrap();
        bot.api.send(&nowhere, "m.room.message", "t", &said).await.unwrap_err();
        tracing::trace!(bot = ?bot.api, "the walk ends");
    };
    // Of this thread, on which the connections' own tasks run too.
    let listening = tracing::subscriber::set_default(subscriber);
    walk.await;
    drop(listening);
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    for heard in ["the walk ends", "AccessToken(…)", "TRACE", "hyper_util::client::legacy::pool"] {
        assert!(log.contains(heard), "{heard} is not in {log}");
    }
    for secret in [bot.user.token.expose_secret(), "Bearer "] {
        assert!(!log.contains(secret), "{log}");
    }
}
