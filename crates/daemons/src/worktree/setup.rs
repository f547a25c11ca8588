//! What a task's working tree gets before its agent begins: files of the workspace that its commits do not have, and
//! what a command makes, such as installed dependencies.
//!
//! Files are copied while the tree is out of agents' reach, by descriptor. The command runs within the walls that the
//! commands of the workspace's agents have: it is code of the repository. What it made, of what git ignores, is kept
//! for the next trees with the same inputs; so that no agent has a hand in what others get, such a command runs in
//! a place of its own, and at the commit that a task begins from alone. Where nothing is kept it runs in the tree's own
//! place. Whatever it made of the tree's repository is removed before git reads there: the host puts back its own.
//!
//! Never does: overwrite what a commit has, follow a link, run anything outside the walls that are configured.

mod command;
mod config;
mod files;
mod glob;
mod kept;
mod saved;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use connector_files::Log;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

pub use command::CommandError;
pub use config::{SetupConfig, SetupConfigError};
use files::Budget;
pub(super) use files::{bytes, cloned};
use glob::Pattern;
pub use glob::PatternError;
pub(super) use kept::split;
use kept::{Decides, Kept, Key};
use saved::Saved;

use super::git::{At, Call, Repository};
use super::record::Record;
use super::{Remote, WorktreeError, Worktrees, lfs};
use crate::daemon::Spec;
use crate::place::{self, Held};
use crate::resource_limits::ResourceLimits;

/// The most that is copied of the workspace.
const COPIED: Budget = Budget { files: 2_000, bytes: 256 << 20 };

/// How many copied files a card names.
const NAMED: usize = 20;

/// Why a tree is not ready. Nothing was said to an agent.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file cannot be copied.
    #[error("`setup.copy`: {} cannot be copied", path.display())]
    Copy {
        /// The file, as it is called in the workspace.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is to be copied cannot be found out.
    #[error("`setup.copy`: what it names cannot be looked for in {}", directory.display())]
    Search {
        /// The workspace.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The inputs of the command cannot be read.
    #[error("`setup.inputs` cannot be read")]
    Inputs(#[source] io::Error),
    /// What a partial clone lacks did not come.
    #[error("{remote} did not give the files that the workspace's partial clone lacks; what git says is in {}", log.display())]
    Fetch {
        /// The remote's address.
        remote: String,
        /// Where git's words are.
        log: PathBuf,
    },
    /// A submodule was never downloaded, or not its commit.
    #[error(
        "the submodule {} is not in the workspace at {commit}; `git submodule update --init --recursive {}` there brings it",
        path.display(), path.display()
    )]
    SubmoduleMissing {
        /// Where it is in the tree.
        path: PathBuf,
        /// The commit that is named for it.
        commit: String,
    },
    /// A submodule's repository has some of its objects in another.
    #[error(
        "the repository of the submodule {} borrows objects of another one; `git repack -a -d` in {} copies them, and then \
         its objects/info/alternates can be removed", path.display(), repository.display()
    )]
    SubmoduleBorrows {
        /// Where it is in the tree.
        path: PathBuf,
        /// Its repository in the workspace.
        repository: PathBuf,
    },
    /// What the commit says of its submodules leads elsewhere.
    #[error("{} is not taken for submodules: {why}", path.display())]
    SubmoduleRefused {
        /// Where it is in the tree.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
    /// A file of Git LFS cannot be put there.
    #[error("{} is a file of Git LFS, which cannot be put into the tree", path.display())]
    Lfs {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The content of a file of Git LFS was never downloaded.
    #[error(
        "{} is a file of Git LFS whose content ({oid}) is not in the workspace's `.git/lfs/objects`; \
         `git lfs pull` there brings it", path.display()
    )]
    LfsMissing {
        /// The file.
        path: PathBuf,
        /// The digest of its content.
        oid: String,
    },
    /// What is there for a file of Git LFS is something else.
    #[error(
        "{} is a file of Git LFS, and what the workspace's `.git/lfs/objects` has for {oid} is something else; \
         remove it there, and `git lfs pull` brings it", path.display()
    )]
    LfsDamaged {
        /// The file.
        path: PathBuf,
        /// The digest of its content.
        oid: String,
    },
    /// The command failed.
    #[error("the set-up of its working tree, `{run}`, failed{}; its last lines are in {}", told(*refused), log.display())]
    Command {
        /// The command.
        run: String,
        /// How many hosts the walls refused it. Their names are its words, and so in the log.
        refused: usize,
        /// Where what it printed is.
        log: PathBuf,
        /// How it ended.
        source: CommandError,
    },
}

fn told(refused: usize) -> String {
    match refused {
        0 => String::new(),
        1 => " (the walls refused it 1 host, which the log names; `hosts` and `presets` open what it needs)"
            .to_owned(),
        count => {
            format!(
                " (the walls refused it {count} hosts, which the log names; `hosts` and `presets` open what it needs)"
            )
        }
    }
}

/// The set-up of the trees of one workspace.
#[derive(Debug)]
pub struct Setup {
    config: SetupConfig,
    /// What the command may hold.
    resource_limits: ResourceLimits,
    /// How much of files of Git LFS is stored of one turn.
    most: u64,
    /// Where what a partial clone lacks comes from.
    remote: Option<Remote>,
    copy: Vec<Pattern>,
    inputs: Vec<Pattern>,
    /// What runs the command; like a daemon, of which it has the walls.
    spec: Spec,
    /// The same for a tree at what an agent committed, with temporary files and caches of its own.
    again: Spec,
    log: Log,
    /// Where trees are while a command runs in them whose result is kept.
    apart: PathBuf,
    /// One command runs at a time.
    alone: tokio::sync::Mutex<()>,
    /// Held while a copy is made for the next tree.
    sparing: Arc<tokio::sync::Mutex<()>>,
}

impl Setup {
    pub(crate) fn new(
        (config, resource_limits, most, remote): (SetupConfig, ResourceLimits, Option<u64>, Option<Remote>),
        (spec, again): (Spec, Spec),
        log: Log,
        apart: PathBuf,
    ) -> Result<Self, PatternError> {
        let (copy, inputs) = config.patterns()?;
        Ok(Self {
            config,
            resource_limits,
            most: most.unwrap_or(kept::RESULT.bytes),
            remote,
            copy,
            inputs,
            spec,
            again,
            log,
            apart,
            alone: tokio::sync::Mutex::default(),
            sparing: Arc::default(),
        })
    }

    /// Whether a command is run.
    pub(super) fn runs(&self) -> bool {
        self.config.run.is_some()
    }

    /// Where what a partial clone lacks is fetched from, if it is.
    pub(super) fn fetches_from(&self) -> Option<&Remote> {
        self.remote.as_ref().filter(|_| self.config.fetch)
    }

    /// Where trees are while a command runs in them whose result is kept.
    pub(super) fn apart(&self) -> &Path {
        &self.apart
    }

    /// Whether what the command makes is kept.
    fn keeps(&self) -> bool {
        self.config.run.is_some() && !self.inputs.is_empty()
    }
}

impl SetupConfig {
    /// What it does to a tree of the workspace in `directory`, as whoever approves a task is told: which files there
    /// are to be copied now, and what is run.
    pub fn words(&self, directory: &Path, remote: Option<&str>) -> Option<String> {
        let mut parts = Vec::new();
        if let Some(remote) = remote.filter(|_| self.fetch) {
            parts.push(format!("files that a partial clone lacks are fetched from {remote}"));
        }
        if self.submodules {
            parts.push(
                "submodules are filled, and what is changed in them becomes branches of theirs".to_owned(),
            );
        }
        if self.lfs {
            parts.push(
                "files of Git LFS have their content, and new content is stored in the repository".to_owned(),
            );
        }
        if !self.copy.is_empty() {
            parts.push(self.copied_words(directory));
        }
        if let Some(run) = &self.run {
            let kept = match self.inputs.as_slice() {
                [] => String::new(),
                inputs => format!(", once for the same {}", inputs.join(", ")),
            };
            parts.push(format!("runs `{run}`, at most {} s{kept}", self.timeout_secs));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    fn copied_words(&self, directory: &Path) -> String {
        let found =
            self.patterns().map_err(io::Error::other).and_then(|(copy, _)| searched(directory, &copy));
        let names: Vec<String> = match &found {
            Ok(found) => found.keys().map(|path| path.display().to_string()).collect(),
            Err(_) => return format!("copies {}, which cannot be looked for now", self.copy.join(", ")),
        };
        if names.is_empty() {
            return format!("copies {}, of which there is nothing", self.copy.join(", "));
        }
        let shown = names[..names.len().min(NAMED)].join(", ");
        match names.len() - names.len().min(NAMED) {
            0 => format!("copies {shown}"),
            // All of them are bound.
            more => format!("copies {shown} and {more} more ({})", digest(&names)),
        }
    }
}

fn digest(names: &[String]) -> String {
    HEXLOWER.encode(&Sha256::digest(names.join("\n")))[..32].to_owned()
}

fn searched(directory: &Path, patterns: &[Pattern]) -> io::Result<BTreeMap<PathBuf, u64>> {
    let root = place::opened(&directory.canonicalize()?, Path::new(""))?;
    glob::found(&root, patterns)
}

impl Worktrees {
    /// Finishes a tree that git has filled, out of the reach of agents at `draft`, and puts it where they reach it.
    pub(super) async fn set_up(
        &self,
        repository: &Repository,
        (record, draft): (&Record, &Path),
        tree: &Arc<Held>,
    ) -> Result<(), WorktreeError> {
        let place = self.tree(&record.id);
        let Some(setup) = self.0.setup.get() else { return Ok(place::moved(draft, &place)?) };
        let copied = self.copy(setup, (repository, record), tree).await?;
        let Some(run) = &setup.config.run else { return Ok(place::moved(draft, &place)?) };
        let _alone = setup.alone.lock().await;
        let key = if setup.keeps() { self.key(setup, run, (repository, &copied), tree).await? } else { None };
        if let Some(key) = &key
            && self.restored(key, tree).await
        {
            // What git does not ignore here is no part of the commit, whatever was ignored where it was made.
            self.git_cleans(repository, tree).await?;
            place::moved(draft, &place)?;
            self.spare(setup, key.clone());
            return Ok(());
        }
        // What an agent committed decides about nothing that others get.
        if setup.keeps() && record.tip.is_none() {
            return self.run_apart(setup, (run, key, copied), (repository, record, draft), tree).await;
        }
        self.run_in_place(setup, run, (repository, record, draft), tree).await
    }

    /// Gives a tree at its commit what the commit names and does not have itself.
    pub(super) async fn complete(
        &self,
        repository: &Repository,
        tree: &Arc<Held>,
        record: &mut Record,
    ) -> Result<(), WorktreeError> {
        if self.keeps_lfs().is_some() {
            lfs::fill(&self.0.git, repository, tree).await?;
        }
        if self.0.setup.get().is_some_and(|setup| setup.config.submodules) {
            record.submodules = self.fill_submodules(repository, tree, record).await?;
            record.write(&self.0.root)?;
        }
        Ok(())
    }

    /// How many bytes of files of Git LFS may be stored of a turn, where that is the host's to do.
    pub(super) fn keeps_lfs(&self) -> Option<u64> {
        self.0.setup.get().and_then(|setup| setup.config.lfs.then_some(setup.most))
    }

    /// Runs the command where no agent reaches, keeps its result, and moves the tree to its place.
    async fn run_apart(
        &self,
        setup: &Arc<Setup>,
        (run, key, copied): (&str, Option<Key>, Vec<PathBuf>),
        (repository, record, draft): (&Repository, &Record, &Path),
        tree: &Arc<Held>,
    ) -> Result<(), WorktreeError> {
        let (apart, place) = (setup.apart.join(&record.id), self.tree(&record.id));
        super::remove(&apart)?;
        std::fs::create_dir_all(&setup.apart)?;
        place::moved(draft, &apart)?;
        let ran = self.run((setup, &setup.spec), (run, &apart), (repository, record), tree).await;
        let ran = match (&key, ran) {
            (Some(key), Ok(())) => self.keep(key, (repository, copied), tree).await,
            (_, ran) => ran,
        };
        if let Err(error) = ran.and_then(|()| Ok(place::moved(&apart, &place)?)) {
            super::warn(super::remove(&apart));
            return Err(error);
        }
        if let Some(key) = key {
            self.spare(setup, key);
        }
        Ok(())
    }

    /// Runs the command where the agent will work. Until it has ended, the tree is not one to go on in.
    async fn run_in_place(
        &self,
        setup: &Arc<Setup>,
        run: &str,
        (repository, record, draft): (&Repository, &Record, &Path),
        tree: &Arc<Held>,
    ) -> Result<(), WorktreeError> {
        let place = self.tree(&record.id);
        let spec = if record.tip.is_some() { &setup.again } else { &setup.spec };
        let written = |half_made| Record { half_made, ..record.clone() }.write(&self.0.root);
        written(true)?;
        place::moved(draft, &place)?;
        let ran = self.run((setup, spec), (run, &place), (repository, record), tree).await;
        let ran = ran.and_then(|()| Ok(written(false)?));
        if ran.is_err() {
            // The next turn must not find it half done.
            self.remove(record.id.as_ref()).await;
        }
        ran
    }

    /// Copies what is configured, and has git take no notice of it.
    async fn copy(
        &self,
        setup: &Arc<Setup>,
        (repository, record): (&Repository, &Record),
        tree: &Arc<Held>,
    ) -> Result<Vec<PathBuf>, WorktreeError> {
        self.copy_where(setup, (repository, record), tree, false).await
    }

    /// The same, of what is in submodules alone if that is wanted.
    async fn copy_where(
        &self,
        setup: &Arc<Setup>,
        (repository, record): (&Repository, &Record),
        tree: &Arc<Held>,
        in_submodules: bool,
    ) -> Result<Vec<PathBuf>, WorktreeError> {
        let inner: Vec<_> = record.submodules.iter().map(|submodule| submodule.path.clone()).collect();
        let (setup, tree) = (Arc::clone(setup), Arc::clone(tree));
        let (workspace, prefix) = (self.0.workspace.clone(), repository.prefix.clone());
        let copying = tokio::task::spawn_blocking(move || {
            copied(&setup.copy, (&workspace, &prefix), &tree, (&inner, in_submodules))
        });
        Ok(copying.await.map_err(io::Error::other)??)
    }

    async fn key(
        &self,
        setup: &Arc<Setup>,
        run: &str,
        (repository, copied): (&Repository, &[PathBuf]),
        tree: &Arc<Held>,
    ) -> Result<Option<Key>, WorktreeError> {
        let (own, tree, run) = (Arc::clone(setup), Arc::clone(tree), run.to_owned());
        let (prefix, copied) = (repository.prefix.clone(), copied.to_owned());
        let key = tokio::task::spawn_blocking(move || {
            let Setup { inputs, spec, .. } = &*own;
            let (environment, passed) = (&spec.environment, spec.pass.as_slice());
            Key::of(&tree, &prefix, Decides { run: &run, inputs, copied: &copied, passed, environment })
        });
        let key = key.await.map_err(io::Error::other)?.map_err(SetupError::Inputs)?;
        if key.is_none() {
            tracing::warn!(inputs = ?setup.config.inputs, "no file is matched by `setup.inputs`, so nothing is kept");
        }
        Ok(key)
    }

    /// Puts what is kept into a tree; whether it is there. One that cannot be put there is as good as none.
    async fn restored(&self, key: &Key, tree: &Arc<Held>) -> bool {
        let (kept, key, tree) = (Kept::below(&self.0.root), key.clone(), Arc::clone(tree));
        let restored = tokio::task::spawn_blocking(move || kept.restore(&key, &tree)).await;
        restored.map_err(io::Error::other).flatten().unwrap_or_else(|error| {
            tracing::warn!(%error, "what a set-up made earlier cannot be used; it is run again");
            false
        })
    }

    /// Has a copy of a result made for the next tree, while nobody waits for it.
    fn spare(&self, setup: &Setup, key: Key) {
        let (kept, sparing) = (Kept::below(&self.0.root), Arc::clone(&setup.sparing));
        tokio::spawn(async move {
            let _one = sparing.lock().await;
            let made = tokio::task::spawn_blocking(move || kept.make_spare(&key)).await;
            if let Err(error) = made.map_err(io::Error::other).flatten() {
                tracing::warn!(%error, "what a set-up made cannot be copied ahead");
            }
        });
    }

    /// Removes what a crash left of what is kept.
    pub(super) fn clean_kept(&self) {
        let Some(setup) = self.0.setup.get() else { return };
        if let (Ok(_alone), Ok(_one)) = (setup.alone.try_lock(), setup.sparing.try_lock()) {
            Kept::below(&self.0.root).clean();
        }
    }

    /// Runs the command in a tree, and leaves of what it made what git ignores: the task begins with the files of
    /// its commit. The tree's repository is then as it was before.
    async fn run(
        &self,
        (setup, spec): (&Arc<Setup>, &Spec),
        (run, place): (&str, &Path),
        (repository, record): (&Repository, &Record),
        tree: &Arc<Held>,
    ) -> Result<(), WorktreeError> {
        let mut directory = place.to_owned();
        directory.extend(repository.prefix.components());
        let (root, held) = (self.0.root.clone(), Arc::clone(tree));
        let saved = tokio::task::spawn_blocking(move || Saved::of(&Kept::below(&root), &held));
        let saved = saved.await.map_err(io::Error::other)??;
        let (ended, refused) =
            command::run(spec, (run, setup.config.limit(), setup.resource_limits), &directory, &setup.log)
                .await;
        ended.map_err(|source| SetupError::Command {
            run: run.to_owned(),
            refused,
            log: setup.log.path().to_owned(),
            source,
        })?;
        let held = Arc::clone(tree);
        let back = tokio::task::spawn_blocking(move || saved.put_back(&held));
        back.await.map_err(io::Error::other)??;
        self.empty_submodules(repository, tree).await?;
        let reset =
            Call::new("takes back what the set-up changed", ["reset", "--quiet", "--hard", record.tip()]);
        self.0.git.run(At::Tree(tree, repository), reset.unfiltered()).await?;
        self.git_cleans(repository, tree).await?;
        self.complete(repository, tree, &mut record.clone()).await?;
        // Submodules are as new.
        self.copy_where(setup, (repository, record), tree, true).await.map(drop)
    }

    /// Empties the directories of submodules: what the command put there leads into the repository that is gone again.
    async fn empty_submodules(&self, repository: &Repository, tree: &Arc<Held>) -> Result<(), WorktreeError> {
        let list = tempfile::NamedTempFile::new()?;
        let call = Call::new("looks for submodules", ["ls-files", "--stage", "-z"]).output(list.reopen()?);
        self.0.git.run(At::Tree(tree, repository), call).await?;
        let held = Arc::clone(tree);
        let emptied = tokio::task::spawn_blocking(move || {
            let listed = std::fs::read(list.path())?;
            let links = listed.split(|byte| *byte == 0).filter(|entry| entry.starts_with(SUBMODULE));
            for name in links.filter_map(|entry| entry.splitn(2, |byte| *byte == b'\t').nth(1)) {
                let place = Path::new(OsStr::from_bytes(name));
                held.clear(place)?;
                held.make(place)?;
            }
            Ok::<_, io::Error>(())
        });
        Ok(emptied.await.map_err(io::Error::other)??)
    }

    /// Removes what git neither has nor ignores, repositories too.
    async fn git_cleans(&self, repository: &Repository, tree: &Held) -> Result<(), WorktreeError> {
        let clean = ["clean", "--quiet", "--force", "--force", "-d"];
        let clean = Call::new("takes back what the set-up left", clean);
        self.0.git.run(At::Tree(tree, repository), clean.unfiltered()).await.map(drop)
    }

    /// Keeps what git ignores of a tree, the copied files aside. What cannot be kept is made again.
    async fn keep(
        &self,
        key: &Key,
        (repository, copied): (&Repository, Vec<PathBuf>),
        tree: &Arc<Held>,
    ) -> Result<(), WorktreeError> {
        let list = ["ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z"];
        let at = At::Tree(tree, repository);
        let listed = self.0.git.run(at, Call::new("lists what the set-up made", list)).await?;
        let made: Vec<PathBuf> = listed
            .split(|byte| *byte == 0)
            .filter_map(|name| std::str::from_utf8(name).ok())
            .filter(|name| !name.is_empty())
            .map(PathBuf::from)
            .collect();
        let (kept, key, tree) = (Kept::below(&self.0.root), key.clone(), Arc::clone(tree));
        let keeping = tokio::task::spawn_blocking(move || kept.keep(&key, &tree, (&made, &copied)));
        if let Err(error) = keeping.await.map_err(io::Error::other).flatten() {
            tracing::warn!(%error, "what a set-up made cannot be kept; the next tree makes it again");
        }
        Ok(())
    }
}

/// How an entry of the index begins that is a submodule.
const SUBMODULE: &[u8] = b"160000 ";

/// Where a repository says what it ignores.
const EXCLUDE: &str = ".git/info/exclude";

/// Copies what is matched below the workspace to the same place in a tree of it: what was copied, seen from the tree's
/// root. What a commit has stays. `inner` is where repositories of submodules are, and whether nothing else is copied.
fn copied(
    patterns: &[Pattern],
    (workspace, prefix): (&Path, &Path),
    tree: &Held,
    (inner, alone): (&[PathBuf], bool),
) -> Result<Vec<PathBuf>, SetupError> {
    if patterns.is_empty() || (alone && inner.is_empty()) {
        return Ok(Vec::new());
    }
    let search = |source| SetupError::Search { directory: workspace.to_owned(), source };
    let root =
        workspace.canonicalize().and_then(|real| place::opened(&real, Path::new(""))).map_err(search)?;
    let (mut budget, mut copies) = (COPIED, Vec::new());
    let is_inner = |path: &Path| inner.iter().any(|it| prefix.join(path).starts_with(it));
    for path in glob::found(&root, patterns).map_err(search)?.into_keys() {
        if alone && !is_inner(&path) {
            continue;
        }
        let mut copy = || {
            let (above, name) = kept::split(&path)?;
            let from = place::below(&root, above)?;
            let above = prefix.join(above);
            tree.make(&above)?;
            files::copy_file((&from, name), &tree.below(&above)?, &mut budget)
        };
        if copy().map_err(|source| SetupError::Copy { path: path.clone(), source })? {
            copies.push(prefix.join(&path));
        }
    }
    // Else they would be committed with what the agent changes, and pushed.
    let exclude = || {
        let own = (!alone).then(|| (Path::new(""), String::new()));
        let mut lines = own.into_iter().collect::<BTreeMap<&Path, String>>();
        for path in &copies {
            let around =
                inner.iter().filter(|it| path.starts_with(it)).max_by_key(|it| it.components().count());
            let around = around.map_or(Path::new(""), PathBuf::as_path);
            let line = excluded_as(path.strip_prefix(around).unwrap_or(path)) + "\n";
            lines.entry(around).or_default().push_str(&line);
        }
        for (around, lines) in lines {
            let repository = tree.path().join(around);
            std::fs::create_dir_all(repository.join(".git/info"))?;
            std::fs::write(repository.join(EXCLUDE), lines)?;
        }
        Ok(())
    };
    exclude().map_err(|source| SetupError::Copy { path: EXCLUDE.into(), source })?;
    Ok(copies)
}

/// A path as git's `exclude` has it: this one alone.
fn excluded_as(path: &Path) -> String {
    let mut line = String::from("/");
    for letter in path.to_string_lossy().chars() {
        if matches!(letter, '\\' | '*' | '?' | '[' | ']' | '!' | '#' | ' ') {
            line.push('\\');
        }
        line.push(letter);
    }
    line
}
