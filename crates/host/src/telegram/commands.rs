//! The menu of commands, and what is sent without being worth a row.

use std::time::Duration;

use connector_engine::commands;
use connector_ledger::LedgerError;
use connector_ledger::steps::StepRow;
use connector_telegram::ChatKey;
use connector_telegram::frankenstein::methods::SetMyCommandsParams;
use connector_telegram::frankenstein::types::BotCommand;
use connector_telegram::text::{MESSAGE, Styled};
use tokio::task::JoinHandle;

use super::send::Out;
use super::{Telegram, actor};

/// How often an answer is tried.
const TRIES: u32 = 3;

/// How long until an answer is tried again, the first time.
const AGAIN: Duration = Duration::from_secs(1);

impl Telegram {
    /// Puts the commands into Telegram's menu.
    pub(super) async fn register_commands(&self) {
        let menu = commands::MENU
            .map(|(name, does)| BotCommand::builder().command(name).description(does).build())
            .to_vec();
        if let Err(error) = self.0.api.call(&SetMyCommandsParams::builder().commands(menu).build()).await {
            tracing::warn!(reason = %error, "the menu of commands was not set");
        }
    }

    /// Stops a step whose button was tapped.
    pub(super) async fn abort_step(&self, row: &StepRow, user: u64) -> Result<String, LedgerError> {
        let by = actor(user);
        Ok(match commands::not_theirs(row, &by) {
            Some(refusal) => refusal,
            None => commands::stopped(row.id, self.engine()?.cancel(row.id, &by).await?),
        })
    }

    /// Sends a text that is not worth a row: tried a few times, with pauses, then left. The handle is of
    /// the task that does; dropping it changes nothing.
    pub(super) fn say(&self, chat: ChatKey, answers: Option<i32>, text: String) -> JoinHandle<()> {
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let styled = Styled::new().plain(&text);
            for piece in styled.split(MESSAGE) {
                for tries in 1..=TRIES {
                    match this.send(Out { chat, text: &piece, buttons: None, answers }).await {
                        Ok(_) => break,
                        Err(error) if error.is_passing() && tries < TRIES => {
                            tokio::time::sleep(AGAIN * tries).await;
                        }
                        Err(error) => {
                            tracing::warn!(%chat, reason = %error, "an answer was not sent");
                            break;
                        }
                    }
                }
            }
        })
    }
}
