//! What nobody but its owner may change, or read: made so, checked, and mended where that is safe.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// The bits by which others change something.
const CHANGE: u32 = 0o022;
/// The bits by which others read or change something.
const ANYTHING: u32 = 0o077;

/// Why a file or directory is not relied upon.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It is a link: what it leads to may be changed between two looks.
    #[error("is a symbolic link; name what it leads to")]
    Link,
    /// It is another user's.
    #[error("belongs to another user (uid {0}); make it yours with chown")]
    Owner(u32),
    /// Others may have changed it.
    #[error("can be changed by every user of this machine (mode {0:o}); look through it, then chmod go-w")]
    Writable(u32),
    /// The system refuses.
    #[error("cannot be looked at")]
    Io(#[from] io::Error),
}

/// Whether somebody had to be shut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It was as it should be.
    Kept,
    /// Its mode, this one, was narrowed.
    Mended(u32),
}

/// Makes a directory, with those it is in, that its owner alone may enter; narrows the mode of one that is there.
///
/// Others who could write there have left what they liked: then it is a [`Fault`].
pub fn directory(path: &Path) -> Result<State, Fault> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    mend(path, ANYTHING)
}

/// Checks what is read and decides: a configuration, or a directory of rules. Others may read it. That a
/// group could write it is mended; that everybody could is a [`Fault`], since somebody may have.
pub fn decisive(path: &Path) -> Result<State, Fault> {
    mend(path, CHANGE)
}

/// The same without mending anything: `Mended` says that it would be.
pub fn judged(path: &Path) -> Result<State, Fault> {
    judge(path, CHANGE)
}

fn mend(path: &Path, bits: u32) -> Result<State, Fault> {
    let state = judge(path, bits)?;
    if let State::Mended(mode) = state {
        let file = nofollow(OpenOptions::new().read(true)).open(path)?;
        file.set_permissions(Permissions::from_mode(mode & !bits))?;
    }
    Ok(state)
}

fn judge(path: &Path, bits: u32) -> Result<State, Fault> {
    let about = std::fs::symlink_metadata(path)?;
    if about.is_symlink() {
        return Err(Fault::Link);
    }
    let mode = about.mode() & 0o7777;
    let owner = about.uid();
    let me = rustix::process::geteuid().as_raw();
    if owner != me && owner != 0 {
        return Err(Fault::Owner(owner));
    }
    if mode & 0o002 != 0 {
        return Err(Fault::Writable(mode));
    }
    if mode & bits == 0 || owner != me {
        return Ok(State::Kept);
    }
    Ok(State::Mended(mode))
}

/// Opens a file for appending that its owner alone may read, and follows no link to it.
pub fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    let file = nofollow(&mut options).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a file"));
    }
    if about.mode() & ANYTHING != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Opens a file for reading, and follows no link to it.
pub fn read(path: &Path) -> io::Result<File> {
    nofollow(OpenOptions::new().read(true)).open(path)
}

fn nofollow(options: &mut OpenOptions) -> &mut OpenOptions {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.custom_flags(flags.bits().cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_directory_is_made_for_its_owner_alone_and_one_that_is_open_is_closed_or_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        assert_eq!(directory(&path).unwrap(), State::Kept);
        assert_eq!((mode(&path), mode(&root.path().join("a"))), (0o700, 0o700));
        for (given, state) in
            [(0o755, Some(State::Mended(0o755))), (0o770, Some(State::Mended(0o770))), (0o777, None)]
        {
            set(&path, given);
            assert_eq!(directory(&path).ok(), state, "{given:o}");
        }
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(directory(&link), Err(Fault::Link)));
    }

    #[test]
    fn what_decides_may_be_read_by_others_and_not_changed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("host.toml");
        std::fs::write(&path, "").unwrap();
        for (given, state, now) in [
            (0o600, Some(State::Kept), 0o600),
            (0o644, Some(State::Kept), 0o644),
            (0o664, Some(State::Mended(0o664)), 0o644),
            (0o666, None, 0o666),
        ] {
            set(&path, given);
            assert_eq!((decisive(&path).ok(), mode(&path)), (state, now), "{given:o}");
        }
        assert!(matches!(decisive(&root.path().join("gone")), Err(Fault::Io(_))));
    }

    #[test]
    fn a_private_file_is_opened_through_no_link_and_closed_to_others() {
        let root = tempfile::tempdir().unwrap();
        let (path, link) = (root.path().join("log"), root.path().join("link"));
        std::fs::write(&path, "").unwrap();
        set(&path, 0o666);
        append(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(append(&link).is_err() && read(&link).is_err());
        assert!(append(root.path()).is_err());
    }
}
