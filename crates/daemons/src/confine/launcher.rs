//! The launcher: our binary, started again, on its way to become opencode.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use super::command::{self, COMMAND, PASS_ON};
#[cfg(target_os = "linux")]
use super::namespaces;
use super::tool::{self, LAUNCH_TOOL};
use super::{HOLDER, LAUNCH, PLAN, Plan};

/// The exit code of a launcher that could not put up its walls or start its program.
pub(super) const FAILED: u8 = 71;

/// To be called first thing in `main`, with the process's arguments, before any thread is started:
/// walls hold for the thread that puts them up and what it starts. Returns nothing when this is no
/// launch. A launch does not return, unless it fails; then the reason has been printed.
pub fn relaunch(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    let first = arguments.next()?;
    let reason = match first.to_str()? {
        LAUNCH => launch(arguments),
        LAUNCH_TOOL => tool::launch(arguments),
        PASS_ON => return Some(command::pass_on()),
        COMMAND => match command::run(arguments) {
            Ok(code) => return Some(code),
            Err(reason) => reason,
        },
        #[cfg(target_os = "linux")]
        first => match namespaces::launch(first, arguments)? {
            Ok(code) => return Some(code),
            Err(reason) => reason,
        },
        #[cfg(not(target_os = "linux"))]
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
    let Some(plan) = Plan::of_environment() else { return "there is no plan of them".to_owned() };
    // Root's own number is mapped into a further namespace by who may give files capabilities alone.
    let around =
        put_up(&plan).and_then(|()| network(&plan)).and_then(|holder| give_up(&plan).map(|()| holder));
    let holder = match around {
        Ok(holder) => holder,
        Err(reason) => return reason,
    };
    #[expect(clippy::disallowed_methods, reason = "the launcher becomes the daemon")]
    let mut command = Command::new(&program);
    for name in &plan.unset {
        command.env_remove(name);
    }
    if plan.namespaces.is_some() {
        // What it had leads to the processes around it.
        command.stdin(std::process::Stdio::null());
    }
    if let Some(holder) = holder {
        command.env(HOLDER, holder);
    }
    let error = command.args(arguments).env_remove(PLAN).exec();
    format!("{}: {error}", program.display())
}

#[cfg(target_os = "linux")]
fn put_up(plan: &Plan) -> Result<(), String> {
    if plan.joins {
        #[expect(clippy::disallowed_methods, reason = "the daemon's launcher leaves it in the environment")]
        let holder = std::env::var(HOLDER).map_err(|_| "nobody holds the network of commands")?;
        namespaces::join(&holder)
            .map_err(|error| format!("the network of commands cannot be joined: {error}"))?;
    }
    let mut walls = plan.walls.clone();
    walls.write.extend(plan.trees.as_deref().and_then(own_tree));
    let mut held = super::linux::put_up(&walls).map_err(|error| error.to_string())?;
    if super::calls::known() {
        let open = super::calls::Open { unix_sockets: plan.unix_sockets, system_v: plan.own_ipc };
        super::calls::refuse(open).map_err(|error| format!("system calls are not refused: {error}"))?;
    } else {
        held &= plan.unix_sockets;
    }
    if plan.required && !held {
        return Err("this kernel cannot hold them, and they are required".to_owned());
    }
    Ok(())
}

/// Leaves nothing that the program could get back.
#[cfg(target_os = "linux")]
fn give_up(plan: &Plan) -> Result<(), String> {
    if let Some(memory) = plan.memory_mb {
        super::linux::limit_data(memory << 20).map_err(|error| format!("memory is not limited: {error}"))?;
    }
    super::linux::drop_capabilities().map_err(|error| format!("capabilities stay: {error}"))
}

#[cfg(not(target_os = "linux"))]
fn give_up(_plan: &Plan) -> Result<(), String> {
    Ok(())
}

/// Makes the network of the agent's commands, within the walls of the daemon: the number of the process that holds it.
#[cfg(target_os = "linux")]
fn network(plan: &Plan) -> Result<Option<String>, String> {
    let Some(namespaces) = plan.namespaces.as_ref().filter(|namespaces| namespaces.network) else {
        return Ok(None);
    };
    let holder = namespaces::hold(&namespaces.command_ports);
    let holder = holder.map_err(|error| format!("the network of commands cannot be made: {error}"))?;
    Ok(Some(holder.to_string()))
}

#[cfg(not(target_os = "linux"))]
fn network(_plan: &Plan) -> Result<Option<String>, String> {
    Ok(None)
}

#[cfg(not(target_os = "linux"))]
fn put_up(plan: &Plan) -> Result<(), String> {
    if plan.required { Err("this system cannot hold them, and they are required".to_owned()) } else { Ok(()) }
}

/// The entry of `trees` that this process starts in.
pub(super) fn own_tree(trees: &std::path::Path) -> Option<std::path::PathBuf> {
    let (trees, here) = (trees.canonicalize().ok()?, std::env::current_dir().ok()?);
    here.strip_prefix(&trees).ok()?.components().next().map(|tree| trees.join(tree))
}
