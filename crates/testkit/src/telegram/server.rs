//! The HTTP side of the fake Bot API.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State as Extracted};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::method::{self, Refusal};
use super::state::{Called, Fault, Shared};
use super::{TOKEN, form};

/// Serves until `ended` resolves or its sender is dropped.
pub(super) fn run(listener: std::net::TcpListener, router: Router, ended: oneshot::Receiver<()>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        tokio::select! {
            _ = ended => {}
            served = async { axum::serve(listener, router).await } => drop(served),
        }
    });
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/{bot}/{method}", post(call))
        .route("/file/{bot}/documents/{id}", get(download))
        .layer(DefaultBodyLimit::max(64 << 20))
        .with_state(shared)
}

async fn call(
    Extracted(shared): Extracted<Arc<Shared>>,
    Path((bot, method)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if bot != format!("bot{TOKEN}") {
        return refused(&(401, "Unauthorized".into(), None));
    }
    let content_type = headers.get("content-type").and_then(|it| it.to_str().ok()).unwrap_or_default();
    let params = if content_type.starts_with("multipart/form-data") {
        form::read(content_type, &body)
    } else {
        serde_json::from_slice(&body).ok()
    };
    let Some(params) = params else { return refused(&(400, "Bad Request: can't parse JSON".into(), None)) };
    let fault = shared.change(|state| state.take_fault(&method, params["message_id"].as_i64()));
    match &fault {
        Some(Fault::Refuse(code, description, wait)) => {
            let refusal = (*code, (*description).to_owned(), wait.map(u64::from));
            return finish(&shared, &method, params, Err(refusal));
        }
        Some(Fault::Moved(to)) => {
            let refusal: Refusal =
                (400, "Bad Request: group chat was upgraded to a supergroup chat".into(), None);
            let _ = finish(&shared, &method, params, Err(refusal.clone()));
            return refused_with(&refusal, &json!({ "migrate_to_chat_id": to }));
        }
        Some(Fault::Gateway) => return (StatusCode::BAD_GATEWAY, "<html>Bad Gateway</html>").into_response(),
        Some(Fault::Cut) => return broken(),
        Some(Fault::Slow(wait)) => tokio::time::sleep(*wait).await,
        Some(Fault::CutAfter) | None => {}
    }
    let outcome = if method == "getUpdates" {
        updates(&shared, &params).await
    } else {
        shared.change(|state| method::carry_out(state, &method, &params))
    };
    let response = finish(&shared, &method, params, outcome);
    if matches!(fault, Some(Fault::CutAfter)) { broken() } else { response }
}

async fn download(
    Extracted(shared): Extracted<Arc<Shared>>,
    Path((bot, id)): Path<(String, usize)>,
) -> Response {
    if bot != format!("bot{TOKEN}") {
        return refused(&(401, "Unauthorized".into(), None));
    }
    match shared.change(|state| state.take_fault("download", None)) {
        Some(Fault::Slow(wait)) => tokio::time::sleep(wait).await,
        Some(_) => return broken(),
        None => {}
    }
    match shared.look(|state| state.files.get(id).cloned()) {
        Some(content) => content.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn finish(shared: &Shared, method: &str, params: Value, outcome: Result<Value, Refusal>) -> Response {
    let status = outcome.as_ref().map_or_else(|refusal| refusal.0, |_| 200);
    let called = Called { method: method.to_owned(), params, status, at: Instant::now() };
    shared.change(|state| state.calls.push(called));
    match outcome {
        Ok(result) => axum::Json(json!({ "ok": true, "result": result })).into_response(),
        Err(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &Refusal) -> Response {
    let wait = refusal.2.map_or(Value::Null, |wait| json!({ "retry_after": wait }));
    refused_with(refusal, &wait)
}

fn refused_with((code, description, _): &Refusal, parameters: &Value) -> Response {
    let mut body = json!({ "ok": false, "error_code": code, "description": description });
    if !parameters.is_null() {
        body["parameters"] = parameters.clone();
    }
    let status = StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(body)).into_response()
}

/// A head, and then a connection that breaks.
fn broken() -> Response {
    let cut = futures_util::stream::once(async { Err::<Bytes, _>(io::Error::other("cut")) });
    Body::from_stream(cut).into_response()
}

/// How far past the newest update an offset may be.
const AHEAD: i64 = 10;

/// Acknowledges what is below `offset` and waits for what is there or comes. As with Telegram, an
/// offset far past the newest update acknowledges nothing, and is answered from the oldest on.
async fn updates(shared: &Arc<Shared>, params: &Value) -> Result<Value, Refusal> {
    let offset = params["offset"].as_i64().unwrap_or(0);
    let mine = shared.change(|state| {
        if offset <= i64::from(state.last_update) + 1 + AHEAD {
            state.updates.retain(|(number, _)| i64::from(*number) >= offset);
        }
        state.polling += 1;
        state.polling
    });
    let conflict = |description: &str| Err((409, format!("Conflict: {description}"), None));
    if shared.look(|state| !state.webhook.is_empty()) {
        return conflict("can't use getUpdates method while webhook is active; use deleteWebhook first");
    }
    let most = usize::try_from(params["limit"].as_u64().unwrap_or(100)).unwrap_or(100).min(100);
    let until = tokio::time::Instant::now() + Duration::from_secs(params["timeout"].as_u64().unwrap_or(0));
    let mut changes = shared.changes.subscribe();
    loop {
        changes.borrow_and_update();
        let (newest, found) = shared.look(|state| {
            let found: Vec<Value> =
                state.updates.iter().take(most).map(|(_, update)| update.clone()).collect();
            (state.polling, found)
        });
        if newest != mine {
            return conflict(
                "terminated by other getUpdates request; make sure that only one bot instance is running",
            );
        }
        if !found.is_empty() || tokio::time::timeout_at(until, changes.changed()).await.is_err() {
            return Ok(json!(found));
        }
    }
}
