//! One daemon's life: starts it, watches it, keeps its output, ends it. Reports; decides nothing.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::lease::Address;
use super::log;
use crate::daemon::{Daemon, Spec, StartError};

const DRAIN_EVERY: Duration = Duration::from_secs(1);
const HEALTH_EVERY: Duration = Duration::from_secs(15);
/// How many health questions in a row may go unanswered. A daemon that runs but does not answer
/// is as good as dead.
const PATIENCE: u32 = 3;

/// What the table tells a keeper. Dropping the sender means [`Order::Stop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Stop,
    Leave,
}

/// What a keeper tells the table.
#[derive(Debug)]
pub(super) enum Report {
    Started(Address),
    Failed(StartError),
    Died,
    Stopped,
}

/// Everything a keeper needs.
pub(super) struct Job {
    pub(super) spec: Spec,
    pub(super) record: PathBuf,
    pub(super) log: PathBuf,
}

/// Runs to the daemon's end. When dropped, the daemon is killed.
pub(super) async fn keep(job: Job, mut orders: oneshot::Receiver<Order>, report: impl Fn(Report)) {
    let note = |line: String| keep_lines(&job, &[line]);
    let starting = Daemon::adopt_or_start(job.spec.clone(), &job.record);
    let daemon = tokio::select! {
        started = starting => match started {
            Ok((daemon, how)) => {
                note(format!("-- daemon {:?} on port {} ({how:?})", daemon.pid(), daemon.port()));
                daemon
            }
            Err(error) => {
                note(format!("-- no daemon: {error}"));
                return report(Report::Failed(error));
            }
        },
        _ = &mut orders => return report(Report::Stopped),
    };
    report(Report::Started(Address {
        base_url: daemon.base_url(),
        password: daemon.password().clone(),
        pid: daemon.pid(),
    }));
    report(watch(daemon, &job, orders).await);
}

async fn watch(mut daemon: Daemon, job: &Job, mut orders: oneshot::Receiver<Order>) -> Report {
    let mut asked = Instant::now();
    let mut silent = 0;
    loop {
        tokio::select! {
            exit = daemon.exited() => {
                keep_lines(job, &daemon.drain_output());
                keep_lines(job, &[format!("-- daemon ended ({exit:?})")]);
                return Report::Died;
            }
            order = &mut orders => return carry_out(order.unwrap_or(Order::Stop), daemon, job).await,
            () = tokio::time::sleep(DRAIN_EVERY) => keep_lines(job, &daemon.drain_output()),
        }
        if !daemon.is_in_place(&job.spec.directory) {
            keep_lines(job, &["-- the directory was moved or replaced; its daemon is ended".to_owned()]);
            return Report::Died;
        }
        if asked.elapsed() >= HEALTH_EVERY {
            asked = Instant::now();
            silent = if daemon.health().await.is_ok() { 0 } else { silent + 1 };
            if silent >= PATIENCE {
                keep_lines(job, &["-- daemon does not answer and is ended".to_owned()]);
                return Report::Died;
            }
        }
    }
}

async fn carry_out(order: Order, mut daemon: Daemon, job: &Job) -> Report {
    keep_lines(job, &daemon.drain_output());
    match order {
        Order::Leave => daemon.leave(),
        Order::Stop => daemon.stop().await,
    }
    Report::Stopped
}

fn keep_lines(job: &Job, lines: &[String]) {
    if let Err(error) = log::append(&job.log, lines) {
        tracing::warn!(path = %job.log.display(), %error, "a daemon's log cannot be written");
    }
}
