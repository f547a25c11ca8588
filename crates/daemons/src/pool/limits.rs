//! What holds the limits of a workspace: said of the daemon that runs, else of one that the host would start, which may be one that is
//! started from here. Nothing is changed by asking.

use std::path::Path;

use super::{OnExit, PoolConfig, WorkspaceConfig};
use crate::cgroup::{Controller, Expected};
use crate::process::ProcessId;
use crate::record::Record;

/// What to do where limits are not held by the kernel.
pub const TO_DELEGATE: &str = "for the kernel to hold them, run the host where a cgroup is delegated to it: `Delegate=yes` and \
     `DelegateSubgroup=host` in its unit, or `systemd-run --user --scope -p Delegate=yes connector-host run`";

/// The limits of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLimits {
    /// Those that there are.
    pub limits: Vec<HeldLimit>,
    /// Whether neither its daemon nor a host runs, so that this is said of a host which were started from here.
    pub supposed: bool,
}

/// One limit of a workspace, by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLimit {
    /// The key in the host's configuration.
    pub key: &'static str,
    /// Who holds it.
    pub by: Holder,
}

/// Who holds a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// The kernel, at all times: a controller of the cgroup of the daemon.
    Kernel,
    /// The host, which looks from time to time, for this reason.
    Counting(String),
    /// Nobody, for this reason.
    Nobody(String),
}

impl PoolConfig {
    /// What holds each limit that the daemon of a workspace has; `state` is as in
    /// [`Surroundings`](super::Surroundings), and `host` the process that holds it, if one does.
    pub fn limits(
        &self,
        name: &str,
        workspace: &WorkspaceConfig,
        (state, host): (&Path, Option<u32>),
    ) -> HeldLimits {
        let record = Record::read(&state.join(format!("{name}.json"))).ok().flatten();
        let alive = record.and_then(|it| Some((it.process.clone().filter(ProcessId::is_alive)?.pid, it)));
        let supposed = alive.is_none() && host.is_none();
        let expected = match alive {
            Some((process, record)) => Expected::of_daemon(record.group(), process),
            None => Expected::of_host(host, self.on_exit == OnExit::Stop),
        };
        let allowance = self.allowance(workspace);
        let mut limits: Vec<HeldLimit> =
            Controller::asked(allowance).map(|it| of_controller(it, expected.holds(it, allowance))).collect();
        if allowance.disk_mb.is_some() {
            let by = Holder::Counting("nothing else holds what is on the disk".to_owned());
            limits.push(HeldLimit { key: "disk_mb", by });
        }
        HeldLimits { limits, supposed }
    }
}

fn of_controller(controller: Controller, held: Result<(), String>) -> HeldLimit {
    let by = match held {
        Ok(()) => Holder::Kernel,
        Err(why) if controller.is_counted_without() => Holder::Counting(why),
        Err(why) => Holder::Nobody(why),
    };
    HeldLimit { key: controller.key(), by }
}
