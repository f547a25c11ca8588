//! One daemon's life: starts it, watches it, keeps its output, ends it. Reports; decides nothing.

mod room;

use std::path::PathBuf;
use std::time::Duration;

use connector_files::Log;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::lease::Address;
use crate::daemon::{Adopted, Daemon, Exit, Spec, StartError};
use crate::registry;
use crate::resource_limits::{LOOK_EVERY, ResourceLimits, Row};
use room::Room;

const DRAIN_EVERY: Duration = Duration::from_secs(1);
/// How often a daemon is asked whether it answers, unless its patience is shorter.
const HEALTH_EVERY: Duration = Duration::from_secs(15);

/// What the pool's actor tells a supervisor. Dropping the sender means [`Order::Stop`]. A daemon that has not
/// started yet is not left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Stop,
    Leave,
    /// Say whether it answers, and end it if it does not.
    Prove,
}

/// What a supervisor tells the pool's actor.
#[derive(Debug)]
pub(super) enum Report {
    Started(Address, Adopted),
    Failed(StartError),
    Answered,
    /// It did not answer when asked to, and was ended.
    Silent,
    Died,
    Stopped,
}

/// Everything a supervisor needs.
pub(super) struct Job {
    /// Takes over the daemon on record or none.
    pub(super) adopts_only: bool,
    pub(super) spec: Spec,
    pub(super) resource_limits: ResourceLimits,
    pub(super) record: PathBuf,
    /// What becomes of it, in our words.
    pub(super) log: Log,
    /// What it prints, for its owner's eyes.
    pub(super) printed: Log,
    /// How long a daemon that runs may leave questions unanswered.
    pub(super) patience: Duration,
}

/// Runs to the daemon's end. When dropped, the daemon is killed.
pub(super) async fn supervise(job: Job, mut orders: UnboundedReceiver<Order>, report: impl Fn(Report)) {
    let note = |line: String| keep_lines(&job.log, &[line]);
    let (mut daemon, how) = tokio::select! {
        found = find(&job) => match found {
            Ok(Some((daemon, how))) => {
                note(format!("-- daemon {:?} on port {} ({how:?})", daemon.pid(), daemon.port()));
                (daemon, how)
            }
            Ok(None) => {
                note("-- no daemon of an earlier host goes on".to_owned());
                return report(Report::Stopped);
            }
            Err(error) => {
                let error = error.keep(&job.printed);
                note(format!("-- no daemon: {error}"));
                return report(Report::Failed(error));
            }
        },
        order = orders.recv() => {
            // What was being started has ended with its future; what was being taken over has not.
            if order != Some(Order::Leave) && let Err(error) = registry::end_at(&job.record).await {
                note(format!("-- the earlier daemon cannot be ended: {error}"));
            }
            return report(Report::Stopped);
        }
    };
    report(Report::Started(
        Address {
            base_url: daemon.base_url(),
            password: daemon.password().clone(),
            pid: daemon.pid(),
            version: daemon.version().to_owned(),
        },
        how,
    ));
    let end = watch(&mut daemon, &job, orders, &report).await;
    keep_lines(&job.printed, &daemon.drain_output());
    let end = match end {
        End::Ordered(Order::Leave) => {
            daemon.leave();
            Report::Stopped
        }
        End::Ordered(_) => {
            daemon.stop().await;
            Report::Stopped
        }
        End::Of(end, why) => {
            note(format!("-- {why}"));
            // The process table is read where that holds nobody up.
            let _ = tokio::task::spawn_blocking(move || drop(daemon)).await;
            end
        }
    };
    report(end);
}

async fn find(job: &Job) -> Result<Option<(Daemon, Adopted)>, StartError> {
    if job.adopts_only {
        Daemon::take_over(&job.spec, &job.record).await
    } else {
        Daemon::take_over_or_start(&job.spec, &job.record).await.map(Some)
    }
}

/// Why a daemon is watched no longer.
enum End {
    Ordered(Order),
    /// Of itself, and in which words.
    Of(Report, String),
}

async fn watch(
    daemon: &mut Daemon,
    job: &Job,
    mut orders: UnboundedReceiver<Order>,
    report: &impl Fn(Report),
) -> End {
    let silent = || "daemon does not answer and is ended".to_owned();
    let every = HEALTH_EVERY.min(job.patience / 4);
    let look = if job.resource_limits.are_none() { DRAIN_EVERY } else { LOOK_EVERY };
    let mut asked = Instant::now();
    let mut answered = asked;
    let mut place = None;
    let (mut room, mut row, mut told) = (Room::of(&job.spec, job.resource_limits), Row::default(), None);
    loop {
        tell_limits(daemon, job, &mut told);
        tokio::select! {
            exit = daemon.exited() => return died(daemon, job, exit),
            order = orders.recv() => match order {
                Some(Order::Prove) if daemon.health().await.is_ok() => report(Report::Answered),
                Some(Order::Prove) => return match daemon.try_exit() {
                    Some(exit) => died(daemon, job, exit),
                    None => End::Of(Report::Silent, silent()),
                },
                order => return End::Ordered(order.unwrap_or(Order::Stop)),
            },
            () = tokio::time::sleep(look.min(every)) => keep_lines(&job.printed, &daemon.drain_output()),
        }
        if !is_in_place(daemon, job, &mut place).await {
            let why = "the directory was moved or replaced; its daemon is ended";
            return End::Of(Report::Died, why.to_owned());
        }
        if !daemon.has_models() {
            let why = "the proxy of its models ended; the daemon is ended";
            return End::Of(Report::Died, why.to_owned());
        }
        if let Some(why) = keep_to_limits(daemon, job, &mut row).await {
            return End::Of(Report::Died, why);
        }
        if let Some(why) = keep_room(daemon, job, &mut room).await {
            return End::Of(Report::Died, why);
        }
        if asked.elapsed() >= every {
            asked = Instant::now();
            if daemon.health().await.is_ok() {
                answered = Instant::now();
            }
        }
        if answered.elapsed() >= job.patience {
            return End::Of(Report::Died, silent());
        }
    }
}

/// What the last finished look at the directory said; begins another. A file system that does not
/// answer holds up that look and nothing else.
async fn is_in_place(daemon: &Daemon, job: &Job, look: &mut Option<JoinHandle<bool>>) -> bool {
    let in_place = match look.take_if(|look| look.is_finished()) {
        Some(done) => done.await.unwrap_or(true),
        None => true,
    };
    if look.is_none() {
        let (looking, logins) = (daemon.place(&job.spec.directory), daemon.keep_logins());
        *look = Some(tokio::task::spawn_blocking(move || {
            logins();
            looking()
        }));
    }
    in_place
}

/// Ends what the agent runs when too much is held; says why the daemon itself has to end, if it has.
async fn keep_to_limits(daemon: &mut Daemon, job: &Job, row: &mut Row) -> Option<String> {
    let found = daemon.keep_to(job.resource_limits).await;
    let ends = row.ends_daemon(found);
    let overrun = found?;
    if ends {
        return Some(format!("{}; the daemon is ended", overrun.excess));
    }
    keep_lines(&job.log, &[format!("-- {overrun}")]);
    None
}

/// Says what holds the limits, once at first and again when that has become something else.
fn tell_limits(daemon: &Daemon, job: &Job, told: &mut Option<String>) {
    let limits = daemon.limits();
    if limits != *told {
        keep_lines(&job.log, &limits.iter().map(|limits| format!("-- {limits}")).collect::<Vec<_>>());
        *told = limits;
    }
}

/// The same when too much is on the disk.
async fn keep_room(daemon: &mut Daemon, job: &Job, room: &mut Room) -> Option<String> {
    let excess = room.exceeded().await?;
    let any = daemon.end_commands().await;
    match room.make().await {
        Ok(removed) if (any | removed) && !room.is_lasting() => {
            let did = "the agent's commands are ended and their temporary files removed";
            keep_lines(&job.log, &[format!("-- {excess}; {did}")]);
            None
        }
        Ok(_) => Some(format!("{excess}; the daemon is ended")),
        Err(error) => Some(format!("{excess}, and no room was made ({error}); the daemon is ended")),
    }
}

/// Why, too, where the kernel ended it for what it and its commands held.
fn died(daemon: &mut Daemon, job: &Job, exit: Exit) -> End {
    let excess = daemon.held_by_kernel(job.resource_limits).map(|excess| format!("{excess}; "));
    End::Of(Report::Died, format!("{}daemon ended ({exit:?})", excess.unwrap_or_default()))
}

fn keep_lines(log: &Log, lines: &[String]) {
    if let Err(error) = log.append(lines) {
        tracing::warn!(path = %log.path().display(), %error, "a daemon's log cannot be written");
    }
}
