//! The HTTP side of the scripted model.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Answer, Shared, answer};

/// Serves until `ended` resolves or its sender is dropped; answers under way are cut off.
pub(super) fn run(listener: std::net::TcpListener, router: axum::Router, ended: oneshot::Receiver<()>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        tokio::select! {
            _ = ended => {}
            served = async { axum::serve(listener, router).await } => drop(served),
        }
    });
}

pub(super) fn router(shared: Arc<Shared>) -> axum::Router {
    axum::Router::new()
        .route("/v1/chat/completions", post(complete))
        .route(
            "/v1/models",
            get(|| async { Json(json!({ "object": "list", "data": [{ "id": "scripted" }] })) }),
        )
        .layer(axum::extract::DefaultBodyLimit::max(64 * 1024 * 1024))
        .with_state(shared)
}

async fn complete(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let streamed = body["stream"] == true;
    let key = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let answer = shared.answer(key.map(str::to_owned), body);
    match &answer {
        Answer::Error { status, body } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return (status, Json(body.clone())).into_response();
        }
        Answer::Hang { .. } => shared.released().await,
        Answer::Text { .. } | Answer::Tools { .. } | Answer::Ended { .. } => {}
    }
    if streamed {
        Sse::new(events(&answer)).into_response()
    } else {
        Json(answer::whole(&answer)).into_response()
    }
}

fn events(answer: &Answer) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
    let delay = match answer {
        Answer::Text { delay_ms, .. } => Duration::from_millis(*delay_ms),
        _ => Duration::ZERO,
    };
    let data: Vec<String> =
        answer::chunks(answer).iter().map(Value::to_string).chain(["[DONE]".to_owned()]).collect();
    stream::iter(data.into_iter().enumerate()).then(move |(index, data)| async move {
        if index > 0 && !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        Ok(Event::default().data(data))
    })
}
