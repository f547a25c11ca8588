//! What a commit has in place of a file of Git LFS: the digest of its content, and its size.

use std::fmt;

/// More than a pointer of that form takes.
pub(in crate::worktree) const LONGEST: u64 = 200;

const VERSION: &str = "version https://git-lfs.github.com/spec/v1";

/// A pointer of the one form that git-lfs writes: without extensions, which are programs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::worktree) struct Pointer {
    oid: String,
    pub(in crate::worktree) size: u64,
}

impl Pointer {
    /// Of the content with this SHA-256, in lower-case hexadecimal digits.
    pub(super) fn new(oid: String, size: u64) -> Self {
        Self { oid, size }
    }

    /// Nothing for what is no pointer.
    pub(in crate::worktree) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() as u64 <= LONGEST)?;
        let mut lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        (lines.next()? == VERSION).then_some(())?;
        let oid = lines.next()?.strip_prefix("oid sha256:")?;
        let size = lines.next()?.strip_prefix("size ")?;
        let is_digest = oid.len() == 64 && oid.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
        let is_number = size.bytes().all(|it| it.is_ascii_digit());
        (lines.next().is_none() && is_digest && is_number).then_some(())?;
        Some(Self { oid: oid.to_owned(), size: size.parse().ok()? })
    }

    /// The SHA-256 of the content.
    pub(in crate::worktree) fn oid(&self) -> &str {
        &self.oid
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{VERSION}\noid sha256:{}\nsize {}", self.oid, self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_read_as_it_is_written_and_nothing_else_is_one() {
        let oid = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
        for size in [0, 12345, u64::MAX] {
            let pointer = Pointer::new(oid.to_owned(), size);
            assert_eq!(Pointer::parse(pointer.to_string().as_bytes()), Some(pointer));
        }
        let whole = Pointer::new(oid.to_owned(), 12345).to_string();
        assert!(Pointer::parse(whole.trim_end().as_bytes()).is_some(), "the last line may be open");
        for none in [
            "",
            "\n",
            &whole.replace("/v1", "/v2"),
            &whole.replace("oid sha256:4d", "oid sha256:4D"),
            &whole.replace("oid sha256:4d", "oid sha256:../4d"),
            &whole.replace(oid, &oid[1..]),
            &whole.replace("sha256", "md5"),
            &whole.replace("12345", "-1"),
            &whole.replace("12345", "+1"),
            &whole.replace("12345", ""),
            &whole.replace("12345", "99999999999999999999"),
            &whole.replace("oid ", "ext-0-case sha256:00\noid "),
            &format!("{whole}{}", "x".repeat(9)),
            &format!("{whole}\n"),
        ] {
            assert_eq!(Pointer::parse(none.as_bytes()), None, "{none}");
        }
    }
}
