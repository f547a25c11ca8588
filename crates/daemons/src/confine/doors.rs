//! The doors in the walls around a daemon: what is open, for whom, and why.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::namespaces::OWN_PROC;
use super::{Confinement, DEVICES, OF_GIT, SYSTEM, git, install_of, toolchains};
use crate::daemon::{Home, Spec};
use crate::project::Project;
use crate::user_config;

/// A place that the walls leave open, with everything below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Door {
    /// Where it is.
    pub path: PathBuf,
    /// What may be done there.
    pub opens: Opens,
    /// For whom it is open.
    #[serde(rename = "for")]
    pub whom: Whom,
    /// Why it is open.
    pub why: &'static str,
}

/// What may be done behind a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Opens {
    /// Reading and executing.
    Read,
    /// Writing, too.
    Write,
}

/// For whom a door is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Whom {
    /// The daemon with its tools, plugins and MCP servers, and not its agent's commands.
    Daemon,
    /// The commands alone.
    Commands,
    /// All of them.
    Both,
}

impl Confinement {
    /// Every door that there is, as the system is now. Of what the daemon of `spec` has made at its start, those
    /// that are still to be made are among them.
    pub fn doors(&self, spec: &Spec) -> Vec<Door> {
        let (daemon, commands) = (self.plan_for(false).walls, self.plan_for(true).walls);
        let known_tools = toolchains::doors(&spec.environment, &[]);
        let mut doors: Vec<Door> = Vec::new();
        for (opens, its, theirs) in
            [(Opens::Write, &daemon.write, &commands.write), (Opens::Read, &daemon.read, &commands.read)]
        {
            for path in its.iter().chain(theirs) {
                let whom = match (its.contains(path), theirs.contains(path)) {
                    (true, true) => Whom::Both,
                    (true, false) => Whom::Daemon,
                    _ => Whom::Commands,
                };
                let known = doors.iter().any(|door| door.path == *path && door.opens >= opens);
                if !known && self.is_or_will_be(path) {
                    doors.push(Door {
                        path: path.clone(),
                        opens,
                        whom,
                        why: self.why(spec, path, &known_tools),
                    });
                }
            }
        }
        doors.extend(self.trees.iter().map(|trees| Door {
            path: trees.clone(),
            opens: Opens::Write,
            whom: Whom::Commands,
            why: "the working tree of the command's own task, and no other that is there",
        }));
        doors
    }

    /// Whether there is something, or the daemon's start makes it.
    fn is_or_will_be(&self, path: &Path) -> bool {
        let ours = self.tmp.parent();
        path == Path::new(OWN_PROC)
            || ours.is_some_and(|ours| path.starts_with(ours))
            || path.symlink_metadata().is_ok()
    }

    fn why(&self, spec: &Spec, path: &Path, known_tools: &[PathBuf]) -> &'static str {
        let home = spec.environment.get("HOME").map(PathBuf::from);
        let is_of_git = || home.iter().any(|home| OF_GIT.iter().any(|name| path == home.join(name)));
        let is_of_the_system = || SYSTEM.iter().any(|system| path.starts_with(system));
        let is_searched = || spec.environment.search_path().iter().any(|directory| path == *directory);
        let is_own = || match &spec.home {
            Home::Own(own) | Home::Isolated(own) => path == own,
            Home::User => path.ends_with("opencode"),
        };
        let is_copy = || matches!(&spec.project, Project::Copied(copies) if path == copies);
        let is_repository =
            || git::common_directory(&self.workspace, &[]).is_some_and(|common| path == common);
        let is_cache = || self.caches() == Some(path);
        let is_setting = || self.caches.as_ref().is_some_and(|caches| path == caches.settings);
        let is_trusted = || spec.environment.trusted().iter().any(|trusted| path == *trusted);
        let reasons: [(&dyn Fn() -> bool, &'static str); 18] = [
            (&|| path == self.workspace, "the workspace"),
            (&|| self.trees.as_deref() == Some(path), "the working trees of its tasks"),
            (&is_copy, "what was approved of the repository's configuration of opencode"),
            (&|| path == self.tmp, "temporary files of the agent's commands"),
            (&|| path == self.tmp_of_daemon(), "temporary files of the daemon"),
            (&|| path == self.shell, "the shell of the agent's commands"),
            (&|| path == self.launcher, "the program that puts the walls up"),
            (&is_own, "sessions, state and caches of the daemon"),
            (&|| path == Path::new(OWN_PROC), "its own processes, for the network of its commands"),
            (&|| user_config::doors(spec).iter().any(|door| door == path), "opencode's configuration"),
            (&|| install_of(&spec.program).iter().any(|own| own == path), "opencode itself"),
            (&|| DEVICES.iter().any(|device| path == Path::new(device)), "a device that programs use"),
            (&is_repository, "the repository of the workspace, which is a linked worktree of it"),
            (
                &|| git::objects(&self.workspace, self.submodules).iter().any(|own| own == path),
                "objects of the repository",
            ),
            (&is_cache, "caches of package managers, the workspace's own"),
            (&is_setting, "what the user has set of package managers, without tokens"),
            (&is_of_git, "settings of git's at home"),
            (&is_trusted, "certificates that a variable names"),
        ];
        if let Some((_, why)) = reasons.iter().find(|(holds, _)| holds()) {
            return why;
        }
        let is_tool = known_tools.iter().any(|tool| path == tool);
        match (is_of_the_system(), is_searched(), is_tool) {
            (true, ..) => "the system",
            (_, true, _) => "a directory of PATH",
            (.., true) => "a toolchain",
            _ => "`read` or `write` in the configuration",
        }
    }
}
