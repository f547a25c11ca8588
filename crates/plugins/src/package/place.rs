//! Opening a package's files, and nothing that only looks like them.
//!
//! Each step is taken from an open directory and follows no link, so that no name
//! can come to mean another place in between. What is then judged is the open file
//! itself: its kind, its owner, and who may write it.

use std::fs::{File, Metadata};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use super::PackageError;

/// What is wrong with a file or directory of a package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is none.
    #[error("does not exist")]
    Missing,
    /// A symbolic link.
    #[error("is a link; a package holds the files themselves")]
    Link,
    /// Something else where a directory belongs.
    #[error("is not a directory")]
    NotADirectory,
    /// Something else where a plain file belongs.
    #[error("is not a plain file")]
    NotAFile,
    /// Somebody else's.
    #[error("belongs to user {owner}, who could change it; it must belong to user {me} or to root")]
    Owner {
        /// Whose it is.
        owner: u32,
        /// Who runs this.
        me: u32,
    },
    /// Others than the owner may write it.
    #[error("can be written by others than its owner (mode {mode:03o}); `chmod go-w` it")]
    Writable {
        /// Its permission bits.
        mode: u32,
    },
    /// Set-user-id or set-group-id.
    #[error("would run as somebody else (mode {mode:04o}); `chmod ug-s` it")]
    RunsAsAnother {
        /// Its permission bits.
        mode: u32,
    },
    /// No execute bit.
    #[error("is not executable; `chmod u+x` it")]
    NotExecutable,
    /// Neither a program nor a script.
    #[error("is neither a program of this system nor a script that begins with `#!/`")]
    Format,
    /// Longer than is read.
    #[error("has more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// Not UTF-8.
    #[error("is not UTF-8 text")]
    NotText,
}

/// An open directory that only its owner can change.
pub(super) struct Directory {
    file: File,
    path: PathBuf,
}

impl Directory {
    /// The directory of all packages. This one name is the operator's own, and may
    /// lead through links.
    pub(super) fn open(path: &Path) -> Result<Self, PackageError> {
        Self::checked(openat(CWD, path, directory_flags(), Mode::empty()), path.to_owned(), |_| None)
    }

    /// A directory in it.
    pub(super) fn directory(&self, name: &str) -> Result<Self, PackageError> {
        let opened = openat(&self.file, name, directory_flags() | OFlags::NOFOLLOW, Mode::empty());
        Self::checked(opened, self.path_of(name), |error| self.linked(name, error))
    }

    fn checked(
        opened: Result<OwnedFd, Errno>,
        path: PathBuf,
        linked: impl FnOnce(Errno) -> Option<Fault>,
    ) -> Result<Self, PackageError> {
        let descriptor = match opened {
            Ok(descriptor) => descriptor,
            Err(error) => {
                let fault = linked(error).or((error == Errno::NOTDIR).then_some(Fault::NotADirectory));
                return Err(refused(path, error, fault));
            }
        };
        let file = File::from(descriptor);
        match written_by_others(&judged(&file, &path)?) {
            Some(fault) => Err(PackageError::Place { path, fault }),
            None => Ok(Self { file, path }),
        }
    }

    /// A plain file in it, open for reading, of `limit` bytes at most when it was opened.
    pub(super) fn file(&self, name: &str, limit: u64) -> Result<File, PackageError> {
        let path = self.path_of(name);
        // A pipe in the file's place must not hold us.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let descriptor = openat(&self.file, name, flags, Mode::empty())
            .map_err(|error| refused(path.clone(), error, self.linked(name, error)))?;
        let file = File::from(descriptor);
        let metadata = judged(&file, &path)?;
        let fault = if !metadata.is_file() {
            Some(Fault::NotAFile)
        } else if metadata.len() > limit {
            Some(Fault::TooLarge { limit })
        } else {
            written_by_others(&metadata)
        };
        match fault {
            Some(fault) => Err(PackageError::Place { path, fault }),
            None => Ok(file),
        }
    }

    /// The path of what is called `name` in it, for people.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether `name` was refused for being a link or no file; systems have several errors for it.
    fn linked(&self, name: &str, error: Errno) -> Option<Fault> {
        if !matches!(error, Errno::LOOP | Errno::NOTDIR | Errno::NXIO) {
            return None;
        }
        let stat = statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => Some(Fault::Link),
            FileType::Socket => Some(Fault::NotAFile),
            _ => None,
        }
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC
}

fn refused(path: PathBuf, error: Errno, fault: Option<Fault>) -> PackageError {
    match fault.or((error == Errno::NOENT).then_some(Fault::Missing)) {
        Some(fault) => PackageError::Place { path, fault },
        None => PackageError::Read { path, source: error.into() },
    }
}

fn judged(file: &File, path: &Path) -> Result<Metadata, PackageError> {
    file.metadata().map_err(|source| PackageError::Read { path: path.to_owned(), source })
}

fn written_by_others(metadata: &Metadata) -> Option<Fault> {
    others(metadata.uid(), metadata.mode(), rustix::process::geteuid().as_raw())
}

/// Whether somebody other than `me` and root could have written it.
fn others(owner: u32, mode: u32, me: u32) -> Option<Fault> {
    if owner != me && owner != 0 {
        return Some(Fault::Owner { owner, me });
    }
    (mode & 0o022 != 0).then_some(Fault::Writable { mode: mode & 0o777 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_owners_alone() {
        for (owner, mode, me, fault) in [
            (1000, 0o755, 1000, None),
            (1000, 0o400, 1000, None),
            (0, 0o644, 1000, None),
            (0, 0o644, 0, None),
            (1001, 0o600, 1000, Some(Fault::Owner { owner: 1001, me: 1000 })),
            (1000, 0o600, 0, Some(Fault::Owner { owner: 1000, me: 0 })),
            (1000, 0o775, 1000, Some(Fault::Writable { mode: 0o775 })),
            (1000, 0o646, 1000, Some(Fault::Writable { mode: 0o646 })),
            (0, 0o1777, 1000, Some(Fault::Writable { mode: 0o777 })),
        ] {
            assert_eq!(others(owner, mode, me), fault, "{owner} {mode:o} {me}");
        }
    }
}
