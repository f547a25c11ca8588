//! Long calls as tasks: started by one request, asked about and fetched by others.
//!
//! Clients give a request up after their own limit, and with it what it began. A task belongs to the process,
//! not to the request: it goes on whoever waits for it, and any connection to the process finds it again. What
//! its agent asks goes to the client that began it, and once that is gone to the next that asks about the task.

mod asks;
mod task;
mod tools;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use connector_contract::ActionDecl;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::lock;
pub(super) use task::Task;
pub(super) use tools::{call, declared, is_tool};

/// Tasks that are kept. The oldest of those that have ended goes first.
const KEPT: usize = 64;

/// How a server offers long calls as tasks.
#[derive(Clone)]
pub struct LongCalls {
    /// The tool that starts one.
    pub start: ActionDecl,
    /// Which action with which input a call of it means.
    pub route: Arc<Route>,
}

/// From the input of the tool that starts a task to the action and its input.
pub type Route = dyn Fn(Value) -> (String, Value) + Send + Sync;

/// The tasks of a process.
pub(super) struct Tasks {
    pub(super) calls: LongCalls,
    /// Cancelled when all of them are to stop.
    over: CancellationToken,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    begun: u64,
    tasks: VecDeque<Arc<Task>>,
}

impl Tasks {
    pub(super) fn new(calls: LongCalls, over: CancellationToken) -> Self {
        Self { calls, over, kept: Mutex::default() }
    }

    /// A new task, unless too many go on.
    fn begin(&self, make: impl FnOnce(String, CancellationToken) -> Task) -> Option<Arc<Task>> {
        let mut kept = lock(&self.kept);
        if kept.tasks.len() >= KEPT {
            let oldest = kept.tasks.iter().position(|task| task.has_ended())?;
            kept.tasks.remove(oldest);
        }
        kept.begun += 1;
        let task = Arc::new(make(format!("task-{}", kept.begun), self.over.child_token()));
        kept.tasks.push_back(Arc::clone(&task));
        Some(task)
    }

    fn find(&self, id: &str) -> Option<Arc<Task>> {
        lock(&self.kept).tasks.iter().find(|task| task.id == id).cloned()
    }

    fn all(&self) -> Vec<Arc<Task>> {
        lock(&self.kept).tasks.iter().cloned().collect()
    }
}
