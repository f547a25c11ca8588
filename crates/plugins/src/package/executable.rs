//! The file that would run, told by its bytes.

use std::fs::File;
use std::io::{Read, Seek as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::place::Directory;
use super::{Digest, Fault, PackageError};

/// Where an executable is, and the digest of what was read from it.
///
/// Its owner can still write into it, and put another in its place. So whoever
/// runs it copies it first, compares the copy with the digest, and runs the copy.
#[derive(Debug)]
pub struct Executable {
    path: PathBuf,
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
        let path = std::path::absolute(&path).map_err(unreadable)?;
        Ok(Self { path, size, sha256: Digest::finish(hasher), kind })
    }

    /// Where it was when it was opened, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
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
