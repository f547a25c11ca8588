//! A homeserver before anybody is logged in: where it is, whether it is one, and a login with a password.
//!
//! A password is in the body of one request and nowhere else: what a server says to it is read by its code alone, since
//! its words could repeat what was sent.

use std::time::Duration;

use bytes::Bytes;
use connector_contract::{ConnectorError, Origin, OutboundError, OutboundHttp, Reach};
use http::{Method, Request, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::{Api, ApiError};
use crate::config;
use crate::id::UserId;
use crate::token::AccessToken;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest answer that is read.
const ANSWER: usize = 1 << 20;

/// What the login is called in the list of the user's devices.
pub const DEVICE: &str = "connector-host";

/// Error of finding a homeserver, or of logging in there.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Name another: it cannot be called at all.
    #[error(transparent)]
    Config(#[from] ConnectorError),
    /// Name another, or start it.
    #[error("there is no homeserver at {origin}: it cannot be reached")]
    Unreachable {
        /// Where it was looked for.
        origin: Origin,
        /// Why.
        #[source]
        source: OutboundError,
    },
    /// Name another, or try again later.
    #[error("{origin} does not answer in time")]
    TimedOut {
        /// Where it was looked for.
        origin: Origin,
    },
    /// Name another: something else answers there.
    #[error("what answers at {origin} is no homeserver of Matrix (status {status})")]
    NoHomeserver {
        /// Where it was looked for.
        origin: Origin,
        /// The HTTP status.
        status: u16,
    },
    /// Name it: the server of a user's id does not say where it is.
    #[error("{origin} does not say which homeserver is that of {user}; name it with --homeserver")]
    NotSaid {
        /// The server of the user's id.
        origin: Origin,
        /// The user.
        user: UserId,
    },
    /// Use a token: passwords are not taken.
    #[error("the homeserver takes no passwords; give it an access token of the bot")]
    NoPasswords,
    /// Put one of the three right.
    #[error(
        "the homeserver at {origin} lets nobody in as {user} with this password: the password is another, or {user} is no user there"
    )]
    Refused {
        /// The homeserver.
        origin: Origin,
        /// Who would be logged in.
        user: UserId,
    },
    /// As the homeserver says.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl LoginError {
    /// Whether the user may be logged in all the same, as a device that nobody has the token of.
    pub fn may_have_logged_in(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => !source.nothing_sent(),
            Self::TimedOut { .. } => true,
            Self::Api(error) => !error.nothing_done(),
            _ => false,
        }
    }
}

/// Session of a user who was logged in.
#[derive(Debug)]
pub struct Session {
    /// Who it is.
    pub user: UserId,
    /// The token of this device.
    pub token: AccessToken,
}

/// Homeserver that nobody is logged in at. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Homeserver {
    http: OutboundHttp,
    origin: Origin,
}

impl Homeserver {
    /// The homeserver at this origin, such as `https://matrix.example.org`, on this machine or another. Nothing is called.
    pub fn at(origin: &str) -> Result<Self, LoginError> {
        let origin = config::origin(origin, true)?;
        let reach = if origin.is_loopback() { Reach::Loopback } else { Reach::Remote };
        Ok(Self { http: config::way_out(&origin, reach)?, origin })
    }

    /// The homeserver of a user, as the server in the user's id says it in `/.well-known/matrix/client`.
    pub async fn of(user: &UserId) -> Result<Self, LoginError> {
        let server = Self::at(&named_by(user))?;
        let not_said = || LoginError::NotSaid { origin: server.origin.clone(), user: user.clone() };
        let (status, answer) = match server.call(Method::GET, "/.well-known/matrix/client", None).await {
            Err(LoginError::Unreachable { .. } | LoginError::TimedOut { .. }) => return Err(not_said()),
            answered => answered?,
        };
        let told: WellKnown = serde_json::from_slice(&answer).map_err(|_| not_said())?;
        if status != StatusCode::OK {
            return Err(not_said());
        }
        let named = Self::at(told.homeserver.base_url.trim_end_matches('/'))?;
        // What listens on this machine is nobody's to name from another.
        if named.origin.is_loopback() && !server.origin.is_loopback() { Err(not_said()) } else { Ok(named) }
    }

    /// Where it is.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Its client with this token.
    pub fn api(&self, token: AccessToken) -> Api {
        Api::new(self.http.clone(), self.origin.clone(), token)
    }

    /// Whether it is one at all.
    pub async fn check(&self) -> Result<(), LoginError> {
        let (status, answer) = self.call(Method::GET, "/_matrix/client/versions", None).await?;
        let is_one = serde_json::from_slice(&answer).is_ok_and(|it: Versions| !it.versions.is_empty());
        let origin = self.origin.clone();
        let status = status.as_u16();
        if is_one { Ok(()) } else { Err(LoginError::NoHomeserver { origin, status }) }
    }

    /// Logs a user in as a device of its own, once.
    pub async fn login(&self, user: &UserId, password: &SecretString) -> Result<Session, LoginError> {
        let (_, flows) = self.call(Method::GET, LOGIN, None).await?;
        let flows: Flows = serde_json::from_slice(&flows).unwrap_or_default();
        if !flows.flows.iter().any(|flow| flow.kind == "m.login.password") {
            return Err(LoginError::NoPasswords);
        }
        let (status, answer) = self.call(Method::POST, LOGIN, Some(&request(user, password))).await?;
        if status == StatusCode::FORBIDDEN {
            return Err(LoginError::Refused { origin: self.origin.clone(), user: user.clone() });
        }
        if !status.is_success() {
            return Err(ApiError::without_words(status, &answer).into());
        }
        let unreadable = |what| ApiError::Unreadable { what };
        let told: LoggedIn = serde_json::from_slice(&answer).map_err(|_| unreadable("answer"))?;
        let token = AccessToken::new(told.access_token).map_err(|_| unreadable("access_token"))?;
        Ok(Session { user: told.user_id, token })
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), LoginError> {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.origin));
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        let request = request.map_err(|_| ApiError::Unreadable { what: "request" })?;
        let exchange = async {
            let response = self.http.send(request).await?;
            Ok::<_, OutboundError>((response.status(), response.bytes(ANSWER).await?))
        };
        let origin = self.origin.clone();
        match tokio::time::timeout(PATIENCE, exchange).await {
            Err(_) => Err(LoginError::TimedOut { origin }),
            Ok(answered) => answered.map_err(|source| LoginError::Unreachable { origin, source }),
        }
    }
}

const LOGIN: &str = "/_matrix/client/v3/login";

/// The origin at which the server in a user's id says where its homeserver is: by HTTPS and without the port, but for a
/// server of this machine, which has no certificate.
fn named_by(user: &UserId) -> String {
    let server = user.server();
    let plain = format!("http://{server}");
    let is_loopback = |origin: &Origin| origin.is_loopback();
    match plain.parse::<Origin>() {
        Ok(origin) if is_loopback(&origin) => plain,
        Ok(origin) => format!("https://{}", origin.host()),
        Err(_) => format!("https://{server}"),
    }
}

fn request(user: &UserId, password: &SecretString) -> Value {
    json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": user.as_str() },
        "password": password.expose_secret(),
        "initial_device_display_name": DEVICE,
    })
}

#[derive(Deserialize)]
struct WellKnown {
    #[serde(rename = "m.homeserver")]
    homeserver: Place,
}

#[derive(Deserialize)]
struct Place {
    base_url: String,
}

#[derive(Deserialize)]
struct Versions {
    versions: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Flows {
    flows: Vec<Flow>,
}

#[derive(Deserialize)]
struct Flow {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct LoggedIn {
    user_id: UserId,
    access_token: SecretString,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_server_is_asked_by_https_at_its_usual_port_and_this_machine_as_it_is_named() {
        for (user, origin) in [
            ("@bot:example.org", "https://example.org"),
            ("@bot:example.org:8448", "https://example.org"),
            ("@bot:127.0.0.1:81", "http://127.0.0.1:81"),
            ("@bot:localhost:81", "http://localhost:81"),
            ("@bot:[::1]:81", "http://[::1]:81"),
            ("@bot:192.0.2.1", "https://192.0.2.1"),
        ] {
            assert_eq!(named_by(&user.parse().unwrap()), origin, "{user}");
        }
    }

    #[test]
    fn a_password_is_in_the_request_and_in_nothing_that_is_printed() {
        let (user, password) = ("@bot:example.org".parse().unwrap(), SecretString::from("hunter2"));
        assert_eq!(request(&user, &password)["password"], "hunter2");
        let words = br#"{"errcode":"M_UNKNOWN","error":"hunter2 is no password"}"#;
        let error = ApiError::without_words(StatusCode::BAD_REQUEST, words);
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
        let session = Session { user, token: AccessToken::new("SECRETSECRET".into()).unwrap() };
        assert!(!format!("{session:?}").contains("SECRET"));
    }

    #[test]
    fn a_homeserver_elsewhere_is_called_by_https_alone() {
        assert!(Homeserver::at("https://matrix.example.org").is_ok());
        assert!(Homeserver::at("http://127.0.0.1:8008").is_ok());
        for wrong in ["http://matrix.example.org", "matrix.example.org", "", "https://example.org/_matrix"] {
            assert!(Homeserver::at(wrong).is_err(), "{wrong}");
        }
    }
}
