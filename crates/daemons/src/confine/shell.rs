//! The shell of an agent's commands. The walls change what a command may, and never what it means: outside, opencode
//! runs commands with the user's own shell, or with bash.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Walls;
use crate::daemon::Spec;
use crate::environment::Environment;
use crate::project::Project;
use crate::providers::Providers;
use crate::user_config;

/// The shells that agents write for.
const KNOWN: [&str; 2] = ["bash", "zsh"];
const USUAL: [&str; 2] = ["/bin/bash", "/usr/bin/bash"];
/// What every system has.
const LAST: &str = "/bin/sh";
/// The setting of opencode that would take the place of the shell in its environment, from 1.14 on. Earlier ones refuse a setting that they do not know.
const SETTING: &str = "shell";
/// Where a directory has settings of opencode.
const OF_PROJECT: [&str; 4] =
    ["opencode.json", "opencode.jsonc", ".opencode/opencode.json", ".opencode/opencode.jsonc"];

/// The user's own shell if it is bash or zsh and within the walls, else bash, else `sh`.
pub(super) fn of_user(environment: &Environment, walls: &Walls) -> PathBuf {
    let named = |shell: &PathBuf| KNOWN.iter().any(|known| shell.ends_with(known));
    let own = environment.get("SHELL").map(PathBuf::from).filter(named);
    let searched = environment.search_path().into_iter().map(|directory| directory.join("bash"));
    let mut all = own.into_iter().chain(searched).chain(USUAL.map(PathBuf::from));
    all.find(|shell| is_program(shell) && walls.open(shell)).unwrap_or_else(|| LAST.into())
}

fn is_program(path: &Path) -> bool {
    path.is_absolute()
        && path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Whether something that the daemon reads names a shell of its own, which would run commands within the daemon's walls
/// alone, with its password.
pub(crate) fn is_configured(spec: &Spec) -> bool {
    let of_user = user_config::of_user(spec).into_iter();
    let of_user = of_user.flat_map(|directory| Providers::FILES.map(|name| directory.join(name)));
    let above: &[&Path] = match spec.project {
        Project::AsFound => &spec.directory.ancestors().collect::<Vec<_>>(),
        // Without it, since a later copy may have it.
        Project::Copied(_) | Project::Ignored => &[],
    };
    let of_project = above.iter().flat_map(|level| OF_PROJECT.map(|name| level.join(name)));
    spec.config.get(SETTING).is_some()
        || of_user.chain(of_project).filter(|path| path.is_file()).any(|path| {
            std::fs::read(path).is_ok_and(|text| parsed(&text).is_some_and(|it| it.get(SETTING).is_some()))
        })
}

/// The text of a file of settings without a shell of its own.
pub(crate) fn without(text: &[u8]) -> Vec<u8> {
    let Some(Value::Object(mut settings)) = parsed(text) else { return text.to_owned() };
    if settings.remove(SETTING).is_none() {
        return text.to_owned();
    }
    serde_json::to_vec_pretty(&settings).unwrap_or_else(|_| b"{}".to_vec())
}

fn parsed(text: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(text).ok()?;
    jsonc_parser::parse_to_serde_value::<Value>(text, &jsonc_parser::ParseOptions::default()).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_shell_of_commands_is_the_users_where_agents_write_for_it_else_bash_else_sh() {
        let root = tempfile::tempdir().unwrap();
        let at = |below: &str| root.path().join(below);
        for (directory, name) in [("own", "zsh"), ("own", "fish"), ("searched", "bash"), ("closed", "zsh")] {
            std::fs::create_dir_all(at(directory)).unwrap();
            let program = at(directory).join(name);
            std::fs::write(&program, "").unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::write(at("own/bash"), "no program").unwrap();
        symlink(at("closed/zsh"), at("searched/zsh")).unwrap();
        let walls = Walls { read: vec![at("own"), at("searched")], write: vec![] };
        for (shell, expected) in [
            ("own/zsh", "own/zsh"),
            ("own/fish", "searched/bash"),
            ("own/bash", "searched/bash"),
            ("own/gone/zsh", "searched/bash"),
            ("closed/zsh", "searched/bash"),
            ("searched/zsh", "searched/bash"),
        ] {
            let environment = Environment::from_iter([("SHELL", at(shell)), ("PATH", at("searched"))]);
            assert_eq!(of_user(&environment, &walls), at(expected), "{shell}");
        }
        let environment = Environment::from_iter([("PATH", at("searched")), ("SHELL", "zsh".into())]);
        assert_eq!(of_user(&environment, &walls), at("searched/bash"));
        let none = Walls::default();
        assert_eq!(of_user(&environment, &none), PathBuf::from(LAST));
    }

    #[test]
    fn settings_lose_a_shell_of_their_own_and_nothing_else() {
        for (text, kept) in [
            (r#"{"shell":"/bin/zsh"}"#, "{}"),
            ("{ // a comment\n \"shell\": \"x\" }", "{}"),
            (r#"{"permission":{"shell":"ask"}}"#, r#"{"permission":{"shell":"ask"}}"#),
            ("not JSON", "not JSON"),
            ("", ""),
        ] {
            assert_eq!(String::from_utf8(without(text.as_bytes())).unwrap(), kept, "{text}");
        }
    }
}
