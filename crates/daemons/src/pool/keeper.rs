//! One daemon's life: starts it, watches it, keeps its output, ends it. Reports; decides nothing.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::lease::Address;
use super::log;
use crate::allowance::{Allowance, LOOK_EVERY};
use crate::daemon::{Daemon, Exit, Spec, StartError};

const DRAIN_EVERY: Duration = Duration::from_secs(1);
/// How often a daemon is asked whether it answers, unless its patience is shorter.
const HEALTH_EVERY: Duration = Duration::from_secs(15);

/// What the table tells a keeper. Dropping the sender means [`Order::Stop`]. Until the daemon has
/// started every order means that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Stop,
    Leave,
    /// Say whether it answers, and end it if it does not.
    Prove,
}

/// What a keeper tells the table.
#[derive(Debug)]
pub(super) enum Report {
    Started(Address),
    Failed(StartError),
    Answered,
    /// It did not answer when asked to, and was ended.
    Silent,
    Died,
    Stopped,
}

/// Everything a keeper needs.
pub(super) struct Job {
    pub(super) spec: Spec,
    pub(super) allowance: Allowance,
    pub(super) record: PathBuf,
    pub(super) log: PathBuf,
    /// How long a daemon that runs may leave questions unanswered.
    pub(super) patience: Duration,
}

/// Runs to the daemon's end. When dropped, the daemon is killed.
pub(super) async fn keep(job: Job, mut orders: UnboundedReceiver<Order>, report: impl Fn(Report)) {
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
        _ = orders.recv() => return report(Report::Stopped),
    };
    report(Report::Started(Address {
        base_url: daemon.base_url(),
        password: daemon.password().clone(),
        pid: daemon.pid(),
        version: daemon.version().to_owned(),
    }));
    let end = watch(daemon, &job, orders, &report).await;
    report(end);
}

/// Ends the daemon and says why.
async fn watch(
    mut daemon: Daemon,
    job: &Job,
    mut orders: UnboundedReceiver<Order>,
    report: &impl Fn(Report),
) -> Report {
    let every = HEALTH_EVERY.min(job.patience / 4);
    let look = if job.allowance.are_none() { DRAIN_EVERY } else { LOOK_EVERY };
    let mut asked = Instant::now();
    let mut answered = asked;
    loop {
        tokio::select! {
            exit = daemon.exited() => return died(&mut daemon, job, exit),
            order = orders.recv() => match order {
                Some(Order::Prove) if daemon.health().await.is_ok() => report(Report::Answered),
                Some(Order::Prove) => return match daemon.try_exit() {
                    Some(exit) => died(&mut daemon, job, exit),
                    None => silent(&mut daemon, job, Report::Silent),
                },
                order => return carry_out(order.unwrap_or(Order::Stop), daemon, job).await,
            },
            () = tokio::time::sleep(look.min(every)) => keep_lines(job, &daemon.drain_output()),
        }
        if !daemon.is_in_place(&job.spec.directory) {
            keep_lines(job, &["-- the directory was moved or replaced; its daemon is ended".to_owned()]);
            return Report::Died;
        }
        if !keep_to_limits(&mut daemon, job).await {
            return Report::Died;
        }
        if asked.elapsed() >= every {
            asked = Instant::now();
            if daemon.health().await.is_ok() {
                answered = Instant::now();
            }
        }
        if answered.elapsed() >= job.patience {
            return silent(&mut daemon, job, Report::Died);
        }
    }
}

/// Ends what the agent runs when too much is held; false when that is the daemon itself.
async fn keep_to_limits(daemon: &mut Daemon, job: &Job) -> bool {
    let Some((excess, any)) = daemon.keep_to(job.allowance).await else { return true };
    let ended = if any { "the agent's commands are ended" } else { "the daemon is ended" };
    keep_lines(job, &[format!("-- {excess}; {ended}")]);
    any
}

fn died(daemon: &mut Daemon, job: &Job, exit: Exit) -> Report {
    keep_lines(job, &daemon.drain_output());
    keep_lines(job, &[format!("-- daemon ended ({exit:?})")]);
    Report::Died
}

/// A daemon that runs but does not answer is as good as dead.
fn silent(daemon: &mut Daemon, job: &Job, report: Report) -> Report {
    keep_lines(job, &daemon.drain_output());
    keep_lines(job, &["-- daemon does not answer and is ended".to_owned()]);
    report
}

async fn carry_out(order: Order, mut daemon: Daemon, job: &Job) -> Report {
    keep_lines(job, &daemon.drain_output());
    match order {
        Order::Leave => daemon.leave(),
        Order::Stop | Order::Prove => daemon.stop().await,
    }
    Report::Stopped
}

fn keep_lines(job: &Job, lines: &[String]) {
    if let Err(error) = log::append(&job.log, lines) {
        tracing::warn!(path = %job.log.display(), %error, "a daemon's log cannot be written");
    }
}
