//! Where webhooks are heard, and for how long.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::IntoResponse as _;
use connector_connections::{Limits, Proven};
use connector_engine::Engine;
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Port;
use super::take::{Taking, take};
use crate::cli::api::{Code, Problem};
use crate::config::WebhooksConfig;
use crate::exit::Failure;

/// Senders are few, and each of their requests is short.
const CONNECTIONS: Limits = Limits { most: 64, head: Duration::from_secs(10) };

/// How long a request may take, its body and its becoming durable included.
const WHOLE: Duration = Duration::from_secs(30);

/// The webhooks of a running host. Dropping it ends every connection.
pub(in crate::cli) struct Serving {
    task: Option<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Serving {
    /// Takes requests at `port`, if there is one.
    pub(in crate::cli) fn start(
        config: &WebhooksConfig,
        port: Option<Port>,
        engine: &Engine,
    ) -> Result<Self, Failure> {
        let stop = CancellationToken::new();
        let Some(Port { listener, hooks }) = port else { return Ok(Self { task: None, stop }) };
        tracing::info!(address = %listener.local_addr()?, webhooks = hooks.len(), "webhooks are heard at a port");
        let routes = Router::new().fallback(take).with_state(Arc::new(Taking {
            engine: engine.clone(),
            hooks,
            most: config.max_bytes,
            tolerance: Duration::from_secs(config.tolerance_secs),
            repeat: Duration::from_secs(config.repeat_secs),
        }));
        let until = stop.clone();
        let task = tokio::spawn(async move {
            let service = |proven| TowerToHyperService::new(timed(&routes, proven));
            connector_connections::serve(listener, until, CONNECTIONS, service).await;
        });
        Ok(Self { task: Some(task), stop })
    }

    /// Takes no more requests; those that were begun have two seconds.
    pub(in crate::cli) async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The routes of one connection, whose requests tell it that they were proven.
fn timed(routes: &Router, proven: Proven) -> Router {
    routes.clone().layer(middleware::from_fn(move |mut request: Request, next: Next| {
        request.extensions_mut().insert(proven.clone());
        async move {
            let answer = tokio::time::timeout(WHOLE, next.run(request)).await;
            answer.unwrap_or_else(|_| {
                Problem::new(Code::Timeout, "it may be stored by now: send it again with the same id")
                    .into_response()
            })
        }
    }))
}
