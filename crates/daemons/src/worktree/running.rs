//! Git as a process: what it prints, as far as that is wanted, and the end of all that it starts.

use std::io;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{WorktreeError, cause};
use crate::process::{Family, MARK, ProcessId, pid};
use crate::random;

/// How long one git command may take.
const LIMIT: Duration = Duration::from_mins(5);

/// How long it may take to read what was printed, once everything that prints has ended.
const REST: Duration = Duration::from_secs(10);

/// How much is kept of what git says of itself: the end of it.
const SAID: usize = 64 << 10;

/// The beginning of what git printed.
pub(super) struct Printed {
    pub(super) bytes: Vec<u8>,
    /// Whether there was more, which nobody read. Then git was ended, and its status means nothing.
    pub(super) cut: bool,
}

/// Who may have said what git does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// The person alone. What git starts is in its process group.
    Person,
    /// An agent too. What it starts is looked for among all processes.
    Agent,
}

/// Runs git to its end, or until it has printed more than `most` bytes. Whatever happens, also when
/// this is dropped, nothing that it started is left.
pub(super) async fn printed(
    what: &'static str,
    command: Command,
    most: usize,
    says: Says,
) -> Result<Printed, WorktreeError> {
    let Ended { printed, said, status } = ended(what, command, most, says).await?;
    if printed.cut || status.success() { Ok(printed) } else { Err(cause::of(what, &said, status)) }
}

/// A git that has ended.
pub(super) struct Ended {
    pub(super) printed: Printed,
    /// The end of what it said on standard error.
    pub(super) said: Vec<u8>,
    pub(super) status: ExitStatus,
}

/// The same, with all that it said, however it ended.
pub(super) async fn ended(
    what: &'static str,
    command: Command,
    most: usize,
    says: Says,
) -> Result<Ended, WorktreeError> {
    let failed = |reason: String| WorktreeError::Git { what, reason };
    let mut running = Running::start(command, says)?;
    let (stdout, stderr) = (running.child.stdout.take(), running.child.stderr.take());
    let mut reading = pin!(async { tokio::join!(start_of(stdout, most), end_of(stderr)) });
    let ended = async {
        tokio::select! {
            status = running.child.wait() => status.map(|status| (status, None)),
            read = &mut reading => running.child.wait().await.map(|status| (status, Some(read))),
        }
    };
    let ended = timeout(LIMIT, ended).await;
    drop(running);
    let (status, read) = ended.map_err(|_| failed(format!("it took longer than {LIMIT:?}")))??;
    let (printed, said) = match read {
        Some(read) => read,
        None => timeout(REST, reading)
            .await
            .map_err(|_| failed("something that it started holds on to its output".to_owned()))?,
    };
    Ok(Ended { printed: printed?, said: said?, status })
}

async fn start_of(from: Option<impl AsyncRead + Unpin>, most: usize) -> io::Result<Printed> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(most as u64 + 1).read_to_end(&mut bytes).await?;
    }
    let cut = bytes.len() > most;
    bytes.truncate(most);
    Ok(Printed { bytes, cut })
}

async fn end_of(from: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let Some(mut from) = from else { return Ok(bytes) };
    while from.read_buf(&mut bytes).await? > 0 {
        if bytes.len() > 2 * SAID {
            bytes.drain(..bytes.len() - SAID);
        }
    }
    Ok(bytes)
}

/// Dropping it ends git and what it started.
pub(super) struct Running {
    pub(super) child: Child,
    group: Option<Pid>,
    pub(super) family: Option<Family>,
}

impl Running {
    pub(super) fn start(mut command: Command, says: Says) -> io::Result<Self> {
        let mark = random::hex::<16>()?;
        let child = command.env(MARK, &mark).process_group(0).kill_on_drop(true).spawn()?;
        let leader = child.id().and_then(ProcessId::of);
        let family = (says == Says::Agent).then_some(Family { leader, mark, group: None });
        Ok(Self { group: child.id().and_then(pid), family, child })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // What is in it and had its environment emptied.
            let _ = kill_process_group(group, Signal::KILL);
        }
        if let Some(family) = &self.family {
            family.end_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_is_read_than_is_wanted_and_no_more_is_kept_than_the_end() {
        let endless = tokio::io::repeat(b'x');
        let printed = start_of(Some(endless), 1000).await.unwrap();
        assert_eq!((printed.bytes.len(), printed.cut), (1000, true));
        let printed = start_of(Some(&[b'x'; 1000][..]), 1000).await.unwrap();
        assert_eq!((printed.bytes.len(), printed.cut), (1000, false));
        let long = [vec![b'x'; 50 << 20], b"the reason".to_vec()].concat();
        let said = end_of(Some(&long[..])).await.unwrap();
        assert!(said.ends_with(b"xthe reason") && said.capacity() <= 8 * SAID, "{}", said.capacity());
    }
}
