//! Files that come with a message.
//!
//! A message with a file is an event of its own, `files_received`, so that no
//! rule fires as if the file were not there. What cannot be handed on is refused
//! in words, and nothing is started; the refusal is a row like any other message.
//! A changed caption is no new task: what the message began has begun.

use connector_contract::OutboundError;
use connector_engine::inbox::session_of;
use connector_ledger::LedgerError;
use connector_surface::attachments::{recognised, size};
use connector_surface::text::one_line;
use connector_telegram::ApiError;
use connector_telegram::api::PATIENCE;
use connector_telegram::config::Files;
use connector_telegram::frankenstein::methods::GetFileParams;
use connector_telegram::update::{Attachment, Kind, Received};
use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{NAME, Telegram, actor, locked};

impl Telegram {
    /// Deals with a message that has a file.
    pub(super) async fn received_file(
        &self,
        received: &Received,
        file: &Attachment,
    ) -> Result<(), LedgerError> {
        match self.taken_in(received, file).await {
            Ok(content) => {
                let mut received = received.clone();
                received.payload["files"] = json!([content]);
                let mut reply = None;
                if let Some(answered) = received.reply_to {
                    let (chat, by) = (received.chat.to_string(), actor(received.user));
                    let look = move |tx: &connector_ledger::Tx<'_>| {
                        session_of(tx, (NAME, &chat), &answered.to_string(), &by)
                    };
                    reply = self.engine()?.ledger().read(look).await?;
                }
                self.store(&received, "files_received", reply).await.map(|_| ())
            }
            Err(reason) => {
                tracing::info!(chat = %received.chat, reason, "a file is refused");
                // Whoever did not speak to the bot is not answered.
                if received.chat.is_private() || received.command.is_some() || received.reply_to.is_some() {
                    let mut event = self.event(received, "files_refused", None);
                    if let Some(album) = &file.album {
                        // Each of it is a message of its own; it is refused once.
                        event.platform_id = format!("album {album} of {} files_refused", received.chat);
                    }
                    let text = format!("{reason}. nothing was started");
                    self.engine()?.submit_refused(event, text).await?;
                }
                Ok(())
            }
        }
    }

    async fn taken_in(&self, received: &Received, file: &Attachment) -> Result<Value, String> {
        let Some(files) = &self.0.settings.files else {
            return Err("files are not taken here; write it as text".to_owned());
        };
        if received.kind == Kind::Forwarded {
            return Err("files of forwarded messages are not taken; send it yourself".to_owned());
        }
        if file.album.is_some() {
            return Err("files that are sent together are not taken; send one at a time".to_owned());
        }
        if received.text.trim().is_empty() {
            return Err("the file's caption has to say what is to be done".to_owned());
        }
        if received.reply_to.is_some_and(|message| self.is_ask(received, message)) {
            return Err("the agent's question is answered in words; a file is not taken there".to_owned());
        }
        let content = self.fetched(file, files).await?;
        let kind = recognised(&content).filter(|kind| files.types.iter().any(|it| it == kind));
        let Some(kind) = kind else {
            let types = files.types.join(", ");
            return Err(format!("{} is none of the types that are taken here ({types})", name(file)));
        };
        Ok(json!({ "name": file.name, "mime": kind, "data": BASE64.encode(&content) }))
    }

    async fn fetched(&self, file: &Attachment, files: &Files) -> Result<bytes::Bytes, String> {
        let Some(id) = &file.file_id else {
            return Err(format!("a {} cannot be handed to the agent", file.kind));
        };
        let most = files.max_bytes;
        let too_big = || format!("{} is too big; at most {} are taken here", name(file), size(most));
        if file.size.is_some_and(|size| size > most as u64) {
            return Err(too_big());
        }
        let Ok(_turn) = self.0.fetches.acquire().await else {
            return Err("the host stops".to_owned());
        };
        let fetch = async {
            let found = self.0.api.call(&GetFileParams::builder().file_id(id).build()).await?;
            let path = found.file_path.ok_or(ApiError::Unreadable { what: "file's path" })?;
            self.0.api.download(&path, most).await
        };
        match tokio::time::timeout(PATIENCE, fetch).await.unwrap_or(Err(ApiError::TimedOut)) {
            Ok(content) => Ok(content),
            Err(ApiError::Network(OutboundError::BodyTooLong { .. })) => Err(too_big()),
            Err(error) => {
                tracing::warn!(reason = connector_contract::chain(&error), "a file was not fetched");
                Err(format!("{} could not be fetched from Telegram; send it again", name(file)))
            }
        }
    }

    fn is_ask(&self, received: &Received, message: i32) -> bool {
        let open = locked(&self.0.asks.open);
        open.values().any(|shown| shown.is_at(received.chat, message))
    }
}

fn name(file: &Attachment) -> String {
    one_line(&file.name)
}
