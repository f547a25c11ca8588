//! Where a host's files are, whatever directory it is started in, and where they must not be.

#![expect(clippy::disallowed_methods, reason = "the binary is started here")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::terminal::User;

/// A user with a workspace, a configuration and an opencode that answers for its version alone.
struct Bench {
    user: User,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { user: User::new() };
        for directory in ["app", "etc/rules", "etc/plugins", "elsewhere"] {
            std::fs::create_dir_all(bench.at(directory)).unwrap();
        }
        bench.put("etc/rules/fix.toml", include_str!("../../rules/fix.toml"));
        bench.put("opencode", "#!/bin/sh\necho 1.18.33\n");
        bench.mode("opencode", 0o755);
        bench
    }

    fn at(&self, path: &str) -> PathBuf {
        self.user.home.path().join(path)
    }

    fn put(&self, path: &str, text: &str) {
        std::fs::write(self.at(path), text).unwrap();
    }

    fn mode(&self, path: &str, mode: u32) {
        std::fs::set_permissions(self.at(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Writes a configuration with these texts replaced in it.
    fn configured(&self, file: &str, replaced: &[(&str, &str)]) {
        let text = "rules = \"rules\"\n[opencode]\npath = \"../opencode\"\n[workspaces.app]\ndirectory = \"../app\"\n\
                    [connectors.connector-opencode]\nworkspace = \"app\"\n";
        let with = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
        self.put(file, &replaced.iter().fold(text.to_owned(), with));
    }

    /// What a command says that is started in `directory` with this `--state`; none if that is empty.
    fn said(&self, directory: &str, state: &str, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_connector-host"));
        command.args(arguments).current_dir(self.at(directory)).env_clear().stdin(Stdio::null());
        command.env("HOME", self.user.home.path()).env("PATH", std::env::var_os("PATH").unwrap());
        if !state.is_empty() {
            command.args(["--state", state]);
        }
        let ended = command.output().unwrap();
        let text = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (ended.status.code().unwrap_or(-1), text.concat())
    }
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

#[test]
fn a_path_means_the_same_from_every_working_directory() {
    let bench = Bench::new();
    bench.configured("etc/host.toml", &[]);
    let absolute = bench.at("etc/host.toml").display().to_string();
    let app = bench.at("etc/../app").display().to_string();
    for (directory, config) in [
        ("", "etc/host.toml"),
        ("etc", "host.toml"),
        ("elsewhere", "../etc/host.toml"),
        ("elsewhere", "~/etc/host.toml"),
        ("app", absolute.as_str()),
    ] {
        let (_, text) = bench.said(directory, "~/state", &["doctor", "-c", config, "--json"]);
        assert!(text.contains(&app), "{directory} {config}: the workspace is the file's: {text}");
        assert!(text.contains("1.18.33 at"), "{directory} {config}: so is opencode: {text}");
        let (code, text) = bench.said(directory, "~/state", &["rules", "lint", "-c", config]);
        assert!(code == 0 || text.contains("1 rule"), "{directory} {config}: so are the rules: {text}");
    }
    // A state that would be in the workspace makes nothing there.
    let (code, text) = bench.said("app", "state", &["run", "-c", "../etc/host.toml"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("the host's state") && text.contains("--state"), "{text}");
    assert!(is_empty(&bench.at("app")), "nothing is made in the workspace");
    // A configuration of one's own is found from everywhere.
    std::fs::create_dir_all(bench.at(".config/connector-host/rules")).unwrap();
    bench.configured(
        ".config/connector-host/host.toml",
        &[("../app", "~/app"), ("../opencode", "~/opencode")],
    );
    let (_, text) = bench.said("elsewhere", "~/state", &["doctor", "--json"]);
    assert!(text.contains(&bench.at("app").display().to_string()), "{text}");
}

#[test]
fn a_host_does_not_start_on_what_its_agent_could_change() {
    let bench = Bench::new();
    for directory in ["app/rules", "app/bin", "app/plugins"] {
        std::fs::create_dir_all(bench.at(directory)).unwrap();
    }
    std::fs::copy(bench.at("opencode"), bench.at("app/bin/opencode")).unwrap();
    bench.put("app/rules/fix.toml", include_str!("../../rules/fix.toml"));
    let door = bench.at("etc").display().to_string();
    let door = format!("[opencode]\nwrite = [\"{door}\"]\n");
    for (file, replaced, words) in [
        ("app/host.toml", vec![("../app", "."), ("../opencode", "~/opencode")], "the configuration"),
        ("etc/host.toml", vec![("\"rules\"", "\"../app/rules\"")], "the directory of rules"),
        (
            "etc/host.toml",
            vec![("rules = ", "plugins_dir = \"../app/plugins\"\nrules = ")],
            "the directory of packages",
        ),
        ("etc/host.toml", vec![("../opencode", "../app/bin/opencode")], "opencode's binary"),
        ("etc/host.toml", vec![("[opencode]\n", door.as_str())], "a `write` door of app"),
        ("etc/host.toml", vec![("../app", "..")], "the host's state"),
    ] {
        bench.configured(file, &replaced);
        for command in ["run", "doctor"] {
            let (code, text) = bench.said("elsewhere", "~/state", &[command, "-c", &format!("../{file}")]);
            assert_ne!(code, 0, "{command} {replaced:?}: {text}");
            assert!(
                text.contains(words) && text.contains("where an agent may write"),
                "{command} {replaced:?}: {text}"
            );
        }
    }
}

#[test]
fn a_host_does_not_start_where_its_agent_could_be_a_client_of_its_api() {
    let bench = Bench::new();
    bench.put("elsewhere/token", "0123456789abcdef0123456789abcdef");
    bench.mode("elsewhere/token", 0o600);
    let (doors, state) =
        (bench.at("elsewhere").display().to_string(), bench.at("state").display().to_string());
    let listen = "[api]\nlisten = \"127.0.0.1:0\"\n";
    let named = format!("{listen}token_file = \"../elsewhere/token\"\n");
    for (api, opened, words) in [
        (named.as_str(), format!("read = [\"{doors}\"]\n"), "a `read` door of app"),
        (&named, format!("read = [\"{doors}/token\"]\n"), "a `read` door of app"),
        (&named, format!("write = [\"{doors}\"]\n"), "a `write` door of app"),
        (listen, format!("read = [\"{state}\"]\n"), "a `read` door of app"),
    ] {
        let with = format!("{api}[opencode]\n{opened}");
        bench.configured("etc/host.toml", &[("[opencode]\n", with.as_str())]);
        for command in ["run", "doctor"] {
            let (code, text) = bench.said("", "~/state", &[command, "-c", "etc/host.toml"]);
            assert_ne!(code, 0, "{command} {with}: {text}");
            assert!(
                text.contains("the token of the API") && text.contains(words),
                "{command} {with}: {text}"
            );
        }
    }
}

#[test]
fn a_host_does_not_start_on_what_everybody_could_have_changed() {
    let bench = Bench::new();
    bench.configured("etc/host.toml", &[("../app", "../gone")]);
    std::fs::create_dir(bench.at("state")).unwrap();
    for (path, open, words) in [
        ("etc/host.toml", 0o666, "host.toml"),
        ("etc/rules", 0o777, "rules"),
        ("etc/rules/fix.toml", 0o646, "fix.toml"),
        ("etc/plugins", 0o777, "plugins"),
        ("state", 0o777, "the host's state"),
    ] {
        let before = std::fs::metadata(bench.at(path)).unwrap().permissions().mode();
        bench.mode(path, open);
        let (code, text) = bench.said("", "~/state", &["run", "-c", "etc/host.toml"]);
        assert_eq!(code, 2, "{path}: {text}");
        assert!(text.contains(words) && text.contains("every user of this machine"), "{path}: {text}");
        bench.mode(path, before);
    }
    std::os::unix::fs::symlink(bench.at("etc/host.toml"), bench.at("linked.toml")).unwrap();
    let (code, text) = bench.said("", "~/state", &["run", "-c", "linked.toml"]);
    assert!(code == 2 && text.contains("symbolic link"), "{text}");
}
