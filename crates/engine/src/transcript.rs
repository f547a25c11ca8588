//! Transcripts: what the agent of a step said and did, as the host heard it.
//!
//! A file of the owner's alone for each step, `STATE/transcripts/RUN.INDEX.ndjson`: it holds text of other programs,
//! which is in no ledger. A line is written as it is heard, without the secrets that the host knows, up to a size;
//! files go with their runs, and a step that begins takes the place of one of an earlier ledger. What was answered to
//! asks is in the ledger, and stands among the lines when they are read.
//!
//! What it never does: hold a step up, or fail one. Where nothing can be written, nothing is kept, and the log says so.

mod recorder;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use connector_contract::{TodoItem, ToolOutcome};
use connector_files::{Redactor, owned};
use connector_gate::clock::{Millis, rfc3339};
use connector_gate::ids::{RunId, StepId};
use connector_gate::policy::Actor;
use connector_surface::text::{one_line, visible};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use connector_ledger::asks::AskRow;
use connector_ledger::{LedgerError, Tx, asks, runs, steps};

pub(crate) use recorder::{Begins, Recorder};

/// The directory's name in the state directory.
const DIRECTORY: &str = "transcripts";

/// How much of a step is kept, in bytes.
const MOST: u64 = 1 << 20;

/// What is kept for the last line of a transcript that was cut.
const REST: u64 = 8 << 10;

/// What stands for the text of an ask that was not written: in the ledger it has its secrets.
const UNKEPT: &str = "what it asked is not kept here";

/// The transcripts of one state directory. Cheap to clone.
#[derive(Clone)]
pub struct Transcripts {
    directory: PathBuf,
    redactor: Redactor,
}

/// A line of a transcript.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// When the host heard it.
    pub at: Millis,
    /// The step whose agent it is.
    pub step: StepId,
    /// What.
    #[serde(flatten)]
    pub heard: Heard,
}

/// What was heard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Heard {
    /// What the step was given; of files, what identifies them.
    Given {
        /// The input.
        input: Value,
    },
    /// The host was started again, and goes on with the step.
    Resumed,
    /// The agent said something, whole.
    Message {
        /// What.
        text: String,
    },
    /// It began to use a tool.
    ToolStarted {
        /// Pairs it with its end.
        call_id: String,
        /// Which.
        tool: String,
        /// What it is about: the command, the path.
        title: String,
    },
    /// The tool is done.
    ToolFinished {
        /// As when it began.
        call_id: String,
        /// Which.
        tool: String,
        /// What it was about.
        title: String,
        /// How it ended.
        #[schemars(with = "Value")]
        outcome: ToolOutcome,
    },
    /// Its list of what it means to do.
    Todo {
        /// Each with its state.
        #[schemars(with = "Vec<Value>")]
        items: Vec<TodoItem>,
    },
    /// It handed work to a sub-agent.
    SubAgent {
        /// The child session.
        session_id: String,
        /// Its title.
        title: String,
    },
    /// The model's provider failed, and is tried again.
    Retry {
        /// How often it failed.
        attempt: u64,
        /// Why.
        reason: String,
    },
    /// It asked something.
    Asked {
        /// The ask's number.
        ask: i64,
        /// What, in a line.
        text: String,
    },
    /// Nobody need answer that any more.
    AskClosed {
        /// The ask's number.
        ask: i64,
        /// How it was answered; nothing if it was withdrawn.
        answer: Option<String>,
        /// By whom.
        by: Option<Actor>,
    },
    /// There was more than is kept.
    Cut,
    /// The step ended; not written while it is still to be found out how.
    Ended {
        /// As what.
        state: String,
        /// Why, where that needs words.
        reason: Option<String>,
    },
}

impl Transcripts {
    /// Those of the state directory `state`, in which nothing is ever written that `redactor` knows.
    pub fn new(state: &Path, redactor: Redactor) -> Self {
        Self { directory: state.join(DIRECTORY), redactor }
    }

    fn path(&self, step: StepId) -> PathBuf {
        self.directory.join(format!("{step}.ndjson"))
    }

    /// The file of a step, to be appended to, and how long it is.
    fn open(&self, step: StepId) -> io::Result<(File, u64)> {
        owned::directory(&self.directory).map_err(io::Error::other)?;
        let file = owned::append(&self.path(step))?;
        let length = file.metadata()?.len();
        Ok((file, length))
    }

    /// Lets go of what an earlier ledger's step of this name said.
    pub(crate) fn forget(&self, step: StepId) {
        match std::fs::remove_file(self.path(step)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%step, %error, "the transcript of an earlier ledger's step stays");
            }
            _ => {}
        }
    }

    /// What is kept of a run, with what became of its agents' asks, in the order of time.
    pub fn of_run(&self, tx: &Tx<'_>, run: RunId) -> Result<Vec<Line>, LedgerError> {
        let mut lines = Vec::new();
        // A step that did not begin said nothing.
        for row in steps::of_run(tx, run)?.into_iter().filter(|row| row.dispatched_at.is_some()) {
            match self.of_step(row.id) {
                Ok(kept) => lines.extend(kept),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(step = %row.id, %error, "a transcript cannot be read"),
            }
        }
        for ask in asks::of_run(tx, run)? {
            let kept = |line: &Line| matches!(line.heard, Heard::Asked { ask: id, .. } if id == ask.id);
            let kept = lines.iter().any(kept);
            lines.extend(told(&ask, kept));
        }
        lines.sort_by_key(|line| line.at);
        Ok(lines)
    }

    /// A line that was not written whole, as when the machine stopped, is left out.
    fn of_step(&self, step: StepId) -> io::Result<Vec<Line>> {
        let mut bytes = Vec::new();
        owned::read(&self.path(step))?.take(MOST + 2 * REST).read_to_end(&mut bytes)?;
        Ok(bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    /// The files that there are now.
    pub fn kept(&self) -> Vec<PathBuf> {
        std::fs::read_dir(&self.directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }

    /// Lets go of those of `kept` whose runs the ledger has no more. They are listed before the ledger is looked at: a
    /// run that began since has its row.
    pub fn sweep(tx: &Tx<'_>, kept: Vec<PathBuf>) -> Result<usize, LedgerError> {
        let mut gone = 0;
        for path in kept {
            let name = path.file_stem().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            let Some(StepId { run, .. }) = name else { continue };
            if runs::get(tx, run)?.is_none() && std::fs::remove_file(&path).is_ok() {
                gone += 1;
            }
        }
        Ok(gone)
    }
}

/// What a row says of an ask whose text is `kept` or not, and of its end; no word of the agent's.
fn told(ask: &AskRow, kept: bool) -> Vec<Line> {
    let line = |at, heard| Line { at, step: ask.step, heard };
    let mut lines = Vec::new();
    if !kept {
        lines.push(line(ask.created_at, Heard::Asked { ask: ask.id, text: UNKEPT.to_owned() }));
    }
    if let Some(at) = ask.closed_at {
        let answer = ask.answer.as_ref().map(|answer| answer.words().to_owned());
        lines.push(line(at, Heard::AskClosed { ask: ask.id, answer, by: ask.answered_by.clone() }));
    }
    lines
}

impl Line {
    /// In words, for people.
    pub fn words(&self) -> String {
        let what = match &self.heard {
            Heard::Given { input } => format!("▸ {}", one_line(&input.to_string())),
            Heard::Resumed => "… the host was started again".to_owned(),
            Heard::Message { text } => format!("💬 {}", visible(text.trim_end()).replace('\n', "\n    ")),
            Heard::ToolStarted { tool, title, .. } => format!("🔧 {}  {}", one_line(tool), one_line(title)),
            Heard::ToolFinished { tool, title, outcome, .. } => {
                let (sign, why) = match outcome {
                    ToolOutcome::Completed => ("✓", String::new()),
                    ToolOutcome::Failed { reason } => ("✗", format!(": {}", one_line(reason))),
                    ToolOutcome::Refused { by } => ("⛔", format!(": refused by {}", one_line(by))),
                };
                format!("{sign} {}  {}{why}", one_line(tool), one_line(title))
            }
            Heard::Todo { items } => {
                let items = items
                    .iter()
                    .map(|item| format!("\n    {}: {}", one_line(&item.status), one_line(&item.content)));
                format!("📋{}", items.collect::<String>())
            }
            Heard::SubAgent { title, .. } => format!("👥 {}", one_line(title)),
            Heard::Retry { attempt, reason } => {
                format!("⟳ the provider failed, {attempt} times by now: {}", one_line(reason))
            }
            Heard::Asked { ask, text } => format!("{} (ask {ask})", one_line(text)),
            Heard::AskClosed { ask, answer, by } => {
                let by = by.as_ref().map(|by| format!(" by {}", one_line(by.as_str()))).unwrap_or_default();
                format!("ask {ask} is {}{by}", answer.as_deref().unwrap_or("withdrawn"))
            }
            Heard::Cut => "… more was said than is kept".to_owned(),
            Heard::Ended { state, reason } => {
                let why = reason.as_ref().map(|why| format!(": {}", one_line(why))).unwrap_or_default();
                format!("■ {state}{why}")
            }
        };
        format!("{}  {:<6} {what}", rfc3339(self.at), self.step.to_string())
    }
}

#[cfg(test)]
mod tests {
    use connector_gate::clock::Clock;
    use connector_gate::policy::Actor;
    use connector_ledger::Ledger;
    use connector_ledger::events::{self, NewEvent};

    use super::*;

    fn message() -> NewEvent {
        NewEvent {
            surface: "console".to_owned(),
            platform_id: "1".to_owned(),
            connector: "c".to_owned(),
            event: "message_received".to_owned(),
            chat: "main".to_owned(),
            requester: Actor::new("console", "anna"),
            payload: serde_json::json!({ "text": "hi" }),
            reply: None,
        }
    }

    #[test]
    fn transcripts_go_with_their_runs() {
        let state = tempfile::tempdir().unwrap();
        let transcripts = Transcripts::new(state.path(), Redactor::default());
        let ledger = Ledger::in_memory(Clock::manual(1_000).0).unwrap();
        let run = ledger
            .write_now(|tx| {
                let event = events::store(tx, &message())?.unwrap();
                let event = events::get(tx, event)?.unwrap();
                runs::create(tx, &event, runs::By { rule: "rule", version: "v", definition: "" }, &[])
            })
            .unwrap();
        assert_eq!(run, Some(RunId(1)));
        for name in ["1.1.ndjson", "2.1.ndjson", "of-somebody-else"] {
            std::fs::create_dir_all(state.path().join(DIRECTORY)).unwrap();
            std::fs::write(state.path().join(DIRECTORY).join(name), "").unwrap();
        }
        assert_eq!(ledger.read_now(|tx| Transcripts::sweep(tx, transcripts.kept())).unwrap(), 1);
        let left = |name: &str| state.path().join(DIRECTORY).join(name).exists();
        assert!(left("1.1.ndjson") && !left("2.1.ndjson") && left("of-somebody-else"));
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let step: StepId = "3.1".parse().unwrap();
        let outcome = ToolOutcome::Failed { reason: "exit 1".into() };
        let (call_id, tool, title) = ("c".to_owned(), "bash".to_owned(), "ls".to_owned());
        for heard in [
            Heard::Resumed,
            Heard::Cut,
            Heard::Message { text: "hi\nthere".into() },
            Heard::ToolFinished { call_id, tool, title, outcome },
            Heard::AskClosed { ask: 1, answer: None, by: Some(Actor::from_text("cli:anna")) },
            Heard::Ended { state: "failed".into(), reason: None },
        ] {
            let line = Line { at: 1, step, heard };
            let written = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<Line>(&written).unwrap(), line, "{written}");
        }
    }
}
