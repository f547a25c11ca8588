//! The Bot API: a method in, its answer or an error that says what to do.
//!
//! Requests are values made by pure functions; the answer's envelope is read
//! here once. Nothing is retried: who calls knows whether a second message
//! would hurt.

mod error;
mod method;
mod upload;

use std::time::Duration;

use bytes::Bytes;
use connector_contract::{Origin, OutboundHttp};
use http::{Request, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

pub use error::ApiError;
pub use method::{GetMe, GetWebhookInfo, Method, Sent, WebhookInfo};
pub use upload::Document;

use crate::token::Token;

/// How long a method may take, besides `getUpdates`.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The longest answer that is read: a hundred updates are far smaller.
const ANSWER: usize = 16 << 20;

/// The Bot API at one origin, for one bot. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api {
    http: OutboundHttp,
    origin: Origin,
    token: Token,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    ok: bool,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

impl Api {
    /// The API at `origin`, which `http` must have been granted.
    pub fn new(http: OutboundHttp, origin: Origin, token: Token) -> Self {
        Self { http, origin, token }
    }

    /// The same bot over another way out.
    #[must_use]
    pub fn over(&self, http: OutboundHttp) -> Self {
        Self { http, ..self.clone() }
    }

    /// The bot's own user id.
    pub fn bot_id(&self) -> &str {
        self.token.bot_id()
    }

    /// Calls a method, and gives up after [`PATIENCE`].
    pub async fn call<M: Method>(&self, method: &M) -> Result<M::Answer, ApiError> {
        self.call_for(method, PATIENCE).await
    }

    /// Calls a method, and gives up after `patience`. Dropping the future closes
    /// the connection; the method may have been carried out.
    pub async fn call_for<M: Method>(&self, method: &M, patience: Duration) -> Result<M::Answer, ApiError> {
        let body = serde_json::to_vec(method).map_err(|_| ApiError::Unreadable { what: "request" })?;
        let request = self.request(M::NAME, "application/json", Bytes::from(body))?;
        self.send(request, patience).await
    }

    /// Sends a document from memory; returns the id of its message.
    pub async fn upload(&self, document: &Document) -> Result<i32, ApiError> {
        self.upload_as(document, false).await
    }

    /// Like [`upload`](Self::upload); `silent` rings no phone.
    pub async fn upload_as(&self, document: &Document, silent: bool) -> Result<i32, ApiError> {
        let (content_type, body) = document.encode(silent);
        let request = self.request("sendDocument", &content_type, body)?;
        let sent: Sent = self.send(request, PATIENCE).await?;
        Ok(sent.message_id)
    }

    /// Reads a file that `getFile` named, at most `limit` bytes of it.
    pub async fn download(&self, file: &str, limit: usize) -> Result<Bytes, ApiError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-.".contains(&byte);
        if file.contains("..") || !file.bytes().all(plain) {
            return Err(ApiError::Unreadable { what: "file's path" });
        }
        let request = self.get(&self.token.file_path(file))?;
        let fetch = async {
            let response = self.http.send(request).await?;
            let status = response.status();
            let bytes = response.bytes(limit).await?;
            if status.is_success() { Ok(bytes) } else { Err(ApiError::Server { status: status.as_u16() }) }
        };
        tokio::time::timeout(PATIENCE, fetch).await.unwrap_or(Err(ApiError::TimedOut))
    }

    fn get(&self, path: &str) -> Result<Request<Bytes>, ApiError> {
        let request = Request::get(format!("{}{path}", self.origin)).body(Bytes::new());
        request.map_err(|_| ApiError::Unreadable { what: "request" })
    }

    fn request(&self, method: &str, content_type: &str, body: Bytes) -> Result<Request<Bytes>, ApiError> {
        let uri = format!("{}{}", self.origin, self.token.path(method));
        let request = Request::post(uri).header(header::CONTENT_TYPE, content_type).body(body);
        request.map_err(|_| ApiError::Unreadable { what: "request" })
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: Request<Bytes>,
        patience: Duration,
    ) -> Result<T, ApiError> {
        let exchange = async {
            let response = self.http.send(request).await?;
            let status = response.status().as_u16();
            Ok::<_, ApiError>((status, response.bytes(ANSWER).await?))
        };
        let (status, body) =
            tokio::time::timeout(patience, exchange).await.map_err(|_| ApiError::TimedOut)??;
        self.read(status, &body)
    }

    fn read<T: DeserializeOwned>(&self, status: u16, body: &[u8]) -> Result<T, ApiError> {
        if let Ok(Envelope { ok: true, result: Some(result) }) = serde_json::from_slice(body) {
            let unreadable = |_| ApiError::Unreadable { what: "answer" };
            return serde_json::from_str(result.get()).map_err(unreadable);
        }
        match serde_json::from_slice::<error::Refusal>(body) {
            Ok(mut refusal) => {
                refusal.description = self.token.redact(&refusal.description);
                Err(ApiError::from_refusal(refusal))
            }
            Err(_) => Err(ApiError::Server { status }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector_contract::OutboundHttp;

    fn api() -> Api {
        let token = Token::new("42:SECRETSECRETSECRET".into()).unwrap();
        Api::new(OutboundHttp::new([]).unwrap(), "http://127.0.0.1:1".parse().unwrap(), token)
    }

    #[test]
    fn a_method_is_a_post_with_the_token_in_its_path_alone() {
        let request = api().request("getMe", "application/json", Bytes::new()).unwrap();
        assert_eq!(request.uri().path(), "/bot42:SECRETSECRETSECRET/getMe");
        assert_eq!(request.uri().query(), None);
        assert!(request.headers().values().all(|value| !value.to_str().unwrap().contains("SECRET")));
    }

    #[tokio::test]
    async fn no_error_shows_the_token() {
        let error = api().call(&GetMe {}).await.unwrap_err();
        let shown = format!("{error:?} {}", connector_contract::chain(&error));
        assert!(!shown.contains("SECRET"), "{shown}");
        let body = br#"{"ok":false,"error_code":400,"description":"no /bot42:SECRETSECRETSECRET/ here"}"#;
        let error = api().read::<bool>(400, body).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("SECRET"), "{error:?}");
    }

    #[test]
    fn an_answer_that_is_no_json_is_the_servers_fault() {
        let error = api().read::<bool>(502, b"<html>Bad Gateway</html>").unwrap_err();
        assert!(matches!(error, ApiError::Server { status: 502 }), "{error:?}");
    }
}
