//! The binary at the other end of pipes.

#![expect(clippy::disallowed_methods, reason = "the binary is started here, and its end polled for")]

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{self, OpenptFlags};

/// How long anything may take here: a cold daemon on a busy machine included.
const LIMIT: Duration = Duration::from_secs(90);

/// A user with a home, a state directory and an opencode.
pub(crate) struct User {
    pub(crate) home: tempfile::TempDir,
    environment: Vec<(OsString, OsString)>,
}

impl User {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut environment: Vec<(OsString, OsString)> =
            ["PATH", "LANG"].iter().filter_map(|name| Some((name.into(), std::env::var_os(name)?))).collect();
        // Whatever this user starts carries the home's path, by one of these.
        let temporary = home.path().join("tmp");
        std::fs::create_dir(&temporary).unwrap();
        environment.push(("TMPDIR".into(), temporary.into()));
        environment.push(("HOME".into(), home.path().into()));
        Self { home, environment }
    }

    /// Their opencode uses this configuration.
    pub(crate) fn with_opencode_config(self, config: &serde_json::Value) -> Self {
        let directory = self.home.path().join(".config/opencode");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("opencode.json"), config.to_string()).unwrap();
        self
    }

    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_connector-host"));
        command.args(arguments).arg("--state").arg(self.state()).env_clear();
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = self.command(arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        self.started(child.id());
        Ended(child.wait_with_output().unwrap())
    }

    /// Starts a command and talks to it.
    pub(crate) fn start(&self, arguments: &[&str]) -> Terminal {
        let terminal = Terminal::start(self.command(arguments));
        self.started(terminal.pid());
        terminal
    }

    fn started(&self, id: u32) {
        STARTED.lock().unwrap().push((self.home.path().to_owned(), id));
    }

    /// The same, with a terminal to type at.
    pub(crate) fn start_typing_at(&self, arguments: &[&str], input: OwnedFd) -> Terminal {
        Terminal::start_at(self.command(arguments), input.into())
    }

    /// The same, to be ended at a named place.
    #[cfg(feature = "failpoints")]
    pub(crate) fn start_doomed(&self, arguments: &[&str], place: &str) -> Terminal {
        let mut command = self.command(arguments);
        command.env(connector_failpoint::VARIABLE, place);
        Terminal::start(command)
    }
}

impl Drop for User {
    /// A test that fails leaves no daemon of its user behind.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for below in processes_below(self.home.path()) {
                let _ = rustix::process::kill_process(below.id, rustix::process::Signal::KILL);
            }
        }
    }
}

/// A command that ended.
pub(crate) struct Ended(pub(crate) Output);

impl Ended {
    pub(crate) fn code(&self) -> i32 {
        self.0.status.code().unwrap_or(-1)
    }

    pub(crate) fn text(&self) -> String {
        format!("{}{}", String::from_utf8_lossy(&self.0.stdout), String::from_utf8_lossy(&self.0.stderr))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.0.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// A command that runs.
pub(crate) struct Terminal {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    pub(crate) seen: Vec<String>,
}

impl Terminal {
    fn start(command: Command) -> Self {
        Self::start_at(command, Stdio::piped())
    }

    fn start_at(mut command: Command, input: Stdio) -> Self {
        let mut child = command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let (output, errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        for reader in [Box::new(output) as Box<dyn std::io::Read + Send>, Box::new(errors)] {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(reader).lines() {
                    let Ok(line) = line else { break };
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let input = child.stdin.take();
        Self { child, input, lines, seen: Vec::new() }
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits for a line that contains `text`, and returns it.
    pub(crate) fn expect(&mut self, text: &str) -> String {
        let until = Instant::now() + LIMIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no line with {text:?} ({error}); there was:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Ends the input and waits for the end.
    pub(crate) fn finish(mut self) -> (i32, Vec<String>) {
        self.input = None;
        let status = self.wait();
        let mut seen = std::mem::take(&mut self.seen);
        seen.extend(self.lines.iter());
        (status, seen)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM or SIGINT.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> i32 {
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "it does not end; there was:\n{}", self.seen.join("\n"));
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    /// A test that fails ends its host in order, so that no daemon outlives it.
    fn drop(&mut self) {
        let until = Instant::now() + Duration::from_secs(20);
        let pid = rustix::process::Pid::from_child(&self.child);
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A terminal: the side of the person, and the program's input.
pub(crate) fn pseudo_terminal() -> (OwnedFd, OwnedFd) {
    let person = pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    pty::grantpt(&person).unwrap();
    pty::unlockpt(&person).unwrap();
    let path = pty::ptsname(&person, Vec::new()).unwrap();
    let input = rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    (person, input)
}

/// The opencode that the tests use; installed once if need be.
pub(crate) async fn opencode() -> String {
    let from = opencode_daemons::install::Locate::new(opencode_daemons::Environment::of_this_process());
    let found = opencode_daemons::install::locate(&from, |_| {}).await.unwrap();
    found.path.display().to_string()
}

/// A process.
#[derive(Debug, PartialEq)]
pub(crate) struct Below {
    pub(crate) id: rustix::process::Pid,
    /// Its command line.
    pub(crate) line: String,
}

/// Waits until nothing of the user at `home` runs any more.
pub(crate) fn nothing_stays_below(home: &Path) {
    let until = Instant::now() + LIMIT;
    loop {
        let left = processes_below(home);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "{left:?} does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Which user, by their home, started which processes.
static STARTED: Mutex<Vec<(PathBuf, u32)>> = Mutex::new(Vec::new());

/// The processes of the user at `home`: who has it in the environment or the command line; and
/// connectors, whose environment is empty, by the host that their command line names.
pub(crate) fn processes_below(home: &Path) -> Vec<Below> {
    let marker = home.as_os_str().as_encoded_bytes();
    let contains = |haystack: &[u8]| haystack.windows(marker.len()).any(|window| window == marker);
    let started = STARTED.lock().unwrap().clone();
    let parents: Vec<String> =
        started.iter().filter(|(of, _)| of == home).map(|(_, id)| format!("\"parent\":{id},")).collect();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let path = entry.path();
        let id = entry.file_name().to_str().and_then(|it| rustix::process::Pid::from_raw(it.parse().ok()?));
        let Some(id) = id else { continue };
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        // That of a process within walls cannot be read.
        let environment = std::fs::read(path.join("environ")).unwrap_or_default();
        let text = String::from_utf8_lossy(&line).replace('\0', " ");
        if contains(&environment) || contains(&line) || parents.iter().any(|parent| text.contains(parent)) {
            found.push(Below { id, line: text });
        }
    }
    found
}
