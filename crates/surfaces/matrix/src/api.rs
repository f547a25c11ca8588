//! The homeserver: a call in, its answer or an error that says what to do.
//!
//! Requests are values made by pure functions; answers are read here once. Nothing is retried here
//! but by [`persist`], for calls with a transaction id.

mod error;
mod persist;
mod request;

use std::time::Duration;

use bytes::Bytes;
use connector_contract::{Origin, OutboundError, OutboundHttp};
use http::{HeaderMap, Method, Request, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

pub use error::ApiError;
pub use persist::{GaveUp, persist};
use request::Call;
pub(crate) use request::TIMELINE;

use crate::id::{EventId, RoomId, UserId};
use crate::token::AccessToken;
use crate::update::Answer;

/// How long a call may take, besides the time that one for what is new is held.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long the answer may take that is about all rooms.
const LONG: Duration = Duration::from_mins(2);

/// The longest answer that is read.
const ANSWER: usize = 64 << 20;

/// What servers say to a place that they do not know; Synapse the first.
const LOST: [&str; 3] = ["M_UNKNOWN", "M_INVALID_PARAM", "M_UNKNOWN_POS"];

/// One homeserver, for one user. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api {
    http: OutboundHttp,
    origin: Origin,
    token: AccessToken,
}

/// A stretch of a room's events, the oldest first.
#[derive(Debug, Deserialize)]
pub struct Page {
    /// The events.
    pub chunk: Vec<Box<RawValue>>,
    /// Where it goes on; nothing at the end.
    pub end: Option<String>,
}

impl Api {
    /// The homeserver at `origin`, which `http` must have been granted.
    pub fn new(http: OutboundHttp, origin: Origin, token: AccessToken) -> Self {
        Self { http, origin, token }
    }

    /// Whose token it is.
    pub async fn whoami(&self) -> Result<UserId, ApiError> {
        let answer = self.call(Call::get(&["account", "whoami"])).await?;
        text(&answer, "user_id")?.parse().map_err(|_| ApiError::Unreadable { what: "user_id" })
    }

    /// What is new since a place, held for `hold` when there is nothing; without a place, how everything stands. With at most so many events of each room.
    pub async fn sync(
        &self,
        since: Option<&str>,
        hold: Duration,
        timeline: usize,
    ) -> Result<Answer, ApiError> {
        match self.exchange(Call::sync(since, hold, timeline), hold + PATIENCE).await {
            Ok(answer) => read(&answer),
            Err(ApiError::Network(OutboundError::BodyTooLong { .. })) => Err(ApiError::TooLong),
            // There is no code of its own for it, and nothing else of the request varies.
            Err(ApiError::Refused { code, .. }) if since.is_some() && LOST.contains(&code.as_str()) => {
                Err(ApiError::LostPlace)
            }
            Err(error) => Err(error),
        }
    }

    /// How all rooms stand: the invitations, and of the rooms that the bot is in those that are encrypted or replaced.
    /// `held` is of [`distinct`], and the same for each try.
    pub async fn standing(&self, held: Duration) -> Result<Answer, ApiError> {
        read(&self.exchange(Call::standing(held), LONG).await?)
    }

    /// Sends an event. The same transaction id again is the same event.
    pub async fn send(
        &self,
        room: &RoomId,
        kind: &str,
        transaction: &str,
        content: &Value,
    ) -> Result<EventId, ApiError> {
        let segments = ["rooms", room.as_str(), "send", kind, transaction];
        event_id(&self.call(Call::at(Method::PUT, &segments).json(content)).await?)
    }

    /// Takes back what an event says. The same transaction id again is the same redaction.
    pub async fn redact(
        &self,
        room: &RoomId,
        event: &EventId,
        transaction: &str,
        reason: &str,
    ) -> Result<EventId, ApiError> {
        let segments = ["rooms", room.as_str(), "redact", event.as_str(), transaction];
        event_id(&self.call(Call::at(Method::PUT, &segments).json(&json!({ "reason": reason }))).await?)
    }

    /// Keeps a text file on the server; its address. Doing it again keeps another.
    pub async fn upload(&self, name: &str, content: Bytes) -> Result<String, ApiError> {
        text(&self.call(Call::upload(name, content)).await?, "content_uri")
    }

    /// An event of a room; nothing where the server will not give it, whatever it or a proxy before it says to that.
    pub async fn event(&self, room: &RoomId, event: &EventId) -> Result<Option<Box<RawValue>>, ApiError> {
        match self.call(Call::get(&["rooms", room.as_str(), "event", event.as_str()])).await {
            Ok(answer) => Ok(read(&answer).ok()),
            Err(error) if error.is_passing() || matches!(error, ApiError::LoggedOut) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Whether the server answers at all: what fails meanwhile fails for a reason of its own.
    pub(crate) async fn is_up(&self) -> bool {
        self.call(Call::get(&["account", "whoami"])).await.is_ok()
    }

    /// Makes a private room without encryption, with an invitation to `other`, whose clients show it as a conversation of two.
    pub async fn create_direct(&self, other: &UserId, name: &str) -> Result<RoomId, ApiError> {
        let room = json!({
            "preset": "private_chat", "is_direct": true, "invite": [other.as_str()], "name": name,
        });
        let answer = self.call(Call::at(Method::POST, &["createRoom"]).json(&room)).await?;
        text(&answer, "room_id")?.parse().map_err(|_| ApiError::Unreadable { what: "room_id" })
    }

    /// The rooms that the user is in.
    pub async fn joined_rooms(&self) -> Result<Vec<RoomId>, ApiError> {
        let answer: Joined = read(&self.call(Call::get(&["joined_rooms"])).await?)?;
        Ok(answer.joined_rooms)
    }

    /// Whether the server knows a user at all; `true` where it does not say.
    pub async fn knows(&self, user: &UserId) -> Result<bool, ApiError> {
        match self.call(Call::get(&["profile", user.as_str()])).await {
            Err(ApiError::NotFound { .. }) => Ok(false),
            // So says Synapse of a user that it never had.
            Err(ApiError::Refused { code, .. }) if code == "M_UNKNOWN" => Ok(false),
            Err(error) if error.is_passing() || matches!(error, ApiError::LoggedOut) => Err(error),
            _ => Ok(true),
        }
    }

    /// Ends the session of this token, which is none afterwards.
    pub async fn logout(&self) -> Result<(), ApiError> {
        self.call(Call::at(Method::POST, &["logout"]).json(&json!({}))).await.map(drop)
    }

    /// Joins a room; one that it is in already is fine.
    pub async fn join(&self, room: &RoomId) -> Result<(), ApiError> {
        self.call(Call::at(Method::POST, &["join", room.as_str()]).json(&json!({}))).await.map(drop)
    }

    /// Leaves a room, or turns down its invitation.
    pub async fn leave(&self, room: &RoomId) -> Result<(), ApiError> {
        let call = Call::at(Method::POST, &["rooms", room.as_str(), "leave"]);
        self.call(call.json(&json!({}))).await.map(drop)
    }

    /// Who is in a room, or invited to it, as the room writes them.
    pub async fn members(&self, room: &RoomId) -> Result<Vec<String>, ApiError> {
        let call = Call::get(&["rooms", room.as_str(), "members"]).query(&[("not_membership", "leave")]);
        let answer: Members = read(&self.call(call).await?)?;
        let here = |member: &Member| matches!(member.content.membership.as_str(), "join" | "invite");
        Ok(answer.chunk.into_iter().filter(here).map(|it| it.state_key).collect())
    }

    /// A state of a room that has an empty key, if it is set.
    pub async fn state(&self, room: &RoomId, kind: &str) -> Result<Option<Value>, ApiError> {
        match self.call(Call::state(room, kind)).await {
            Err(ApiError::NotFound { .. }) => Ok(None),
            answer => read(&answer?).map(Some),
        }
    }

    /// Events of a room from one place on to another, as many as come at once.
    pub async fn messages(&self, room: &RoomId, from: &str, to: &str) -> Result<Page, ApiError> {
        read(&self.call(Call::messages(room, from, to)).await?)
    }

    async fn call(&self, call: Call) -> Result<Bytes, ApiError> {
        self.exchange(call, PATIENCE).await
    }

    async fn exchange(&self, call: Call, patience: Duration) -> Result<Bytes, ApiError> {
        let request = request(&self.origin, &self.token, call)?;
        let exchange = async {
            let response = self.http.send(request).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            Ok::<_, ApiError>((status, headers, response.bytes(ANSWER).await?))
        };
        let (status, headers, body) =
            tokio::time::timeout(patience, exchange).await.map_err(|_| ApiError::TimedOut)??;
        if status.is_success() { Ok(body) } else { Err(refused(status, &headers, &self.token, &body)) }
    }
}

/// A time to hold a request for that is not held, which makes it another than those before: Synapse answers the same one from
/// memory for two minutes.
pub(crate) fn distinct() -> Duration {
    let mut random = [0_u8; 2];
    // One that is not random is answered as it was before.
    let _ = getrandom::fill(&mut random);
    Duration::from_millis(u64::from(u16::from_le_bytes(random)))
}

#[derive(Deserialize)]
struct Joined {
    joined_rooms: Vec<RoomId>,
}

#[derive(Deserialize)]
struct Members {
    chunk: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    state_key: String,
    content: Membership,
}

#[derive(Deserialize)]
struct Membership {
    membership: String,
}

fn read<T: DeserializeOwned>(answer: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(answer).map_err(|_| ApiError::Unreadable { what: "answer" })
}

/// A text of an answer.
fn text(answer: &Bytes, key: &'static str) -> Result<String, ApiError> {
    let answer: Value = read(answer)?;
    answer[key].as_str().map(str::to_owned).ok_or(ApiError::Unreadable { what: key })
}

fn event_id(answer: &Bytes) -> Result<EventId, ApiError> {
    text(answer, "event_id")?.parse().map_err(|_| ApiError::Unreadable { what: "event_id" })
}

fn request(origin: &Origin, token: &AccessToken, call: Call) -> Result<Request<Bytes>, ApiError> {
    let unreadable = ApiError::Unreadable { what: "request" };
    let Ok(bearer) = token.header() else { return Err(unreadable) };
    let request = Request::builder().method(call.method).uri(format!("{origin}{}", call.path));
    let request =
        request.header(header::CONTENT_TYPE, call.content_type).header(header::AUTHORIZATION, bearer);
    request.body(call.body).map_err(|_| unreadable)
}

fn refused(status: StatusCode, headers: &HeaderMap, token: &AccessToken, body: &[u8]) -> ApiError {
    let mut refusal: error::Refusal = serde_json::from_slice(body).unwrap_or_default();
    refusal.error = token.redact(&refusal.error);
    refusal.errcode = token.redact(&refusal.errcode);
    ApiError::from_refusal(status, headers, refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> AccessToken {
        AccessToken::new("SECRETSECRET".into()).unwrap()
    }

    #[test]
    fn the_token_is_in_its_header_alone() {
        let origin: Origin = "http://127.0.0.1:1".parse().unwrap();
        let request = request(&origin, &token(), Call::get(&["account", "whoami"])).unwrap();
        assert_eq!(request.uri().to_string(), "http://127.0.0.1:1/_matrix/client/v3/account/whoami");
        assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer SECRETSECRET");
        assert!(!format!("{request:?}").contains("SECRET"));
    }

    #[test]
    fn no_refusal_shows_the_token() {
        let body = br#"{"errcode":"M_SECRETSECRET","error":"no SECRETSECRET here"}"#;
        let error = refused(StatusCode::BAD_REQUEST, &HeaderMap::new(), &token(), body);
        assert!(!format!("{error:?} {error}").contains("SECRETSECRET"), "{error:?}");
    }
}
