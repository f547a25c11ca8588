//! What the attempts are made with, and what they are made at.

use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use connector_sandbox::{Wall, Walls};

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");

pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(program)
}

/// The hostile program, compiled once.
pub(crate) fn hostile() -> &'static Path {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let build = || {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("hostile");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/hostile.c");
        let built = command("cc").args(["-O1", "-pthread", "-o"]).arg(&program).arg(source).status().unwrap();
        assert!(built.success(), "the hostile program does not compile");
        (directory, program)
    };
    &BUILT.get_or_init(build).1
}

/// What a program that goes behind `these` walls prints when it tries `words`.
pub(crate) fn try_behind(walls: &Walls, these: &[Wall], words: &[&str]) -> String {
    let task = serde_json::json!({ "walls": walls, "these": these, "attempt": words });
    let mut command = command(PROBE);
    command.arg(task.to_string()).env_clear().stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if text.is_empty() { format!("{}", output.status) } else { text }
}

/// What the hostile program prints when it tries `words` behind `these` walls.
pub(crate) fn hostile_behind(walls: &Walls, these: &[Wall], words: &[impl AsRef<str>]) -> String {
    let program = hostile().to_str().unwrap();
    let words = words.iter().map(AsRef::as_ref);
    try_behind(walls, these, &["become", program].into_iter().chain(words).collect::<Vec<_>>())
}

/// Things outside the walls that somebody might want to get at.
pub(crate) struct Outside {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) granted: TcpListener,
    pub(crate) other: TcpListener,
    pub(crate) udp: UdpSocket,
    pub(crate) abstract_name: String,
    _unix: (UnixListener, UnixDatagram, UnixListener),
    process: Child,
}

impl Outside {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("secret"), "the secret").unwrap();
        let at = |name: &str| directory.path().join(name);
        let abstract_name = directory.path().to_str().unwrap().replace('/', "-");
        let name = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let unix = (
            UnixListener::bind(at("stream.sock")).unwrap(),
            UnixDatagram::bind(at("datagram.sock")).unwrap(),
            UnixListener::bind_addr(&name).unwrap(),
        );
        Self {
            granted: TcpListener::bind("127.0.0.1:0").unwrap(),
            other: TcpListener::bind("127.0.0.1:0").unwrap(),
            udp: UdpSocket::bind("127.0.0.1:0").unwrap(),
            abstract_name,
            _unix: unix,
            process: bystander(),
            directory,
        }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn pid(&self) -> String {
        self.process.id().to_string()
    }

    /// Puts right what an attempt behind too few walls did.
    pub(crate) fn restore(&mut self, made: &[&str]) {
        self.end();
        self.process = bystander();
        for path in made {
            let _ = std::fs::remove_dir(path);
            let _ = std::fs::remove_file(path);
        }
        std::fs::write(self.path("secret"), "the secret").unwrap();
    }

    fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    pub(crate) fn assert_unharmed(&mut self, after: &str) {
        assert_eq!(self.process.try_wait().unwrap(), None, "{after} ended a process");
        assert_eq!(std::fs::read_to_string(self.path("secret")).unwrap(), "the secret", "{after}");
        let names = std::fs::read_dir(self.directory.path()).unwrap().count();
        assert_eq!(names, 3, "{after} made or removed a file");
    }
}

fn bystander() -> Child {
    let mut process = command("sleep");
    process.arg("600").env("KEY", "secret").stdin(Stdio::null()).stdout(Stdio::null());
    process.spawn().unwrap()
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.end();
    }
}
