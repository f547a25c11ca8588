//! Package managers: a project is made, a dependency added, built and tested, as it is outside.

pub(super) mod tools;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{Isolation, User, limited, named};
use crate::support::program;

/// Registries on loopback; ended with the value.
pub(super) struct Registry {
    child: Child,
    port: u16,
    log: tempfile::NamedTempFile,
}

impl Registry {
    pub(super) fn start() -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        #[expect(clippy::disallowed_methods, reason = "registries for the test")]
        let mut command = Command::new(program("registry"));
        let mut child = command.arg(log.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { child, port: port.trim().parse().unwrap(), log }
    }

    /// Where they listen.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// What was asked, a line each.
    fn asked(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

const TOKEN: &str = "the-token";

/// A user who has set which registries to ask, by each tool's own means, with a token for each.
fn user(port: u16, tools: &Path) -> User {
    let base = format!("http://127.0.0.1:{port}");
    let own = |below: &str| tools.join(below).to_string_lossy().into_owned();
    let inherited = std::env::vars().collect::<std::collections::BTreeMap<_, _>>();
    let path = [
        own("npm/node_modules/.bin"),
        own("uv/bin"),
        own("go/bin"),
        inherited["PATH"].clone(),
        own("berry/node_modules/.bin"),
    ]
    .join(":");
    let rustup =
        inherited.get("RUSTUP_HOME").cloned().unwrap_or_else(|| format!("{}/.rustup", inherited["HOME"]));
    let user = User::new()
        .with("PATH", path)
        .with("RUSTUP_HOME", rustup)
        .with("UV_DEFAULT_INDEX", format!("{base}/pip/simple"))
        .with("YARN_REGISTRY", format!("{base}/npm"))
        .with("YARN_NPM_REGISTRY_SERVER", format!("{base}/npm"));
    user.has(
        ".npmrc",
        &format!("registry={base}/npm/\n//127.0.0.1:{port}/npm/:_authToken={TOKEN}\nfund=false\naudit=false\nupdate-notifier=false\n"),
    );
    user.has(
        ".config/pip/pip.conf",
        &format!("[global]\nindex-url = http://me:{TOKEN}@127.0.0.1:{port}/pip/simple\n"),
    );
    user.has(
        ".cargo/config.toml",
        &format!(
            "[source.crates-io]\nreplace-with = \"own\"\n[registries.own]\nindex = \"sparse+{base}/cargo/\"\ntoken = \"{TOKEN}\"\n"
        ),
    );
    user.has(
        ".config/go/env",
        &format!("GOPROXY={base}/go\nGOSUMDB=off\nGOTOOLCHAIN=local\nGOTELEMETRY=off\n"),
    );
    user
}

/// A package, an expression of it, and what that is as a text.
type Dependency = (&'static str, &'static str, &'static str);

/// What projects depend on, in the language of each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dependencies {
    pub(super) node: Dependency,
    pub(super) python: Dependency,
    pub(super) rust: Dependency,
    pub(super) go: Dependency,
}

/// What [`Registry`] has.
const LEAF: Dependencies = Dependencies {
    node: ("leaf", "require(\"leaf\")", "leaf"),
    python: ("leaf", "leaf.name", "leaf"),
    rust: ("leaf", "leaf::name()", "leaf"),
    go: LEAF_OF_GO,
};
pub(super) const LEAF_OF_GO: Dependency = ("example.test/leaf@v1.0.0", "leaf.Name()", "leaf");

/// For each package manager: a project with a dependency, what it builds, and a test.
pub(super) fn projects(tools: &Path, on: &Dependencies) -> [(&'static str, String); 9] {
    let Dependencies { node, python, rust, go } = on;
    let (of_node, said) = (node.0, node.1);
    let berry = tools.join("berry/node_modules/.bin/yarn");
    let berry = berry.display();
    let of_node = |name: &str, add: &str, build: &str, test: &str| {
        format!(
            "{}{}\n{add} {of_node}; {build} build; quietly {test}; echo tested",
            begin(name),
            of_node_itself(said, node.2)
        )
    };
    let of_berry = "printf 'nodeLinker: node-modules\\nunsafeHttpWhitelist: [127.0.0.1]\\nenableTelemetry: false\\n' > .yarnrc.yml; touch yarn.lock\n\
                    quietly";
    [
        ("npm", of_node("npm", "quietly npm install", "npm run --silent", "npm test")),
        ("pnpm", of_node("pnpm", "quietly pnpm add", "pnpm run --silent", "pnpm test")),
        ("yarn", of_node("yarn", "quietly yarn add", "yarn --silent run", "yarn test")),
        (
            "yarn of today",
            of_node(
                "berry",
                &format!("{of_berry} {berry} add"),
                &format!("{berry} run"),
                &format!("{berry} test"),
            ),
        ),
        ("pip", of_pip(python)),
        ("pip for the user", of_pip_for_the_user(python)),
        ("uv", of_uv(python)),
        ("cargo", of_cargo(rust)),
        ("go", of_go(go)),
    ]
}

fn begin(name: &str) -> String {
    format!(
        "set -e; mkdir {name}; cd {name}\nquietly() {{ \"$@\" > log 2>&1 || {{ cat log >&2; exit 1; }}; }}\n"
    )
}

fn of_node_itself(expression: &str, value: &str) -> String {
    format!(
        r#"echo 'console.log({expression})' > build.js
        echo 'require("node:test").test("x", () => require("node:assert").equal({expression}, "{value}"))' > x.test.js
        echo '{{ "name": "demo", "version": "1.0.0", "private": true, "scripts": {{ "build": "node build.js", "test": "node --test" }} }}' > package.json"#
    )
}

fn of_pip((package, expression, value): &Dependency) -> String {
    format!(
        "{}quietly python3 -m venv v; quietly v/bin/pip install {package}; v/bin/python -c 'import {package}; print({expression})'\n\
         printf 'import {package}, unittest\\nclass T(unittest.TestCase):\\n  def test(self): self.assertEqual({expression}, \"{value}\")\\n' > test_x.py\n\
         quietly v/bin/python -m unittest; echo tested",
        begin("pip")
    )
}

/// By whatever pip is the user's, which may be a shim of pyenv's. Debian's is told that it may.
fn of_pip_for_the_user((package, expression, _): &Dependency) -> String {
    format!(
        "{}export PIP_BREAK_SYSTEM_PACKAGES=1; quietly pip install --user {package}; python3 -c 'import {package}; print({expression})'\n\
         echo tested",
        begin("user")
    )
}

fn of_uv((package, expression, _): &Dependency) -> String {
    format!(
        "{}export UV_PYTHON_DOWNLOADS=never; quietly uv init --name demo --bare; quietly uv add {package}\n\
         uv run -q python -c 'import {package}; print({expression})'; echo tested",
        begin("uv")
    )
}

fn of_cargo((package, expression, value): &Dependency) -> String {
    format!(
        "{}quietly cargo init --name demo --vcs none; quietly cargo add {package}\n\
         printf 'fn main() {{ println!(\"{{}}\", {expression}) }}\\n#[test]\\nfn x() {{ assert_eq!({expression}, \"{value}\") }}\\n' > src/main.rs\n\
         cargo run -q; quietly cargo test -q; echo tested",
        begin("cargo")
    )
}

fn of_go((module, expression, _): &Dependency) -> String {
    let path = module.split('@').next().unwrap();
    format!(
        "{}quietly go mod init example.test/demo; quietly go get {module}\n\
         printf 'package main\\n\\nimport (\\n\\t\"{path}\"\\n\\t\"os\"\\n)\\n\\nfunc main() {{ os.Stdout.WriteString({expression} + \"\\\\n\") }}\\n' > main.go\n\
         go build -o demo .; ./demo; echo tested",
        begin("go")
    )
}

#[tokio::test]
async fn each_package_manager_works_within_the_walls_in_caches_of_the_workspaces_own() {
    let tools = tokio::task::spawn_blocking(tools::fetched).await.unwrap();
    let registry = Registry::start();
    let projects = projects(&tools, &LEAF);
    let commands = named(projects.iter().map(|(name, script)| (*name, script.as_str())));
    let user = user(registry.port, &tools);
    for isolation in [Isolation::None, Isolation::Worktree] {
        let ran = user.runs(&commands, (isolation, limited(vec![registry.port]))).await;
        for (name, _) in &projects {
            assert_eq!(
                (ran[*name].code, ran[*name].out.as_str()),
                (0, "leaf\ntested\n"),
                "{name}, {isolation:?}: {}",
                ran[*name].err
            );
        }
        for cache in ["npm", "pnpm", "yarn", "xdg", "uv", "cargo/registry", "go/mod", "go/build"] {
            let filled = std::fs::read_dir(user.root().join("state/w.caches").join(cache));
            assert!(filled.is_ok_and(|mut below| below.next().is_some()), "{cache}");
        }
        // Nothing of it is in the user's own places.
        for own in [".npm", ".cache", ".local", ".yarn", ".cargo/registry", "go"] {
            assert!(!user.home().join(own).exists(), "{own}");
        }
    }
    let asked = registry.asked();
    assert!(asked.lines().all(|line| line.ends_with(" -")), "nobody said who they are: {asked}");
    let fetched = asked.lines().filter(|line| line.starts_with("/cargo/dl/")).count();
    assert_eq!(fetched, 1, "trees of one workspace share what was fetched: {asked}");
    let ran = user.runs_outside(&commands, "/bin/bash").await;
    for (name, _) in &projects {
        assert_eq!(
            (ran[*name].code, ran[*name].out.as_str()),
            (0, "leaf\ntested\n"),
            "{name} outside: {}",
            ran[*name].err
        );
    }
    assert!(registry.asked().contains(TOKEN), "outside, tokens are sent");
}
