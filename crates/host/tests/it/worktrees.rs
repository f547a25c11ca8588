//! Tasks in working trees of their own, with the real opencode daemon in its walls.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use testkit::model::{Answer, Call, Script, ScriptedModel, Turn};
use testkit::scratch;

use crate::terminal::{Terminal, User, opencode, processes_below};

struct Bench {
    user: User,
    model: ScriptedModel,
    workspace: std::path::PathBuf,
    opencode: String,
}

/// An agent that runs `command` once it is let, and says so.
fn works(script: Script, prompt: &str, command: &str) -> Script {
    let arguments = json!({ "command": command, "description": "works" });
    let calls = vec![Call { tool: "bash".into(), arguments }];
    let answer = Answer::Tools { text: String::new(), calls };
    let turn = Turn { prompt: Some(prompt.into()), tools_done: Some(0), times: None, answer };
    let hang = Answer::Hang { text: format!("{prompt} is done.") };
    script.turn(turn).answer(prompt, hang)
}

impl Bench {
    async fn new(script: Script) -> Self {
        let model = ScriptedModel::start(script).unwrap();
        model.hold();
        let user = User::new().with_opencode_config(&model.config());
        let workspace = user.home.path().join("app");
        scratch::repository(&workspace, &[("a.txt", "a\n"), ("b.txt", "b\n")]).unwrap();
        Self { user, model, workspace, opencode: opencode().await }
    }

    fn chat(&self) -> Terminal {
        let workspace = self.workspace.display().to_string();
        self.user.start(&["chat", "--worktrees", "--workspace", &workspace, "--opencode", &self.opencode])
    }

    fn git(&self, arguments: &[&str]) -> String {
        scratch::git(&self.workspace, arguments).unwrap()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.workspace.join(name)).unwrap_or_default()
    }

    /// The branch that a run's only step left.
    fn branch(&self, run: &str) -> String {
        let run = self.user.run(&["runs", "show", run, "--json"]).json();
        run["steps"][0]["output"]["branch"].as_str().unwrap_or_else(|| panic!("{run}")).to_owned()
    }

    /// Pushes what a run left to a remote that a configuration names.
    fn pushes(&self, run: &str) {
        let remotes = self.user.home.path().join("remotes");
        std::fs::create_dir(&remotes).unwrap();
        scratch::git(&remotes, &["init", "--quiet", "--bare", "app.git"]).unwrap();
        let remote = remotes.join("app.git");
        let (directory, address) = (self.workspace.display(), remote.display());
        let config = self.user.home.path().join("host.toml");
        let workspace = format!("[workspaces.app]\ndirectory = \"{directory}\"\nremote = \"{address}\"\n");
        let connector = "[connectors.connector-opencode]\nworkspace = \"app\"\n";
        std::fs::write(&config, format!("rules = \"rules\"\n{workspace}{connector}")).unwrap();
        let config = config.display().to_string();
        let pushed = self.user.run(&["runs", "push", run, "-c", &config, "--to", "fix", "--json"]).json();
        assert_eq!(pushed["outcome"], "created", "{pushed}");
        let there = scratch::git(&remote, &["rev-parse", "fix"]).unwrap();
        assert_eq!(there.trim(), pushed["commit"], "{pushed}");
    }

    /// Waits until as many agents have worked and wait for the model to say so.
    async fn until_worked(&self, agents: usize) {
        let worked = move |seen: &[testkit::model::Seen]| {
            seen.iter().filter(|seen| !seen.title && seen.tools_done > 0).count() >= agents
        };
        assert!(self.model.wait_for(Duration::from_mins(1), worked).await, "{:?}", self.model.seen());
    }

    /// The working trees that there are.
    fn trees(&self) -> Vec<std::path::PathBuf> {
        let below = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
        let workspaces = below(&self.user.state().join("daemons")).map(|entry| entry.path().join("trees"));
        workspaces.flat_map(|trees| below(&trees)).map(|entry| entry.path()).collect()
    }

    fn nothing_is_left(&self) {
        assert_eq!(processes_below(self.user.home.path()), []);
    }
}

fn approve(chat: &mut Terminal, task: &str, step: &str) -> String {
    chat.type_line(task);
    let isolation = chat.expect("isolation");
    chat.expect("└─");
    chat.type_line(&format!("y {step}"));
    chat.expect("is approved");
    isolation
}

#[tokio::test]
async fn tasks_of_one_workspace_run_side_by_side_and_are_brought_in_by_the_person() {
    let script =
        works(Script::default(), "first task", "echo first > a.txt; git -C . commit -qam by-the-agent");
    let script = works(script, "second task", "echo second > b.txt; echo new > c.txt");
    let script = works(script, "third task", "echo third > a.txt; cat c.txt > seen.txt; ls");
    let bench = Bench::new(script).await;
    let mut chat = bench.chat();
    assert!(approve(&mut chat, "/fix first task", "1.1").contains("worktree"));
    approve(&mut chat, "/fix second task", "2.1");
    bench.until_worked(2).await;
    assert_eq!(bench.git(&["status", "--porcelain"]), "", "nobody touched the person's files");
    bench.model.release();
    chat.expect("✔");
    chat.expect("✔");
    chat.type_line("/status");
    chat.expect("nothing runs and nothing waits");

    let first = bench.branch("1");
    assert_eq!(bench.git(&["show", &format!("{first}:a.txt")]), "first\n");
    assert!(bench.git(&["log", "--format=%s", &first]).contains("by-the-agent"));
    let applied = bench.user.run(&["runs", "apply", "1", "--json"]).json();
    assert_eq!(applied["files"], json!(["a.txt"]), "{applied}");
    assert_eq!((bench.read("a.txt").as_str(), bench.read("b.txt").as_str()), ("first\n", "b\n"));
    let again = bench.user.run(&["runs", "apply", "1"]);
    assert_eq!(again.code(), 1, "{}", again.text());
    assert!(again.text().contains("changes of its own"), "{}", again.text());
    assert_eq!(bench.user.run(&["runs", "apply", "2"]).code(), 0);
    assert_eq!((bench.read("b.txt").as_str(), bench.read("c.txt").as_str()), ("second\n", "new\n"));

    // What is staged is committed, each as one step of the person's branch.
    let committed = bench.user.run(&["runs", "commit", "1", "--json"]).json();
    assert_eq!(
        (&committed["onto"], &committed["head"]),
        (&json!("main"), &committed["commit"]),
        "{committed}"
    );
    let committed = bench.user.run(&["runs", "commit", "2", "--json"]).json();
    assert_ne!(committed["head"], committed["commit"], "{committed}");
    assert_eq!(bench.git(&["log", "--format=%s", "-2"]), "second task\nby-the-agent\n");
    assert_eq!(bench.git(&["status", "--porcelain"]), "");
    bench.pushes("2");

    // The last session goes on where it was: with what it had made, not with what the person has.
    approve(&mut chat, "/continue third task", "3.1");
    chat.expect("✔");
    let third = bench.branch("3");
    let gone = bench.user.run(&["runs", "discard", "3"]);
    assert_eq!(gone.code(), 0, "{}", gone.text());
    assert_eq!(bench.git(&["branch", "--list", &third]), "");
    assert!(third == bench.branch("2") || third == first, "it went on in its own tree");
    chat.type_line("/quit");
    assert_eq!(chat.finish().0, 0);
    bench.nothing_is_left();
}

#[tokio::test]
async fn a_task_survives_its_host_in_its_tree() {
    let bench = Bench::new(works(Script::default(), "the task", "echo done > a.txt")).await;
    let mut chat = bench.chat();
    approve(&mut chat, "/fix the task", "1.1");
    bench.until_worked(1).await;
    chat.kill9();
    let before = bench.trees();
    assert_eq!(before.len(), 1, "{before:?}");
    let mut again = bench.chat();
    again.expect("▶ session");
    bench.model.release();
    again.expect("✔ 1.1 done");
    let branch = bench.branch("1");
    assert_eq!(bench.git(&["show", &format!("{branch}:a.txt")]), "done\n");
    assert_eq!(bench.git(&["status", "--porcelain"]), "");
    again.type_line("/quit");
    assert_eq!(again.finish().0, 0);
    bench.nothing_is_left();
    assert_eq!(
        bench.trees(),
        before,
        "it went on in the tree where it began, and that is kept for its session"
    );
}

#[tokio::test]
async fn an_agent_in_its_tree_writes_neither_the_repository_nor_another_tree() {
    let peek = "echo x > ../../stray; for other in ../*/; do test $other = ../$(basename $PWD)/ || echo x > $other/stray; done; \
                R=$(cat .git/objects/info/alternates); echo x > $R/stray; echo x > $R/../hooks/pre-commit; \
                echo x > $R/../../stray; git log --oneline > log.txt; echo ok > ok.txt";
    let script = works(Script::default(), "look around", peek);
    let bench = Bench::new(works(script, "wait there", "echo here > here.txt")).await;
    let mut chat = bench.chat();
    approve(&mut chat, "/fix wait there", "1.1");
    bench.until_worked(1).await;
    approve(&mut chat, "/fix look around", "2.1");
    bench.until_worked(2).await;
    bench.model.release();
    chat.expect("✔");
    chat.expect("✔");
    let (waited, looked) = (bench.branch("1"), bench.branch("2"));
    let files = |branch: &str| bench.git(&["ls-tree", "--name-only", branch]);
    assert_eq!(files(&waited), "a.txt\nb.txt\nhere.txt\n");
    assert_eq!(files(&looked), "a.txt\nb.txt\nlog.txt\nok.txt\n");
    assert!(bench.git(&["show", &format!("{looked}:log.txt")]).contains("Start"), "git works there");
    for stray in [".git/objects/stray", ".git/hooks/pre-commit", "stray"] {
        assert!(!bench.workspace.join(stray).exists(), "{stray}");
    }
    chat.type_line("/quit");
    assert_eq!(chat.finish().0, 0);
    bench.nothing_is_left();
}
