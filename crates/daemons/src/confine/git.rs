//! A workspace that is a linked worktree keeps its history in another directory, which git needs.

use std::ffi::OsStr;
use std::fs::read_to_string;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The repository that the linked worktree `workspace` belongs to; nothing for other directories.
///
/// The `.git` file is within the agent's reach, so its word alone opens no door: the repository
/// must name the worktree as its own, in a file that is below none of `writable`, and it must hold
/// that file where git keeps it.
pub(super) fn common_directory(workspace: &Path, writable: &[PathBuf]) -> Option<PathBuf> {
    let workspace = workspace.canonicalize().ok()?;
    let link = workspace.join(".git");
    if !link.symlink_metadata().ok()?.is_file() {
        return None;
    }
    let own =
        workspace.join(read_to_string(&link).ok()?.strip_prefix("gitdir:")?.trim()).canonicalize().ok()?;
    let named = own.join(read_to_string(own.join("gitdir")).ok()?.trim()).canonicalize().ok()?;
    let forgeable =
        writable.iter().filter_map(|path| path.canonicalize().ok()).any(|path| own.starts_with(path));
    if named != link || forgeable {
        return None;
    }
    let worktrees = own.parent().filter(|parent| parent.ends_with("worktrees"))?;
    worktrees.parent().filter(|common| common.join("HEAD").is_file()).map(Path::to_owned)
}

/// How far git follows repositories that borrow objects of others.
const BORROWED: u32 = 5;

/// The objects of the repository that `workspace` is in or below: where it has a `.git`, which the
/// agent does not write, and what that names; and those that it borrows of other repositories.
pub(super) fn objects(workspace: &Path) -> Vec<PathBuf> {
    own_objects(workspace).map(with_borrowed).unwrap_or_default()
}

/// `objects`, and the directories of objects that they go on in.
pub(crate) fn with_borrowed(objects: PathBuf) -> Vec<PathBuf> {
    let (mut found, mut next) = (vec![objects.clone()], vec![objects]);
    for _ in 0..BORROWED {
        let named = next.iter().flat_map(|objects| borrowed(objects)).collect::<Vec<_>>();
        next = named.into_iter().filter(|one| !found.contains(one)).collect();
        found.extend_from_slice(&next);
    }
    found
}

/// What git's `alternates` name: a directory in each line, relative ones from `objects`.
fn borrowed(objects: &Path) -> Vec<PathBuf> {
    let lines = std::fs::read(objects.join("info/alternates")).unwrap_or_default();
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    lines.filter_map(|line| objects.join(OsStr::from_bytes(line)).canonicalize().ok()).collect()
}

fn own_objects(workspace: &Path) -> Option<PathBuf> {
    let workspace = workspace.canonicalize().ok()?;
    let git = workspace.ancestors().map(|above| above.join(".git")).find(|git| git.exists())?;
    if git.is_dir() {
        return Some(git.join("objects"));
    }
    let named = read_to_string(&git).ok()?;
    let own = git.parent()?.join(named.strip_prefix("gitdir:")?.trim()).canonicalize().ok()?;
    let common = match read_to_string(own.join("commondir")) {
        Ok(common) => own.join(common.trim()).canonicalize().ok()?,
        Err(_) => own,
    };
    Some(common.join("objects"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `main/.git/worktrees/w` and the worktree `w`, as git makes them.
    fn linked(root: &Path) -> (PathBuf, PathBuf) {
        let (own, worktree) = (root.join("main/.git/worktrees/w"), root.join("w"));
        std::fs::create_dir_all(&own).unwrap();
        std::fs::create_dir_all(&worktree).unwrap();
        std::fs::write(worktree.join(".git"), format!("gitdir: {}\n", own.display())).unwrap();
        std::fs::write(own.join("gitdir"), format!("{}\n", worktree.join(".git").display())).unwrap();
        std::fs::write(root.join("main/.git/HEAD"), "ref: refs/heads/main\n").unwrap();
        (own, worktree)
    }

    #[test]
    fn a_linked_worktree_has_a_door_to_its_repository() {
        let root = tempfile::tempdir().unwrap();
        let (_, worktree) = linked(root.path());
        let repository = root.path().join("main/.git").canonicalize().unwrap();
        assert_eq!(common_directory(&worktree, std::slice::from_ref(&worktree)), Some(repository));
    }

    #[test]
    fn a_git_file_that_the_repository_does_not_confirm_opens_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (own, worktree) = linked(root.path());
        std::fs::write(own.join("gitdir"), "/elsewhere/.git\n").unwrap();
        assert_eq!(common_directory(&worktree, std::slice::from_ref(&worktree)), None);
        let fake = worktree.join(".git2/worktrees/w");
        std::fs::create_dir_all(&fake).unwrap();
        std::fs::write(worktree.join(".git2/HEAD"), "").unwrap();
        std::fs::write(fake.join("gitdir"), format!("{}\n", worktree.join(".git").display())).unwrap();
        std::fs::write(worktree.join(".git"), format!("gitdir: {}\n", fake.display())).unwrap();
        assert!(common_directory(&worktree, &[]).is_some(), "it looks right");
        assert_eq!(
            common_directory(&worktree, std::slice::from_ref(&worktree)),
            None,
            "the agent's own files confirm nothing"
        );
    }
}
