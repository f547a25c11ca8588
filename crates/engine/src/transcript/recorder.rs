//! What is written of a step while it runs.

use std::fs::File;
use std::io::{self, Write as _};

use connector_contract::Progress;
use connector_gate::ask::Asked;
use connector_gate::clock::Millis;
use connector_gate::ids::StepId;
use connector_surface::attachments::without_content;
use serde_json::Value;

use super::{Heard, Line, MOST, REST, Transcripts};

/// How much of the end of a text is looked for where the text grew and was cut at its head, in bytes.
const OVERLAP: usize = 256;

/// Writes the transcript of one call.
pub(crate) struct Recorder {
    transcripts: Transcripts,
    step: StepId,
    /// What stands before the first line of a call that says anything: others have no transcript.
    beginning: Option<Vec<Line>>,
    file: Option<(File, u64)>,
    speech: Speech,
}

/// How a call begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Begins<'a> {
    /// With this input.
    With(&'a Value),
    /// It goes on where an earlier host left it.
    Again,
}

/// The text of a reply as it grows.
#[derive(Debug, Default)]
struct Speech {
    /// What was not written yet.
    pending: String,
    /// What was written last.
    said: String,
}

impl Recorder {
    /// Begins with what the step was given, or goes on.
    pub(crate) fn new(transcripts: Transcripts, step: StepId, begins: Begins<'_>, at: Millis) -> Self {
        let first = match begins {
            Begins::With(input) => {
                transcripts.forget(step);
                Heard::Given { input: without_content(input) }
            }
            Begins::Again => Heard::Resumed,
        };
        let beginning = Some(vec![Line { at, step, heard: first }]);
        Self { transcripts, step, beginning, file: None, speech: Speech::default() }
    }

    /// An update came.
    pub(crate) fn hear(&mut self, at: Millis, progress: &Progress) {
        for heard in self.speech.hear(progress) {
            self.write(at, heard);
        }
    }

    /// The agent asks.
    pub(crate) fn ask(&mut self, at: Millis, ask: i64, asked: &Asked) {
        let before = self.speech.flush();
        for heard in before.into_iter().chain([Heard::Asked { ask, text: asked.in_a_line() }]) {
            self.write(at, heard);
        }
    }

    /// The call ended; its reply is written where it was not heard.
    pub(crate) fn end(&mut self, at: Millis, state: &str, reason: Option<&str>, reply: Option<&str>) {
        for heard in self.speech.end(reply.unwrap_or_default()) {
            self.write(at, heard);
        }
        if self.beginning.is_none() {
            self.write(at, Heard::Ended { state: state.to_owned(), reason: reason.map(str::to_owned) });
        }
    }

    fn write(&mut self, at: Millis, heard: Heard) {
        let mut lines = Vec::new();
        if let Some(beginning) = self.beginning.take() {
            lines = beginning;
            match self.transcripts.open(self.step) {
                Ok(file) => self.file = Some(file),
                Err(error) => tracing::warn!(step = %self.step, %error, "no transcript is kept"),
            }
        }
        lines.push(Line { at, step: self.step, heard });
        for line in lines {
            if let Err(error) = self.append(line) {
                tracing::warn!(step = %self.step, %error, "no more of a transcript is kept");
                self.file = None;
            }
        }
    }

    fn append(&mut self, mut line: Line) -> io::Result<()> {
        let Some((file, length)) = &mut self.file else { return Ok(()) };
        let room = |length: u64, line: &[u8]| length + line.len() as u64 <= MOST - REST;
        let ends = matches!(line.heard, Heard::Ended { .. } | Heard::Resumed);
        let mut text = encoded(&self.transcripts, &line)?;
        if !ends && !room(*length, &text) {
            if *length > MOST - REST {
                return Ok(());
            }
            line.heard = Heard::Cut;
            text = encoded(&self.transcripts, &line)?;
            // Nothing more has room from here on.
            *length = MOST - REST + 1;
        } else if ends && text.len() as u64 > REST / 2 {
            return Ok(());
        } else {
            *length += text.len() as u64;
        }
        file.write_all(&text)
    }
}

/// A line, without the secrets that are known here. What was torn by an end of the machine stays a line of its own.
fn encoded(transcripts: &Transcripts, line: &Line) -> io::Result<Vec<u8>> {
    let mut value = serde_json::to_value(line)?;
    redact(transcripts, &mut value);
    let mut text = serde_json::to_vec(&value)?;
    text.push(b'\n');
    if matches!(line.heard, Heard::Resumed) {
        text.insert(0, b'\n');
    }
    Ok(text)
}

fn redact(transcripts: &Transcripts, value: &mut Value) {
    match value {
        Value::String(text) => *text = transcripts.redactor.text(text),
        Value::Array(items) => items.iter_mut().for_each(|item| redact(transcripts, item)),
        Value::Object(fields) => fields.values_mut().for_each(|field| redact(transcripts, field)),
        _ => {}
    }
}

impl Speech {
    /// What is to be written now.
    fn hear(&mut self, progress: &Progress) -> Vec<Heard> {
        let heard = match progress.clone() {
            Progress::Text { so_far } => return self.grow(&so_far).into_iter().collect(),
            Progress::ToolStarted { call_id, tool, title } => Heard::ToolStarted { call_id, tool, title },
            Progress::ToolFinished { call_id, tool, title, outcome } => {
                Heard::ToolFinished { call_id, tool, title, outcome }
            }
            Progress::Todo { items } => Heard::Todo { items },
            Progress::SubAgentStarted { session_id, title } => Heard::SubAgent { session_id, title },
            Progress::Retry { attempt, reason, .. } => Heard::Retry { attempt, reason },
            Progress::Queued { .. }
            | Progress::Waiting { .. }
            | Progress::Started { .. }
            | Progress::Connection { .. } => return Vec::new(),
        };
        self.flush().into_iter().chain([heard]).collect()
    }

    /// The text is now this: more of the same, or another, before which the one until now is written.
    fn grow(&mut self, new: &str) -> Option<Heard> {
        if new.starts_with(&self.pending) {
            new.clone_into(&mut self.pending);
            return None;
        }
        // It is long, and was cut at its head.
        if let Some(more) = beyond(&self.pending, new) {
            self.pending.push_str(more);
            return None;
        }
        let before = self.flush();
        new.clone_into(&mut self.pending);
        before
    }

    fn flush(&mut self) -> Option<Heard> {
        if self.pending.trim().is_empty() {
            return None;
        }
        self.said = std::mem::take(&mut self.pending);
        Some(Heard::Message { text: self.said.clone() })
    }

    fn end(&mut self, reply: &str) -> Vec<Heard> {
        let (reply, pending) = (reply.trim_end(), self.pending.trim());
        // The end of a reply may not have been heard: then it is the whole that is written.
        if !pending.is_empty() && reply.starts_with(self.pending.trim_end()) {
            reply.clone_into(&mut self.pending);
            return self.flush().into_iter().collect();
        }
        let before = self.flush();
        let unheard = !reply.trim().is_empty() && !self.said.trim_end().ends_with(reply);
        before.into_iter().chain(unheard.then(|| Heard::Message { text: reply.to_owned() })).collect()
    }
}

/// What `new` has behind the end of `old`, of which it lacks the beginning.
fn beyond<'n>(old: &str, new: &'n str) -> Option<&'n str> {
    let tail = &old[old.ceil_char_boundary(old.len().checked_sub(OVERLAP)?)..];
    new.rfind(tail).map(|at| &new[at + tail.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector_files::Redactor;

    fn text(so_far: &str) -> Progress {
        Progress::Text { so_far: so_far.to_owned() }
    }

    fn tool() -> Progress {
        let (call_id, tool, title) = ("c".to_owned(), "bash".to_owned(), "ls".to_owned());
        Progress::ToolStarted { call_id, tool, title }
    }

    fn said(updates: &[Progress], reply: &str) -> Vec<String> {
        let mut speech = Speech::default();
        let mut heard: Vec<Heard> = updates.iter().flat_map(|update| speech.hear(update)).collect();
        heard.extend(speech.end(reply));
        let words = |heard: Heard| match heard {
            Heard::Message { text } => text,
            Heard::ToolStarted { tool, .. } => format!("[{tool}]"),
            other => format!("{other:?}"),
        };
        heard.into_iter().map(words).collect()
    }

    fn hiding(password: &str) -> Redactor {
        let mut redactor = Redactor::default();
        redactor.add_password("opencode", password);
        redactor
    }

    #[test]
    fn a_text_that_grows_is_written_once_and_whole_before_what_follows_it() {
        let cases: [(&[Progress], &str, &[&str]); 8] = [
            (&[text("I"), text("I look")], "I look", &["I look"]),
            (&[text("I"), text("I look"), tool(), text("Done")], "Done.", &["I look", "[bash]", "Done."]),
            (&[text("one"), text("two")], "two", &["one", "two"]),
            (&[text("one"), tool(), text("one, two")], "one, two", &["one", "[bash]", "one, two"]),
            (&[text("Hi."), tool(), text("H"), text("Hi.")], "Hi.", &["Hi.", "[bash]", "Hi."]),
            (&[tool()], "", &["[bash]"]),
            (&[], "only the end", &["only the end"]),
            (&[text("  ")], "", &[]),
        ];
        for (updates, reply, lines) in cases {
            assert_eq!(said(updates, reply), lines, "{updates:?}");
        }
    }

    #[test]
    fn a_transcript_is_its_owners_alone_has_no_known_secret_and_a_size() {
        use std::os::unix::fs::PermissionsExt as _;
        let state = tempfile::tempdir().unwrap();
        let transcripts = Transcripts::new(state.path(), hiding("hunter2-hunter2"));
        let step: StepId = "3.1".parse().unwrap();
        let input = serde_json::json!({ "prompt": "say hunter2-hunter2" });
        let begin = |begins| Recorder::new(transcripts.clone(), step, begins, 1);
        // What says nothing has none.
        begin(Begins::With(&input)).end(2, "succeeded", None, None);
        assert!(!state.path().join(super::super::DIRECTORY).exists());
        let mut recorder = begin(Begins::With(&input));
        recorder.hear(2, &text("it is \"hunter2-hunter2\""));
        recorder.hear(3, &tool());
        drop(recorder);
        // Torn by an end of the machine, and gone on with.
        let path = transcripts.path(step);
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"at\":4,").unwrap();
        let mut recorder = begin(Begins::Again);
        for part in 0..40 {
            recorder.hear(5, &text(&format!("{part} {}", "x".repeat(60_000))));
            recorder.hear(5, &tool());
        }
        recorder.end(6, "failed", Some("hunter2-hunter2 is no model"), None);
        let kept = std::fs::read_to_string(&path).unwrap();
        assert!(!kept.contains("hunter2") && kept.matches("[redacted]").count() == 3, "{}", &kept[..400]);
        assert!(kept.len() as u64 <= MOST, "{}", kept.len());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let lines = transcripts.of_step(step).unwrap();
        let kinds: Vec<String> = lines
            .iter()
            .map(|line| serde_json::to_value(line).unwrap()["kind"].as_str().unwrap().into())
            .collect();
        assert_eq!(kinds[..5], ["given", "message", "tool_started", "resumed", "message"]);
        assert_eq!(kinds[kinds.len() - 2..], ["cut", "ended"]);
    }

    #[test]
    fn what_an_earlier_ledgers_step_of_the_same_name_said_is_gone_when_a_step_begins() {
        let state = tempfile::tempdir().unwrap();
        let transcripts = Transcripts::new(state.path(), Redactor::default());
        let step: StepId = "1.1".parse().unwrap();
        let said = |begins, words: &str| {
            let mut recorder = Recorder::new(transcripts.clone(), step, begins, 1);
            if !words.is_empty() {
                recorder.hear(2, &text(words));
            }
            recorder.end(3, "succeeded", None, None);
            std::fs::read_to_string(transcripts.path(step)).unwrap_or_default()
        };
        let input = serde_json::json!({});
        assert!(said(Begins::With(&input), "of another ledger").contains("of another ledger"));
        let goes_on = said(Begins::Again, "and so on");
        assert!(goes_on.contains("of another ledger") && goes_on.contains("and so on"), "{goes_on}");
        let anew = said(Begins::With(&input), "of this one");
        assert!(!anew.contains("of another ledger") && anew.contains("of this one"), "{anew}");
        assert_eq!(said(Begins::With(&input), ""), "", "also where the step says nothing");
    }

    #[test]
    fn what_an_agent_asks_is_written_without_known_secrets_behind_what_it_said() {
        let state = tempfile::tempdir().unwrap();
        let transcripts = Transcripts::new(state.path(), hiding("hunter2-hunter2"));
        let step: StepId = "1.1".parse().unwrap();
        let input = serde_json::json!({});
        let mut recorder = Recorder::new(transcripts.clone(), step, Begins::With(&input), 1);
        recorder.hear(2, &text("I look."));
        let asked = Asked::from_record(&serde_json::json!({
            "id": "a", "permission": "bash", "patterns": ["curl -u me:hunter2-hunter2 localhost"],
        }));
        recorder.ask(3, 7, &asked.unwrap());
        let lines = transcripts.of_step(step).unwrap();
        let heard: Vec<&Heard> = lines.iter().map(|line| &line.heard).collect();
        let text = "🔐 may the agent use bash? curl -u me:[redacted] localhost".to_owned();
        assert_eq!(heard[1..], [&Heard::Message { text: "I look.".into() }, &Heard::Asked { ask: 7, text }]);
    }

    #[test]
    fn of_a_long_text_that_is_shown_by_its_end_all_is_written() {
        let all = (0..4000).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
        let updates: Vec<Progress> =
            (1..=40).map(|part| text(&all[(part * 400_usize).saturating_sub(9_000)..part * 400])).collect();
        let heard = said(&updates, "");
        assert_eq!(heard, [&all[..16_000]]);
    }
}
