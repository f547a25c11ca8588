//! `send`: a message to the host from the command line.

use super::{Common, caller};
use crate::console;
use crate::exit::{Exit, Failure};
use crate::headless;
use crate::ledger::events;

/// `send`
#[derive(Debug, clap::Args)]
pub(super) struct Send {
    /// The message, such as "/fix the failing test"
    text: String,
    /// The connector whose message it is, as rules name it
    #[arg(long = "as", value_name = "NAME", default_value = "connector-console")]
    connector: String,
    /// The message's own id: the same id twice is one message
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

impl Send {
    pub(super) async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let id = match self.id {
            Some(id) => id,
            None => crate::engine::unique()?,
        };
        let mut event = console::message(&self.connector, id, &self.text, None);
        headless::NAME.clone_into(&mut event.surface);
        event.requester = caller();
        let stored = common.existing_ledger()?.write(move |tx| events::store(tx, &event)).await?;
        common.print(&stored, |stored| match stored {
            Some(id) => format!("event {id}; a running host takes it from here, see `runs list`"),
            None => "that message was there already".to_owned(),
        })?;
        Ok(Exit::Done)
    }
}
