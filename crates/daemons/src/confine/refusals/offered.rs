//! What a person is told of closed paths that outputs named.

use std::path::{Path, PathBuf};

use crate::confine::{SETTINGS, of_host, toolchains};
use crate::environment::Environment;

/// Those on record that a person may want to open: what a command in this tree named and what is there, without what holds
/// credentials or is the host's own.
pub(crate) fn offered(
    lines: &[String],
    record: &Path,
    tree: Option<&Path>,
    environment: &Environment,
) -> Vec<String> {
    let home = environment.get("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let Some(home) = home else { return Vec::new() };
    let record = record.canonicalize().unwrap_or_else(|_| record.to_owned());
    let host = record.parent().and_then(Path::parent).map(of_host);
    let own = lines.iter().filter_map(|line| line.split_once('\t')).filter(|(name, _)| is_of(name, tree));
    own.filter_map(|(_, door)| there(door, &home))
        .filter(|(path, _)| {
            let real = path.canonicalize();
            let real = real.as_deref().unwrap_or(path);
            !real.starts_with(SETTINGS)
                && !record.starts_with(real)
                && !host.is_some_and(|host| real.starts_with(host))
                && !toolchains::has_credentials(path, environment, &home)
        })
        .map(|(_, said)| said)
        .collect()
}

fn is_of(name: &str, tree: Option<&Path>) -> bool {
    tree.map_or(name.is_empty(), |tree| tree.components().any(|part| part.as_os_str() == name))
}

/// A path that is there, and how it is written: outside the home directory, what is above it otherwise.
fn there(door: &str, home: &Path) -> Option<(PathBuf, String)> {
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    if let Some(below) = door.strip_prefix("~/") {
        return Some((home.join(below), door.to_owned())).filter(|(path, _)| is_there(path));
    }
    let path = Path::new(door).ancestors().find(|path| is_there(path))?;
    (path.parent().is_some() && !home.starts_with(path))
        .then(|| (path.to_owned(), path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_offered_what_is_there_and_holds_no_credentials_of_the_commands_in_its_own_tree() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("home");
        for file in [
            ".npm/x",
            ".ssh/id",
            ".docker/config.json",
            ".cargo/credentials.toml",
            ".local/share/own/daemons/x",
            ".local/share/own/ledger.db",
        ] {
            let file = home.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "x").unwrap();
        }
        std::os::unix::fs::symlink(home.join(".ssh"), home.join("link")).unwrap();
        let environment = Environment::from_iter([("HOME", &home)]);
        let record = home.join(".local/share/own/daemons/w.daemon-tmp/refused");
        let outside = root.path().join("made/below").display().to_string();
        let there = root.path().join("home-of-nobody").display().to_string();
        for (line, tree, told) in [
            ("\t~/.npm", None, Some("~/.npm".to_owned())),
            ("t1\t~/.npm", Some("/trees/t1/below"), Some("~/.npm".to_owned())),
            // Another task's.
            ("t2\t~/.npm", Some("/trees/t1/below"), None),
            ("t2\t~/.npm", None, None),
            ("\t~/.npm", Some("/trees/t1"), None),
            // What nobody has, whatever the output said.
            ("\t~/.made-up", None, None),
            ("\t/nowhere/at/all", None, None),
            (format!("\t{outside}").as_str(), None, None),
            (format!("\t{there}").as_str(), None, None),
            ("\t/usr/lib/made-up", None, Some("/usr/lib".to_owned())),
            // Credentials and the host's own.
            ("\t~/.ssh", None, None),
            ("\t~/link", None, None),
            ("\t~/.docker", None, None),
            ("\t~/.cargo", None, None),
            ("\t/etc/shadow", None, None),
            ("\t~/.local/share/own", None, None),
            ("\t~/.local/share/own/ledger.db", None, None),
            ("no tree", None, None),
        ] {
            let all = offered(&[line.to_owned()], &record, tree.map(Path::new), &environment);
            assert_eq!(all, Vec::from_iter(told), "{line}");
        }
    }
}
