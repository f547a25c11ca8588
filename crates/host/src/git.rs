//! The built-in connector for git: what came of a task, into the person's own files and to their remote.
//!
//! It runs in the host's process, since it is the host's own: it starts nothing but git, in repositories of
//! the workspaces that are configured. What it is to do stands in its input, whole, so that the card shows it
//! and the approval binds it: which commits, of which branch, and where they go.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::{
    ActionDecl, ActionResult, Connector, ConnectorError, Context, EventHandler, Manifest, OutboundHttp,
    Provenance, Reference, StopCause, Subscription, Target, chain,
};
use connector_engine::instance::{Fixed, Instance, Ready};
use connector_surface::text::one_line;
use opencode_daemons::Environment;
use opencode_daemons::pool::{PoolConfig, WorkspaceConfig};
use opencode_daemons::worktree::{
    self, Applied, ApplyError, CommitError, Committed, Destination, DiscardError, PushError, Pushed, Task,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::managed;

/// The name that rules know it by.
pub const NAME: &str = "connector-git";

/// What the branch that is committed on is called among the settings of a step.
const ONTO: &str = "onto";

/// How long a git may go on after the host was told to stop it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A workspace, as far as git is concerned.
#[derive(Debug, Clone)]
struct Workspace {
    directory: PathBuf,
    /// As it was configured.
    remote: Option<String>,
}

/// Applies, commits, takes back, pushes and discards what tasks left on branches.
#[derive(Debug)]
pub struct Git {
    manifest: Manifest,
    workspaces: BTreeMap<String, Workspace>,
    /// What agents reach.
    config: PoolConfig,
    environment: Environment,
    launcher: Option<PathBuf>,
    /// Where the words of git and of remotes are kept.
    log: PathBuf,
    /// Where the trees of tasks are.
    trees: PathBuf,
}

/// What every action takes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    workspace: String,
    branch: String,
    base: String,
    commit: String,
    /// The branch of the remote, if that is another.
    #[serde(default)]
    to: Option<String>,
    /// What a commit is called.
    #[serde(default)]
    title: Option<String>,
}

impl Git {
    /// The connector for these workspaces, of which `pool` says what agents reach besides. `state` is the host's state directory.
    pub fn new(
        (pool, workspaces): (&PoolConfig, &BTreeMap<String, WorkspaceConfig>),
        environment: Environment,
        state: &Path,
    ) -> Self {
        let workspace = |(name, given): (&String, &WorkspaceConfig)| {
            let directory = given.directory.canonicalize().unwrap_or_else(|_| given.directory.to_path_buf());
            (name.clone(), Workspace { directory, remote: given.remote.clone() })
        };
        Self {
            manifest: manifest(),
            workspaces: workspaces.iter().map(workspace).collect(),
            config: PoolConfig { workspaces: workspaces.clone(), ..pool.clone() },
            environment,
            launcher: std::env::current_exe().ok(),
            log: state.join("push.log"),
            trees: managed::directory(state),
        }
    }

    /// The instance that rules call.
    pub fn instance(self) -> Result<Instance, ConnectorError> {
        let connector: Arc<dyn Connector> = Arc::new(self);
        let http = OutboundHttp::new([]).map_err(|source| ConnectorError::Unavailable {
            reason: "no way out".to_owned(),
            source: Some(source),
        })?;
        let provider = Arc::new(Fixed(Ready { connector: Arc::clone(&connector), http }));
        Ok(Instance { name: NAME.to_owned(), workspace: None, described: connector, provider })
    }

    fn workspace(&self, input: &Input) -> Result<&Workspace, ConnectorError> {
        self.workspaces.get(&input.workspace).ok_or_else(|| {
            let known: Vec<&str> = self.workspaces.keys().map(String::as_str).collect();
            let reason = format!(
                "there is no [workspaces.{}]; there are: {}",
                one_line(&input.workspace),
                known.join(", ")
            );
            ConnectorError::InvalidInput { reason }
        })
    }

    async fn apply(&self, input: &Input, undo: bool) -> Result<ActionResult, ConnectorError> {
        let workspace = self.workspace(input)?;
        let commits = if undo { (&*input.commit, &*input.base) } else { (&*input.base, &*input.commit) };
        let applied =
            worktree::apply(&workspace.directory, commits, self.environment.clone(), self.launcher.clone());
        let Applied { top, files } = applied.await.map_err(|error| match error {
            ApplyError::Partly { .. } => {
                ConnectorError::Failed { reason: chain(&error), reference: Reference::default() }
            }
            _ => ConnectorError::Refused { reason: format!("nothing was changed: {}", chain(&error)) },
        })?;
        let what = if undo { "taken back, and staged" } else { "staged, not committed" };
        let message = match files.len() {
            0 => "no file is changed by it".to_owned(),
            1 => format!("1 file {what}"),
            count => format!("{count} files {what}"),
        };
        let files: Vec<Value> = files.iter().map(|path| json!({ "path": path })).collect();
        Ok(ActionResult {
            success: true,
            output: json!({ "directory": top, "files": files, "reply": message }),
            message,
        })
    }

    async fn commit(&self, input: &Input, approved: Option<&Target>) -> Result<ActionResult, ConnectorError> {
        let workspace = self.workspace(input)?;
        let onto = onto(approved)?;
        let committed = worktree::commit(
            &workspace.directory,
            (&input.base, &input.commit),
            (input.title.as_deref(), onto),
            self.environment.clone(),
            self.launcher.clone(),
        );
        let Committed { top, branch, commit, as_it_was, files } =
            committed.await.map_err(|error| match error {
                CommitError::Apply(ApplyError::Partly { .. }) | CommitError::Staged { .. } => {
                    ConnectorError::Failed { reason: chain(&error), reference: Reference::default() }
                }
                _ => ConnectorError::Refused { reason: format!("nothing was changed: {}", chain(&error)) },
            })?;
        let short = commit.get(..12).unwrap_or(&commit);
        let how = if as_it_was { "the task's own commits" } else { "one commit" };
        let message = format!("{branch} is at {short} now: {how}, {}", counted(files.len()));
        let files: Vec<Value> = files.iter().map(|path| json!({ "path": path })).collect();
        let output =
            json!({ "directory": top, "onto": branch, "head": commit, "files": files, "reply": message });
        Ok(ActionResult { success: true, output, message })
    }

    async fn discard(&self, input: &Input) -> Result<ActionResult, ConnectorError> {
        let workspace = self.workspace(input)?;
        let task = Task {
            state: &self.trees,
            name: &input.workspace,
            directory: &workspace.directory,
            branch: &input.branch,
            commit: &input.commit,
        };
        let discarded = worktree::discard(task, self.environment.clone(), self.launcher.clone());
        discarded.await.map_err(|error| match error {
            DiscardError::Half(..) => {
                ConnectorError::Failed { reason: chain(&error), reference: Reference::default() }
            }
            _ => ConnectorError::Refused { reason: chain(&error) },
        })?;
        let message = format!("{} and its working tree are gone", input.branch);
        Ok(ActionResult { success: true, output: json!({ "reply": message }), message })
    }

    async fn push(&self, input: &Input) -> Result<ActionResult, ConnectorError> {
        let workspace = self.workspace(input)?;
        let Some(address) = &workspace.remote else {
            let name = &input.workspace;
            let reason =
                format!("[workspaces.{name}] has no `remote`; name its address there, and start anew");
            return Err(ConnectorError::Refused { reason });
        };
        // Looked at again: what is there may be another directory by now.
        let remote = self.config.remote(address);
        let remote = remote.map_err(|error| ConnectorError::Refused { reason: error.to_string() })?;
        let branch = input.to.as_deref().unwrap_or(&input.branch);
        let to = Destination { remote: &remote, branch, log: &self.log };
        let pushed = worktree::push(
            &workspace.directory,
            (&input.base, &input.commit),
            to,
            self.environment.clone(),
            self.launcher.clone(),
        );
        let pushed = pushed.await.map_err(|error| match error {
            PushError::Unknown { .. } => {
                ConnectorError::OutcomeUnknown { reason: chain(&error), reference: Reference::default() }
            }
            PushError::Credentials { .. } => ConnectorError::Unauthorized { reason: chain(&error) },
            PushError::Unreachable { .. } => {
                ConnectorError::Unavailable { reason: chain(&error), source: None }
            }
            _ => ConnectorError::Refused { reason: chain(&error) },
        })?;
        let (told, message) = match pushed {
            Pushed::Created => ("created", format!("pushed to {address} as the new branch {branch}")),
            Pushed::Updated => ("updated", format!("pushed to {branch} of {address}")),
            Pushed::Unchanged => ("unchanged", format!("{branch} of {address} has it already")),
        };
        let output = json!({ "remote": address, "to": branch, "commit": input.commit, "outcome": told, "reply": message });
        Ok(ActionResult { success: true, output, message })
    }
}

/// The connector as rules and their linter know it, of a host without workspaces.
pub fn described() -> Arc<dyn Connector> {
    let none = (&PoolConfig::default(), &BTreeMap::new());
    Arc::new(Git::new(none, Environment::from_iter([("", ""); 0]), Path::new("/")))
}

/// The branch that was approved to be committed on, where somebody was asked.
fn onto(approved: Option<&Target>) -> Result<Option<&str>, ConnectorError> {
    let Some(target) = approved else { return Ok(None) };
    let onto = target.settings.get(ONTO).and_then(Value::as_str);
    let reason = "nothing was changed: the card named no branch, since the repository's files name none; \
                  `connector-host runs commit` asks git";
    onto.map(Some).ok_or_else(|| ConnectorError::Refused { reason: reason.to_owned() })
}

fn parse(input: &Value) -> Result<Input, ConnectorError> {
    Input::deserialize(input).map_err(|error| ConnectorError::InvalidInput { reason: error.to_string() })
}

#[async_trait]
impl Connector for Git {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn execute(
        &self,
        action: &str,
        input: Value,
        ctx: &Context,
    ) -> Result<ActionResult, ConnectorError> {
        self.check(action, &input)?;
        let input = parse(&input)?;
        // All of it or nothing: it is not left in the middle.
        match action {
            "apply" | "undo" => return self.apply(&input, action == "undo").await,
            "commit" => return self.commit(&input, ctx.approved.as_ref()).await,
            "discard" => return self.discard(&input).await,
            _ => {}
        }
        // Git is ended with the call; what it has sent then, it has sent.
        tokio::select! {
            done = self.push(&input) => done,
            () = stopped(ctx) => Err(ConnectorError::Stopped {
                cause: if ctx.cancel.is_cancelled() { StopCause::Cancelled } else { StopCause::Deadline },
                reason: "git was ended, and may have sent the branch".to_owned(),
                reference: Reference::default(),
            }),
        }
    }

    fn target(&self, action: &str, input: &Value, _provenance: &Provenance) -> Target {
        let Ok(input) = parse(input) else { return Target::default() };
        let mut target =
            Target { origin: Some(format!("workspace:{}", input.workspace)), ..Target::default() };
        if let Some(workspace) = self.workspaces.get(&input.workspace) {
            target.settings.insert("directory".to_owned(), json!(workspace.directory));
            // Which is another to approve than the one before.
            let onto = Some(&workspace.directory).filter(|_| action == "commit");
            if let Some(branch) = onto.and_then(|directory| worktree::current_branch(directory)) {
                target.settings.insert(ONTO.to_owned(), json!(branch));
            }
            if let Some(remote) = workspace.remote.as_ref().filter(|_| action == "push") {
                target.settings.insert("remote".to_owned(), json!(remote));
            }
        }
        target
    }

    async fn on_event(&self, trigger: &str, _handler: EventHandler) -> Result<Subscription, ConnectorError> {
        Err(ConnectorError::InvalidInput { reason: format!("{NAME} has no triggers, so no `{trigger}`") })
    }

    async fn remove_event(&self, _subscription: &Subscription) -> Result<(), ConnectorError> {
        Ok(())
    }
}

/// Returns once the call is to end: a little later, so that a git that is almost done gets done.
async fn stopped(ctx: &Context) {
    tokio::select! {
        () = ctx.cancel.cancelled() => tokio::time::sleep(PATIENCE).await,
        () = tokio::time::sleep_until(ctx.deadline) => {}
    }
}

fn counted(files: usize) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

fn manifest() -> Manifest {
    let commit = json!({ "type": "string", "pattern": "^([0-9a-f]{40}|[0-9a-f]{64})$" });
    let text = json!({ "type": "string", "minLength": 1 });
    let schema = |more: &[(&str, &Value)], required: &[&str]| {
        let mut schema = json!({
            "type": "object", "additionalProperties": false, "required": required,
            "properties": { "workspace": text, "branch": text, "base": commit, "commit": commit },
        });
        for (name, value) in more {
            schema["properties"][*name] = (*value).clone();
        }
        Some(schema)
    };
    let whole: [&str; 4] = ["workspace", "branch", "base", "commit"];
    let action = |name: &str, description: &str, input_schema| ActionDecl {
        name: name.to_owned(),
        description: description.to_owned(),
        read_only: false,
        input_schema,
        output_schema: None,
    };
    Manifest {
        name: NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        author: "connector-opencode".to_owned(),
        description: "Brings what came of a task into the workspace's own files, or to its remote."
            .to_owned(),
        capabilities: Vec::new(),
        triggers: Vec::new(),
        actions: vec![
            action(
                "apply",
                "Changes the workspace's own files and index by what a task did, all of it or nothing; commits nothing.",
                schema(&[], &whole),
            ),
            action(
                "undo",
                "Takes what a task did back out of the workspace's own files and index, all of it or nothing.",
                schema(&[], &whole),
            ),
            action(
                "commit",
                "Commits what a task did on the branch that the workspace is on: the task's own commits where it began there, \
                 else one. Other changes stay as they are.",
                schema(&[("title", &text)], &whole),
            ),
            action(
                "discard",
                "Removes a task's branch and working tree, if they are as the task left them.",
                schema(&[], &whole),
            ),
            action(
                "push",
                "Pushes a task's branch to the workspace's remote with the user's own git credentials; never over history.",
                schema(&[("to", &text)], &whole),
            ),
        ],
        data_disclosure: Vec::new(),
        signature_alg: None,
        signature: None,
    }
}
