//! Submodules in trees of tasks: filled from what the workspace has of them, and taken out into that.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use opencode_daemons::worktree::{Task, apply, commit as committed, discard};
use opencode_daemons::{Environment, Worktrees};
use serde_json::json;
use testkit::scratch::{git, repository};

use crate::lfs::{acts, oid, pointer};
use crate::setup::{Bench, chain, read};

fn adds(at: &Path, from: &Path, more: &[&str], to: &str) {
    let from = from.display().to_string();
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add"];
    git(at, &[&add, more, &["--", &from, to]].concat()).unwrap();
    git(at, &["commit", "--quiet", "--message=With a submodule"]).unwrap();
}

/// A workspace with the submodule `lib`, named `a/library`, which has one called `deep/er`.
fn bench() -> Bench {
    let bench = Bench::new();
    let [inner, library] = ["inner", "library"].map(|name| bench.root.path().join(name));
    repository(&inner, &[("i.txt", "i\n")]).unwrap();
    repository(&library, &[("l.txt", "l\n"), (".gitignore", "*.log\n")]).unwrap();
    adds(&library, &inner, &[], "deep/er");
    adds(&bench.workspace, &library, &["--name", "a/library"], "lib");
    let update =
        ["-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init", "--recursive"];
    bench.git(&update);
    bench
}

fn trees(bench: &Bench) -> Worktrees {
    bench.trees(json!({ "setup": { "submodules": true } }))
}

fn link(bench: &Bench, at: &str) -> String {
    bench.git(&["rev-parse", &format!("{at}:lib")]).trim().to_owned()
}

/// The workspace's own repository of `lib`.
fn own(bench: &Bench) -> PathBuf {
    bench.workspace.join(".git/modules/a/library")
}

#[tokio::test]
async fn submodules_are_filled_at_their_commits_from_what_the_workspace_has_wherever_git_keeps_it() {
    type Layout = fn(&Bench) -> PathBuf;
    let layouts: [(&str, Layout); 5] = [
        ("as git makes them", |b| b.workspace.clone()),
        ("without the original", |b| {
            std::fs::remove_dir_all(b.root.path().join("library")).unwrap();
            b.workspace.clone()
        }),
        ("with a repository in its place", |b| {
            git(&own(b), &["config", "--file", "config", "--unset", "core.worktree"]).unwrap();
            let inner = own(b).join("modules/deep/er");
            git(&inner, &["config", "--file", "config", "--unset", "core.worktree"]).unwrap();
            for (from, to) in [(inner, "lib/deep/er/.git"), (own(b), "lib/.git")] {
                std::fs::remove_file(b.workspace.join(to)).unwrap();
                std::fs::rename(from, b.workspace.join(to)).unwrap();
            }
            b.workspace.clone()
        }),
        ("not checked out, and ahead", |b| {
            acts(&b.workspace.join("lib"), "echo later > l.txt; git commit -qam later");
            b.git(&["submodule", "--quiet", "deinit", "--force", "--all"]);
            b.workspace.clone()
        }),
        ("a linked worktree", |b| {
            let linked = b.root.path().join("linked");
            b.git(&["worktree", "add", "--quiet", &linked.display().to_string()]);
            linked
        }),
    ];
    for (what, layout) in layouts {
        let bench = bench();
        let workspace = layout(&bench);
        let trees = bench.trees_of(&workspace, json!({ "setup": { "submodules": true } }));
        let mut tree = trees.make().await.unwrap_or_else(|error| panic!("{what}: {}", chain(&error)));
        let here = tree.directory();
        assert_eq!(read(&here.join("lib/l.txt")), "l\n", "{what}");
        assert_eq!(read(&here.join("lib/deep/er/i.txt")), "i\n", "{what}");
        assert_eq!(acts(&here, "git status --porcelain; git -C lib status --porcelain"), "", "{what}");
        assert_eq!(acts(&here.join("lib"), "git rev-parse HEAD").trim(), link(&bench, "HEAD"), "{what}");
        let came = tree.collect().await.unwrap();
        assert!(came.commit.is_none() && came.notes.is_empty(), "{what}: {came:?}");
        let settings = read(&here.join("lib/.git/config"));
        assert!(!settings.contains("worktree") && !settings.contains("url"), "{what}: {settings}");
    }
}

#[tokio::test]
async fn what_is_changed_in_a_submodule_is_on_a_branch_of_its_own_repository_and_told() {
    let bench = bench();
    let before = (link(&bench, "HEAD"), bench.git(&["status", "--porcelain"]));
    let trees = trees(&bench);
    let mut tree = trees.make().await.unwrap();
    tree.announces(&json!({ "at": 1 })).unwrap();
    tree.belongs_to("ses_1").unwrap();
    let here = tree.directory();
    let script = "echo mine > lib/l.txt; echo new > lib/deep/er/new.txt; echo x > lib/x.log; echo changed > app.txt; \
                  cd lib; git commit -qam 'In the submodule'; cd ..; git add lib; git commit -qm 'Names it'; rm -r web";
    acts(&here, script);
    let came = tree.collect().await.unwrap();
    let files: Vec<_> = came.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["app.txt", "web/page.txt"]);
    let tip = came.commit.unwrap();
    assert_eq!(link(&bench, &tip), before.0, "nobody else has that commit of the submodule");
    let told: Vec<_> = came.submodules.iter().map(|it| (it.path.as_str(), it.branch.as_str())).collect();
    assert_eq!(told, [("lib/deep/er", tree.branch()), ("lib", tree.branch())]);
    assert!(
        came.notes.len() == 2 && came.notes[1].contains("lib is on branch opencode-"),
        "{:?}",
        came.notes
    );
    let lib = bench.workspace.join("lib");
    let shown = |at: &Path, name: &str| git(at, &["show", &format!("{}:{name}", tree.branch())]).unwrap();
    assert_eq!(
        (shown(&lib, "l.txt"), shown(&lib.join("deep/er"), "new.txt")),
        ("mine\n".into(), "new\n".into())
    );
    assert!(git(&lib, &["show", &format!("{}:x.log", tree.branch())]).is_err());
    assert_eq!(read(&lib.join("l.txt")), "l\n", "the user's own files stay as they are");
    assert_eq!(bench.git(&["status", "--porcelain"]), before.1);
    for at in [&bench.workspace, &lib] {
        git(at, &["fsck", "--strict"]).unwrap();
    }
    // Once told is enough, and a session goes on with it, also in a tree that is made again.
    let again = tree.collect().await.unwrap();
    assert!(again.notes.is_empty() && again.submodules.is_empty(), "{again:?}");
    drop(tree);
    std::fs::remove_dir_all(&here).unwrap();
    let mut tree = trees.of_session("ses_1").await.unwrap();
    assert_eq!(read(&here.join("lib/l.txt")), "mine\n");
    std::fs::write(here.join("lib/l.txt"), "more\n").unwrap();
    let came = tree.collect().await.unwrap();
    assert_eq!((came.submodules.len(), came.files.len()), (1, 0), "{came:?}");
    let branch = tree.branch().to_owned();
    assert_eq!(git(&lib, &["log", "--format=%s", &format!("{branch}~2")]).unwrap().lines().count(), 2);
    drop(tree);
    let (state, commit) = (bench.state(), came.commit.unwrap());
    let task =
        Task { state: &state, name: "app", directory: &bench.workspace, branch: &branch, commit: &commit };
    let launcher = Some(env!("CARGO_BIN_EXE_opencode-within-walls").into());
    discard(task, Environment::of_this_process(), launcher).await.unwrap();
    for at in [&lib, &lib.join("deep/er")] {
        assert_eq!(git(at, &["branch", "--list", "opencode-*"]).unwrap(), "");
    }
}

#[tokio::test]
async fn a_submodule_that_is_moved_to_a_commit_of_the_users_own_is_named_so_on_the_branch() {
    let bench = bench();
    let lib = bench.workspace.join("lib");
    let before = link(&bench, "HEAD");
    acts(&lib, "git checkout -q -b next; echo next > l.txt; git commit -qam next; git checkout -q -");
    let next = git(&lib, &["rev-parse", "next"]).unwrap().trim().to_owned();
    bench.git(&["submodule", "--quiet", "update"]);
    let mut tree = trees(&bench).make().await.unwrap();
    acts(&tree.directory().join("lib"), &format!("git checkout -q {next}"));
    let came = tree.collect().await.unwrap();
    assert_eq!((link(&bench, &came.commit.unwrap()), link(&bench, "HEAD")), (next, before));
    assert!(came.submodules.is_empty() && came.notes.is_empty(), "{:?}", came.notes);
    assert_eq!(came.files.iter().map(|it| it.path.as_str()).collect::<Vec<_>>(), ["lib"]);
    assert_eq!(git(&lib, &["branch", "--list", "opencode-*"]).unwrap(), "");
}

/// What can be configured so that differences are not shown, or not as they are applied.
const UNSHOWN: [(&str, &str); 8] = [
    ("diff.submodule", "log"),
    ("diff.submodule", "diff"),
    ("diff.ignoreSubmodules", "all"),
    ("submodule.a/library.ignore", "all"),
    ("diff.noPrefix", "true"),
    ("diff.srcPrefix", "x/y/"),
    ("diff.context", "0"),
    ("diff.orderFile", "none"),
];

/// The user's own commit of `lib`, upon the one that is named.
fn ahead(bench: &Bench) -> String {
    let lib = bench.workspace.join("lib");
    acts(&lib, "git checkout -q -b next; echo next > l.txt; git commit -qam next; git checkout -q -");
    bench.git(&["submodule", "--quiet", "update"]);
    git(&lib, &["rev-parse", "next"]).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_moved_submodule_is_taken_out_applied_and_committed_whatever_is_configured_of_differences() {
    for (key, value) in UNSHOWN {
        let bench = bench();
        let next = ahead(&bench);
        if key == "submodule.a/library.ignore" {
            bench.git(&["config", "--file", ".gitmodules", key, value]);
            bench.git(&["commit", "--quiet", "--all", "--message=Ignored"]);
        }
        bench.git(&["config", key, value]);
        let mut tree = trees(&bench).make().await.unwrap();
        let here = tree.directory();
        git(&here, &["config", key, value]).unwrap();
        acts(&here.join("lib"), &format!("git checkout -q {next}"));
        let only = tree.collect().await.unwrap();
        assert_eq!(only.files.len(), 1, "{key}={value}: {only:?}");
        std::fs::write(here.join("app.txt"), "changed\n").unwrap();
        let commit = tree.collect().await.unwrap().commit.unwrap();
        assert_eq!(link(&bench, &commit), next, "{key}={value}");
        let launcher = || Some(env!("CARGO_BIN_EXE_opencode-within-walls").into());
        let (base, environment) = (only.since.clone(), Environment::of_this_process);
        let applied = apply(&bench.workspace, (&base, &commit), environment(), launcher()).await;
        let applied = applied.unwrap_or_else(|error| panic!("{key}={value}: {}", chain(&error)));
        assert_eq!(applied.files, ["app.txt", "lib"], "{key}={value}");
        assert!(bench.git(&["ls-files", "--stage", "lib"]).contains(&next), "{key}={value}");
        assert_eq!(read(&bench.workspace.join("app.txt")), "changed\n", "{key}={value}");
        bench.git(&["reset", "--quiet", "--hard"]);
        bench.git(&["commit", "--quiet", "--allow-empty", "--message=Moved on"]);
        let range = (&*base, &*commit);
        let came = committed(&bench.workspace, range, (None, None), environment(), launcher()).await;
        let came = came.unwrap_or_else(|error| panic!("{key}={value}: {}", chain(&error)));
        assert!(!came.as_it_was && link(&bench, "HEAD") == next, "{key}={value}");
    }
}

#[tokio::test]
async fn a_moved_submodule_that_was_applied_is_undone_and_committed_whatever_is_checked_out_there() {
    let bench = bench();
    let next = ahead(&bench);
    let mut tree = trees(&bench).make().await.unwrap();
    acts(&tree.directory().join("lib"), &format!("git checkout -q {next}"));
    let came = tree.collect().await.unwrap();
    let (base, commit) = (came.since, came.commit.unwrap());
    let before = link(&bench, "HEAD");
    let launcher = || Some(env!("CARGO_BIN_EXE_opencode-within-walls").into());
    for range in [(&*base, &*commit), (&*commit, &*base), (&*base, &*commit)] {
        let applied = apply(&bench.workspace, range, Environment::of_this_process(), launcher()).await;
        assert_eq!(applied.unwrap_or_else(|error| panic!("{}", chain(&error))).files, ["lib"]);
        let now = bench.git(&["ls-files", "--stage", "lib"]);
        assert!(now.contains(if range.1 == commit { &next } else { &before }), "{now}");
    }
    let range = (&*base, &*commit);
    let done =
        committed(&bench.workspace, range, (None, None), Environment::of_this_process(), launcher()).await;
    done.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(link(&bench, "HEAD"), next);
}

#[tokio::test]
async fn no_commit_that_is_in_the_tree_alone_is_named_wherever_a_submodule_is_moved_to() {
    let moved = "mkdir vendor; git mv lib vendor/lib";
    let change = "echo mine > l.txt; git commit -qam Mine";
    for (what, script, at, told) in [
        ("moved", format!("{moved}; true"), Some("vendor/lib"), false),
        ("moved and changed", format!("{moved}; cd vendor/lib; {change}"), Some("vendor/lib"), false),
        (
            "moved and no repository any more",
            format!("{moved}; rm -rf vendor/lib/.git; true"),
            Some("vendor/lib"),
            false,
        ),
        (
            "moved, changed and committed",
            format!("{moved}; cd vendor/lib; {change}; cd ../..; git add .; git commit -qm 'Moves it'"),
            None,
            true,
        ),
        ("a copy of it", format!("cp -r lib other; cd other; {change}"), Some("lib"), true),
        (
            "a repository of its own",
            format!("git init -q other; cd other; echo x > l.txt; git add .; {change}"),
            Some("lib"),
            true,
        ),
        (
            "one in a submodule",
            format!("git init -q lib/other; cd lib/other; echo x > l.txt; git add .; {change}"),
            Some("lib"),
            true,
        ),
    ] {
        let bench = bench();
        let base = link(&bench, "HEAD");
        let mut tree = trees(&bench).make().await.unwrap();
        let here = tree.directory();
        acts(&here, &format!("echo changed > app.txt; {script}"));
        let came = tree.collect().await.unwrap_or_else(|error| panic!("{what}: {}", chain(&error)));
        let tip = came.commit.clone().unwrap();
        let named = bench.git(&["ls-tree", "-r", &tip]);
        let links: Vec<_> = named.lines().filter_map(|line| line.strip_prefix("160000 commit ")).collect();
        let expected = at.map(|at| format!("{base}\t{at}"));
        assert_eq!(links, expected.into_iter().collect::<Vec<_>>(), "{what}: {came:?}");
        let words = came.notes.join("\n");
        assert_eq!(words.contains("in the task's tree alone, so the branch"), told, "{what}: {words}");
        assert_eq!(
            words.contains("in the submodule lib, if anything did"),
            at != Some("lib"),
            "{what}: {words}"
        );
        assert!(came.submodules.is_empty(), "{what}: {words}");
        assert_eq!(bench.git(&["show", &format!("{tip}:app.txt")]), "changed\n", "{what}");
    }
}

#[tokio::test]
async fn a_submodule_that_is_not_there_fails_the_task_with_its_name_and_what_to_run() {
    type Spoil = fn(&Bench);
    let rows: [(&str, Spoil, &str); 4] = [
        ("never downloaded", |b| std::fs::remove_dir_all(own(b)).unwrap(), "the submodule lib is not"),
        (
            "the inner one",
            |b| std::fs::remove_dir_all(own(b).join("modules/deep/er")).unwrap(),
            "the submodule lib/deep/er is not",
        ),
        (
            "another commit",
            |b| {
                let none = "160000,1111111111111111111111111111111111111111,lib";
                b.git(&["update-index", "--cacheinfo", none]);
                b.git(&["commit", "--quiet", "--message=Ahead"]);
            },
            "1111111111111111111111111111111111111111",
        ),
        (
            "a link to somewhere else",
            |b| {
                std::fs::rename(own(b), b.root.path().join("elsewhere")).unwrap();
                symlink(b.root.path().join("elsewhere"), own(b)).unwrap();
            },
            "the submodule lib is not",
        ),
    ];
    for (what, spoil, words) in rows {
        let bench = bench();
        spoil(&bench);
        let error = chain(&trees(&bench).make().await.unwrap_err());
        assert!(error.contains(words) && error.contains("git submodule update --init"), "{what}: {error}");
        assert_eq!(bench.git(&["branch", "--list", "opencode-*"]), "", "{what}");
    }
}

#[tokio::test]
async fn a_submodule_whose_repository_borrows_objects_is_refused_until_it_has_all_of_its_own() {
    for borrower in ["lib", "lib/deep/er"] {
        let bench = bench();
        let own = match borrower {
            "lib" => own(&bench),
            _ => own(&bench).join("modules/deep/er"),
        };
        let lender = bench.root.path().join("lender");
        repository(&lender, &[("theirs.txt", "theirs\n")]).unwrap();
        std::fs::write(own.join("objects/info/alternates"), format!("{}/.git/objects\n", lender.display()))
            .unwrap();
        let error = chain(&trees(&bench).make().await.unwrap_err());
        assert!(error.contains(&format!("the submodule {borrower} borrows")), "{error}");
        assert!(error.contains("git repack -a -d") && error.contains(&own.display().to_string()), "{error}");
        // A tree without submodules reads nothing there.
        bench.trees(json!({})).make().await.unwrap();
        git(&own, &["--work-tree=.", "repack", "-a", "-d", "--quiet"]).unwrap();
        std::fs::remove_file(own.join("objects/info/alternates")).unwrap();
        let tree = trees(&bench).make().await.unwrap();
        assert_eq!(read(&tree.directory().join("lib/deep/er/i.txt")), "i\n");
    }
}

/// What a commit's `.gitmodules` says of the submodule at `lib`, and whether that is refused. Where it is not, the
/// place stays empty: none that is named is there.
const HOSTILE: [(&str, &str, bool); 14] = [
    ("a name that leads out (CVE-2018-11235)", "[submodule \"../../planted\"]\npath = lib\n", true),
    ("a name that leads out further down", "[submodule \"a/../../../planted\"]\npath = lib\n", true),
    ("an absolute name", "[submodule \"/planted\"]\npath = lib\n", true),
    ("a name of git's own", "[submodule \".git/modules/a/library\"]\npath = lib\n", true),
    ("a place that leads out", "[submodule \"x\"]\npath = ../planted\n", true),
    ("an absolute place", "[submodule \"x\"]\npath = /planted\n", true),
    ("a place in git's own files (CVE-2024-32002)", "[submodule \"x\"]\npath = .git/modules/y\n", true),
    ("the same in other letters", "[submodule \"x\"]\npath = A/.GIT/hooks\n", true),
    ("two of one place", "[submodule \"x\"]\npath = lib\n[submodule \"y\"]\npath = lib\n", true),
    (
        "two of one place in other letters",
        "[submodule \"x\"]\npath = lib\n[submodule \"y\"]\npath = LIB\n",
        true,
    ),
    ("a line's end in its place", "[submodule \"x\"]\npath = \"lib\\nx\"\n", true),
    ("a place behind a link", "[submodule \"a/library\"]\npath = linked/modules\n", false),
    ("a file that it includes", "[include]\npath = ../outside\n", false),
    ("no settings at all", "[submodule \"x\n", true),
];

#[tokio::test]
async fn no_submodule_is_taken_from_or_put_where_names_lead_elsewhere() {
    for (what, says, refused) in HOSTILE {
        let bench = bench();
        let planted = bench.root.path().join("app/planted");
        repository(&planted, &[("p.txt", "planted\n")]).unwrap();
        std::fs::write(bench.root.path().join("outside"), "[submodule \"a/library\"]\npath = lib\n").unwrap();
        std::fs::write(bench.workspace.join(".gitmodules"), says).unwrap();
        symlink(".git", bench.workspace.join("linked")).unwrap();
        bench.git(&["add", ".gitmodules", "linked"]);
        bench.git(&["commit", "--quiet", "--message=Hostile"]);
        match trees(&bench).make().await {
            Ok(tree) => {
                assert!(!refused, "{what} is taken");
                let here = tree.directory();
                assert_eq!(std::fs::read_dir(here.join("lib")).unwrap().count(), 0, "{what}");
                assert!(!here.join(".git/modules").exists(), "{what}");
            }
            Err(error) => {
                assert!(refused, "{what}: {}", chain(&error));
                assert!(
                    error.to_string().contains(".gitmodules is not taken for submodules"),
                    "{what}: {error}"
                );
            }
        }
        let trees = std::fs::read_dir(bench.state().join("app.worktrees/making")).unwrap().count();
        assert_eq!(trees, 0, "{what}");
    }
}

#[tokio::test]
async fn nothing_that_a_submodules_repository_says_is_run_or_asked_for() {
    let bench = bench();
    let ran = bench.root.path().join("ran");
    let run = format!("touch {}; cat", ran.display());
    let hook = own(&bench).join("hooks/post-checkout");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, format!("#!/bin/sh\n{run}")).unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(own(&bench).join("info/attributes"), "* filter=evil\n").unwrap();
    for (key, value) in [
        ("filter.evil.smudge", run.as_str()),
        ("filter.evil.clean", &run),
        ("filter.evil.required", "true"),
        ("core.fsmonitor", &run),
        ("core.hooksPath", &hook.parent().unwrap().display().to_string()),
        ("remote.origin.url", &format!("ext::sh -c touch% {}", ran.display())),
        ("remote.origin.promisor", "true"),
    ] {
        git(&own(&bench), &["config", key, value]).unwrap();
        git(&bench.workspace, &["config", &format!("submodule.a/library.{key}"), value]).unwrap();
    }
    bench.git(&["config", "submodule.a/library.update", &format!("!touch {}", ran.display())]);
    acts(bench.root.path(), "cp -r app control; git -C control/lib status || true");
    assert!(ran.exists(), "it does nothing at all");
    std::fs::remove_file(&ran).unwrap();
    let mut tree = trees(&bench).make().await.unwrap();
    let here = tree.directory();
    assert_eq!(read(&here.join("lib/l.txt")), "l\n");
    for key in ["clean", "smudge", "required"] {
        let value = if key == "required" { "true" } else { &*run };
        git(&here.join("lib"), &["config", &format!("filter.evil.{key}"), value]).unwrap();
    }
    git(&here.join("lib"), &["config", "core.fsmonitor", &run]).unwrap();
    std::fs::write(here.join("lib/.gitattributes"), "* filter=evil\n").unwrap();
    std::fs::write(here.join("app.txt"), "changed\n").unwrap();
    let came = tree.collect().await.unwrap();
    assert!(came.submodules.len() == 1 && came.files.len() == 1, "{came:?}");
    assert!(!ran.exists(), "it was run");
}

#[tokio::test]
async fn a_submodule_that_its_agent_replaced_is_told_of_and_everything_else_is_taken_out() {
    for (what, script, told) in [
        ("a link", "mv lib gone; ln -s \"$OUTSIDE\" lib", true),
        ("a link to a repository", "rm -rf lib/.git; ln -s \"$OUTSIDE/.git\" lib/.git", true),
        ("a file that leads elsewhere", "rm -rf lib/.git; echo \"gitdir: $OUTSIDE/.git\" > lib/.git", true),
        ("no repository any more", "rm -rf lib/.git; echo x > lib/x", true),
        ("nothing", "rm -rf lib", true),
        ("taken away with git", "git rm -qf lib 2>/dev/null || (rm -rf lib; git rm -q --cached lib)", true),
    ] {
        let bench = bench();
        let outside = bench.root.path().join("outside");
        repository(&outside, &[("o.txt", "theirs\n")]).unwrap();
        std::fs::write(outside.join("new.txt"), "theirs\n").unwrap();
        let before = (git(&outside, &["rev-parse", "HEAD"]).unwrap(), link(&bench, "HEAD"));
        let mut tree = trees(&bench).make().await.unwrap();
        let script = script.replace("$OUTSIDE", &outside.display().to_string());
        acts(&tree.directory(), &format!("{script}; echo changed > app.txt"));
        let came = tree.collect().await.unwrap_or_else(|error| panic!("{what}: {}", chain(&error)));
        assert!(came.files.iter().any(|file| file.path == "app.txt"), "{what}: {came:?}");
        let words = came.notes.join("\n");
        assert_eq!(words.contains("the submodule lib"), told, "{what}: {words}");
        let tip = came.commit.unwrap();
        let named = bench.git(&["ls-tree", &tip, "lib"]);
        assert!(named.is_empty() || named.contains(&before.1), "{what}: {named}");
        assert_eq!(git(&outside, &["rev-parse", "HEAD"]).unwrap(), before.0, "{what}");
        assert_eq!(git(&outside, &["branch", "--list", "opencode-*"]).unwrap(), "", "{what}");
        assert!(git(&outside, &["status", "--porcelain"]).unwrap().contains("?? new.txt"), "{what}");
        assert!(git(&own(&bench), &["branch", "--list", "opencode-*"]).unwrap().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn a_command_finds_submodules_and_leaves_them_as_they_were_and_what_is_copied_there_is_on_no_branch() {
    let run = "mkdir installed; cp lib/l.txt lib/deep/er/i.txt lib/.env installed; echo x > lib/l.txt; echo x > lib/new.txt; \
               echo x > lib/.env; rm lib/deep/er/own.txt";
    for more in [json!({ "run": run }), json!({ "run": run, "inputs": ["app.txt"] }), json!({})] {
        let bench = bench();
        for name in ["lib/.env", "lib/deep/er/own.txt", "own.txt"] {
            std::fs::write(bench.workspace.join(name), "A=1\n").unwrap();
        }
        let mut setup = json!({ "submodules": true, "copy": ["lib/.env", "**/own.txt"] });
        for (key, value) in more.as_object().unwrap() {
            setup[key] = value.clone();
        }
        // The second one has what was kept of the first.
        for _ in 0..2 {
            let mut tree = bench.trees(json!({ "setup": setup })).make().await.unwrap();
            let here = tree.directory();
            assert_eq!(
                here.join("installed/l.txt").exists(),
                setup["run"].is_string(),
                "{more}: {}",
                bench.log()
            );
            assert_eq!(
                (read(&here.join("lib/l.txt")).as_str(), here.join("lib/new.txt").exists()),
                ("l\n", false)
            );
            for name in ["lib/.env", "lib/deep/er/own.txt", "own.txt"] {
                assert_eq!(read(&here.join(name)), "A=1\n", "{more}: {name}");
            }
            let status = "git status --porcelain; git -C lib status --porcelain; git -C lib/deep/er status --porcelain";
            assert_eq!(acts(&here, status), "", "{more}");
            let came = tree.collect().await.unwrap();
            assert!(came.commit.is_none() && came.submodules.is_empty(), "{more}: {came:?}");
        }
    }
}

#[tokio::test]
async fn a_submodule_has_files_of_git_lfs_from_its_own_store_and_keeps_what_is_left_in_them_there() {
    let bench = bench();
    let (lib, store) = (bench.workspace.join("lib"), own(&bench).join("lfs/objects"));
    let object = |content: &[u8]| {
        let oid = oid(content);
        store.join(&oid[..2]).join(&oid[2..4]).join(oid)
    };
    std::fs::create_dir_all(object(b"large").parent().unwrap()).unwrap();
    std::fs::write(object(b"large"), "large").unwrap();
    std::fs::write(lib.join(".gitattributes"), "*.bin filter=lfs -text\n").unwrap();
    std::fs::write(lib.join("a.bin"), pointer(b"large")).unwrap();
    acts(&lib, "git add --all; git commit -qm 'A large file'");
    bench.git(&["commit", "--quiet", "--all", "--message=Names it"]);
    let setup = json!({ "submodules": true, "lfs": true });
    let mut tree = bench.trees(json!({ "setup": setup })).make().await.unwrap();
    let here = tree.directory();
    assert_eq!(read(&here.join("lib/a.bin")), "large");
    assert_eq!(acts(&here, "git status --porcelain; git -C lib status --porcelain"), "");
    std::fs::write(here.join("lib/a.bin"), "larger").unwrap();
    let came = tree.collect().await.unwrap();
    assert_eq!((came.submodules.len(), came.notes.len()), (1, 1), "{came:?}");
    let shown = git(&lib, &["show", &format!("{}:a.bin", came.submodules[0].commit)]).unwrap();
    assert_eq!((shown, read(&object(b"larger"))), (pointer(b"larger"), "larger".to_owned()));
}
