//! Clients that others wrote, installed once each, at locked versions.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::sync::OnceCell;

/// Where the tests' clients are written.
pub(crate) const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

/// The packages of a directory with a `package-lock.json`.
async fn npm(
    cell: &'static OnceCell<PathBuf>,
    how: &'static [&'static str],
    name: &'static str,
    from: &'static str,
) -> &'static Path {
    let install = move || {
        once(name, &Path::new(from).join("package-lock.json"), |beside| {
            for file in ["package.json", "package-lock.json"] {
                std::fs::copy(Path::new(from).join(file), beside.join(file)).unwrap();
            }
            let quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
            run("npm", &[how, &quiet[..]].concat(), beside);
        })
    };
    cell.get_or_init(|| async { tokio::task::spawn_blocking(install).await.unwrap() }).await
}

/// The TypeScript SDK.
pub(crate) async fn typescript() -> &'static Path {
    static PLACE: OnceCell<PathBuf> = OnceCell::const_new();
    npm(&PLACE, &["ci"], "mcp-sdk", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/client")).await
}

/// The inspector.
pub(crate) async fn inspector() -> &'static Path {
    static PLACE: OnceCell<PathBuf> = OnceCell::const_new();
    // One of its optional packages is not everywhere, and `ci` would insist on it.
    let how = &["install", "--no-save"];
    npm(&PLACE, how, "mcp-inspector", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/inspector")).await
}

/// Python with its SDK and with fastmcp.
pub(crate) async fn python() -> &'static Path {
    static PLACE: OnceCell<PathBuf> = OnceCell::const_new();
    let install = || {
        let wanted = Path::new(CLIENTS).join("requirements.txt");
        once("mcp-python", &wanted, |beside| {
            run("python3", &["-m", "venv", "."], beside);
            let quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
            let from = ["--only-binary", ":all:", "--no-deps", "-r", wanted.to_str().unwrap()];
            run("bin/python", &[&quiet[..], &from[..]].concat(), beside);
        })
    };
    PLACE.get_or_init(|| async { tokio::task::spawn_blocking(install).await.unwrap() }).await
}

/// Makes an install beside its final place, which is named by what it is made of, and renames it when it is whole.
fn once(name: &str, made_of: &Path, make: impl FnOnce(&Path)) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let place = target.join(format!("{name}-{:08x}", checksum(&std::fs::read(made_of).unwrap())));
    if place.is_dir() {
        return place;
    }
    let beside = tempfile::tempdir_in(target).unwrap();
    make(beside.path());
    // Another test process may have been faster; its install is as good.
    if let Err(error) = std::fs::rename(beside.path(), &place) {
        assert!(place.is_dir(), "{error}");
    }
    place
}

/// FNV-1a: enough to tell one lock file from the next.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[expect(clippy::disallowed_methods, reason = "installs the clients that the program is tested with")]
fn run(program: &str, arguments: &[&str], directory: &Path) {
    let program = if program.contains('/') { directory.join(program) } else { program.into() };
    let done = Command::new(&program)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    assert!(done.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&done.stderr));
}
