//! The egress proxy: an HTTP forward proxy to the hosts that may be reached.
//!
//! `CONNECT host:port` for what is encrypted, and absolute addresses for what is not (RFC 9110, 7). A
//! name is looked up once, here; each address that it stands for is judged, and the connection goes to
//! one that was, so that nothing is looked up between the judgement and the connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::policy::{Host, Policy, Refusal};
use crate::record::Recorder;
use crate::server::{Body, own_answer, whole, without_hop_by_hop};

/// How many tunnels there are at once, and how long each may last.
const TUNNELS: usize = 256;
const LASTS: Duration = Duration::from_hours(1);
/// How long looking a name up may take, and connecting to one address.
const LOOKED_UP_WITHIN: Duration = Duration::from_secs(10);
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
/// How many addresses of one name are tried.
const TRIES: usize = 4;

/// The proxy of one policy.
pub(crate) struct ForwardProxy {
    policy: Policy,
    recorder: Recorder,
    tunnels: Arc<Semaphore>,
}

/// Why a request goes nowhere.
enum Failed {
    Refused(Refusal),
    Unreachable(io::Error),
    Malformed(&'static str),
}

impl ForwardProxy {
    pub(crate) fn new(policy: Policy, recorder: Recorder) -> Self {
        Self { policy, recorder, tunnels: Arc::new(Semaphore::new(TUNNELS)) }
    }

    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let Some((host, port)) = destination(request.method(), request.uri()) else {
            let why = "this is a proxy: it takes CONNECT, and whole http:// addresses";
            return own_answer(StatusCode::BAD_REQUEST, why);
        };
        let answered = if request.method() == Method::CONNECT {
            self.tunnel(&host, port, request).await
        } else {
            self.pass_on(&host, port, request).await
        };
        answered.unwrap_or_else(|failed| self.failed(&host, port, &failed))
    }

    fn failed(&self, host: &str, port: u16, failed: &Failed) -> Response<Body> {
        let status = match failed {
            Failed::Refused(refusal) => {
                self.recorder.refused(&format!("{host}:{port}"), &refusal.to_string());
                StatusCode::FORBIDDEN
            }
            Failed::Unreachable(_) => StatusCode::BAD_GATEWAY,
            Failed::Malformed(_) => StatusCode::BAD_REQUEST,
        };
        own_answer(status, &format!("{host}:{port}: {failed}"))
    }

    async fn tunnel(
        &self,
        host: &str,
        port: u16,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Failed> {
        let Ok(permit) = Arc::clone(&self.tunnels).try_acquire_owned() else {
            return Err(Failed::Unreachable(io::Error::other("too many tunnels are open")));
        };
        let mut there = self.connect(host, port).await?;
        tokio::spawn(async move {
            let _permit = permit;
            let tunnelled = async {
                let mut here = TokioIo::new(hyper::upgrade::on(request).await.map_err(io::Error::other)?);
                tokio::io::copy_bidirectional(&mut here, &mut there).await
            };
            // What either side breaks off is its own affair.
            let _ = timeout(LASTS, tunnelled).await;
        });
        Ok(Response::new(whole("")))
    }

    async fn pass_on(
        &self,
        host: &str,
        port: u16,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Failed> {
        let request = outgoing(request)?;
        let there = TokioIo::new(self.connect(host, port).await?);
        let broke = |error: hyper::Error| Failed::Unreachable(io::Error::other(error));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(there).await.map_err(broke)?;
        tokio::spawn(timeout(LASTS, connection));
        let mut answer = sender.send_request(request).await.map_err(broke)?;
        without_hop_by_hop(answer.headers_mut());
        Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Failed> {
        let destination = self.policy.allows(host, port).map_err(Failed::Refused)?;
        let found = match &destination.host {
            Host::Address(address) => vec![SocketAddr::new(*address, port)],
            Host::Name(name) => self.look_up(name, port).await?,
        };
        let mut failed = io::Error::other("it has no address");
        for address in found.into_iter().take(TRIES) {
            #[expect(clippy::disallowed_methods, reason = "the way out to hosts that are named")]
            let connecting = TcpStream::connect(address);
            match timeout(CONNECTED_WITHIN, connecting).await {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => failed = error,
                Err(_) => failed = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(Failed::Unreachable(failed))
    }

    /// The addresses of `name` that it may stand for.
    async fn look_up(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, Failed> {
        #[expect(clippy::disallowed_methods, reason = "each name is looked up once, here")]
        let looking = tokio::net::lookup_host((name, port));
        let found = match timeout(LOOKED_UP_WITHIN, looking).await {
            Ok(found) => found.map_err(Failed::Unreachable)?,
            Err(_) => return Err(Failed::Unreachable(io::ErrorKind::TimedOut.into())),
        };
        let (mut good, mut refused) = (Vec::new(), None);
        for address in found {
            match self.policy.allows_address(Some(name), address.ip(), port) {
                Ok(()) => good.push(address),
                Err(refusal) => refused = Some(refusal),
            }
        }
        match refused {
            Some(refusal) if good.is_empty() => Err(Failed::Refused(refusal)),
            _ => Ok(good),
        }
    }
}

/// The host and port that a request to a proxy names.
fn destination(method: &Method, uri: &Uri) -> Option<(String, u16)> {
    let authority = uri.authority()?;
    // What stands before an `@` is for the host, not for us, and hides it from a hurried reader.
    if authority.as_str().contains('@') {
        return None;
    }
    let port = match authority.as_str().strip_prefix(authority.host())? {
        "" if *method == Method::CONNECT => return None,
        "" => 80,
        port => port.strip_prefix(':')?.parse().ok()?,
    };
    let absolute = uri.scheme() == Some(&Scheme::HTTP);
    ((*method == Method::CONNECT) != absolute).then(|| (authority.host().to_owned(), port))
}

/// The request as the host itself gets it.
fn outgoing(mut request: Request<Incoming>) -> Result<Request<Incoming>, Failed> {
    let malformed = |_| Failed::Malformed("its address cannot be sent on");
    let uri = request.uri().clone();
    let authority = uri.authority().map_or_else(String::new, ToString::to_string);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(malformed)?;
    without_hop_by_hop(request.headers_mut());
    // The host that was judged, not one that is named beside it.
    let host = HeaderValue::try_from(authority).map_err(|_| Failed::Malformed("its host is no header"))?;
    request.headers_mut().insert(header::HOST, host);
    Ok(request)
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "{refusal}"),
            Self::Unreachable(error) => write!(f, "it cannot be reached ({error})"),
            Self::Malformed(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_destination_is_the_one_that_the_request_names() {
        let named = |method: &str, uri: &str| destination(&method.parse().unwrap(), &uri.parse().unwrap());
        for (method, uri, host, port) in [
            ("CONNECT", "example.org:443", "example.org", 443),
            ("CONNECT", "[::1]:443", "[::1]", 443),
            ("GET", "http://example.org/a", "example.org", 80),
            ("POST", "http://example.org:8080/a", "example.org", 8080),
        ] {
            assert_eq!(named(method, uri), Some((host.to_owned(), port)), "{method} {uri}");
        }
        for (method, uri) in [
            ("CONNECT", "example.org"),
            ("CONNECT", "user@example.org:443"),
            ("CONNECT", "http://example.org:443/"),
            ("GET", "/a"),
            ("GET", "https://example.org/a"),
            ("GET", "ftp://example.org/a"),
            ("GET", "http://allowed.example@example.org/a"),
            ("GET", "http://example.org:99999/a"),
        ] {
            assert_eq!(named(method, uri), None, "{method} {uri}");
        }
    }
}
