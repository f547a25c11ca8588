//! A reader of the event stream that falls far behind, on real daemons.
//!
//! A relay before the daemon stops reading what the daemon tells, and only that, while other sessions
//! of the daemon tell more than any buffer between holds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use connector_opencode::Timing;
use secrecy::ExposeSecret as _;
use serde_json::json;
use testkit::fake::Generation;
use testkit::{Answer, RealDaemon, Script};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use super::{bench, reply};
use crate::support::{Bench, eventually};
use crate::wires::on_wires;

on_wires! {
    only V2 because "no release of 1.x is said to limit what it keeps for a reader" {
        a_reader_that_falls_thousands_of_events_behind_loses_nothing_of_its_turn,
    }
}

/// More bytes than the buffers of both ends hold, in many more pieces than the 4,096 that 2.x is said to
/// keep for a reader. A running 2.0.14 was seen to keep all of them, 16 MB.
const PIECES: usize = 10_000;
const PIECE: usize = 800;

/// A relay to a daemon, whose event streams can be held up.
struct Relay {
    address: SocketAddr,
    held: watch::Sender<bool>,
    /// How many event streams were opened.
    streams: Arc<AtomicU64>,
}

impl Relay {
    async fn before(daemon: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (held, seen) = watch::channel(false);
        let streams = Arc::<AtomicU64>::default();
        let opened = Arc::clone(&streams);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, daemon, seen.clone(), Arc::clone(&opened)));
            }
        });
        Self { address, held, streams }
    }
}

/// Relays one connection until either end is done with it.
async fn pass(
    mut client: TcpStream,
    daemon: SocketAddr,
    mut hold: watch::Receiver<bool>,
    streams: Arc<AtomicU64>,
) {
    let socket = TcpSocket::new_v4().unwrap();
    // So that the daemon notices soon that nobody reads.
    socket.set_recv_buffer_size(4_096).unwrap();
    #[expect(clippy::disallowed_methods, reason = "it stands between the connector and its daemon")]
    let Ok(mut upstream) = socket.connect(daemon).await else { return };
    let mut head = [0; 512];
    let Ok(length) = client.read(&mut head).await else { return };
    let first = String::from_utf8_lossy(&head[..length]).into_owned();
    if upstream.write_all(&head[..length]).await.is_err() {
        return;
    }
    if !first.starts_with("GET /event") && !first.starts_with("GET /api/event") {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
        return;
    }
    streams.fetch_add(1, Ordering::SeqCst);
    let mut buffer = [0; 4_096];
    while hold.wait_for(|held| !held).await.is_ok() {
        match upstream.read(&mut buffer).await {
            Ok(length) if length > 0 && client.write_all(&buffer[..length]).await.is_ok() => {}
            _ => return,
        }
    }
}

async fn a_reader_that_falls_thousands_of_events_behind_loses_nothing_of_its_turn(generation: Generation) {
    let daemon = RealDaemon::start_on(generation, Script::default()).await.unwrap();
    let address = daemon.base_url().trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    let relay = Relay::before(address).await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let chunks: Vec<String> = (0..60).map(|word| format!("w{word} ")).collect();
    let whole = chunks.concat();
    let noise: Vec<String> = (0..PIECES).map(|piece| format!("{piece:0PIECE$} ")).collect();
    daemon.model().add(Script::default().answer("BEHIND-22", Answer::Text { chunks, delay_ms: 200 }));
    daemon.model().add(Script::default().reply("WARM-24", "warm"));
    daemon.model().add(Script::default().answer("NOISE-23", Answer::Text { chunks: noise, delay_ms: 0 }));

    let config = json!({ "password": daemon.password().expose_secret(), "directory": directory });
    // The silence is the relay's, and the client is to wait through it.
    let timing = Timing { stream_silence: Duration::from_mins(10), ..Timing::default() };
    let mut slow = Bench::with_timing(&format!("http://{}", relay.address), config, timing).await;
    slow.deadline = Duration::from_mins(8);
    let mut others = bench(&daemon, &directory, json!({})).await;
    others.deadline = Duration::from_mins(8);
    // The first turn of a directory takes long to begin.
    others.run("WARM-24").await.unwrap();
    let (result, ()) = tokio::join!(slow.run("BEHIND-22"), async {
        eventually("the turn's stream is open", || relay.streams.load(Ordering::SeqCst) > 0).await;
        relay.held.send(true).unwrap();
        // What becomes of it is of no concern here: it is longer than a reply may be.
        let _ = others.run("NOISE-23").await;
    });
    // Nothing of it was told by the stream, which is held up still.
    assert_eq!(reply(&result.unwrap()), whole.trim());
}
