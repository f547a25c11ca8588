//! The launcher: our binary, started again, on its way to become opencode.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use super::tool::{self, LAUNCH_TOOL};
use super::{LAUNCH, PLAN, Plan};

/// The exit code of a launcher that could not put up its walls or start its program.
const FAILED: u8 = 71;

/// To be called first thing in `main`, with the process's arguments, before any thread is started:
/// walls hold for the thread that puts them up and what it starts. Returns nothing when this is no
/// launch. A launch does not return, unless it fails; then the reason has been printed.
pub fn relaunch(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    let first = arguments.next()?;
    let reason = match first.to_str()? {
        LAUNCH => launch(arguments),
        LAUNCH_TOOL => tool::launch(arguments),
        _ => return None,
    };
    #[expect(clippy::print_stderr, reason = "the daemon's output is where its starter looks")]
    {
        eprintln!("cannot launch within walls: {reason}");
    }
    Some(ExitCode::from(FAILED))
}

fn launch(mut arguments: impl Iterator<Item = OsString>) -> String {
    let Some(program) = arguments.next() else { return "no program is named".to_owned() };
    #[expect(clippy::disallowed_methods, reason = "the launcher's plan comes in its environment")]
    let plan = std::env::var(PLAN).ok().and_then(|plan| serde_json::from_str::<Plan>(&plan).ok());
    let Some(plan) = plan else { return "there is no plan of them".to_owned() };
    if let Err(reason) = put_up(&plan) {
        return reason;
    }
    #[expect(clippy::disallowed_methods, reason = "the launcher becomes the daemon")]
    let mut command = Command::new(&program);
    for name in &plan.unset {
        command.env_remove(name);
    }
    let error = command.args(arguments).env_remove(PLAN).exec();
    format!("{}: {error}", program.display())
}

#[cfg(target_os = "linux")]
fn put_up(plan: &Plan) -> Result<(), String> {
    let mut walls = plan.walls.clone();
    walls.write.extend(plan.trees.as_deref().and_then(own_tree));
    let mut held = super::linux::put_up(&walls).map_err(|error| error.to_string())?;
    if !plan.unix_sockets && super::calls::known() {
        super::calls::refuse_sockets().map_err(|error| format!("sockets are not refused: {error}"))?;
    } else if !plan.unix_sockets {
        held = false;
    }
    if let Some(memory) = plan.memory_mb {
        super::linux::limit_data(memory << 20).map_err(|error| format!("memory is not limited: {error}"))?;
    }
    super::linux::drop_capabilities().map_err(|error| format!("capabilities stay: {error}"))?;
    if plan.required && !held {
        return Err("this kernel cannot hold them, and they are required".to_owned());
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn put_up(plan: &Plan) -> Result<(), String> {
    if plan.required { Err("this system cannot hold them, and they are required".to_owned()) } else { Ok(()) }
}

/// The entry of `trees` that this process starts in.
#[cfg(target_os = "linux")]
fn own_tree(trees: &std::path::Path) -> Option<std::path::PathBuf> {
    let (trees, here) = (trees.canonicalize().ok()?, std::env::current_dir().ok()?);
    here.strip_prefix(&trees).ok()?.components().next().map(|tree| trees.join(tree))
}
