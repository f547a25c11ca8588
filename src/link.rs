//! Short requests: sent, answered, read. One place decides what a bad answer is.

use std::sync::Arc;

use bytes::Bytes;
use connector_contract::{OutboundError, OutboundHttp};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, StatusCode};
use tokio::time::timeout;

use crate::timing::Timing;
use crate::wire::{Dialect, Failure, Undecodable};

/// The daemon, for one call.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) http: OutboundHttp,
    pub(crate) dialect: Arc<dyn Dialect>,
    pub(crate) timing: Timing,
    pub(crate) body_bytes: usize,
}

/// Why a short request has no good answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the daemon cannot be reached")]
    Outbound(#[source] OutboundError),
    #[error("the daemon did not answer in time")]
    Timeout,
    #[error("the daemon refuses the password")]
    Unauthorized,
    #[error("the daemon answered {status}{}", .failure.as_ref().map_or_else(String::new, |it| format!(": {}", it.reason)))]
    Status { status: u16, failure: Option<Failure> },
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
}

impl Link {
    /// Sends `request` and returns the body of a success, which may be empty.
    pub(crate) async fn fetch(&self, request: Request<Bytes>) -> Result<Bytes, LinkError> {
        self.fetch_within(request, self.body_bytes).await
    }

    /// The same for a body of at most `bytes`.
    pub(crate) async fn fetch_within(
        &self,
        request: Request<Bytes>,
        bytes: usize,
    ) -> Result<Bytes, LinkError> {
        let (head, body) = self.exchange(request, bytes).await?;
        match head.status {
            StatusCode::UNAUTHORIZED => Err(LinkError::Unauthorized),
            success if success.is_success() => Ok(body),
            other => {
                Err(LinkError::Status { status: other.as_u16(), failure: self.dialect.read_failure(&body) })
            }
        }
    }

    /// Sends `request` and returns the status and the JSON that were answered; other
    /// content is none of a daemon's, and left out.
    pub(crate) async fn probe(&self, request: Request<Bytes>) -> Result<(StatusCode, Bytes), LinkError> {
        let (head, body) = self.exchange(request, self.body_bytes).await?;
        Ok((head.status, if head.json { body } else { Bytes::new() }))
    }

    async fn exchange(&self, request: Request<Bytes>, bytes: usize) -> Result<(Head, Bytes), LinkError> {
        let exchange = async {
            let response = self.http.send(request).await.map_err(LinkError::Outbound)?;
            let head = Head { status: response.status(), json: is_json(response.headers()) };
            Ok((head, response.bytes(bytes).await.map_err(LinkError::Outbound)?))
        };
        timeout(self.timing.request, exchange).await.map_err(|_| LinkError::Timeout)?
    }
}

/// What stands before a body.
struct Head {
    status: StatusCode,
    json: bool,
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json")
}
