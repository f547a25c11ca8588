//! `demo`: the whole walk, with nothing configured.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use connector_files::{AbsolutePath, Log};
use connector_gate::clock::Clock;
use connector_gate::decision::Decision;
use connector_gate::policy::GateConfig;
use opencode_daemons::install::{self, Locate, Progress};
use opencode_daemons::pool::{Confine, WorkspaceConfig};
use opencode_daemons::{Environment, Home, version};
use serde_json::Map;
use testkit::model::ScriptedModel;
use tokio::sync::mpsc::Receiver;

use super::terminal;
use crate::assemble::{self, Parts};
use crate::build::registry::OPENCODE;
use crate::chat::{Chat, Flow, Input};
use crate::console::{Console, NAME};
use crate::exit::{Exit, Failure};
use crate::isolation::ConnectorIsolation;
use crate::managed::{self, Daemons, Managed};

/// The connector name of the demo's messages.
const CONNECTOR: &str = "connector-console";

/// How often it is looked whether the run has ended.
const LOOK: Duration = Duration::from_millis(30);

/// `demo`
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// Approve the card without asking
    #[arg(long)]
    yes: bool,
    /// The opencode binary, or env:VAR [default: `opencode` on PATH, else installed by npm]
    #[arg(long, value_name = "PATH")]
    opencode: Option<String>,
}

impl Demo {
    pub(super) async fn run(self) -> Result<Exit, Failure> {
        if !self.yes && !std::io::stdin().is_terminal() {
            let text = "the demo asks for your approval, and there is no terminal to ask at; \
                run it in a terminal, or with --yes to approve by itself";
            return Err(Failure::usage(text));
        }
        let began = Instant::now();
        let environment = Environment::of_this_process();
        let opencode = locate(self.opencode.clone(), environment.clone(), None).await?;
        say(&format!("opencode {} ({})", opencode.version, opencode.path.display()))?;
        let scratch = tempfile::Builder::new().prefix("connector-demo-").tempdir()?;
        let repository = scratch.path().join("basket");
        std::fs::create_dir(&repository)?;
        testkit::demo::repository(&repository)?;
        let model = ScriptedModel::start(testkit::demo::script(&repository))?;
        say(INTRODUCTION)?;
        say("$ node --test")?;
        if test(&repository).await? {
            return Err(Failure::failed("the demo's test passes before anything was fixed"));
        }
        if let Some(missing) = check_walls(Confine::On)? {
            say(&missing)?;
        }
        if let Some(missing) = ConnectorIsolation::Process.missing() {
            say(&missing)?;
        }
        let workspace = WorkspaceConfig {
            extra_config: Some(model.config()),
            confine: Some(Confine::On),
            ..WorkspaceConfig::default()
        };
        let (key, pool) =
            managed::config::for_directory(&AbsolutePath::new(&*repository).unwrap_or_default(), workspace);
        let home = Home::Isolated(scratch.path().join("home"));
        let daemons = Daemons::new(&pool, opencode.path, home, environment, scratch.path());
        let daemons = daemons.map_err(|error| Failure::usage(connector_contract::chain(&error)))?;
        let outcome = self.walk((scratch.path(), &repository), &key, daemons).await?;
        if outcome != Exit::Done {
            say("\nthe task was not done, so the test still fails; nothing was left running")?;
            return Ok(outcome);
        }
        say("\n$ git diff")?;
        say(testkit::scratch::git(&repository, &["diff"])?.trim_end())?;
        say("\n$ node --test")?;
        let fixed = test(&repository).await?;
        say(&format!("\ndone in {:.1} s; nothing was left running", began.elapsed().as_secs_f32()))?;
        Ok(if fixed { Exit::Done } else { Exit::Failed })
    }

    /// The chat, from the message to the result.
    async fn walk(
        &self,
        (scratch, repository): (&Path, &Path),
        key: &str,
        daemons: Daemons,
    ) -> Result<Exit, Failure> {
        let console = Arc::new(Console::new(Box::new(anstream::stdout())));
        let config = Map::from_iter([("directory".to_owned(), repository.display().to_string().into())]);
        let factory = ConnectorIsolation::Process.factory((OPENCODE.factory)(), None);
        let managed = Managed::new(&daemons, key, factory, config).await;
        let instance = managed?.instance(super::chat::INSTANCE, "basket");
        let parts = Parts {
            rules: assemble::built_in_rules(CONNECTOR)?,
            instances: vec![instance],
            surfaces: vec![console.clone()],
            gate: GateConfig { approvers: vec![Console::user()], ..GateConfig::default() },
            ..Parts::default()
        };
        let engine = assemble::engine(&scratch.join("state"), Clock::System, parts)?;
        let chat = Chat {
            engine: engine.clone(),
            console,
            connector: CONNECTOR.to_owned(),
            workspace: "basket".to_owned(),
        };
        let inputs = terminal::inputs()?;
        let mut running = tokio::spawn(async move { engine.run().await });
        let (ended, outcome) = tokio::select! {
            outcome = self.talk(&chat, inputs) => (None, outcome),
            ended = &mut running => (Some(ended), Ok(Exit::Failed)),
        };
        chat.engine.stop(Duration::from_secs(10)).await;
        daemons.stop().await;
        match ended {
            Some(ended) => ended??,
            None => running.await??,
        }
        outcome
    }

    async fn talk(&self, chat: &Chat, mut inputs: Receiver<Input>) -> Result<Exit, Failure> {
        let message = format!("/fix {}", testkit::demo::PROMPT);
        say(&format!("\n{NAME}> {message}"))?;
        chat.send(&message).await?;
        if self.yes {
            chat.settle_card().await?;
            say(&format!("{NAME}> y   (--yes)"))?;
            chat.decide(Decision::Approve, None).await?;
        }
        let mut open = true;
        loop {
            let input = tokio::select! {
                input = inputs.recv(), if open => input,
                () = tokio::time::sleep(LOOK) => {
                    if chat.is_quiet().await? {
                        break;
                    }
                    continue;
                }
            };
            let flow = match input {
                Some(Input::Line(line)) => chat.line(&line).await?,
                Some(Input::Interrupt) => chat.interrupt(false).await?,
                Some(Input::Terminate) => Flow::Leave,
                Some(Input::End) | None => {
                    open = self.yes && input.is_some();
                    if self.yes { Flow::GoOn } else { Flow::Leave }
                }
            };
            if flow == Flow::Leave {
                break;
            }
        }
        Ok(if chat.last_run_succeeded().await? { Exit::Done } else { Exit::Failed })
    }
}

const INTRODUCTION: &str = "\
a small repository with a failing test, a real opencode daemon, and a scripted model:
the model needs no key and says what a script tells it; agent, tools, edits and test run are real
";

/// What is missing of the walls that `wanted` asks for, in words to be shown; an error if they are
/// required.
pub(super) fn check_walls(wanted: Confine) -> Result<Option<String>, Failure> {
    match (wanted, managed::missing_walls(wanted)) {
        (Confine::Required, Some(missing)) => {
            Err(Failure::usage(format!("confinement is required, but {missing}")))
        }
        (_, missing) => Ok(missing),
    }
}

/// What nobody has shown of the walls around the commands of this opencode's agent, in words to be
/// shown; an error if they are required.
pub(super) fn check_opencode(
    opencode: &install::Opencode,
    wanted: Confine,
) -> Result<Option<&'static str>, Failure> {
    match (wanted, version::unshown_walls(&opencode.version)) {
        (Confine::Off, _) => Ok(None),
        (Confine::Required, Some(unshown)) => {
            Err(Failure::usage(format!("confinement is required, but {unshown}; use a 1.x release")))
        }
        (_, unshown) => Ok(unshown),
    }
}

/// Where what npm and opencode print before there is a daemon is kept.
pub(super) fn installs(state: &Path) -> Log {
    Log::at(state.join("install.log"))
}

/// Finds opencode or installs it, saying so.
/// What npm and opencode print when that fails is kept in `state`, if there is one.
pub(super) async fn locate(
    path: Option<String>,
    environment: Environment,
    state: Option<&Path>,
) -> Result<install::Opencode, Failure> {
    let mut from = Locate::new(environment);
    from.path = path;
    from.printed = state.map(installs);
    let tell = |progress: Progress| {
        let _ = match progress {
            Progress::Waiting => say("another process installs opencode; waiting for it"),
            Progress::Installing { version, into } => {
                say(&format!("installing opencode {version} with npm into {} …", into.display()))
            }
            Progress::Installed { took } => say(&format!("installed in {:.0} s", took.as_secs_f32())),
        };
    };
    // An install that is interrupted ends npm too and leaves nothing.
    let mut signals = terminal::Signals::listen()?;
    tokio::select! {
        found = install::locate(&from, tell) => {
            found.map_err(|error| Failure::usage(connector_contract::chain(&error)))
        }
        _ = signals.next() => Err(Failure::failed("interrupted; nothing was started")),
    }
}

/// Runs the repository's test, showing its summary; `true` if it passes.
async fn test(repository: &Path) -> Result<bool, Failure> {
    let [program, argument] = testkit::demo::TEST;
    #[expect(clippy::disallowed_methods, reason = "the demo runs the repository's own test")]
    let output = tokio::process::Command::new(program)
        .arg(argument)
        .arg("--test-reporter=spec")
        .current_dir(repository)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| {
            Failure::usage(format!("node cannot be started: {error}; install Node 20 or newer"))
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    // The spec reporter lists failures a second time after its summary.
    let once = text.lines().take_while(|line| !line.starts_with("✖ failing tests"));
    let shown = ["✔", "✖", "ℹ pass", "ℹ fail"];
    for line in once.filter(|line| shown.iter().any(|start| line.starts_with(start))) {
        say(line)?;
    }
    Ok(output.status.success())
}

pub(super) fn say(text: &str) -> Result<(), std::io::Error> {
    writeln!(anstream::stdout(), "{text}")
}
