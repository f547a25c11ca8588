//! Runs one task on a daemon that is already there, and prints what came of it:
//! `cargo run --example run_task -- http://127.0.0.1:4096 "add a README"`

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use connector_contract::ask::RejectAsks;
use connector_contract::{
    ConnectorFactory as _, Context, Grant, NoCheckpoints, OutboundHttp, Provenance, Reach, progress_channel,
};
use connector_opencode::OpencodeFactory;
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(base_url), Some(prompt)) = (args.next(), args.next()) else {
        return Err("usage: run_task BASE_URL PROMPT".into());
    };
    let connector = OpencodeFactory::default().create(json!({ "base_url": base_url })).await?;

    let (progress, mut updates) = progress_channel(64);
    let watcher = tokio::spawn(async move {
        while let Some(update) = updates.next().await {
            let _ = writeln!(std::io::stderr(), "{update:?}");
        }
    });
    let ctx = Context {
        http: OutboundHttp::new([Grant::new(base_url.parse()?, Reach::Loopback)?])?,
        deadline: tokio::time::Instant::now() + Duration::from_hours(1),
        cancel: tokio_util::sync::CancellationToken::new(),
        progress,
        asks: Arc::new(RejectAsks),
        checkpoints: Arc::new(NoCheckpoints),
        resume: None,
        provenance: Provenance::Local,
        approved: None,
    };
    let result = connector.execute("run_task", json!({ "prompt": prompt }), &ctx).await;
    drop(ctx);
    watcher.await?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&result?)?)?;
    Ok(())
}
