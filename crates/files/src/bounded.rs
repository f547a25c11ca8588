//! Reads of files that others may have put there: no pipe is waited for, no device is read, and no more
//! is held than is asked for.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// What becomes of a link at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It is followed: the path is the user's own.
    Followed,
    /// It is an error.
    Refused,
}

/// The text of a regular file of at most `most` bytes.
pub fn text(path: &Path, most: u64, link: Link) -> io::Result<String> {
    let mut flags = OFlags::NONBLOCK;
    if link == Link::Refused {
        flags |= OFlags::NOFOLLOW;
    }
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a file"));
    }
    at_most(&file, most)
}

fn at_most(file: &File, most: u64) -> io::Result<String> {
    let mut text = String::new();
    // It may grow while it is read.
    file.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("has more than {most} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode};

    use super::*;

    #[test]
    fn a_regular_file_of_the_allowed_size_is_read_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("device")).unwrap();
        rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for (name, most, link, is_read) in [
            ("file", 4, Link::Refused, true),
            ("file", 3, Link::Refused, false),
            ("link", 4, Link::Followed, true),
            ("link", 4, Link::Refused, false),
            ("device", 4, Link::Followed, false),
            ("device", 4, Link::Refused, false),
            ("pipe", 4, Link::Followed, false),
            ("pipe", 4, Link::Refused, false),
            (".", 4, Link::Followed, false),
            ("absent", 4, Link::Followed, false),
        ] {
            let read = text(&at(name), most, link);
            assert_eq!(read.is_ok(), is_read, "{name} {most} {link:?}: {read:?}");
        }
    }
}
