//! The process of a daemon's egress proxies: our own binary, started again, within walls of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use connector_egress::process::Control;
use connector_egress::{Listeners, NetworkPlan, Plan, Secret};

use crate::confine::namespaces::{MODELS, PROXY};
use crate::confine::{self, Confinement, Walls};
use crate::environment::Environment;
use crate::process::{Leader, ProcessId};
use crate::providers::Providers;
use crate::random;

/// What it needs to run, to look names up and to know whom to trust.
const READ: [&str; 9] =
    ["/usr", "/lib", "/lib32", "/lib64", "/bin", "/etc", "/nix", "/run/systemd/resolve", "/run/resolvconf"];
/// The variables by which somebody says whom to trust.
const TRUST: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
/// The record in the process's own directory.
const RECORD: &str = "record.json";

/// The proxies of one daemon, as whoever holds the daemon sees them.
pub(crate) struct Egress {
    leader: Leader,
    id: ProcessId,
}

/// The proxies that a daemon is to have, before anything of it runs.
pub(crate) struct Wanted {
    plan: Plan,
    /// Where it finds its models, and what it says there; nothing when it has none.
    pub(crate) models: Option<(String, Secret)>,
    /// Listeners on the host's loopback, for a daemon without a network of its own.
    outside: Listeners,
    /// The ports to listen on in a daemon's own network.
    pub(crate) ports: Vec<u16>,
}

/// Where the record of a daemon's proxies is, whose private directory is `tmp`.
pub(crate) fn record(tmp: &Path) -> PathBuf {
    tmp.with_extension("egress").join(RECORD)
}

impl Wanted {
    /// Those of a daemon with `providers` within `confinement`; nothing when it needs none.
    pub(crate) fn of(providers: &Providers, confinement: &Confinement) -> io::Result<Option<Self>> {
        let mut wanted =
            Self { plan: Plan::default(), models: None, outside: Listeners::default(), ports: Vec::new() };
        let own_network = confinement.has_own_network();
        if !providers.are_none() {
            let token = Secret::from(random::hex::<24>()?);
            wanted.plan.models = Some(providers.plan(&token));
            let address = if own_network {
                wanted.ports.push(MODELS);
                SocketAddr::from((Ipv4Addr::LOCALHOST, MODELS))
            } else {
                wanted.outside.models.insert(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?).local_addr()?
            };
            wanted.models = Some((format!("http://{address}"), token));
        }
        if own_network {
            let loopback = confinement.network.loopback_ports();
            wanted.plan.network =
                Some(NetworkPlan { policy: confinement.network.policy(providers.direct_hosts()) });
            wanted.plan.loopback = loopback.to_vec();
            wanted.ports.push(PROXY);
            wanted.ports.extend(loopback);
        }
        wanted.plan.record = Some(record(&confinement.tmp));
        Ok((!wanted.plan.is_empty()).then_some(wanted))
    }

    /// The listeners for these proxies, of which those in a daemon's own network were made there.
    fn listeners(&mut self, within: Vec<TcpListener>) -> Listeners {
        if within.is_empty() {
            return std::mem::take(&mut self.outside);
        }
        let mut within = within.into_iter();
        let models = self.models.as_ref().and_then(|_| within.next());
        let network = self.plan.network.as_ref().and_then(|_| within.next());
        Listeners { models, network, loopback: within.collect() }
    }
}

/// Starts the proxies for the daemon `daemon`, which they end with. Blocks until they serve.
pub(crate) fn start(
    mut wanted: Wanted,
    within: Vec<TcpListener>,
    (launcher, daemon): (&Path, u32),
    environment: &Environment,
    output: Stdio,
) -> io::Result<Egress> {
    let listeners = wanted.listeners(within);
    let plan = wanted.plan;
    let directory = plan.record.as_deref().and_then(Path::parent).unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;

    let (mut control, stdin) = Control::pair()?;
    let trust: Vec<_> = TRUST.iter().filter_map(|name| Some((*name, environment.get(name)?))).collect();
    let read = READ.iter().map(PathBuf::from).chain(trust.iter().map(|(_, path)| PathBuf::from(path)));
    let walls = Walls {
        read: read.chain([launcher.to_owned()]).collect(),
        write: vec![directory.to_owned(), "/dev/null".into()],
    };
    #[expect(clippy::disallowed_methods, reason = "this is the place that starts the proxies of daemons")]
    let mut command = Command::new(launcher);
    command
        .arg(confine::LAUNCH)
        .arg(launcher)
        .args(Control::arguments())
        .current_dir("/")
        .env_clear()
        .envs(trust)
        .env(confine::PLAN, confine::plan_of(walls))
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(output)
        .process_group(0);
    let child = command.spawn()?;
    // The other end of its input is in there.
    drop(command);
    let id = ProcessId::of(child.id());
    let mut leader = Leader::Child(child);
    let handed = control.hand_over(&plan, &listeners).and_then(|()| control.tie_to(daemon));
    match (handed, id) {
        (Ok(()), Some(id)) => Ok(Egress { leader, id }),
        (handed, _) => {
            leader.reap();
            Err(handed.err().unwrap_or_else(|| io::Error::other("it ended at once")))
        }
    }
}

impl Egress {
    /// Those of an earlier host, while they run.
    pub(crate) fn found(id: ProcessId) -> Option<Self> {
        id.is_alive().then(|| Self { leader: Leader::Found(id.clone()), id })
    }

    pub(crate) fn id(&self) -> &ProcessId {
        &self.id
    }

    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.leader.try_exit(), Ok(None))
    }

    /// Ends them. Their daemon reaches no model any more.
    pub(crate) fn end(&mut self) {
        self.id.kill();
        self.leader.reap();
    }
}
