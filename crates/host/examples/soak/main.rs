//! Tasks over five workspaces while their daemons are killed at random: none may be lost, none may be
//! done twice, and nothing may grow. Real daemons in their walls, a scripted model.
//!
//! First it measures (`measure`) what the host adds to a prompt at a daemon that is warm.
//!
//! `cargo run --release -p connector-host --example soak -- [TASKS] [KILL ONE TASK IN] [PLACES] [SEED]`

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

mod bench;
mod measure;

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bench::{Bench, Own, WORKSPACES, own};
use connector_contract::{Connector as _, Consequence, NoCheckpoints, ProgressSink};
use rustix::process::{Signal, kill_process};
use serde_json::json;

type Failure = Box<dyn Error>;

/// How many tasks run at once.
const AT_ONCE: usize = 4;
/// A daemon is killed at a moment of its task up to this.
const LATEST_KILL_MS: u64 = 2_500;
/// How much more than in the first third the host may hold in the last: KiB and open files.
const GROWTH: (u64, usize) = (16 * 1024, 24);

fn main() -> Result<ExitCode, Failure> {
    if let Some(code) = opencode_daemons::relaunch(std::env::args_os()) {
        return Ok(code);
    }
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(soak())
}

async fn soak() -> Result<ExitCode, Failure> {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<u64>());
    let tasks = usize::try_from(numbers.next().transpose()?.unwrap_or(500))?;
    let kill_one_in = numbers.next().transpose()?.unwrap_or(10).max(1);
    let places = usize::try_from(numbers.next().transpose()?.unwrap_or(3))?;
    let seed = numbers.next().transpose()?.unwrap_or_else(|| u64::from(std::process::id()));
    println!("{tasks} tasks, a kill under one in {kill_one_in}, {places} places, seed {seed}");
    let bench = Bench::new(tasks, places).await?;
    measure::measure(&bench, (tasks / 10).clamp(10, 50)).await?;

    let (next, ends, held) = (AtomicUsize::new(0), Mutex::default(), Mutex::default());
    let run = Run { bench: &bench, next, tasks, kill_one_in, seed, ends, held };
    let workers = (0..AT_ONCE).map(|_| run.work());
    futures_util::future::try_join_all(workers).await?;
    let (ends, held) = (taken(&run.ends), taken(&run.held));
    let wrong = wrong(&ends, &bench.done()?);
    bench.daemons.stop().await;
    let left = own()?;
    for (task, how) in &wrong {
        println!("task {task} {how}");
    }
    println!("ends: {:?}", counted(&ends));
    let (first, last) = (most(&held[..held.len() / 3]), most(&held[held.len() * 2 / 3..]));
    println!("most held in the first third: {first}; in the last: {last}; at the end: {left}");
    let grown = last.resident > first.resident + GROWTH.0 || last.files > first.files + GROWTH.1;
    let too_many = last.children > places + 1 || left.children > 0;
    for (failed, words) in [
        (!wrong.is_empty(), "tasks were lost or done twice"),
        (grown, "the host grew"),
        (too_many, "there were more daemons than places, or one is left"),
    ] {
        if failed {
            println!("FAILED: {words}");
        }
    }
    Ok(ExitCode::from(u8::from(!wrong.is_empty() || grown || too_many)))
}

/// Tasks under way.
struct Run<'a> {
    bench: &'a Bench,
    next: AtomicUsize,
    tasks: usize,
    kill_one_in: u64,
    seed: u64,
    ends: Mutex<BTreeMap<usize, End>>,
    held: Mutex<Vec<Own>>,
}

/// How a task ended; `None` is success.
type End = Option<Consequence>;

impl Run<'_> {
    /// Does one task after another, beside others.
    async fn work(&self) -> Result<(), Failure> {
        loop {
            let task = self.next.fetch_add(1, Ordering::Relaxed);
            if task >= self.tasks {
                return Ok(());
            }
            let chance = |salt| scrambled(self.seed ^ (task as u64) << 8 ^ salt);
            let workspace = usize::try_from(chance(1) % WORKSPACES as u64)?;
            let killer = async {
                if chance(2).is_multiple_of(self.kill_one_in) {
                    tokio::time::sleep(Duration::from_millis(chance(3) % LATEST_KILL_MS)).await;
                    if let Some(pid) = self.bench.pid(workspace).await {
                        let _ = kill_process(pid, Signal::KILL);
                    }
                }
            };
            let context = bench::context(ProgressSink::discard(), std::sync::Arc::new(NoCheckpoints))?;
            let input = json!({ "prompt": format!("task <{task}>") });
            let call = self.bench.connectors[workspace].execute("run_task", input, &context);
            let (ended, ()) = tokio::join!(call, killer);
            let end = ended.err().map(|error| error.consequence());
            lock(&self.ends).insert(task, end);
            lock(&self.held).push(own()?);
            self.bench.model.forget();
            if task.is_multiple_of((self.tasks / 10).max(1)) {
                println!("{task} of {}: {:?}, {}", self.tasks, counted(&lock(&self.ends)), own()?);
            }
        }
    }
}

/// What must not be: each task writes its number once, when it is done.
fn wrong(ends: &BTreeMap<usize, End>, done: &BTreeMap<usize, usize>) -> Vec<(usize, String)> {
    let wrong = |(task, end): (&usize, &End)| {
        let times = done.get(task).copied().unwrap_or(0);
        let right = match end {
            None => times == 1,
            Some(Consequence::NothingStarted) => times == 0,
            Some(Consequence::Failed | Consequence::Stopped) => times <= 1,
            Some(Consequence::Unknown) => false,
        };
        (!right).then(|| (*task, format!("ended as {} and was done {times} times", name(*end))))
    };
    ends.iter().filter_map(wrong).collect()
}

fn name(end: End) -> &'static str {
    match end {
        None => "succeeded",
        Some(Consequence::NothingStarted) => "nothing started",
        Some(Consequence::Failed) => "failed, known",
        Some(Consequence::Stopped) => "stopped",
        Some(Consequence::Unknown) => "outcome unknown",
    }
}

fn counted(ends: &BTreeMap<usize, End>) -> BTreeMap<&'static str, usize> {
    let mut counted = BTreeMap::new();
    for end in ends.values() {
        *counted.entry(name(*end)).or_insert(0) += 1;
    }
    counted
}

fn most(held: &[Own]) -> Own {
    held.iter().fold(Own::default(), |most, one| Own {
        resident: most.resident.max(one.resident),
        files: most.files.max(one.files),
        children: most.children.max(one.children),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn taken<T: Clone>(mutex: &Mutex<T>) -> T {
    lock(mutex).clone()
}

/// A number without a pattern, the same for the same seed (splitmix64).
fn scrambled(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}
