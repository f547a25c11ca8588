//! What a turn shows while it runs: small, ordered, never the user's own words.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use connector_contract::{Progress, ToolOutcome};
use tokio::time::Instant;

use super::Effect;
use crate::wire::{Signal, ToolSignal, ToolState};

/// How often the growing text is reported.
const TEXT_EVERY: Duration = Duration::from_millis(250);
/// How much of it is kept for display: its end.
const TEXT_KEPT: usize = 16 << 10;

#[derive(Debug, Default)]
pub(super) struct Display {
    /// Assistant messages of this turn: text of others is not shown.
    own: HashSet<String>,
    part: String,
    text: String,
    due: Option<Instant>,
    reported: Option<Instant>,
    tools: HashMap<String, Tool>,
    /// The wait for the provider that was reported, while it lasts.
    retry: Option<(u64, String, Option<u64>)>,
}

/// What is known of a tool's call; events tell each of it once or more.
#[derive(Debug, Default)]
struct Tool {
    name: Option<String>,
    title: Option<String>,
    started: bool,
    finished: bool,
}

impl Display {
    pub(super) fn own_message(&mut self, id: &str) {
        if !self.own.contains(id) {
            self.own.insert(id.to_owned());
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn signal(&mut self, signal: Signal, now: Instant, out: &mut Vec<Effect>) {
        match signal {
            Signal::Text { message, part, text } if self.own.contains(&message) => {
                self.part = part;
                self.text = text;
                self.text_changed(now);
            }
            Signal::Delta { message, part, text } if self.own.contains(&message) => {
                if self.part != part {
                    self.part = part;
                    self.text.clear();
                }
                self.text.push_str(&text);
                self.text_changed(now);
            }
            Signal::Todo(items) => out.push(Effect::Report(Progress::Todo { items })),
            _ => {}
        }
    }

    pub(super) fn retry(
        &mut self,
        attempt: u64,
        reason: &str,
        next_at_ms: Option<u64>,
        out: &mut Vec<Effect>,
    ) {
        let wait = (attempt, reason.to_owned(), next_at_ms);
        if self.retry.as_ref() != Some(&wait) {
            self.retry = Some(wait);
            out.push(Effect::Report(Progress::Retry { attempt, reason: reason.to_owned(), next_at_ms }));
        }
    }

    /// The provider answers again: the next wait for it is another one.
    pub(super) fn answered(&mut self) {
        self.retry = None;
    }

    pub(super) fn flush(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.due.is_some_and(|due| due <= now) {
            self.report_text(out);
            self.reported = Some(now);
        }
    }

    pub(super) fn finish(&mut self, out: &mut Vec<Effect>) {
        if self.due.is_some() {
            self.report_text(out);
        }
    }

    fn report_text(&mut self, out: &mut Vec<Effect>) {
        self.due = None;
        out.push(Effect::Report(Progress::Text { so_far: self.text.clone() }));
    }

    fn text_changed(&mut self, now: Instant) {
        if self.text.len() > 2 * TEXT_KEPT {
            let mut cut = self.text.len() - TEXT_KEPT;
            while !self.text.is_char_boundary(cut) {
                cut += 1;
            }
            self.text.drain(..cut);
        }
        if self.due.is_none() && !self.text.is_empty() {
            self.due = Some(self.reported.map_or(now, |at| (at + TEXT_EVERY).max(now)));
        }
    }

    /// Each tool starts once and finishes once, however often it is told. One that fails may have
    /// been refused by somebody.
    pub(super) fn tool(
        &mut self,
        signal: ToolSignal,
        refuser: impl FnOnce(&str) -> Option<&'static str>,
        out: &mut Vec<Effect>,
    ) {
        let ToolSignal { call, tool, title, state } = signal;
        let known = self.tools.get(&call).is_some_and(|known| known.started);
        if self.due.is_some() && !known && !matches!(state, ToolState::Pending) {
            // What was said before it is told before it, whole.
            self.report_text(out);
        }
        let known = self.tools.entry(call.clone()).or_default();
        known.name = tool.or(known.name.take());
        known.title = title.or(known.title.take());
        let outcome = match state {
            // Its arguments are not there yet.
            ToolState::Pending => return,
            ToolState::Running => None,
            ToolState::Completed => Some(ToolOutcome::Completed),
            ToolState::Failed(reason) => Some(match refuser(&call) {
                Some(by) => ToolOutcome::Refused { by: by.to_owned() },
                None => ToolOutcome::Failed { reason },
            }),
        };
        let tool = known.name.clone().unwrap_or_else(|| "tool".to_owned());
        let title = known.title.clone().unwrap_or_else(|| tool.clone());
        if !known.started {
            known.started = true;
            let (call_id, tool, title) = (call.clone(), tool.clone(), title.clone());
            out.push(Effect::Report(Progress::ToolStarted { call_id, tool, title }));
        }
        if let (Some(outcome), false) = (outcome, known.finished) {
            known.finished = true;
            out.push(Effect::Report(Progress::ToolFinished { call_id: call, tool, title, outcome }));
        }
    }
}
