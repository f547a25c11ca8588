//! A workspace that is a linked worktree keeps its history in another directory, which git needs.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::place;

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
    let own = workspace.join(text(&link)?.strip_prefix("gitdir:")?.trim()).canonicalize().ok()?;
    let named = own.join(text(&own.join("gitdir"))?.trim()).canonicalize().ok()?;
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

/// The objects of the repository that `workspace` is in or below, and those that it borrows of other
/// repositories; with `submodules` also those of its submodules, which trees of tasks have then.
pub(super) fn objects(workspace: &Path, submodules: bool) -> Vec<PathBuf> {
    let Ok(found) = located(workspace) else { return Vec::new() };
    let mut objects = with_borrowed(&found.common);
    for repository in [&found.common, &found.own].into_iter().filter(|_| submodules) {
        for inner in objects_of_submodules(repository) {
            if !objects.contains(&inner) {
                objects.push(inner);
            }
        }
    }
    objects
}

/// How many directories deep the repositories of submodules are looked for, and in how many directories.
const SUBMODULES: (usize, usize) = (12, 4_000);

/// The objects of the repositories below the `modules` of one, which are named as submodules are: `a/b` is in `a`. No
/// link is on the way there: it would open what somebody else has.
fn objects_of_submodules(repository: &Path) -> Vec<PathBuf> {
    let (deepest, mut budget) = SUBMODULES;
    let (mut found, mut next) = (Vec::new(), vec![(PathBuf::from("modules"), 0)]);
    while let Some((directory, depth)) = next.pop() {
        let Ok(here) = place::opened(repository, &directory) else { continue };
        let mut names = Vec::new();
        // What cannot be listed whole is taken as far as it was.
        let _ = place::each(&here, |name, is_directory| {
            if is_directory {
                budget = budget.checked_sub(1).ok_or(Errno::MFILE)?;
                names.push(name.to_owned());
            }
            Ok(())
        });
        for inner in names.into_iter().map(|name| directory.join(name)) {
            let objects = inner.join("objects");
            let is_repository =
                place::opened(repository, &objects).is_ok() && are_objects(&repository.join(&objects));
            let below = if is_repository { inner.join("modules") } else { inner };
            if is_repository {
                found.push(repository.join(objects));
            }
            if depth < deepest {
                next.push((below, depth + 1));
            }
        }
    }
    found
}

/// The repository that a directory is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located {
    /// The root of its working tree.
    pub(crate) top: PathBuf,
    /// Where the settings of this working tree are.
    pub(crate) own: PathBuf,
    /// Where the repository's objects and references are.
    pub(crate) common: PathBuf,
}

/// Why a directory is in no repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Misplaced {
    /// There is none.
    None,
    /// It is itself one that has no working tree.
    Bare,
    /// What is called `.git` leads here, and nothing here confirms it.
    Elsewhere(PathBuf),
}

/// The repository around `workspace`, as its files say and not as its settings do: those may be an
/// agent's, who must not have the host read or write another repository. A `.git` that leads out of
/// the working tree counts if what it leads to names this working tree in return.
pub(crate) fn located(workspace: &Path) -> Result<Located, Misplaced> {
    let workspace = workspace.canonicalize().map_err(|_| Misplaced::None)?;
    let is_repository = |path: &Path| ["HEAD", "objects", "refs"].iter().all(|name| path.join(name).exists());
    let above =
        workspace.ancestors().find_map(|top| Some((top.to_owned(), top.join(".git").canonicalize().ok()?)));
    if is_repository(&workspace) && above.as_ref().is_none_or(|(top, _)| *top != workspace) {
        return Err(Misplaced::Bare);
    }
    let (top, git) = above.ok_or(Misplaced::None)?;
    let own = if git.is_dir() { git } else { named_in(&git).ok_or(Misplaced::None)? };
    let common = match text(&own.join("commondir")) {
        Some(common) => own.join(common.trim()).canonicalize().map_err(|_| Misplaced::None)?,
        None => own.clone(),
    };
    let inside = own.starts_with(&top) && common.starts_with(&top);
    if inside || is_worktree_of(&common, &own, &top) || is_submodule(&common, &own, &top) {
        return Ok(Located { top, own, common });
    }
    Err(Misplaced::Elsewhere(if own.starts_with(&top) { common } else { own }))
}

/// What a file called `.git` names.
fn named_in(file: &Path) -> Option<PathBuf> {
    file.parent()?.join(text(file)?.strip_prefix("gitdir:")?.trim()).canonicalize().ok()
}

/// Whether `common` has the linked worktree `top`, whose settings are in `own`.
fn is_worktree_of(common: &Path, own: &Path, top: &Path) -> bool {
    let named = text(&own.join("gitdir")).and_then(|named| own.join(named.trim()).canonicalize().ok());
    let place = own.parent().filter(|place| place.ends_with("worktrees")).and_then(Path::parent);
    !own.starts_with(top)
        && place == Some(common)
        && common.join("HEAD").is_file()
        && named.is_some_and(|named| named.parent() == Some(top))
}

/// Whether `own` is a repository that says of itself that its working tree is `top`, as those of submodules do.
fn is_submodule(common: &Path, own: &Path, top: &Path) -> bool {
    let settings = text(&own.join("config")).unwrap_or_default();
    let core = settings.lines().map(str::trim).skip_while(|line| *line != "[core]").skip(1);
    let mut core = core.take_while(|line| !line.starts_with('['));
    let named = core.find_map(|line| line.strip_prefix("worktree")?.trim_start().strip_prefix('='));
    let named = named.and_then(|named| own.join(named.trim()).canonicalize().ok());
    own == common && !own.starts_with(top) && named.as_deref() == Some(top)
}

/// The objects of the repository in `common`, and the directories of objects that they go on in.
pub(crate) fn with_borrowed(common: &Path) -> Vec<PathBuf> {
    let Some(objects) = common.join("objects").canonicalize().ok().filter(|path| are_objects(path)) else {
        return Vec::new();
    };
    let (mut found, mut next) = (vec![objects.clone()], vec![objects]);
    for _ in 0..BORROWED {
        let named = next.iter().flat_map(|objects| borrowed(objects)).collect::<Vec<_>>();
        next = named.into_iter().filter(|one| !found.contains(one)).collect();
        found.extend_from_slice(&next);
    }
    found
}

/// What git's `alternates` name: a directory in each line, relative ones from `objects`. An agent may have
/// written it, and what it names is opened: only the objects of a repository count.
fn borrowed(objects: &Path) -> Vec<PathBuf> {
    let lines = bytes(&objects.join("info/alternates")).unwrap_or_default();
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    let named = lines.filter_map(|line| objects.join(OsStr::from_bytes(line)).canonicalize().ok());
    named.filter(|path| are_objects(path)).collect()
}

fn are_objects(path: &Path) -> bool {
    path.ends_with("objects") && path.is_dir() && path.with_file_name("HEAD").is_file()
}

/// The most that is read of one of git's small files.
const SMALL: u64 = 1 << 20;

/// What a file holds. One that is none, such as a pipe that an agent put there, is not waited for.
fn bytes(path: &Path) -> Option<Vec<u8>> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).ok()?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let mut bytes = Vec::new();
    file.metadata().ok()?.is_file().then_some(())?;
    file.take(SMALL).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn text(path: &Path) -> Option<String> {
    String::from_utf8(bytes(path)?).ok()
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

    /// A repository as git makes it, as far as it is looked at.
    fn made(git: &Path) {
        std::fs::create_dir_all(git.join("objects/info")).unwrap();
        std::fs::create_dir_all(git.join("refs")).unwrap();
        std::fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    }

    #[test]
    fn a_directory_is_in_the_repository_that_names_it_and_in_no_other() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let at = |path: &str| root.join(path);
        for git in ["plain/.git", "other/.git", "bare.git", "in/.bare", "super/.git/modules/sub", "apart.git"]
        {
            made(&at(git));
        }
        let (own, worktree) = linked(&root);
        std::fs::write(own.join("commondir"), "../..\n").unwrap();
        for below in ["plain/below", "in", "super/sub", "apart", "liar", "common/.git", "none"] {
            std::fs::create_dir_all(at(below)).unwrap();
        }
        std::fs::write(at("in/.git"), "gitdir: ./.bare\n").unwrap();
        std::fs::write(at("super/sub/.git"), "gitdir: ../.git/modules/sub\n").unwrap();
        std::fs::write(at("super/.git/modules/sub/config"), "[core]\n\tworktree = ../../../sub\n").unwrap();
        std::fs::write(at("apart/.git"), "gitdir: ../apart.git\n").unwrap();
        std::fs::write(at("liar/.git"), "gitdir: ../other/.git\n").unwrap();
        std::fs::write(at("common/.git/commondir"), "../../other/.git\n").unwrap();
        std::fs::create_dir(at("link")).unwrap();
        std::os::unix::fs::symlink(at("other/.git"), at("link/.git")).unwrap();
        let common = |path: &Path| located(path).map(|found| found.common);
        for (place, expected) in [
            ("plain", Ok(at("plain/.git"))),
            ("plain/below", Ok(at("plain/.git"))),
            ("in", Ok(at("in/.bare"))),
            ("super/sub", Ok(at("super/.git/modules/sub"))),
            ("bare.git", Err(Misplaced::Bare)),
            ("apart", Err(Misplaced::Elsewhere(at("apart.git")))),
            ("liar", Err(Misplaced::Elsewhere(at("other/.git")))),
            ("common", Err(Misplaced::Elsewhere(at("other/.git")))),
            ("link", Err(Misplaced::Elsewhere(at("other/.git")))),
            ("none", Err(Misplaced::None)),
            ("missing", Err(Misplaced::None)),
        ] {
            assert_eq!(common(&at(place)), expected, "{place}");
        }
        assert_eq!(common(&worktree), Ok(at("main/.git")));
    }

    #[test]
    fn the_objects_of_submodules_are_open_wherever_git_keeps_them_and_no_link_is_followed() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let modules = root.join("app/.git/modules");
        made(&root.join("app/.git"));
        made(&root.join("elsewhere"));
        let names = ["lib", "lib/modules/inner", "a/b"];
        for name in names {
            made(&modules.join(name));
        }
        std::os::unix::fs::symlink(root.join("elsewhere"), modules.join("linked")).unwrap();
        std::fs::create_dir_all(modules.join("none/objects")).unwrap();
        let found = |submodules| {
            let mut found = objects(&root.join("app"), submodules);
            found.sort();
            found
        };
        let own = root.join("app/.git/objects");
        let mut expected = names.map(|name| modules.join(name).join("objects")).to_vec();
        expected.push(own.clone());
        expected.sort();
        assert_eq!(found(true), expected);
        let alone = std::slice::from_ref(&own);
        assert_eq!(found(false), alone, "nobody asked for submodules");
        // A directory of the user's with repositories in it.
        std::fs::rename(&modules, root.join("src")).unwrap();
        std::os::unix::fs::symlink(root.join("src"), &modules).unwrap();
        assert_eq!(found(true), alone, "modules is a link");
        std::fs::remove_file(&modules).unwrap();
        std::fs::create_dir_all(modules.join("lib")).unwrap();
        std::fs::write(modules.join("lib/HEAD"), "").unwrap();
        std::os::unix::fs::symlink(root.join("src/lib/objects"), modules.join("lib/objects")).unwrap();
        std::os::unix::fs::symlink(root.join("src"), modules.join("lib/modules")).unwrap();
        assert_eq!(found(true), alone, "a repository whose parts are links");
    }

    #[test]
    fn a_directory_of_submodules_without_an_end_is_looked_through_as_far_as_its_limits() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        made(&root.join("app/.git"));
        let mut deep = root.join("app/.git/modules");
        for _ in 0..30 {
            deep.push("d");
        }
        made(&deep);
        assert_eq!(objects(&root.join("app"), true).len(), 1, "too deep");
        let many = root.join("app/.git/modules/many");
        for number in 0..SUBMODULES.1 + 100 {
            std::fs::create_dir_all(many.join(number.to_string()).join("objects")).unwrap();
            std::fs::write(many.join(number.to_string()).join("HEAD"), "").unwrap();
        }
        assert!(objects(&root.join("app"), true).len() <= SUBMODULES.1);
    }

    #[test]
    fn what_is_named_as_borrowed_and_is_no_repositorys_objects_is_not_opened() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        made(&root.join("own"));
        made(&root.join("lender"));
        std::fs::create_dir_all(root.join("home/.ssh/objects")).unwrap();
        let named = format!("{0}/lender/objects\n{0}/home/.ssh\n{0}/home/.ssh/objects\n", root.display());
        std::fs::write(root.join("own/objects/info/alternates"), named).unwrap();
        assert_eq!(with_borrowed(&root.join("own")), [root.join("own/objects"), root.join("lender/objects")]);
        std::fs::remove_dir_all(root.join("own/objects")).unwrap();
        std::os::unix::fs::symlink(root.join("home/.ssh"), root.join("own/objects")).unwrap();
        assert!(with_borrowed(&root.join("own")).is_empty());
    }
}
