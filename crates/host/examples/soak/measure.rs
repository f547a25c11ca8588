//! What the host adds between a tap and the agent's first question to its model: the same prompt by
//! the connector and by two plain requests, by turns, at one daemon that is warm.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use connector_contract::{
    Checkpoint, CheckpointError, CheckpointLog, Connector as _, Grant, OutboundHttp, Progress, Reach,
    progress_channel,
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::bench::{Bench, context, name};
use crate::{Failure, lock};

/// After this the pool asks a daemon whether it answers before it gives it out, as after most taps.
const RESTED: Duration = Duration::from_millis(1_100);

/// Measures `pairs` and prints medians.
pub(crate) async fn measure(bench: &Bench, pairs: usize) -> Result<(), Failure> {
    // Once each, so that the daemon has loaded what it loads.
    by_host(bench, "before").await?;
    bare(bench, "before too").await?;
    let (mut host, mut plain, mut differences) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..pairs {
        bench.daemons.pool().warm(&name(0));
        tokio::time::sleep(RESTED).await;
        let (ours, theirs) = if pair % 2 == 0 {
            let ours = by_host(bench, &format!("host <{pair}>")).await?;
            (ours, bare(bench, &format!("bare <{pair}>")).await?)
        } else {
            let theirs = bare(bench, &format!("bare <{pair}>")).await?;
            tokio::time::sleep(RESTED).await;
            (by_host(bench, &format!("host <{pair}>")).await?, theirs)
        };
        differences.push(signed_ms(ours[2]) - signed_ms(theirs[1]));
        host.push(ours);
        plain.push(theirs);
    }
    println!("the agent's first question to its model, medians of {pairs} pairs at a warm daemon:");
    let of = |at: usize| median(host.iter().map(|times| times[at]));
    println!("  by the host, from the tap: session {:?}, prompt {:?}, question {:?}", of(0), of(1), of(2));
    let of = |at: usize| median(plain.iter().map(|times| times[at]));
    println!("  by two plain requests:     session {:?}, question {:?}", of(0), of(1));
    differences.sort_by(f64::total_cmp);
    println!("  the difference: {:.1} ms", differences[differences.len() / 2]);
    Ok(())
}

/// When the session was made, the prompt about to be sent, and the model asked, from the call on.
async fn by_host(bench: &Bench, prompt: &str) -> Result<[Duration; 3], Failure> {
    let (progress, mut updates) = progress_channel(256);
    let made = Arc::new(Made::default());
    let context = context(progress, made.clone())?;
    let begun = Instant::now();
    let started = async {
        while let Some(update) = updates.next().await {
            if matches!(update, Progress::Started { .. }) {
                break;
            }
        }
        begun.elapsed()
    };
    let call = bench.connectors[0].execute("run_task", json!({ "prompt": prompt }), &context);
    let (ended, started, asked) = tokio::join!(call, started, asked(bench, prompt, begun));
    ended?;
    let made = lock(&made.0).ok_or("no checkpoint")?;
    bench.model.forget();
    Ok([made - begun, started, asked?])
}

/// The same prompt by two requests: when the session was made, and the model asked.
async fn bare(bench: &Bench, prompt: &str) -> Result<[Duration; 2], Failure> {
    let lease = bench.daemons.pool().lease(&name(0), |_| {}).await?;
    let address = lease.address();
    let http = OutboundHttp::new([Grant::new(address.base_url.parse()?, Reach::Loopback)?])?;
    let pair = format!("opencode:{}", address.password.expose_secret());
    let authorization = format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()));
    let post = |path: &str, body: Value| {
        http::Request::post(format!("{}{path}", address.base_url))
            .header("content-type", "application/json")
            .header("authorization", &authorization)
            .body(Bytes::from(body.to_string()))
    };
    let begun = Instant::now();
    let session = http.send(post("/session", json!({}))?).await?.bytes(1 << 20).await?;
    let session: Value = serde_json::from_slice(&session)?;
    let made = begun.elapsed();
    let path = format!("/session/{}/message", session["id"].as_str().unwrap_or_default());
    let body = post(&path, json!({ "parts": [{ "type": "text", "text": prompt }] }))?;
    let turn = async { http.send(body).await?.bytes(1 << 24).await };
    let (ended, asked) = tokio::join!(turn, asked(bench, prompt, begun));
    ended?;
    bench.model.forget();
    Ok([made, asked?])
}

async fn asked(bench: &Bench, prompt: &str, begun: Instant) -> Result<Duration, Failure> {
    let asked = bench.model.wait_for(Duration::from_mins(2), |seen| {
        seen.iter().any(|seen| !seen.title && seen.prompt.contains(prompt))
    });
    if asked.await { Ok(begun.elapsed()) } else { Err(format!("`{prompt}` reached no model").into()) }
}

/// When the checkpoint was recorded.
#[derive(Default)]
struct Made(Mutex<Option<Instant>>);

#[async_trait]
impl CheckpointLog for Made {
    async fn record(&self, _checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        *lock(&self.0) = Some(Instant::now());
        Ok(())
    }
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn signed_ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
