//! The process that puts itself into a group and becomes what is to run there: what is moved later may have started
//! others before.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use super::Group;

/// The first argument that makes our binary this process.
pub(crate) const ENTER: &str = "--launch-in-group";

/// What [`crate::relaunch`] does for these arguments, if they are this process's: the group, the program and its arguments.
/// One that cannot be entered is said and no more: whoever started it looks whether it is in the group.
pub(crate) fn relaunch(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    arguments.next().filter(|first| first == ENTER)?;
    let (Some(group), Some(program)) = (arguments.next(), arguments.next()) else {
        return Some(ExitCode::FAILURE);
    };
    let group = Group::at(PathBuf::from(group));
    if let Err(error) = group.enter(std::process::id()) {
        say(&format!("the cgroup {} cannot be entered: {error}", group.path().display()));
    }
    #[expect(clippy::disallowed_methods, reason = "the launcher becomes what is to run in the group")]
    let error = Command::new(&program).args(arguments).exec();
    say(&format!("{} cannot be started: {error}", program.display()));
    Some(ExitCode::FAILURE)
}

#[expect(clippy::print_stderr, reason = "the daemon's output is where its starter looks")]
fn say(text: &str) {
    eprintln!("{text}");
}
