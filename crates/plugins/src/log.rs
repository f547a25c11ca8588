//! What a process says on standard error, as lines of the host's log.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::time::{Instant, sleep};

/// The longest line that is kept, in bytes; the rest of a longer one is a line of its own.
const LINE: u64 = 1024;
/// How long a line that is not kept takes: a process that says too much is slowed down.
const SLOW: Duration = Duration::from_millis(1);
/// How many lines are kept in a [`SPAN`].
const LINES: u32 = 40;
const SPAN: Duration = Duration::from_secs(10);

/// Reads until the process closes it, and returns the last line: whole, or nothing if it is longer
/// than is kept, since a piece may end within what must not be shown. Whatever comes is read; what is too
/// much is counted, not kept, and read slowly, so that it costs nothing but the process's own time.
pub(crate) async fn keep(name: String, stderr: impl AsyncRead + Unpin) -> String {
    let mut stderr = BufReader::new(stderr);
    let (mut began, mut kept, mut dropped) = (Instant::now(), 0, 0_u64);
    let (mut line, mut last) = (Vec::new(), String::new());
    let mut continues = false;
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
        let said = plain(&line);
        if kept < LINES {
            kept += 1;
            tracing::warn!(connector = name, "{said}");
        } else {
            dropped += 1;
            sleep(SLOW).await;
        }
        let cut = line.len() as u64 == LINE && line.last() != Some(&b'\n');
        if cut || continues {
            last.clear();
        } else if !said.is_empty() {
            last = said;
        }
        continues = cut;
    }
    tell_dropped(&name, dropped);
    last
}

fn tell_dropped(name: &str, dropped: u64) {
    if dropped > 0 {
        tracing::warn!(connector = name, lines = dropped, "said more than is kept");
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
        keep("x".into(), &flood[..]).await;
        assert!(began.elapsed() > Duration::from_secs(3), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn the_last_line_is_remembered() {
        assert_eq!(keep("x".into(), &b"first\nlast \x1b[2J\n\n"[..]).await, "last \u{fffd}[2J");
        assert_eq!(keep("x".into(), &b""[..]).await, "");
    }

    #[tokio::test]
    async fn no_piece_of_a_line_is_remembered() {
        for (length, whole) in [(1023, true), (1024, false), (1030, false)] {
            let said = keep("x".into(), format!("first\n{}", "x".repeat(length)).as_bytes()).await;
            assert_eq!(said.len(), if whole { length } else { 0 }, "{length}");
        }
    }
}
