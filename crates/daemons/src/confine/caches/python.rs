//! What `pip install --user` and pyenv need where the user's own packages and shims can only be read.

use std::io;
use std::path::Path;

use crate::environment::Environment;
use crate::place::{self, Held};

/// Below the caches, what pip installs for the user: it comes before an interpreter's own packages, so nothing of it
/// outlives the daemon whose commands put it there.
pub(super) const USER_BASE: &str = "python";
/// Where that has modules and programs.
pub(super) const INSTALLED: [&str; 2] = ["python/lib", "python/bin"];
/// Where pyenv finds the hook, below the settings.
pub(super) const HOOKS: &str = "pyenv.d";

/// A hook of `pyenv exec` that comes before pyenv's own, which makes new shims after `pip install` and fails with it where that is
/// not possible. It ends as `pyenv exec` does.
const HOOK: &str = r#"if [[ ${PYENV_COMMAND##*/} =~ ^pip[0-9.]*$ || "$*" == *" -m pip "* ]]; then
  shift
  if [[ $PYENV_BIN_PATH == "$PYENV_ROOT"/* ]]; then
    export PATH="$PYENV_BIN_PATH:$PATH"
  fi
  exec "$PYENV_COMMAND_PATH" "$@"
fi
"#;

/// Writes the hook.
pub(super) fn hook(settings: &Held) -> io::Result<()> {
    let place = settings.make_over(&Path::new(HOOKS).join("exec"))?;
    place::write(&place, Path::new("within-walls.bash"), HOOK.as_bytes())
}

/// Has each version of Python find the packages that the user has of it, behind those that commands install.
pub(super) fn seed(environment: &Environment, caches: &Held) -> io::Result<()> {
    let Some(lib) = environment.get("HOME").map(|home| Path::new(home).join(".local/lib")) else {
        return Ok(());
    };
    for version in std::fs::read_dir(&lib).into_iter().flatten().flatten() {
        let packages = version.path().join("site-packages");
        let path = packages.to_string_lossy();
        let is_python = version.file_name().as_encoded_bytes().starts_with(b"python");
        // A line is a path there, or a program.
        if is_python && packages.is_dir() && !path.contains(char::is_control) {
            let below = Path::new(USER_BASE).join("lib").join(version.file_name()).join("site-packages");
            let to = caches.make_over(&below)?;
            place::write(&to, Path::new("of-the-user.pth"), format!("{path}\n").as_bytes())?;
        }
    }
    Ok(())
}
