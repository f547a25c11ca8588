//! Examining an account: whose token it is, and in which rooms it can read and speak.

use crate::api::ApiError;
use crate::config::Settings;
use crate::id::{RoomId, UserId};
use crate::rooms::Rooms;

/// How many rooms are looked at.
const MOST: usize = 50;

/// What a look at the homeserver finds of the account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examined {
    /// The rooms in which it can read, and is let speak.
    pub open: Vec<RoomId>,
    /// The rooms that are encrypted: it reads nothing there.
    pub encrypted: Vec<RoomId>,
    /// How many others it is in, where the configuration does not let it speak.
    pub others: usize,
    /// How many were not looked at.
    pub unseen: usize,
}

/// Error of examining an account.
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    /// Report: the token is somebody else's.
    #[error("`access_token` is {found}'s, and `user` says {user}")]
    Another {
        /// Whose it is.
        found: UserId,
        /// The user who is configured.
        user: UserId,
    },
    /// As the homeserver says.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Report: there is no way out.
    #[error(transparent)]
    Config(#[from] connector_contract::ConnectorError),
}

/// Looks at the account. Changes nothing there.
pub async fn examine(settings: &Settings) -> Result<Examined, ExamineError> {
    let api = settings.api()?;
    let (found, user) = (api.whoami().await?, settings.user.clone());
    if found != user {
        return Err(ExamineError::Another { found, user });
    }
    let rooms = Rooms::new(api.clone(), user, settings.allow.clone());
    let joined = api.joined_rooms().await?;
    let mut examined = Examined { unseen: joined.len().saturating_sub(MOST), ..Examined::default() };
    for room in joined.into_iter().take(MOST) {
        if api.state(&room, "m.room.encryption").await?.is_some() {
            examined.encrypted.push(room);
        } else if rooms.may_speak(&room).await? {
            examined.open.push(room);
        } else {
            examined.others += 1;
        }
    }
    Ok(examined)
}
