//! The pool's one task: hears controls and reports, asks the scheduler, carries out its answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::lease::{Address, Lease};
use super::scheduler::{Effect, Input, Limits, Scheduler, Ticket, Wait};
use super::supervisor::{self, Job, Order, Report};
use super::{
    ConfigError, OnExit, Others, Phase, PoolConfig, PoolError, Status, Surroundings, WorkspaceConfig,
};
use crate::daemon::Spec;
use crate::registry;
use crate::resource_limits::ResourceLimits;

/// What a handle or a lease tells the pool's actor.
pub(super) enum Control {
    Lease {
        workspace: String,
        finishes: bool,
        told: Box<dyn Fn(Wait) + Send>,
        answer: oneshot::Sender<Result<Lease, PoolError>>,
    },
    /// An earlier host left a record under this name.
    Found {
        workspace: String,
        others: Others,
    },
    Return {
        workspace: String,
        again: bool,
    },
    Warm {
        workspace: String,
    },
    List {
        answer: oneshot::Sender<Vec<Status>>,
    },
    Stop {
        workspace: String,
        force: bool,
        answer: oneshot::Sender<Result<(), PoolError>>,
    },
    Shutdown {
        answer: oneshot::Sender<()>,
    },
}

struct Asking {
    workspace: String,
    told: Box<dyn Fn(Wait) + Send>,
    answer: oneshot::Sender<Result<Lease, PoolError>>,
}

struct Place {
    spec: Spec,
    resource_limits: ResourceLimits,
    address: watch::Sender<Option<Address>>,
    orders: Option<mpsc::UnboundedSender<Order>>,
    stopping: Vec<oneshot::Sender<Result<(), PoolError>>>,
}

pub(super) struct PoolActor {
    scheduler: Scheduler,
    places: BTreeMap<String, Place>,
    asking: BTreeMap<Ticket, Asking>,
    last_ticket: Ticket,
    around: Surroundings,
    on_exit: OnExit,
    patience: Duration,
    /// For the leases that are given out; the pool's actor itself keeps nobody waiting for the pool's end.
    control: mpsc::WeakUnboundedSender<Control>,
    reports: mpsc::UnboundedReceiver<(String, Report)>,
    reporter: mpsc::UnboundedSender<(String, Report)>,
}

impl PoolActor {
    pub(super) fn new(
        config: &PoolConfig,
        around: &Surroundings,
        control: mpsc::WeakUnboundedSender<Control>,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let limits = Limits {
            servers: config.max_servers,
            retries: config.max_restart_retries,
            wait: Duration::from_secs(config.wait_timeout_secs),
            idle: (config.idle_timeout_secs > 0).then(|| Duration::from_secs(config.idle_timeout_secs)),
        };
        let place = |(name, workspace): (&String, &WorkspaceConfig)| {
            let spec = config.spec(name, workspace, around)?;
            let (resource_limits, address) = (config.resource_limits(workspace), watch::Sender::new(None));
            let place = Place { spec, resource_limits, address, orders: None, stopping: Vec::new() };
            Ok((name.clone(), place))
        };
        let (reporter, reports) = mpsc::unbounded_channel();
        Ok(Self {
            scheduler: Scheduler::new(limits, config.workspaces.keys().cloned(), Instant::now()),
            places: config.workspaces.iter().map(place).collect::<Result<_, ConfigError>>()?,
            asking: BTreeMap::new(),
            last_ticket: 0,
            around: around.clone(),
            on_exit: config.on_exit,
            patience: Duration::from_secs(config.answer_timeout_secs),
            control,
            reports,
            reporter,
        })
    }

    pub(super) async fn run(mut self, mut controls: mpsc::UnboundedReceiver<Control>) {
        loop {
            let deadline = self.scheduler.next_deadline();
            let time = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let input = tokio::select! {
                control = controls.recv() => match control {
                    None => return self.end().await,
                    Some(Control::Shutdown { answer }) => {
                        self.end().await;
                        let _ = answer.send(());
                        return;
                    }
                    Some(control) => self.heard(control),
                },
                Some((workspace, report)) = self.reports.recv() => Some(self.reported(workspace, report)),
                () = time => Some(Input::TimePassed),
            };
            if let Some(input) = input {
                self.step(input);
            }
        }
    }

    /// Tells the scheduler what happened, those who gave up waiting first, and obeys.
    fn step(&mut self, input: Input) {
        let mut inputs = self.given_up();
        inputs.push_back(input);
        while let Some(input) = inputs.pop_front() {
            for effect in self.scheduler.step(Instant::now(), input) {
                self.carry_out(effect);
            }
        }
    }

    fn given_up(&mut self) -> VecDeque<Input> {
        let closed = |(_, asking): &(&Ticket, &Asking)| asking.answer.is_closed();
        let gone: Vec<Ticket> = self.asking.iter().filter(closed).map(|(ticket, _)| *ticket).collect();
        self.asking.retain(|ticket, _| !gone.contains(ticket));
        gone.into_iter().map(|ticket| Input::Cancelled { ticket }).collect()
    }

    fn heard(&mut self, control: Control) -> Option<Input> {
        match control {
            Control::Lease { workspace, finishes, told, answer } => {
                if !self.places.contains_key(&workspace) {
                    let _ = answer.send(Err(PoolError::Unknown(workspace)));
                    return None;
                }
                self.last_ticket += 1;
                let ticket = self.last_ticket;
                self.asking.insert(ticket, Asking { workspace: workspace.clone(), told, answer });
                Some(Input::Asked { ticket, workspace, finishes })
            }
            Control::Found { workspace, .. } if self.places.contains_key(&workspace) => {
                Some(Input::Found { workspace })
            }
            Control::Found { workspace, others } => {
                if others == Others::End {
                    self.end_of_nobody(&workspace);
                }
                None
            }
            Control::Return { workspace, again } => Some(Input::Returned { workspace, again }),
            Control::Warm { workspace } => Some(Input::Warmed { workspace }),
            Control::List { answer } => {
                let _ = answer.send(self.list());
                None
            }
            Control::Stop { workspace, force, answer } => self.stop_asked(workspace, force, answer),
            Control::Shutdown { .. } => None,
        }
    }

    fn stop_asked(
        &mut self,
        workspace: String,
        force: bool,
        answer: oneshot::Sender<Result<(), PoolError>>,
    ) -> Option<Input> {
        let (phase, leases) = self.scheduler.phase(&workspace);
        let Some(place) = self.places.get_mut(&workspace) else {
            let _ = answer.send(Err(PoolError::Unknown(workspace)));
            return None;
        };
        if leases > 0 && !force {
            let _ = answer.send(Err(PoolError::Working(workspace)));
            return None;
        }
        if matches!(phase, Phase::Cold | Phase::Resting) {
            let _ = answer.send(Ok(()));
        } else {
            place.stopping.push(answer);
        }
        Some(Input::StopAsked { workspace })
    }

    fn reported(&mut self, workspace: String, report: Report) -> Input {
        let Some(place) = self.places.get_mut(&workspace) else { return Input::TimePassed };
        match report {
            Report::Started(address, how) => {
                place.address.send_replace(Some(address));
                return Input::Started { workspace, how };
            }
            Report::Answered => return Input::Answered { workspace },
            _ => {}
        }
        place.orders = None;
        place.address.send_replace(None);
        for answer in place.stopping.drain(..) {
            let _ = answer.send(Ok(()));
        }
        match report {
            Report::Failed(error) => Input::Failed { workspace, error: Arc::new(error) },
            Report::Died => Input::Died { workspace },
            Report::Silent => Input::Silent { workspace },
            Report::Stopped | Report::Started(..) | Report::Answered => Input::Stopped { workspace },
        }
    }

    /// Does what the scheduler says.
    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Start { workspace } => self.start(workspace, false),
            Effect::Adopt { workspace } => self.start(workspace, true),
            Effect::Stop { workspace } => self.order(&workspace, Order::Stop),
            Effect::Prove { workspace } => self.order(&workspace, Order::Prove),
            Effect::Tell { ticket, wait } => {
                if let Some(asking) = self.asking.get(&ticket) {
                    (asking.told)(wait);
                }
            }
            Effect::Refuse { ticket, refusal } => {
                if let Some(Asking { workspace, answer, .. }) = self.asking.remove(&ticket) {
                    let _ = answer.send(Err(PoolError::Refused { workspace, source: refusal }));
                }
            }
            Effect::Grant { ticket, workspace } => self.grant(ticket, workspace),
        }
    }

    /// Whoever asked may have gone, now or before it looks: then the lease is dropped, which returns it.
    fn grant(&mut self, ticket: Ticket, workspace: String) {
        // Without a handle or a lease the pool is about to end.
        let (Some(control), Some(place)) = (self.control.upgrade(), self.places.get(&workspace)) else {
            return;
        };
        let receiver = place.address.subscribe();
        let address = receiver.borrow().clone();
        match (self.asking.remove(&ticket), address) {
            (Some(asking), Some(address)) => {
                let _ = asking.answer.send(Ok(Lease::new(workspace, (address, receiver), control)));
            }
            _ => drop(control.send(Control::Return { workspace, again: false })),
        }
    }

    fn start(&mut self, workspace: String, adopts_only: bool) {
        let Some(place) = self.places.get_mut(&workspace) else { return };
        let (spec, resource_limits) = (place.spec.clone(), place.resource_limits);
        let (orders, receiver) = mpsc::unbounded_channel();
        place.orders = Some(orders);
        let job = Job {
            adopts_only,
            spec,
            resource_limits,
            record: self.around.state.join(format!("{workspace}.json")),
            log: super::log_in(&self.around.state, &workspace),
            printed: super::printed_in(&self.around.state, &workspace),
            patience: self.patience,
        };
        let reporter = self.reporter.clone();
        tokio::spawn(supervisor::supervise(job, receiver, move |report| {
            let _ = reporter.send((workspace.clone(), report));
        }));
    }

    /// Ends what an earlier host left of a workspace that is not configured any more. The reporter is
    /// held until then, so that the pool's end waits for it.
    fn end_of_nobody(&self, workspace: &str) {
        let (record, reporter) = (self.around.state.join(format!("{workspace}.json")), self.reporter.clone());
        let workspace = workspace.to_owned();
        tokio::spawn(async move {
            match registry::end_at(&record).await {
                Ok(ended) => tracing::info!(workspace, ?ended, "a daemon of no workspace any more was found"),
                Err(error) => tracing::warn!(workspace, %error, "an earlier daemon cannot be ended"),
            }
            drop(reporter);
        });
    }

    /// A supervisor that ended meanwhile hears nothing; its report is on the way.
    fn order(&mut self, workspace: &str, order: Order) {
        if let Some(orders) = self.places.get(workspace).and_then(|place| place.orders.as_ref()) {
            let _ = orders.send(order);
        }
    }

    fn list(&self) -> Vec<Status> {
        let status = |(name, place): (&String, &Place)| {
            let (phase, leases) = self.scheduler.phase(name);
            Status {
                workspace: name.clone(),
                directory: place.spec.directory.clone(),
                phase,
                leases,
                address: place.address.borrow().clone(),
            }
        };
        self.places.iter().map(status).collect()
    }

    /// Orders every supervisor to end and waits for all of them.
    async fn end(mut self) {
        let order = match self.on_exit {
            OnExit::Stop => Order::Stop,
            OnExit::Keep => Order::Leave,
        };
        let names: Vec<String> = self.places.keys().cloned().collect();
        for name in &names {
            self.order(name, order);
        }
        self.asking.clear();
        drop(self.reporter);
        // Every supervisor holds a reporter, so the channel closes with the last of them.
        while self.reports.recv().await.is_some() {}
    }
}
