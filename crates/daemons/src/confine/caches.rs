//! Caches of package managers that belong to a workspace: commands write there, and never into the user's own.
//!
//! One directory for a workspace, shared between the working trees of its tasks and kept from one daemon to the next. Programs
//! find it by their usual variables. What they are configured with by the user stays so: [settings](super::settings)
//! are copied without what is secret in them. Whatever is in the caches was put there by commands of the same
//! workspace, within the same walls, which alone run it; settings among it that have programs run are taken away at each start.

mod python;

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, Mode, OFlags, symlinkat};

use super::settings;
use crate::environment::Environment;
use crate::place::{self, Held};

/// The caches and what is kept like one, and where they are below the directory.
const VARIABLES: [(&str, &str); 30] = [
    ("XDG_CACHE_HOME", "xdg"),
    ("npm_config_cache", "npm"),
    ("YARN_GLOBAL_FOLDER", "yarn"),
    ("PNPM_HOME", "pnpm"),
    ("COREPACK_HOME", "corepack"),
    ("BUN_INSTALL_CACHE_DIR", "bun"),
    ("DENO_DIR", "deno"),
    ("PIP_CACHE_DIR", "pip"),
    ("UV_CACHE_DIR", "uv"),
    ("UV_TOOL_DIR", "uv-tools"),
    ("UV_TOOL_BIN_DIR", "uv-bin"),
    ("PYTHONUSERBASE", python::USER_BASE),
    ("PIPX_HOME", "pipx"),
    ("PIPX_BIN_DIR", "pipx/bin"),
    ("PIPX_MAN_DIR", "pipx/man"),
    ("WORKON_HOME", "virtualenvs"),
    ("CONDA_PKGS_DIRS", "conda"),
    ("CARGO_HOME", CARGO),
    ("GOMODCACHE", "go/mod"),
    ("GOCACHE", "go/build"),
    ("GOBIN", "go/bin"),
    ("GRADLE_USER_HOME", "gradle"),
    ("BUNDLE_USER_HOME", "bundle"),
    ("GEM_HOME", "gems"),
    ("COMPOSER_HOME", "composer"),
    ("COMPOSER_CACHE_DIR", "composer/cache"),
    ("NUGET_PACKAGES", "nuget/packages"),
    ("NUGET_HTTP_CACHE_PATH", "nuget/http"),
    ("DOTNET_CLI_HOME", "dotnet"),
    ("CCACHE_DIR", "ccache"),
];
/// Settings below the caches by which a program runs something else, and which are nobody's but a command's.
const SETTINGS: [&str; 22] = [
    python::INSTALLED[0],
    python::INSTALLED[1],
    "ccache/ccache.conf",
    "cargo/config",
    "cargo/config.toml",
    "cargo/credentials",
    "cargo/credentials.toml",
    "gradle/init.d",
    "gradle/init.gradle",
    "gradle/init.gradle.kts",
    "gradle/gradle.properties",
    "bundle/config",
    "bundle/plugin",
    "composer/config.json",
    "composer/auth.json",
    "composer/composer.json",
    "composer/composer.lock",
    "composer/vendor",
    "dotnet/.nuget/NuGet",
    "dotnet/.nuget/plugins",
    "yarn/.yarnrc.yml",
    "pnpm/rc",
];
const CARGO: &str = "cargo";
const MAVEN: &str = "maven";
/// What a cache on another mount than the workspace makes programs say otherwise.
const SWITCHES: [(&str, &str); 2] = [("UV_LINK_MODE", "copy"), ("DOTNET_CLI_TELEMETRY_OPTOUT", "1")];
/// Where programs land that commands install. They come last on `PATH`.
const PROGRAMS: [&str; 7] =
    ["cargo/bin", "go/bin", "gems/bin", "uv-bin", "pnpm", "pipx/bin", python::INSTALLED[1]];

/// The caches of one workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caches {
    /// Where they are.
    pub(super) place: PathBuf,
    /// Beside them, made anew at each start and only read within: the user's settings of package managers.
    pub(super) settings: PathBuf,
    environment: Environment,
}

impl Caches {
    /// Beside the private directory `tmp`.
    pub(super) fn beside(tmp: &Path, environment: &Environment) -> Self {
        Self {
            place: tmp.with_extension("caches"),
            settings: tmp.with_extension("settings"),
            environment: environment.clone(),
        }
    }

    /// What commands have in their environment.
    pub(super) fn variables(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let own = VARIABLES.iter().map(|(name, below)| ((*name).to_owned(), text(&self.place.join(below))));
        let switches = SWITCHES.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = settings::all(&self.environment).into_iter().filter_map(|it| {
            Some((it.variable?.to_owned(), format!("{}{}", it.before, text(&self.settings.join(it.name)))))
        });
        let hooks = ("PYENV_HOOK_PATH".to_owned(), text(&self.settings.join(python::HOOKS)));
        own.chain(switches).chain(settings).chain([hooks]).collect()
    }

    /// The options of Java's tools, which know neither a variable for their cache nor one for a proxy.
    pub(super) fn java_options(&self, proxy: Option<u16>) -> Vec<(&'static str, String)> {
        let proxy = proxy.map_or_else(String::new, |port| {
            ["http", "https"]
                .map(|scheme| format!(" -D{scheme}.proxyHost=127.0.0.1 -D{scheme}.proxyPort={port}"))
                .concat()
        });
        let place = self.place.join(MAVEN);
        // Options are words.
        let cache = Some(place.to_string_lossy()).filter(|place| !place.contains(char::is_whitespace));
        let own = cache.map_or_else(String::new, |place| format!(" -Dmaven.repo.local={place}"));
        let home = self.environment.get("HOME").map(|home| Path::new(home).join(".m2/repository"));
        let home = home.filter(|home| home.is_dir()).map(|home| home.to_string_lossy().into_owned());
        let behind = home.filter(|home| !home.contains(char::is_whitespace));
        let behind = behind.map_or_else(String::new, |home| format!(" -Dmaven.repo.local.tail={home}"));
        vec![("MAVEN_OPTS", format!("{own}{behind}{proxy}")), ("GRADLE_OPTS", proxy)]
    }

    /// The directories of programs.
    pub(super) fn programs(&self) -> Vec<PathBuf> {
        PROGRAMS.iter().map(|below| self.place.join(below)).collect()
    }

    /// Makes what is missing of them, and the settings anew. Commands of an earlier daemon wrote in the caches: no link there is
    /// followed.
    pub(super) fn prepare(&self) -> io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&self.place)?;
        super::renewed(&self.settings, &builder)?;
        let settings = Held::over(&self.settings)?;
        python::hook(&settings)?;
        let settings = settings.below(Path::new(""))?;
        for one in settings::all(&self.environment).iter().filter(|one| one.variable.is_some()) {
            place::write(&settings, Path::new(one.name), one.text.as_bytes())?;
        }
        self.fill()
    }

    /// Makes what is missing within them, as at a start: a daemon whose walls are around them may be running.
    pub(super) fn fill(&self) -> io::Result<()> {
        let caches = Held::over(&self.place)?;
        for (_, below) in VARIABLES {
            caches.make_over(Path::new(below))?;
        }
        caches.make_over(Path::new(MAVEN))?;
        for left in SETTINGS {
            caches.clear(Path::new(left))?;
        }
        for one in settings::all(&self.environment).iter().filter(|one| one.variable.is_none()) {
            let place = caches.make_over(Path::new(one.below))?;
            place::write(&place, Path::new(one.name), one.text.as_bytes())?;
        }
        python::seed(&self.environment, &caches)?;
        self.seed_cargo(&caches)
    }

    /// Has cargo find what the user has of crates already, without the way to change it.
    fn seed_cargo(&self, caches: &Held) -> io::Result<()> {
        let home = self.environment.get("HOME").map(|home| Path::new(home).join(".cargo"));
        let Some(user) = self.environment.get("CARGO_HOME").map(PathBuf::from).or(home) else {
            return Ok(());
        };
        for (kind, depth) in [("registry/cache", 1), ("registry/src", 1), ("registry/index", 6)] {
            let to = caches.make_over(&Path::new(CARGO).join(kind))?;
            // What cannot be read is not there.
            let _ = mirror(&user.join(kind), &to, depth, kind.ends_with("src"));
        }
        Ok(())
    }
}

/// Makes links in `to` to what is in `from` and missing there: directories are made down to `depth` and are links below
/// it. What a program would change in place is copied.
fn mirror(from: &Path, to: &OwnedFd, depth: usize, directories: bool) -> io::Result<()> {
    let there: std::collections::BTreeSet<_> = Dir::read_from(to)?
        .map(|entry| entry.map(|entry| entry.file_name().to_bytes().to_owned()))
        .collect::<Result<_, _>>()?;
    for entry in std::fs::read_dir(from)?.flatten() {
        let (name, Ok(kind)) = (entry.file_name(), entry.file_type()) else { continue };
        let known = there.contains(name.as_encoded_bytes());
        if kind.is_dir() && depth > 0 {
            let below = made(to, &name)?;
            mirror(&entry.path(), &below, depth - 1, directories)?;
        } else if name == "config.json" && kind.is_file() {
            place::write(to, Path::new(&name), &std::fs::read(entry.path())?)?;
        } else if !known && !is_of_work(&name) && (kind.is_file() || (kind.is_dir() && directories)) {
            symlinkat(entry.path(), to, &name)?;
        }
    }
    Ok(())
}

/// Locks, and what is being written.
fn is_of_work(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with(".cargo-index-lock") || name.starts_with(".last-updated") || name.ends_with(".lock")
}

fn made(above: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::mkdirat(above, name, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(rustix::fs::openat(above, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests;
