//! The file that would run: opened once, and told by its bytes.

use std::fs::File;
use std::io::{Read, Seek as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::place::Directory;
use super::{Digest, Fault, PackageError};

/// An executable, open for reading, and the digest of what was read from this very
/// file. A file put in its place later is another file.
///
/// Its own owner can still write into it. Who must rule that out as well runs the
/// [sealed copy](Self::seal).
#[derive(Debug)]
pub struct Executable {
    file: File,
    size: u64,
    sha256: Digest,
    kind: Kind,
}

/// What kind of executable it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A program of this system.
    Program,
    /// A script: another program runs it, which no digest covers.
    Script {
        /// That program, from the `#!` line.
        interpreter: PathBuf,
    },
}

impl Executable {
    pub(super) fn open(directory: &Directory, name: &str, limit: u64) -> Result<Self, PackageError> {
        let path = directory.path_of(name);
        let file = directory.file(name, limit)?;
        let unreadable = |source| PackageError::Read { path: path.clone(), source };
        let bad = |fault| PackageError::Place { path: path.clone(), fault };
        let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
        if mode & 0o6000 != 0 {
            return Err(bad(Fault::RunsAsAnother { mode }));
        }
        if mode & 0o111 == 0 {
            return Err(bad(Fault::NotExecutable));
        }
        let (mut hasher, mut head) = (Sha256::new(), Vec::new());
        let size = each_chunk(&file, limit + 1, |chunk| {
            if head.is_empty() {
                head = chunk[..chunk.len().min(HEAD)].to_vec();
            }
            hasher.update(chunk);
            Ok(())
        })
        .map_err(unreadable)?;
        if size > limit {
            return Err(bad(Fault::TooLarge { limit }));
        }
        let kind = kind(&head).ok_or_else(|| bad(Fault::Format))?;
        Ok(Self { file, size, sha256: Digest::finish(hasher), kind })
    }

    /// The SHA-256 of its bytes.
    pub fn sha256(&self) -> Digest {
        self.sha256
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// A program or a script.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }
}

impl AsFd for Executable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// How much of a file says what it is; the system itself looks at no more.
const HEAD: usize = 256;

/// What the system would make of a file that begins like this. What it would not
/// run itself is nothing: a library call may hand such a file to a shell.
fn kind(head: &[u8]) -> Option<Kind> {
    if let Some(rest) = head.strip_prefix(b"#!") {
        let line = std::str::from_utf8(rest.split(|byte| *byte == b'\n').next()?).ok()?;
        let interpreter = Path::new(line.split_ascii_whitespace().next()?);
        return interpreter.is_absolute().then(|| Kind::Script { interpreter: interpreter.to_owned() });
    }
    let program: &[&[u8]] = if cfg!(target_vendor = "apple") {
        &[b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"]
    } else {
        &[b"\x7fELF"]
    };
    program.iter().any(|magic| head.starts_with(magic)).then_some(Kind::Program)
}

/// Reads from the beginning, `limit` bytes at most, and returns how many there were.
fn each_chunk(
    mut file: &File,
    limit: u64,
    mut each: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<u64> {
    file.rewind()?;
    let mut rest = file.take(limit);
    let (mut buffer, mut size) = (vec![0; 64 * 1024], 0);
    loop {
        let read = rest.read(&mut buffer)?;
        if read == 0 {
            return Ok(size);
        }
        each(&buffer[..read])?;
        size += read as u64;
    }
}

#[cfg(target_os = "linux")]
pub use sealed::{SealError, Sealed};

#[cfg(target_os = "linux")]
mod sealed {
    use std::io::Write as _;

    use rustix::fs::{MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, memfd_create};
    use rustix::io::{Errno, FdFlags, fcntl_setfd};
    use std::os::fd::AsRawFd as _;

    use super::{AsFd, BorrowedFd, Digest, Executable, File, PathBuf, Sha256, each_chunk};
    use sha2::Digest as _;

    /// A copy of an executable in memory that nobody can change any more, not even
    /// its owner: what was compared with the grant is what runs.
    #[derive(Debug)]
    pub struct Sealed {
        file: File,
    }

    /// Why there is no sealed copy.
    #[derive(Debug, thiserror::Error)]
    pub enum SealError {
        /// The system does not make one.
        #[error("no sealed copy of the executable can be made")]
        System(#[from] std::io::Error),
        /// Somebody wrote into the file since it was opened.
        #[error("the executable was changed while it was read; it is not run")]
        Changed,
    }

    impl Executable {
        /// Makes the copy, and compares its digest with [`sha256`](Executable::sha256).
        /// It takes as much memory as the file has bytes until it is dropped and no
        /// process runs it.
        pub fn seal(&self) -> Result<Sealed, SealError> {
            let mut copy = File::from(memory()?);
            let mut hasher = Sha256::new();
            each_chunk(&self.file, self.size + 1, |chunk| {
                hasher.update(chunk);
                copy.write_all(chunk)
            })?;
            if Digest::finish(hasher) != self.sha256 {
                return Err(SealError::Changed);
            }
            fchmod(&copy, Mode::RUSR | Mode::XUSR).map_err(std::io::Error::from)?;
            let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
            fcntl_add_seals(&copy, seals).map_err(std::io::Error::from)?;
            Ok(Sealed { file: copy })
        }
    }

    /// Memory that may be executed; kernels before 6.3 do not know the flag that says so.
    fn memory() -> std::io::Result<std::os::fd::OwnedFd> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        match memfd_create("executable", flags | MemfdFlags::EXEC) {
            Err(Errno::INVAL) => Ok(memfd_create("executable", flags)?),
            made => Ok(made?),
        }
    }

    impl Sealed {
        /// The path by which this process, or a child that it forks, executes it. It
        /// means nothing in any other process.
        pub fn path(&self) -> PathBuf {
            format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
        }

        /// Keeps the copy open in programs that this process starts. A script needs
        /// it, because its interpreter opens [`path`](Self::path) again; call it where
        /// nothing else is started any more.
        pub fn keep_for_interpreter(&self) -> std::io::Result<()> {
            Ok(fcntl_setfd(&self.file, FdFlags::empty())?)
        }
    }

    impl AsFd for Sealed {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.file.as_fd()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_would_not_run_itself_is_no_executable() {
        let script = |path: &str| Some(Kind::Script { interpreter: path.into() });
        let program = if cfg!(target_vendor = "apple") { b"\xcf\xfa\xed\xfe" } else { b"\x7fELF" };
        assert_eq!(kind(program), Some(Kind::Program));
        assert_eq!(kind(b"#!/bin/sh\necho"), script("/bin/sh"));
        assert_eq!(kind(b"#! /usr/bin/env python3"), script("/usr/bin/env"));
        for head in ["", "echo hi\n", "#!", "#!\n/bin/sh", "#!bin/sh\n", "# !/bin/sh", "\n#!/bin/sh", "MZ"] {
            assert_eq!(kind(head.as_bytes()), None, "{head:?}");
        }
    }
}
