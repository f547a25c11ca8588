//! What a turn costs: `run_task` with 200 events against the same requests sent
//! bare, and a thousand turns that wait at once.
//!
//! The daemon is a fake in a thread of its own; the time counted is that of the
//! thread that runs the client, as the kernel counts it. With `-- bare-memory` it
//! measures instead what as many bare prompts that wait take, in a fresh process.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a benchmark")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use connector_contract::ask::RejectAsks;
use connector_contract::{
    Connector, ConnectorFactory as _, Context, Grant, NoCheckpoints, OutboundHttp, ProgressSink, Provenance,
    Reach,
};
use connector_opencode::OpencodeFactory;
use futures_util::{StreamExt as _, future};
use serde_json::{Value, json};
use testkit::fake::{Fake, Faults, Fixture};
use tokio_util::sync::CancellationToken;

const TURNS: u32 = 100;
const WAITING: usize = 1000;

/// A fake in a thread of its own.
fn daemon(fixture: Fixture) -> Arc<Fake> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            sender.send(Arc::new(Fake::start(fixture, Faults::default()).await.unwrap())).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().unwrap()
}

async fn connector(fake: &Fake) -> (Box<dyn Connector>, Context) {
    let url = fake.base_url();
    let config = json!({ "base_url": url, "parallel_turns": true });
    let connector = OpencodeFactory::default().create(config).await.unwrap();
    let ctx = Context {
        http: OutboundHttp::new([Grant::new(url.parse().unwrap(), Reach::Loopback).unwrap()]).unwrap(),
        deadline: tokio::time::Instant::now() + Duration::from_hours(1),
        cancel: CancellationToken::new(),
        progress: ProgressSink::discard(),
        asks: Arc::new(RejectAsks),
        checkpoints: Arc::new(NoCheckpoints),
        resume: None,
        provenance: Provenance::Local,
        approved: None,
    };
    (connector, ctx)
}

#[expect(clippy::disallowed_methods, reason = "the bare client that ours is compared with")]
fn bare_client() -> reqwest::Client {
    // Sets up what TLS needs, which the client wants even where it is not used.
    let _ = OutboundHttp::new([]);
    reqwest::Client::builder().no_proxy().http1_only().build().unwrap()
}

/// The same requests as a turn's, and nothing decoded.
async fn bare(client: &reqwest::Client, url: &str, number: u64, two_posts: bool) {
    let get =
        async |path: String| client.get(format!("{url}{path}")).send().await.unwrap().bytes().await.unwrap();
    let post = async |path: String, body: Value| {
        let request = client.post(format!("{url}{path}")).header("content-type", "application/json");
        request.body(body.to_string()).send().await.unwrap().bytes().await.unwrap()
    };
    if !two_posts {
        get("/global/health".into()).await;
    }
    let session: Value = serde_json::from_slice(&post("/session".into(), json!({})).await).unwrap();
    let session = session["id"].as_str().unwrap().to_owned();
    let message = format!("msg_{number:012x}00000000000000");
    let body = json!({ "messageID": message, "parts": [{ "type": "text", "text": "go" }] });
    if two_posts {
        post(format!("/session/{session}/message"), body).await;
        return;
    }
    let mut events = client.get(format!("{url}/event")).send().await.unwrap().bytes_stream();
    events.next().await;
    let drain = async { while events.next().await.is_some() {} };
    let work = async {
        post(format!("/session/{session}/message"), body).await;
        get(format!("/session/{session}/message?limit=60")).await;
        get(format!("/session/{session}/diff?messageID={message}")).await;
    };
    tokio::select! {
        () = drain => {}
        () = work => {}
    }
}

/// The processor time of this thread.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or_default())
}

fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|it| it.parse::<f64>().ok()).unwrap_or_default() * 4096.0
}

async fn measure(name: &str, mut one: impl AsyncFnMut(u64)) -> (f64, f64) {
    for number in 0..5 {
        one(number).await;
    }
    let (wall, before) = (Instant::now(), cpu());
    for number in 0..u64::from(TURNS) {
        one(1000 + number).await;
    }
    let (wall, cpu) = (wall.elapsed() / TURNS, cpu().saturating_sub(before) / TURNS);
    println!("{name:40} {wall:>12.2?} wall  {cpu:>12.2?} cpu  a turn");
    (wall.as_secs_f64(), cpu.as_secs_f64())
}

async fn compare() {
    let fixture = Fixture::recorded("write");
    let more = 200 - fixture.len();
    let fake = daemon(fixture.with_deltas(more));
    let url = fake.base_url();
    let (connector, ctx) = connector(&fake).await;
    let client = bare_client();
    let two = measure("the two bare POSTs", async |number| bare(&client, &url, number, true).await).await;
    let same = measure("the same requests, nothing decoded", async |number| {
        bare(&client, &url, (1 << 40) + number, false).await;
    })
    .await;
    let ours = measure("run_task", async |_| {
        let result = connector.execute("run_task", json!({ "prompt": "go" }), &ctx).await.unwrap();
        assert!(result.success);
    })
    .await;
    println!("run_task to the same requests: {:.2}x wall, {:.2}x cpu", ours.0 / same.0, ours.1 / same.1);
    println!("run_task to the two POSTs:     {:.2}x wall, {:.2}x cpu", ours.0 / two.0, ours.1 / two.1);
}

/// What as many bare prompts that wait take, both sides included.
async fn wait_bare() -> f64 {
    let fake = daemon(Fixture::recorded("abort"));
    let (client, url) = (bare_client(), fake.base_url());
    let before = resident();
    let waiting: Vec<_> = (0..WAITING as u64)
        .map(|number| {
            let (client, url) = (client.clone(), url.clone());
            tokio::spawn(async move { bare(&client, &url, number, true).await })
        })
        .collect();
    while fake.running() < WAITING {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let used = resident() - before;
    fake.abort_elsewhere();
    future::join_all(waiting).await;
    used
}

async fn wait_at_once() -> f64 {
    let fake = daemon(Fixture::recorded("abort"));
    let (connector, ctx) = connector(&fake).await;
    let before = resident();
    let began = Instant::now();
    let turns = (0..WAITING).map(|_| connector.execute("run_task", json!({ "prompt": "go" }), &ctx));
    let mut all = std::pin::pin!(future::join_all(turns));
    let mut used = 0.0;
    let results = loop {
        tokio::select! {
            results = &mut all => break results,
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                if fake.running() == WAITING && used == 0.0 {
                    used = resident() - before;
                    println!("{WAITING} turns wait after {:.2?}", began.elapsed());
                    ctx.cancel.cancel();
                }
            }
        }
    };
    let stopped = results
        .iter()
        .filter(|it| it.as_ref().is_err_and(|error| error.to_string().contains("has stopped")))
        .count();
    println!(
        "{stopped} of {WAITING} stopped and confirmed, {} tasks, {} still busy",
        fake.tasks(),
        fake.running()
    );
    assert_eq!((stopped, fake.tasks(), fake.running()), (WAITING, WAITING, 0));
    used
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mode = std::env::args().find(|it| it == "bare-memory");
    if mode.is_some() {
        let bare = runtime.block_on(wait_bare());
        println!("{:.1} KiB resident a bare waiting prompt, both sides", bare / 1024.0 / WAITING as f64);
        return;
    }
    // First, while no memory is left over that could be used again.
    let used = runtime.block_on(wait_at_once());
    println!("{:.1} KiB resident a waiting turn, both sides", used / 1024.0 / WAITING as f64);
    runtime.block_on(compare());
}
