//! The process of a daemon's egress proxies: our own binary, started again, within walls of its own.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use connector_egress::process::Control;
use connector_egress::{Listeners, Plan, Secret};

use crate::confine::{self, Walls};
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

/// Proxies that serve, and whose daemon has not been started yet. Dropping it ends them.
pub(crate) struct Started {
    egress: Egress,
    control: Control,
    /// Where models are found.
    pub(crate) models: String,
    /// What the daemon says there.
    pub(crate) token: Secret,
}

/// Where the record of a daemon's proxies is, whose private directory is `tmp`.
pub(crate) fn record(tmp: &Path) -> PathBuf {
    tmp.with_extension("egress").join(RECORD)
}

/// Starts them. Blocks until they serve.
pub(crate) fn start(
    providers: &Providers,
    (launcher, tmp): (&Path, &Path),
    environment: &Environment,
    output: Stdio,
) -> io::Result<Started> {
    let token = Secret::from(random::hex::<24>()?);
    let record = record(tmp);
    let directory = record.parent().unwrap_or(tmp);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let models = format!("http://{}", listener.local_addr()?);
    let plan = Plan { models: Some(providers.plan(&token)), network: None, record: Some(record.clone()) };

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
    let handed = control.hand_over(&plan, &Listeners { models: Some(listener), network: None });
    match (handed, id) {
        (Ok(()), Some(id)) => Ok(Started { egress: Egress { leader, id }, control, models, token }),
        (handed, _) => {
            leader.reap();
            Err(handed.err().unwrap_or_else(|| io::Error::other("it ended at once")))
        }
    }
}

impl Started {
    /// Says which process they are for: they end when that one does.
    pub(crate) fn tie_to(self, daemon: u32) -> io::Result<Egress> {
        self.control.tie_to(daemon)?;
        Ok(self.egress)
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
