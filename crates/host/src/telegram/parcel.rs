//! What was sent of a parcel: in the ledger from the moment it was, so that no
//! end of the host makes it be sent again, and a reply to it is understood.

use connector_gate::ids::StepId;
use connector_ledger::LedgerError;
use connector_ledger::messages::{self, NewMessage};
use connector_surface::DeliveryError;
use connector_telegram::{ApiError, ChatKey};

use super::{NAME, Telegram};

/// What is sent where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parcel {
    pub(super) chat: ChatKey,
    /// Its row in the outbox, if it has one.
    pub(super) id: Option<i64>,
    /// The step it is about.
    pub(super) step: Option<StepId>,
}

/// Why something is not on the screen.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsent {
    #[error(transparent)]
    Api(#[from] ApiError),
    /// What was sent already cannot be looked up.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("it takes more than {0} messages to be read here")]
    TooLong(usize),
}

impl Unsent {
    /// Whether it may do better later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Api(error) => error.is_passing(),
            Self::Ledger(_) => true,
            Self::TooLong(_) => false,
        }
    }
}

impl From<Unsent> for DeliveryError {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::Api(ApiError::Migrated { to }) => Self::Moved { to: to.to_string() },
            unsent => Self::Later(connector_contract::chain(&unsent)),
        }
    }
}

impl Telegram {
    /// The messages of a part that were sent already; 0 is one that Telegram did not take.
    pub(super) async fn sent(&self, parcel: Parcel, part: &str) -> Result<Vec<i32>, LedgerError> {
        let Some(id) = parcel.id else { return Ok(Vec::new()) };
        let part = part.to_owned();
        let sent = self.engine()?.ledger().read(move |tx| messages::of_part(tx, id, &part)).await?;
        Ok(sent.iter().map(|message| message.parse().unwrap_or(0)).collect())
    }

    /// Records that a message was sent, if anybody will look for it. That it was sent counts more
    /// than that it is known.
    pub(super) async fn record(&self, parcel: Parcel, part: &str, message: i32) {
        if parcel.id.is_none() && parcel.step.is_none() {
            return;
        }
        let new = NewMessage {
            surface: NAME.to_owned(),
            chat: parcel.chat.to_string(),
            surface_ref: if message == 0 { String::new() } else { message.to_string() },
            step: parcel.step,
            parcel: parcel.id,
            part: part.to_owned(),
        };
        let recorded = match self.engine() {
            Ok(engine) => engine.ledger().write(move |tx| messages::put(tx, &new)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = recorded {
            let reason = connector_contract::chain(&error);
            tracing::error!(chat = %parcel.chat, message, reason, "a message was sent and is not recorded");
        }
    }

    /// The message that shows a step.
    pub(super) async fn message_of(&self, chat: ChatKey, step: StepId) -> Result<Option<i32>, LedgerError> {
        self.last_of(chat, step, messages::CARD).await
    }

    /// The newest message that is this part of what a chat was told of a step.
    pub(super) async fn last_of(
        &self,
        chat: ChatKey,
        step: StepId,
        part: &str,
    ) -> Result<Option<i32>, LedgerError> {
        let (at, part) = (chat.to_string(), part.to_owned());
        let found =
            self.engine()?.ledger().read(move |tx| messages::last_of(tx, NAME, &at, step, &part)).await?;
        Ok(found.and_then(|message| message.parse().ok()))
    }
}
