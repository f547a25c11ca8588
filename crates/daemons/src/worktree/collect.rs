//! Taking what came of a task out of its tree and into the repository, as a branch.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};

use super::git::text;
use super::running::Printed;
use super::{Worktree, WorktreeError, place};

/// The longest list of what a bundle needs and has.
const HEADER: u64 = 1 << 20;

/// The most that is read of a patch.
const PATCH: usize = 256 << 10;

/// How many names are tried for a branch.
const NAMES: u32 = 20;

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
    /// The branch that had this task's commits and is left as it is, because somebody else moved it
    /// or works on it; the task has another now.
    pub left: Option<String>,
}

impl Worktree {
    /// Commits what is left uncommitted in the tree (ignored files aside) and stores its current
    /// commit in the repository as its [`branch`](Self::branch), also one that takes earlier ones
    /// back. As long as nothing ever changed there is no branch. Dropping it loses nothing: what was
    /// not taken out is the next time.
    pub async fn collect(&mut self) -> Result<Collected, WorktreeError> {
        self.stands()?;
        place::unlock(&self.root(), &self.record.branch);
        self.commit_rest().await?;
        let git = &self.trees.0.git;
        let since = self.record.tip().to_owned();
        let tip = self.take_over().await?;
        if tip == since {
            if self.record.tip.is_none() {
                git.forget(&self.repository, &self.record.branch, &since).await;
            }
            let commit = self.record.tip.clone();
            self.is_collected()?;
            return Ok(Collected { since, commit, patch: String::new(), cut: false, left: None });
        }
        let diff = ["diff", "--no-ext-diff", "--no-textconv", "--no-color", &since, &tip, "--"];
        let diff = git.start_of(&self.repository.top, "shows what changed", diff, PATCH).await?;
        let branch = self.store(&tip).await?;
        let left = (branch != self.record.branch).then(|| std::mem::replace(&mut self.record.branch, branch));
        self.record.tip = Some(tip.clone());
        self.is_collected()?;
        let (patch, cut) = shown(&diff);
        Ok(Collected { since, commit: Some(tip), patch, cut, left })
    }

    fn is_collected(&mut self) -> io::Result<()> {
        self.record.pending = false;
        self.record.write(&self.trees.0.root)
    }

    async fn commit_rest(&self) -> Result<(), WorktreeError> {
        self.within("takes the changed files", ["add", "--all"]).await?;
        let clean = ["diff", "--cached", "--quiet", "HEAD", "--"];
        if self.within("looks for changes", clean).await.is_ok() {
            return Ok(());
        }
        let message = format!("Changes of the task in {}", self.record.branch);
        let commit = ["commit", "--quiet", "--no-verify", "--message", &message];
        self.within("commits the changes", commit).await.map(drop)
    }

    /// The tree's current commit, which the repository has when this returns.
    async fn take_over(&self) -> Result<String, WorktreeError> {
        let what = "takes the commits over";
        let none = || WorktreeError::Git { what, reason: "the tree is at no commit".to_owned() };
        let git = &self.trees.0.git;
        let head = ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"];
        let head = text(&self.within("looks for its commit", head).await.map_err(|_| none())?);
        if !is_id(&head) {
            return Err(none());
        }
        if git.has_commit(&self.repository, &head).await {
            return Ok(head);
        }
        let bundle = tempfile::NamedTempFile::new_in(&self.trees.0.root)?;
        self.bundle(&format!("{}..HEAD", self.record.base), bundle.reopen()?).await?;
        let mut pack = bundle.reopen()?;
        let tip = tip(&mut pack)?.ok_or_else(none)?;
        // Neither a broken object nor one that names what is not there; whatever git's version.
        let index = ["index-pack", "--stdin", "--fix-thin", "--strict"];
        git.read(&self.repository.top, what, index, pack).await?;
        if git.has_commit(&self.repository, &tip).await { Ok(tip) } else { Err(none()) }
    }

    async fn bundle(&self, since: &str, output: File) -> Result<(), WorktreeError> {
        let arguments = ["bundle", "create", "--quiet", "-", since];
        let place = (self.root(), &self.repository);
        let git = &self.trees.0.git;
        git.run_within((&place.0, place.1), "packs the commits", arguments, Some(output)).await.map(drop)
    }

    /// Points a branch at `tip`: the tree's, if it is where it was left and checked out nowhere, or
    /// else one of a new name.
    async fn store(&self, tip: &str) -> Result<String, WorktreeError> {
        let git = &self.trees.0.git;
        let mut refused = None;
        for attempt in 1..=NAMES {
            let own = attempt == 1;
            let name = match attempt {
                1 => self.record.branch.clone(),
                _ => format!("opencode-{}-{attempt}", self.record.id),
            };
            let from = match git.branch(&self.repository, &name).await? {
                None => None,
                Some(branch) if branch.commit == tip && own => return Ok(name),
                Some(branch) if branch.commit == self.record.tip() && own && !branch.checked_out => {
                    Some(branch.commit)
                }
                Some(_) => continue,
            };
            match git.point(&self.repository, &name, tip, from.as_deref()).await {
                Ok(()) => return Ok(name),
                Err(error) => refused = Some(error),
            }
        }
        let taken =
            || WorktreeError::Git { what: "makes a branch", reason: "every name for it is taken".to_owned() };
        Err(refused.unwrap_or_else(taken))
    }

    async fn within<'a>(
        &self,
        what: &'static str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<u8>, WorktreeError> {
        self.trees.0.git.run_within((&self.root(), &self.repository), what, arguments, None).await
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

fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
