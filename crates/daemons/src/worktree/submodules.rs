//! The submodules of a task's tree: each a repository of its own there, which borrows the objects of the one that the
//! user has of it, at the commit that the task's commit names.
//!
//! Where that is, the host finds by itself: below `modules` of the user's repository, by the name that the commit has for
//! it, or in its place in the user's files. No address and no setting is asked, and what names lead elsewhere is refused.
//! What a task does in a submodule is taken out as the tree's own is, as a branch of the user's repository of it. The
//! tree's commits go on naming the commit that they did, unless the submodule is at another one of the user's own branches.
//!
//! Never does: fetch anything, follow a link, write into a repository of a submodule anything but objects and that branch.

mod named;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::named::{Named, named};
use super::git::{Access, At, Call, Git, Repository, text};
use super::record::Record;
use super::setup::SetupError;
use super::{WorktreeError, Worktrees, is_id, lfs};
use crate::place::{self, Held};

/// How many there may be in a tree, those of submodules included.
const MOST: usize = 500;

/// A submodule as a tree has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Submodule {
    /// Where it is, from the tree's root.
    pub(super) path: PathBuf,
    /// The user's repository of it.
    pub(super) own: PathBuf,
    /// The commit that is named for it.
    pub(super) base: String,
    /// The branch on which that repository gets what comes of it.
    pub(super) branch: String,
    /// The commit its branch was last given; nothing while nothing came of it.
    pub(super) tip: Option<String>,
}

impl Submodule {
    /// The commit that it is to be made from.
    pub(super) fn tip(&self) -> &str {
        self.tip.as_deref().unwrap_or(&self.base)
    }
}

/// A repository in a tree whose submodules are looked for.
struct Parent {
    repository: Repository,
    held: Arc<Held>,
    /// Where it is in the tree.
    path: PathBuf,
    commit: String,
}

impl Worktrees {
    /// Fills the submodules of a tree that git has filled.
    pub(super) async fn fill_submodules(
        &self,
        repository: &Repository,
        tree: &Arc<Held>,
        record: &Record,
    ) -> Result<Vec<Submodule>, WorktreeError> {
        let (git, mut found) = (&self.0.git, Vec::new());
        let (repository, held, commit) = (repository.clone(), Arc::clone(tree), record.tip().to_owned());
        let top = repository.top.clone();
        let mut parents = vec![Parent { repository, held, path: PathBuf::new(), commit }];
        while let Some(parent) = parents.pop() {
            let names = names(git, &parent).await?;
            if names.is_empty() {
                continue;
            }
            let links = links(git, &parent).await?;
            for Named { name, path } in names {
                let whole = parent.path.join(&path);
                let Some(base) = links.get(&path) else { continue };
                let Some(held) = held_at(&parent.held, &path, &whole)? else { continue };
                if found.len() == MOST {
                    return Err(refused(whole, "there are too many").into());
                }
                let own = located(&parent.repository, &top, (&name, &whole));
                let there = (whole, base.as_str(), own);
                let (submodule, repository) =
                    self.fill_submodule(&parent.repository, there, &held, record).await?;
                let commit = submodule.tip().to_owned();
                parents.push(Parent { repository, held, path: submodule.path.clone(), commit });
                found.push(submodule);
            }
        }
        Ok(found)
    }

    /// Fills one at `path`, at the commit that is named for it or at what an earlier turn left there.
    async fn fill_submodule(
        &self,
        parent: &Repository,
        (path, base, own): (PathBuf, &str, Option<PathBuf>),
        held: &Arc<Held>,
        record: &Record,
    ) -> Result<(Submodule, Repository), WorktreeError> {
        let git = &self.0.git;
        let missing = || SetupError::SubmoduleMissing { path: path.clone(), commit: base.to_owned() };
        let own = own.ok_or_else(missing)?;
        if borrows(&own) {
            return Err(SetupError::SubmoduleBorrows { path, repository: own }.into());
        }
        let repository = parent.of_submodule(own.clone());
        let earlier = record.submodules.iter().find(|it| it.path == path && it.own == own);
        let submodule = match earlier {
            Some(earlier) if git.has_commit(&repository, earlier.tip()).await => earlier.clone(),
            _ => {
                let (base, branch) = (base.to_owned(), record.branch.clone());
                Submodule { path: path.clone(), own, base, branch, tip: None }
            }
        };
        if !git.has_commit(&repository, submodule.tip()).await {
            return Err(missing().into());
        }
        git.fill(&repository, held, (&submodule.branch, submodule.tip())).await?;
        if self.keeps_lfs().is_some() {
            lfs::fill(git, &repository, held).await?;
        }
        Ok((submodule, repository))
    }
}

fn refused(path: PathBuf, why: &'static str) -> SetupError {
    SetupError::SubmoduleRefused { path, why }
}

/// What a commit calls its submodules. Git reads the text, and follows nothing in it.
async fn names(git: &Git, parent: &Parent) -> Result<Vec<Named>, WorktreeError> {
    let blob = format!("{}:.gitmodules", parent.commit);
    let at = At::Repository(&parent.repository, Access::Read);
    if git.run(at, Call::new("looks for submodules", ["cat-file", "-e", &blob])).await.is_err() {
        return Ok(Vec::new());
    }
    let list =
        ["config", "--no-includes", "--null", "--blob", &blob, "--get-regexp", r"^submodule\..*\.path$"];
    let file = || parent.path.join(".gitmodules");
    let listed = match git.run(at, Call::new("looks for submodules", list)).await {
        Ok(listed) => listed,
        // None is named.
        Err(WorktreeError::Git { .. }) => return Ok(Vec::new()),
        Err(WorktreeError::Settings) => return Err(refused(file(), "it cannot be read").into()),
        Err(error) => return Err(error),
    };
    Ok(named(&listed).map_err(|why| refused(file(), why))?)
}

/// Where the commit of a parent has commits of other repositories, and which.
async fn links(git: &Git, parent: &Parent) -> Result<BTreeMap<PathBuf, String>, WorktreeError> {
    let list = tempfile::NamedTempFile::new()?;
    let call = Call::new("looks for submodules", ["ls-files", "--stage", "-z"]).output(list.reopen()?);
    git.run(At::Tree(&parent.held, &parent.repository), call).await?;
    let listed = std::fs::read(list.path())?;
    Ok(links_in(&listed).collect())
}

/// The commits of other repositories that `ls-files --stage -z` or `ls-tree -z` lists.
pub(super) fn links_in(listed: &[u8]) -> impl Iterator<Item = (PathBuf, String)> {
    let entries = listed.split(|byte| *byte == 0).filter_map(|entry| entry.strip_prefix(b"160000 "));
    entries.filter_map(|entry| {
        let tab = entry.iter().position(|byte| *byte == b'\t')?;
        let fields = std::str::from_utf8(&entry[..tab]).ok()?;
        let commit = fields.strip_prefix("commit ").unwrap_or(fields).split(' ').next()?;
        Some((PathBuf::from(OsStr::from_bytes(&entry[tab + 1..])), commit.to_owned()))
    })
}

/// The directory that git made for a submodule; nothing outside of a sparse checkout's cone.
fn held_at(parent: &Held, path: &Path, whole: &Path) -> Result<Option<Arc<Held>>, SetupError> {
    match parent.inner(path) {
        Ok(held) => Ok(Some(Arc::new(held))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(_) => Err(refused(whole.to_owned(), "something else is in its place")),
    }
}

/// The user's repository of a submodule: where git keeps it, or in its place in the user's files as git did once.
fn located(parent: &Repository, top: &Path, (name, path): (&Path, &Path)) -> Option<PathBuf> {
    let modules = Path::new("modules").join(name);
    let places = [(parent.own(), &modules), (&parent.common, &modules), (top, &path.join(".git"))];
    places.into_iter().find_map(|(root, below)| repository_in(root, below))
}

/// The repository in a directory that is reached without a link and belongs to whom the one that leads there does. One that
/// goes on elsewhere is none.
fn repository_in(root: &Path, below: &Path) -> Option<PathBuf> {
    let there = place::opened(root, below).ok()?;
    let found = root.join(below);
    let has = |name: &str| place::below(&there, Path::new(name)).is_ok();
    let head = place::read(&found, Path::new("HEAD")).ok()??;
    let owner = |path: &Path| path.symlink_metadata().map(|found| found.uid()).ok();
    let is_whole = has("objects") && has("refs") && !head.is_empty();
    let leads_on = found.join("commondir").symlink_metadata().is_ok();
    (is_whole && !leads_on && owner(&found)? == owner(root)?).then_some(found)
}

/// Whether a repository goes on in the objects of others: what these have no card says, and nobody agreed to.
fn borrows(repository: &Path) -> bool {
    let named = repository.join("objects/info/alternates").metadata();
    named.is_ok_and(|found| !found.is_file() || found.len() > 0)
}

/// Whether a commit is on a branch of the user's own, rather than of a task, or is named otherwise in their repository.
pub(super) async fn is_theirs(git: &Git, repository: &Repository, commit: &str) -> bool {
    let list = ["for-each-ref", "--format=%(refname)", "--contains", commit];
    let at = At::Repository(repository, Access::Read);
    let listed = git.run(at, Call::new("looks for a branch", list)).await;
    is_id(commit)
        && listed
            .is_ok_and(|listed| text(&listed).lines().any(|name| !name.starts_with("refs/heads/opencode-")))
}
