//! Taking what came of a task out of its tree and into the repository, as a branch.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::git::{Access, At, Call, Git, Repository, text};
use super::lfs::{self, Budget, Recorded};
use super::running::Printed;
use super::submodules::{Submodule, is_theirs, links_in};
use super::{Worktree, WorktreeError, is_id};
use crate::place::{self, Held};

/// The longest list of what a bundle needs and has.
const HEADER: u64 = 1 << 20;

/// The most that is read of a patch.
const PATCH: usize = 256 << 10;

/// Shows differences, those of submodules' commits too whatever is configured, and starts nothing for it.
pub(super) const DIFF: [&str; 5] =
    ["diff", "--no-ext-diff", "--no-textconv", "--submodule=short", "--ignore-submodules=none"];

/// Lists what the index has, commits of other repositories too.
const IN_INDEX: [&str; 3] = ["ls-files", "--stage", "-z"];

/// How many names are tried for a branch.
const NAMES: u32 = 20;

/// One changed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Relative to where the agent worked.
    pub path: String,
    /// Lines added; nothing of a file that has none.
    pub additions: Option<u64>,
    /// Lines deleted.
    pub deletions: Option<u64>,
    /// `added`, `modified` or `deleted`; `repository` of a directory that is a repository of its own, of which no file is
    /// known.
    pub status: &'static str,
}

/// What came of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The commit that the tree was at when it was last collected; the one it began from at first.
    pub since: String,
    /// The commit that its branch now points at; nothing when it never changed anything.
    pub commit: Option<String>,
    /// What changed since it was last collected, as a unified diff; the whole lines of its first
    /// 256 KiB.
    pub patch: String,
    /// Whether there is more of the patch.
    pub cut: bool,
    /// The files in it, all of them.
    pub files: Vec<Changed>,
    /// The branch that had this task's commits and is left as it is, because somebody else moved it,
    /// works on it or holds its lock; the task has another now.
    pub left: Option<String>,
    /// What is not on the branch, or not whole, in a sentence each.
    pub notes: Vec<String>,
    /// What came of its submodules, each on a branch of the user's own repository of it.
    pub submodules: Vec<TakenOut>,
}

/// What came of a submodule of a task's tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TakenOut {
    /// Where it is in the tree.
    pub path: String,
    /// The branch of the user's repository of it that has it.
    pub branch: String,
    /// The commit that it was at when it was last collected.
    pub base: String,
    /// The commit that its branch now points at.
    pub commit: String,
}

impl Worktree {
    /// Commits what is left uncommitted in the tree (ignored files aside) and stores its current
    /// commit in the repository as its [`branch`](Self::branch), also one that takes earlier ones
    /// back; the same of each submodule. As long as nothing ever changed there is no branch. Dropping it
    /// loses nothing: what was not taken out is the next time.
    pub async fn collect(&mut self) -> Result<Collected, WorktreeError> {
        self.stands()?;
        place::unlock(&self.held, &self.record.branch);
        // All that is stored of this turn.
        let lfs = self.trees.keeps_lfs().map(Budget::new);
        let (submodules, mut notes) = self.collect_submodules(lfs.as_ref()).await;
        let part = self.part(lfs.as_ref());
        notes.extend(part.commit_rest(&self.links_in(Path::new(""))).await?);
        let git = part.git;
        let since = part.since.to_owned();
        let tip = part.take_over().await?;
        if tip == since {
            if self.record.tip.is_none() {
                git.forget(&self.repository, &self.record.branch, &since).await;
            }
            let commit = self.record.tip.clone();
            self.is_collected()?;
            return Ok(Collected {
                since,
                commit,
                patch: String::new(),
                cut: false,
                files: Vec::new(),
                left: None,
                notes,
                submodules,
            });
        }
        notes.extend(part.take_over_lfs(&tip).await?);
        let at = At::Repository(&self.repository, Access::Read);
        let diff = DIFF.into_iter().chain(["--no-color", &since, &tip, "--"]);
        let diff = git.start_of(at, Call::new("shows what changed", diff), PATCH).await?;
        let files = part.changed(&tip).await?;
        let branch = part.store(&tip).await?;
        let left = (branch != self.record.branch).then(|| std::mem::replace(&mut self.record.branch, branch));
        self.record.tip = Some(tip.clone());
        self.is_collected()?;
        let (patch, cut) = shown(&diff);
        Ok(Collected { since, commit: Some(tip), patch, cut, files, left, notes, submodules })
    }

    fn is_collected(&mut self) -> io::Result<()> {
        self.record.pending = false;
        self.record.write(&self.trees.0.root)
    }

    /// The tree's own repository.
    fn part<'a>(&'a self, lfs: Option<&'a Budget>) -> Part<'a> {
        Part {
            git: &self.trees.0.git,
            repository: &self.repository,
            held: &self.held,
            root: &self.trees.0.root,
            id: &self.record.id,
            branch: &self.record.branch,
            title: self.record.title.as_deref(),
            base: &self.record.base,
            since: self.record.tip(),
            lfs,
        }
    }

    /// Takes out what came of each submodule, the innermost first; and what could not be, in a sentence each: then it is in
    /// the tree still, and what else there is goes its way.
    async fn collect_submodules(&mut self, lfs: Option<&Budget>) -> (Vec<TakenOut>, Vec<String>) {
        let (mut taken, mut notes) = (Vec::new(), Vec::new());
        for at in (0..self.record.submodules.len()).rev() {
            let submodule = self.record.submodules[at].clone();
            let path = submodule.path.display().to_string();
            match self.collect_submodule(submodule, lfs, &mut notes).await {
                Ok(now) => {
                    if now.tip != self.record.submodules[at].tip {
                        let (base, commit) = (self.record.submodules[at].tip(), now.tip());
                        let (base, commit) = (base.to_owned(), commit.to_owned());
                        notes.push(format!(
                            "what changed in the submodule {path} is on branch {} of its own repository, not on this one",
                            now.branch
                        ));
                        taken.push(TakenOut { path, branch: now.branch.clone(), base, commit });
                    }
                    self.record.submodules[at] = now;
                }
                Err(error) => notes.push(format!(
                    "what changed in the submodule {path}, if anything did, is in its tree alone, since it cannot be taken out: {error}"
                )),
            }
        }
        (taken, notes)
    }

    async fn collect_submodule(
        &self,
        mut now: Submodule,
        lfs: Option<&Budget>,
        notes: &mut Vec<String>,
    ) -> Result<Submodule, WorktreeError> {
        let gone = |_| WorktreeError::Replaced(now.path.clone());
        let held = Arc::new(self.held.inner(&now.path).map_err(gone)?);
        if !held.has_directory(".git").map_err(gone)? {
            return Err(WorktreeError::Replaced(now.path));
        }
        place::unlock(&held, &now.branch);
        let repository = self.repository.of_submodule(now.own.clone());
        let links = self.links_in(&now.path);
        let part = Part {
            repository: &repository,
            held: &held,
            branch: &now.branch,
            base: &now.base,
            since: now.tip(),
            ..self.part(lfs)
        };
        notes.extend(part.commit_rest(&links).await?);
        let tip = part.take_over().await?;
        if tip == part.since {
            return Ok(now);
        }
        notes.extend(part.take_over_lfs(&tip).await?);
        if now.tip.is_none() && is_theirs(part.git, &repository, &tip).await {
            now.base = tip;
            return Ok(now);
        }
        now.branch = part.store(&tip).await?;
        now.tip = Some(tip);
        Ok(now)
    }

    /// What the repository at `path` in the tree is to name of submodules.
    fn links_in(&self, path: &Path) -> Links {
        let all = &self.record.submodules;
        let around = |it: &Submodule| {
            let above = all.iter().filter(|other| other.path != it.path && it.path.starts_with(&other.path));
            above
                .map(|it| it.path.as_path())
                .max_by_key(|it| it.components().count())
                .unwrap_or(Path::new(""))
        };
        let below = all.iter().filter(|it| around(it) == path);
        let named =
            below.filter_map(|it| Some((it.path.strip_prefix(path).ok()?.to_owned(), it.base.clone())));
        let own = all.iter().map(|it| self.repository.of_submodule(it.own.clone()));
        Links { path: path.to_owned(), named: named.collect(), own: own.collect() }
    }
}

/// The submodules of one repository of a tree.
struct Links {
    /// Where the repository is in the tree.
    path: PathBuf,
    /// The commits that are named for those right below it.
    named: Vec<(PathBuf, String)>,
    /// The user's repositories of all submodules of the tree.
    own: Vec<Repository>,
}

/// One repository of a tree: its own, or a submodule's.
struct Part<'a> {
    git: &'a Git,
    /// The user's, which gets what came of it.
    repository: &'a Repository,
    held: &'a Arc<Held>,
    /// Where drafts are written.
    root: &'a Path,
    id: &'a str,
    branch: &'a str,
    title: Option<&'a str>,
    /// The commit that it began from.
    base: &'a str,
    /// The commit that it was at when it was last collected.
    since: &'a str,
    /// What may be stored of files of Git LFS, if that is to be done.
    lfs: Option<&'a Budget>,
}

impl Part<'_> {
    /// The files that differ between the commit that it was at and this one.
    async fn changed(&self, tip: &str) -> Result<Vec<Changed>, WorktreeError> {
        let list = async |how| {
            let list = DIFF.into_iter().chain([how, "--no-renames", "-z", self.since, tip, "--"]);
            let at = At::Repository(self.repository, Access::Read);
            self.git.run(at, Call::new("lists what changed", list)).await
        };
        Ok(changes(&list("--raw").await?, &list("--numstat").await?, &self.repository.prefix))
    }

    /// Commits what is left, with these commits for submodules; what is left out of it, in a sentence each.
    async fn commit_rest(&self, links: &Links) -> Result<Vec<String>, WorktreeError> {
        let mut recorded = match self.lfs {
            Some(budget) => lfs::record(self.git, self.repository, self.held, (self.since, budget)).await?,
            None => Recorded::default(),
        };
        let others = if links.own.is_empty() { Vec::new() } else { self.links(IN_INDEX).await? };
        // In what was put elsewhere git would look for changes by its own settings, and for the objects that it borrows.
        let others = others.iter().filter(|(path, _)| self.is_repository(path));
        recorded.paths.extend(links.named.iter().chain(others).map(|(path, _)| place::bytes_of(path)));
        if let Err(error) = self.add_all(&recorded.paths).await {
            let empty = self.without_a_commit().await?;
            if empty.is_empty() {
                return Err(error);
            }
            recorded.notes.extend(empty.iter().map(|path| {
                let path = String::from_utf8_lossy(path);
                format!("{} is a repository without a commit, so it is left out", path.escape_debug())
            }));
            recorded.paths.extend(empty);
            self.add_all(&recorded.paths).await?;
        }
        recorded.notes.extend(self.name_submodules(links).await?);
        self.commit_staged().await?;
        lfs::settle(self.repository, self.held, recorded).await
    }

    /// Has the index name these commits for the submodules that it has, and for what else it has of other repositories none
    /// that is in the task's tree alone: what is not named as it was left, in a sentence each.
    async fn name_submodules(&self, links: &Links) -> Result<Vec<String>, WorktreeError> {
        let mut notes = Vec::new();
        if links.own.is_empty() {
            return Ok(notes);
        }
        let named: HashMap<_, _> = links.named.iter().map(|(path, commit)| (path, commit)).collect();
        let mut entries = tempfile::NamedTempFile::new()?;
        let now = self.links(IN_INDEX).await?;
        let others = now.iter().filter(|(path, _)| !named.contains_key(path));
        let others: BTreeSet<_> = others.map(|(_, commit)| commit.as_str()).collect();
        let nobodys = self.nobodys(links, others).await?;
        let before: HashMap<_, _> = if nobodys.is_empty() {
            HashMap::new()
        } else {
            let list = ["ls-tree", "-r", "-z", "--full-tree", self.since];
            self.links(list).await?.into_iter().collect()
        };
        for (path, commit) in now {
            let right = match named.get(&path) {
                Some(right) => (*right).clone(),
                None if !nobodys.contains(&commit) => continue,
                None => before.get(&path).cloned().unwrap_or_default(),
            };
            if !named.contains_key(&path) && right != commit {
                notes.push(format!(
                    "{} is at commit {commit} of another repository, which is in the task's tree alone, so the branch does not name it",
                    links.path.join(&path).display().to_string().escape_debug()
                ));
            }
            if right == commit {
                continue;
            }
            match &*right {
                "" => write!(entries, "0 {}\t", "0".repeat(commit.len()))?,
                right => write!(entries, "160000 {right}\t")?,
            }
            entries.write_all(&place::bytes_of(&path))?;
            entries.write_all(b"\0")?;
        }
        let put = Call::new("names the commits of submodules", ["update-index", "-z", "--index-info"]);
        self.within(put.input(entries.reopen()?)).await?;
        Ok(notes)
    }

    /// Whether what is at `path` is a repository or was made one, and not what is in place of it.
    fn is_repository(&self, path: &Path) -> bool {
        self.held.inner(path).is_ok_and(|there| !matches!(there.has_directory(".git"), Ok(false)))
    }

    /// Those of some commits that none of the user's repositories has.
    async fn nobodys(
        &self,
        links: &Links,
        commits: BTreeSet<&str>,
    ) -> Result<BTreeSet<String>, WorktreeError> {
        let mut left: BTreeSet<String> = commits.into_iter().map(str::to_owned).collect();
        for repository in &links.own {
            if left.is_empty() {
                break;
            }
            let (mut list, found) = (tempfile::NamedTempFile::new()?, tempfile::NamedTempFile::new()?);
            left.iter().try_for_each(|commit| writeln!(list, "{commit}"))?;
            let format = "--batch-check=%(objectname) %(objecttype)";
            let look = Call::new("looks for commits", ["cat-file", format]).input(list.reopen()?);
            let at = At::Repository(repository, Access::Read);
            self.git.run(at, look.output(found.reopen()?)).await?;
            for line in std::fs::read_to_string(found.path())?.lines() {
                if let Some(commit) = line.strip_suffix(" commit") {
                    left.remove(commit);
                }
            }
        }
        Ok(left)
    }

    /// The commits of other repositories that a list of git's has.
    async fn links<const COUNT: usize>(
        &self,
        list: [&str; COUNT],
    ) -> Result<Vec<(PathBuf, String)>, WorktreeError> {
        let listed = tempfile::NamedTempFile::new()?;
        self.within(Call::new("looks for submodules", list).output(listed.reopen()?)).await?;
        Ok(links_in(&std::fs::read(listed.path())?).collect())
    }

    async fn commit_staged(&self) -> Result<(), WorktreeError> {
        let clean = DIFF.into_iter().chain(["--cached", "--quiet", "HEAD", "--"]);
        if self.within(Call::new("looks for changes", clean)).await.is_ok() {
            return Ok(());
        }
        let message =
            self.title.map_or_else(|| format!("Changes of the task in {}", self.branch), str::to_owned);
        let commit = ["commit", "--quiet", "--no-verify", "--cleanup=whitespace", "--message", &message];
        self.within(Call::new("commits the changes", commit).unfiltered()).await.map(drop)
    }

    /// Has the repository keep what its new commits name of files of Git LFS; what is nowhere, in a sentence each.
    async fn take_over_lfs(&self, tip: &str) -> Result<Vec<String>, WorktreeError> {
        let Some(budget) = self.lfs else { return Ok(Vec::new()) };
        lfs::take_over(self.git, self.repository, self.held, (self.since, tip), budget).await
    }

    /// The repositories that somebody began in the tree and committed nothing in, which git takes for an error.
    async fn without_a_commit(&self) -> Result<Vec<Vec<u8>>, WorktreeError> {
        let list = Call::new("looks for repositories", ["ls-files", "--others", "--exclude-standard", "-z"]);
        let listed = tempfile::NamedTempFile::new()?;
        self.within(list.output(listed.reopen()?)).await?;
        let listed = std::fs::read(listed.path())?;
        let mut empty = Vec::new();
        for path in listed.split(|byte| *byte == 0).filter_map(|path| path.strip_suffix(b"/")) {
            let Ok(name) = std::str::from_utf8(path) else { continue };
            let directory = format!("--git-dir={name}/.git");
            let look = [directory.as_str(), "rev-parse", "--verify", "--quiet", "HEAD"];
            if self.within(Call::new("looks for a commit", look)).await.is_err() {
                empty.push(path.to_owned());
            }
        }
        Ok(empty)
    }

    /// Has the index take whatever is changed, but for these files.
    async fn add_all(&self, without: &[Vec<u8>]) -> Result<(), WorktreeError> {
        let mut specs = tempfile::NamedTempFile::new()?;
        specs.write_all(b":/\0")?;
        for path in without {
            specs.write_all(b":(top,exclude,literal)")?;
            specs.write_all(path)?;
            specs.write_all(b"\0")?;
        }
        // Outside of a sparse checkout's cone git takes files only where it is told to.
        let is_sparse = self.held.path().join(".git/info/sparse-checkout").exists();
        let all = ["add", "--all"].into_iter().chain(is_sparse.then_some("--sparse"));
        let some = ["--pathspec-from-file=-", "--pathspec-file-nul"];
        let some = some.into_iter().filter(|_| !without.is_empty());
        let mut add = Call::new("takes the changed files", all.chain(some));
        if !without.is_empty() {
            add = add.input(specs.reopen()?);
        }
        self.within(add.unfiltered()).await.map(drop)
    }

    /// The tree's current commit, which the repository has when this returns.
    async fn take_over(&self) -> Result<String, WorktreeError> {
        let what = "takes the commits over";
        let none = || WorktreeError::Git { what, reason: "the tree is at no commit".to_owned() };
        let git = self.git;
        let head = ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"];
        let head = self.within(Call::new("looks for its commit", head)).await.map_err(|_| none())?;
        let head = text(&head);
        if !is_id(&head) {
            return Err(none());
        }
        if git.has_commit(self.repository, &head).await {
            return Ok(head);
        }
        let bundle = tempfile::NamedTempFile::new_in(self.root)?;
        self.bundle(&format!("{}..HEAD", self.base), bundle.reopen()?).await?;
        let mut pack = bundle.reopen()?;
        let tip = tip(&mut pack)?.ok_or_else(none)?;
        // Neither a broken object nor one that names what is not there; whatever git's version.
        let index = ["index-pack", "--stdin", "--fix-thin", "--strict"];
        let at = At::Repository(self.repository, Access::Write);
        git.run(at, Call::new(what, index).input(pack)).await?;
        if git.has_commit(self.repository, &tip).await { Ok(tip) } else { Err(none()) }
    }

    async fn bundle(&self, since: &str, output: File) -> Result<(), WorktreeError> {
        let arguments = ["bundle", "create", "--quiet", "-", since];
        self.within(Call::new("packs the commits", arguments).output(output)).await.map(drop)
    }

    /// Points a branch at `tip`: the tree's, if it is where it was left and checked out nowhere, or
    /// else one of a new name.
    async fn store(&self, tip: &str) -> Result<String, WorktreeError> {
        let git = self.git;
        let mut refused = None;
        for attempt in 1..=NAMES {
            let own = attempt == 1;
            let name = match attempt {
                1 => self.branch.to_owned(),
                _ => format!("opencode-{}-{attempt}", self.id),
            };
            let from = match git.branch(self.repository, &name).await? {
                None => None,
                Some(branch) if branch.commit == tip && own => return Ok(name),
                Some(branch) if branch.commit == self.since && own && !branch.checked_out => {
                    Some(branch.commit)
                }
                Some(_) => continue,
            };
            match git.point(self.repository, &name, tip, from.as_deref()).await {
                Ok(()) => return Ok(name),
                Err(error) => refused = Some(error),
            }
        }
        let taken =
            || WorktreeError::Git { what: "makes a branch", reason: "every name for it is taken".to_owned() };
        Err(refused.unwrap_or_else(taken))
    }

    async fn within(&self, call: Call<'_>) -> Result<Vec<u8>, WorktreeError> {
        self.git.run(At::Tree(self.held, self.repository), call).await
    }
}

/// The commit of a bundle, which is left where its pack begins.
fn tip(bundle: &mut File) -> io::Result<Option<String>> {
    let mut lines = BufReader::new(bundle.try_clone()?).take(HEADER);
    let (mut line, mut begins, mut tip) = (Vec::new(), 0, None);
    loop {
        line.clear();
        begins += lines.read_until(b'\n', &mut line)? as u64;
        match line.strip_suffix(b"\n") {
            Some([]) => break,
            Some(line) => {
                if let Some(commit) = line.strip_suffix(b" HEAD") {
                    tip = Some(String::from_utf8_lossy(commit).into_owned()).filter(|commit| is_id(commit));
                }
            }
            None => return Ok(None),
        }
    }
    bundle.seek(SeekFrom::Start(begins))?;
    Ok(tip)
}

/// What git lists of changed files, by `--raw` and by `--numstat`, seen from `prefix`.
fn changes(statuses: &[u8], numbers: &[u8], prefix: &Path) -> Vec<Changed> {
    let parts =
        |bytes: &'_ [u8]| -> Vec<Vec<u8>> { bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect() };
    let numbers: HashMap<Vec<u8>, (Option<u64>, Option<u64>)> = parts(numbers)
        .into_iter()
        .filter_map(|line| {
            let mut columns = line.splitn(3, |byte| *byte == b'\t');
            let mut number = || Some(std::str::from_utf8(columns.next()?).ok()?.parse().ok());
            let counted = (number()?, number()?);
            Some((columns.next()?.to_vec(), counted))
        })
        .collect();
    let above = "../".repeat(prefix.components().count());
    let listed = parts(statuses);
    let files = listed.chunks_exact(2).map(|pair| {
        let (additions, deletions) = numbers.get(&pair[1]).copied().unwrap_or_default();
        let mut fields = pair[0].split(|byte| *byte == b' ');
        let (_, mode, letter) = (fields.next(), fields.next(), fields.next_back());
        let status = match (mode, letter) {
            (Some(GITLINK), _) => "repository",
            (_, Some(b"A")) => "added",
            (_, Some(b"D")) => "deleted",
            _ => "modified",
        };
        let name = String::from_utf8_lossy(&pair[1]).into_owned();
        let below = Path::new(&name).strip_prefix(prefix).map(|below| below.to_string_lossy().into_owned());
        Changed { path: below.unwrap_or_else(|_| format!("{above}{name}")), additions, deletions, status }
    });
    files.collect()
}

/// The mode of what is a repository of its own.
const GITLINK: &[u8] = b"160000";

/// The whole lines of a patch, up to its limit, and whether there is more.
fn shown(diff: &Printed) -> (String, bool) {
    let mut patch = String::from_utf8_lossy(&diff.bytes).into_owned();
    let cut = diff.cut || patch.len() > PATCH;
    if cut {
        let head = &patch[..patch.floor_char_boundary(PATCH)];
        patch.truncate(head.rfind('\n').map_or(0, |last| last + 1));
    }
    (patch, cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_changed_files_is_gits_own_whatever_they_are_called() {
        let statuses = b":000000 100644 0 1 A\0sub/new\0:100644 100644 1 2 M\0sub/with\ttab\nand line\0\
              :100644 000000 1 0 D\0top\0:000000 100644 0 1 A\0sub/big.bin\0:100644 120000 1 2 T\0sub/link\0\
              :000000 160000 0 1 A\0sub/own\0";
        let numbers = b"3\t0\tsub/new\x001\t2\tsub/with\ttab\nand line\x000\t9\ttop\x00-\t-\tsub/big.bin\x00";
        let found = changes(statuses, numbers, Path::new("sub"));
        let told: Vec<_> =
            found.iter().map(|it| (it.path.as_str(), it.status, it.additions, it.deletions)).collect();
        assert_eq!(
            told,
            [
                ("new", "added", Some(3), Some(0)),
                ("with\ttab\nand line", "modified", Some(1), Some(2)),
                ("../top", "deleted", Some(0), Some(9)),
                ("big.bin", "added", None, None),
                ("link", "modified", None, None),
                ("own", "repository", None, None),
            ]
        );
        assert!(changes(b"", b"", Path::new("")).is_empty());
    }
}
