//! Copying files and whole directories by their descriptors. No link is followed; none but regular files, links and
//! directories are copied.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, fstat, futimens, mkdirat, openat, readlinkat,
    renameat, statat, symlinkat,
};
use rustix::io::Errno;

use crate::place::{self, DIRECTORY};

/// How deep a directory is copied.
const DEPTH: usize = 200;

/// How much may be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl Budget {
    fn take(&mut self, bytes: u64) -> io::Result<()> {
        let too_much = || io::Error::new(io::ErrorKind::FileTooLarge, "it is too much to be copied");
        self.files = self.files.checked_sub(1).ok_or_else(too_much)?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(too_much)?;
        Ok(())
    }
}

/// Copies the regular file `name` to where nothing is; says whether something is there, and stays.
pub(super) fn copy_file(
    (from, name): (&OwnedFd, &Path),
    to: &OwnedFd,
    budget: &mut Budget,
) -> io::Result<bool> {
    let file = openat(
        from,
        name,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let stat = fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is no file"));
    }
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    budget.take(size)?;
    // Whoever may run it, and nothing of what else a mode can say.
    let mode = (Mode::from_raw_mode(stat.st_mode) & Mode::RWXU) | Mode::RUSR | Mode::WUSR;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let copy = match openat(to, name, flags, mode) {
        Err(Errno::EXIST) => return Ok(false),
        opened => opened?,
    };
    let (mut file, mut copy) = (File::from(file).take(size), File::from(copy));
    if !cloned(&copy, file.get_ref()) {
        io::copy(&mut file, &mut copy)?;
    }
    futimens(&copy, &times(&stat))?;
    Ok(true)
}

/// Shares the bytes of a file where the file system can, until one of both is written.
#[cfg(target_os = "linux")]
pub(in crate::worktree) fn cloned(copy: &File, of: &File) -> bool {
    rustix::fs::ioctl_ficlone(copy, of).is_ok()
}

#[cfg(not(target_os = "linux"))]
pub(in crate::worktree) fn cloned(_copy: &File, _of: &File) -> bool {
    false
}

/// Copies whatever is called `name`, with all that is in it, to where nothing is. Times stay, by which build tools
/// know what is up to date.
pub(super) fn copy_all((from, name): (&OwnedFd, &Path), to: &OwnedFd, budget: &mut Budget) -> io::Result<()> {
    copy_below((from, name), to, budget, DEPTH)
}

fn copy_below(
    (from, name): (&OwnedFd, &Path),
    to: &OwnedFd,
    budget: &mut Budget,
    depth: usize,
) -> io::Result<()> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => copy_file((from, name), to, budget).map(drop),
        FileType::Symlink => {
            budget.take(0)?;
            let target = readlinkat(from, name, Vec::new())?;
            match symlinkat(&target, to, name) {
                Ok(()) | Err(Errno::EXIST) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }
        FileType::Directory if depth == 0 => Err(io::Error::other("its directories are too deep")),
        FileType::Directory => {
            budget.take(0)?;
            let inner = openat(from, name, DIRECTORY, Mode::empty())?;
            match mkdirat(to, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let copy = openat(to, name, DIRECTORY, Mode::empty())?;
            let mut failed = None;
            place::each(&inner, |name, _| {
                let copied = copy_below((&inner, name), &copy, budget, depth - 1);
                copied.map_err(|error| {
                    failed = Some(error);
                    Errno::CANCELED
                })
            })
            .map_err(|error| failed.take().unwrap_or_else(|| error.into()))?;
            Ok(futimens(&copy, &times(&stat))?)
        }
        // Pipes, sockets and devices are nobody's input.
        _ => Ok(()),
    }
}

/// Moves whatever is called `name` to where nothing is; of directories that are on both sides, what is in them. What is
/// there already stays.
pub(super) fn move_all((from, name): (&OwnedFd, &Path), to: &OwnedFd) -> io::Result<()> {
    move_below((from, name), to, DEPTH)
}

fn move_below((from, name): (&OwnedFd, &Path), to: &OwnedFd, depth: usize) -> io::Result<()> {
    if statat(to, name, AtFlags::SYMLINK_NOFOLLOW).is_err() {
        return Ok(renameat(from, name, to, name)?);
    }
    let opened = |at: &OwnedFd| openat(at, name, DIRECTORY, Mode::empty());
    let (Ok(inner), Ok(there), 1..) = (opened(from), opened(to), depth) else { return Ok(()) };
    let mut names = Vec::new();
    place::each(&inner, |name, _| {
        names.push(name.to_owned());
        Ok(())
    })?;
    names.iter().try_for_each(|name| move_below((&inner, name), &there, depth - 1))
}

fn times(stat: &rustix::fs::Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: stat.st_atime,
            tv_nsec: stat.st_atime_nsec.try_into().unwrap_or_default(),
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec.try_into().unwrap_or_default(),
        },
    }
}

/// The bytes of a regular file, if it has no more than `most`.
pub(in crate::worktree) fn bytes(from: impl AsFd, name: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = openat(
        from,
        name,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    File::from(file).take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large"));
    }
    Ok(bytes)
}
