//! The launcher: what it hands on, and what it does not start.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Output, Stdio};

use connector_sandbox::{Plan, Start, Walls};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sha2::{Digest as _, Sha256};

use crate::support::{command, hostile};

const LAUNCHER: &str = env!("CARGO_BIN_EXE_connector-within-walls");

fn digest(path: &Path) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(std::fs::read(path).unwrap()))
}

fn plan(path: &Path) -> Plan {
    let start = Start::Program { path: path.to_owned(), sha256: digest(path) };
    Plan { walls: Walls::around_program([]), required: true, parent: std::process::id(), start }
}

fn launch(plan: &Plan) -> Output {
    let mut command = command(LAUNCHER);
    command.args(plan.arguments()).env_clear().stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_program_runs_from_the_copy_that_was_compared() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("plugin");
    std::fs::copy(hostile(), &program).unwrap();
    let output = launch(&plan(&program));
    // Without arguments it knows nothing to try: it ran, and said so.
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "refused: Operation not supported\n");
}

#[test]
fn a_program_with_other_bytes_than_granted_does_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("plugin");
    std::fs::copy(hostile(), &program).unwrap();
    let plan = plan(&program);
    File::options().append(true).open(&program).unwrap().write_all(b"x").unwrap();
    let output = launch(&plan);
    assert_eq!(output.status.code(), Some(71));
    assert!(said(&output).contains("its SHA-256 is"), "{}", said(&output));
    assert!(output.stdout.is_empty());
}

/// Each could keep the launcher busy for ever, or be changed meanwhile.
#[test]
fn what_is_no_file_is_not_looked_into() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::os::unix::fs::symlink(hostile(), at("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RUSR).unwrap();
    for (path, reason) in
        [(at("link"), "symbolic links"), (at("pipe"), "it is no file"), ("/dev/zero".into(), "it is no file")]
    {
        let start = Start::Program { path: path.clone(), sha256: digest(hostile()) };
        let output = launch(&Plan { start, ..plan(hostile()) });
        assert_eq!(output.status.code(), Some(71), "{}", path.display());
        assert!(said(&output).contains(reason), "{}", said(&output));
    }
}

#[test]
fn what_cannot_be_launched_is_said() {
    let missing = Plan { start: Start::BuiltIn { name: "x".into() }, ..plan(hostile()) };
    let nobody = Plan { parent: 1, ..missing.clone() };
    let mut with_environment = command(LAUNCHER);
    with_environment.args(missing.arguments()).env("SECRET", "x").stdin(Stdio::null());
    let mut without_plan = command(LAUNCHER);
    without_plan.arg(&missing.arguments()[0]).env_clear().stdin(Stdio::null());
    for (output, reason) in [
        (with_environment.output().unwrap(), "the environment is not empty"),
        (without_plan.output().unwrap(), "the plan cannot be read"),
        (launch(&nobody), "the end with its host cannot be set: it has ended"),
    ] {
        assert_eq!(output.status.code(), Some(71));
        assert!(said(&output).contains(reason), "{}", said(&output));
    }
}

/// The launcher contains one connector, `walls`, which tells which of them hold.
#[test]
fn a_built_in_connector_starts_with_nothing_but_three_pipes() {
    let plan = Plan { start: Start::BuiltIn { name: "walls".into() }, ..plan(hostile()) };
    let (reader, leaked) = std::io::pipe().unwrap();
    rustix::io::fcntl_setfd(leaked.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    let mut command = command(LAUNCHER);
    command.args(plan.arguments()).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(leaked);
    let mut held = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut held).unwrap();
    assert_eq!(held, "every wall holds\n");

    let mut closed = [PollFd::new(&reader, PollFlags::IN)];
    let deadline = Timespec { tv_sec: 30, tv_nsec: 0 };
    assert_eq!(poll(&mut closed, Some(&deadline)), Ok(1), "a descriptor of its host's is still open");
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    for fact in ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "Threads:\t1"] {
        assert!(status.contains(fact), "{fact} is not in {status}");
    }
    // It is waiting for the end of its input, which is now.
    assert!(child.wait().unwrap().success());
}
