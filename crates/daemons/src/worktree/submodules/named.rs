//! What a commit calls its submodules, and where: text of the repository's, which must lead nowhere else.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// A submodule by its name, below which git keeps its repository, and its place in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: PathBuf,
    pub(super) path: PathBuf,
}

/// What git lists of `submodule.NAME.path`, by `config --null`; what is wrong with it, if it is no list of names and
/// places that are each one's own.
pub(super) fn named(listed: &[u8]) -> Result<Vec<Named>, &'static str> {
    let (mut found, mut places) = (Vec::<Named>::new(), BTreeSet::new());
    for entry in listed.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
        let (key, path) = entry.split_at(entry.iter().position(|byte| *byte == b'\n').ok_or(NO_LIST)?);
        let name =
            key.strip_prefix(b"submodule.").and_then(|key| key.strip_suffix(b".path")).ok_or(NO_LIST)?;
        let (name, path) = (below(name)?, below(&path[1..])?);
        if !places.insert(path.to_string_lossy().to_lowercase()) {
            return Err("two of them have one place");
        }
        found.push(Named { name, path });
    }
    Ok(found)
}

const NO_LIST: &str = "it is no list of names and places";

/// A way below a directory: no more than plain names, none of which git or a file system takes for something else.
fn below(text: &[u8]) -> Result<PathBuf, &'static str> {
    if text.iter().any(|byte| byte.is_ascii_control() || *byte == b'\\') {
        return Err("a name in it has a control character or a backslash");
    }
    let is_plain = |part: &[u8]| !matches!(part, b"" | b"." | b"..");
    let parts = || text.split(|byte| *byte == b'/');
    if !parts().all(is_plain) || text.starts_with(b"-") {
        return Err("a name in it leads elsewhere");
    }
    if parts().any(is_git) {
        return Err("a name in it is that of git's own files");
    }
    Ok(Path::new(OsStr::from_bytes(text)).to_owned())
}

/// Whether a file system could take a name for `.git`: whatever the case, trailing dots and spaces, streams, or short names.
fn is_git(part: &[u8]) -> bool {
    let text = String::from_utf8_lossy(part).to_lowercase();
    // What HFS+ leaves out of names.
    let seen: String = text.chars().filter(|it| !matches!(it, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')).collect();
    let head = seen.split(':').next().unwrap_or_default().trim_end_matches(['.', ' ']);
    matches!(head, ".git" | "git~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &[(&str, &str)]) -> Result<Vec<Named>, &'static str> {
        let listed: String =
            entries.iter().flat_map(|(name, path)| ["submodule.", name, ".path\n", path, "\0"]).collect();
        named(listed.as_bytes())
    }

    #[test]
    fn a_submodule_has_a_plain_name_and_a_place_of_its_own_below_the_tree() {
        assert_eq!(of(&[]), Ok(Vec::new()));
        let plain = of(&[("lib", "lib"), ("a/b.c", "deep/er/lib"), ("ä", "üb er/.gitx")]).unwrap();
        assert_eq!(plain[1], Named { name: "a/b.c".into(), path: "deep/er/lib".into() });
        let bad = [
            "",
            "/",
            "/etc",
            "..",
            "../x",
            "a/../b",
            "a/..",
            "./a",
            "a/./b",
            "a//b",
            "a/",
            "-u",
            "a\nb",
            "a\u{1b}b",
            "a\\..\\b",
            ".git",
            ".GIT",
            "a/.git/modules/b",
            "a/.GiT/x",
            ".git.",
            ".git ",
            ".git::$INDEX_ALLOCATION",
            "git~1",
            "a/GIT~1/hooks",
            ".g\u{200c}it",
            "\u{feff}.git",
        ];
        for bad in bad {
            assert!(of(&[("lib", bad)]).is_err(), "a place: {bad:?}");
            // As part of a key a line's end cannot be told from that of the key.
            assert!(of(&[(bad, "lib")]).is_err(), "a name: {bad:?}");
        }
        for same in ["lib", "LIB"] {
            assert!(of(&[("a", "lib"), ("b", same)]).is_err(), "{same}");
        }
        for none in [&b"submodule.a.path"[..], b"other.a.path\nlib\0", b"submodule.a.url\nlib\0"] {
            assert!(named(none).is_err());
        }
    }
}
