//! What holds the limits of a workspace: said of the daemon that runs, else of one that the host would start, which may be one that is
//! started from here. Nothing is changed by asking.

use std::path::Path;

use super::{OnExit, PoolConfig, WorkspaceConfig};
use crate::cgroup::{Controller, Expected, Unheld};
use crate::process::ProcessId;
use crate::record::Record;

/// What to do where limits are not held by the kernel.
pub const TO_DELEGATE: &str = "for the kernel to hold them, run the host where a cgroup is delegated to it: `Delegate=yes` and \
     `DelegateSubgroup=host` in its unit, or `systemd-run --user --scope -p Delegate=yes connector-host run`; a user's unit or \
     scope counts from systemd 251 on";

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
    /// The kernel, at all times: a controller of the cgroup of the daemon. Of `memory_mb` it slows down who takes more, and ends what
    /// takes a quarter more; of `max_processes` it holds a ceiling, and what is between is counted.
    Kernel,
    /// The host, which looks from time to time, for this reason.
    Counting(String),
    /// Nobody, for this reason.
    Nobody(String),
    /// One of them; which one cannot be seen, for this reason.
    Unseen(String),
}

impl PoolConfig {
    /// What holds each limit that the daemon of a workspace has; `state` is as in
    /// [`Surroundings`](super::Surroundings), and `host` the process that holds it, if one does, or why that cannot be seen.
    pub fn limits(
        &self,
        name: &str,
        workspace: &WorkspaceConfig,
        (state, host): (&Path, &Result<Option<u32>, String>),
    ) -> HeldLimits {
        let path = state.join(format!("{name}.json"));
        let alive = Record::read(&path).map(|record| {
            record.and_then(|it| Some((it.process.clone().filter(ProcessId::is_alive)?.pid, it)))
        });
        let supposed = matches!((&alive, host), (Ok(None), Ok(None)));
        let expected = match (alive, host) {
            (Ok(Some((process, record))), _) => Expected::of_daemon(record.group(), process),
            (Ok(None), Ok(host)) => Expected::of_host(*host, self.on_exit == OnExit::Stop),
            (Ok(None), Err(why)) => Expected::Unseen(why.clone()),
            (Err(error), _) => Expected::Unseen(format!("{}: {error}", path.display())),
        };
        let resource_limits = self.resource_limits(workspace);
        let mut limits: Vec<HeldLimit> = Controller::asked(resource_limits)
            .map(|it| of_controller(it, expected.holds(it, resource_limits)))
            .collect();
        if resource_limits.disk_mb.is_some() {
            let by = Holder::Counting("nothing else holds what is on the disk".to_owned());
            limits.push(HeldLimit { key: "disk_mb", by });
        }
        HeldLimits { limits, supposed }
    }
}

fn of_controller(controller: Controller, held: Result<(), Unheld>) -> HeldLimit {
    let by = match held {
        Ok(()) => Holder::Kernel,
        Err(Unheld::Unseen(why)) => Holder::Unseen(why),
        Err(Unheld::For(why)) if controller.is_counted_without() => Holder::Counting(why),
        Err(Unheld::For(why)) => Holder::Nobody(why),
    };
    HeldLimit { key: controller.key(), by }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_seen_of_a_host_is_said_and_not_what_is_seen_of_who_asks() {
        let config: PoolConfig = serde_json::from_value(json!({
            "memory_mb": 2048, "cpu_percent": 100, "disk_mb": 1, "workspaces": { "app": { "directory": "/app" } },
        }))
        .unwrap();
        let state = tempfile::tempdir().unwrap();
        let limits = |host| config.limits("app", &config.workspaces["app"], (state.path(), &host));
        let unseen =
            |held: &HeldLimits| held.limits.iter().filter(|it| matches!(it.by, Holder::Unseen(_))).count();
        // There is no such process, as there is none of a number in another table.
        for host in [Err("no locks available".to_owned()), Ok(Some(0)), Ok(Some(u32::MAX))] {
            let held = limits(host.clone());
            assert_eq!((unseen(&held), held.supposed), (2, false), "{host:?}: {held:?}");
            assert_eq!(held.limits.last().unwrap().key, "disk_mb");
        }
        for host in [Ok(None), Ok(Some(std::process::id()))] {
            let held = limits(host.clone());
            assert_eq!((unseen(&held), held.supposed), (0, host == Ok(None)), "{host:?}: {held:?}");
        }
        // What its daemon is, is not known, whether a host runs or not.
        std::fs::create_dir(state.path().join("app.json")).unwrap();
        for host in [Ok(None), Ok(Some(std::process::id()))] {
            let held = limits(host.clone());
            assert_eq!((unseen(&held), held.supposed), (2, false), "{host:?}: {held:?}");
        }
    }
}
