//! `doctor --doors`: every place that the walls of a workspace's daemon leave open, for whom, and why.

use std::path::{Path, PathBuf};

use connector_contract::chain;
use connector_files::AbsolutePath;
use opencode_daemons::confine::{Door, Opens, Whom};
use opencode_daemons::pool::{Surroundings, WorkspaceConfig};
use opencode_daemons::{Environment, Home, Opencode, PoolConfig};
use serde::Serialize;

use super::Finding;
use crate::exit::Failure;
use crate::managed;

/// One door of one workspace.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    workspace: String,
    #[serde(flatten)]
    door: Door,
}

/// Where the daemons of this host would find what they need.
pub(super) fn around(environment: &Environment, state: &Path, binary: Option<&Opencode>) -> Surroundings {
    Surroundings {
        program: binary.map_or_else(|| PathBuf::from("opencode"), |binary| binary.path.clone()),
        environment: environment.clone(),
        state: managed::directory(state),
        launcher: std::env::current_exe().ok(),
        home: Home::User,
    }
}

/// The doors of all workspaces; without any, those that `chat` would have here.
pub(super) fn rows(pool: &PoolConfig, around: &Surroundings) -> Result<Vec<Row>, Failure> {
    let mut pool = pool.clone();
    if pool.workspaces.is_empty() {
        let here = AbsolutePath::new(std::env::current_dir()?);
        let directory = here.ok_or_else(|| Failure::usage("the current directory has no absolute path"))?;
        pool.workspaces
            .insert("here".to_owned(), WorkspaceConfig { directory, ..WorkspaceConfig::default() });
    }
    let mut rows = Vec::new();
    for name in pool.workspaces.keys() {
        let doors = pool.doors(name, around).map_err(|error| Failure::usage(chain(&error)))?;
        rows.extend(doors.into_iter().map(|door| Row { workspace: name.clone(), door }));
    }
    Ok(rows)
}

/// Doors that no daemon is started with.
pub(super) fn faults(pool: &PoolConfig, around: &Surroundings) -> Vec<Finding> {
    let fault =
        |name: &String| Some(Finding::bad(format!("doors of {name}"), pool.refused_doors(name, around)?));
    pool.workspaces.keys().filter_map(fault).collect()
}

pub(super) fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no walls: everything that you can open is open".to_owned();
    }
    let mut lines = Vec::new();
    let mut workspace = "";
    for row in rows {
        if row.workspace != workspace {
            workspace = &row.workspace;
            lines.push(format!("{workspace}:"));
        }
        let opens = match row.door.opens {
            Opens::Read => "read ",
            Opens::Write => "write",
        };
        let whom = match row.door.whom {
            Whom::Daemon => "daemon  ",
            Whom::Commands => "commands",
            Whom::Both => "both    ",
        };
        lines.push(format!("  {opens}  {whom}  {}  ({})", row.door.path.display(), row.door.why));
    }
    lines.join("\n")
}
