//! The way to what a path leads to, link by link.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// More links than this are a circle to the system too.
const LINKS: usize = 40;

/// Ways that do not lead through where somebody else may have put a link.
pub(super) struct Way {
    /// Where somebody may have.
    planted: Vec<PathBuf>,
}

impl Way {
    pub(super) fn past(planted: &[PathBuf]) -> Self {
        let real = planted.iter().filter_map(|place| place.canonicalize().ok());
        Self { planted: planted.iter().cloned().chain(real).collect() }
    }

    /// What a path leads to; nothing where that, or any link on the way, is in such a place, or is not there.
    pub(super) fn to(&self, path: &Path) -> Option<PathBuf> {
        self.followed(path, false).filter(|real| real.symlink_metadata().is_ok())
    }

    /// The same, whether or not it is there. With `links_alone`, a plain way into such a place is none of the matter.
    fn followed(&self, path: &Path, links_alone: bool) -> Option<PathBuf> {
        let (mut real, mut rest, mut links) = (PathBuf::from("/"), parts(path), 0);
        if !path.is_absolute() {
            return None;
        }
        while let Some(part) = rest.pop_front() {
            match part {
                Part::Root => real = PathBuf::from("/"),
                Part::Above => _ = real.pop(),
                Part::Named(name) => {
                    let next = real.join(name);
                    let target = std::fs::read_link(&next);
                    let decides = |place: &PathBuf| {
                        next.starts_with(place) && (!links_alone || (target.is_ok() && next != *place))
                    };
                    if self.planted.iter().any(decides) {
                        return None;
                    }
                    let Ok(target) = target else {
                        real = next;
                        continue;
                    };
                    links += 1;
                    if links > LINKS {
                        return None;
                    }
                    let mut ahead = parts(&target);
                    ahead.append(&mut rest);
                    rest = ahead;
                }
            }
        }
        Some(real)
    }

    /// Whether nobody else decides where a path leads.
    pub(super) fn is_clear(&self, path: &Path) -> bool {
        self.followed(path, false).is_some()
    }

    /// Whether nobody else put a link on the way to where a path leads, which may be in a place of theirs.
    pub(super) fn is_straight(&self, path: &Path) -> bool {
        self.followed(path, true).is_some()
    }
}

enum Part {
    Root,
    Above,
    Named(OsString),
}

fn parts(path: &Path) -> VecDeque<Part> {
    let part = |part: Component<'_>| match part {
        Component::RootDir => Some(Part::Root),
        Component::ParentDir => Some(Part::Above),
        Component::Normal(name) => Some(Part::Named(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(part).collect()
}
