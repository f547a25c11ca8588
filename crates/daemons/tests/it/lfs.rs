//! Files of Git LFS in trees of tasks: their content comes from the workspace's own store, and what a task leaves goes
//! there.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use opencode_daemons::Worktrees;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use testkit::scratch::git;

use crate::setup::{Bench, chain, read};

pub(crate) fn oid(content: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(content))
}

pub(crate) fn pointer(content: &[u8]) -> String {
    let size = content.len();
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {size}\n", oid(content))
}

fn object(bench: &Bench, content: &[u8]) -> PathBuf {
    let oid = oid(content);
    bench.workspace.join(".git/lfs/objects").join(&oid[..2]).join(&oid[2..4]).join(oid)
}

/// Puts a file under Git LFS as `git lfs track`, `git add` and `git commit` do.
fn commits(bench: &Bench, name: &str, content: &[u8]) {
    let object = object(bench, content);
    std::fs::create_dir_all(object.parent().unwrap()).unwrap();
    std::fs::write(object, content).unwrap();
    let file = bench.workspace.join(name);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, pointer(content)).unwrap();
    let tracked = "*.bin filter=lfs diff=lfs merge=lfs -text\n";
    std::fs::write(bench.workspace.join(".gitattributes"), tracked).unwrap();
    bench.git(&["add", "--all"]);
    bench.git(&["commit", "--quiet", "--message=A large file"]);
}

fn trees(bench: &Bench, more: &Value) -> Worktrees {
    let mut settings = json!({ "setup": { "lfs": true } });
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    bench.trees(settings)
}

/// What an agent's own git does, without the user's settings.
pub(crate) fn acts(directory: &Path, script: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "this is what an agent does")]
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-ec", script]).current_dir(directory).env("GIT_CONFIG_GLOBAL", "/dev/null");
    for name in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{name}_NAME"), "x").env(format!("GIT_{name}_EMAIL"), "x@x");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

const LARGE: &[u8] = b"large\0content\n";

#[tokio::test]
async fn a_file_of_git_lfs_has_its_content_which_is_the_trees_own_and_unchanged_is_no_change() {
    let bench = Bench::new();
    commits(&bench, "web/a.bin", LARGE);
    commits(&bench, "run.bin", b"#!/bin/sh\n");
    bench.git(&["update-index", "--chmod=+x", "run.bin"]);
    bench.git(&["commit", "--quiet", "--message=Executable"]);
    let mut tree = trees(&bench, &json!({})).make().await.unwrap();
    let here = tree.directory();
    assert_eq!(std::fs::read(here.join("web/a.bin")).unwrap(), LARGE);
    assert_eq!(here.join("run.bin").metadata().unwrap().mode() & 0o100, 0o100, "as its commit has it");
    let ids = |path: &Path| path.metadata().map(|found| (found.dev(), found.ino())).unwrap();
    assert_ne!(ids(&here.join("web/a.bin")), ids(&object(&bench, LARGE)), "it is a copy");
    // As after a checkout by git-lfs, git has nothing to say of it.
    assert_eq!(acts(&here, "git status --porcelain; git add --all; git diff --cached --name-only"), "");
    assert!(tree.collect().await.unwrap().commit.is_none());
    // Nor is it one once somebody looked harder.
    acts(&here, "touch web/a.bin; cp run.bin x; cat x > run.bin; rm x");
    let came = tree.collect().await.unwrap();
    assert!(came.commit.is_none(), "{:?}", came.files);
    std::fs::write(here.join("web/a.bin"), "written in place\n").unwrap();
    assert_eq!(std::fs::read(object(&bench, LARGE)).unwrap(), LARGE);
}

#[tokio::test]
async fn what_a_task_leaves_in_files_of_git_lfs_is_on_its_branch_by_pointers_and_stored_in_the_workspace() {
    let bench = Bench::new();
    commits(&bench, "a.bin", LARGE);
    commits(&bench, "gone.bin", b"gone\n");
    let mut tree = trees(&bench, &json!({})).make().await.unwrap();
    let here = tree.directory();
    let script = "printf changed > a.bin; rm gone.bin; printf new > 'new one.bin'; : > empty.bin; ln -s a.bin link.bin; \
                  printf other > c.psd; echo '*.psd filter=lfs' >> .gitattributes; echo text > plain.txt; \
                  printf committed > by.bin; git add by.bin; git commit -qm 'By its own git'";
    acts(&here, script);
    let came = tree.collect().await.unwrap();
    assert_eq!(came.notes, [""; 0]);
    let mut files: Vec<_> = came.files.iter().map(|it| format!("{} {}", it.status, it.path)).collect();
    files.sort();
    let expected = [
        "added by.bin",
        "added c.psd",
        "added empty.bin",
        "added link.bin",
        "added new one.bin",
        "added plain.txt",
        "deleted gone.bin",
        "modified .gitattributes",
        "modified a.bin",
    ];
    assert_eq!(files, expected);
    let tip = came.commit.unwrap();
    let shown = |name: &str| bench.git(&["show", &format!("{tip}:{name}")]);
    for (name, content) in
        [("a.bin", "changed"), ("new one.bin", "new"), ("c.psd", "other"), ("by.bin", "committed")]
    {
        assert_eq!(shown(name), pointer(content.as_bytes()), "{name}");
        assert_eq!(read(&object(&bench, content.as_bytes())), content, "{name}");
        assert_eq!(read(&here.join(name)), content, "the session goes on with it");
    }
    assert_eq!((shown("empty.bin").as_str(), shown("link.bin").as_str()), ("", "a.bin"));
    assert_eq!(shown("plain.txt"), "text\n");
    assert_eq!(acts(&here, "git status --porcelain"), "");
    assert!(came.patch.contains(&format!("+oid sha256:{}", oid(b"changed"))), "{}", came.patch);
    assert!(tree.collect().await.unwrap().files.is_empty(), "once is enough");
    bench.git(&["fsck", "--strict"]);
}

#[tokio::test]
async fn what_an_agents_own_git_lfs_stored_is_taken_over_by_its_digest_and_what_is_nowhere_is_told() {
    let bench = Bench::new();
    commits(&bench, "a.bin", LARGE);
    let mut tree = trees(&bench, &json!({})).make().await.unwrap();
    let here = tree.directory();
    let own = |content: &[u8]| {
        let oid = oid(content);
        here.join(".git/lfs/objects").join(&oid[..2]).join(&oid[2..4]).join(oid)
    };
    for (content, stored) in [(&b"by git-lfs"[..], &b"by git-lfs"[..]), (b"promised!", b"forgery!!")] {
        std::fs::create_dir_all(own(content).parent().unwrap()).unwrap();
        std::fs::write(own(content), stored).unwrap();
    }
    std::fs::create_dir_all(own(b"linked").parent().unwrap()).unwrap();
    symlink(bench.root.path().join("secret/key"), own(b"linked")).unwrap();
    for (name, content) in [("s.bin", &b"by git-lfs"[..]), ("f.bin", b"promised!"), ("l.bin", b"linked")] {
        std::fs::write(here.join(name), pointer(content)).unwrap();
    }
    acts(&here, "git add --all; git commit -qm 'By git-lfs'");
    let came = tree.collect().await.unwrap();
    assert_eq!(read(&object(&bench, b"by git-lfs")), "by git-lfs");
    let told = came.notes.join("\n");
    assert_eq!(came.notes.len(), 2, "{told}");
    assert!(told.contains("f.bin") && told.contains(&oid(b"promised!")) && told.contains("l.bin"), "{told}");
    for absent in [&b"promised!"[..], b"linked", b"forgery!!", b"hunter2"] {
        assert!(!object(&bench, absent).exists(), "{told}");
    }
}

#[tokio::test]
async fn content_that_is_not_there_or_is_something_else_fails_the_task_with_what_to_run() {
    type Spoil = fn(&Bench);
    let rows: [(&str, Spoil, &str); 5] = [
        ("missing", |b| std::fs::remove_file(object(b, LARGE)).unwrap(), "git lfs pull"),
        ("of another size", |b| std::fs::write(object(b, LARGE), "x").unwrap(), "git lfs pull"),
        ("other bytes", |b| std::fs::write(object(b, LARGE), b"LARGE\0content\n").unwrap(), "something else"),
        (
            "a link to a secret of its size",
            |b| {
                let secret = b.root.path().join("secret/long");
                std::fs::write(&secret, vec![b'x'; LARGE.len()]).unwrap();
                std::fs::remove_file(object(b, LARGE)).unwrap();
                symlink(secret, object(b, LARGE)).unwrap();
            },
            "git lfs pull",
        ),
        (
            "a store that is a link",
            |b| {
                let store = b.workspace.join(".git/lfs");
                std::fs::rename(&store, b.root.path().join("elsewhere")).unwrap();
                symlink(b.root.path().join("elsewhere"), store).unwrap();
            },
            "git lfs pull",
        ),
    ];
    for (what, spoil, words) in rows {
        let bench = Bench::new();
        commits(&bench, "web/a.bin", LARGE);
        spoil(&bench);
        let error = chain(&trees(&bench, &json!({})).make().await.unwrap_err());
        assert!(error.contains("web/a.bin") && error.contains(&oid(LARGE)), "{what}: {error}");
        assert!(error.contains(words), "{what}: {error}");
        assert_eq!(bench.git(&["branch", "--list", "opencode-*"]), "", "{what}");
        // Who has not asked for content gets the pointer.
        let tree = bench.trees(json!({})).make().await.unwrap();
        assert_eq!(read(&tree.directory().join("web/a.bin")), pointer(LARGE), "{what}");
    }
}

#[tokio::test]
async fn what_a_tree_says_of_filters_is_not_run_and_no_link_is_followed_for_content() {
    let bench = Bench::new();
    commits(&bench, "a.bin", LARGE);
    let ran = bench.root.path().join("ran");
    let run = format!("touch {}; cat", ran.display());
    for key in ["clean", "smudge", "process"] {
        bench.git(&["config", &format!("filter.lfs.{key}"), &run]);
    }
    let mut tree = trees(&bench, &json!({})).make().await.unwrap();
    let here = tree.directory();
    for key in ["clean", "smudge", "process", "required"] {
        let value = if key == "required" { "true" } else { &*run };
        git(&here, &["config", &format!("filter.lfs.{key}"), value]).unwrap();
    }
    std::fs::write(here.join("a.bin"), "changed").unwrap();
    symlink(bench.root.path().join("secret/key"), here.join("b.bin")).unwrap();
    symlink(bench.root.path().join("secret"), here.join("linked")).unwrap();
    let came = tree.collect().await.unwrap();
    assert!(!ran.exists(), "a filter was run");
    let tip = came.commit.unwrap();
    assert_eq!(bench.git(&["show", &format!("{tip}:a.bin")]), pointer(b"changed"));
    assert!(!object(&bench, b"hunter2").exists());
}

#[tokio::test]
async fn a_file_of_git_lfs_that_is_larger_than_the_disk_limit_is_left_out_and_told() {
    let bench = Bench::new();
    commits(&bench, "a.bin", LARGE);
    let mut tree = trees(&bench, &json!({ "disk_mb": 1 })).make().await.unwrap();
    std::fs::write(tree.directory().join("huge.bin"), vec![7; (1 << 20) + 1]).unwrap();
    std::fs::write(tree.directory().join("small.bin"), "small").unwrap();
    let came = tree.collect().await.unwrap();
    let files: Vec<_> = came.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["small.bin"]);
    assert!(came.notes.len() == 1 && came.notes[0].contains("huge.bin"), "{:?}", came.notes);
    assert!(tree.directory().join("huge.bin").exists());
}

#[tokio::test]
async fn a_file_that_is_too_large_ends_as_it_began_also_where_it_was_staged_or_committed() {
    for (script, whole) in [
        ("true", false),
        ("git add --all", false),
        ("git add --all; git commit -qm 'Large'", true),
        ("git rm -q --cached a.bin; git add huge.bin", false),
    ] {
        let bench = Bench::new();
        commits(&bench, "a.bin", LARGE);
        let mut tree = trees(&bench, &json!({ "disk_mb": 1 })).make().await.unwrap();
        let (here, huge) = (tree.directory(), vec![7; (1 << 20) + 1]);
        for name in ["a.bin", "huge.bin"] {
            std::fs::write(here.join(name), &huge).unwrap();
        }
        acts(&here, script);
        std::fs::write(here.join("app.txt"), "changed\n").unwrap();
        let came = tree.collect().await.unwrap();
        let files: Vec<_> = came.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(files, ["app.txt"], "{script}");
        let tip = came.commit.unwrap();
        assert_eq!(bench.git(&["show", &format!("{tip}:a.bin")]), pointer(LARGE), "{script}");
        assert_eq!(bench.git(&["ls-tree", "--name-only", &tip, "huge.bin"]), "", "{script}");
        assert_eq!(came.notes.len(), 2, "{script}: {:?}", came.notes);
        for note in &came.notes {
            assert!(note.contains("its change is left out"), "{script}: {note}");
            assert_eq!(note.contains("has it whole"), whole, "{script}: {note}");
        }
        assert_eq!(std::fs::read(here.join("a.bin")).unwrap(), huge, "it stays in the tree");
    }
}

#[tokio::test]
async fn what_a_turn_stores_is_limited_for_all_of_it_and_what_is_there_already_does_not_count() {
    let bench = Bench::new();
    commits(&bench, "a.bin", LARGE);
    let mut tree = trees(&bench, &json!({ "disk_mb": 1 })).make().await.unwrap();
    let here = tree.directory();
    let half = |byte: u8| vec![byte; 600 << 10];
    std::fs::write(here.join("b.bin"), half(1)).unwrap();
    std::fs::write(here.join("c.bin"), half(1)).unwrap();
    // What its own git-lfs stored counts, too.
    let own = here.join(".git/lfs/objects").join(&oid(&half(2))[..2]).join(&oid(&half(2))[2..4]);
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join(oid(&half(2))), half(2)).unwrap();
    std::fs::write(here.join("d.bin"), pointer(&half(2))).unwrap();
    // Files that take no room and seem to.
    for number in 0..50 {
        let sparse = std::fs::File::create(here.join(format!("{number}.bin"))).unwrap();
        sparse.set_len(1 << 40).unwrap();
    }
    let came = tree.collect().await.unwrap();
    let files: Vec<_> = came.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["b.bin", "c.bin", "d.bin"]);
    assert!(object(&bench, &half(1)).exists() && !object(&bench, &half(2)).exists());
    assert_eq!(came.notes.len(), 51, "{:?}", came.notes);
    assert!(came.notes.iter().any(|note| note.contains("d.bin")), "{:?}", came.notes);
}

#[tokio::test]
async fn a_command_finds_the_content_and_what_it_made_of_it_is_taken_back() {
    let bench = Bench::new();
    commits(&bench, "a.bin", LARGE);
    let run = "mkdir installed; cp a.bin installed/copy; echo spoilt > a.bin; chmod 755 .";
    for inputs in [json!([]), json!(["lock"])] {
        let settings = json!({ "setup": { "lfs": true, "run": run, "inputs": inputs } });
        let mut tree = trees(&bench, &settings).make().await.unwrap();
        let here = tree.directory();
        assert_eq!(std::fs::read(here.join("installed/copy")).unwrap(), LARGE, "{}", bench.log());
        assert_eq!(std::fs::read(here.join("a.bin")).unwrap(), LARGE);
        assert_eq!(acts(&here, "git status --porcelain"), "");
        assert!(tree.collect().await.unwrap().commit.is_none());
    }
    std::fs::set_permissions(object(&bench, LARGE), PermissionsExt::from_mode(0o444)).unwrap();
    trees(&bench, &json!({})).make().await.unwrap();
}
