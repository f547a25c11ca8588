//! Submitting, deciding, answering, and taking back.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use connector_contract::ask::{PermissionReply, QuestionReply};
use connector_engine::{self as engine, cancel_run};
use connector_gate::ask::{Answer as Given, Answered, Asked};
use connector_gate::decision::{Decision, Tap, Tapped};
use connector_gate::ids::RunId;
use connector_ledger::asks::{self, AskRow};
use connector_ledger::steps::decide::decide;
use connector_ledger::{events, runs as run_rows};
use connector_surface::log::COMMAND_LINE;
use connector_surface::words::REFUSED;
use http::StatusCode;
use http::header::LOCATION;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json as value;

use super::problem::{Code, Problem};
use super::read::{no_ask, no_own_run, no_run, number, run_id, step_id};
use super::{Answer, Api, json};
use crate::cli::{approvals, runs, send};

/// The longest message, in characters.
const TEXT: usize = 65_536;

/// The longest id of a message, and name of a connector, in characters.
const NAME: usize = 200;

/// A message.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    /// What it says, such as `/fix the failing test`.
    #[schemars(length(min = 1, max = 65_536))]
    text: String,
    /// Its own id: the same id twice is one message.
    #[schemars(length(min = 1, max = 200))]
    id: Option<String>,
    /// The connector whose message it is, as rules name it; who carries the token has no choice.
    #[serde(rename = "as")]
    #[schemars(length(min = 1, max = 200))]
    connector: Option<String>,
}

/// A decision about a card.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Deciding {
    /// What is decided; `allow_session` is the user's alone.
    decision: Decision,
    /// The digest of the card that was read: at least its first 12 digits.
    #[schemars(regex(pattern = r"^[0-9A-Fa-f]{12,64}$"))]
    digest: String,
}

/// An answer to an ask.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Answering {
    /// What is answered.
    answer: Reply,
}

/// What can be answered.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Reply {
    /// To a permission request: this once.
    Once,
    /// To a permission request: this, and exactly the same again in its session. It is the user's alone.
    Always,
    /// No, to either; the agent is told why and goes on.
    Reject {
        /// Why.
        message: Option<String>,
    },
    /// To questions.
    Answers {
        /// One list of labels, or of your own words, for each question.
        answers: Vec<Vec<String>>,
    },
}

/// An answered ask.
#[derive(Serialize, JsonSchema)]
pub(super) struct Taken {
    /// Always `answered`.
    answer: &'static str,
    /// The ask as it is now.
    ask: AskRow,
}

/// What became of stopping a run.
#[derive(Serialize, JsonSchema)]
pub(super) struct Cancelled {
    /// The run.
    run: RunId,
    /// `withdrawn`, `stopping`, or `nothing_to_do`.
    outcome: &'static str,
}

pub(super) async fn submit(State(api): State<Api>, body: Result<Json<Message>, JsonRejection>) -> Answer {
    let Json(Message { text, id, connector }) = body?;
    within("text", &text, TEXT)?;
    if let Some(id) = &id {
        within("id", id, NAME)?;
    }
    let (account, own) = (api.client.account(), &api.shared.connector);
    let id = id.map_or_else(engine::unique, Ok)?;
    let event = if api.client.is_user() {
        let connector = connector.as_ref().unwrap_or(own);
        within("as", connector, NAME)?;
        send::message(connector, id, &text, account.clone())
    } else {
        if connector.is_some_and(|connector| connector != *own) {
            let detail = format!("{account} submits messages of `{own}`, as [api] of host.toml says");
            return Err(Problem::new(Code::NotAllowed, detail));
        }
        send::message_of_program(own, account, &id, &text)
    };
    let id = event.platform_id.clone();
    let stored =
        api.written().write(move |tx| Ok((events::store(tx, &event)?, events::find(tx, COMMAND_LINE, &id)?)));
    let (new, known) = stored.await?;
    let Some(event) = known else {
        return Err(Problem::not_found("that message is no longer in the ledger"));
    };
    api.shared.engine.look_again();
    let status = if new.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    let mut answer = json(status, &api.outcome(event).await?)?;
    if let Ok(location) = format!("/v1/events/{event}").parse() {
        answer.headers_mut().insert(LOCATION, location);
    }
    Ok(answer)
}

fn within(name: &str, text: &str, most: usize) -> Result<(), Problem> {
    match text.chars().count() {
        0 => Err(Problem::invalid(format!("`{name}` is empty"))),
        count if count > most => Err(Problem::invalid(format!("`{name}` has more than {most} characters"))),
        _ => Ok(()),
    }
}

pub(super) async fn decision(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    body: Result<Json<Deciding>, JsonRejection>,
) -> Answer {
    let step = step_id(path)?;
    let Json(Deciding { decision, digest }) = body?;
    let digest = approvals::digest(&digest).map_err(Problem::invalid)?;
    let approver = api.client.account().clone();
    if decision == Decision::AllowSession && !api.client.is_user() {
        return Err(for_a_session());
    }
    let tap = Tap { step, digest, approver, chat: None, decision };
    let tapped = api.written().write(move |tx| decide(tx, &tap)).await?;
    api.shared.engine.look_again();
    let code = match &tapped {
        Tapped::Approved | Tapped::Counted { .. } | Tapped::Denied => return json(StatusCode::OK, &tapped),
        Tapped::NoSuchCard => Code::NotFound,
        Tapped::NotAllowed { .. } => Code::NotAllowed,
        Tapped::Already { .. } | Tapped::TooLate | Tapped::Changed { .. } => Code::Conflict,
    };
    Err(Problem::new(code, approvals::words(step, &tapped)).with_answer(value!(tapped)))
}

fn for_a_session() -> Problem {
    Problem::new(Code::NotAllowed, "whoever carries the token allows nothing for a session")
}

pub(super) async fn answer(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    body: Result<Json<Answering>, JsonRejection>,
) -> Answer {
    let id = number(path, "an ask")?;
    let Json(Answering { answer }) = body?;
    if matches!(answer, Reply::Always) && !api.client.is_user() {
        return Err(for_a_session());
    }
    let by = api.client.account().clone();
    let answered = api.written().write(move |tx| {
        let Some(row) = asks::get(tx, id)? else { return Ok(None) };
        let answered = match answer.to(&row.asked) {
            Some(given) => asks::answer(tx, id, &by, &given)?,
            None => Answered::DoesNotFit("that is not the kind of answer it takes".to_owned()),
        };
        Ok(Some((asks::get(tx, id)?.unwrap_or(row), answered)))
    });
    let (ask, answered) = answered.await?.ok_or_else(|| no_ask(id))?;
    api.shared.engine.look_again();
    match answered {
        Answered::PassedOn => json(StatusCode::OK, &Taken { answer: "answered", ask }),
        Answered::NotOpen => {
            Err(Problem::new(Code::Conflict, format!("the agent no longer asks that ({id})"))
                .with_answer(value!(ask)))
        }
        Answered::NotAllowed => {
            let account = api.client.account();
            Err(Problem::new(Code::NotAllowed, format!("ask {id}: {account} may not answer it")))
        }
        Answered::DoesNotFit(problem) => Err(Problem::invalid(format!("ask {id}: {problem}"))),
    }
}

impl Reply {
    /// What it is to this ask; nothing if it is an answer to another kind.
    fn to(self, asked: &Asked) -> Option<Given> {
        Some(match (self, asked) {
            (Self::Once, Asked::Permission(_)) => Given::Permission(PermissionReply::Once),
            (Self::Always, Asked::Permission(_)) => Given::Permission(PermissionReply::Always),
            (Self::Reject { message }, asked) => asked.rejection(message.as_deref().unwrap_or(REFUSED)),
            (Self::Answers { answers }, Asked::Question(_)) => {
                Given::Question(QuestionReply::Answers { answers })
            }
            _ => return None,
        })
    }
}

pub(super) async fn cancel(State(api): State<Api>, path: Result<Path<String>, PathRejection>) -> Answer {
    let id = run_id(path)?;
    let (by, any) = (api.client.account().clone(), api.client.is_user());
    let cancelled = api.written().write(move |tx| {
        let known = run_rows::get(tx, id)?.filter(|run| any || run.requester == by);
        known.map(|_| cancel_run(tx, id, &by)).transpose()
    });
    let Some(outcome) = cancelled.await? else {
        return Err(if any { no_run(id) } else { no_own_run(id) });
    };
    api.shared.engine.look_again();
    json(StatusCode::OK, &Cancelled { run: id, outcome: runs::word(outcome) })
}
