//! Goes behind some of the walls and tries one thing, or becomes a program that does. Prints
//! `done`, or why not. For the tests, and for whoever wants to see what a wall is worth:
//! `sandbox-probe '{"walls":{},"these":["files"],"attempt":["read","/etc/passwd"]}'`.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use connector_sandbox::{Wall, Walls};
use serde::Deserialize;

/// The one argument.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Task {
    walls: Walls,
    these: Vec<Wall>,
    /// What this process tries itself, with its arguments.
    attempt: Vec<String>,
}

#[expect(clippy::print_stdout, reason = "the answer")]
fn main() -> ExitCode {
    let task: Result<Task, _> = serde_json::from_str(&std::env::args().nth(1).unwrap_or_default());
    let Ok(task) = task else { return ExitCode::from(2) };
    if let Err(error) = task.walls.put_up_these(&task.these) {
        println!("no walls: {error:?}");
        return ExitCode::from(71);
    }
    let words: Vec<&str> = task.attempt.iter().map(String::as_str).collect();
    match attempt(&words) {
        Ok(()) => println!("done"),
        Err(error) => println!("refused: {error}"),
    }
    ExitCode::SUCCESS
}

#[expect(clippy::disallowed_methods, reason = "starting programs is what is tried here")]
fn attempt(words: &[&str]) -> io::Result<()> {
    match words {
        ["become", program, arguments @ ..] => Err(Command::new(program).args(arguments).exec()),
        ["spawn", program] => Command::new(program).spawn()?.wait().map(drop),
        ["thread"] => std::thread::Builder::new()
            .spawn(|| ())?
            .join()
            .map_err(|_| io::Error::other("the thread panicked")),
        ["read", path] => std::fs::read(path).map(drop),
        ["look", path] => std::fs::metadata(path).map(drop),
        ["link", path] => std::fs::read_link(path).map(drop),
        ["list", path] => std::fs::read_dir(path).map(drop),
        ["delete", path] => std::fs::remove_file(path),
        ["connect", address] => std::net::TcpStream::connect(address).map(drop),
        _ => Err(io::Error::other("no such attempt")),
    }
}
