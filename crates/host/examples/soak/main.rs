//! Tasks over several workspaces while their daemons are killed at random: none may be lost, and
//! nothing may grow. Real daemons in their walls, a scripted model. Times are those until the agent
//! asks its model: of tasks whose daemon was cold and warm, and of the same prompt sent to a warm
//! daemon with nothing of ours in between.
//!
//! `cargo run --release -p connector-host --example soak -- [TASKS] [KILL ONE TASK IN] [PLACES]`

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use connector_contract::ask::RejectAsks;
use connector_contract::{
    Connector as _, Context, Grant, NoCheckpoints, OutboundHttp, Provenance, Reach, progress_channel,
};
use connector_host::managed::{Daemons, Managed};
use connector_opencode::OpencodeFactory;
use opencode_daemons::install::{self, Locate};
use opencode_daemons::pool::{Confine, WorkspaceConfig};
use opencode_daemons::{Environment, Home, PoolConfig};
use rustix::process::{Pid, Signal, kill_process};
use secrecy::ExposeSecret as _;
use serde_json::json;
use testkit::model::{Script, ScriptedModel};

const WORKSPACES: usize = 5;

type Failure = Box<dyn Error>;

fn main() -> Result<ExitCode, Failure> {
    if let Some(code) = opencode_daemons::confine::relaunch(std::env::args_os()) {
        return Ok(code);
    }
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(soak())
}

async fn soak() -> Result<ExitCode, Failure> {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<usize>());
    let tasks = numbers.next().transpose()?.unwrap_or(500);
    let kill_one_in = numbers.next().transpose()?.unwrap_or(10).max(1);
    let places = numbers.next().transpose()?.unwrap_or(3);
    let root = tempfile::tempdir()?;
    let model = ScriptedModel::start(
        Script::default()
            .call("task", 0, "bash", json!({ "command": "echo x >> done", "description": "works" }))
            .reply("task", "Done."),
    )?;
    let (daemons, connectors) = pool(root.path(), &model, places).await?;
    let (mut ends, mut cold, mut warm, mut bare) = (BTreeMap::new(), Vec::new(), Vec::new(), Vec::new());
    let mut grown = Vec::new();
    for task in 0..tasks {
        let (name, connector) = &connectors[(task * 7 + task / 3) % WORKSPACES];
        let was_warm = pids(&daemons).await?.contains_key(name);
        let killed = task % kill_one_in == kill_one_in - 1;
        model.forget();
        let (took, end) = run(connector, task, &model, async {
            if killed {
                // At a different moment of the turn each time.
                tokio::time::sleep(Duration::from_millis((task as u64 * 37) % 900)).await;
                if let Some(pid) = pids(&daemons).await.ok().and_then(|pids| pids.get(name).copied()) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
        })
        .await?;
        if !killed {
            if was_warm { &mut warm } else { &mut cold }.extend(took);
        }
        if task % 10 == 4 {
            model.forget();
            bare.extend(asked_bare(&daemons, name, &model).await?);
        }
        *ends.entry(end).or_insert(0) += 1;
        if task % (tasks / 10).max(1) == 0 {
            grown.push(own()?);
            println!("{task} of {tasks}: {ends:?}");
        }
    }
    daemons.stop().await;
    println!("ends: {ends:?}");
    println!(
        "tap to the agent's first question, median: cold {:?} of {}, warm {:?} of {}, bare daemon {:?} of {}",
        median(&mut cold),
        cold.len(),
        median(&mut warm),
        warm.len(),
        median(&mut bare),
        bare.len()
    );
    println!("(resident KiB, open files, children) over time: {grown:?}, at the end {:?}", own()?);
    let lost = ends.get("outcome unknown").copied().unwrap_or(0);
    Ok(ExitCode::from(u8::from(lost > 0 || own()?.2 > 0)))
}

async fn pool(
    root: &std::path::Path,
    model: &ScriptedModel,
    places: usize,
) -> Result<(Daemons, Vec<(String, Managed)>), Failure> {
    let mut config = PoolConfig {
        max_servers: places,
        max_restart_retries: 1000,
        extra_config: Some(model.config()),
        ..PoolConfig::default()
    };
    for n in 0..WORKSPACES {
        let directory = root.join(format!("w{n}"));
        std::fs::create_dir(&directory)?;
        testkit::scratch::repository(&directory, &[("file", "text")])?;
        config
            .workspaces
            .insert(format!("w{n}"), WorkspaceConfig { directory, ..WorkspaceConfig::default() });
    }
    let environment = Environment::of_this_process();
    let opencode = install::locate(&Locate::new(environment.clone()), |_| {}).await?;
    let home = Home::Isolated(root.join("home"));
    let daemons = Daemons::new(&config, opencode.path, home, environment, &root.join("state"))?;
    let mut connectors = Vec::new();
    for (name, workspace) in &config.workspaces {
        let settings = [("directory".to_owned(), json!(workspace.directory))].into_iter().collect();
        let factory = Arc::new(OpencodeFactory::default());
        connectors
            .push((name.clone(), Managed::new(&daemons, (name, Confine::On), factory, settings).await?));
    }
    Ok((daemons, connectors))
}

/// Runs one task beside `meanwhile`; how long it took until the agent asked its model, and how it ended.
async fn run(
    connector: &Managed,
    task: usize,
    model: &ScriptedModel,
    meanwhile: impl Future<Output = ()>,
) -> Result<(Option<Duration>, &'static str), Failure> {
    let (progress, _updates) = progress_channel(256);
    let context = Context {
        http: OutboundHttp::new([])?,
        deadline: tokio::time::Instant::now() + Duration::from_mins(5),
        cancel: tokio_util::sync::CancellationToken::new(),
        progress,
        asks: Arc::new(RejectAsks),
        checkpoints: Arc::new(NoCheckpoints),
        resume: None,
        provenance: Provenance::Local,
    };
    let begun = Instant::now();
    let input = json!({ "prompt": format!("task {task}") });
    let task = async {
        let mut call = std::pin::pin!(connector.execute("run_task", input, &context));
        tokio::select! {
            ended = &mut call => (ended, None),
            () = asked(model) => {
                let took = begun.elapsed();
                (call.await, Some(took))
            }
        }
    };
    let ((ended, took), ()) = tokio::join!(task, meanwhile);
    Ok((
        took,
        match ended {
            Ok(_) => "succeeded",
            Err(error) => match error.consequence() {
                connector_contract::Consequence::NothingStarted => "nothing started",
                connector_contract::Consequence::Failed => "failed, known",
                connector_contract::Consequence::Stopped => "stopped",
                connector_contract::Consequence::Unknown => "outcome unknown",
            },
        },
    ))
}

/// Waits until the agent asks its model.
async fn asked(model: &ScriptedModel) {
    model.wait_for(Duration::from_mins(10), |seen| seen.iter().any(|seen| !seen.title)).await;
}

/// The same prompt in a new session of a warm daemon, by two requests and nothing else.
async fn asked_bare(
    daemons: &Daemons,
    workspace: &str,
    model: &ScriptedModel,
) -> Result<Option<Duration>, Failure> {
    let lease = daemons.pool().lease(workspace, |_| {}).await?;
    let address = lease.address();
    let http = OutboundHttp::new([Grant::new(address.base_url.parse()?, Reach::Loopback)?])?;
    let pair = format!("opencode:{}", address.password.expose_secret());
    let authorization = format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()));
    let post = |path: &str, body: serde_json::Value| {
        http::Request::post(format!("{}{path}", address.base_url))
            .header("content-type", "application/json")
            .header("authorization", &authorization)
            .body(Bytes::from(body.to_string()))
    };
    let begun = Instant::now();
    let session = http.send(post("/session", json!({}))?).await?.bytes(1 << 20).await?;
    let session: serde_json::Value = serde_json::from_slice(&session)?;
    let path = format!("/session/{}/message", session["id"].as_str().unwrap_or_default());
    let prompt = post(&path, json!({ "parts": [{ "type": "text", "text": "task bare" }] }))?;
    let mut turn = std::pin::pin!(http.send(prompt));
    tokio::select! {
        _ = &mut turn => Ok(None),
        () = asked(model) => {
            let took = begun.elapsed();
            turn.await?.bytes(1 << 24).await?;
            Ok(Some(took))
        }
    }
}

/// The daemons that run.
async fn pids(daemons: &Daemons) -> Result<BTreeMap<String, Pid>, Failure> {
    let listed = daemons.pool().list().await?.into_iter();
    let pid = |number| i32::try_from(number).ok().and_then(Pid::from_raw);
    Ok(listed.filter_map(|one| Some((one.workspace, pid(one.address?.pid?)?))).collect())
}

/// This process's resident memory in KiB, open files, and children.
fn own() -> Result<(u64, usize, usize), Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    let resident = resident.trim().trim_end_matches(" kB").parse()?;
    let children = std::fs::read_dir("/proc/self/task")?.flatten().map(|task| {
        std::fs::read_to_string(task.path().join("children"))
            .map_or(0, |text| text.split_whitespace().count())
    });
    Ok((resident, std::fs::read_dir("/proc/self/fd")?.count(), children.sum()))
}

fn median(times: &mut [Duration]) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}
