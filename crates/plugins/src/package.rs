//! A connector that comes as files: `plugins/NAME/connector.toml` and
//! `plugins/NAME/executable`.
//!
//! [`Package::open`] reads both without running anything, refuses files that
//! others than their owner could have written, and keeps the executable open. The
//! one question is then [`Package::verdict`]: does what the package asks for agree
//! with what it was [granted](PackageGrant)? A grant pins both files by their
//! SHA-256, so it holds for these bytes and no others: the manifest too, because
//! its `read_only` decides what passes the gate. Only [`Package::admit`] makes a
//! [`Granted`], and only that is for running.
//!
//! What it never does: run something, write something, decide what is granted, or
//! read a file of a package other than these two.

mod digest;
mod executable;
mod grant;
mod name;
mod place;
mod signature;

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use connector_contract::{Manifest, ManifestError};

pub use digest::{Digest, DigestError};
pub use executable::{Executable, Kind};
pub use grant::{Granted, PackageGrant, Refusal, Refused, Verdict, Warning};
pub use name::{NameError, PluginName};
pub use place::Fault;
pub use signature::{KeyError, PublicKey, SignatureFault, Trust};

use place::Directory;
use signature::Signed;

/// The manifest's file name.
pub const MANIFEST: &str = "connector.toml";
/// The executable's file name.
pub const EXECUTABLE: &str = "executable";

/// The longest manifest that is read, in bytes.
const MANIFEST_LIMIT: u64 = 256 * 1024;
/// The largest executable that is read, in bytes.
const EXECUTABLE_LIMIT: u64 = 256 * 1024 * 1024;

/// A package as it was when it was opened.
#[derive(Debug)]
pub struct Package {
    name: PluginName,
    manifest: Manifest,
    manifest_sha256: Digest,
    executable: Executable,
    signature: Result<Option<Signed>, SignatureFault>,
}

/// What was found below the directory of all packages.
#[derive(Debug)]
pub struct Found {
    /// What it is called there.
    pub name: OsString,
    /// The package, or why it is none.
    pub package: Result<Package, PackageError>,
}

/// Why a directory is not a package that could be granted anything.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The directory's name is not a connector's.
    #[error("`{}` is not a package's name", .name.display())]
    Name {
        /// What it is called.
        name: OsString,
        /// Why not.
        #[source]
        source: NameError,
    },
    /// A file or directory is missing, or not safe to use.
    #[error("{} {fault}", .path.display())]
    Place {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The system refuses to read it.
    #[error("{} cannot be read", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The manifest is none.
    #[error("{} cannot be used", .path.display())]
    Manifest {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// The manifest is that of another connector.
    #[error("the directory is `{directory}`, and its manifest says `{manifest}`; they must be the same")]
    OtherName {
        /// What the directory is called.
        directory: PluginName,
        /// What the manifest says.
        manifest: String,
    },
}

impl Package {
    /// Opens the package `name` below `plugins`, the directory of all packages.
    ///
    /// The manifest is read first, then the executable. Links are not followed
    /// below `plugins`. The directories and both files must belong to whoever runs
    /// this or to root, and nobody else may be able to write them.
    pub fn open(plugins: &Path, name: &PluginName) -> Result<Self, PackageError> {
        let directory = Directory::open(plugins)?.directory(name.as_str())?;
        let path = directory.path_of(MANIFEST);
        let bytes = read(directory.file(MANIFEST, MANIFEST_LIMIT)?, &path)?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| PackageError::Place { path: path.clone(), fault: Fault::NotText })?;
        let manifest = Manifest::parse(text).map_err(|source| PackageError::Manifest { path, source })?;
        if manifest.name != name.as_str() {
            return Err(PackageError::OtherName { directory: name.clone(), manifest: manifest.name });
        }
        Ok(Self {
            signature: Signed::read(&bytes, &manifest),
            manifest_sha256: Digest::of(&bytes),
            executable: Executable::open(&directory, EXECUTABLE, EXECUTABLE_LIMIT)?,
            name: name.clone(),
            manifest,
        })
    }

    /// Every directory and link below `plugins`, opened, by name. None when
    /// `plugins` does not exist. Plain files and what begins with a dot are passed
    /// over: nothing ever runs them.
    pub fn all(plugins: &Path) -> Result<Vec<Found>, PackageError> {
        let unreadable = |source| PackageError::Read { path: plugins.to_owned(), source };
        let entries = match std::fs::read_dir(plugins) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(unreadable)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(unreadable)?;
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if !hidden && !entry.file_type().map_err(unreadable)?.is_file() {
                names.push(entry.file_name());
            }
        }
        names.sort();
        let opened = |name: OsString| {
            let package = PluginName::of(&name)
                .map_err(|source| PackageError::Name { name: name.clone(), source })
                .and_then(|name| Self::open(plugins, &name));
            Found { name, package }
        };
        Ok(names.into_iter().map(opened).collect())
    }

    /// What it is called: its directory and its manifest agree.
    pub fn name(&self) -> &PluginName {
        &self.name
    }

    /// What it says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The SHA-256 of the manifest's bytes.
    pub fn manifest_sha256(&self) -> Digest {
        self.manifest_sha256
    }

    /// The executable, open.
    pub fn executable(&self) -> &Executable {
        &self.executable
    }
}

fn read(file: std::fs::File, path: &Path) -> Result<Vec<u8>, PackageError> {
    let mut bytes = Vec::new();
    // It may have grown since its size was looked at.
    file.take(MANIFEST_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| PackageError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > MANIFEST_LIMIT {
        let fault = Fault::TooLarge { limit: MANIFEST_LIMIT };
        return Err(PackageError::Place { path: path.to_owned(), fault });
    }
    Ok(bytes)
}
