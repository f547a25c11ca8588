//! What a connector's own process costs: the same calls in this process and in a confined one, by
//! turns, against a daemon that answers at once.
//!
//! ```sh
//! cargo run --release -p connector-host --example isolation
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use connector_contract::ask::RejectAsks;
use connector_contract::{
    Connector, ConnectorFactory, Context, Grant, NoCheckpoints, OutboundHttp, ProgressSink, Provenance, Reach,
};
use connector_host::build::registry::STANDARD;
use connector_host::isolation::{self, ConnectorIsolation};
use connector_opencode::OpencodeFactory;
use serde_json::json;
use testkit::fake::{Fake, Faults, Fixture};
use tokio_util::sync::CancellationToken;

/// How many calls of each kind.
const CALLS: usize = 200;
/// How many processes are started.
const STARTS: usize = 15;

fn main() -> ExitCode {
    // The confined processes are this binary.
    match connector_sandbox::launch::within(std::env::args_os()) {
        Ok(None) => {}
        Ok(Some(within)) => return isolation::serve(&STANDARD, &within),
        Err(code) => return code,
    }
    match tokio::runtime::Runtime::new().map(|runtime| runtime.block_on(measure())) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(error.as_ref()),
        Err(error) => fail(&error),
    }
}

#[expect(clippy::print_stderr, reason = "a command's error")]
fn fail(error: &(dyn Error + 'static)) -> ExitCode {
    eprintln!("{}", connector_contract::chain(error));
    ExitCode::FAILURE
}

#[expect(clippy::print_stdout, reason = "the figures")]
async fn measure() -> Result<(), Box<dyn Error>> {
    let fake = Fake::start(Fixture::recorded("text"), Faults::default()).await?;
    let bench = Bench::new(&fake.base_url())?;
    let here = bench.connector(ConnectorIsolation::InProcess).await?;
    let (mut first, mut there) = (Vec::new(), bench.connector(ConnectorIsolation::Required).await?);
    for _ in 0..STARTS {
        there = bench.connector(ConnectorIsolation::Required).await?;
        first.push(bench.call(&*there).await?);
    }
    bench.call(&*here).await?;
    let (mut within, mut confined) = (Vec::new(), Vec::new());
    for _ in 0..CALLS {
        within.push(bench.call(&*here).await?);
        confined.push(bench.call(&*there).await?);
    }
    let (within, confined, first) = (median(within), median(confined), median(first));
    println!("a call in this process   {within:>10.2?}  median of {CALLS}");
    println!("a call in a confined one {confined:>10.2?}  {:+.2?} each", confined.saturating_sub(within));
    println!(
        "its first call           {first:>10.2?}  so its start took {:.2?}",
        first.saturating_sub(confined)
    );
    for child in children()? {
        println!("process {}: PSS {} KiB, of which {} KiB its own", child.pid, child.pss_kib, child.own_kib);
    }
    Ok(())
}

struct Bench {
    base_url: String,
    http: OutboundHttp,
}

impl Bench {
    fn new(base_url: &str) -> Result<Self, Box<dyn Error>> {
        let grant = Grant::new(base_url.parse()?, Reach::Loopback)?;
        Ok(Self { base_url: base_url.to_owned(), http: OutboundHttp::new([grant])? })
    }

    async fn connector(&self, isolation: ConnectorIsolation) -> Result<Box<dyn Connector>, Box<dyn Error>> {
        let factory: Arc<dyn ConnectorFactory> =
            isolation.factory(Arc::new(OpencodeFactory::default()), None);
        Ok(factory.create(json!({ "base_url": self.base_url })).await?)
    }

    async fn call(&self, connector: &dyn Connector) -> Result<Duration, Box<dyn Error>> {
        let ctx = Context {
            http: self.http.clone(),
            deadline: tokio::time::Instant::now() + Duration::from_mins(1),
            cancel: CancellationToken::new(),
            progress: ProgressSink::discard(),
            asks: Arc::new(RejectAsks),
            checkpoints: Arc::new(NoCheckpoints),
            resume: None,
            provenance: Provenance::Local,
            approved: None,
        };
        let begun = Instant::now();
        connector.execute("run_task", json!({ "prompt": "hello" }), &ctx).await?;
        Ok(begun.elapsed())
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// A child of this process.
struct Child {
    pid: u32,
    /// Its memory, with its share of what it shares.
    pss_kib: u64,
    own_kib: u64,
}

fn children() -> Result<Vec<Child>, Box<dyn Error>> {
    let mut children = Vec::new();
    for task in std::fs::read_dir("/proc/self/task")? {
        for pid in std::fs::read_to_string(task?.path().join("children"))?.split_whitespace() {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let of = |name: &str| -> u64 {
                let lines = text.lines().filter_map(|line| line.strip_prefix(name));
                lines.filter_map(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).sum()
            };
            let own_kib = of("Private_Dirty:") + of("Private_Clean:");
            children.push(Child { pid: pid.parse()?, pss_kib: of("Pss:"), own_kib });
        }
    }
    Ok(children)
}
