//! What a process says on standard error: kept for the owner's eyes, since it may hold anything.

use std::time::Duration;

use connector_files::Log;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::time::{Instant, sleep};

/// The longest line that is kept, in bytes; the rest of a longer one is a line of its own.
const LINE: u64 = 1024;
/// How long a line that is not kept takes: a process that says too much is slowed down.
const SLOW: Duration = Duration::from_millis(1);
/// How many lines are kept in a [`SPAN`].
const LINES: u32 = 40;
const SPAN: Duration = Duration::from_secs(10);

/// Reads until the process closes it, and says whether anything was kept in `to`. Whatever comes is read;
/// what is too much is counted, not kept, and read slowly, so that it costs nothing but the process's own
/// time.
pub(crate) async fn keep(name: String, stderr: impl AsyncRead + Unpin, to: Option<Log>) -> bool {
    let mut stderr = BufReader::new(stderr);
    let (mut began, mut kept, mut dropped) = (Instant::now(), 0, 0_u64);
    let mut line = Vec::new();
    let mut any = false;
    loop {
        line.clear();
        match (&mut stderr).take(LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        if began.elapsed() > SPAN {
            tell_dropped(&name, dropped);
            (began, kept, dropped) = (Instant::now(), 0, 0);
        }
        if kept < LINES {
            kept += 1;
            let written = to.as_ref().is_some_and(|to| written(&name, to, &plain(&line)));
            if written && !any {
                let path = to.as_ref().map(|to| to.path().display().to_string());
                tracing::warn!(
                    connector = name,
                    path,
                    "the connector's process said something, which is kept for your eyes"
                );
            }
            any |= written;
        } else {
            dropped += 1;
            sleep(SLOW).await;
        }
    }
    tell_dropped(&name, dropped);
    any
}

fn tell_dropped(name: &str, dropped: u64) {
    if dropped > 0 {
        tracing::warn!(connector = name, lines = dropped, "said more than is kept");
    }
}

pub(crate) fn written(name: &str, to: &Log, line: &str) -> bool {
    match to.append(&[line]) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(connector = name, path = %to.path().display(), %error, "what it says cannot be kept");
            false
        }
    }
}

/// Text without what could move a terminal's cursor or forge another line.
pub(crate) fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.trim_end().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_forge_another_or_move_the_cursor() {
        assert_eq!(plain(b"a\x1b[2Jb\rc\xff\n"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_read_to_its_end_and_slowly() {
        let flood = b"x".repeat(4 << 20);
        let began = Instant::now();
        keep("x".into(), &flood[..], None).await;
        assert!(began.elapsed() > Duration::from_secs(3), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn what_a_process_says_is_kept_and_a_log_tells_only_where() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::at(dir.path().join("plugins/x.log"));
        assert!(keep("x".into(), &b"first\nlast \x1b[2J\n"[..], Some(log.clone())).await);
        assert_eq!(log.tail(9).unwrap(), ["first", "last \u{fffd}[2J"]);
        assert!(!keep("x".into(), &b""[..], Some(log.clone())).await);
        assert!(!keep("x".into(), &b"lost\n"[..], None).await);
    }
}
