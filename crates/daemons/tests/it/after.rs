//! What people do with what tasks left: on their own branch, or gone.

use std::path::PathBuf;

use opencode_daemons::worktree::{
    ApplyError, CommitError, Committed, DiscardError, Task, apply, commit, current_branch, discard,
};
use opencode_daemons::{Environment, Worktree, Worktrees};
use serde_json::json;
use testkit::scratch::{git, repository};

struct Bench {
    root: tempfile::TempDir,
    workspace: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let workspace = root.path().join("app");
        repository(&workspace, &[("a.txt", "one\n"), ("b.txt", "b\n"), ("gone.txt", "x\n")]).unwrap();
        Self { root, workspace }
    }

    fn launcher() -> PathBuf {
        env!("CARGO_BIN_EXE_opencode-within-walls").into()
    }

    fn trees(&self) -> Worktrees {
        Worktrees::new("app", &self.workspace, &self.state(), environment(), Some(Self::launcher()))
    }

    fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(&self.workspace, arguments).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.workspace.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A task that changes, adds and removes a file.
    async fn task(&self) -> Left {
        let mut tree = self.trees().make().await.unwrap();
        let here = tree.directory();
        tree.is_about("\nFix the thing\nand more");
        tree.announces(&json!({ "at": 1 })).unwrap();
        tree.belongs_to("ses_1").unwrap();
        std::fs::write(here.join("a.txt"), "two\n").unwrap();
        std::fs::write(here.join("new, [x] é.txt"), "new\n").unwrap();
        std::fs::remove_file(here.join("gone.txt")).unwrap();
        let came = tree.collect().await.unwrap();
        Left {
            base: came.since,
            commit: came.commit.unwrap(),
            branch: tree.branch().to_owned(),
            tree: Some(tree),
        }
    }

    async fn commit(&self, left: &Left, title: Option<&str>) -> Result<Committed, CommitError> {
        self.commit_onto(left, title, None).await
    }

    async fn commit_onto(
        &self,
        left: &Left,
        title: Option<&str>,
        onto: Option<&str>,
    ) -> Result<Committed, CommitError> {
        let commits = (&*left.base, &*left.commit);
        commit(&self.workspace, commits, (title, onto), environment(), Some(Self::launcher())).await
    }

    async fn apply(&self, left: &Left) -> Result<(), ApplyError> {
        let commits = (&*left.base, &*left.commit);
        apply(&self.workspace, commits, environment(), Some(Self::launcher())).await.map(drop)
    }

    async fn discard(&self, branch: &str, commit: &str) -> Result<(), DiscardError> {
        let task = Task { state: &self.state(), name: "app", directory: &self.workspace, branch, commit };
        discard(task, environment(), Some(Self::launcher())).await
    }

    fn status(&self) -> String {
        self.git(&["status", "--porcelain"])
    }
}

struct Left {
    base: String,
    commit: String,
    branch: String,
    tree: Option<Worktree>,
}

fn environment() -> Environment {
    Environment::of_this_process().with("HOME", "/nonexistent")
}

#[tokio::test]
async fn a_branch_that_is_where_the_task_began_gets_the_tasks_own_commits() {
    for applied in [false, true] {
        let bench = Bench::new();
        let left = bench.task().await;
        bench.write("b.txt", "mine\n");
        if applied {
            bench.apply(&left).await.unwrap();
        }
        assert_eq!(current_branch(&bench.workspace).as_deref(), Some("main"));
        let done = bench.commit(&left, Some("ignored")).await.unwrap();
        assert_eq!(
            (done.commit.as_str(), done.as_it_was, done.branch.as_str()),
            (&*left.commit, true, "main")
        );
        assert_eq!(bench.git(&["rev-parse", "main"]).trim(), left.commit);
        assert_eq!(bench.status(), " M b.txt\n", "what is the person's own stays as it was");
        let again = bench.commit(&left, Some("ignored")).await.unwrap_err();
        assert!(matches!(again, CommitError::Already { .. }), "{again}");
    }
}

#[tokio::test]
async fn a_branch_that_moved_on_gets_one_commit_of_the_tasks_files_and_of_nothing_else() {
    for applied in [false, true] {
        let bench = Bench::new();
        let left = bench.task().await;
        bench.write("mine.txt", "committed\n");
        bench.git(&["add", "mine.txt"]);
        bench.git(&["commit", "--quiet", "--message=Mine"]);
        bench.write("b.txt", "staged\n");
        bench.git(&["add", "b.txt"]);
        bench.write("untracked.txt", "u\n");
        if applied {
            bench.apply(&left).await.unwrap();
        }
        let done = bench.commit(&left, None).await.unwrap();
        assert!(!done.as_it_was);
        assert_eq!(bench.git(&["log", "--format=%s", "main"]), "Fix the thing\nMine\nStart\n");
        let shown = bench.git(&["-c", "core.quotePath=false", "show", "--format=", "--name-status", "main"]);
        assert_eq!(shown, "M\ta.txt\nD\tgone.txt\nA\tnew, [x] é.txt\n");
        assert_eq!(bench.status(), "M  b.txt\n?? untracked.txt\n", "staged and untracked work stays");
        bench.git(&["fsck", "--strict"]);
    }
}

#[tokio::test]
async fn what_the_person_committed_meanwhile_in_the_same_file_stays() {
    let lines = |changed: &[usize]| -> String {
        let line = |n| if changed.contains(&n) { format!("{n} changed") } else { n.to_string() };
        (1..=100).map(line).collect::<Vec<_>>().join("\n") + "\n"
    };
    for partial in [false, true] {
        let mut bench = Bench::new();
        bench.write("d/long.txt", &lines(&[]));
        bench.git(&["add", "--all"]);
        bench.git(&["commit", "--quiet", "--message=Long"]);
        if partial {
            bench.git(&["config", "uploadpack.allowFilter", "true"]);
            let (from, to) =
                (format!("file://{}", bench.workspace.display()), bench.root.path().join("partial"));
            let to_text = to.display().to_string();
            bench.git(&["clone", "--quiet", "--filter=blob:none", "--sparse", &from, &to_text]);
            bench.workspace = to;
            bench.git(&["sparse-checkout", "set", "d"]);
        }
        let mut tree = bench.trees().make().await.unwrap();
        std::fs::write(tree.directory().join("d/long.txt"), lines(&[90])).unwrap();
        let came = tree.collect().await.unwrap();
        let branch = tree.branch().to_owned();
        let left = Left { base: came.since, commit: came.commit.unwrap(), branch, tree: Some(tree) };
        bench.write("d/long.txt", &lines(&[5]));
        bench.git(&["commit", "--quiet", "--all", "--message=Mine"]);

        let done = bench.commit(&left, Some("Theirs")).await.unwrap();
        assert!(!done.as_it_was);
        let shown = bench.git(&["show", "--format=%s", "--unified=0", "main"]);
        assert!(
            shown.starts_with("Theirs\n") && shown.ends_with("\n-90\n+90 changed\n"),
            "{partial}: {shown}"
        );
        assert_eq!(
            (bench.git(&["show", "main:d/long.txt"]), bench.status()),
            (lines(&[5, 90]), String::new())
        );
    }
}

#[tokio::test]
async fn what_cannot_be_committed_leaves_everything_as_it_was_and_says_why() {
    type Prepare = fn(&Bench);
    let cases: [(&str, Prepare, &str); 4] = [
        ("own changes", |bench| bench.write("a.txt", "mine\n"), "changes of its own"),
        (
            "a conflict",
            |bench| {
                bench.write("a.txt", "other\n");
                bench.git(&["commit", "--quiet", "--all", "--message=Other"]);
            },
            "does not apply",
        ),
        ("no branch", |bench| drop(bench.git(&["checkout", "--quiet", "--detach"])), "on no branch"),
        (
            "a merge",
            |bench| {
                let head = bench.git(&["rev-parse", "HEAD"]);
                bench.write(".git/MERGE_HEAD", &head);
            },
            "in the middle of a merge",
        ),
    ];
    for (what, prepare, words) in cases {
        let bench = Bench::new();
        let left = bench.task().await;
        prepare(&bench);
        let before = (bench.status(), bench.git(&["rev-parse", "HEAD"]), bench.git(&["diff", "HEAD"]));
        let error = bench.commit(&left, Some("Task")).await.unwrap_err().to_string();
        assert!(error.contains(words), "{what}: {error}");
        let after = (bench.status(), bench.git(&["rev-parse", "HEAD"]), bench.git(&["diff", "HEAD"]));
        assert_eq!(before, after, "{what}");
    }
}

#[tokio::test]
async fn no_hook_and_no_filter_runs_where_a_change_is_committed() {
    let bench = Bench::new();
    let left = bench.task().await;
    let ran = bench.root.path().join("ran");
    let script = format!("#!/bin/sh\ntouch {}\n", ran.display());
    for hook in ["pre-commit", "commit-msg", "post-commit", "reference-transaction", "post-index-change"] {
        let path = bench.workspace.join(".git/hooks").join(hook);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &script).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    for key in ["filter.x.clean", "filter.x.smudge", "core.fsmonitor", "gpg.program"] {
        bench.git(&["config", key, &format!("sh -c 'touch {}; cat'", ran.display())]);
    }
    bench.git(&["config", "commit.gpgSign", "true"]);
    std::fs::create_dir_all(bench.workspace.join(".git/info")).unwrap();
    bench.write(".git/info/attributes", "* filter=x\n");
    for moved_on in [false, true] {
        if moved_on {
            bench.git(&[
                "-c",
                "core.hooksPath=/dev/null",
                "-c",
                "core.fsmonitor=false",
                "reset",
                "--quiet",
                "--hard",
                &left.base,
            ]);
            bench.git(&[
                "-c",
                "core.hooksPath=/dev/null",
                "-c",
                "core.fsmonitor=false",
                "commit",
                "--quiet",
                "--allow-empty",
                "--message=On",
            ]);
            std::fs::remove_file(&ran).unwrap();
        }
        bench.commit(&left, Some("Task")).await.unwrap();
        assert!(!ran.exists(), "moved on: {moved_on}");
    }
}

#[tokio::test]
async fn what_a_task_left_is_removed_only_while_it_is_as_it_was_left() {
    let bench = Bench::new();
    let mut left = bench.task().await;
    let tree = left.tree.as_ref().unwrap().directory();
    let used = bench.discard(&left.branch, &left.commit).await.unwrap_err();
    assert!(matches!(used, DiscardError::InUse(_)), "whoever holds it may begin something there: {used}");
    left.tree = None;
    let exists = |bench: &Bench| !bench.git(&["branch", "--list", &left.branch]).is_empty();

    let refused = bench.discard("main", &left.base).await.unwrap_err();
    assert!(matches!(refused, DiscardError::NotOurs(_)), "{refused}");
    let refused = bench.discard(&left.branch, &left.base).await.unwrap_err();
    assert!(matches!(refused, DiscardError::Moved(_)), "{refused}");
    bench.git(&["branch", "--force", &left.branch, "main"]);
    let refused = bench.discard(&left.branch, &left.commit).await.unwrap_err();
    assert!(matches!(refused, DiscardError::Moved(_)), "{refused}");
    bench.git(&["branch", "--force", &left.branch, &left.commit]);
    bench.git(&["checkout", "--quiet", &left.branch]);
    let refused = bench.discard(&left.branch, &left.commit).await.unwrap_err();
    assert!(matches!(refused, DiscardError::CheckedOut(_)), "{refused}");
    bench.git(&["checkout", "--quiet", "main"]);
    assert!(exists(&bench) && tree.exists());

    bench.discard(&left.branch, &left.commit).await.unwrap();
    assert!(!exists(&bench) && !tree.exists());
    assert_eq!(bench.git(&["rev-parse", "main"]).trim(), left.base);
    assert!(bench.trees().of_session("ses_1").await.is_err(), "its session does not go on");
    let again = bench.discard(&left.branch, &left.commit).await.unwrap_err();
    assert!(matches!(again, DiscardError::NotOurs(_)), "{again}");
}

#[tokio::test]
async fn what_an_agent_works_on_is_not_removed() {
    let bench = Bench::new();
    let mut left = bench.task().await;
    let mut tree = left.tree.take().unwrap();
    tree.announces(&json!({ "at": 2 })).unwrap();
    let here = tree.directory();
    // Also after the host that began it was killed.
    drop(tree);
    let refused = bench.discard(&left.branch, &left.commit).await.unwrap_err();
    assert!(matches!(refused, DiscardError::InUse(_)), "{refused}");
    assert!(here.exists());
}

#[tokio::test]
async fn a_change_is_committed_on_the_branch_that_was_approved_and_on_no_other() {
    let bench = Bench::new();
    let left = bench.task().await;
    // Git shortens a name that is a tag's too to another.
    bench.git(&["tag", "main"]);
    let before = bench.status();
    bench.git(&["checkout", "--quiet", "-b", "other"]);
    let refused = bench.commit_onto(&left, None, Some("main")).await.unwrap_err();
    assert!(matches!(refused, CommitError::Other { .. }), "{refused}");
    assert_eq!((bench.status(), bench.git(&["rev-parse", "HEAD"]).trim()), (before, &*left.base));
    bench.git(&["checkout", "--quiet", "heads/main"]);
    bench.git(&["symbolic-ref", "HEAD", "refs/heads/main"]);
    let done = bench.commit_onto(&left, None, Some("main")).await.unwrap();
    assert_eq!((done.branch.as_str(), done.as_it_was), ("main", true));
    assert_eq!(bench.git(&["rev-parse", "refs/heads/main"]).trim(), left.commit);
    assert_eq!(bench.git(&["for-each-ref", "--format=%(refname)", "refs/heads/heads"]), "");
}

#[tokio::test]
async fn a_commit_that_git_refuses_leaves_the_files_and_the_branch_as_they_were() {
    for moved_on in [false, true] {
        let bench = Bench::new();
        let left = bench.task().await;
        if moved_on {
            bench.git(&["commit", "--quiet", "--allow-empty", "--message=Mine"]);
        }
        let now = || (bench.status(), bench.git(&["rev-parse", "HEAD"]), bench.git(&["diff", "HEAD"]));
        let before = now();
        std::fs::create_dir_all(bench.workspace.join(".git/refs/heads")).unwrap();
        bench.write(".git/refs/heads/main.lock", "");
        let error = bench.commit(&left, Some("Task")).await.unwrap_err();
        assert!(matches!(error, CommitError::Failed(_)), "moved on: {moved_on}: {error}");
        assert_eq!(now(), before, "moved on: {moved_on}");
        std::fs::remove_file(bench.workspace.join(".git/refs/heads/main.lock")).unwrap();
        bench.commit(&left, Some("Task")).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_staged_before_is_looked_at_again_before_it_is_committed() {
    let bench = Bench::new();
    let left = bench.task().await;
    bench.apply(&left).await.unwrap();
    let object = |id: &str| bench.workspace.join(".git/objects").join(&id[..2]).join(&id[2..]);
    bench.git(&["repack", "-a", "-d", "--quiet"]);
    let pack = std::fs::read_dir(bench.workspace.join(".git/objects/pack")).unwrap();
    let pack =
        pack.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "pack"));
    let pack = pack.unwrap();
    let moved = bench.root.path().join("pack");
    std::fs::rename(&pack, &moved).unwrap();
    std::fs::remove_dir_all(bench.workspace.join(".git/objects/pack")).unwrap();
    let script =
        format!("cd '{}' && git unpack-objects -q < '{}'", bench.workspace.display(), moved.display());
    #[expect(clippy::disallowed_methods, reason = "this is what an agent does")]
    let unpacked = std::process::Command::new("/bin/sh").args(["-c", &script]).status().unwrap();
    assert!(unpacked.success());
    let blob = bench.git(&["rev-parse", &format!("{}:a.txt", left.commit)]).trim().to_owned();
    bench.write("b.txt", "evil\n");
    let evil = bench.git(&["hash-object", "-w", "b.txt"]).trim().to_owned();
    bench.write("b.txt", "b\n");
    std::fs::remove_file(object(&blob)).unwrap();
    std::fs::copy(object(&evil), object(&blob)).unwrap();
    let error = bench.commit(&left, None).await.unwrap_err();
    assert!(matches!(error, CommitError::Apply(ApplyError::Unsound { .. })), "{error}");
    assert_eq!(bench.git(&["rev-parse", "main"]).trim(), left.base);
}
