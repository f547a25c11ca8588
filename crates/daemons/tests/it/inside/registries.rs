//! Package managers as commands of real daemons, with the registries that the user of this machine is configured for.
//!
//! The daemon, its walls, its network and the task's tree are what a host makes of a `host.toml`.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use opencode_daemons::pool::Surroundings;
use opencode_daemons::{Environment, Home, Pool, PoolConfig, Worktrees};
use serde_json::json;
use testkit::fake::Generation;
use testkit::model::{ScriptedModel, Seen};
use testkit::{Script, scratch};

use super::packages::{Dependencies, LEAF_OF_GO, Registry, projects, tools};
use super::{Isolation, Ran, User};
use crate::support::run_in;
use crate::walls::{LAUNCHER, leads_to_opencodes_configuration};

/// Small packages that depend on nothing. Of Go there is the stand-in's alone.
const SMALL: Dependencies = Dependencies {
    node: ("is-number", "String(require(\"is-number\")(7))", "true"),
    python: ("iniconfig", "iniconfig.__name__", "iniconfig"),
    rust: ("hex", "hex::encode(\"leaf\")", "6c656166"),
    go: LEAF_OF_GO,
};

/// How long all of it may take on a loaded machine.
const LIMIT: Duration = Duration::from_mins(8);

/// The user of this machine, in a home with nothing but what is set of package managers there.
fn user(tools: &Path, go: u16) -> User {
    #[expect(clippy::disallowed_methods, reason = "the user of this machine is whom it is about")]
    let own = |name: &str| std::env::var(name).ok();
    let home = PathBuf::from(own("HOME").unwrap());
    let at_home = |variable: &str, below: &str| own(variable).map_or_else(|| home.join(below), PathBuf::from);
    let inherited = own("PATH").unwrap();
    let first = ["npm/node_modules/.bin", "uv/bin", "go/bin"].map(|below| tools.join(below));
    let last = tools.join("berry/node_modules/.bin");
    let path = first.into_iter().chain(std::env::split_paths(&inherited)).chain([last]);
    let path = std::env::join_paths(path).unwrap();
    let npm = said(&["npm", "config", "get", "registry"]);
    let user = User::new()
        .with("PATH", path)
        .with("RUSTUP_HOME", at_home("RUSTUP_HOME", ".rustup"))
        .with("CARGO_HOME", at_home("CARGO_HOME", ".cargo"))
        // By itself yarn would ask another than npm.
        .with("YARN_REGISTRY", npm.clone())
        .with("YARN_NPM_REGISTRY_SERVER", npm);
    for settings in [".npmrc", ".config/pip/pip.conf"] {
        if let Ok(settings_of_user) = std::fs::read_to_string(home.join(settings)) {
            user.has(settings, &settings_of_user);
        }
    }
    user.has(
        ".config/go/env",
        &format!("GOPROXY=http://127.0.0.1:{go}/go\nGOSUMDB=off\nGOTOOLCHAIN=local\n"),
    );
    user
}

fn said(command: &[&str]) -> String {
    #[expect(clippy::disallowed_methods, reason = "what the user is configured for")]
    let mut program = Command::new(command[0]);
    let said = program.args(&command[1..]).current_dir("/").stdin(Stdio::null()).output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

/// One script that runs all in a row, and keeps what came of each.
fn script(projects: &[(&str, String)]) -> String {
    let each = projects.iter().map(|(name, script)| {
        format!("( {script}\n) > '../results/{name}.out' 2> '../results/{name}.err'; echo $? > '../results/{name}.code'\n")
    });
    format!("mkdir work results; cd work\n{}touch ../results/all", each.collect::<String>())
}

fn results(here: &Path, projects: &[(&str, String)]) -> BTreeMap<String, Ran> {
    let read = |name: &str, kind: &str| {
        let text = std::fs::read_to_string(here.join(format!("results/{name}.{kind}"))).unwrap_or_default();
        text.replace(here.to_str().unwrap(), "HERE")
    };
    let ran = |(name, _): &(&str, String)| {
        let code = read(name, "code").trim().parse().unwrap_or(-1);
        ((*name).to_owned(), Ran { out: read(name, "out"), err: read(name, "err"), code })
    };
    projects.iter().map(ran).collect()
}

/// A network whose names stand for addresses that are not public has them named by its user.
fn named_besides(config: &PoolConfig) -> Vec<String> {
    let hosts = config.workspaces.values().flat_map(|workspace| &workspace.hosts).map(ToString::to_string);
    let addresses =
        hosts.filter_map(|host| Some((host.as_str(), 443).to_socket_addrs().ok()?.map(|it| it.ip())));
    let addresses: std::collections::BTreeSet<IpAddr> = addresses.flatten().collect();
    addresses.iter().map(ToString::to_string).collect()
}

struct Work {
    user: User,
    registry: Registry,
    projects: [(&'static str, String); 9],
}

impl Work {
    async fn new() -> Self {
        let tools = tokio::task::spawn_blocking(tools::fetched).await.unwrap();
        let registry = Registry::start();
        let user = user(&tools, registry.port());
        scratch::repository(&user.home().join("code/app"), &[]).unwrap();
        Self { user, registry, projects: projects(&tools, &SMALL) }
    }

    fn environment(&self) -> Environment {
        self.user.environment()
    }

    fn config(&self, isolation: Isolation, model: &ScriptedModel) -> PoolConfig {
        let isolation = if isolation == Isolation::Worktree { "worktree" } else { "none" };
        let mut config: PoolConfig = serde_json::from_value(json!({
            "server_startup_timeout_secs": 240,
            "confine": "required",
            "network": "limited",
            "presets": ["npm", "cargo", "pip"],
            "loopback": [self.registry.port()],
            "permissions": { "bash": "allow", "external_directory": "allow" },
            "extra_config": model.config(),
            "workspaces": { "app": { "directory": self.user.home().join("code/app"), "isolation": isolation } },
        }))
        .unwrap();
        config.expand_presets(&self.environment());
        let besides = named_besides(&config);
        config.hosts.extend(besides.iter().map(|address| address.parse().unwrap()));
        config
    }

    /// What came of each as commands of the real daemon.
    async fn inside(&self, generation: Generation, isolation: Isolation) -> BTreeMap<String, Ran> {
        let call = json!({ "command": script(&self.projects), "description": "Works", "timeout": LIMIT.as_millis() });
        let model =
            ScriptedModel::start(Script::default().call("WORK", 0, "bash", call).reply("WORK", "done"))
                .unwrap();
        let mut config = self.config(isolation, &model);
        let mut program = testkit::real::opencode_of(generation).await.unwrap().path;
        let mut environment = self.environment();
        if generation == Generation::V2 {
            config.second = true;
            config.read.push(program.clone());
            program = leads_to_opencodes_configuration(&program, self.user.root());
            for (name, value) in testkit::real::LOOPBACK_ALONE {
                environment = environment.with(name, value);
                config.pass.push(name.to_owned());
            }
        }
        let workspace = self.user.home().join("code/app");
        let state = self.user.root().join("state/daemons");
        std::fs::create_dir_all(&state).unwrap();
        let launcher = Some(PathBuf::from(LAUNCHER));
        let trees = Worktrees::new("app", &workspace, &state, environment.clone(), launcher.clone());
        let around = Surroundings { program, environment, state, launcher, home: Home::User };
        let pool = Pool::new(&config, &around).unwrap();
        let lease = pool.lease("app", |_| {}).await.unwrap();
        let tree = if isolation == Isolation::Worktree { Some(trees.make().await.unwrap()) } else { None };
        let here = tree.as_ref().map_or(workspace, opencode_daemons::Worktree::directory);
        let address = lease.address();
        run_in((&address.base_url, &address.password), generation, &here, "WORK").await;
        let told = |seen: &[Seen]| seen.iter().any(|it| it.tools_done > 0);
        assert!(model.wait_for(LIMIT, told).await, "the work came to an end");
        let results = results(&here, &self.projects);
        drop(lease);
        pool.shutdown().await;
        results
    }

    /// The same without any walls, in a home whose caches are empty too.
    fn outside(&self) -> BTreeMap<String, Ran> {
        let here = self.user.home().join("code/outside");
        std::fs::create_dir_all(&here).unwrap();
        let own = self.environment().allowed(&[]);
        #[expect(clippy::disallowed_methods, reason = "the same outside the walls")]
        let mut command = Command::new("/bin/bash");
        command.args(["-c", &script(&self.projects)]).current_dir(&here).stdin(Stdio::null());
        command.env_clear().envs(own.iter()).env("CARGO_HOME", self.user.home().join(".cargo"));
        assert!(command.status().unwrap().success());
        results(&here, &self.projects)
    }
}

/// What comes of each in these daemons is what comes of it outside.
async fn the_same_as_outside(inside: &[(Generation, Isolation)]) {
    let work = Work::new().await;
    let outside = work.outside();
    for (name, ran) in &outside {
        assert!(ran.code == 0 && ran.out.ends_with("tested\n"), "{name} outside: {ran:?}");
    }
    for &(generation, isolation) in inside {
        let inside = work.inside(generation, isolation).await;
        for (name, ran) in &inside {
            let (expected, here) = (&outside[name].out, (generation, isolation));
            assert_eq!((ran.code, &ran.out), (0, expected), "{name}, {here:?}: {}", ran.err);
        }
    }
}

#[tokio::test]
async fn package_managers_work_as_commands_of_a_real_daemon_in_a_working_tree() {
    the_same_as_outside(&[(Generation::V1, Isolation::Worktree)]).await;
}

#[tokio::test]
#[ignore = "takes minutes: cargo test -p opencode-daemons --test it -- --ignored registries"]
async fn package_managers_work_as_commands_of_both_generations_with_and_without_a_working_tree() {
    the_same_as_outside(&[(Generation::V1, Isolation::None), (Generation::V2, Isolation::Worktree)]).await;
}
