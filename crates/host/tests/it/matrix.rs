//! Matrix: the binary on a real Synapse, with the real opencode daemon.

mod setup;

use std::time::Duration;

use rustix::process::Signal;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::fake::{Fake, Faults, Fixture};
use testkit::model::{Script, ScriptedModel};
use testkit::real::LOOPBACK_ALONE;
use testkit::{Synapse, scratch, synapse};
use tokio::time::Instant;

use crate::database;
use crate::terminal::{Terminal, User, opencode};

/// How long anything may take that waits for a daemon, or for a server that was killed.
const LIMIT: Duration = Duration::from_mins(2);

struct World {
    bot: synapse::User,
    anna: synapse::User,
    room: String,
    user: User,
    workspace: String,
    _model: ScriptedModel,
    host: Option<Terminal>,
    output: Vec<String>,
}

impl World {
    /// A host on a server, whose agent's model follows `script`.
    async fn start(server: &Synapse, script: Script) -> Self {
        let mut world = Self::at_rest(server, script).await;
        world.restart(None);
        world.room = world.anna.direct(&world.bot.id).await.unwrap();
        // It accepts the invitation by itself.
        let is_in = async |world: &Self| {
            let members = world.anna.members(&world.room).await.unwrap();
            members.contains(&world.bot.id).then_some(())
        };
        world.until("the bot is in the room", is_in).await;
        world
    }

    async fn at_rest(server: &Synapse, script: Script) -> Self {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let bot = server.register(&format!("walker{number}")).await.unwrap();
        let anna = server.register(&format!("anna{number}")).await.unwrap();
        let model = ScriptedModel::start(script).unwrap();
        let user = User::new()
            .with_opencode_config(&model.config())
            .with_variable("MATRIX_TOKEN", bot.token.expose_secret())
            .with_variable("CONNECTOR_HOST_LOG", "trace");
        let user = LOOPBACK_ALONE.iter().fold(user, |user, (name, value)| user.with_variable(name, value));
        let directory = user.home.path().join("app");
        std::fs::create_dir(&directory).unwrap();
        scratch::repository(&directory, &[("hello.txt", "hello\n")]).unwrap();
        let workspace = directory.display().to_string();
        let rules = user.home.path().join("rules");
        std::fs::create_dir(&rules).unwrap();
        for (name, rule) in [
            ("fix.toml", include_str!("../../rules/telegram/fix.toml")),
            ("reply.toml", include_str!("../../rules/telegram/reply.toml")),
        ] {
            let rule = rule.replace("connector-telegram", "connector-matrix");
            std::fs::write(rules.join(name), rule).unwrap();
        }
        let config = format!(
            "rules = \"rules\"\nopencode = \"{}\"\n\
             [gate]\napprovers = [\"matrix:{anna}\"]\n\
             [workspaces.main]\ndirectory = \"{workspace}\"\nextra_config = {}\n\
             [connectors.connector-opencode]\nworkspace = \"main\"\n\
             [surfaces.matrix]\nhomeserver = \"{}\"\nuser = \"{}\"\naccess_token = \"env:MATRIX_TOKEN\"\n\
             sync_timeout = 2\nallow_users = [\"{anna}\"]\n",
            opencode().await,
            toml::Value::try_from(model.config()).unwrap(),
            server.base_url(),
            bot.id,
            anna = anna.id,
        );
        std::fs::write(user.home.path().join("host.toml"), config).unwrap();
        Self {
            bot,
            anna,
            room: String::new(),
            user,
            workspace,
            _model: model,
            host: None,
            output: Vec::new(),
        }
    }

    /// Starts the host, which ends itself at `place` where one is named.
    fn restart(&mut self, place: Option<&str>) {
        let config = self.user.home.path().join("host.toml").display().to_string();
        let arguments = ["run", "-c", &config];
        let mut host = match place {
            Some(place) => self.user.start_doomed(&arguments, place),
            None => self.user.start(&arguments),
        };
        host.expect("matrix is connected");
        self.host = Some(host);
    }

    /// Waits until the host has ended itself, and starts it again.
    fn dies_and_starts_again(&mut self) {
        let mut host = self.host.take().unwrap();
        // Not for its output: the daemon that it leaves behind has it open.
        assert_ne!(host.wait(), 0, "it ends itself at the place");
        self.output.append(&mut host.seen);
        self.restart(None);
    }

    /// From the next start on, tasks are carried out by a daemon that answers at once.
    fn is_served_by(&self, daemon: &Fake) {
        let file = self.user.home.path().join("host.toml");
        let config = std::fs::read_to_string(&file).unwrap();
        let at = format!("base_url = \"{}\"\ndirectory = \"/code/main\"", daemon.base_url());
        std::fs::write(&file, config.replace("workspace = \"main\"", &at)).unwrap();
    }

    fn crash(&mut self) {
        let mut host = self.host.take().unwrap();
        self.output.append(&mut host.seen);
        host.kill9();
    }

    fn stop(&mut self) {
        let host = self.host.take().unwrap();
        host.signal(Signal::TERM);
        let (code, seen) = host.finish();
        assert_eq!(code, 0, "{}", seen.join("\n"));
        self.output.extend(seen);
    }

    /// Waits for what `look` finds.
    async fn until<T>(&self, what: &str, look: impl AsyncFn(&Self) -> Option<T>) -> T {
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(found) = look(self).await {
                return found;
            }
            if Instant::now() >= until {
                // The server may be one that answers nothing.
                let bodies = tokio::time::timeout(Duration::from_secs(10), self.bodies()).await;
                panic!("never: {what}; the room has {bodies:#?}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The messages of the bot, without edits.
    async fn said(&self) -> Vec<Value> {
        let all = self.anna.messages(&self.room).await.unwrap_or_default();
        let is_own = |it: &Value| it["sender"] == self.bot.id.as_str();
        let is_edit = |it: &Value| it["content"]["m.relates_to"]["rel_type"] == "m.replace";
        all.into_iter().filter(|it| is_own(it) && !is_edit(it)).collect()
    }

    async fn bodies(&self) -> Vec<String> {
        let body = |it: &Value| it["content"]["body"].as_str().unwrap_or_default().to_owned();
        self.said().await.iter().map(body).collect()
    }

    /// Waits for a message with this text; its event.
    async fn sees(&self, text: &str) -> Value {
        let has = |it: &Value| it["content"]["body"].as_str().is_some_and(|body| body.contains(text));
        self.until(text, async |world| world.said().await.into_iter().rev().find(has)).await
    }

    /// Anna says yes to the message with this text.
    async fn approve(&self, text: &str) {
        let event = self.sees(text).await;
        self.anna.react(&self.room, event["event_id"].as_str().unwrap(), "✅").await.unwrap();
    }

    async fn reply(&self, to: &Value, words: &str) {
        let relation = json!({ "m.in_reply_to": { "event_id": to["event_id"] } });
        let content = json!({ "msgtype": "m.text", "body": words, "m.relates_to": relation });
        self.anna.send(&self.room, "m.room.message", &content).await.unwrap();
    }

    async fn count(&self, text: &str) -> usize {
        self.bodies().await.iter().filter(|it| it.contains(text)).count()
    }

    /// Allows what the agent asks for until it has said this.
    async fn allow_asks(&self, reply: &str) {
        let mut allowed = Vec::new();
        loop {
            let next = self.until(reply, async |world: &Self| {
                let said = world.said().await;
                let has = |it: &Value, text: &str| it["content"]["body"].as_str().unwrap().contains(text);
                if said.iter().any(|it| has(it, reply)) {
                    return Some(None);
                }
                let ask =
                    said.iter().find(|it| has(it, "may the agent use") && !allowed.contains(&it["event_id"]));
                ask.map(|ask| Some(ask["event_id"].clone()))
            });
            let Some(ask) = next.await else { return };
            self.anna.react(&self.room, ask.as_str().unwrap(), "👍").await.unwrap();
            allowed.push(ask);
        }
    }

    /// Nothing that the host wrote, and nothing it left on disk, shows the token.
    fn assert_no_token(&self) {
        let token = self.bot.token.expose_secret();
        let shown: Vec<&String> = self.output.iter().filter(|line| line.contains(token)).collect();
        assert!(self.output.iter().any(|line| line.contains("TRACE")), "all is logged");
        assert!(shown.is_empty(), "{shown:#?}");
        let mut directories = vec![self.user.state()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    directories.push(entry.path());
                } else if let Ok(content) = std::fs::read(entry.path()) {
                    let found = content.windows(token.len()).any(|window| window == token.as_bytes());
                    assert!(!found, "{}", entry.path().display());
                }
            }
        }
    }
}

#[tokio::test]
async fn a_fix_is_asked_for_approved_watched_and_continued_in_a_room() {
    let script = Script::default()
        .call("write it", 0, "write", json!({ "filePath": "new.txt", "content": "new\n" }))
        .reply("write it", "It is *written* <b>now</b>.")
        .reply("now the docs", "The docs too.");
    let mut world = World::start(Synapse::shared().await, script).await;
    world.anna.say(&world.room, "!fix write it").await.unwrap();
    let card = world.sees("approval needed").await;
    let text = card["content"]["body"].as_str().unwrap();
    for part in
        ["/fix write it", "fix-on-demand", &format!("matrix:{}", world.anna.id), "run_task", "workspace:main"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!std::fs::exists(format!("{}/new.txt", world.workspace)).unwrap(), "nothing runs unapproved");

    world.approve("approval needed").await;
    world.sees("1.1 is approved").await;
    world.allow_asks("It is written").await;
    let head = world.sees("1.1 done").await;
    assert!(head["content"]["body"].as_str().unwrap().contains("new.txt +1"), "{head}");
    let reply = world.sees("It is written").await;
    assert_eq!(reply["content"]["formatted_body"], "<p>It is <em>written</em> &lt;b&gt;now&lt;/b&gt;.</p>");
    world.sees("│ +new").await;
    let edited = async |world: &World| {
        let all = world.anna.messages(&world.room).await.unwrap();
        let is_edit = |it: &&Value| it["content"]["m.relates_to"]["event_id"] == card["event_id"];
        let last =
            all.iter().rfind(is_edit)?["content"]["m.new_content"]["body"].as_str().unwrap().to_owned();
        last.contains("1.1 done").then_some(())
    };
    world.until("the card says how it ended", edited).await;

    world.reply(&reply, "now the docs").await;
    world.sees("session_id: ses_").await;
    world.approve("session_id: ses_").await;
    world.sees("The docs too.").await;
    world.stop();
    world.assert_no_token();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_killed_while_it_sends_has_sent_each_message_once() {
    let daemon = Fake::start(Fixture::recorded("text"), Faults::default()).await.unwrap();
    let mut world = World::start(Synapse::shared().await, Script::default()).await;
    world.stop();
    world.is_served_by(&daemon);
    // The server has the card, and the host has it not on record that it was delivered.
    world.restart(Some("card.shown"));
    world.anna.say(&world.room, "!fix it").await.unwrap();
    world.dies_and_starts_again();
    world.approve("approval needed").await;
    world.sees("1.1 done").await;
    world.sees("Done: hello").await;
    world.stop();
    // The same of a result.
    world.restart(Some("result.shown"));
    world.anna.say(&world.room, "!fix that").await.unwrap();
    world.approve("2.1").await;
    world.dies_and_starts_again();
    world.sees("2.1 done").await;
    let ledger = world.user.state().join("ledger.sqlite");
    let is_told = async |_: &World| {
        let left: i64 = database::value(&ledger, "SELECT count(*) FROM outbox WHERE delivered_at IS NULL");
        (left == 0).then_some(())
    };
    world.until("all is told", is_told).await;
    world.stop();
    for (text, times) in [("approval needed", 2), ("1.1 done", 1), ("2.1 done", 1), ("Done: hello", 2)] {
        assert_eq!(world.count(text).await, times, "{text}: {:#?}", world.bodies().await);
    }
    assert_eq!(daemon.tasks(), 2);
    world.assert_no_token();
}

#[tokio::test]
async fn a_host_and_a_server_that_are_killed_in_mid_send_have_each_message_once() {
    let mut server = Synapse::start().await.unwrap();
    let mut world = World::start(&server, Script::saying("Done.")).await;
    world.anna.say(&world.room, "!fix it").await.unwrap();
    world.sees("approval needed").await;
    world.approve("approval needed").await;
    world.sees("1.1 is approved").await;
    // The server stands still with what the host sends in its hands.
    server.suspend();
    let waiting = async |world: &World| {
        let shown = world.user.run(&["runs", "show", "1"]).text();
        shown.contains("done").then_some(())
    };
    world.until("the run is over", waiting).await;
    server.kill9();
    server.restart().await.unwrap();
    world.sees("1.1 done").await;
    world.sees("Done.").await;

    world.anna.say(&world.room, "!fix that").await.unwrap();
    world.approve("2.1").await;
    world.sees("2.1 is approved").await;
    server.suspend();
    let waiting = async |world: &World| {
        let shown = world.user.run(&["runs", "show", "2"]).text();
        shown.contains("done").then_some(())
    };
    world.until("the run is over", waiting).await;
    world.crash();
    server.resume();
    world.restart(None);
    world.sees("2.1 done").await;
    world.stop();
    for (text, times) in [("approval needed", 2), ("1.1 done", 1), ("2.1 done", 1), ("Done.", 2)] {
        assert_eq!(world.count(text).await, times, "{text}: {:#?}", world.bodies().await);
    }
    world.assert_no_token();
}
