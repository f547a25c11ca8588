//! Files that other programs change, and the rules that wait for them.

#![expect(clippy::disallowed_methods, reason = "git and the like are started here")]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use connector_engine::ScheduleChat;
use connector_files::{AbsolutePath, Base};
use connector_gate::decision::{Decision, Tapped};
use connector_gate::policy::{GateConfig, Policy, PolicyRule};
use connector_host::troubles::Troubles;
use connector_host::watch::{self, Places};
use connector_ledger::events::{self, EventRow};
use connector_rules::{RuleSet, SourceFile};
use serde_json::Value;
use testkit::scratch;

use crate::probe::Shared;
use crate::terminal::User;
use crate::world::{ANNA, Plan, World};

const TELL: &str = r#"
[rule]
name = "tell"
[trigger]
type = "FileWatch"
path = "notes"
[[actions]]
type = "Reply"
text = "${trigger.count}"
"#;

const WORK: &str = r#"
[rule]
name = "work"
[trigger]
type = "FileWatch"
path = "notes"
pattern = "*.txt"
[[actions]]
type = "RunConnector"
connector = "oc"
action = "run_task"
params = { prompt = "${trigger.files | json}" }
"#;

/// How long anything may take here: shorter than until the files are looked at whatever is told of them.
const LIMIT: Duration = Duration::from_secs(45);

/// A host that watches files of `home`.
struct Watching {
    home: tempfile::TempDir,
    _state: tempfile::TempDir,
    world: World,
    keeping: tokio::task::JoinHandle<()>,
}

impl Watching {
    /// A host with one rule, at a home that has what `prepare` made there.
    fn start(rule: &'static str, probe: std::sync::Arc<Shared>, prepare: impl FnOnce(&Path)) -> Self {
        let (home, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        prepare(home.path());
        let allowed = PolicyRule {
            connector: "oc".into(),
            action: "run_task".into(),
            rule: "work".into(),
            policy: Policy::Allow,
        };
        let gate = GateConfig { policy: vec![allowed], ..Plan::default().gate };
        Self::by(Plan { rules: vec![rule], probe, gate, ..Plan::default() }, home, state)
    }

    fn by(plan: Plan, home: tempfile::TempDir, state: tempfile::TempDir) -> Self {
        let world = World::start_in_real_time(state.path(), plan);
        let chat = ScheduleChat { surface: "screen".into(), chat: "main".into() };
        world.engine.schedules_report_to(chat).unwrap();
        let places = places(home.path(), state.path());
        let troubles = Troubles::none(state.path());
        let keeping = tokio::spawn(watch::keep(world.engine.clone(), places, troubles));
        Self { home, _state: state, world, keeping }
    }

    fn at(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    /// The events, in their order.
    async fn events(&self) -> Vec<EventRow> {
        let all = |tx: &connector_ledger::Tx<'_>| {
            let mut ids = events::latest(tx, 10_000)?;
            ids.reverse();
            let rows = ids.into_iter().map(|id| events::get(tx, id));
            Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        };
        self.world.read(all).await
    }

    /// Waits until what the events say happened to files is `wanted`; an event is of those after the first `skipped`.
    async fn until(&self, skipped: usize, wanted: &[(&str, &str)]) -> usize {
        let root = self.home.path().canonicalize().unwrap();
        let wanted: BTreeMap<String, String> =
            wanted.iter().map(|(path, event)| ((*path).to_owned(), (*event).to_owned())).collect();
        let until = Instant::now() + LIMIT;
        loop {
            let events = self.events().await;
            let files = events.iter().skip(skipped).flat_map(files);
            let seen: BTreeMap<String, String> = files
                .map(|(path, event)| {
                    let below = Path::new(&path)
                        .strip_prefix(&root)
                        .or(Path::new(&path).strip_prefix(self.home.path()));
                    (below.unwrap().to_string_lossy().into_owned(), event)
                })
                .collect();
            if seen == wanted {
                return events.len();
            }
            assert!(Instant::now() < until, "{seen:?}, not {wanted:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the files are watched, by changing one until it is told of: the number of events so far.
    async fn begun(&self, file: &str) -> usize {
        let until = Instant::now() + LIMIT;
        let mut count = 0_u32;
        while self.events().await.is_empty() {
            count += 1;
            std::fs::write(self.at(file), format!("{count}")).unwrap();
            assert!(Instant::now() < until, "nothing is watched");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // What was written last is told too, perhaps in an event of its own.
        self.settled().await
    }

    /// Changes a file until the rule's step is called.
    async fn until_a_step_begins(&self, probe: &Shared, file: &str) {
        let until = Instant::now() + LIMIT;
        let mut count = 0_u32;
        while probe.calls().is_empty() {
            count += 1;
            std::fs::write(self.at(file), format!("{count}")).unwrap();
            assert!(Instant::now() < until, "nothing is watched");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until no event came for longer than a change rests: the number of events.
    async fn settled(&self) -> usize {
        let mut last = (self.events().await.len(), Instant::now());
        loop {
            let now = self.events().await.len();
            if now != last.0 {
                last = (now, Instant::now());
            }
            if last.1.elapsed() > Duration::from_secs(3) {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn stop(self) {
        self.keeping.abort();
        self.world.stop().await;
    }
}

fn places(home: &Path, state: &Path) -> Places {
    let directory = AbsolutePath::new(home).unwrap();
    Places {
        base: Base::new(directory, Some(home.to_owned())),
        state: state.to_owned(),
        workspaces: HashMap::from([("app".to_owned(), home.join("app"))]),
    }
}

fn files(event: &EventRow) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let files = event.payload["files"].as_array().unwrap();
    files.iter().map(|file| (text(&file["path"]), text(&file["event"]))).collect()
}

fn run(directory: &Path, program: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    let ended = command.args(arguments).current_dir(directory).stdin(Stdio::null()).output().unwrap();
    assert!(ended.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
}

#[tokio::test]
async fn what_git_and_editors_do_to_files_is_told_as_what_became_of_them() {
    let watching = Watching::start(TELL, Shared::open(), |home| {
        let notes = home.join("notes");
        scratch::repository(&notes, &[("same", "same\n"), ("changed", "one\n"), ("gone", "gone\n")]).unwrap();
        run(&notes, "git", &["checkout", "--quiet", "-b", "other"]);
        std::fs::write(notes.join("changed"), "another\n").unwrap();
        std::fs::create_dir(notes.join("below")).unwrap();
        std::fs::write(notes.join("below/new"), "new\n").unwrap();
        run(&notes, "git", &["rm", "--quiet", "gone"]);
        run(&notes, "git", &["add", "."]);
        run(
            &notes,
            "git",
            &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "other"],
        );
        run(&notes, "git", &["checkout", "--quiet", "-"]);
    });
    let notes = watching.at("notes");
    let begun = watching.begun("notes/untracked").await;
    run(&notes, "git", &["checkout", "--quiet", "other"]);
    let wanted = [("notes/below/new", "create"), ("notes/changed", "modify"), ("notes/gone", "delete")];
    let seen = watching.until(begun, &wanted).await;
    // As editors do: another file is written, and takes the place of the first.
    run(&notes, "sed", &["-i", "s/another/third/", "changed"]);
    let seen = watching.until(seen, &[("notes/changed", "modify")]).await;
    run(&notes, "sh", &["-c", "echo new > .tmp && mv .tmp below/new"]);
    let seen = watching.until(seen, &[("notes/below/new", "modify")]).await;
    run(&notes, "git", &["status"]);
    run(&notes, "mv", &["below", "elsewhere"]);
    let seen =
        watching.until(seen, &[("notes/below/new", "delete"), ("notes/elsewhere/new", "create")]).await;
    let last = watching.events().await.pop().unwrap();
    assert_eq!((last.requester.as_str(), last.chat.as_str()), ("file_watch:tell", "main"));
    let until = Instant::now() + LIMIT;
    while watching.world.runs().await.len() < seen {
        assert!(Instant::now() < until, "each event is a run");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(watching.world.runs().await.len(), watching.events().await.len());
    watching.stop().await;
}

#[tokio::test]
async fn a_directory_that_goes_away_is_watched_again_once_it_is_there() {
    let watching =
        Watching::start(TELL, Shared::open(), |home| std::fs::create_dir(home.join("notes")).unwrap());
    let notes = watching.at("notes");
    let begun = watching.begun("notes/first").await;
    std::fs::remove_dir_all(&notes).unwrap();
    let mut seen = watching.until(begun, &[("notes/first", "delete")]).await;
    for _ in 0..2 {
        std::fs::create_dir_all(notes.join("below")).unwrap();
        std::fs::write(notes.join("below/a"), "a").unwrap();
        seen = watching.until(seen, &[("notes/below/a", "create")]).await;
        std::fs::write(notes.join("below/a"), "again").unwrap();
        seen = watching.until(seen, &[("notes/below/a", "modify")]).await;
        std::fs::remove_dir_all(&notes).unwrap();
        seen = watching.until(seen, &[("notes/below/a", "delete")]).await;
    }
    // Another directory takes its place, at once.
    std::fs::create_dir(&notes).unwrap();
    std::fs::write(notes.join("b"), "b").unwrap();
    seen = watching.until(seen, &[("notes/b", "create")]).await;
    let other = watching.at("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("c"), "c").unwrap();
    std::fs::rename(&notes, watching.at("before")).unwrap();
    std::fs::rename(&other, &notes).unwrap();
    seen = watching.until(seen, &[("notes/b", "delete"), ("notes/c", "create")]).await;
    std::fs::write(notes.join("c"), "after").unwrap();
    watching.until(seen, &[("notes/c", "modify")]).await;
    watching.stop().await;
}

#[tokio::test]
async fn a_storm_of_files_is_few_events_that_say_how_many_they_leave_out() {
    let watching =
        Watching::start(TELL, Shared::open(), |home| std::fs::create_dir(home.join("notes")).unwrap());
    let begun = watching.begun("notes/first").await;
    run(&watching.at("notes"), "sh", &["-c", "seq 10000 | xargs touch"]);
    let until = Instant::now() + LIMIT;
    let count = |event: &EventRow| event.payload["count"].as_u64().unwrap();
    loop {
        let events = watching.events().await;
        let told: u64 = events.iter().skip(begun).map(count).sum();
        if told == 10_000 {
            break;
        }
        assert!(told < 10_000 && Instant::now() < until, "{told} files were told of");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let events = watching.events().await.split_off(begun);
    assert!(events.len() < 100, "{} events", events.len());
    for event in &events {
        let (listed, left_out) = (files(event).len() as u64, event.payload["left_out"].as_u64().unwrap());
        assert!(listed <= 100 && listed + left_out == count(event), "{listed} and {left_out}");
    }
    assert!(events.iter().any(|event| event.payload["left_out"] != 0));
    watching.stop().await;
}

#[tokio::test]
async fn what_a_step_writes_while_it_works_starts_nothing() {
    let probe = Shared::closed();
    let watching =
        Watching::start(WORK, probe.clone(), |home| std::fs::create_dir(home.join("notes")).unwrap());
    // One is let go once it has written.
    watching.until_a_step_begins(&probe, "notes/user.txt").await;
    for own in ["notes/own.txt", "notes/user.txt"] {
        std::fs::write(watching.at(own), "by the step").unwrap();
    }
    probe.gate.add_permits(1_000);
    assert_eq!(watching.world.until_ended(1).await.as_str(), "succeeded");
    // What the user changes soon after is told, though nothing was looked at for its sake; what the step wrote never is.
    tokio::time::sleep(Duration::from_secs(5)).await;
    std::fs::write(watching.at("notes/later.md"), "by the user").unwrap();
    std::fs::write(watching.at("notes/later.txt"), "by the user").unwrap();
    let until = Instant::now() + LIMIT;
    let mut later = Vec::new();
    while later.is_empty() {
        assert!(Instant::now() < until, "what the user changes is told no more");
        tokio::time::sleep(Duration::from_millis(50)).await;
        later = watching.events().await.split_off(1);
    }
    let told: Vec<String> = later.iter().flat_map(files).map(|(path, _)| path).collect();
    assert!(told.iter().all(|path| path.ends_with("/notes/later.txt")), "{told:?}");
    watching.stop().await;
}

#[tokio::test]
async fn what_others_change_while_a_card_waits_is_told_once_the_step_has_ended() {
    let (home, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir(home.path().join("notes")).unwrap();
    let probe = Shared::closed();
    let plan = Plan { rules: vec![WORK, TELL], probe: probe.clone(), ..Plan::default() };
    let watching = Watching::by(plan, home, state);
    let until = Instant::now() + LIMIT;
    let mut count = 0_u32;
    while watching.world.screen.cards().is_empty() {
        count += 1;
        std::fs::write(watching.at("notes/first.txt"), format!("{count}")).unwrap();
        assert!(Instant::now() < until, "nothing is watched");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let of_work = |events: &[EventRow]| -> Vec<Vec<(String, String)>> {
        events.iter().filter(|event| event.requester.as_str() == "file_watch:work").map(files).collect()
    };
    let told_of = |events: &[EventRow], name: &str| {
        let tell = events.iter().filter(|event| event.requester.as_str() == "file_watch:tell");
        tell.flat_map(files).any(|(path, _)| path.ends_with(name))
    };
    // What one rule was told of after another file, both rules have seen.
    for name in ["waited.txt", "a.md", "b.md", "c.md"] {
        std::fs::write(watching.at("notes").join(name), "by somebody").unwrap();
        while !told_of(&watching.events().await, name) {
            assert!(Instant::now() < until, "{name}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert_eq!(of_work(&watching.events().await).len(), 1, "it is held while the card waits");
    let card = watching.world.card().await;
    assert_eq!(watching.world.tap(&card, ANNA, Decision::Approve).await, Tapped::Approved);
    while probe.calls().is_empty() {
        assert!(Instant::now() < until, "it does not begin");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::write(watching.at("notes/own.txt"), "by the step").unwrap();
    probe.gate.add_permits(1_000);
    while of_work(&watching.events().await).len() < 2 {
        assert!(Instant::now() < until, "what changed while the card waited is not told");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let told = of_work(&watching.events().await).pop().unwrap();
    let names: Vec<&str> = told.iter().filter_map(|(path, _)| path.rsplit('/').next()).collect();
    assert!(names.contains(&"waited.txt") && !names.contains(&"own.txt"), "{names:?}");
    watching.stop().await;
}

#[tokio::test]
async fn what_is_changed_after_a_step_that_wrote_nothing_there_is_told() {
    let probe = Shared::open();
    let watching =
        Watching::start(WORK, probe.clone(), |home| std::fs::create_dir(home.join("notes")).unwrap());
    watching.until_a_step_begins(&probe, "notes/first.txt").await;
    let before = watching.settled().await;
    std::fs::write(watching.at("notes/second.txt"), "once").unwrap();
    watching.until(before, &[("notes/second.txt", "create")]).await;
    watching.stop().await;
}

/// What the system tells this process of.
fn told_of() -> usize {
    let all = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let texts = all.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    texts.map(|text| text.lines().filter(|line| line.starts_with("inotify ")).count()).sum()
}

#[tokio::test]
async fn a_link_below_is_not_followed_and_one_to_a_file_is() {
    let watching = Watching::start(TELL, Shared::open(), |home| {
        std::fs::create_dir_all(home.join("notes")).unwrap();
        (0..2_000).for_each(|number| std::fs::create_dir_all(home.join(format!("far/{number}"))).unwrap());
        std::os::unix::fs::symlink("../far", home.join("notes/link")).unwrap();
    });
    let begun = watching.begun("notes/first").await;
    assert!(told_of() < 2_000, "what a link leads to is not watched");
    std::fs::write(watching.at("far/x"), "x").unwrap();
    std::fs::write(watching.at("notes/second"), "x").unwrap();
    watching.until(begun, &[("notes/second", "create")]).await;
    watching.stop().await;

    let of_file = TELL.replace("\"notes\"", "\"latest\"");
    let watching = Watching::start(Box::leak(of_file.into_boxed_str()), Shared::open(), |home| {
        std::fs::create_dir_all(home.join("far")).unwrap();
        std::fs::write(home.join("far/log"), "x").unwrap();
        std::os::unix::fs::symlink("far/log", home.join("latest")).unwrap();
    });
    let begun = watching.begun("far/log").await;
    std::fs::write(watching.at("far/log"), "written through the link's target").unwrap();
    watching.until(begun, &[("latest", "modify")]).await;
    watching.stop().await;
}

#[test]
fn a_running_host_watches_what_is_not_there_yet_beside_its_configuration() {
    let user = user_with(TELL);
    let home = user.home.path();
    let at = home.join("host.toml");
    let doctor = user.run(&["doctor", "-c", at.to_str().unwrap()]);
    assert!(doctor.text().contains("/notes, which is not there yet"), "{}", doctor.text());
    let mut host = user.start(&["run", "-c", at.to_str().unwrap()]);
    host.expect("files are watched");
    std::fs::create_dir(home.join("notes")).unwrap();
    std::fs::write(home.join("notes/a.txt"), "a").unwrap();
    let until = Instant::now() + LIMIT;
    let event = loop {
        let listed = user.run(&["events", "list", "--json"]).json();
        if let Some(event) = listed.get(0) {
            break event["event"].clone();
        }
        assert!(Instant::now() < until, "nothing is told");
    };
    let payload = &event["payload"];
    for (field, value) in [("filename", "a.txt"), ("extension", "txt"), ("event", "create")] {
        assert_eq!(payload[field], value);
    }
    assert_eq!((&event["surface"], &event["connector"]), (&Value::from("cli"), &Value::from("file_watch")));
    host.signal(rustix::process::Signal::TERM);
    assert_eq!(host.wait(), 0);
}

/// A user whose configuration has this rule, and a daemon that is never asked.
fn user_with(rule: &str) -> User {
    let user = User::new();
    let home = user.home.path();
    std::fs::create_dir(home.join("rules")).unwrap();
    std::fs::write(home.join("rules/tell.toml"), rule).unwrap();
    let config = "rules = \"rules\"\n[connectors.connector-opencode]\nbase_url = \"http://127.0.0.1:9\"\n";
    std::fs::write(home.join("host.toml"), config).unwrap();
    user
}

#[test]
fn what_the_host_itself_writes_cannot_be_watched() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("var/state");
    std::fs::create_dir_all(state.join("below")).unwrap();
    std::fs::create_dir(home.path().join("notes")).unwrap();
    std::os::unix::fs::symlink(&state, home.path().join("link")).unwrap();
    let places = places(home.path(), &state);
    let told = |path: &str| {
        let rule = TELL.replace("\"notes\"", &format!("\"{path}\""));
        watch::in_vain(RuleSet::parse([SourceFile::new("r.toml", rule)]).unwrap().rules(), &places)
    };
    for path in
        ["var/state", "var/state/below", "var/state/not/there", "var", ".", "~", "/", "link", "notes/../var"]
    {
        let told = told(path);
        assert!(told.len() == 1 && told[0].contains("the host's own state"), "{path}: {told:?}");
    }
    for path in ["notes", "~/notes", "var/other", "not/there"] {
        assert_eq!(told(path), Vec::<String>::new(), "{path}");
    }

    let user = user_with(&TELL.replace("\"notes\"", "\"state\""));
    let at = user.home.path().join("host.toml");
    let words = "the rule tell waits for files in vain";
    for command in ["config check", "doctor"] {
        let arguments = command.split(' ').chain(["-c", at.to_str().unwrap()]).collect::<Vec<_>>();
        let ended = user.run(&arguments);
        assert!(ended.code() == 1 && ended.text().contains(words), "{command}: {}", ended.text());
    }
    let mut host = user.start(&["run", "-c", at.to_str().unwrap()]);
    host.expect(words);
    host.signal(rustix::process::Signal::TERM);
    assert_eq!(host.wait(), 0);
}
