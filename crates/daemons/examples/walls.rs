//! What walls cost: the start of a daemon and of a command, with and without them, by turns in one run.
//!
//! `cargo run --release -p opencode-daemons --example walls -- 30` The daemon is this program, which answers the question
//! whether it is well, and starts commands when it is asked to.
//!
//! `… --example walls -- build CRATE 5` builds the crate in that directory anew each time, with its dependencies vendored,
//! as a command of such a daemon.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use opencode_daemons::confine::{Access, Confinement, Network};
use opencode_daemons::{Daemon, Environment, Spec};

/// What is measured: a command, and how often it is run.
#[derive(Clone, Copy)]
struct Measured<'a> {
    command: &'a str,
    times: usize,
    /// Where it runs; an empty directory otherwise.
    workspace: Option<&'a Path>,
}

/// Where a daemon leaves what it measured, in its workspace.
const MEASURED: &str = ".walls-measured";

const NOTHING: Measured<'static> = Measured { command: "exit 0", times: 30, workspace: None };

const BUILD: &str = "rm -rf target && cargo build --offline --quiet";

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is what this program is for")]
fn main() -> ExitCode {
    if let Some(code) = opencode_daemons::relaunch(std::env::args_os()) {
        return code;
    }
    let arguments: Vec<_> = std::env::args().collect();
    let ran = match arguments.get(1).map(String::as_str) {
        Some("serve") => serve(arguments.last().and_then(|port| port.parse().ok()).unwrap_or_default()),
        Some("build") => {
            let (Some(of), rounds) = (arguments.get(2), arguments.get(3)) else {
                eprintln!("name the directory of a crate");
                return ExitCode::FAILURE;
            };
            let build = Measured { command: BUILD, times: 1, workspace: Some(Path::new(of)) };
            measure(build, rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(5))
                .map(|told| println!("{told}"))
        }
        rounds => measure(NOTHING, rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(20))
            .map(|told| println!("{told}")),
    };
    if let Err(error) = ran {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Is the daemon.
fn serve(port: u16) -> Result<(), Box<dyn Error>> {
    let variable = |wanted: &str| std::env::vars().find(|(name, _)| name == wanted).map(|(_, value)| value);
    if let Some(measured) = variable("MEASURE_COMMANDS") {
        let (count, script) = measured.split_once(' ').ok_or("no command")?;
        let shell = variable("SHELL").ok_or("no shell")?;
        let mut times = Vec::new();
        for _ in 0..count.parse()? {
            times.push(timed(|| command(&shell, script))?);
        }
        std::fs::write(MEASURED, format!("{}", median(times).as_micros()))?;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let body = r#"{"healthy":true,"version":"1.18.33"}"#;
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a command as an agent's")]
fn command(shell: &str, script: &str) -> Result<(), Box<dyn Error>> {
    let status = Command::new(shell).args(["-c", script]).stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("a command ended with {status}").into()) }
}

fn timed(what: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let begun = Instant::now();
    what()?;
    Ok(begun.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn measure(what: Measured<'_>, rounds: usize) -> Result<String, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let kinds = [
        ("no walls", None),
        ("network open", Some(Access::Open)),
        ("network limited", Some(Access::Limited)),
    ];
    let mut starts = vec![Vec::new(); kinds.len()];
    let mut commands = vec![Vec::new(); kinds.len()];
    for _ in 0..rounds {
        for (kind, (_, access)) in kinds.iter().enumerate() {
            let (start, command) = runtime.block_on(once(what, *access))?;
            starts[kind].push(start);
            commands[kind].push(command);
        }
    }
    let medians =
        starts.into_iter().zip(commands).map(|(starts, commands)| (median(starts), median(commands)));
    let told = kinds.iter().zip(medians).map(|((name, _), (start, command))| {
        format!("{name:16} a daemon starts in {start:>8.1?}, a command in {command:>8.1?}")
    });
    Ok(told.collect::<Vec<_>>().join("\n"))
}

/// How long a daemon takes to start, and in the middle one of its commands.
async fn once(what: Measured<'_>, access: Option<Access>) -> Result<(Duration, Duration), Box<dyn Error>> {
    let (empty, private) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let directory = what.workspace.unwrap_or(empty.path()).canonicalize()?;
    let spec = |measured: bool| -> Result<Spec, Box<dyn Error>> {
        let environment = Environment::of_this_process()
            .with("SHELL", "/bin/sh")
            .with("MEASURE_COMMANDS", format!("{} {}", what.times, what.command));
        let mut spec = Spec::new(std::env::current_exe()?, &directory, environment);
        if measured {
            spec.pass.push("MEASURE_COMMANDS".to_owned());
        }
        spec.startup_limit = Duration::from_mins(10);
        if let Some(access) = access {
            let mut confinement =
                Confinement::around(&spec, std::env::current_exe()?, private.path().join("w.tmp"));
            confinement.network = Network { access, ..Network::default() };
            spec.confinement = Some(confinement);
        }
        Ok(spec)
    };
    let begun = Instant::now();
    let daemon = Daemon::start(spec(false)?).await?;
    let start = begun.elapsed();
    daemon.stop().await;
    Daemon::start(spec(true)?).await?.stop().await;
    let command = std::fs::read_to_string(directory.join(MEASURED))?.parse().map(Duration::from_micros)?;
    std::fs::remove_file(directory.join(MEASURED))?;
    Ok((start, command))
}
