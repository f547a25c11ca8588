//! Work within the walls: commands mean what they mean outside, and toolchains and package managers work.
//!
//! The daemon is a stand-in that runs commands as opencode does, by `$SHELL -c` and within the same walls; that opencode does it
//! that way is for the tests of [the walls](crate::walls).

mod idioms;
mod packages;
mod refused;
mod registries;
mod toolchains;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use opencode_daemons::confine::{Access, Confinement, Network};
use opencode_daemons::{Daemon, Environment, Home, Spec};
use serde::Deserialize;

use crate::support::{program, spec};
use crate::walls::LAUNCHER;

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Ran {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

/// A user with a home directory, a workspace in it, and the state of a host.
pub(crate) struct User {
    root: tempfile::TempDir,
    variables: Vec<(String, OsString)>,
}

/// In which tree commands run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    None,
    Worktree,
}

impl User {
    pub(crate) fn new() -> Self {
        // Not below `/tmp`, which is the commands' own within.
        let root = tempfile::tempdir_in("/var/tmp").unwrap();
        for below in ["home/code/app", "state/w.trees/one"] {
            std::fs::create_dir_all(root.path().join(below)).unwrap();
        }
        Self { root, variables: Vec::new() }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.root().join("home")
    }

    /// Writes a file at home.
    pub(crate) fn has(&self, below: &str, text: &str) {
        let path = self.home().join(below);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Writes a program at home.
    pub(crate) fn can(&self, below: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;

        self.has(below, script);
        std::fs::set_permissions(self.home().join(below), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn environment(&self) -> Environment {
        // Whoever's tests run has a cargo, and rustup says where to each program that it starts.
        let own = Environment::of_this_process();
        let own = own.iter().filter(|(name, _)| !name.to_string_lossy().starts_with("CARGO"));
        let own = own.collect::<Environment>().with("HOME", self.home());
        self.variables.iter().fold(own, |environment, (name, value)| environment.with(name, value))
    }

    fn spec(&self, directory: &Path) -> Spec {
        let mut spec = spec("commands", directory);
        spec.environment = self.environment();
        spec.home = Home::Own(self.root().join("state/w.own"));
        spec.startup_limit = Duration::from_mins(4);
        spec
    }

    /// Runs commands within walls, in the workspace or in a tree of a task.
    pub(crate) async fn runs(
        &self,
        commands: &BTreeMap<&str, String>,
        (isolation, network): (Isolation, Network),
    ) -> BTreeMap<String, Ran> {
        let workspace = self.home().join("code/app");
        let mut spec = self.spec(&workspace);
        let mut confinement = Confinement::around(&spec, LAUNCHER, self.root().join("state/w.tmp"));
        confinement.required = true;
        confinement.walls.read.push(program("commands").parent().unwrap().to_owned());
        confinement.network_is_asked_for = network.access != Access::Open;
        confinement.network = network;
        let here = match isolation {
            Isolation::None => workspace,
            Isolation::Worktree => {
                confinement = confinement.with_trees(self.root().join("state/w.trees"));
                self.root().join("state/w.trees/one")
            }
        };
        spec.environment = spec.environment.with("FAKE_IN", &here);
        spec.pass.push("FAKE_IN".to_owned());
        spec.confinement = Some(confinement);
        ran(spec, &here, commands).await
    }

    /// Runs them without any walls, in another directory beside it, by this shell.
    pub(crate) async fn runs_outside(
        &self,
        commands: &BTreeMap<&str, String>,
        shell: &str,
    ) -> BTreeMap<String, Ran> {
        let here = self.home().join("code/outside");
        std::fs::create_dir_all(&here).unwrap();
        let mut spec = self.spec(&here);
        spec.home = Home::User;
        spec.environment = spec.environment.with("SHELL", shell);
        // What was compiled within is not compiled again.
        let compiled = self.root().join("state/w.caches/go/build");
        if compiled.is_dir() {
            spec.environment = spec.environment.with("GOCACHE", compiled);
            spec.pass.push("GOCACHE".to_owned());
        }
        ran(spec, &here, commands).await
    }
}

async fn ran(spec: Spec, here: &Path, commands: &BTreeMap<&str, String>) -> BTreeMap<String, Ran> {
    std::fs::write(here.join("commands.json"), serde_json::to_string(commands).unwrap()).unwrap();
    let daemon = Daemon::start(spec).await.unwrap();
    daemon.stop().await;
    let results = std::fs::read_to_string(here.join("results.json")).unwrap();
    for file in ["commands.json", "results.json"] {
        std::fs::remove_file(here.join(file)).unwrap();
    }
    serde_json::from_str(&results.replace(here.to_str().unwrap(), "HERE")).unwrap()
}

/// A network that is limited to ports of this machine.
pub(crate) fn limited(loopback: Vec<u16>) -> Network {
    Network { access: Access::Limited, hosts: Vec::new(), loopback }
}

pub(crate) fn named<'a>(commands: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<&'a str, String> {
    commands.into_iter().map(|(name, script)| (name, script.to_owned())).collect()
}
