//! The chat at the console: lines in, events, decisions and answers out.

use std::sync::Arc;
use std::time::Duration;

use connector_engine::{Answer, Answered, CancelOutcome, Engine};
use connector_gate::decision::{Decision, Tap, Tapped};
use connector_gate::ids::StepId;
use connector_gate::state::StepState;
use connector_ledger::events::{self, Change, ReplyTo};
use connector_ledger::runs::{self, RunState, Still};
use connector_ledger::{LedgerError, Tx, outbox, steps};
use connector_surface::words::{NO_RULE, REFUSED, decided, wants_words};
use connector_surface::{MAIN_CHAT, OpenAsk};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::console::input::{self, Line};
use crate::console::{Console, NAME, message};

/// How long the chat waits for the engine to take something in.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a condition is looked at again.
const LOOK: Duration = Duration::from_millis(20);

/// What reaches the chat from outside.
#[derive(Debug)]
pub enum Input {
    /// A line was typed.
    Line(String),
    /// Ctrl-C.
    Interrupt,
    /// No more lines will come.
    End,
    /// The process is asked to end, or its terminal is gone.
    Terminate,
}

/// Whether the chat goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    GoOn,
    /// Somebody leaves.
    Leave,
}

/// A chat at the console.
pub struct Chat {
    /// The engine behind it.
    pub engine: Engine,
    /// The surface it prints on.
    pub console: Arc<Console>,
    /// The connector name its messages are events of.
    pub connector: String,
    /// The workspace a continued session belongs to.
    pub workspace: String,
}

/// Why a chat cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The ledger failed.
    #[error("the chat cannot go on")]
    Ledger(#[from] LedgerError),
    /// The terminal is gone.
    #[error("the terminal cannot be written to")]
    Output(#[from] std::io::Error),
}

impl Chat {
    /// Reads `inputs` until they end or somebody leaves. When they end, what
    /// runs is waited for; what waits stays waiting.
    pub async fn run(&self, mut inputs: mpsc::Receiver<Input>) -> Result<(), ChatError> {
        let mut interrupted = false;
        while let Some(input) = inputs.recv().await {
            let flow = match input {
                Input::Line(line) => {
                    interrupted = false;
                    self.line(&line).await?
                }
                Input::Interrupt => self.interrupt(std::mem::replace(&mut interrupted, true)).await?,
                Input::End => break,
                Input::Terminate => Flow::Leave,
            };
            if flow == Flow::Leave {
                return Ok(());
            }
        }
        self.settle_or_stop(inputs).await?;
        match self.console.cards().len() {
            0 => Ok(()),
            waiting => {
                let cards = if waiting == 1 { "card waits" } else { "cards wait" };
                self.say(&format!("{waiting} {cards} on; start again with the same --state to decide"))
            }
        }
    }

    /// Waits until nothing goes on; Ctrl-C stops what runs.
    async fn settle_or_stop(&self, mut inputs: mpsc::Receiver<Input>) -> Result<(), ChatError> {
        let mut settled = std::pin::pin!(self.settle());
        let mut interrupted = false;
        loop {
            tokio::select! {
                outcome = &mut settled => return outcome,
                Some(input) = inputs.recv() => {
                    let leave = match input {
                        Input::Interrupt => {
                            self.interrupt(std::mem::replace(&mut interrupted, true)).await? == Flow::Leave
                        }
                        Input::Terminate => true,
                        Input::Line(_) | Input::End => false,
                    };
                    if leave {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Carries out one line.
    pub async fn line(&self, line: &str) -> Result<Flow, ChatError> {
        match input::parse(line) {
            Line::Blank => {}
            Line::Quit => return Ok(Flow::Leave),
            Line::Help => self.say(input::HELP)?,
            Line::Mistake(text) => self.say(&text)?,
            Line::Status => self.status().await?,
            Line::Decide(decision, step) => self.decide(decision, step).await?,
            Line::Permit(reply, number) => {
                self.answer(number, |_| Ok(Answer::Permission(reply))).await?;
            }
            Line::Reject(number) => self.answer(number, |ask| Ok(ask.asked.rejection(REFUSED))).await?,
            Line::Answer(number, words) => {
                self.answer(Some(number), |ask| input::answers(ask, &words).map(Answer::Question)).await?;
            }
            Line::Abort(step) => self.abort(step).await?,
            Line::Message(text) => self.send(&text).await?,
        }
        Ok(Flow::GoOn)
    }

    /// The first Ctrl-C stops what runs, the second leaves.
    pub async fn interrupt(&self, again: bool) -> Result<Flow, ChatError> {
        let running = self.engine.running_steps();
        if again || running.is_empty() {
            return Ok(Flow::Leave);
        }
        self.abort(None).await?;
        self.say("stopping; Ctrl-C again to leave")?;
        Ok(Flow::GoOn)
    }

    /// A message becomes an event; says so if no rule answers it.
    pub async fn send(&self, text: &str) -> Result<(), ChatError> {
        let reply = if text.starts_with("/continue") { self.last_session().await? } else { None };
        if reply.is_none() && text.starts_with("/continue") {
            return self.say("there is no session to continue yet; start one with /fix");
        }
        let id = format!("{}-{}", std::process::id(), connector_engine::unique()?);
        let event = message(&self.connector, id, text, reply);
        let payload = event.payload.clone();
        let Some(event_id) = self.engine.submit(event).await? else { return Ok(()) };
        match self.runs_of(event_id).await? {
            Some(0) => match self.engine.lacks_words(&self.connector, &payload) {
                Some(command) => self.say(&wants_words(&command)),
                // The engine says that it is.
                None if self.engine.is_switched_off(&self.connector, &payload) => Ok(()),
                None => self.say(NO_RULE),
            },
            Some(_) => Ok(()),
            None => self.say("that is recorded, and is taken up as soon as the ledger can be written"),
        }
    }

    /// How many runs an event fired, once it was handled; `None` if that takes too long.
    async fn runs_of(&self, event_id: i64) -> Result<Option<usize>, ChatError> {
        let limit = Instant::now() + PATIENCE;
        loop {
            let look = move |tx: &Tx<'_>| {
                Ok((events::is_handled(tx, event_id)?, runs::of_event(tx, event_id)?.len()))
            };
            match self.engine.ledger().read(look).await? {
                (true, runs) => return Ok(Some(runs)),
                (false, _) if Instant::now() > limit => return Ok(None),
                (false, _) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    async fn last_session(&self) -> Result<Option<ReplyTo>, ChatError> {
        let row = self.engine.ledger().read(|tx| steps::last_session(tx, NAME, MAIN_CHAT)).await?;
        Ok(row.and_then(|row| {
            Some(ReplyTo {
                session_id: row.session_id?,
                run_id: row.id.run.to_string(),
                workspace: self.workspace.clone(),
                change: row.output.as_ref().and_then(Change::of),
            })
        }))
    }

    /// Decides the card named, or the only one that waits.
    pub async fn decide(&self, decision: Decision, step: Option<StepId>) -> Result<(), ChatError> {
        // Only what is on the screen now: a yes typed ahead would approve what nobody has seen.
        let cards = self.console.cards();
        let (step, digest) = match (step, cards.as_slice()) {
            (None, []) => return self.say("nothing waits for a yes or no"),
            (None, [only]) => only.clone(),
            (None, [first, ..]) => {
                return self.say(&format!("several cards wait; say which, as in: y {}", first.0));
            }
            (Some(step), cards) => match cards.iter().find(|(shown, _)| *shown == step) {
                Some(card) => card.clone(),
                None => return self.say(&format!("no card {step} waits here")),
            },
        };
        let tap = Tap { step, digest, approver: Console::user(), chat: Some(MAIN_CHAT.to_owned()), decision };
        let answer = self.engine.tap(tap).await?;
        if !matches!(answer, Tapped::Counted { .. } | Tapped::NotAllowed { .. }) {
            self.console.forget(step);
        }
        self.say(&decided(step, &answer))
    }

    async fn card_may_come(&self) -> Result<bool, ChatError> {
        let look =
            |tx: &Tx<'_>| Ok(events::any_unhandled(tx)? || runs::any_active(tx, Some(NAME), Still::Active)?);
        Ok(self.engine.ledger().read(look).await?)
    }

    async fn answer(
        &self,
        number: Option<u64>,
        make: impl FnOnce(&OpenAsk) -> Result<Answer, String>,
    ) -> Result<(), ChatError> {
        let asks = self.engine.open_asks();
        let ask = match (number, asks.as_slice()) {
            (None, []) => return self.say("the agent asks nothing"),
            (None, [only]) => only,
            (None, [first, ..]) => {
                return self.say(&format!("it asks several things; say which, as in: once {}", first.number));
            }
            (Some(number), asks) => match asks.iter().find(|ask| ask.number == number) {
                Some(ask) => ask,
                None => return self.say(&format!("there is no ask {number}")),
            },
        };
        let answer = match make(ask) {
            Ok(answer) => answer,
            Err(problem) => return self.say(&connector_surface::text::one_line(&problem)),
        };
        let answered = match self.engine.answer(ask.number, &Console::user(), answer).await {
            Err(LedgerError::Content(why) | LedgerError::CutOff(why)) => {
                return self.say(&connector_surface::text::one_line(&why));
            }
            answered => answered?,
        };
        match answered {
            Answered::PassedOn => Ok(()),
            Answered::NotOpen => self.say("it no longer asks"),
            Answered::NotAllowed => self.say("you may not answer that: you are not an approver"),
            Answered::DoesNotFit(problem) => self.say(&connector_surface::text::one_line(&problem)),
        }
    }

    async fn abort(&self, step: Option<StepId>) -> Result<(), ChatError> {
        let steps = step.map_or_else(|| self.engine.running_steps(), |step| vec![step]);
        if steps.is_empty() {
            return self.say("nothing runs");
        }
        for step in steps {
            match self.engine.cancel(step, &Console::user()).await? {
                CancelOutcome::Withdrawn => self.say(&format!("{step} is withdrawn"))?,
                CancelOutcome::Stopping => self.say(&format!("{step} is told to stop"))?,
                CancelOutcome::NothingToDo => self.say(&format!("{step} neither runs nor waits"))?,
            }
        }
        Ok(())
    }

    async fn status(&self) -> Result<(), ChatError> {
        let rows = self
            .engine
            .ledger()
            .read(|tx| {
                let mut rows = Vec::new();
                for state in [StepState::Waiting, StepState::Approved, StepState::Dispatched] {
                    rows.extend(steps::in_state(tx, state, 100)?);
                }
                Ok(rows)
            })
            .await?;
        if rows.is_empty() {
            return self.say("nothing runs and nothing waits");
        }
        for row in rows {
            let prompt = connector_contract::facts::prompt(&row.input).unwrap_or_default();
            let prompt = connector_surface::text::shortened(&connector_surface::text::one_line(prompt), 60);
            self.say(&format!("{:<6} {:<11} {} · {prompt}", row.id.to_string(), row.state, row.action))?;
        }
        Ok(())
    }

    /// Waits until nothing is left that goes on by itself.
    pub async fn settle(&self) -> Result<(), ChatError> {
        while self.is_busy(Still::Undecided).await? {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Waits, a while, until a card is on the screen, or none is to be expected.
    pub async fn settle_card(&self) -> Result<(), ChatError> {
        let limit = Instant::now() + PATIENCE;
        while self.console.cards().is_empty() && Instant::now() < limit && self.card_may_come().await? {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Whether nothing runs, waits, or is still to be told.
    pub async fn is_quiet(&self) -> Result<bool, ChatError> {
        Ok(!self.is_busy(Still::Active).await?)
    }

    /// `still` says which active runs count.
    async fn is_busy(&self, still: Still) -> Result<bool, ChatError> {
        let look = move |tx: &Tx<'_>| {
            Ok(events::any_unhandled(tx)?
                || outbox::any_undelivered(tx, Some(NAME))?
                || runs::any_active(tx, Some(NAME), still)?)
        };
        Ok(self.engine.ledger().read(look).await? || !self.engine.running_steps().is_empty())
    }

    /// Whether the latest run of this chat did what it was asked.
    pub async fn last_run_succeeded(&self) -> Result<bool, ChatError> {
        let latest = self.engine.ledger().read(|tx| runs::latest(tx, 1)).await?;
        Ok(latest.first().is_some_and(|run| run.state == RunState::Succeeded))
    }

    fn say(&self, text: &str) -> Result<(), ChatError> {
        Ok(self.console.print(text)?)
    }
}
