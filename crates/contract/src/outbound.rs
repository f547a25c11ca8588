//! The only way out: HTTP to the granted origins.
//!
//! Every request's origin is compared with the grants before a socket is
//! opened. There are no redirects, no proxies (the environment's neither), no
//! cookies, and no retries. A name is resolved once, its addresses are filtered
//! and then pinned for as long as the value lives, so that a name cannot come to
//! mean another machine between the check and the connection. Bodies are read
//! under a cap the caller names.
//!
//! What it never does: decide what is granted, wait without a limit for a
//! connection, or put a URL's secrets into an error.

mod resolve;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, Request, StatusCode};

use crate::Origin;
use resolve::PinnedResolver;
pub use resolve::Pins;

/// How long opening a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How far a grant may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This machine only.
    Loopback,
    /// Other machines too: the operator's second key (`allow_remote = true`).
    Remote,
}

/// Permission to speak to one origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    origin: Origin,
}

/// Why a grant cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{origin} is not on this machine; set `allow_remote = true` if prompts and file contents may go there"
)]
pub struct GrantError {
    /// The origin that was asked for.
    pub origin: Origin,
}

impl Grant {
    /// Grants `origin`, unless it is further away than `reach`.
    pub fn new(origin: Origin, reach: Reach) -> Result<Self, GrantError> {
        if reach == Reach::Loopback && !origin.is_loopback() {
            return Err(GrantError { origin });
        }
        Ok(Self { origin })
    }

    /// The granted origin.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// Why a request has no response. Never contains a path, a query or a header.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// Nothing was sent: no grant covers the origin.
    #[error("{wanted} is not granted (granted: {granted})")]
    NotGranted {
        /// Where the request would have gone.
        wanted: String,
        /// What is granted.
        granted: String,
    },
    /// Nothing was sent: no connection.
    #[error("cannot connect to {origin}")]
    Unreachable {
        /// Where to.
        origin: Origin,
        /// The network's reason.
        #[source]
        source: reqwest::Error,
    },
    /// The request may have arrived: the connection broke before the whole
    /// response was read.
    #[error("the connection to {origin} broke")]
    Interrupted {
        /// Where to.
        origin: Origin,
        /// The network's reason.
        #[source]
        source: reqwest::Error,
    },
    /// The body is longer than the caller reads; the rest was not read.
    #[error("the answer of {origin} is longer than {limit} bytes")]
    BodyTooLong {
        /// Where from.
        origin: Origin,
        /// The cap, in bytes.
        limit: usize,
    },
    /// The client itself could not be made.
    #[error("the http client cannot be set up")]
    Setup(#[source] reqwest::Error),
}

impl OutboundError {
    /// Whether it is certain that the request did not reach the other side.
    pub fn nothing_sent(&self) -> bool {
        matches!(self, Self::NotGranted { .. } | Self::Unreachable { .. } | Self::Setup(_))
    }
}

/// An HTTP client that reaches the granted origins and nothing else. Cheap to
/// clone; clones share connections and pinned addresses.
#[derive(Debug, Clone)]
pub struct OutboundHttp {
    client: reqwest::Client,
    grants: Arc<[Grant]>,
}

impl OutboundHttp {
    /// A client for these grants. With none, every request is refused.
    pub fn new(grants: impl Into<Arc<[Grant]>>) -> Result<Self, OutboundError> {
        Self::resolving(grants, PinnedResolver::default())
    }

    /// A client for these grants that looks up no name: what `pins` does not know
    /// cannot be reached.
    pub fn pinned(grants: impl Into<Arc<[Grant]>>, pins: Pins) -> Result<Self, OutboundError> {
        Self::resolving(grants, PinnedResolver::sealed(pins))
    }

    fn resolving(grants: impl Into<Arc<[Grant]>>, resolver: PinnedResolver) -> Result<Self, OutboundError> {
        // Fails only when another provider is installed, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        #[expect(clippy::disallowed_methods, reason = "this is the one place that opens sockets")]
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .dns_resolver(resolver);
        let grants = grants.into();
        // The system's certificates are files, which a confined process cannot read
        // and plain http does not need.
        let encrypted = grants.iter().any(|grant| grant.origin().is_encrypted());
        let builder = if encrypted { builder } else { builder.tls_certs_only([]) };
        let client = builder.build().map_err(OutboundError::Setup)?;
        Ok(Self { client, grants })
    }

    /// The grants it was made with.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Sends `request` and returns once the response's head is there.
    ///
    /// There is no limit on how long that takes: wrap it in a timeout where one
    /// is wanted. Dropping the future closes the connection.
    pub async fn send(&self, request: Request<Bytes>) -> Result<OutboundResponse, OutboundError> {
        let origin = self.check(request.uri())?;
        let request = reqwest::Request::try_from(request).map_err(|source| classify(&origin, source))?;
        let response = self.client.execute(request).await.map_err(|source| classify(&origin, source))?;
        Ok(OutboundResponse { origin, inner: response })
    }

    fn check(&self, uri: &http::Uri) -> Result<Origin, OutboundError> {
        let origin = Origin::of(uri);
        if let Some(origin) = &origin
            && self.grants.iter().any(|grant| grant.origin() == origin)
        {
            return Ok(origin.clone());
        }
        let error = OutboundError::NotGranted {
            wanted: origin.map_or_else(|| "a request without a plain origin".to_owned(), |it| it.to_string()),
            granted: self.describe_grants(),
        };
        tracing::warn!(%error, "outbound request refused");
        Err(error)
    }

    fn describe_grants(&self) -> String {
        if self.grants.is_empty() {
            return "nothing".to_owned();
        }
        self.grants.iter().map(|grant| grant.origin().to_string()).collect::<Vec<_>>().join(", ")
    }
}

fn classify(origin: &Origin, source: reqwest::Error) -> OutboundError {
    let origin = origin.clone();
    let source = source.without_url();
    if source.is_connect() || source.is_builder() {
        OutboundError::Unreachable { origin, source }
    } else {
        OutboundError::Interrupted { origin, source }
    }
}

/// A response whose body has not been read yet. Dropping it closes the connection.
#[derive(Debug)]
pub struct OutboundResponse {
    origin: Origin,
    inner: reqwest::Response,
}

impl OutboundResponse {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// Reads the whole body, at most `limit` bytes of it.
    pub async fn bytes(self, limit: usize) -> Result<Bytes, OutboundError> {
        let origin = self.origin.clone();
        let mut chunks = std::pin::pin!(self.chunks());
        let mut body = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            if body.len() + chunk.len() > limit {
                return Err(OutboundError::BodyTooLong { origin, limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// The body in pieces as they arrive, cut anywhere. Uncapped: the caller
    /// bounds what it keeps.
    pub fn chunks(self) -> impl Stream<Item = Result<Bytes, OutboundError>> + Send + use<> {
        let origin = self.origin;
        self.inner.bytes_stream().map(move |chunk| chunk.map_err(|source| classify(&origin, source)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(text: &str, reach: Reach) -> Result<Grant, GrantError> {
        Grant::new(text.parse().unwrap(), reach)
    }

    #[test]
    fn leaving_the_machine_takes_two_keys() {
        assert!(grant("http://127.0.0.1:1", Reach::Loopback).is_ok());
        assert!(grant("https://example.org", Reach::Remote).is_ok());
        let refused = grant("https://example.org", Reach::Loopback).unwrap_err();
        assert!(refused.to_string().contains("https://example.org:443"), "{refused}");
        assert!(refused.to_string().contains("allow_remote"), "{refused}");
    }

    #[test]
    fn only_the_exact_origin_is_granted() {
        let http = OutboundHttp::new([grant("http://127.0.0.1:4096", Reach::Loopback).unwrap()]).unwrap();
        let allowed = |uri: &str| http.check(&uri.parse().unwrap()).is_ok();
        for uri in ["http://127.0.0.1:4096/session", "HTTP://127.0.0.1:4096/a?b=c"] {
            assert!(allowed(uri), "{uri}");
        }
        for uri in [
            "http://localhost:4096/session",
            "http://[::1]:4096/session",
            "http://127.0.0.1/session",
            "http://127.0.0.1:4097/session",
            "https://127.0.0.1:4096/session",
            "http://127.0.0.1:4096@evil.example/session",
            "http://u:p@127.0.0.1:4096/session",
            "/session",
        ] {
            assert!(!allowed(uri), "{uri}");
        }
    }
}
