//! What tasks left, sent to remotes by git itself.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use opencode_daemons::Environment;
use opencode_daemons::worktree::{Destination, PushError, Pushed, Remote, push};
use testkit::scratch::{git, repository};

/// A workspace whose repository an agent may have written, and a bare repository to push to.
struct Bench {
    root: tempfile::TempDir,
    workspace: PathBuf,
    remote: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let (workspace, remote) = (root.path().join("app"), root.path().join("app.git"));
        repository(&workspace, &[("a.txt", "one\n")]).unwrap();
        git(root.path(), &["init", "--quiet", "--bare", "app.git"]).unwrap();
        // Of the person's own, and found where theirs is.
        std::fs::create_dir(root.path().join("bin")).unwrap();
        let asked = root.path().join("asked");
        let ssh = format!(
            "echo \"$SSH_ASKPASS $*\" >> {}\necho 'git@127.0.0.1: Permission denied (publickey).' >&2; exit 255",
            asked.display()
        );
        hook(&root.path().join("bin/ssh"), &ssh);
        Self { root, workspace, remote }
    }

    /// A commit on top of `base`, as a task leaves it: on a branch, with the workspace's files as they were.
    fn task(&self, base: &str, text: &str) -> String {
        let workspace = &self.workspace;
        git(workspace, &["checkout", "--quiet", "--detach", base]).unwrap();
        std::fs::write(workspace.join("a.txt"), text).unwrap();
        git(workspace, &["commit", "--quiet", "--all", "--message=Task"]).unwrap();
        let commit = git(workspace, &["rev-parse", "HEAD"]).unwrap().trim().to_owned();
        git(workspace, &["checkout", "--quiet", "main"]).unwrap();
        commit
    }

    async fn push(&self, commit: &str, branch: &str) -> Result<Pushed, PushError> {
        self.push_to(self.remote.to_str().unwrap(), commit, branch).await
    }

    async fn push_to(&self, remote: &str, commit: &str, branch: &str) -> Result<Pushed, PushError> {
        self.push_from(remote, &format!("{commit}~"), commit, branch).await
    }

    async fn push_from(
        &self,
        remote: &str,
        base: &str,
        commit: &str,
        branch: &str,
    ) -> Result<Pushed, PushError> {
        let base = git(&self.workspace, &["rev-parse", "--quiet", "--verify", base]).unwrap_or_default();
        let remote = Remote::parse(remote).unwrap();
        let to = Destination { remote: &remote, branch, log: &self.log() };
        let launcher = Some(env!("CARGO_BIN_EXE_opencode-within-walls").into());
        push(&self.workspace, (base.trim(), commit), to, self.environment(), launcher).await
    }

    fn environment(&self) -> Environment {
        let own = Environment::of_this_process();
        let mut path = self.root.path().join("bin").into_os_string();
        path.push(":");
        path.push(own.get("PATH").unwrap());
        own.with("HOME", self.root.path()).with("PATH", path).with("GIT_DIR", "/nonexistent")
    }

    fn log(&self) -> PathBuf {
        self.root.path().join("push.log")
    }

    fn at_remote(&self, branch: &str) -> String {
        git(&self.remote, &["rev-parse", &format!("refs/heads/{branch}")]).unwrap().trim().to_owned()
    }
}

fn hook(path: &Path, text: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_branch_is_new_at_the_remote_then_moves_on_and_history_is_never_overwritten() {
    let bench = Bench::new();
    let first = bench.task("main", "two\n");
    assert_eq!(bench.push(&first, "fix").await.unwrap(), Pushed::Created);
    assert_eq!(bench.at_remote("fix"), first);
    assert_eq!(bench.push(&first, "fix").await.unwrap(), Pushed::Unchanged);
    let next = bench.task(&first, "three\n");
    assert_eq!(bench.push(&next, "fix").await.unwrap(), Pushed::Updated);
    assert_eq!(bench.at_remote("fix"), next);
    let aside = bench.task(&first, "aside\n");
    for _ in 0..2 {
        let error = bench.push(&aside, "fix").await.unwrap_err();
        assert!(matches!(error, PushError::Diverged { .. }), "{error}");
    }
    assert_eq!(bench.at_remote("fix"), next);
    let older = bench.push(&first, "fix").await.unwrap_err();
    assert!(matches!(older, PushError::Diverged { .. }), "{older}");
    git(&bench.remote, &["fsck", "--strict"]).unwrap();
}

#[tokio::test]
async fn what_a_remote_does_not_take_is_told_by_its_cause_and_its_words_stay_with_the_owner() {
    let bench = Bench::new();
    let commit = bench.task("main", "two\n");
    hook(&bench.remote.join("hooks/pre-receive"), "echo hunter2-said >&2; exit 1");
    let declined = bench.push(&commit, "fix").await.unwrap_err();
    assert!(matches!(declined, PushError::Declined { .. }), "{declined}");
    assert!(!declined.to_string().contains("hunter2"), "{declined}");
    let kept = std::fs::metadata(bench.log()).unwrap();
    assert_eq!(kept.permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(bench.log()).unwrap().contains("hunter2-said"));

    let gone = bench.root.path().join("gone.git").display().to_string();
    let error = bench.push_to(&gone, &commit, "fix").await.unwrap_err();
    assert!(matches!(error, PushError::Unreachable { .. }), "{error}");
    let error = bench.push_to("ssh://git@127.0.0.1/app.git", &commit, "fix").await.unwrap_err();
    assert!(matches!(error, PushError::Credentials { .. }), "{error}");
    let asked = std::fs::read_to_string(bench.root.path().join("asked")).unwrap();
    assert!(asked.starts_with("false ") && asked.contains("git-receive-pack"), "nobody is asked: {asked}");
    let error = bench.push("1f7a7a472abf3dd9643fd615f6da379c4acb3e3a", "fix").await.unwrap_err();
    assert!(matches!(error, PushError::Gone(_)), "{error}");
    let error = bench.push(&commit, "a..b").await.unwrap_err();
    assert!(matches!(error, PushError::Name(_)), "{error}");
}

#[tokio::test]
async fn nothing_that_a_repository_says_is_done_when_it_is_pushed_from() {
    let bench = Bench::new();
    let commit = bench.task("main", "two\n");
    let marker = bench.root.path().join("ran");
    let touch = format!("touch {}", marker.display());
    let script = bench.root.path().join("evil");
    hook(&script, &touch);
    hook(&bench.workspace.join(".git/hooks/pre-push"), &touch);
    let evil = script.to_str().unwrap();
    let elsewhere = bench.root.path().join("elsewhere.git");
    git(bench.root.path(), &["init", "--quiet", "--bare", "elsewhere.git"]).unwrap();
    let instead = format!("url.{}.pushInsteadOf", elsewhere.display());
    for (key, value) in [
        ("core.sshCommand", evil),
        ("core.hooksPath", bench.root.path().to_str().unwrap()),
        ("credential.helper", evil),
        ("core.askPass", evil),
        ("core.gitProxy", evil),
        ("gpg.program", evil),
        ("push.gpgSign", "if-asked"),
        ("remote.origin.receivepack", evil),
        ("core.alternateRefsCommand", evil),
        ("uploadpack.packObjectsHook", evil),
        (&instead, bench.remote.to_str().unwrap()),
    ] {
        git(&bench.workspace, &["config", key, value]).unwrap();
    }
    assert_eq!(bench.push(&commit, "fix").await.unwrap(), Pushed::Created);
    assert_eq!(bench.at_remote("fix"), commit);
    assert!(git(&elsewhere, &["rev-parse", "--verify", "refs/heads/fix"]).is_err());
    // By the person's ssh, and not by the repository's.
    bench.push_to("git@127.0.0.1:app.git", &commit, "fix").await.unwrap_err();
    assert!(bench.root.path().join("asked").exists());
    let unreachable = bench.push_to("https://127.0.0.1:1/app.git", &commit, "fix").await.unwrap_err();
    assert!(matches!(unreachable, PushError::Unreachable { .. }), "{unreachable}");
    assert!(!marker.exists(), "a program of the repository's ran");
}

#[tokio::test]
async fn nothing_beside_what_was_shown_is_sent_along() {
    let bench = Bench::new();
    let start = git(&bench.workspace, &["rev-parse", "main"]).unwrap().trim().to_owned();
    let stash = bench.task("main", "private\n");
    let tree = git(&bench.workspace, &["rev-parse", "main^{tree}"]).unwrap();
    let merge = ["commit-tree", "-m", "Merge", "-p", &start, "-p", &stash, tree.trim()];
    let merge = git(&bench.workspace, &merge).unwrap().trim().to_owned();
    let unrelated =
        git(&bench.workspace, &["commit-tree", "-m", "Root", tree.trim()]).unwrap().trim().to_owned();
    let two = bench.task(&bench.task("main", "first\n"), "two\n");
    let remote = bench.remote.to_str().unwrap();
    for crooked in [&merge, &unrelated, &start] {
        let error = bench.push_from(remote, "main", crooked, "fix").await.unwrap_err();
        assert!(matches!(error, PushError::Crooked(_)), "{error}");
    }
    assert_eq!(bench.push_from(remote, "main", &two, "fix").await.unwrap(), Pushed::Created);
    assert!(git(&bench.remote, &["cat-file", "-e", &stash]).is_err());
}

/// Rewrites the parents of `of` in the commit-graph that git wrote: all it had are taken for `instead`.
fn forge(graph: &Path, of: &str, instead: &str) {
    let mut bytes = std::fs::read(graph).unwrap();
    let word = |bytes: &[u8], at: usize| {
        usize::try_from(u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
    };
    let chunk = |bytes: &[u8], name: &[u8]| {
        (0..bytes[6] as usize)
            .map(|at| 8 + 12 * at)
            .find(|at| bytes[*at..].starts_with(name))
            .map(|at| word(bytes, at + 4))
            .unwrap()
    };
    let (ids, data) = (chunk(&bytes, b"OIDL"), chunk(&bytes, b"CDAT"));
    let place = |bytes: &[u8], id: &str| {
        let is = |at: &usize| {
            let id_at = &bytes[ids + 20 * at..ids + 20 * at + 20];
            HEXLOWER.encode(id_at) == id
        };
        (0..(data - ids) / 20).find(is).unwrap()
    };
    let (of, instead) = (place(&bytes, of), u32::try_from(place(&bytes, instead)).unwrap());
    bytes[data + 36 * of + 20..data + 36 * of + 24].copy_from_slice(&instead.to_be_bytes());
    std::fs::remove_file(graph).unwrap();
    std::fs::write(graph, bytes).unwrap();
}

#[tokio::test]
async fn history_is_not_overwritten_by_what_a_forged_graph_of_commits_says() {
    let bench = Bench::new();
    let theirs = bench.task("main", "theirs\n");
    bench.push(&theirs, "fix").await.unwrap();
    let first = bench.task("main", "first\n");
    let ours = bench.task(&first, "two\n");
    for (branch, commit) in [("theirs", &theirs), ("ours", &ours)] {
        git(&bench.workspace, &["update-ref", &format!("refs/heads/{branch}"), commit]).unwrap();
    }
    git(&bench.workspace, &["commit-graph", "write", "--reachable"]).unwrap();
    forge(&bench.workspace.join(".git/objects/info/commit-graph"), &first, &theirs);
    let seen = git(&bench.workspace, &["merge-base", "--is-ancestor", &theirs, &ours]);
    assert!(seen.is_ok(), "git believes the graph: {seen:?}");
    let error = bench.push(&ours, "fix").await.unwrap_err();
    assert!(matches!(error, PushError::Diverged { .. }), "{error}");
    assert_eq!(bench.at_remote("fix"), theirs);
}

#[tokio::test]
async fn a_shallow_repository_and_one_of_sha_256_are_pushed_from() {
    let bench = Bench::new();
    let commit = bench.task("main", "two\n");
    git(&bench.workspace, &["push", "--quiet", bench.remote.to_str().unwrap(), "main"]).unwrap();
    let shallow = bench.root.path().join("shallow");
    let from = format!("file://{}", bench.remote.display());
    git(bench.root.path(), &["clone", "--quiet", "--depth=1", "--branch=main", &from, "shallow"]).unwrap();
    let bench = Bench { workspace: shallow, ..bench };
    let next = bench.task("main", "from a shallow one\n");
    assert_eq!(bench.push(&next, "shallow").await.unwrap(), Pushed::Created);
    assert!(matches!(bench.push(&commit, "x").await.unwrap_err(), PushError::Gone(_)));

    let (workspace, remote) = (bench.root.path().join("long"), bench.root.path().join("long.git"));
    std::fs::create_dir(&workspace).unwrap();
    git(&workspace, &["init", "--quiet", "--initial-branch=main", "--object-format=sha256"]).unwrap();
    std::fs::write(workspace.join("a.txt"), "one\n").unwrap();
    git(&workspace, &["add", "--all"]).unwrap();
    git(&workspace, &["commit", "--quiet", "--message=Start"]).unwrap();
    git(bench.root.path(), &["init", "--quiet", "--bare", "--object-format=sha256", "long.git"]).unwrap();
    let bench = Bench { workspace, remote, ..bench };
    let commit = bench.task("main", "two\n");
    assert_eq!(bench.push(&commit, "fix").await.unwrap(), Pushed::Created);
    assert_eq!(bench.at_remote("fix"), commit);
}
