//! From a configuration to a served connection.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use connector_contract::{
    Connector, ConnectorFactory as _, Grant, Manifest, Origin, OutboundHttp, Pins, Provenance, Reach, chain,
};
use connector_mcp::Server;
use connector_opencode::{MANIFEST, OpencodeFactory};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::arguments::{Arguments, Walls};
use crate::listen::{self, Listening};
use crate::{Failure, confine, long, present, settings};

/// What somebody sees who starts it by hand.
const BY_HAND: &str = "\
this is an MCP server: an MCP host starts it and speaks to it over standard input and output.
Put it into your host's configuration (examples/mcp has two), or see --help.
To hand tasks to an agent from a chat, with approval, use connector-host.";

/// What a client's model is told about the tools.
const INSTRUCTIONS: &str = "\
run_task hands a coding task to an agent that works in one directory of its own machine: it edits files \
and runs commands there, and may take minutes. Say the whole task in `prompt`; the agent sees nothing of \
your conversation. The result has the agent's reply, the files it changed and its session_id; \
continue_session gives a follow-up in that session. Read the reply: a result can also say what was refused. \
describe_daemon says on what terms a task would run, and begins nothing. A task that may take longer than you may \
wait is started by start_task, and fetched by task_result, again and again until it has ended.";

/// Serves one connection, to its end.
pub(crate) fn serve(arguments: &Arguments) -> Result<(), Failure> {
    log(&arguments.log)?;
    if arguments.http.is_none() && std::io::stdin().is_terminal() {
        return Err(Failure::Usage(BY_HAND.to_owned()));
    }
    let environment = settings::environment();
    let manifest = Manifest::parse(MANIFEST).map_err(failed)?;
    let given = arguments.config.is_some() || arguments.password_fd.is_some() || arguments.http.is_some();
    if environment.is_empty() && !given {
        // Which port to leave open is not known before the host tells, and then input was read.
        if arguments.walls == Walls::Require {
            return Err(Failure::Usage(
                "`--walls require` takes a configuration at the start: a file, or CONNECTOR_OPENCODE_BASE_URL"
                    .to_owned(),
            ));
        }
        let server = introduced(Server::new(manifest)).with_factory(Arc::new(OpencodeFactory::default()));
        return runtime()?.block_on_then_leave(run(server, None, || Ok(())));
    }
    let config = settings::gather(arguments, &environment)?;
    let Equipped { connector, http, port } = equip(config)?;
    let manifest = connector.manifest().clone();
    let mut server = introduced(Server::new(manifest.clone())).with_connector(connector, http);
    if let Some(calls) = long::calls(&manifest) {
        server = server.with_tasks(calls);
    }
    let listening = listen::listen(arguments, &environment)?;
    let takes_connections = listening.is_some();
    let confine = || confine::put_up(arguments.walls, port, takes_connections);
    runtime()?.block_on_then_leave(run(server, listening, confine))
}

fn introduced(server: Server) -> Server {
    server.with_instructions(INSTRUCTIONS).presented_by(Arc::new(present::present))
}

struct Equipped {
    connector: Arc<dyn Connector>,
    http: OutboundHttp,
    port: u16,
}

/// Makes the connector and its way out. Names are looked up here, for there are
/// none to ask behind walls; the threads that this takes are gone when it returns.
fn equip(config: Value) -> Result<Equipped, Failure> {
    let reach = if config["allow_remote"] == true { Reach::Remote } else { Reach::Loopback };
    runtime()?.0.block_on(async {
        let created = OpencodeFactory::default().create(config).await;
        let connector: Arc<dyn Connector> = created.map_err(|error| settings::refused(&error))?.into();
        let origin = connector.target("run_task", &json!({}), &Provenance::Local).origin.unwrap_or_default();
        let origin: Origin = origin.parse().map_err(failed)?;
        let grants = [Grant::new(origin.clone(), reach).map_err(failed)?];
        let pins = Pins::look_up(&grants)
            .await
            .map_err(|error| Failure::Failed(format!("{}: {error}", origin.host())))?;
        let http = OutboundHttp::pinned(grants, pins).map_err(failed)?;
        Ok(Equipped { connector, http, port: origin.port() })
    })
}

/// Serves standard input and output, or whoever connects, until the client or a signal ends it. `confine`
/// runs before anything is read, and before there is a second thread.
async fn run(
    server: Server,
    listening: Option<Listening>,
    confine: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    confine()?;
    let signalled = stop.clone();
    let serving = served(server.stopped_by(stop), listening);
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("told to leave; stopping what runs");
    signalled.cancel();
    serving.await
}

async fn served(server: Server, listening: Option<Listening>) -> Result<(), Failure> {
    let Some(Listening { listener, token }) = listening else {
        return server.serve(tokio::io::stdin(), tokio::io::stdout()).await.map_err(failed);
    };
    let listener = TcpListener::from_std(listener).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!("listening at http://{address}{}", connector_mcp::HTTP_PATH);
    server.serve_http(listener, token).await.map_err(failed)
}

/// Logs to standard error. The SDK's debug output holds prompts and is left out.
fn log(filter: &str) -> Result<(), Failure> {
    let wanted =
        EnvFilter::try_new(filter).map_err(|error| Failure::Usage(format!("--log {filter}: {error}")))?;
    let quiet = filter_fn(|meta| !meta.target().starts_with("rmcp") || *meta.level() <= LevelFilter::WARN);
    let writer = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(writer.with_filter(quiet)).with(wanted).init();
    Ok(())
}

struct Runtime(tokio::runtime::Runtime);

fn runtime() -> Result<Runtime, Failure> {
    let made = tokio::runtime::Builder::new_current_thread().enable_all().build();
    made.map(Runtime).map_err(failed)
}

impl Runtime {
    /// A thread may still be reading standard input: it is not waited for.
    fn block_on_then_leave(self, work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
        let result = self.0.block_on(work);
        self.0.shutdown_timeout(Duration::ZERO);
        result
    }
}

fn failed(error: impl std::error::Error + 'static) -> Failure {
    Failure::Failed(chain(&error))
}
