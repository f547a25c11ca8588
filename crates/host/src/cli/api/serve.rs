//! Where the API listens, and for how long.

use std::io::{ErrorKind, Write as _};
use std::net::TcpListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use connector_connections::{Admission, BearerToken, Limits, Listener, OwnSocket, Proven, Refusal};
use connector_contract::chain;
use connector_engine::Engine;
use connector_gate::clock::Clock;
use connector_ledger::Ledger;
use data_encoding::HEXLOWER;
use http::header::{ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use hyper_util::service::TowerToHyperService;
use secrecy::SecretString;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::operations::router;
use super::problem::{Code, Problem};
use super::{Api, Client, SOCKET, SURFACE, Shared, TOKEN};
use crate::cli::caller;
use crate::config::ApiConfig;
use crate::exit::Failure;
use crate::troubles::Troubles;

/// How many connections each listener has at most: one that follows a run keeps it.
const CONNECTIONS: Limits = Limits { most: 64, head: Duration::from_secs(10) };

/// How long a request may take, its body and its waiting included; what is followed has no end of its own.
const WHOLE: Duration = Duration::from_secs(super::LONGEST + 20);

/// What a client is told whose request took too long.
const LATE: &str = "what it asked for may be done by now: look before you send it again";

/// A port that is listened at, and who is heard there.
pub(in crate::cli) struct Port {
    listener: TcpListener,
    admission: Admission,
    token: SecretString,
}

impl Port {
    /// What clients carry there.
    pub(in crate::cli) fn token(&self) -> &SecretString {
        &self.token
    }

    /// The port, where it is bound.
    pub(in crate::cli) fn number(&self) -> std::io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }
}

/// The API of a running host. Dropping it ends every connection.
pub(in crate::cli) struct Serving {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Serving {
    /// Answers at the socket, if `config` wants one, and at `port`. That the socket cannot be made is a trouble and
    /// ends no host.
    pub(in crate::cli) fn start(
        config: &ApiConfig,
        state: &Path,
        port: Option<Port>,
        engine: &Engine,
        troubles: &Troubles,
    ) -> Result<Self, Failure> {
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            ledger: Ledger::open_existing(state, Clock::System)?,
            engine: engine.clone(),
            connector: config.connector.clone(),
            address: match &port {
                Some(Port { listener, .. }) => Some(listener.local_addr()?.to_string()),
                None => None,
            },
            stop: stop.clone(),
        });
        let mut tasks = JoinSet::new();
        if config.socket {
            match OwnSocket::bind(&state.join(SOCKET)) {
                Ok(socket) => {
                    let api = Api { shared: Arc::clone(&shared), client: Client::User(caller()) };
                    tasks.spawn(serve(socket, router(api), None, stop.clone()));
                }
                Err(error) => troubles.tell("api", &format!("{}; the API has no socket", chain(&error))),
            }
        }
        if let Some(Port { listener, admission, .. }) = port {
            tracing::info!(address = %listener.local_addr()?, "the API listens at a port");
            let client = Client::Program(config.client.account(SURFACE));
            let api = Api { shared, client };
            tasks.spawn(serve(listener, router(api), Some(Arc::new(admission)), stop.clone()));
        }
        Ok(Self { tasks, stop })
    }

    /// Takes no more requests, and ends what is followed; those that were begun have two seconds.
    pub(in crate::cli) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// The port that was asked for. One that cannot be had is an error.
pub(in crate::cli) fn listen(config: &ApiConfig, state: &Path) -> Result<Option<Port>, Failure> {
    let Some(address) = config.listen else { return Ok(None) };
    let file = match &config.token_file {
        Some(file) => file.to_path_buf(),
        None => made(token(state))?,
    };
    let read = BearerToken::from_file(&file)
        .map_err(|error| Failure::usage(format!("[api] token_file {}: {error}", file.display())))?;
    let bound = || {
        let listener = StdListener::bind(address.0)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    let listener =
        bound().map_err(|error| Failure::failed(format!("[api] listen = {}: {error}", address.0)))?;
    let token = SecretString::from(read.expose());
    let admission = Admission::new(listener.local_addr()?, read);
    Ok(Some(Port { listener, admission, token }))
}

/// Where the token is that is made where configuration names none.
pub(in crate::cli) fn token(state: &Path) -> PathBuf {
    state.join(TOKEN)
}

/// The file with a token that nobody has guessed; made once.
fn made(path: PathBuf) -> Result<PathBuf, Failure> {
    if path.symlink_metadata().is_ok() {
        return Ok(path);
    }
    let mut token = [0_u8; 32];
    getrandom::fill(&mut token).map_err(|error| Failure::failed(format!("no randomness: {error}")))?;
    // It has its name once it is whole, whenever the host or the machine ends.
    let written = || {
        let mut file = NamedTempFile::new_in(path.parent().unwrap_or(Path::new("/")))?;
        writeln!(file, "{}", HEXLOWER.encode(&token))?;
        file.as_file().sync_all()?;
        file.persist_noclobber(&path).map_err(|error| error.error)
    };
    match written() {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(Failure::failed(format!("{}: {error}", path.display())))
        }
        _ => Ok(path),
    }
}

async fn serve<L: Listener>(
    listener: L,
    routes: Router,
    admission: Option<Arc<Admission>>,
    stop: CancellationToken,
) {
    let service = |proven| TowerToHyperService::new(guarded(&routes, admission.clone(), proven));
    connector_connections::serve(listener, stop, CONNECTIONS, service).await;
}

/// The routes of one connection, for requests that may be read, each with its time.
fn guarded(routes: &Router, admission: Option<Arc<Admission>>, proven: Proven) -> Router {
    routes.clone().layer(middleware::from_fn(move |request: Request, next: Next| {
        let (admission, proven) = (admission.clone(), proven.clone());
        async move {
            if let Err(refusal) = admitted(admission.as_deref(), &request) {
                tracing::warn!(%refusal, "a request was refused");
                return refused(refusal);
            }
            proven.set();
            let answered = tokio::time::timeout(WHOLE, next.run(request)).await;
            answered.unwrap_or_else(|_| Problem::new(Code::Timeout, LATE).into_response())
        }
    }))
}

/// Whether a request is read. At the socket, the system has said whose it is; a page in a browser speaks to none,
/// unless somebody leads it there.
fn admitted(admission: Option<&Admission>, request: &Request) -> Result<(), Refusal> {
    match admission {
        Some(admission) => admission.admits(request.uri(), request.headers()),
        None if request.headers().contains_key(ORIGIN) => Err(Refusal::Origin),
        None => Ok(()),
    }
}

fn refused(refusal: Refusal) -> Response {
    let code =
        if refusal.status() == StatusCode::UNAUTHORIZED { Code::Unauthorized } else { Code::NotAllowed };
    let mut response = Problem::new(code, refusal.as_str()).into_response();
    if code == Code::Unauthorized {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_has_its_name_once_it_is_whole_whoever_else_makes_one() {
        let state = tempfile::tempdir().unwrap();
        let tokens: Vec<String> = std::thread::scope(|scope| {
            let make = || std::fs::read_to_string(made(state.path().join(TOKEN)).unwrap()).unwrap();
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(tokens.iter().all(|token| token.len() == 65 && *token == tokens[0]), "{tokens:?}");
        let left: Vec<_> = std::fs::read_dir(state.path()).unwrap().map(|it| it.unwrap().path()).collect();
        assert_eq!(left, [state.path().join(TOKEN)]);
        assert_eq!(std::fs::metadata(&left[0]).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
