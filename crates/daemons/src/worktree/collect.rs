//! Taking what came of a task out of its tree and into the repository, as a branch.

use std::fs::File;

use super::git::text;
use super::{Worktree, WorktreeError};

/// What came of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The commit that its branch now points at; nothing when it changed nothing since its base.
    pub commit: Option<String>,
    /// What changed since it was last collected, as a unified diff.
    pub patch: String,
}

impl Worktree {
    /// Commits what is left uncommitted in the tree (ignored files aside) and stores its current
    /// commit in the repository as its [`branch`](Self::branch). Without changes there is no branch.
    pub async fn collect(&mut self) -> Result<Collected, WorktreeError> {
        self.commit_rest().await?;
        let git = &self.trees.0.git;
        let (base, last) = (self.record.base.clone(), self.record.tip().to_owned());
        let since = format!("{base}..HEAD");
        let new = self.within("counts its commits", ["rev-list", "--count", &since, "--"]).await?;
        if text(&new) == "0" {
            if self.record.tip.is_none() {
                git.forget(&self.repository, &self.record.branch, &base).await;
            }
            return Ok(Collected { commit: self.record.tip.clone(), patch: String::new() });
        }
        let bundle = tempfile::NamedTempFile::new_in(&self.trees.0.root)?;
        self.bundle(&since, bundle.reopen()?).await?;
        let tip = self.fetch(&bundle.path().to_string_lossy()).await?;
        let diff = ["diff", "--no-ext-diff", "--no-textconv", "--no-color", &last, &tip, "--"];
        let patch = git.run(&self.repository.top, "shows what changed", diff).await?;
        self.record.tip = Some(tip.clone());
        self.record.write(&self.trees.0.root)?;
        Ok(Collected { commit: Some(tip), patch: String::from_utf8_lossy(&patch).into_owned() })
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

    async fn bundle(&self, since: &str, output: File) -> Result<(), WorktreeError> {
        let arguments = ["bundle", "create", "--quiet", "-", since];
        let place = (self.root(), &self.repository);
        let git = &self.trees.0.git;
        git.run_within((&place.0, place.1), "packs the commits", arguments, Some(output)).await.map(drop)
    }

    /// Reads the bundle into the repository, every object checked.
    async fn fetch(&self, bundle: &str) -> Result<String, WorktreeError> {
        let git = &self.trees.0.git;
        let reference = format!("refs/heads/{}", self.record.branch);
        let refspec = format!("+HEAD:{reference}");
        let fetch = [
            "-c",
            "fetch.fsckObjects=true",
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--no-recurse-submodules",
            bundle,
            &refspec,
        ];
        git.run(&self.repository.top, "takes the commits over", fetch).await?;
        Ok(text(&git.run(&self.repository.top, "looks for the branch", ["rev-parse", &reference]).await?))
    }

    async fn within<'a>(
        &self,
        what: &'static str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<u8>, WorktreeError> {
        self.trees.0.git.run_within((&self.root(), &self.repository), what, arguments, None).await
    }
}
