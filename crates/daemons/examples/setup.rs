//! What the set-up of a task's tree costs, once its result is kept: trees with and without one, by turns in one run.
//!
//! `cargo run --release -p opencode-daemons --example setup -- 20 2000` takes how many of each, and of how many files the
//! result is, of 8 KiB each; `.env` is copied besides.

use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use opencode_daemons::pool::Surroundings;
use opencode_daemons::{Environment, Home, PoolConfig, Worktrees};
use serde_json::json;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is what this program is for")]
fn main() -> ExitCode {
    if let Some(code) = opencode_daemons::relaunch(std::env::args_os()) {
        return code;
    }
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<usize>().ok());
    let (rounds, files) = (numbers.next().flatten().unwrap_or(20), numbers.next().flatten().unwrap_or(2_000));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let measured =
        runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(measure(rounds.max(1), files)));
    match measured {
        Ok(told) => println!("{told}"),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

async fn measure(rounds: usize, files: usize) -> Result<String, Box<dyn Error>> {
    let root = tempfile::tempdir()?;
    let workspace = root.path().join("app");
    std::fs::create_dir_all(&workspace)?;
    std::fs::create_dir(root.path().join("home"))?;
    for (name, text) in [("lock", "1\n"), (".gitignore", "installed/\n.env\n"), (".env", "A=1\n")] {
        std::fs::write(workspace.join(name), text)?;
    }
    let author = ["-c", "user.name=x", "-c", "user.email=x@localhost"];
    for arguments in [&["init", "--quiet"][..], &["add", "--all"], &["commit", "--quiet", "--message=Start"]]
    {
        git(&workspace, &[&author, arguments].concat())?;
    }
    let run = format!(
        "mkdir -p installed/package && head -c 8192 /dev/urandom > installed/package/1 && \
         for n in $(seq 2 {files}); do mkdir -p installed/package$((n / 20)); \
         cp installed/package/1 installed/package$((n / 20))/$n; done"
    );
    let plain = trees(root.path(), "plain", None)?;
    let set_up =
        trees(root.path(), "set-up", Some(json!({ "copy": [".env"], "run": run, "inputs": ["lock"] })))?;
    let begun = Instant::now();
    drop(set_up.make().await?);
    let first = begun.elapsed();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (trees, times) in [(&plain, &mut without), (&set_up, &mut with)] {
            let begun = Instant::now();
            let tree = trees.make().await?;
            times.push(begun.elapsed());
            drop(tree);
            // Removed outside of what is measured.
            trees.clean().await;
        }
    }
    let (without, with) = (median(without), median(with));
    Ok(format!(
        "medians of {rounds}: a tree {} ms, with .env and a kept result of {files} files {} ms, which is {} ms more; \
         the command itself, the first time: {} ms",
        without.as_millis(),
        with.as_millis(),
        with.saturating_sub(without).as_millis(),
        first.as_millis(),
    ))
}

fn trees(root: &Path, name: &str, setup: Option<serde_json::Value>) -> Result<Worktrees, Box<dyn Error>> {
    let (workspace, state) = (root.join("app"), root.join("state"));
    let mut settings = json!({ "directory": workspace, "isolation": "worktree" });
    settings["setup"] = setup.unwrap_or_default();
    let config: PoolConfig = serde_json::from_value(json!({ "workspaces": { name: settings } }))?;
    let launcher = Some(std::env::current_exe()?);
    let environment = Environment::of_this_process().with("HOME", root.join("home"));
    let around = Surroundings {
        program: "/bin/false".into(),
        environment: environment.clone(),
        state: state.clone(),
        launcher: launcher.clone(),
        home: Home::User,
    };
    let trees = Worktrees::new(name, &workspace, &state, environment, launcher);
    Ok(match config.setup(name, &around)? {
        Some(setup) => trees.with_setup(setup),
        None => trees,
    })
}

#[expect(clippy::disallowed_methods, reason = "the repository is made with git itself")]
fn git(directory: &Path, arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    let status = Command::new("git").args(arguments).current_dir(directory).status()?;
    if status.success() { Ok(()) } else { Err(format!("git {arguments:?}: {status}").into()) }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
