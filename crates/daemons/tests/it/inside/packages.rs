//! Package managers: a project is made, a dependency added, built and tested, as it is outside.

mod tools;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{Isolation, User, limited, named};
use crate::support::program;

/// Registries on loopback; ended with the value.
struct Registry {
    child: Child,
    port: u16,
    log: tempfile::NamedTempFile,
}

impl Registry {
    fn start() -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        #[expect(clippy::disallowed_methods, reason = "registries for the test")]
        let mut command = Command::new(program("registry"));
        let mut child = command.arg(log.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { child, port: port.trim().parse().unwrap(), log }
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

/// For each package manager: a project with a dependency, what it builds, and a test.
fn projects(tools: &Path) -> [(&'static str, String); 8] {
    let node = r#"echo 'require("node:test").test("x", () => require("node:assert").equal(require("leaf"), "leaf"))' > x.test.js
        echo '{ "name": "demo", "version": "1.0.0", "private": true, "scripts": { "build": "node -p \"require(\\\"leaf\\\")\"", "test": "node --test" } }' > package.json"#;
    let begin = |name: &str| {
        format!(
            "set -e; mkdir {name}; cd {name}\nquietly() {{ \"$@\" > log 2>&1 || {{ cat log >&2; exit 1; }}; }}\n"
        )
    };
    let end = "echo tested";
    let berry = tools.join("berry/node_modules/.bin/yarn");
    let berry = berry.display();
    [
        (
            "npm",
            format!(
                "{}{node}\nquietly npm install leaf; npm run --silent build; quietly npm test; {end}",
                begin("npm")
            ),
        ),
        (
            "pnpm",
            format!(
                "{}{node}\nquietly pnpm add leaf; pnpm run --silent build; quietly pnpm test; {end}",
                begin("pnpm")
            ),
        ),
        (
            "yarn",
            format!(
                "{}{node}\nquietly yarn add leaf; yarn --silent run build; quietly yarn test; {end}",
                begin("yarn")
            ),
        ),
        (
            "yarn of today",
            format!(
                "{}{node}\nprintf 'nodeLinker: node-modules\\nunsafeHttpWhitelist: [127.0.0.1]\\nenableTelemetry: false\\n' > .yarnrc.yml; touch yarn.lock\n\
                 quietly {berry} add leaf; {berry} run build; quietly {berry} test; {end}",
                begin("berry")
            ),
        ),
        (
            "pip",
            format!(
                "{}quietly python3 -m venv v; quietly v/bin/pip install leaf; v/bin/python -c 'import leaf; print(leaf.name)'\n\
                 printf 'import leaf, unittest\\nclass T(unittest.TestCase):\\n  def test(self): self.assertEqual(leaf.name, \"leaf\")\\n' > test_x.py\n\
                 quietly v/bin/python -m unittest; {end}",
                begin("pip")
            ),
        ),
        (
            "uv",
            format!(
                "{}export UV_PYTHON_DOWNLOADS=never; quietly uv init --name demo --bare; quietly uv add leaf\n\
                 uv run -q python -c 'import leaf; print(leaf.name)'; {end}",
                begin("uv")
            ),
        ),
        (
            "cargo",
            format!(
                "{}quietly cargo init --name demo --vcs none; quietly cargo add leaf\n\
                 printf 'fn main() {{ println!(\"{{}}\", leaf::name()) }}\\n#[test]\\nfn x() {{ assert_eq!(leaf::name(), \"leaf\") }}\\n' > src/main.rs\n\
                 cargo run -q; quietly cargo test -q; {end}",
                begin("cargo")
            ),
        ),
        (
            "go",
            format!(
                "{}quietly go mod init example.test/demo; quietly go get example.test/leaf@v1.0.0\n\
                 printf 'package main\\n\\nimport (\\n\\t\"example.test/leaf\"\\n\\t\"os\"\\n)\\n\\nfunc main() {{ os.Stdout.WriteString(leaf.Name() + \"\\\\n\") }}\\n' > main.go\n\
                 go build -o demo .; ./demo; {end}",
                begin("go")
            ),
        ),
    ]
}

#[tokio::test]
async fn each_package_manager_works_within_the_walls_in_caches_of_the_workspaces_own() {
    let tools = tokio::task::spawn_blocking(tools::fetched).await.unwrap();
    let registry = Registry::start();
    let projects = projects(&tools);
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
