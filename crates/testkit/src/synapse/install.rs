//! `pip install` of Synapse into the cache directory, once for all processes.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::SynapseError;
use crate::cached::cached;

/// The release that is installed, as `requirements.txt` pins it.
pub const RELEASE: &str = "1.163.2";

const REQUIREMENTS: &str = include_str!("requirements.txt");

/// The oldest Python that the release runs on.
const OLDEST: (u32, u32) = (3, 10);

/// What is there when an install is whole.
const PROOF: &str = "synapse/app/homeserver.py";

/// What runs it, and where it and its dependencies are.
#[derive(Debug, Clone)]
pub(super) struct Python {
    pub(super) program: PathBuf,
    pub(super) packages: PathBuf,
}

/// Synapse, installed if the cache does not have it. Blocks.
pub(super) fn synapse() -> Result<Python, SynapseError> {
    let (program, version) = python()?;
    let digest = HEXLOWER.encode(&Sha256::digest(REQUIREMENTS)[..4]);
    let name = format!("synapse-{RELEASE}-python{version}-{digest}");
    let (packages, _) = cached(&name, PROOF, |beside| install(&program, beside))?;
    Ok(Python { program, packages })
}

/// The interpreter itself, whatever shim `python3` is, and its version.
fn python() -> Result<(PathBuf, String), SynapseError> {
    const ASK: &str = "import sys; print(sys.executable); print('%d.%d' % sys.version_info[:2])";
    let missing = |why: String| {
        SynapseError::Install(format!(
            "python3 cannot be run ({why}); install Python {}.{} or newer",
            OLDEST.0, OLDEST.1
        ))
    };
    let told = run(Path::new("python3"), &["-c", ASK]).map_err(missing)?;
    let mut lines = told.lines().map(str::to_owned);
    let (Some(program), Some(version)) = (lines.next(), lines.next()) else {
        return Err(missing(format!("it says {told:?}")));
    };
    let number = version.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    match number {
        Some(number) if number >= OLDEST => Ok((PathBuf::from(program), version)),
        _ => Err(missing(format!("it is {version}"))),
    }
}

/// Installs into `beside`. The packages lie there as they are, in no environment: those hold absolute
/// paths, which the move into the final place would break.
fn install(python: &Path, beside: &Path) -> Result<(), SynapseError> {
    let requirements = tempfile::NamedTempFile::new()?;
    std::fs::write(requirements.path(), REQUIREMENTS)?;
    let scratch = tempfile::tempdir()?;
    let pip = pip(python, scratch.path())?;
    let (requirements, beside) = (requirements.path().to_string_lossy(), beside.to_string_lossy());
    let arguments = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--only-binary=:all:",
        "--require-hashes",
        "--target",
        &beside,
        "--requirement",
        &requirements,
    ];
    let failed = |why| SynapseError::Install(format!("pip cannot install matrix-synapse {RELEASE}: {why}"));
    run(&pip, &arguments).map(drop).map_err(failed)
}

/// A Python with pip: this one, or an environment of it. Debian's has neither by default.
fn pip(python: &Path, scratch: &Path) -> Result<PathBuf, SynapseError> {
    let has_pip = |python: &Path| run(python, &["-m", "pip", "--version"]).is_ok();
    if has_pip(python) {
        return Ok(python.to_owned());
    }
    let made = run(python, &["-m", "venv", &scratch.to_string_lossy()]);
    let within = scratch.join("bin/python");
    match made {
        Ok(_) if has_pip(&within) => Ok(within),
        Ok(_) => Err(without_pip("its environments have none")),
        Err(why) => Err(without_pip(&why)),
    }
}

fn without_pip(why: &str) -> SynapseError {
    SynapseError::Install(format!(
        "python3 has no pip and makes no environment with one; \
         install pip or venv (on Debian: python3-pip, or python3-venv): {why}"
    ))
}

/// What the program printed; what it complained of, if it failed.
fn run(program: &Path, arguments: &[&str]) -> Result<String, String> {
    #[expect(clippy::disallowed_methods, reason = "python and pip install what tests run against")]
    let mut command = Command::new(program);
    let output = command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error: io::Error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.trim().to_owned())
}
