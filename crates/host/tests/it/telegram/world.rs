//! The binary between a fake Bot API and a real daemon.

use rustix::process::Signal;
use testkit::fake::Generation;
use testkit::model::{Script, ScriptedModel};
use testkit::real::LOOPBACK_ALONE;
use testkit::scratch;
use testkit::telegram::{FakeTelegram, Shown, TOKEN};

use crate::terminal::{Terminal, User, opencode};

/// Who writes and approves.
pub(crate) const ANNA: u64 = 42;

/// Anna's private chat.
pub(crate) const CHAT: i64 = 42;

/// A group that is allowed.
pub(crate) const GROUP: i64 = -100_500;

/// A member of the group who may not approve.
pub(crate) const BEN: u64 = 43;

pub(crate) struct World {
    pub(crate) telegram: FakeTelegram,
    pub(crate) user: User,
    pub(crate) workspace: String,
    pub(crate) model: ScriptedModel,
    pub(crate) host: Option<Terminal>,
    pub(crate) output: Vec<String>,
}

impl World {
    /// A host that runs, with a model that follows `script`.
    pub(crate) async fn start(script: Script) -> Self {
        Self::with(script, "").await
    }

    /// The same, with more in the section about Telegram.
    pub(crate) async fn with(script: Script, more: &str) -> Self {
        Self::at(&opencode().await, script, "", more)
    }

    /// A host that runs a real 2.x, each task in a working tree of its own. Without walls: the server that
    /// can be had keeps its state in directories of another name, which they are not open for.
    pub(crate) async fn newer(script: Script) -> Self {
        let opencode = testkit::real::opencode_of(Generation::V2).await.unwrap();
        let pass: Vec<&str> = LOOPBACK_ALONE.iter().map(|(name, _)| *name).collect();
        let workspace = format!("isolation = \"worktree\"\nconfine = \"off\"\npass = {pass:?}\n");
        Self::at(&opencode.path.display().to_string(), script, &workspace, "")
    }

    /// A host whose tasks have working trees of their own, with more in the section of the workspace.
    pub(crate) async fn in_trees(script: Script, of_workspace: &str) -> Self {
        let workspace = format!("isolation = \"worktree\"\n{of_workspace}\n");
        Self::at(&opencode().await, script, &workspace, "")
    }

    fn at(opencode: &str, script: Script, of_workspace: &str, more: &str) -> Self {
        let telegram = FakeTelegram::start().unwrap();
        let model = ScriptedModel::start(script).unwrap();
        let user = User::new()
            .with_opencode_config(&model.config())
            .with_variable("TELEGRAM_BOT_TOKEN", TOKEN)
            .with_variable("CONNECTOR_HOST_LOG", "trace");
        let user = LOOPBACK_ALONE.iter().fold(user, |user, (name, value)| user.with_variable(name, value));
        let extra = toml::Value::try_from(model.config()).unwrap();
        let directory = user.home.path().join("app");
        std::fs::create_dir(&directory).unwrap();
        scratch::repository(&directory, &[("hello.txt", "hello\n")]).unwrap();
        let workspace = directory.display().to_string();
        let rules = user.home.path().join("rules");
        std::fs::create_dir(&rules).unwrap();
        let bundled = concat!(env!("CARGO_MANIFEST_DIR"), "/rules/telegram");
        for name in [
            "fix.toml",
            "reply.toml",
            "fix-files.toml",
            "reply-files.toml",
            "apply.toml",
            "commit.toml",
            "discard.toml",
            "undo.toml",
            "push.toml",
        ] {
            std::fs::copy(format!("{bundled}/{name}"), rules.join(name)).unwrap();
        }
        let config = format!(
            "rules = \"rules\"\nopencode = \"{}\"\n\
             [gate]\napprovers = [\"telegram:{ANNA}\"]\n\
             [workspaces.main]\ndirectory = \"{workspace}\"\nextra_config = {extra}\n{of_workspace}\
             [connectors.connector-opencode]\nworkspace = \"main\"\n\
             [surfaces.telegram]\nbot_token = \"env:TELEGRAM_BOT_TOKEN\"\napi_base = \"{}\"\n\
             poll_timeout = 2\nallow_users = [{ANNA}]\nallow_chats = [{GROUP}]\n{more}",
            opencode,
            telegram.base_url(),
        );
        std::fs::write(user.home.path().join("host.toml"), config).unwrap();
        let mut world = Self { telegram, user, workspace, model, host: None, output: Vec::new() };
        world.restart();
        world
    }

    pub(crate) fn restart(&mut self) {
        let config = self.user.home.path().join("host.toml").display().to_string();
        let mut host = self.user.start(&["run", "-c", &config]);
        host.expect("telegram is connected");
        self.host = Some(host);
    }

    /// Ends the host in order; everything it wrote is kept.
    pub(crate) fn stop(&mut self) {
        let host = self.host.take().unwrap();
        host.signal(Signal::TERM);
        let (code, seen) = host.finish();
        assert_eq!(code, 0, "{}", seen.join("\n"));
        self.output.extend(seen);
    }

    /// Ends the host as a crash does.
    pub(crate) fn crash(&mut self) {
        let mut host = self.host.take().unwrap();
        self.output.append(&mut host.seen);
        host.kill9();
    }

    /// Waits for a card with this text.
    pub(crate) async fn card(&self, chat: i64, text: &str) -> Shown {
        let is_card = |shown: &&Shown| shown.text.contains("Approval needed") && shown.text.contains(text);
        self.telegram.wait(chat, |screen| screen.iter().rev().find(is_card).cloned()).await
    }

    /// Nothing that the host wrote, and nothing it left on disk, shows the token.
    pub(crate) fn assert_no_token(&self) {
        let key = TOKEN.split_once(':').unwrap().1;
        let shown: Vec<&String> = self.output.iter().filter(|line| line.contains(key)).collect();
        assert!(!self.output.is_empty(), "there is output to be scanned");
        assert!(shown.is_empty(), "{shown:#?}");
        let mut directories = vec![self.user.state()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    directories.push(entry.path());
                } else if let Ok(content) = std::fs::read(entry.path()) {
                    let found = content.windows(key.len()).any(|window| window == key.as_bytes());
                    assert!(!found, "{}", entry.path().display());
                }
            }
        }
    }
}
