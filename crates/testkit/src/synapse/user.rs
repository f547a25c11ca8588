//! A person with a client, as the tests play one.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use connector_contract::{OutboundError, OutboundHttp};
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{Method, Request, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sha1::Sha1;

use super::config::REGISTRATION_SECRET;

/// The password of everybody.
pub(super) const PASSWORD: &str = "a password for tests";

const ANSWER: usize = 64 << 20;

/// What the server refused, or that it was not reached.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Its status and what it says.
    #[error("{status} {body}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The answer.
        body: Value,
    },
    /// It was not reached.
    #[error("it cannot be reached")]
    Outbound(#[from] OutboundError),
    /// Its answer lacks what the specification says is in it.
    #[error("no `{key}` in {body}")]
    Unreadable {
        /// What is missing.
        key: &'static str,
        /// The answer.
        body: Value,
    },
    /// The test asked for what is no request.
    #[error("not a request")]
    Request(#[from] http::Error),
}

/// A user who is logged in.
#[derive(Debug)]
pub struct User {
    /// The user's id, such as `@anna:synapse.test`.
    pub id: String,
    /// The token of the user's first device.
    pub token: SecretString,
    http: OutboundHttp,
    base: String,
    transaction: AtomicU64,
}

impl User {
    /// The password of everybody.
    pub const PASSWORD: &'static str = PASSWORD;

    pub(super) async fn register(http: OutboundHttp, base: String, name: &str) -> Result<Self, Refusal> {
        Self::registered(http, base, (name, false)).await
    }

    /// Who may do what the server's owner does.
    pub(super) async fn register_admin(
        http: OutboundHttp,
        base: String,
        name: &str,
    ) -> Result<Self, Refusal> {
        Self::registered(http, base, (name, true)).await
    }

    async fn registered(
        http: OutboundHttp,
        base: String,
        (name, admin): (&str, bool),
    ) -> Result<Self, Refusal> {
        let (id, token, transaction) = (String::new(), SecretString::default(), AtomicU64::default());
        let mut user = Self { id, token, http, base, transaction };
        let path = "/_synapse/admin/v1/register";
        let nonce = text(&user.call(Method::GET, path, None).await?, "nonce")?;
        let mac = signed(&[&nonce, name, PASSWORD, if admin { "admin" } else { "notadmin" }]);
        let body = json!({
            "nonce": nonce, "username": name, "password": PASSWORD, "admin": admin, "mac": mac,
        });
        let registered = user.call(Method::POST, path, Some(&body)).await?;
        user.id = text(&registered, "user_id")?;
        user.token = text(&registered, "access_token")?.into();
        Ok(user)
    }

    /// Takes the limit of messages from a user.
    pub(super) async fn lift_limit(&self, user: &str) -> Result<(), Refusal> {
        let path = format!("/_synapse/admin/v1/users/{}/override_ratelimit", encoded(user));
        let none = json!({ "messages_per_second": 0, "burst_count": 0 });
        self.call(Method::POST, &path, Some(&none)).await.map(drop)
    }

    /// Where the server is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Calls the server; `path` is percent-encoded.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Refusal> {
        let (status, body) = self.exchange(method, path, body).await?;
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if status.is_success() { Ok(body) } else { Err(Refusal::Status { status: status.as_u16(), body }) }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), Refusal> {
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if !self.token.expose_secret().is_empty() {
            let bearer = format!("Bearer {}", self.token.expose_secret());
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let response = self.http.send(request.body(bytes)?).await?;
        Ok((response.status(), response.bytes(ANSWER).await?))
    }

    /// Makes a room as `createRoom` takes it; returns its id.
    pub async fn create_room(&self, room: &Value) -> Result<String, Refusal> {
        text(&self.call(Method::POST, "/_matrix/client/v3/createRoom", Some(room)).await?, "room_id")
    }

    /// Makes a room for two and invites `other` to it.
    pub async fn direct(&self, other: &str) -> Result<String, Refusal> {
        let room = json!({ "preset": "private_chat", "is_direct": true, "invite": [other] });
        self.create_room(&room).await
    }

    /// Posts below `/rooms/ROOM/`, such as `invite`, `kick`, `join` or `upgrade`.
    pub async fn post(&self, room: &str, what: &str, body: &Value) -> Result<Value, Refusal> {
        let path = format!("/_matrix/client/v3/rooms/{}/{what}", encoded(room));
        self.call(Method::POST, &path, Some(body)).await
    }

    /// Sends an event; returns its id.
    pub async fn send(&self, room: &str, kind: &str, content: &Value) -> Result<String, Refusal> {
        let number = self.transaction.fetch_add(1, Ordering::Relaxed);
        let path = format!("/_matrix/client/v3/rooms/{}/send/{kind}/user-{number}", encoded(room));
        text(&self.call(Method::PUT, &path, Some(content)).await?, "event_id")
    }

    /// Says a text; returns its event's id.
    pub async fn say(&self, room: &str, words: &str) -> Result<String, Refusal> {
        self.send(room, "m.room.message", &json!({ "msgtype": "m.text", "body": words })).await
    }

    /// Reacts to an event; returns the reaction's id.
    pub async fn react(&self, room: &str, event: &str, key: &str) -> Result<String, Refusal> {
        let relation = json!({ "rel_type": "m.annotation", "event_id": event, "key": key });
        self.send(room, "m.reaction", &json!({ "m.relates_to": relation })).await
    }

    /// Redacts an event; returns the redaction's id.
    pub async fn redact(&self, room: &str, event: &str) -> Result<String, Refusal> {
        let number = self.transaction.fetch_add(1, Ordering::Relaxed);
        let (room, event) = (encoded(room), encoded(event));
        let path = format!("/_matrix/client/v3/rooms/{room}/redact/{event}/user-{number}");
        text(&self.call(Method::PUT, &path, Some(&json!({}))).await?, "event_id")
    }

    /// What a file says that is kept at `mxc://…`.
    pub async fn file(&self, url: &str) -> Result<String, Refusal> {
        let path = format!("/_matrix/client/v1/media/download/{}", url.trim_start_matches("mxc://"));
        let (status, body) = self.exchange(Method::GET, &path, None).await?;
        let text = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() {
            Ok(text)
        } else {
            Err(Refusal::Status { status: status.as_u16(), body: text.into() })
        }
    }

    /// An event of a room.
    pub async fn event(&self, room: &str, event: &str) -> Result<Value, Refusal> {
        let path = format!("/_matrix/client/v3/rooms/{}/event/{}", encoded(room), encoded(event));
        self.call(Method::GET, &path, None).await
    }

    /// Who is in a room.
    pub async fn members(&self, room: &str) -> Result<Vec<String>, Refusal> {
        let path = format!("/_matrix/client/v3/rooms/{}/joined_members", encoded(room));
        let answer = self.call(Method::GET, &path, None).await?;
        Ok(answer["joined"].as_object().map(|it| it.keys().cloned().collect()).unwrap_or_default())
    }

    /// Sets a state of a room, with an empty key.
    pub async fn set_state(&self, room: &str, kind: &str, content: &Value) -> Result<Value, Refusal> {
        let path = format!("/_matrix/client/v3/rooms/{}/state/{kind}/", encoded(room));
        self.call(Method::PUT, &path, Some(content)).await
    }

    /// All messages of a room from its beginning, as the user sees them.
    pub async fn messages(&self, room: &str) -> Result<Vec<Value>, Refusal> {
        let mut found = Vec::new();
        self.events(room, None, |event| found.extend((event["type"] == "m.room.message").then_some(event)))
            .await?;
        Ok(found)
    }

    /// Reads the events of a room from a place on, or from its beginning; the place after them.
    pub async fn events(
        &self,
        room: &str,
        from: Option<String>,
        mut read: impl FnMut(Value),
    ) -> Result<Option<String>, Refusal> {
        let mut place = from;
        loop {
            let from = place.as_ref().map_or(String::new(), |from| format!("&from={}", encoded(from)));
            let path = format!("/_matrix/client/v3/rooms/{}/messages?dir=f&limit=500{from}", encoded(room));
            let mut page = self.call(Method::GET, &path, None).await?;
            let Value::Array(chunk) = page["chunk"].take() else { return Ok(place) };
            let is_last = chunk.is_empty();
            chunk.into_iter().for_each(&mut read);
            match page["end"].as_str() {
                Some(end) if !is_last => place = Some(end.to_owned()),
                _ => return Ok(place),
            }
        }
    }
}

fn text(answer: &Value, key: &'static str) -> Result<String, Refusal> {
    let text = answer[key].as_str().map(str::to_owned);
    text.ok_or_else(|| Refusal::Unreadable { key, body: answer.clone() })
}

fn encoded(segment: &str) -> String {
    utf8_percent_encode(segment, NON_ALPHANUMERIC).to_string()
}

/// What proves that whoever registers knows the secret.
fn signed(parts: &[&str]) -> String {
    // A key of any length is one.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(REGISTRATION_SECRET.as_bytes()) else {
        return String::new();
    };
    mac.update(parts.join("\0").as_bytes());
    HEXLOWER.encode(&mac.finalize().into_bytes())
}
