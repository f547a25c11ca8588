//! What holds the limits of a workspace: said of the daemon that runs, else of one that would be started from here. Nothing is
//! changed by asking.

use std::path::Path;

use super::{Confine, OnExit, PoolConfig, WorkspaceConfig};
use crate::cgroup::{Controller, Expected};
use crate::daemon::WITHIN_REACH;
use crate::process::ProcessId;
use crate::record::Record;

/// What to do where limits are not held by the kernel.
pub const TO_DELEGATE: &str = "for the kernel to hold them, run the host where a cgroup is delegated to it: `Delegate=yes` and \
     `DelegateSubgroup=host` in its unit, or `systemd-run --user --scope -p Delegate=yes connector-host run`";

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
    /// [`Surroundings`](super::Surroundings).
    pub fn limits(&self, name: &str, workspace: &WorkspaceConfig, state: &Path) -> Vec<HeldLimit> {
        let record = Record::read(&state.join(format!("{name}.json"))).ok().flatten();
        let alive = record.and_then(|it| Some((it.process.clone().filter(ProcessId::is_alive)?.pid, it)));
        let expected = match alive {
            Some((process, record)) => Expected::of_daemon(record.group(), process),
            None if self.lacks_namespaces(workspace) => Expected::None(WITHIN_REACH.to_owned()),
            None => Expected::of_this_process(self.on_exit == OnExit::Stop),
        };
        let allowance = self.allowance(workspace);
        let mut limits: Vec<HeldLimit> =
            Controller::asked(allowance).map(|it| of_controller(it, expected.holds(it, allowance))).collect();
        if allowance.disk_mb.is_some() {
            let by = Holder::Counting("nothing else holds what is on the disk".to_owned());
            limits.push(HeldLimit { key: "disk_mb", by });
        }
        limits
    }

    /// Whether there are walls without namespaces around its daemon.
    fn lacks_namespaces(&self, workspace: &WorkspaceConfig) -> bool {
        self.no_namespaces.is_some() && workspace.confine.unwrap_or(self.confine) != Confine::Off
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::confine::namespaces::Missing;

    #[test]
    fn limits_in_walls_without_namespaces_are_said_to_be_counted() {
        let state = tempfile::tempdir().unwrap();
        let said = |confine: &str, no_namespaces| {
            let mut config: PoolConfig =
                serde_json::from_value(json!({ "confine": confine, "memory_mb": 2048 })).unwrap();
            config.no_namespaces = no_namespaces;
            config.limits("app", &WorkspaceConfig::default(), state.path())
        };
        let by = Holder::Counting(WITHIN_REACH.to_owned());
        let within_reach = vec![HeldLimit { key: "memory_mb", by }];
        assert_eq!(said("on", Some(Missing::Users)), within_reach);
        assert_eq!(said("required", Some(Missing::Mounts)), within_reach);
        for (confine, missing) in [("on", None), ("off", Some(Missing::Users))] {
            assert_ne!(said(confine, missing), within_reach, "{confine}, {missing:?}");
        }
    }
}
