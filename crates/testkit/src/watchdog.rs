//! Ends what this process leaves behind, however this process ends.
//!
//! Values in statics are not dropped, and nothing is dropped on SIGKILL or abort. So a small shell
//! waits on a pipe that only we hold: when it closes, the shell kills every process whose `HOME` is
//! the one it was given, and removes the directory. It leads a group of its own, so that Ctrl-C in
//! the terminal ends us and not it. Finding processes by environment needs `/proc`.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const SCRIPT: &str = r#"
read -r _
for try in 1 2 3 4 5 6 7 8 9 10; do
  left=
  for environ in /proc/[0-9]*/environ; do
    pid=${environ#/proc/}; pid=${pid%/environ}
    if tr '\0' '\n' < "$environ" 2>/dev/null | grep -qxF "HOME=$1/home"; then
      kill -KILL "$pid" 2>/dev/null && left=1
    fi
  done
  [ -z "$left" ] && break
done
rm -rf -- "$1"
"#;

/// Watches over one temporary directory with a `home` in it. Dropping it cleans up now.
#[derive(Debug)]
pub(crate) struct Watchdog(Child);

impl Watchdog {
    /// Starts the shell that waits for our end.
    pub(crate) fn over(directory: &Path) -> io::Result<Self> {
        use std::os::unix::process::CommandExt;
        #[expect(clippy::disallowed_methods, reason = "the watchdog must not depend on what it watches")]
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "watchdog"])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        Ok(Self(command.spawn()?))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It ends by itself; waiting keeps it from becoming a zombie.
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_pipe_ends_the_processes_of_the_home_and_removes_it() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("watched");
        std::fs::create_dir_all(directory.join("home")).unwrap();
        let watchdog = Watchdog::over(&directory).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a process to be left behind")]
        let mut command = Command::new("sleep");
        let mut left = command.arg("600").env("HOME", directory.join("home")).spawn().unwrap();
        assert_eq!(left.try_wait().unwrap(), None);

        drop(watchdog);

        assert!(!left.wait().unwrap().success(), "it was killed, and did not sleep to its end");
        assert!(!directory.exists());
    }
}
