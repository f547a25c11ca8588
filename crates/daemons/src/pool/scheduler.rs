//! Who gets a daemon, and when: the pool's decisions, without any waiting.
//!
//! [`Scheduler::step`] is told what happened and answers with what to do. After every step all rules
//! are applied again to the whole state, so no order of events needs a case of its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Phase;
use super::budget::{Budget, HEALS_EVERY};
use crate::daemon::{Adopted, StartError};

/// A daemon that answered this recently is given out without asking it again.
const FRESH: Duration = Duration::from_secs(1);

/// How long a daemon of an earlier host is left alone: who goes on with what it is in the middle of
/// may not have asked for it yet.
const SETTLES: Duration = Duration::from_secs(3);

/// How long a daemon is left alone that will be asked again, after fifteen seconds at most, what became
/// of what was begun on it.
const LINGERS: Duration = Duration::from_secs(20);

/// A place in the queue.
pub(super) type Ticket = u64;

/// What the scheduler needs to know of the configuration.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) servers: usize,
    pub(super) retries: u32,
    pub(super) wait: Duration,
    pub(super) idle: Option<Duration>,
}

/// Something that happened.
#[derive(Debug)]
pub(super) enum Input {
    /// `finishes` is for what was begun earlier, with whatever configuration.
    Asked {
        ticket: Ticket,
        workspace: String,
        finishes: bool,
    },
    Cancelled {
        ticket: Ticket,
    },
    Warmed {
        workspace: String,
    },
    /// `again` is for what was begun on it and will be looked up again.
    Returned {
        workspace: String,
        again: bool,
    },
    /// An earlier host left a record of its daemon.
    Found {
        workspace: String,
    },
    Started {
        workspace: String,
        how: Adopted,
    },
    Failed {
        workspace: String,
        error: Arc<StartError>,
    },
    Answered {
        workspace: String,
    },
    Silent {
        workspace: String,
    },
    Died {
        workspace: String,
    },
    Stopped {
        workspace: String,
    },
    StopAsked {
        workspace: String,
    },
    TimePassed,
}

/// Something to do.
#[derive(Debug)]
pub(super) enum Effect {
    Start {
        workspace: String,
    },
    /// Take over what runs already, and start nothing.
    Adopt {
        workspace: String,
    },
    Stop {
        workspace: String,
    },
    /// Ask it whether it answers.
    Prove {
        workspace: String,
    },
    Grant {
        ticket: Ticket,
        workspace: String,
    },
    Refuse {
        ticket: Ticket,
        refusal: Refusal,
    },
    Tell {
        ticket: Ticket,
        wait: Wait,
    },
}

/// Why a lease takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The daemon starts.
    Starting,
    /// As many daemons as allowed run, and all of them work.
    Full,
    /// The daemon died and rests before it is started again.
    Resting,
    /// The daemon was started with another configuration, and is replaced when its work is done.
    Outdated,
}

/// Why there is no lease. Nothing was sent to any daemon.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// Every place was taken for as long as the lease could wait.
    #[error("all {0} daemons worked for as long as could be waited; raise `max_servers` or try later")]
    Full(usize),
    /// The daemon was not up in time.
    #[error("its daemon was not ready in time")]
    Slow,
    /// The daemon of another configuration still finished what was begun on it.
    #[error("the daemon with earlier settings, which is replaced, still works on an earlier task")]
    Outdated,
    /// It could not be started.
    #[error("its daemon could not be started")]
    Start(#[source] Arc<StartError>),
    /// It died too often.
    #[error("its daemon died too often; it is tried again with time, and its log says more")]
    DiedTooOften,
}

#[derive(Debug)]
enum State {
    Cold,
    Starting,
    Ready,
    /// Idle and wanted; asked whether it still answers.
    Proving,
    Stopping,
    Resting {
        until: Instant,
    },
}

#[derive(Debug)]
struct Slot {
    state: State,
    leases: usize,
    warmed: bool,
    /// Told to stop, and not asked for since: outstanding leases do not start it again.
    barred: bool,
    /// Of another configuration than is asked for now: finishes, and is replaced.
    outdated: bool,
    /// Until when it is not ended for others.
    settles: Option<Instant>,
    used: Instant,
    /// When it was last known to answer.
    proven: Instant,
    budget: Budget,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    workspace: String,
    finishes: bool,
    deadline: Instant,
    told: Option<Wait>,
}

/// The state of all workspaces and of everybody who waits.
#[derive(Debug)]
pub(super) struct Scheduler {
    limits: Limits,
    slots: BTreeMap<String, Slot>,
    queue: VecDeque<Waiting>,
}

impl Slot {
    fn serves(&self, waiting: &Waiting) -> bool {
        waiting.finishes || !self.outdated
    }
}

impl Scheduler {
    pub(super) fn new(limits: Limits, workspaces: impl IntoIterator<Item = String>, now: Instant) -> Self {
        let slot = |name| {
            let slot = Slot {
                state: State::Cold,
                leases: 0,
                warmed: false,
                barred: false,
                outdated: false,
                settles: None,
                used: now,
                proven: now,
                budget: Budget::new(limits.retries, now),
            };
            (name, slot)
        };
        let slots = workspaces.into_iter().map(slot).collect();
        Self { limits, slots, queue: VecDeque::new() }
    }

    /// The whole of the pool's policy.
    pub(super) fn step(&mut self, now: Instant, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.apply(now, input, &mut effects);
        self.wake(now);
        self.prove(now, &mut effects);
        self.grant(now, &mut effects);
        self.start(&mut effects);
        self.evict(now, &mut effects);
        self.forget_warmth();
        self.expire(now, &mut effects);
        self.tell(&mut effects);
        effects
    }

    /// When to step again although nothing happened.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let waits = self.queue.iter().map(|waiting| waiting.deadline);
        let slots = self.slots.values().filter_map(|slot| match slot.state {
            State::Resting { until } => Some(until),
            State::Ready if slot.leases == 0 => {
                self.limits.idle.map(|idle| (slot.used + idle).max(slot.settles.unwrap_or(slot.used)))
            }
            _ => None,
        });
        let settle = self.slots.values().filter_map(|slot| slot.settles);
        waits.chain(slots).chain(settle).min()
    }

    pub(super) fn phase(&self, workspace: &str) -> (Phase, usize) {
        let Some(slot) = self.slots.get(workspace) else { return (Phase::Cold, 0) };
        let phase = match slot.state {
            State::Cold => Phase::Cold,
            State::Starting => Phase::Starting,
            State::Ready | State::Proving => Phase::Ready,
            State::Stopping => Phase::Stopping,
            State::Resting { .. } => Phase::Resting,
        };
        (phase, slot.leases)
    }

    fn apply(&mut self, now: Instant, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Asked { ticket, workspace, finishes } => {
                self.change(&workspace, |slot| slot.barred = false);
                let deadline = now + self.limits.wait;
                self.queue.push_back(Waiting { ticket, workspace, finishes, deadline, told: None });
            }
            Input::Cancelled { ticket } => self.queue.retain(|waiting| waiting.ticket != ticket),
            Input::Warmed { workspace } => self.change(&workspace, |slot| {
                slot.warmed = true;
                slot.barred = false;
            }),
            Input::Returned { workspace, again } => self.change(&workspace, |slot| {
                slot.leases = slot.leases.saturating_sub(1);
                slot.used = now;
                if again {
                    slot.settles = Some(now + LINGERS);
                }
            }),
            // It runs already, so it needs no place.
            Input::Found { workspace } => self.change(&workspace, |slot| {
                if matches!(slot.state, State::Cold) {
                    slot.state = State::Starting;
                    effects.push(Effect::Adopt { workspace: workspace.clone() });
                }
            }),
            Input::Started { workspace, how } => self.change(&workspace, |slot| {
                // A start that was told to stop may have been done already.
                if matches!(slot.state, State::Starting) {
                    slot.state = State::Ready;
                }
                slot.outdated = how == Adopted::Outdated;
                slot.settles = matches!(how, Adopted::Same | Adopted::Outdated).then(|| now + SETTLES);
                slot.warmed &= slot.outdated;
                slot.used = now;
                slot.proven = now;
            }),
            Input::Answered { workspace } => self.change(&workspace, |slot| {
                if matches!(slot.state, State::Proving) {
                    slot.state = State::Ready;
                }
                slot.proven = now;
            }),
            // One that hangs is replaced at once: it died of nothing that a rest would cure.
            Input::Stopped { workspace } | Input::Silent { workspace } => {
                self.change(&workspace, |slot| {
                    slot.state = State::Cold;
                    slot.outdated = false;
                });
            }
            Input::Failed { workspace, error } => {
                self.refuse_all(&workspace, &Refusal::Start(error), effects);
                self.rest(now, &workspace, effects);
            }
            Input::Died { workspace } => self.rest(now, &workspace, effects),
            Input::StopAsked { workspace } => self.change(&workspace, |slot| {
                slot.barred = true;
                match slot.state {
                    State::Ready | State::Proving | State::Starting => {
                        slot.state = State::Stopping;
                        effects.push(Effect::Stop { workspace: workspace.clone() });
                    }
                    State::Resting { .. } => slot.state = State::Cold,
                    State::Cold | State::Stopping => {}
                }
            }),
            Input::TimePassed => {}
        }
    }

    /// A daemon that is gone rests if somebody wants it and tries are left; else it is cold.
    fn rest(&mut self, now: Instant, workspace: &str, effects: &mut Vec<Effect>) {
        let wanted = self.is_wanted(workspace);
        let Some(slot) = self.slots.get_mut(workspace) else { return };
        slot.warmed = false;
        slot.outdated = false;
        slot.state = State::Cold;
        if !wanted {
            return;
        }
        let rest = slot.budget.spend(now);
        slot.state = State::Resting { until: now + rest.unwrap_or(HEALS_EVERY) };
        if rest.is_none() {
            self.refuse_all(workspace, &Refusal::DiedTooOften, effects);
        }
    }

    fn wake(&mut self, now: Instant) {
        for slot in self.slots.values_mut() {
            if matches!(slot.state, State::Resting { until } if until <= now) {
                slot.state = State::Cold;
            }
            slot.settles = slot.settles.filter(|until| *until > now);
        }
    }

    /// Asks idle daemons that are wanted whether they still answer. A daemon that works is asked by
    /// its supervisor, with more patience; so is one that somebody goes on with, for it may be in mid-turn.
    fn prove(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        for (workspace, slot) in &mut self.slots {
            let mut waiting = self.queue.iter().filter(|waiting| waiting.workspace == *workspace);
            let finishes = waiting.clone().any(|waiting| waiting.finishes);
            let asked = waiting.any(|waiting| slot.serves(waiting));
            let wanted = asked || slot.warmed && !slot.outdated;
            if !matches!(slot.state, State::Ready) || slot.leases > 0 || !wanted {
                continue;
            }
            slot.warmed = false;
            if !finishes && now.duration_since(slot.proven) >= FRESH {
                // Still wanted as a warm one, if it turns out to hang.
                slot.warmed = !asked;
                slot.state = State::Proving;
                effects.push(Effect::Prove { workspace: workspace.clone() });
            }
        }
    }

    fn grant(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.queue.retain(|waiting| {
            let Some(slot) = self.slots.get_mut(&waiting.workspace) else { return false };
            if !matches!(slot.state, State::Ready) || !slot.serves(waiting) {
                return true;
            }
            slot.leases += 1;
            slot.used = now;
            effects.push(Effect::Grant { ticket: waiting.ticket, workspace: waiting.workspace.clone() });
            false
        });
    }

    /// Starts what is wanted, leased workspaces first, then in the order of asking, while there is room.
    fn start(&mut self, effects: &mut Vec<Effect>) {
        for workspace in self.wanted_cold() {
            if self.running() >= self.limits.servers {
                return;
            }
            self.change(&workspace, |slot| slot.state = State::Starting);
            effects.push(Effect::Start { workspace });
        }
    }

    /// Ends idle daemons: those idle for too long or outdated, and as many of the least recently used
    /// as are needed for others, or are more than may run.
    fn evict(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let stopping = self.slots.values().filter(|slot| matches!(slot.state, State::Stopping)).count();
        let needed = self.running() + self.wanted_cold().len();
        let needed = needed.saturating_sub(self.limits.servers + stopping);
        let mut idle: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, slot)| {
                matches!(slot.state, State::Ready) && slot.leases == 0 && slot.settles.is_none()
            })
            .map(|(name, slot)| (!slot.outdated, slot.used, name.clone()))
            .collect();
        idle.sort();
        for (index, (current, used, workspace)) in idle.into_iter().enumerate() {
            let too_long = self.limits.idle.is_some_and(|limit| used + limit <= now);
            if index < needed || too_long || !current {
                self.change(&workspace, |slot| slot.state = State::Stopping);
                effects.push(Effect::Stop { workspace });
            }
        }
    }

    /// Warming is for now: when there is no room and none is being made, it is forgotten.
    fn forget_warmth(&mut self) {
        let stopping = self.slots.values().any(|slot| matches!(slot.state, State::Stopping));
        if !stopping && self.running() >= self.limits.servers {
            let kept = |slot: &&mut Slot| matches!(slot.state, State::Proving) || slot.outdated;
            self.slots.values_mut().filter(|slot| !kept(slot)).for_each(|slot| slot.warmed = false);
        }
    }

    fn expire(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let servers = self.limits.servers;
        self.queue.retain(|waiting| {
            if waiting.deadline > now {
                return true;
            }
            let refusal = match waiting.told {
                Some(Wait::Full) => Refusal::Full(servers),
                Some(Wait::Outdated) => Refusal::Outdated,
                _ => Refusal::Slow,
            };
            effects.push(Effect::Refuse { ticket: waiting.ticket, refusal });
            false
        });
    }

    fn tell(&mut self, effects: &mut Vec<Effect>) {
        for waiting in &mut self.queue {
            let wait = match self.slots.get(&waiting.workspace).map(|slot| &slot.state) {
                Some(State::Resting { .. }) => Wait::Resting,
                Some(State::Cold) => Wait::Full,
                Some(State::Ready) => Wait::Outdated,
                _ => Wait::Starting,
            };
            if waiting.told != Some(wait) {
                waiting.told = Some(wait);
                effects.push(Effect::Tell { ticket: waiting.ticket, wait });
            }
        }
    }

    fn refuse_all(&mut self, workspace: &str, refusal: &Refusal, effects: &mut Vec<Effect>) {
        self.queue.retain(|waiting| {
            let stays = waiting.workspace != workspace;
            if !stays {
                effects.push(Effect::Refuse { ticket: waiting.ticket, refusal: refusal.clone() });
            }
            stays
        });
    }

    /// Places taken: processes, and resting daemons that somebody holds a lease of.
    fn running(&self) -> usize {
        let taken = |slot: &&Slot| match slot.state {
            State::Starting | State::Ready | State::Proving | State::Stopping => true,
            State::Resting { .. } => slot.leases > 0,
            State::Cold => false,
        };
        self.slots.values().filter(taken).count()
    }

    /// Workspaces without a process that somebody wants, each once.
    fn wanted_cold(&self) -> Vec<String> {
        let leased =
            self.slots.iter().filter(|(_, slot)| slot.leases > 0 && !slot.barred).map(|(name, _)| name);
        let queued = self.queue.iter().map(|waiting| &waiting.workspace);
        let warmed = self.slots.iter().filter(|(_, slot)| slot.warmed).map(|(name, _)| name);
        let mut wanted: Vec<String> = Vec::new();
        for name in leased.chain(queued).chain(warmed) {
            let cold = self.slots.get(name).is_some_and(|slot| matches!(slot.state, State::Cold));
            if cold && !wanted.contains(name) {
                wanted.push(name.clone());
            }
        }
        wanted
    }

    fn is_wanted(&self, workspace: &str) -> bool {
        self.slots.get(workspace).is_some_and(|slot| slot.leases > 0 && !slot.barred)
            || self.queue.iter().any(|waiting| waiting.workspace == workspace)
    }

    fn change(&mut self, workspace: &str, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.slots.get_mut(workspace) {
            change(slot);
        }
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
