//! A turn's outcome in the contract's words, and its output.

use connector_contract::{ActionResult, ConnectorError, Reference, StopCause};
use tokio::time::Instant;

use super::Call;
use crate::config::FILES_BYTES;
use crate::drive::history;
use crate::ids::{MessageId, SessionId};
use crate::output::{FileChange, Tokens, TurnOutput, cap_files, cap_patch, cap_reply, cap_response};
use crate::turn::{Early, NotStarted, TurnOutcome};
use crate::wire::{Changes, Cut, Failure, FailureKind, Head, History, Message, Prompt};

pub(super) fn reference(session: &SessionId, message: &MessageId) -> Reference {
    Reference { session_id: Some(session.to_string()), message_id: Some(message.to_string()) }
}

impl Call<'_> {
    pub(super) async fn report(
        &self,
        outcome: TurnOutcome,
        steps: &[Head],
        prompt: &Prompt,
    ) -> Result<ActionResult, ConnectorError> {
        let reference = reference(&prompt.session, &prompt.message);
        match outcome {
            TurnOutcome::Completed(message) => Ok(self.result(None, &message, steps, prompt).await),
            TurnOutcome::EndedEarly { last, why } => Ok(self.result(Some(why), &last, steps, prompt).await),
            TurnOutcome::Failed(failure) => {
                Err(ConnectorError::Failed { reason: words(&failure, prompt), reference })
            }
            TurnOutcome::Stopped { cause, confirmed, began, note } => Err(ConnectorError::Stopped {
                cause,
                reason: stop_words(confirmed, began, note, cause),
                reference,
            }),
            TurnOutcome::Unknown { reason } => Err(ConnectorError::OutcomeUnknown { reason, reference }),
            TurnOutcome::NotStarted(NotStarted::Unauthorized) => {
                Err(self.unauthorized(self.link.dialect.password_variable()))
            }
            TurnOutcome::NotStarted(NotStarted::Refused(failure)) => {
                Err(ConnectorError::Refused { reason: words(&failure, prompt) })
            }
            TurnOutcome::NotStarted(NotStarted::Unexplained(status)) => Err(self.unexplained(status)),
            TurnOutcome::NotStarted(NotStarted::Unavailable(reason)) => {
                Err(ConnectorError::Unavailable { reason, source: None })
            }
        }
    }

    /// The daemon does not say why it fails; it may not be able to work in the directory.
    fn unexplained(&self, status: u16) -> ConnectorError {
        let origin = &self.shared.settings.origin;
        let mut reason =
            format!("the daemon at {origin} answered {status} to the prompt and has nothing of it");
        if let Some(directory) = &self.shared.settings.directory {
            reason = format!("{reason}; check that the directory {directory} exists where it runs");
        }
        ConnectorError::Unavailable { reason, source: None }
    }

    /// The result of a turn that `early` ended, or that said its last word.
    async fn result(
        &self,
        early: Option<Early>,
        last: &Message,
        steps: &[Head],
        prompt: &Prompt,
    ) -> ActionResult {
        let mut output = self.output(last, steps, prompt).await;
        if early.is_some() {
            // Why it stopped is said already.
            output.remark = None;
        }
        let success = early.is_none();
        let mut message = match (early, output.files.len() + output.files_left_out) {
            (Some(early), _) => ended_early(early).to_owned(),
            // The daemon does not compare everything.
            (None, 0) => "done; no file is known to have changed".to_owned(),
            (None, 1) => "done; 1 file changed".to_owned(),
            (None, count) => format!("done; {count} files changed"),
        };
        if let Some(remark) = &output.remark {
            message = format!("{message}; {remark}");
        }
        ActionResult { success, output: serde_json::to_value(output).unwrap_or_default(), message }
    }

    /// Gathers the output. What cannot be read any more is left out; the outcome
    /// is decided already and does not change.
    async fn output(&self, last: &Message, seen: &[Head], prompt: &Prompt) -> TurnOutput {
        let record = history(&self.link, &prompt.session, &prompt.message).await;
        let mut record = record.unwrap_or_else(|error| {
            tracing::warn!(session = %prompt.session, %error, "the turn's messages cannot be read again");
            History::default()
        });
        if record.steps.is_empty() {
            record.steps.push(last.clone());
        }
        let (reply, remark) = said(&record);
        let History { steps, prompts, .. } = record;
        let touched = touched(&steps, &directory(last));
        let changes = self.all_changes(prompt, &prompts, !touched.is_empty()).await;
        let (cost, tokens) = spent(last, &steps, seen);
        let limits = &self.shared.settings.limits;
        let files = if changes.files.is_empty() { touched } else { changes.files };
        let (files, files_left_out) = cap_files(files, FILES_BYTES);
        TurnOutput {
            session_id: prompt.session.to_string(),
            reply: cap_reply(reply, limits.response_bytes),
            remark: remark.map(str::to_owned),
            response: cap_response(last.raw.clone(), limits.response_bytes),
            message_id: prompt.message.to_string(),
            files,
            files_left_out,
            patch: cap_patch(changes.patch, limits.patch_bytes),
            cost,
            tokens,
            duration_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The daemon keeps what changed by the message that it answered: the turn's
    /// own, and those that it added.
    async fn all_changes(&self, prompt: &Prompt, prompts: &[String], touched: bool) -> Changes {
        let added: Vec<MessageId> = prompts
            .iter()
            .filter(|id| *id != prompt.message.as_str())
            .filter_map(|id| MessageId::parse(id).ok())
            .collect();
        let mut all = self.changes(prompt, &prompt.message, touched && added.is_empty()).await;
        for message in &added {
            all.add(self.changes(prompt, message, false).await);
        }
        all
    }

    /// The daemon works out the changes after the turn's end: when its own record
    /// says that files were touched, an empty answer is asked again for a while.
    async fn changes(&self, prompt: &Prompt, message: &MessageId, touched: bool) -> Changes {
        let dialect = &self.link.dialect;
        let until = Instant::now() + self.shared.timing.reason;
        let mut pause = self.shared.timing.poll_min;
        loop {
            let body = self.link.fetch(dialect.changes(&prompt.session, message)).await;
            match body.and_then(|body| Ok(dialect.read_changes(&body)?)) {
                Ok(changes) if changes.files.is_empty() && touched && Instant::now() < until => {}
                Ok(changes) => return changes,
                Err(error) => {
                    tracing::warn!(session = %prompt.session, %error, "the turn's changes cannot be read");
                    return Changes::default();
                }
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}

/// The agent's words, message after message, and what is to be known about them.
fn said(record: &History) -> (String, Option<&'static str>) {
    let spoken: Vec<&Message> = record.spoken().collect();
    let texts: Vec<&str> = spoken.iter().map(|step| step.text.as_str()).filter(|it| !it.is_empty()).collect();
    let remark = spoken.last().and_then(|last| match last.cut {
        Some(Cut::Length) => Some("the answer was cut off: the model reached the longest it may give"),
        Some(Cut::Filter) => Some("the model's provider refused the answer (content filter)"),
        None if !last.text.is_empty() => None,
        None if !texts.is_empty() => Some("the agent ended without a last word"),
        None if spoken.iter().any(|step| step.reasoned) => {
            Some("the agent said nothing: it only thought about it")
        }
        None => Some("the agent said nothing"),
    });
    (texts.join("\n\n"), remark)
}

/// The sum over the turn's messages, each counted once, as known last.
fn spent(last: &Message, steps: &[Message], seen: &[Head]) -> (f64, Tokens) {
    let mut heads: Vec<&Head> = steps.iter().map(|step| &step.head).collect();
    for head in std::iter::once(&last.head).chain(seen) {
        if !heads.iter().any(|it| it.id == head.id) {
            heads.push(head);
        }
    }
    heads.into_iter().fold((0.0, Tokens::default()), |(cost, mut tokens), head| {
        tokens += head.tokens;
        (cost + head.cost, tokens)
    })
}

/// The directory that the daemon says a message's tools ran in.
fn directory(message: &Message) -> String {
    let cwd = message.raw["info"]["path"]["cwd"].as_str().unwrap_or_default();
    format!("{}/", cwd.trim_end_matches('/'))
}

/// The files that the messages themselves name, each once.
fn touched(steps: &[Message], directory: &str) -> Vec<FileChange> {
    let mut files: Vec<FileChange> = Vec::new();
    for file in steps.iter().flat_map(|step| &step.touched) {
        let path = file.path.strip_prefix(directory).unwrap_or(&file.path);
        if !files.iter().any(|it| it.path == path) {
            files.push(FileChange { path: path.to_owned(), ..file.clone() });
        }
    }
    files
}

fn ended_early(why: Early) -> &'static str {
    match why {
        Early::Refused => "the turn ended without a reply: a request of the agent's was refused",
        Early::Declined => "the turn ended without a reply: a question of the agent's was not answered",
        Early::Unsaid => "the agent stopped after a tool, without a last word",
    }
}

fn words(failure: &Failure, prompt: &Prompt) -> String {
    if failure.kind == FailureKind::UnknownModel {
        return format!(
            "{} (session {} remembers it; the next turn names a model that works)",
            failure.reason, prompt.session
        );
    }
    failure.reason.clone()
}

pub(super) fn stop_words(confirmed: bool, began: bool, note: Option<String>, cause: StopCause) -> String {
    let mut text = match (began, confirmed) {
        (false, _) => "nothing was sent to the agent".to_owned(),
        (true, true) => "the agent has stopped; what it did until then remains".to_owned(),
        (true, false) => "the daemon did not confirm the stop; the agent may still be running".to_owned(),
    };
    if let (Some(note), StopCause::NoProgress | StopCause::Deadline) = (note, cause) {
        text = format!("{text}; the model's provider kept failing: {note}");
    }
    text
}
