//! A working tree for each task: its own files, its own branch, and a repository of its own that
//! borrows the objects of the workspace's.
//!
//! Git's linked worktrees share configuration, hooks and objects with the repository they belong
//! to, so whoever may commit in one may also change what the person's next git command runs, and
//! delete what the person committed. Here the agent writes nothing of the repository: its tree has
//! a `.git` of its own, which reads the repository's objects. When the turn has ended, what came of
//! it is committed there *within walls*, handed over as a bundle, checked, and stored in the
//! repository as a branch. Merging it is left to people ([`apply`]).
//!
//! What a tree is for is written down beside it, out of the agent's reach, before it is made; so
//! what a crash leaves behind is found and removed ([`Worktrees::clean`]).
//!
//! Never does: run git outside walls in a place that an agent has written to (unless the walls are
//! off, and the agent could do the same); remove what was not taken out; touch the person's
//! files, index or current branch, except by [`apply`].

mod apply;
mod cause;
mod collect;
mod commit;
mod discard;
mod fetch;
mod git;
mod lfs;
mod lock;
mod push;
mod record;
mod running;
mod setup;
mod stamp;
mod submodules;

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::OwnedMutexGuard;

pub use apply::{Applied, ApplyError, apply};
pub use collect::{Changed, Collected, TakenOut};
pub use commit::{CommitError, Committed, commit, current_branch};
pub use discard::{DiscardError, Task, discard, workspace_of};
use git::{Git, Repository};
use lock::Lock;
pub use push::{Destination, PushError, Pushed, Remote, RemoteError, push};
use record::Record;
pub use setup::{CommandError, PatternError, Setup, SetupConfig, SetupConfigError, SetupError};

use crate::environment::Environment;
use crate::place::{self, Held};
use crate::random;

/// How many trees of a workspace are kept for sessions to go on in. Beyond them the one unused for
/// longest is removed; its branch stays, and a session that goes on gets it back from there.
const KEPT: usize = 10;

/// How many tasks of a workspace are remembered after their tree was removed.
const REMEMBERED: usize = 500;

/// What the directory of a workspace's trees ends with.
const WORKTREES: &str = ".worktrees";

/// Where trees are while they are being removed: beside `trees`, out of agents' reach.
const REMOVED: &str = "removed";

/// Where trees are while they are being made, out of agents' reach too.
const MAKING: &str = "making";

/// How often it is looked whether another process is done with a tree.
const LOOKS_EVERY: Duration = Duration::from_millis(50);

/// Why there is no working tree. The agent was told nothing.
#[derive(Debug, thiserror::Error)]
pub enum WorktreeError {
    /// No repository.
    #[error("{} is in no git repository, which `isolation = \"worktree\"` needs", .0.display())]
    NoRepository(PathBuf),
    /// A repository without files.
    #[error("{} is a bare repository, in which nobody can work; name one of its working trees (`git worktree add`)", .0.display())]
    Bare(PathBuf),
    /// Git refuses what another user may have prepared.
    #[error(
        "the repository of {} belongs to somebody else; make it yours, or trust it: \
         `git config --global --add safe.directory {}`", .0.display(), .0.display()
    )]
    NotOwned(PathBuf),
    /// What is called `.git` leads to another repository.
    #[error(
        "the `.git` of {} leads to {}, which does not name it in return, so it is not followed; \
         `git worktree repair` there mends a working tree that was moved",
        .0.display(), .1.display()
    )]
    Elsewhere(PathBuf, PathBuf),
    /// Nothing to begin from.
    #[error("the repository of {} has no commit to begin from; make one first", .0.display())]
    NoCommit(PathBuf),
    /// Another git is at work, or was killed.
    #[error(
        "git {what}: another git is at work there, or was killed; if none is, remove its lock, such as `.git/index.lock`"
    )]
    Locked {
        /// What was tried.
        what: &'static str,
    },
    /// A partial clone, or a repository that lost some.
    #[error(
        "git {what}: it needs objects that are not there ({object}), and the host fetches none of a partial clone's but \
         files, from `remote`, where `setup.fetch` says so; `git fetch --refetch` completes a partial clone, `git fsck` \
         says what else is missing"
    )]
    Missing {
        /// What was tried.
        what: &'static str,
        /// The object, if git named it.
        object: String,
    },
    /// An object cannot be read.
    #[error("git {what}: an object of the repository is damaged ({object}); `git fsck` says more")]
    Damaged {
        /// What was tried.
        what: &'static str,
        /// The object, if git named it.
        object: String,
    },
    /// A repository that this git does not read.
    #[error("the repository was made for another version of git than the one on PATH")]
    Format,
    /// The disk is full.
    #[error("git {what}: the disk is full")]
    Full {
        /// What was tried.
        what: &'static str,
    },
    /// A configuration file that is none.
    #[error(
        "the settings of the repository, or yours for git, cannot be read; `git config --list` says where the mistake is"
    )]
    Settings,
    /// No git.
    #[error("git is not on PATH; working trees need it")]
    NoGit,
    /// The session began elsewhere, or its branch is gone too.
    #[error("session {0} has no working tree any more; begin a new task")]
    Gone(String),
    /// Taking out what came of a task was given up. All of it is in its tree still.
    #[error("it took longer than {0:?}")]
    Slow(Duration),
    /// The agent put something else where it was to work.
    #[error("{} is not the directory it was made as; begin a new task", .0.display())]
    Replaced(PathBuf),
    /// What it was to have before its agent begins is not there.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Git refused.
    #[error("git {what}: {reason}")]
    Git {
        /// What was tried.
        what: &'static str,
        /// A known cause, in our words.
        reason: String,
    },
    /// The system refused.
    #[error("the working tree cannot be kept")]
    Io(#[from] io::Error),
}

/// The trees of one workspace. Clones share them.
#[derive(Debug, Clone)]
pub struct Worktrees(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    workspace: PathBuf,
    root: PathBuf,
    git: Git,
    setup: OnceLock<Arc<Setup>>,
    used: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    cleaning: tokio::sync::Mutex<()>,
}

/// A tree in use: nobody else uses or removes it while this lives.
#[derive(Debug)]
pub struct Worktree {
    trees: Worktrees,
    repository: Repository,
    record: Record,
    held: Arc<Held>,
    _used: Used,
}

/// The use of a tree, in this process and of all.
#[derive(Debug)]
struct Used {
    _lock: Lock,
    _here: OwnedMutexGuard<()>,
}

/// The files with the person's settings of git, which the host's own git reads.
pub(crate) fn personal_settings(environment: &Environment) -> Vec<PathBuf> {
    git::personal(environment)
}

/// Where the trees of `workspace` are; the part of `state` that an agent may write.
pub(crate) fn trees(state: &Path, workspace: &str) -> PathBuf {
    root(state, workspace).join("trees")
}

fn root(state: &Path, workspace: &str) -> PathBuf {
    state.join(format!("{workspace}{WORKTREES}"))
}

impl Worktrees {
    /// The trees of the workspace `name` in `directory`, kept below the pool's `state`. `launcher`
    /// puts up the walls around git where an agent has been; without it there are none.
    pub fn new(
        name: &str,
        directory: &Path,
        state: &Path,
        environment: Environment,
        launcher: Option<PathBuf>,
    ) -> Self {
        let git = Git::new(environment, launcher);
        let (workspace, root) = (directory.to_owned(), root(state, name));
        Self(Arc::new(Inner {
            workspace,
            root,
            git,
            setup: OnceLock::new(),
            used: Mutex::default(),
            cleaning: tokio::sync::Mutex::default(),
        }))
    }

    /// The same with what each tree gets before its agent begins.
    #[must_use]
    pub fn with_setup(self, setup: Setup) -> Self {
        // There is one set-up of a workspace.
        let _ = self.0.setup.set(Arc::new(setup));
        self
    }

    /// Whether a command is run before an agent begins.
    pub fn runs_setup(&self) -> bool {
        self.0.setup.get().is_some_and(|setup| setup.runs())
    }

    /// Makes a tree at the repository's current commit.
    pub async fn make(&self) -> Result<Worktree, WorktreeError> {
        self.clean().await;
        let repository = self.0.git.repository(&self.0.workspace).await?;
        let base = self.0.git.head(&repository).await?;
        let id = random::hex::<4>()?;
        let used = self.hold(&id).await?;
        let mut record = Record::new(&id, &base);
        record.write(&self.0.root)?;
        let ready = async {
            self.0.git.point(&repository, &record.branch, &base, None).await?;
            self.fill(&repository, &mut record).await
        };
        let ready = ready.await;
        match ready {
            Ok(held) => {
                let tree = Worktree { trees: self.clone(), repository, record, held, _used: used };
                tree.stands().map(|()| tree)
            }
            Err(error) => {
                self.discard(&record).await;
                Err(error)
            }
        }
    }

    /// The tree in which `session` worked, made again from its branch if it was removed. Waits
    /// while another turn uses it.
    pub async fn of_session(&self, session: &str) -> Result<Worktree, WorktreeError> {
        let gone = || WorktreeError::Gone(session.to_owned());
        self.find(|record| record.session.as_deref() == Some(session)).await?.ok_or_else(gone)
    }

    /// The tree in which what `checkpoint` announced goes on.
    pub async fn of_checkpoint(&self, checkpoint: &Value) -> Result<Option<Worktree>, WorktreeError> {
        self.find(|record| record.checkpoint.as_ref() == Some(checkpoint)).await
    }

    async fn find(&self, is_it: impl Fn(&Record) -> bool) -> Result<Option<Worktree>, WorktreeError> {
        let Some(found) = Record::all(&self.0.root).into_iter().find(|record| is_it(record)) else {
            return Ok(None);
        };
        let used = self.hold(&found.id).await?;
        let Some(mut record) = Record::read(&self.0.root, &found.id) else { return Ok(None) };
        let repository = self.0.git.repository(&self.0.workspace).await?;
        let held = match self.held(&record)? {
            Some(held) => Arc::new(held),
            None if self.0.git.has_commit(&repository, record.tip()).await => {
                self.remove(record.id.as_ref()).await;
                let held = self.fill(&repository, &mut record).await?;
                record.half_made = false;
                held
            }
            None => return Err(WorktreeError::Gone(found.session.unwrap_or_default())),
        };
        let tree = Worktree { trees: self.clone(), repository, record, held, _used: used };
        tree.stands()?;
        Ok(Some(tree))
    }

    /// The tree of a record; nothing when it is gone, or its repository is, or its set-up was stopped.
    fn held(&self, record: &Record) -> Result<Option<Held>, WorktreeError> {
        let replaced = |_| WorktreeError::Replaced(self.tree(&record.id));
        if record.half_made || self.tree(&record.id).symlink_metadata().is_err() {
            return Ok(None);
        }
        let held = Held::of(&self.0.root.join("trees"), record.id.as_ref()).map_err(replaced)?;
        Ok(held.has_directory(".git").map_err(replaced)?.then_some(held))
    }

    /// Makes the tree of a record, out of the reach of agents, and puts it where they reach it when it
    /// is finished.
    async fn fill(&self, repository: &Repository, record: &mut Record) -> Result<Arc<Held>, WorktreeError> {
        let (making, trees) = (self.0.root.join(MAKING), self.0.root.join("trees"));
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        let draft = making.join(&record.id);
        remove(&draft)?;
        [&trees, &draft].into_iter().try_for_each(|path| builder.create(path))?;
        let tree = Arc::new(Held::of(&making, record.id.as_ref())?);
        let filled = async {
            self.write(repository, &tree, record).await?;
            self.complete(repository, &tree, record).await?;
            tree.make(&repository.prefix).map_err(|_| WorktreeError::Replaced(repository.prefix.clone()))?;
            self.set_up(repository, (record, &draft), &tree).await
        };
        let filled = filled.await;
        if filled.is_err() {
            warn(remove(&draft));
        }
        filled.map(|()| tree)
    }

    /// Writes the files of the record's tip, once those that are missing are fetched where that is configured.
    async fn write(
        &self,
        repository: &Repository,
        tree: &Held,
        record: &Record,
    ) -> Result<(), WorktreeError> {
        let git = &self.0.git;
        if let Some(remote) = self.0.setup.get().and_then(|setup| setup.fetches_from()) {
            let from = fetch::Source { remote, root: &self.0.root };
            fetch::missing(git, repository, record.tip(), from).await?;
        }
        git.fill(repository, tree, (&record.branch, record.tip())).await
    }

    /// Removes what crashes left behind and what is beyond the number kept. Trees in use stay, and
    /// those with something in them that could not be taken out. Only for the one host of the state
    /// directory.
    pub async fn clean(&self) {
        let _alone = self.0.cleaning.lock().await;
        record::remove_drafts(&self.0.root);
        self.remove_unfinished();
        let entries = std::fs::read_dir(self.0.root.join("trees")).into_iter().flatten().flatten();
        for name in entries.map(|entry| entry.file_name()) {
            let id = name.to_string_lossy();
            if let Some(_held) = self.try_hold_here(&id)
                && !Record::exists(&self.0.root, &id)
            {
                self.remove(name.as_ref()).await;
            }
        }
        let mut place = 0;
        for listed in Record::all(&self.0.root) {
            let Some(_held) = self.try_hold(&listed.id) else { continue };
            // It may have been used since it was listed.
            let Some(record) = Record::read(&self.0.root, &listed.id) else { continue };
            if !record.has_begun() {
                self.discard(&record).await;
            } else if !record.pending {
                place += 1;
                self.retire(&record, place).await;
            }
        }
        self.sweep().await;
    }

    /// Removes trees that nobody makes any more.
    fn remove_unfinished(&self) {
        self.clean_kept();
        let apart = self.0.setup.get().map(|setup| setup.apart().to_owned());
        for place in [Some(self.0.root.join(MAKING)), apart].into_iter().flatten() {
            for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
                if let Some(_held) = self.try_hold_here(&entry.file_name().to_string_lossy()) {
                    warn(remove(&entry.path()));
                }
            }
        }
    }

    /// Removes what is not kept of the tree that was used as the `place`th last.
    async fn retire(&self, record: &Record, place: usize) {
        if place > KEPT && record.tip.is_none() && record.session.is_none() {
            self.discard(record).await;
        } else if place > KEPT {
            self.remove(record.id.as_ref()).await;
        }
        if place > REMEMBERED {
            record.remove(&self.0.root);
        }
    }

    /// Removes the tree `name`: first from where agents reach, and then for good.
    async fn remove(&self, name: &Path) {
        let (tree, aside) = (self.0.root.join("trees").join(name), self.0.root.join(REMOVED));
        if tree.symlink_metadata().is_err() {
            return;
        }
        warn(put_aside(&tree, &aside));
        self.sweep().await;
    }

    /// Removes what was put aside, also what an earlier host did not come to.
    async fn sweep(&self) {
        let aside = self.0.root.join(REMOVED);
        let swept = tokio::task::spawn_blocking(move || {
            std::fs::read_dir(aside)
                .into_iter()
                .flatten()
                .flatten()
                .for_each(|entry| warn(remove(&entry.path())));
        });
        if let Err(error) = swept.await {
            warn(Err(error.into()));
        }
    }

    /// Takes back a tree in which nothing was begun.
    async fn discard(&self, record: &Record) {
        self.remove(record.id.as_ref()).await;
        if let Ok(repository) = self.0.git.repository(&self.0.workspace).await {
            self.0.git.forget(&repository, &record.branch, &record.base).await;
        }
        record.remove(&self.0.root);
    }

    fn tree(&self, id: &str) -> PathBuf {
        self.0.root.join("trees").join(id)
    }

    async fn hold(&self, id: &str) -> io::Result<Used> {
        let here = self.lock(id).lock_owned().await;
        loop {
            if let Some(lock) = Lock::take(&self.0.root, id)? {
                return Ok(Used { _lock: lock, _here: here });
            }
            tokio::time::sleep(LOOKS_EVERY).await;
        }
    }

    /// Nothing while it is used or waited for.
    fn try_hold(&self, id: &str) -> Option<Used> {
        let here = self.try_hold_here(id)?;
        let lock = Lock::take(&self.0.root, id).unwrap_or_else(|error| {
            tracing::warn!(id, %error, "a working tree cannot be locked");
            None
        });
        Some(Used { _lock: lock?, _here: here })
    }

    /// The same of what has no record, which is of no other process.
    fn try_hold_here(&self, id: &str) -> Option<OwnedMutexGuard<()>> {
        self.lock(id).try_lock_owned().ok()
    }

    fn lock(&self, id: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(used.entry(id.to_owned()).or_default())
    }
}

impl Worktree {
    /// Where the agent works: as far below the tree's root as the workspace is below its repository's.
    pub fn directory(&self) -> PathBuf {
        self.root().join(&self.repository.prefix)
    }

    /// The branch on which the repository gets what comes of it.
    pub fn branch(&self) -> &str {
        &self.record.branch
    }

    /// The commit it began from.
    pub fn base(&self) -> &str {
        &self.record.base
    }

    /// Whether something was begun in it since it was last collected.
    pub fn is_pending(&self) -> bool {
        self.record.pending
    }

    /// What the turn that begins in it is asked for: what it leaves uncommitted is called so.
    pub fn is_about(&mut self, text: &str) {
        self.record.title = Some(commit::titled(text));
    }

    /// Writes down what is about to begin in it; returns when that would survive a crash.
    pub fn announces(&mut self, checkpoint: &Value) -> io::Result<()> {
        self.record.checkpoint = Some(checkpoint.clone());
        self.record.pending = true;
        self.record.write(&self.trees.0.root)
    }

    /// Writes down the session that works in it.
    pub fn belongs_to(&mut self, session: &str) -> io::Result<()> {
        self.record.session = Some(session.to_owned());
        self.record.write(&self.trees.0.root)
    }

    fn root(&self) -> PathBuf {
        self.trees.tree(&self.record.id)
    }

    /// Fails unless the way to where the agent works is of directories, and the tree the one that
    /// is held.
    fn stands(&self) -> Result<(), WorktreeError> {
        let there = || {
            let named = Held::of(&self.trees.0.root.join("trees"), self.record.id.as_ref())?;
            self.held.below(&self.repository.prefix)?;
            self.held.is(&named)
        };
        if matches!(there(), Ok(true)) { Ok(()) } else { Err(self.replaced()) }
    }

    fn replaced(&self) -> WorktreeError {
        WorktreeError::Replaced(self.directory())
    }
}

fn put_aside(tree: &Path, aside: &Path) -> io::Result<()> {
    std::fs::create_dir_all(aside)?;
    let aside = aside.join(random::hex::<8>()?);
    match std::fs::rename(tree, &aside) {
        // A directory that cannot be written cannot be moved either.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            place::open_up(tree)?;
            std::fs::rename(tree, &aside)
        }
        moved => moved,
    }
}

/// Removes a tree whatever its agent made of it. Nothing outside it is touched: links are removed,
/// not followed.
fn remove(tree: &Path) -> io::Result<()> {
    let Ok(kind) = tree.symlink_metadata() else { return Ok(()) };
    if !kind.is_dir() {
        return std::fs::remove_file(tree);
    }
    place::remove_all(tree)
}

fn warn(removed: io::Result<()>) {
    if let Err(error) = removed {
        tracing::warn!(%error, "a working tree that is not needed any more cannot be removed");
    }
}

/// Whether this is the id of an object.
fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
