//! Five workspaces, their connectors, and a model that answers by a script.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use connector_contract::ask::RejectAsks;
use connector_contract::{CheckpointLog, Context, OutboundHttp, ProgressSink, Provenance};
use connector_host::managed::{Daemons, Managed};
use connector_opencode::OpencodeFactory;
use opencode_daemons::install::{self, Locate};
use opencode_daemons::pool::WorkspaceConfig;
use opencode_daemons::{Environment, Home, PoolConfig};
use rustix::process::Pid;
use serde_json::json;
use testkit::model::{Script, ScriptedModel};

use crate::Failure;

pub(crate) const WORKSPACES: usize = 5;

pub(crate) struct Bench {
    pub(crate) daemons: Daemons,
    pub(crate) connectors: Vec<Managed>,
    pub(crate) model: ScriptedModel,
    directories: Vec<PathBuf>,
    _root: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn new(tasks: usize, places: usize) -> Result<Self, Failure> {
        let root = tempfile::tempdir()?;
        let script = (0..tasks).fold(Script::default(), |script, task| {
            let command = format!("echo {task} >> done");
            let arguments = json!({ "command": command, "description": "works" });
            script.call(&format!("task <{task}>"), 0, "bash", arguments)
        });
        let model = ScriptedModel::start(script.reply("", "Done."))?;
        let mut config = PoolConfig {
            max_servers: places,
            max_restart_retries: 1000,
            server_startup_timeout_secs: 120,
            extra_config: Some(model.config()),
            ..PoolConfig::default()
        };
        let directories: Vec<_> = (0..WORKSPACES).map(|n| root.path().join(name(n))).collect();
        for (n, directory) in directories.iter().enumerate() {
            std::fs::create_dir(directory)?;
            testkit::scratch::repository(directory, &[("file", "text")])?;
            let path =
                connector_files::AbsolutePath::new(directory).ok_or("the directory has no absolute path")?;
            let workspace = WorkspaceConfig { directory: path, ..WorkspaceConfig::default() };
            config.workspaces.insert(name(n), workspace);
        }
        let environment = Environment::of_this_process();
        let opencode = install::locate(&Locate::new(environment.clone()), |_| {}).await?;
        let home = Home::Isolated(root.path().join("home"));
        let daemons = Daemons::new(&config, opencode.path, home, environment, &root.path().join("state"))?;
        let mut connectors = Vec::new();
        for (n, directory) in directories.iter().enumerate() {
            let settings = [("directory".to_owned(), json!(directory))].into_iter().collect();
            let factory = Arc::new(OpencodeFactory::default());
            connectors.push(Managed::new(&daemons, &name(n), factory, settings).await?);
        }
        Ok(Self { daemons, connectors, model, directories, _root: root })
    }

    /// The daemon of a workspace, if it runs.
    pub(crate) async fn pid(&self, workspace: usize) -> Option<Pid> {
        let listed = self.daemons.pool().list().await.ok()?;
        let one = listed.into_iter().find(|one| one.workspace == name(workspace))?;
        i32::try_from(one.address?.pid?).ok().and_then(Pid::from_raw)
    }

    /// How often each task was done.
    pub(crate) fn done(&self) -> Result<BTreeMap<usize, usize>, Failure> {
        let mut done = BTreeMap::new();
        for directory in &self.directories {
            let lines = match std::fs::read_to_string(directory.join("done")) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                lines => lines?,
            };
            for line in lines.lines() {
                *done.entry(line.parse()?).or_insert(0) += 1;
            }
        }
        Ok(done)
    }
}

pub(crate) fn name(workspace: usize) -> String {
    format!("w{workspace}")
}

pub(crate) fn context(
    progress: ProgressSink,
    checkpoints: Arc<dyn CheckpointLog>,
) -> Result<Context, Failure> {
    Ok(Context {
        http: OutboundHttp::new([])?,
        deadline: tokio::time::Instant::now() + Duration::from_mins(10),
        cancel: tokio_util::sync::CancellationToken::new(),
        progress,
        asks: Arc::new(RejectAsks),
        checkpoints,
        resume: None,
        provenance: Provenance::Local,
        approved: None,
    })
}

/// What this process holds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Own {
    /// In KiB.
    pub(crate) resident: u64,
    pub(crate) files: usize,
    pub(crate) children: usize,
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB, {} files, {} children", self.resident, self.files, self.children)
    }
}

pub(crate) fn own() -> Result<Own, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    let resident = resident.trim().trim_end_matches(" kB").parse()?;
    let children = std::fs::read_dir("/proc/self/task")?.flatten().map(|task| {
        let children = std::fs::read_to_string(task.path().join("children"));
        children.map_or(0, |text| text.split_whitespace().count())
    });
    Ok(Own { resident, files: std::fs::read_dir("/proc/self/fd")?.count(), children: children.sum() })
}
