//! The section of a host's configuration that is about Matrix.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use connector_contract::{ConnectorError, Grant, Origin, OutboundHttp, Reach};
use globset::{Glob, GlobSet, GlobSetBuilder};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;

use crate::api::Api;
use crate::id::{ChatKey, RoomId, UserId};
use crate::token::AccessToken;

/// Configuration as it is written; [`Config::check`] makes [`Settings`] of it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Origin of the homeserver, such as `https://matrix.example.org`.
    pub homeserver: String,
    /// Allows a homeserver on another machine.
    pub allow_remote: bool,
    /// The bot's user id, such as `@bot:example.org`.
    pub user: String,
    /// The bot's access token.
    #[schemars(with = "String", extend("x-secret" = true))]
    pub access_token: SecretString,
    /// How long a request for what is new is held when there is nothing, in seconds.
    #[schemars(range(min = 1, max = 60))]
    pub sync_timeout: u64,
    /// User ids of those who may write to the bot in a room of their own with it. Empty means nobody.
    pub allow_users: Vec<String>,
    /// Ids of rooms whose members may write to the bot. Empty means none.
    pub allow_rooms: Vec<String>,
    /// Who is not heard in those rooms, as patterns of user ids with `*`: bots, and those who stand for people of other
    /// networks, whom a bridge vouches for and not their homeserver. The default is what bridges call them. Who is among
    /// `allow_users` is heard nevertheless.
    pub ignore_users: Vec<String>,
}

/// What bridges call those who stand for people of other networks, and themselves.
const BRIDGED: [&str; 21] = [
    "@_*",
    "@bluesky_*",
    "@discord_*",
    "@facebook_*",
    "@gmessages_*",
    "@googlechat_*",
    "@gvoice_*",
    "@hangouts_*",
    "@imessage_*",
    "@instagram_*",
    "@irc_*",
    "@linkedin_*",
    "@mattermost_*",
    "@meta_*",
    "@signal_*",
    "@slack_*",
    "@telegram_*",
    "@twitter_*",
    "@whatsapp_*",
    "@xmpp_*",
    "@zulip_*",
];

impl Default for Config {
    fn default() -> Self {
        Self {
            homeserver: String::new(),
            allow_remote: false,
            user: String::new(),
            access_token: SecretString::default(),
            sync_timeout: 30,
            allow_users: Vec::new(),
            allow_rooms: Vec::new(),
            ignore_users: BRIDGED.map(str::to_owned).to_vec(),
        }
    }
}

/// Whose events come in, and where the bot speaks. Empty means nobody's and nowhere.
#[derive(Debug, Clone, Default)]
pub struct Allow {
    /// Who may write to the bot in a room of their own with it.
    pub users: BTreeSet<UserId>,
    /// The rooms whose members may write to it.
    pub rooms: BTreeSet<RoomId>,
    /// Who is not heard there unless named.
    pub ignored: GlobSet,
}

impl Allow {
    /// Whether a chat is in one of the rooms that are named; otherwise what is wrong.
    pub fn names(&self, chat: &str) -> Result<(), String> {
        let ChatKey { room, .. } = chat.parse().map_err(|error| format!("{error}"))?;
        if self.rooms.contains(&room) { Ok(()) } else { Err(format!("`allow_rooms` has no {room}")) }
    }

    /// Whether what somebody does in a room comes in. In a room of the bot and one other the person counts, in another
    /// the room does: a person's own permission must not carry what the agent says into a room of strangers.
    pub fn admits(&self, room: &RoomId, is_private: bool, user: &UserId) -> bool {
        let named = self.users.contains(user);
        let in_room = self.rooms.contains(room) && (named || !self.ignored.is_match(user.as_str()));
        in_room || (named && is_private)
    }
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the homeserver is.
    pub origin: Origin,
    /// How far the bot's requests may go.
    pub reach: Reach,
    /// The bot.
    pub user: UserId,
    /// Its access token.
    pub token: AccessToken,
    /// How long a request for what is new is held.
    pub sync_timeout: Duration,
    /// Whose events come in.
    pub allow: Allow,
}

fn invalid(reason: impl Into<String>) -> ConnectorError {
    ConnectorError::InvalidConfig { reason: reason.into() }
}

fn parsed<T: FromStr<Err: Display>>(key: &str, text: &str) -> Result<T, ConnectorError> {
    text.parse().map_err(|error| invalid(format!("`{key}`: {error}")))
}

fn all<T: FromStr<Err: Display> + Ord>(key: &str, texts: &[String]) -> Result<BTreeSet<T>, ConnectorError> {
    texts.iter().map(|text| parsed(key, text)).collect()
}

fn globs(key: &str, patterns: &[String]) -> Result<GlobSet, ConnectorError> {
    let wrong = |error: globset::Error| invalid(format!("`{key}`: {error}"));
    let mut all = GlobSetBuilder::new();
    for pattern in patterns {
        all.add(Glob::new(pattern).map_err(wrong)?);
    }
    all.build().map_err(wrong)
}

impl Config {
    /// Checks everything that can be checked without I/O.
    pub fn check(self) -> Result<Settings, ConnectorError> {
        let allow = self.allow()?;
        let token = AccessToken::new(self.access_token)
            .map_err(|error| invalid(format!("`access_token`: {error}")))?;
        let origin = origin(&self.homeserver, self.allow_remote)?;
        if !(1..=60).contains(&self.sync_timeout) {
            return Err(invalid("`sync_timeout` takes 1 to 60"));
        }
        Ok(Settings {
            reach: if origin.is_loopback() { Reach::Loopback } else { Reach::Remote },
            origin,
            user: parsed("user", &self.user)?,
            token,
            sync_timeout: Duration::from_secs(self.sync_timeout),
            allow,
        })
    }

    /// Whose events come in, and where the bot speaks.
    pub fn allow(&self) -> Result<Allow, ConnectorError> {
        Ok(Allow {
            users: all("allow_users", &self.allow_users)?,
            rooms: all("allow_rooms", &self.allow_rooms)?,
            ignored: globs("ignore_users", &self.ignore_users)?,
        })
    }
}

/// The homeserver's origin, if a token may be sent there.
pub(crate) fn origin(homeserver: &str, allow_remote: bool) -> Result<Origin, ConnectorError> {
    let origin: Origin = parsed("homeserver", homeserver)?;
    if !origin.is_confidential() {
        return Err(invalid(format!("`homeserver`: {origin} would carry the token unencrypted; use https")));
    }
    if !(origin.is_loopback() || allow_remote) {
        return Err(invalid(format!(
            "`homeserver`: {origin} is not on this machine; set `allow_remote = true`"
        )));
    }
    Ok(origin)
}

impl Settings {
    /// The homeserver over a way out of its own, to its origin alone.
    pub fn api(&self) -> Result<Api, ConnectorError> {
        Ok(Api::new(way_out(&self.origin, self.reach)?, self.origin.clone(), self.token.clone()))
    }
}

/// A way out to one origin.
pub(crate) fn way_out(origin: &Origin, reach: Reach) -> Result<OutboundHttp, ConnectorError> {
    let denied = |reason: String| ConnectorError::CapabilityDenied { reason };
    let grant = Grant::new(origin.clone(), reach).map_err(|error| denied(error.to_string()))?;
    OutboundHttp::new([grant]).map_err(|source| ConnectorError::Unavailable {
        reason: "no way out".to_owned(),
        source: Some(source),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(more: impl Into<Value>) -> Result<Settings, String> {
        let more: Value = more.into();
        let mut config = json!({
            "homeserver": "http://127.0.0.1:8008", "user": "@bot:example.org", "access_token": "SECRETSECRET",
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let config: Config = serde_json::from_value(config).map_err(|error| error.to_string())?;
        config.check().map_err(|error| connector_contract::chain(&error))
    }

    #[test]
    fn this_machine_needs_no_second_key_and_another_does() {
        assert_eq!(check(json!({})).unwrap().reach, Reach::Loopback);
        assert!(check(json!({ "homeserver": "https://m.example" })).unwrap_err().contains("allow_remote"));
        let remote = check(json!({ "homeserver": "https://m.example", "allow_remote": true }));
        assert_eq!(remote.unwrap().reach, Reach::Remote);
    }

    #[test]
    fn what_cannot_work_or_is_not_safe_is_refused_and_the_token_never_shown() {
        for (wrong, named) in [
            (json!({ "access_token": "SECRET two" }), "access_token"),
            (json!({ "homeserver": "http://m.example", "allow_remote": true }), "https"),
            (json!({ "homeserver": "" }), "homeserver"),
            (json!({ "user": "bot" }), "user"),
            (json!({ "user": "@bot" }), "@anna:example.org"),
            (json!({ "allow_users": ["anna"] }), "allow_users"),
            (json!({ "allow_rooms": ["#room:example.org"] }), "allow_rooms"),
            (json!({ "ignore_users": ["@[a"] }), "ignore_users"),
            (json!({ "sync_timeout": 0 }), "sync_timeout"),
            (json!({ "sync_timeout": 61 }), "sync_timeout"),
            (json!({ "approver": 5 }), "approver"),
        ] {
            let error = check(wrong.clone()).unwrap_err();
            assert!(error.contains(named) && !error.contains("SECRET"), "{wrong}: {error}");
        }
    }

    #[test]
    fn nobody_is_allowed_by_default_and_who_is_bridged_only_by_name() {
        let allow = check(json!({})).unwrap().allow;
        assert!(allow.users.is_empty() && allow.rooms.is_empty());
        let config = json!({ "allow_rooms": ["!r"], "allow_users": ["@telegram_1:x"] });
        let allow = check(config).unwrap().allow;
        let room: RoomId = "!r".parse().unwrap();
        for (user, heard) in [
            ("@anna:x", true),
            ("@_irc_b:x", false),
            ("@telegram_2:x", false),
            ("@whatsapp_491234:x", false),
            ("@abbot:x", true),
            ("@telegram_1:x", true),
        ] {
            assert_eq!(allow.admits(&room, false, &user.parse().unwrap()), heard, "{user}");
        }
    }
}
