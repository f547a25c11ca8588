//! Toolchains that people keep in their home directory: what is opened of each, and what is kept out.
//!
//! What is on `PATH` runs within walls as it does outside, with what lies beside it and behind it: the parts of an
//! installation next to its `bin`, and what links lead to. Never opened is the home directory or what is above it,
//! nor a place that has stored credentials below it, nor what is reached by way of a place where an agent may write.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{SYSTEM, leads_to};
use crate::environment::Environment;
use way::Way;

/// What is known of a toolchain.
#[derive(Debug)]
pub(super) struct Toolchain {
    /// What people call it.
    #[cfg_attr(not(test), expect(dead_code, reason = "it is what a reader of the table needs"))]
    pub(super) name: &'static str,
    /// The variable that says where it is, if there is one, and where below the home directory it is otherwise.
    root: (&'static str, &'static str),
    /// What is opened of it, to be read and executed; empty for all. A star at the end stands for any further letters.
    opened: &'static [&'static str],
    /// What of it is not for an agent.
    kept_out: &'static [&'static str],
}

const fn row(
    name: &'static str,
    root: (&'static str, &'static str),
    opened: &'static [&'static str],
    kept_out: &'static [&'static str],
) -> Toolchain {
    Toolchain { name, root, opened, kept_out }
}

const ALL: &[&str] = &[""];
const NOTHING: &[&str] = &[];
const CONDA: &[&str] = &[
    "bin",
    "condabin",
    "lib",
    "include",
    "share",
    "etc",
    "envs",
    "conda-meta",
    "pkgs",
    "ssl",
    "shell",
    "sbin",
    "x86_64-conda*",
    "aarch64-conda*",
    "compiler_compat",
];

/// All of them.
pub(super) const TOOLCHAINS: &[Toolchain] = &[
    row(
        "cargo",
        ("CARGO_HOME", ".cargo"),
        &["bin", "registry", "git", "env"],
        &["credentials", "credentials.toml", "config.toml"],
    ),
    row("rustup", ("RUSTUP_HOME", ".rustup"), ALL, NOTHING),
    row("nvm", ("NVM_DIR", ".nvm"), ALL, NOTHING),
    row("fnm", ("FNM_DIR", ".local/share/fnm"), ALL, NOTHING),
    row("fnm, as it was", ("", ".fnm"), ALL, NOTHING),
    row("volta", ("VOLTA_HOME", ".volta"), ALL, NOTHING),
    row("n", ("N_PREFIX", ".n"), &["bin", "lib", "include", "share", "n"], NOTHING),
    row("nodenv", ("NODENV_ROOT", ".nodenv"), ALL, NOTHING),
    row("mise", ("MISE_DATA_DIR", ".local/share/mise"), ALL, NOTHING),
    row("asdf", ("ASDF_DATA_DIR", ".asdf"), ALL, NOTHING),
    row("asdf's versions", ("", ".tool-versions"), ALL, NOTHING),
    row("corepack", ("COREPACK_HOME", ".cache/node/corepack"), ALL, NOTHING),
    row("pnpm", ("PNPM_HOME", ".local/share/pnpm"), ALL, NOTHING),
    row("yarn", ("", ".yarn"), &["bin", "releases", "sdks"], NOTHING),
    row("bun", ("BUN_INSTALL", ".bun"), &["bin", "install"], NOTHING),
    row("deno", ("DENO_INSTALL", ".deno"), &["bin"], NOTHING),
    row("pyenv", ("PYENV_ROOT", ".pyenv"), ALL, NOTHING),
    row("uv", ("", ".local/share/uv"), &["python", "tools"], &["credentials/credentials.toml"]),
    row("pipx", ("PIPX_HOME", ".local/share/pipx"), ALL, NOTHING),
    row("pipx, as it was", ("", ".local/pipx"), ALL, NOTHING),
    row("miniconda", ("", "miniconda3"), CONDA, &[".condarc"]),
    row("anaconda", ("", "anaconda3"), CONDA, &[".condarc"]),
    row("miniforge", ("", "miniforge3"), CONDA, &[".condarc"]),
    row("mambaforge", ("", "mambaforge"), CONDA, &[".condarc"]),
    row("micromamba", ("MAMBA_ROOT_PREFIX", "micromamba"), CONDA, &[".condarc"]),
    row("conda's environments", ("", ".conda"), &["envs", "pkgs"], NOTHING),
    row("rbenv", ("RBENV_ROOT", ".rbenv"), ALL, NOTHING),
    row(
        "rvm",
        ("", ".rvm"),
        &["bin", "environments", "gems", "rubies", "scripts", "wrappers", "lib"],
        NOTHING,
    ),
    row("rubygems", ("", ".gem"), &["ruby"], &["credentials"]),
    row("rubygems, newer", ("", ".local/share/gem"), &["ruby"], &["credentials"]),
    row("go's downloads", ("GOPATH", "go"), &["bin", "pkg"], NOTHING),
    row("go's releases", ("", "sdk"), &["go*"], NOTHING),
    row("goenv", ("GOENV_ROOT", ".goenv"), ALL, NOTHING),
    row("sdkman", ("SDKMAN_DIR", ".sdkman"), &["bin", "candidates", "etc", "libexec", "src", "var"], NOTHING),
    row("jenv", ("", ".jenv"), ALL, NOTHING),
    row("JDKs", ("", ".jdks"), ALL, NOTHING),
    row("maven", ("", ".m2"), &["repository", "wrapper"], &["settings.xml", "settings-security.xml"]),
    row("gradle", ("", ".gradle"), &["caches/modules-2", "jdks", "wrapper"], &["gradle.properties"]),
    row("ghcup", ("", ".ghcup"), &["bin", "ghc", "hls", "share"], NOTHING),
    row("cabal", ("CABAL_DIR", ".cabal"), &["bin", "lib", "packages", "store"], &["config"]),
    row("stack", ("STACK_ROOT", ".stack"), &["programs", "snapshots"], &["config.yaml"]),
    row("composer", ("", ".config/composer"), &["vendor"], &["auth.json"]),
    row("composer, as it was", ("", ".composer"), &["vendor"], &["auth.json"]),
    row(
        ".NET",
        ("DOTNET_ROOT", ".dotnet"),
        &["dotnet", "host", "packs", "sdk", "sdk-manifests", "shared", "templates", "tools"],
        NOTHING,
    ),
    row("juliaup", ("", ".juliaup"), ALL, NOTHING),
    row("opam", ("OPAMROOT", ".opam"), ALL, NOTHING),
    row("elan", ("ELAN_HOME", ".elan"), ALL, NOTHING),
    row("swiftly", ("", ".local/share/swiftly"), ALL, NOTHING),
    row("programs of the user's own", ("", ".local"), &["bin", "lib"], &["share/keyrings/login.keyring"]),
];

/// Where people have what is nobody else's, below their home directory.
const CREDENTIALS: [&str; 37] = [
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker/config.json",
    ".netrc",
    ".pypirc",
    ".npmrc",
    ".yarnrc.yml",
    ".git-credentials",
    ".config/git/credentials",
    ".config/gh",
    ".config/glab-cli",
    ".config/gcloud",
    ".config/hub",
    ".config/pip/pip.conf",
    ".pip/pip.conf",
    ".condarc",
    ".bundle/config",
    ".nuget/NuGet/NuGet.Config",
    ".terraform.d/credentials.tfrc.json",
    ".vault-token",
    ".password-store",
    ".mozilla",
    ".config/google-chrome",
    ".config/chromium",
    ".bash_history",
    ".zsh_history",
    ".local/share/keyrings",
    ".local/share/opencode",
    ".config/opencode",
    ".config/mise",
    ".config/uv",
    ".config/pnpm",
    ".config/NuGet",
    ".config/rclone",
];

impl Toolchain {
    fn root(&self, environment: &Environment, home: &Path) -> PathBuf {
        let (variable, usual) = self.root;
        let said = environment.get(variable).map(PathBuf::from).filter(|said| said.is_absolute());
        said.unwrap_or_else(|| home.join(usual))
    }

    /// What there is of it.
    fn opened(&self, root: &Path) -> Vec<PathBuf> {
        let named = |name: &&str| match name.strip_suffix('*') {
            None if name.is_empty() => vec![root.to_owned()],
            None => vec![root.join(name)],
            Some(begin) => entries(root)
                .into_iter()
                .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(begin)))
                .collect(),
        };
        self.opened.iter().flat_map(named).filter(|path| path.exists()).collect()
    }
}

/// What is opened for the toolchains of a user of this environment: the directories of `PATH`, what lies beside and behind
/// them, and what is known by its place.
///
/// Agents write in the `planted` places: what was put there decides of no door.
pub(super) fn doors(environment: &Environment, planted: &[PathBuf]) -> Vec<PathBuf> {
    let (searched, way) = (environment.search_path(), Way::past(planted));
    let home = environment.get("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let Some(home) = home else {
        let found = around(&searched, None, &way);
        return searched.into_iter().chain(found).filter(|door| way.is_clear(door)).collect();
    };
    let (found, secrets) = (around(&searched, Some(&home), &way), secrets(environment, &home));
    let known: BTreeSet<_> =
        TOOLCHAINS.iter().flat_map(|it| it.opened(&it.root(environment, &home))).chain(found).collect();
    let mut doors = searched.clone();
    doors.extend(known.into_iter().filter(|door| !searched.contains(door)));
    doors.retain(|door| way.is_clear(door) && !leads_to(door, &home) && !has_below(door, &secrets));
    doors
}

/// One of these doors to which a link leads that somebody may have put in a `planted` place.
pub(super) fn led_to<'a>(
    planted: &[PathBuf],
    mut doors: impl Iterator<Item = &'a PathBuf>,
) -> Option<&'a PathBuf> {
    let way = Way::past(planted);
    doors.find(|door| !way.is_straight(door))
}

/// Those of these doors that lead past what agents may have `planted`.
pub(super) fn past(planted: &[PathBuf], doors: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let way = Way::past(planted);
    doors.filter(|door| way.is_clear(door)).collect()
}

/// Whether a place has credentials of this user's, or is within one that has.
pub(super) fn has_credentials(place: &Path, environment: &Environment, home: &Path) -> bool {
    has_below(place, &secrets(environment, home))
}

/// Where this user has credentials, as far as they are there.
fn secrets(environment: &Environment, home: &Path) -> Vec<PathBuf> {
    let usual = CREDENTIALS.iter().map(|below| home.join(below));
    // Where a variable leads elsewhere, what was left in the usual place is a secret still.
    let of_tools = TOOLCHAINS.iter().flat_map(|toolchain| {
        let roots = [toolchain.root(environment, home), home.join(toolchain.root.1)];
        roots.into_iter().flat_map(|root| toolchain.kept_out.iter().map(move |below| root.join(below)))
    });
    usual.chain(of_tools).filter_map(|path| path.canonicalize().ok()).collect()
}

fn has_below(door: &Path, secrets: &[PathBuf]) -> bool {
    let real = door.canonicalize();
    let real = real.as_deref().unwrap_or(door);
    secrets.iter().any(|secret| secret.starts_with(real) || real.starts_with(secret))
}

/// How far links are followed from one directory of programs to the next.
const HOPS: usize = 4;
/// What an installation has beside its `bin`.
const BESIDE: [&str; 19] = [
    "lib",
    "lib32",
    "lib64",
    "libexec",
    "include",
    "pkg",
    "share",
    "jmods",
    "legal",
    "conda-meta",
    "ssl",
    "boot",
    "misc",
    "api",
    "man",
    "VERSION",
    "go.env",
    "release",
    "pyvenv.cfg",
];
/// Directories that have more in them than an installation: of these only what the table opens.
const MIXED: [&str; 3] = [".local", ".config", ".cache"];

/// What lies beside and behind these directories of programs.
fn around(searched: &[PathBuf], home: Option<&Path>, way: &Way) -> BTreeSet<PathBuf> {
    let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut pending: Vec<_> = searched.iter().map(|directory| (directory.clone(), 0)).collect();
    while let Some((directory, hops)) = pending.pop() {
        let Some(real) = way.to(&directory) else { continue };
        // What leads to somebody's home is no toolchain.
        if home.is_some_and(|home| leads_to(&real, home)) || !seen.insert(real.clone()) {
            continue;
        }
        if !is_of_the_system(&real, home) {
            found.insert(real.clone());
            found.extend(beside(&real, home));
        }
        for behind in links_out_of(&real, home, way) {
            match whole(&behind) {
                Some(Behind::Programs(directory)) if hops < HOPS => pending.push((directory, hops + 1)),
                Some(Behind::Modules(modules)) => _ = found.insert(modules),
                _ => {
                    found.extend(unpacked(&behind).map(|root| parts(root, home)).unwrap_or_default());
                    found.insert(behind);
                }
            }
        }
    }
    found
}

/// What a program that a link leads to is part of.
enum Behind {
    /// A directory of programs.
    Programs(PathBuf),
    /// Packages of Node's.
    Modules(PathBuf),
}

fn whole(program: &Path) -> Option<Behind> {
    let modules = program.ancestors().filter(|above| above.ends_with("node_modules")).last();
    if let Some(modules) = modules {
        return Some(Behind::Modules(modules.to_owned()));
    }
    let parent = program.parent()?;
    let is_for_programs = ["bin", "sbin", "shims"].iter().any(|name| parent.ends_with(name));
    let is_of_a_repository = parent.parent().is_some_and(is_repository);
    (is_for_programs && !is_of_a_repository).then(|| Behind::Programs(parent.to_owned()))
}

/// The release that a program is unpacked with: a directory that is named for it and its version, such as `zig-0.15`.
fn unpacked(program: &Path) -> Option<&Path> {
    let root = program.parent()?;
    let (release, name) = (root.file_name()?.to_str()?, program.file_name()?.to_str()?);
    let version = release.strip_prefix(name)?.strip_prefix('-')?;
    version.contains(|digit: char| digit.is_ascii_digit()).then_some(root)
}

/// Whether it is somebody's project rather than an installation.
fn is_repository(root: &Path) -> bool {
    root.join(".git").symlink_metadata().is_ok()
}

/// The files outside a directory, and outside the system's, that links in it lead to.
fn links_out_of(directory: &Path, home: Option<&Path>, way: &Way) -> Vec<PathBuf> {
    // The system's own links stay within the system.
    if is_of_the_system(directory, home)
        && !["/usr/local", "/opt"].iter().any(|own| directory.starts_with(own))
    {
        return Vec::new();
    }
    let links = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let links = links.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    links
        .filter_map(|link| way.to(&link.path()))
        .filter(|to| to.is_file() && to.parent() != Some(directory) && !is_of_the_system(to, home))
        .collect()
}

/// What an installation has beside its directory of programs.
fn beside(programs: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let Some(root) = programs.parent() else { return Vec::new() };
    if !["bin", "sbin"].iter().any(|name| programs.ends_with(name)) {
        return Vec::new();
    }
    parts(root, home)
}

/// The parts of an installation in `root`; nothing where that is the user's home, a repository, or has more in it.
fn parts(root: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let is_more = MIXED.iter().any(|name| root.ends_with(name));
    if is_more
        || is_repository(root)
        || is_of_the_system(root, home)
        || home.is_some_and(|home| leads_to(root, home))
    {
        return Vec::new();
    }
    // A Go is built of its own sources.
    let is_go = ["pkg/tool", "src/runtime"].iter().any(|part| root.join(part).is_dir());
    // A Java runs with no settings but its own.
    let is_java = root.join("lib/modules").is_file() || root.join("jmods").is_dir();
    let names = BESIDE.into_iter().chain(is_go.then_some("src")).chain(is_java.then_some("conf"));
    names.map(|name| root.join(name)).filter(|path| path.exists()).collect()
}

/// Whether it is open anyway.
fn is_of_the_system(path: &Path, home: Option<&Path>) -> bool {
    SYSTEM.iter().any(|system| path.starts_with(system)) && !home.is_some_and(|home| path.starts_with(home))
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

mod way;

#[cfg(test)]
mod tests;
