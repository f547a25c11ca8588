//! The shell of an agent's commands. The walls change what a command may, and never what it means: outside, opencode
//! runs commands with the user's own shell, or with bash.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use opencode_api::PASSWORD_VARIABLES;
use serde_json::Value;

use super::{Walls, servers};
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
    // What we read otherwise than opencode may name one.
    spec.config.get(SETTING).is_some()
        || of_user
            .chain(of_project)
            .filter(|path| path.is_file())
            .any(|path| std::fs::read(path).is_ok_and(|text| plain(&text).is_none_or(|plain| plain.1)))
}

/// The text of a file of settings without a shell of its own, and with no password for the servers that it has started. Settings that
/// opencode could read otherwise than it is done here are none.
pub(crate) fn without(text: &[u8]) -> Vec<u8> {
    plain(text).map_or_else(|| b"{}".to_vec(), |(settings, _)| settings.into_bytes())
}

/// What opencode puts something else in the place of, before it reads the settings: up to the next brace, whatever is in between.
const REPLACED: [&str; 2] = ["{env:", "{file:"];

/// Settings without a shell and a password, and whether they had a shell; nothing where it is not known how opencode reads them, or
/// where they would hand on the daemon's password.
fn plain(text: &[u8]) -> Option<(String, bool)> {
    let Value::Object(mut settings) = parsed(text)? else { return None };
    let before = settings.len();
    let is_replaced = |text: &str| REPLACED.iter().any(|begin| text.contains(begin));
    settings.retain(|key, _| key != SETTING && !is_replaced(key));
    let has_shell = before != settings.len();
    let mut settings = Value::Object(settings);
    let text = std::str::from_utf8(text).ok()?;
    if !servers::without_password(&mut settings) && !has_shell && !is_replaced(text) {
        return Some((text.to_owned(), false));
    }
    // Without comments, whose ends are moved as easily; and nothing is replaced beyond the text that it is in.
    let written = serde_json::to_string_pretty(&settings).ok()?;
    let within_a_text = |(at, _): (usize, &str)| {
        written
            .get(at..)
            .and_then(|rest| rest.split('}').next())
            .is_some_and(|part| !part.contains(['"', '\\', '\n']))
    };
    let all = REPLACED.iter().flat_map(|begin| written.match_indices(begin));
    let known = all.into_iter().all(within_a_text);
    let tells = PASSWORD_VARIABLES.iter().any(|name| written.contains(&format!("{{env:{name}}}")));
    (known && !tells).then_some((written, has_shell))
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
            ("{ // a comment\n \"theme\": \"x\" }", "{ // a comment\n \"theme\": \"x\" }"),
            (r#"{"\u0073hell":"x"}"#, "{}"),
            // Nothing that opencode might read a shell in.
            ("not JSON", "{}"),
            ("", "{}"),
            ("[]", "{}"),
            (r#"{"sh{env:NOPE}ell":"/bin/sh"}"#, "{}"),
            (r#"{"sh{file:/dev/null}ell":"/bin/sh"}"#, "{}"),
            (r#"{"a":"{env:","b":"}","c":"d"}"#, "{}"),
            (r#"{"a":"{env:"}"#, "{}"),
            (r#"{"a":"{file:\\","b":"} \"shell\": 1"}"#, "{}"),
            ("{ /* *{env:NOPE}/ \"shell\": \"x\", /* */ }", "{}"),
            (r#"{"agent":{"a":{"prompt":"{env:OPENCODE_SERVER_PASSWORD}"}}}"#, "{}"),
            (r#"{"mcp":{"a":{"environment":{"P":"x{env:OPENCODE_PASSWORD}"}}}}"#, "{}"),
            // What is written anew may say what was not there before.
            (
                r#"{"agent":{"a":{"prompt":"\u007benv:OPENCODE_SERVER_PASSWORD}"}},"mcp":{"x":{"command":["true"]}}}"#,
                "{}",
            ),
            (r#"{"a":"\u007benv:","b":"}","mcp":{"x":{"command":["true"]}}}"#, "{}"),
            (
                r#"{"a":"\u007bfile:/etc/hosts\u007d\n","shell":"x"}"#,
                "{\n  \"a\": \"{file:/etc/hosts}\\n\"\n}",
            ),
            (r#"{"a":"\u007benv:OPENCODE_PASSWORD}"}"#, r#"{"a":"\u007benv:OPENCODE_PASSWORD}"}"#),
            (r#"{"model":"{env:MODEL}"}"#, "{\n  \"model\": \"{env:MODEL}\"\n}"),
        ] {
            assert_eq!(String::from_utf8(without(text.as_bytes())).unwrap(), kept, "{text}");
        }
        for bytes in [&b"{\"shell\":\"/bin/sh\",\"theme\":\"\xff\"}"[..], b"\xff", b"{\"a\":1}\xfe"] {
            assert_eq!(without(bytes), b"{}", "{bytes:?}");
        }
    }

    #[test]
    fn a_shell_in_settings_that_are_read_as_found_is_known_however_it_is_written() {
        for (text, expected) in [
            (&br#"{"theme":"x"}"#[..], false),
            (&br#"{"shell":"x"}"#[..], true),
            (&b"{\"shell\":\"/bin/sh\",\"theme\":\"\xff\"}"[..], true),
            (&br#"{"sh{env:NOPE}ell":"x"}"#[..], true),
            (&br#"{"model":"{env:MODEL}"}"#[..], false),
            (&b"not JSON"[..], true),
        ] {
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join("opencode.json"), text).unwrap();
            let spec = Spec::new("opencode", directory.path(), Environment::default());
            assert_eq!(is_configured(&spec), expected, "{}", String::from_utf8_lossy(text));
        }
    }
}
