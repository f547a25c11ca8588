//! The package that opencode installs for itself in each directory of its configuration.
//!
//! 1.18 has npm install `@opencode-ai/plugin` there and waits for it before the first turn, unless `node_modules` is
//! there and the lock file names the package (measured on 1.18.33). Plugins and tools import it, and nothing else: where
//! there are none, it is said to be there. So no first turn waits for npm, and no card tells of a registry that was
//! refused to nobody.

use std::io;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, open, statat};

use crate::place;

/// What may import it, or says itself what is installed.
const IMPORTING: [&str; 6] = ["plugin", "plugins", "tool", "tools", "package.json", "node_modules"];

const LOCK: &str = "package-lock.json";
const LOCKED: &str = r#"{"lockfileVersion":3,"packages":{"":{"dependencies":{"@opencode-ai/plugin":"*"}}}}"#;

/// Says in `directory` that the package is there, if nothing there could miss it. What is there stays as it is, and
/// no link is followed.
pub(crate) fn forgo(directory: &OwnedFd) -> io::Result<()> {
    let is_there = |name: &str| statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    if IMPORTING.into_iter().chain([LOCK]).any(is_there) {
        return Ok(());
    }
    mkdirat(directory, "node_modules", Mode::RWXU)?;
    place::write(directory, LOCK.as_ref(), LOCKED.as_bytes())
}

/// The same for a directory that no agent writes to.
pub(crate) fn forgo_at(directory: &Path) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    forgo(&open(directory, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_to_be_there_only_where_nothing_could_miss_it() {
        let made = |files: &[&str]| {
            let root = tempfile::tempdir().unwrap();
            for file in files {
                let path = root.path().join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "own").unwrap();
            }
            forgo_at(root.path()).unwrap();
            (root.path().join("node_modules").exists(), std::fs::read_to_string(root.path().join(LOCK)).ok())
        };
        for files in [&[][..], &["opencode.json", "agent/a.md"]] {
            assert_eq!(made(files), (true, Some(LOCKED.to_owned())), "{files:?}");
        }
        for files in [&["plugin/a.js"][..], &["tools/a.ts"], &["package.json"]] {
            assert_eq!(made(files), (false, None), "{files:?}");
        }
        assert_eq!(made(&["package-lock.json"]).1.as_deref(), Some("own"));
    }
}
