//! What trees of tasks get before an agent begins, with git itself and the kernel's walls.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use opencode_daemons::pool::Surroundings;
use opencode_daemons::worktree::{CommandError, SetupError};
use opencode_daemons::{Environment, Home, PoolConfig, WorktreeError, Worktrees};
use serde_json::{Value, json};
use testkit::scratch::{git, repository};

use crate::support::processes_with;

/// A workspace with an installer: what it installs, and from what.
pub(crate) struct Bench {
    pub(crate) root: tempfile::TempDir,
    pub(crate) workspace: PathBuf,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let workspace = root.path().join("app");
        let files = [
            ("app.txt", "app\n"),
            ("lock", "one\n"),
            ("web/page.txt", "page\n"),
            ("config/local.shared", "committed\n"),
            (".gitignore", "installed/\n*.log\n.env\n"),
        ];
        repository(&workspace, &files).unwrap();
        for home in ["home", "secret"] {
            std::fs::create_dir(root.path().join(home)).unwrap();
        }
        std::fs::write(root.path().join("secret/key"), "hunter2").unwrap();
        Self { root, workspace }
    }

    pub(crate) fn trees(&self, settings: Value) -> Worktrees {
        self.trees_of(&self.workspace, settings)
    }

    pub(crate) fn trees_of(&self, workspace: &Path, mut settings: Value) -> Worktrees {
        settings["directory"] = json!(workspace);
        settings["isolation"] = json!("worktree");
        let config: PoolConfig =
            serde_json::from_value(json!({ "workspaces": { "app": settings } })).unwrap();
        config.check().unwrap();
        let launcher = Some(PathBuf::from(env!("CARGO_BIN_EXE_opencode-within-walls")));
        let environment = Environment::of_this_process()
            .with("HOME", self.root.path().join("home"))
            .with("TOKEN", "let in by name")
            .with("OTHER", "not let in");
        let around = Surroundings {
            program: "/bin/false".into(),
            environment: environment.clone(),
            state: self.state(),
            launcher: launcher.clone(),
            home: Home::User,
        };
        let trees = Worktrees::new("app", workspace, &self.state(), environment, launcher);
        match config.setup("app", &around).unwrap() {
            Some(setup) => trees.with_setup(setup),
            None => trees,
        }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    /// The commands that were run, and what they printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.state().join("app.setup.log")).unwrap_or_default()
    }

    fn ran(&self) -> usize {
        self.log().lines().filter(|line| line.starts_with("$ ")).count()
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git(&self.workspace, arguments).unwrap()
    }
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn files_that_no_commit_has_are_copied_and_neither_links_nor_what_a_commit_has_and_none_is_committed() {
    let bench = Bench::new();
    let outside = bench.root.path().join("secret/key");
    for (name, text) in [
        (".env", "A=1\n"),
        ("config/local.mine", "mine\n"),
        ("config/local.shared", "changed\n"),
        ("web/my [1]!", "odd\n"),
    ] {
        std::fs::write(bench.workspace.join(name), text).unwrap();
    }
    symlink(&outside, bench.workspace.join("config/local.link")).unwrap();
    symlink(outside.parent().unwrap(), bench.workspace.join("linked")).unwrap();
    let copy = json!({ "copy": [".env", "config/local.*", "linked/key", "web/my*", "none"] });
    let mut tree = bench.trees(json!({ "setup": copy })).make().await.unwrap();
    let here = tree.directory();
    assert_eq!(read(&here.join(".env")), "A=1\n");
    assert_eq!(read(&here.join("config/local.mine")), "mine\n");
    assert_eq!(read(&here.join("web/my [1]!")), "odd\n");
    assert_eq!(read(&here.join("config/local.shared")), "committed\n", "it begins at the commit");
    assert!(here.join("config/local.link").symlink_metadata().is_err() && !here.join("linked").exists());

    std::fs::write(here.join("app.txt"), "changed\n").unwrap();
    std::fs::write(here.join("config/local.new"), "by the agent\n").unwrap();
    let came = tree.collect().await.unwrap();
    let files: Vec<_> = came.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["app.txt", "config/local.new"], "what was copied is on no branch");

    // Where the workspace is below the root of its repository, so are the patterns.
    let web = bench.trees_of(&bench.workspace.join("web"), json!({ "setup": { "copy": ["my*"] } }));
    let mut tree = web.make().await.unwrap();
    assert_eq!(read(&tree.directory().join("my [1]!")), "odd\n");
    assert!(tree.collect().await.unwrap().commit.is_none());
}

#[tokio::test]
async fn what_a_set_up_puts_into_a_submodule_is_gone_and_the_task_can_be_taken_out() {
    let bench = Bench::new();
    let head = bench.git(&["rev-parse", "HEAD"]);
    bench.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{},sub", head.trim())]);
    bench.git(&["commit", "--quiet", "--message=With a submodule"]);
    // As `git submodule update --init` leaves it.
    let script = "mkdir -p .git/modules && git init --quiet sub && mv sub/.git .git/modules/sub \
                 && echo 'gitdir: ../.git/modules/sub' > sub/.git && echo x > sub/file";
    let mut tree = bench.trees(json!({ "setup": { "run": script } })).make().await.unwrap();
    assert_eq!(std::fs::read_dir(tree.directory().join("sub")).unwrap().count(), 0);
    std::fs::write(tree.directory().join("app.txt"), "changed\n").unwrap();
    let came = tree.collect().await.unwrap();
    let files: Vec<_> = came.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["app.txt"]);
}

/// What the installer does: it counts, and tries what it may not.
const INSTALLER: &str = "echo installing; mkdir -p installed/deep && cp lock installed/deep/copy && ln -s deep/copy installed/link \
    && chmod +x installed/deep/copy && touch -d @1000000000 installed/deep/copy \
    && echo $TOKEN:$OTHER > installed/environment && echo touched > app.txt && echo left > left.txt \
    && cat $SECRET; echo x > $WORKSPACE/stray; echo x > $TREES/stray; echo installed";

fn installer(bench: &Bench) -> String {
    let root = bench.root.path().display();
    INSTALLER
        .replace("$SECRET", &format!("{root}/secret/key"))
        .replace("$WORKSPACE", &format!("{root}/app"))
        .replace("$TREES", &format!("{root}/state/app.worktrees/trees"))
}

#[tokio::test]
async fn a_command_runs_within_walls_and_what_it_made_is_kept_for_trees_with_the_same_inputs() {
    let bench = Bench::new();
    let settings = json!({
        "setup": { "run": installer(&bench), "inputs": ["lock"], "copy": [".env"] }, "pass_to_commands": ["TOKEN"],
    });
    std::fs::write(bench.workspace.join(".env"), "A=1\n").unwrap();
    let trees = bench.trees(settings);
    for round in 0..2 {
        let mut tree = trees.make().await.unwrap();
        let here = tree.directory();
        assert_eq!(read(&here.join("installed/link")), "one\n");
        assert_eq!(read(&here.join("installed/environment")), "let in by name:\n");
        let copy = here.join("installed/deep/copy").metadata().unwrap();
        let age = copy.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(
            (age.as_secs(), std::os::unix::fs::MetadataExt::mode(&copy) & 0o100),
            (1_000_000_000, 0o100)
        );
        assert_eq!(read(&here.join("app.txt")), "app\n", "the task begins with the files of its commit");
        assert!(!here.join("left.txt").exists());
        assert_eq!(bench.ran(), 1, "{round}: {}", bench.log());
        // Whatever an agent makes of its own, the next one gets what was installed.
        std::fs::write(here.join("installed/deep/copy"), "by the agent\n").unwrap();
        std::fs::write(here.join(".env"), "by the agent\n").unwrap();
        assert!(tree.collect().await.unwrap().commit.is_none(), "nothing of it is the task's change");
    }
    let log = bench.log();
    assert!(
        log.contains("installing")
            && log.contains("cat: ")
            && log.contains("stray: ")
            && !log.contains("hunter2"),
        "{log}"
    );
    assert!(!log.contains("let in by name"), "{log}");
    assert!(
        !bench.workspace.join("stray").exists() && !bench.state().join("app.worktrees/trees/stray").exists()
    );
    // What is copied is as it is now, and no part of what is kept.
    std::fs::write(bench.workspace.join(".env"), "A=2\n").unwrap();
    assert_eq!(read(&trees.make().await.unwrap().directory().join(".env")), "A=2\n");

    std::fs::write(bench.workspace.join("lock"), "two\n").unwrap();
    bench.git(&["commit", "--quiet", "--all", "--message=Other inputs"]);
    let tree = trees.make().await.unwrap();
    assert_eq!((read(&tree.directory().join("installed/link")).as_str(), bench.ran()), ("two\n", 3));
}

#[tokio::test]
async fn a_result_is_of_its_inputs_what_was_copied_and_what_is_passed_and_of_nothing_there_is_none() {
    let bench = Bench::new();
    let settings = |inputs: &str, pass: Value| {
        json!({
            "setup": { "run": "mkdir -p installed", "inputs": [inputs], "copy": [".env"] }, "pass_to_commands": pass,
        })
    };
    for (what, env, inputs, pass, ran) in [
        ("a first run", "A=1\n", "lock", json!([]), 1),
        ("the same", "A=1\n", "lock", json!([]), 1),
        ("another copied file", "A=2\n", "lock", json!([]), 2),
        ("another variable", "A=2\n", "lock", json!(["TOKEN"]), 3),
        ("inputs of nothing", "A=2\n", "none", json!([]), 4),
        ("inputs of nothing again", "A=2\n", "none", json!([]), 5),
    ] {
        std::fs::write(bench.workspace.join(".env"), env).unwrap();
        let tree = bench.trees(settings(inputs, pass)).make().await.unwrap();
        assert!(tree.directory().join("installed").is_dir(), "{what}");
        assert_eq!(bench.ran(), ran, "{what}: {}", bench.log());
    }
}

#[tokio::test]
async fn a_tree_that_is_filled_again_at_an_agents_commit_keeps_nothing_and_shares_no_cache() {
    let bench = Bench::new();
    // What the tree's own files say is what is run and installed, as package managers do.
    let run = "mkdir -p installed; cp lock app.txt installed/; cat $TMPDIR/cache >> installed/cached; \
               cp app.txt $TMPDIR/cache; true";
    let trees = bench.trees(json!({ "setup": { "run": run, "inputs": ["lock"] } }));
    let mut tree = trees.make().await.unwrap();
    tree.announces(&json!({ "at": 1 })).unwrap();
    tree.belongs_to("ses_1").unwrap();
    std::fs::write(tree.directory().join("app.txt"), "by the agent\n").unwrap();
    std::fs::write(tree.directory().join("lock"), "two\n").unwrap();
    assert!(tree.collect().await.unwrap().commit.is_some());
    let here = tree.directory();
    drop(tree);
    std::fs::remove_dir_all(&here).unwrap();
    let made = || std::fs::read_dir(bench.state().join("app.worktrees/made")).unwrap().count();
    crate::support::eventually("the copy for the next tree", || made() == 2).await;

    let again = trees.of_session("ses_1").await.unwrap();
    assert_eq!(read(&again.directory().join("installed/app.txt")), "by the agent\n");
    assert_eq!((made(), bench.ran()), (2, 2), "{}", bench.log());
    drop(again);
    // The user's branch gets the same inputs, and other files.
    std::fs::write(bench.workspace.join("lock"), "two\n").unwrap();
    bench.git(&["commit", "--quiet", "--all", "--message=The same inputs"]);
    let next = trees.make().await.unwrap().directory();
    assert_eq!((read(&next.join("installed/app.txt")).as_str(), bench.ran()), ("app\n", 3));
    let cached = read(&next.join("installed/cached"));
    assert!(!cached.contains("by the agent"), "{cached}");
}

#[tokio::test]
async fn what_a_command_says_of_its_repository_decides_nothing_of_what_is_kept_or_begun_with() {
    let bench = Bench::new();
    let run = "mkdir installed; echo x > installed/x; echo evil > evil.txt; echo evil.txt >> .git/info/exclude; \
               echo '*.evil' > .git/ignored; git config core.excludesFile .git/ignored; echo x > b.evil; \
               git update-index --skip-worktree app.txt web/page.txt; echo evil > app.txt; rm web/page.txt; \
               mkdir nested; git init --quiet nested; echo x > nested/x; git -C nested add x; true";
    for (what, inputs) in [("kept", json!(["lock"])), ("in place", json!([]))] {
        let trees = bench.trees(json!({ "setup": { "run": run, "inputs": inputs } }));
        for round in 0..2 {
            let mut tree = trees.make().await.unwrap();
            let here = tree.directory();
            assert_eq!(read(&here.join("installed/x")), "x\n", "{what}, {round}: {}", bench.log());
            assert_eq!(read(&here.join("app.txt")), "app\n", "{what}, {round}");
            assert_eq!(read(&here.join("web/page.txt")), "page\n", "{what}, {round}");
            for left in ["evil.txt", "b.evil", "nested", ".git/ignored"] {
                assert!(!here.join(left).exists(), "{what}, {round}: {left}");
            }
            let came = tree.collect().await.unwrap();
            assert!(came.commit.is_none(), "{what}, {round}: {:?}", came.files);
        }
    }
    assert!(bench.log().contains("$ mkdir installed"), "{}", bench.log());
}

#[tokio::test]
async fn a_tree_whose_set_up_was_stopped_is_made_again_for_the_next_turn() {
    let bench = Bench::new();
    let of = |run: &str| bench.trees(json!({ "setup": { "run": run } }));
    let mut tree = of("mkdir installed").make().await.unwrap();
    tree.announces(&json!({ "at": 1 })).unwrap();
    tree.belongs_to("ses_1").unwrap();
    tree.collect().await.unwrap();
    let here = tree.directory();
    drop(tree);
    std::fs::remove_dir_all(&here).unwrap();
    let half = here.join("installed/half");
    let stopped = of("mkdir installed; touch installed/half; sleep 1000");
    tokio::select! {
        made = stopped.of_session("ses_1") => panic!("{made:?}"),
        () = crate::support::eventually("the first half of it", || half.exists()) => {}
    }
    let tree = of("mkdir installed; touch installed/whole").of_session("ses_1").await.unwrap();
    assert!(here.join("installed/whole").exists() && !half.exists(), "{}", bench.log());
    drop(tree);
    let ran = bench.ran();
    of("mkdir installed").of_session("ses_1").await.unwrap();
    assert_eq!(bench.ran(), ran, "a session that goes on in its tree is not set up again");
}

#[tokio::test]
async fn a_command_without_inputs_runs_in_each_tree_where_that_stays() {
    let bench = Bench::new();
    let trees = bench.trees(json!({ "setup": { "run": "mkdir installed; pwd > installed/where" } }));
    for round in 1..=2 {
        let tree = trees.make().await.unwrap();
        let here = tree.directory();
        assert_eq!(
            read(&here.join("installed/where")).trim(),
            here.canonicalize().unwrap().display().to_string()
        );
        assert_eq!(bench.ran(), round);
    }
}

#[tokio::test]
async fn a_set_up_that_fails_fails_the_task_with_its_reason_and_leaves_nothing() {
    let bench = Bench::new();
    let mark = format!("{}", std::process::id());
    for (setup, words) in [
        (json!({ "run": "echo it is $((40 + 2)); exit 7" }), "exit status: 7"),
        (json!({ "run": "echo it is $((40 + 2)); exit 7", "inputs": ["lock"] }), "exit status: 7"),
        (
            json!({ "run": "SLEEPER=$MARK sleep 1000 & sleep 1000".replace("$MARK", &mark), "timeout_secs": 1 }),
            "longer than 1 s",
        ),
    ] {
        let error = bench.trees(json!({ "setup": setup.clone() })).make().await.unwrap_err();
        let told = chain(&error);
        assert!(told.contains(words) && told.contains("app.setup.log"), "{told}");
        assert!(!told.contains("it is 42"), "{told}");
        let WorktreeError::Setup(SetupError::Command { source, .. }) = &error else { panic!("{error:?}") };
        assert!(!matches!(source, CommandError::NotStarted(_)), "{told}");
        let trees = bench.state().join("app.worktrees/trees");
        assert_eq!(std::fs::read_dir(trees).into_iter().flatten().count(), 0);
        let apart = bench.state().join("app.setup.worktrees/trees");
        assert_eq!(std::fs::read_dir(apart).into_iter().flatten().count(), 0);
        assert_eq!(bench.git(&["branch", "--list", "opencode-*"]), "");
    }
    assert_eq!(processes_with("SLEEPER", &mark), [0; 0], "nothing of it is left");
    assert!(bench.log().contains("it is 42"), "{}", bench.log());
}

#[tokio::test]
async fn what_a_set_up_wanted_of_the_network_and_the_walls_refused_is_counted_and_named_in_its_log_alone() {
    let bench = Bench::new();
    let run = "curl -sf -m 20 http://example.invalid:8080/";
    let error = bench.trees(json!({ "setup": { "run": run } })).make().await.unwrap_err();
    let told = chain(&error);
    assert!(told.contains("the walls refused it 1 host"), "{told}\n{}", bench.log());
    // Else a name is a way for the repository to write into the chat.
    let told = told.replace(run, "");
    assert!(!told.contains("example.invalid"), "{told}");
    assert!(bench.log().contains("the walls refused it example.invalid:8080"), "{}", bench.log());
}

#[tokio::test]
async fn a_set_up_that_holds_more_than_its_workspace_may_is_ended() {
    let bench = Bench::new();
    let mark = format!("many-{}", std::process::id());
    let run = format!("export SLEEPER={mark}; for i in $(seq 40); do sleep 1000 & done; wait");
    let trees = bench.trees(json!({ "setup": { "run": run }, "max_processes": 20 }));
    let error = chain(&trees.make().await.unwrap_err());
    assert!(error.contains("20 are allowed"), "{error}");
    assert_eq!(processes_with("SLEEPER", &mark), [0; 0], "nothing of it is left");
}

#[tokio::test]
async fn a_set_up_whose_task_is_stopped_is_ended_and_its_tree_removed() {
    let bench = Bench::new();
    let mark = format!("stopped-{}", std::process::id());
    let run = format!("SLEEPER={mark} sleep 1000");
    let trees = bench.trees(json!({ "setup": { "run": run, "inputs": ["lock"] } }));
    let begun = async {
        while processes_with("SLEEPER", &mark).is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        made = trees.make() => panic!("{made:?}"),
        () = begun => {}
        () = tokio::time::sleep(Duration::from_mins(1)) => panic!("it never began: {}", bench.log()),
    }
    crate::support::eventually("its end", || processes_with("SLEEPER", &mark).is_empty()).await;
    trees.clean().await;
    let apart = bench.state().join("app.setup.worktrees/trees");
    assert_eq!(std::fs::read_dir(apart).into_iter().flatten().count(), 0);
    assert_eq!(bench.git(&["branch", "--list", "opencode-*"]), "");
}

/// An error with all that it comes from.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        told.push_str(&format!(": {error}"));
        next = error.source();
    }
    told
}
