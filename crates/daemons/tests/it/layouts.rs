//! Repositories of every layout, made by git itself: what a task gets there, or in which words it is refused.

use std::path::{Path, PathBuf};

use opencode_daemons::{Environment, WorktreeError, Worktrees};
use serde_json::json;
use testkit::scratch::{git, repository};

struct Bench {
    root: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let files = [("a.txt", "a\n"), ("in/b.txt", "b\n"), ("out/c.txt", "c\n"), (".gitignore", "*.log\n")];
        repository(&root.path().join("app"), &files).unwrap();
        Self { root }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn git(&self, at: &str, arguments: &[&str]) {
        git(&self.at(at), arguments).unwrap();
    }

    fn address(&self, name: &str) -> String {
        format!("file://{}", self.at(name).display())
    }

    fn trees(&self, workspace: &str) -> Worktrees {
        let launcher = env!("CARGO_BIN_EXE_opencode-within-walls");
        let environment = Environment::of_this_process().with("HOME", "/nonexistent");
        Worktrees::new("app", &self.at(workspace), &self.at("state"), environment, Some(launcher.into()))
    }

    /// What a task that writes two files finds of files, and what it is told to have changed.
    async fn task(&self, workspace: &str) -> Result<(Vec<String>, Vec<String>), WorktreeError> {
        let mut tree = self.trees(workspace).make().await?;
        let here = tree.directory();
        let found = files(&here);
        std::fs::create_dir(here.join("beyond")).unwrap();
        for new in ["new.txt", "beyond/new.txt"] {
            std::fs::write(here.join(new), "new\n").unwrap();
        }
        let came = tree.collect().await?;
        Ok((found, came.files.into_iter().map(|file| format!("{} {}", file.status, file.path)).collect()))
    }
}

/// The files below a directory, those of git aside; directories that are empty end with `/`.
fn files(root: &Path) -> Vec<String> {
    fn walk(root: &Path, at: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(at).unwrap().flatten().filter(|entry| entry.file_name() != ".git") {
            let path = entry.path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if !path.is_dir() {
                found.push(name);
            } else if std::fs::read_dir(&path).unwrap().next().is_none() {
                found.push(format!("{name}/"));
            } else {
                walk(root, &path, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort();
    found
}

const ALL: [&str; 4] = [".gitignore", "a.txt", "in/b.txt", "out/c.txt"];

type Make = fn(&Bench);

/// A layout: how it is made of `app`, the workspace, and what a task finds there, or the words of the refusal.
type Row = (&'static str, Make, &'static str, Result<&'static [&'static str], &'static str>);

const LAYOUTS: [Row; 18] = [
    ("plain", |_| {}, "app", Ok(&ALL)),
    ("a linked worktree", |b| b.git("app", &["worktree", "add", "--quiet", "../linked"]), "linked", Ok(&ALL)),
    ("a linked worktree of a bare repository", bare_with_worktree, "tree", Ok(&ALL)),
    ("the bare repository itself", bare_with_worktree, "bare.git", Err("bare repository")),
    (
        "a bare repository beside its worktrees",
        |b| {
            std::fs::create_dir(b.at("root")).unwrap();
            b.git("", &["clone", "--quiet", "--bare", "app", "root/.bare"]);
            std::fs::write(b.at("root/.git"), "gitdir: ./.bare\n").unwrap();
            b.git("root/.bare", &["worktree", "add", "--quiet", "../main", "main"]);
        },
        "root/main",
        Ok(&ALL),
    ),
    ("a clone without blobs", |b| blobless(b, &[]), "partial", Ok(&ALL)),
    (
        "a clone without blobs and files",
        |b| blobless(b, &["--no-checkout"]),
        "partial",
        Err("objects that are not there"),
    ),
    (
        "a sparse clone without blobs",
        |b| {
            b.git("app", &["config", "uploadpack.allowFilter", "true"]);
            b.git("", &["clone", "--quiet", "--filter=blob:none", "--sparse", &b.address("app"), "partial"]);
        },
        "partial",
        Ok(&[".gitignore", "a.txt"]),
    ),
    (
        "one that lacks files beside those that it has",
        |b| {
            blobless(b, &["--no-checkout"]);
            b.git("partial", &["sparse-checkout", "set", "--no-cone", "/a.txt"]);
            b.git("partial", &["checkout", "--quiet"]);
        },
        "partial",
        Err("objects that are not there"),
    ),
    (
        "a shallow clone",
        |b| {
            b.git("app", &["commit", "--quiet", "--allow-empty", "--message=More"]);
            b.git("", &["clone", "--quiet", "--depth=1", &b.address("app"), "shallow"]);
        },
        "shallow",
        Ok(&ALL),
    ),
    (
        "a sparse checkout of a cone",
        |b| b.git("app", &["sparse-checkout", "set", "--cone", "in"]),
        "app",
        Ok(&[".gitignore", "a.txt", "in/b.txt"]),
    ),
    (
        "a sparse checkout by patterns",
        |b| b.git("app", &["sparse-checkout", "set", "--no-cone", "/out/", "/*.txt"]),
        "app",
        Ok(&["a.txt", "out/c.txt"]),
    ),
    (
        "a repository with a submodule",
        with_submodule,
        "app",
        Ok(&[".gitignore", ".gitmodules", "a.txt", "in/b.txt", "out/c.txt", "sub/"]),
    ),
    ("the submodule", with_submodule, "app/sub", Ok(&["s.txt"])),
    (
        "files of Git LFS",
        |b| {
            std::fs::write(b.at("app/.gitattributes"), "*.bin filter=lfs diff=lfs merge=lfs -text\n")
                .unwrap();
            let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
            std::fs::write(b.at("app/large.bin"), pointer).unwrap();
            b.git("app", &["add", "--all"]);
            b.git("app", &["commit", "--quiet", "--message=Large"]);
            for key in ["clean", "smudge", "process"] {
                b.git("app", &["config", &format!("filter.lfs.{key}"), "false"]);
            }
            b.git("app", &["config", "filter.lfs.required", "true"]);
        },
        "app",
        Ok(&[".gitattributes", ".gitignore", "a.txt", "in/b.txt", "large.bin", "out/c.txt"]),
    ),
    ("objects by SHA-256", |b| made(b, "--object-format=sha256"), "other", Ok(&["a.txt"])),
    ("references in a table", |b| made(b, "--ref-format=reftable"), "other", Ok(&["a.txt"])),
    (
        "an extension that git does not know",
        |b| {
            b.git("app", &["config", "core.repositoryFormatVersion", "1"]);
            b.git("app", &["config", "extensions.tomorrow", "true"]);
        },
        "app",
        Err("another version of git"),
    ),
];

fn bare_with_worktree(bench: &Bench) {
    bench.git("", &["clone", "--quiet", "--bare", "app", "bare.git"]);
    bench.git("bare.git", &["worktree", "add", "--quiet", "../tree", "main"]);
}

fn blobless(bench: &Bench, more: &[&str]) {
    bench.git("app", &["config", "uploadpack.allowFilter", "true"]);
    let address = bench.address("app");
    let clone = ["clone", "--quiet", "--filter=blob:none"];
    bench.git("", &[&clone, more, &[&address, "partial"]].concat());
}

fn with_submodule(bench: &Bench) {
    repository(&bench.at("library"), &[("s.txt", "s\n")]).unwrap();
    let library = bench.at("library").display().to_string();
    bench.git("app", &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &library, "sub"]);
    bench.git("app", &["commit", "--quiet", "--message=With a submodule"]);
}

fn made(bench: &Bench, how: &str) {
    bench.git("", &["init", "--quiet", "--initial-branch=main", how, "other"]);
    std::fs::write(bench.at("other/a.txt"), "a\n").unwrap();
    bench.git("other", &["add", "--all"]);
    bench.git("other", &["commit", "--quiet", "--message=Start"]);
}

#[tokio::test]
async fn a_task_works_in_every_layout_of_a_repository_or_is_told_why_not() {
    for (what, make, workspace, expected) in LAYOUTS {
        let bench = Bench::new();
        make(&bench);
        match (bench.task(workspace).await, expected) {
            (Ok((found, changed)), Ok(expected)) => {
                assert_eq!(found, expected, "{what}");
                assert_eq!(changed, ["added beyond/new.txt", "added new.txt"], "{what}");
            }
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{what}: {error}"),
            (came, expected) => panic!("{what}: {came:?} where {expected:?} was expected"),
        }
    }
}

#[tokio::test]
async fn a_repository_of_somebody_else_is_refused_with_how_to_trust_it() {
    let bench = Bench::new();
    if !rustix::process::geteuid().is_root() {
        // Nobody else can give a repository away: then the words alone are looked at.
        let told = WorktreeError::NotOwned(bench.at("app")).to_string();
        assert!(told.contains("belongs to somebody else") && told.contains("safe.directory"), "{told}");
        return;
    }
    for path in ["app", "app/.git"] {
        std::os::unix::fs::chown(bench.at(path), Some(12_345), None).unwrap();
    }
    let error = bench.task("app").await.unwrap_err().to_string();
    assert!(error.contains("belongs to somebody else") && error.contains("safe.directory"), "{error}");
}

#[tokio::test]
async fn a_branch_whose_lock_is_held_is_left_and_the_commits_get_another() {
    let bench = Bench::new();
    std::fs::write(bench.at("app/.git/packed-refs.lock"), "").unwrap();
    let mut tree = bench.trees("app").make().await.unwrap();
    std::fs::write(tree.directory().join("new.txt"), "new\n").unwrap();
    std::fs::create_dir_all(bench.at("app/.git/refs/heads")).unwrap();
    std::fs::write(bench.at(&format!("app/.git/refs/heads/{}.lock", tree.branch())), "").unwrap();
    let held = tree.branch().to_owned();
    let came = tree.collect().await.unwrap();
    assert!(came.left.as_deref() == Some(&*held) && came.commit.is_some(), "{came:?}");
    assert_ne!(tree.branch(), held);
}

/// What an agent makes, and what is told of it.
const MADE: [(&str, &str, &[&str]); 8] = [
    ("nothing", "true", &[]),
    ("a large file", "head -c 20000000 /dev/zero > large.bin", &["added large.bin"]),
    ("an ignored file", "echo x > x.log", &[]),
    ("a file that was ignored and is added by force", "echo x > x.log; git add -f x.log", &["added x.log"]),
    ("an empty directory", "mkdir empty", &[]),
    ("a link", "ln -s a.txt link", &["added link"]),
    ("a mode", "chmod +x a.txt", &["modified a.txt"]),
    (
        "a repository of its own",
        "git init -q own; echo x > own/x; git -C own add x; git -C own -c user.name=x -c user.email=x@x commit -qm x",
        &["repository own"],
    ),
];

#[tokio::test]
async fn what_a_task_changed_is_told_as_git_has_it_and_what_has_no_files_to_tell_of_as_such() {
    for format in ["--object-format=sha1", "--object-format=sha256"] {
        let bench = Bench::new();
        made(&bench, format);
        std::fs::write(bench.at("other/.gitignore"), "*.log\n").unwrap();
        bench.git("other", &["add", "--all"]);
        bench.git("other", &["commit", "--quiet", "--message=Ignore"]);
        for (what, script, expected) in MADE {
            let mut tree = bench.trees("other").make().await.unwrap();
            #[expect(clippy::disallowed_methods, reason = "this is what an agent does")]
            let mut command = std::process::Command::new("/bin/sh");
            command.args(["-c", script]).current_dir(tree.directory()).env("GIT_CONFIG_GLOBAL", "/dev/null");
            assert!(command.status().unwrap().success(), "{what}");
            let came = tree.collect().await.unwrap();
            let told: Vec<_> =
                came.files.iter().map(|file| format!("{} {}", file.status, file.path)).collect();
            assert_eq!(told, expected, "{what}, {format}");
            assert_eq!(came.commit.is_some(), !expected.is_empty(), "{what}, {format}");
        }
    }
}

#[tokio::test]
async fn files_that_a_partial_clone_lacks_are_fetched_from_the_remote_of_the_hosts_configuration_alone() {
    let bench = crate::setup::Bench::new();
    let at = |name: &str| bench.root.path().join(name);
    let partial = at("partial");
    let ran = at("ran");
    git(&bench.workspace, &["config", "uploadpack.allowFilter", "true"]).unwrap();
    git(bench.root.path(), &["clone", "--quiet", "--bare", "app", "remote.git"]).unwrap();
    let address = format!("file://{}", bench.workspace.display());
    let clone = ["clone", "--quiet", "--filter=blob:none", "--no-checkout", &address, "partial"];
    git(bench.root.path(), &clone).unwrap();
    git(&partial, &["sparse-checkout", "set", "--no-cone", "/web/", "/app.txt"]).unwrap();
    // What the clone itself names is somebody else's by now.
    let evil = format!("ext::sh -c touch% {}", ran.display());
    for (key, value) in
        [("remote.origin.url", evil.as_str()), ("protocol.ext.allow", "always"), ("core.sshCommand", &evil)]
    {
        git(&partial, &["config", key, value]).unwrap();
    }
    let trees = |settings: serde_json::Value| bench.trees_of(&partial, settings);
    let has = |name: &str| {
        let id = git(&bench.workspace, &["rev-parse", &format!("HEAD:{name}")]).unwrap();
        let listed =
            git(&partial, &["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"]).unwrap();
        listed.contains(id.trim())
    };

    let error = trees(json!({ "remote": at("remote.git") })).make().await.unwrap_err();
    assert!(matches!(error, WorktreeError::Missing { .. }), "{error}");
    assert!(error.to_string().contains("`setup.fetch`"), "{error}");
    let fetches = |remote: &str| json!({ "remote": at(remote), "setup": { "fetch": true } });
    let error = trees(fetches("none.git")).make().await.unwrap_err().to_string();
    assert!(error.contains("none.git did not give") && error.contains("fetch.log"), "{error}");
    assert!(!has("app.txt"));

    let mut tree = trees(fetches("remote.git")).make().await.unwrap();
    assert_eq!(files(&tree.directory()), ["app.txt", "web/page.txt"]);
    assert!(
        has("app.txt") && has("lock"),
        "and what is outside of the cone, upon which nothing could be committed else"
    );
    std::fs::write(tree.directory().join("app.txt"), "changed\n").unwrap();
    let came = tree.collect().await.unwrap();
    assert!(came.patch.contains("-app\n+changed"), "{}", came.patch);
    assert!(!ran.exists(), "what the clone names was asked");
}
