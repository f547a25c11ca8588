//! `approvals asks` and `approvals answer`: what agents want to know while they work.

use connector_contract::ask::{PermissionReply, QuestionReply};
use connector_gate::ask::{Answer, Answered, Asked};
use connector_gate::clock::rfc3339;
use connector_ledger::asks::{self, AskRow};
use connector_surface::OpenAsk;
use connector_surface::text::one_line;
use connector_surface::words::REFUSED;
use serde_json::json;

use super::super::{Common, caller};
use crate::console::{input, render};
use crate::exit::{Exit, Failure};

/// Prints every open ask, whole.
pub(super) async fn list(common: &Common) -> Result<Exit, Failure> {
    let open = common.existing_ledger()?.read(asks::open).await?;
    common.print(&open, |open| {
        if open.is_empty() {
            return "no agent asks anything".to_owned();
        }
        open.iter().map(whole).collect::<Vec<_>>().join("\n\n")
    })?;
    Ok(Exit::Done)
}

fn whole(row: &AskRow) -> String {
    let may: Vec<String> = row.approvers.iter().map(|account| row.people.named(account)).collect();
    let id = row.id;
    let ways = match &row.asked {
        Asked::Permission(_) => {
            format!("approvals answer {id} allow, or reject \"and why\"; allow --session allows this again")
        }
        Asked::Question(asked) => {
            let example = render::example(asked);
            format!("approvals answer {id} \"{example}\" (numbers or your own words), or reject")
        }
    };
    let head = format!(
        "{:<7} asks since {}; {} may answer",
        row.step.to_string(),
        rfc3339(row.created_at),
        one_line(&may.join(", "))
    );
    format!("{head}\n{}", render::ask_with(&as_shown(row), &ways))
}

fn as_shown(row: &AskRow) -> OpenAsk {
    OpenAsk {
        number: u64::try_from(row.id).unwrap_or_default(),
        times: row.times,
        step: row.step,
        asked: row.asked.clone(),
        approvers: row.approvers.clone(),
        people: row.people.clone(),
    }
}

/// What somebody typed in answer to an ask.
pub(super) struct Typed {
    /// `allow`, `reject`, or an answer in words and numbers.
    pub(super) answer: String,
    /// Why it is rejected.
    pub(super) why: Option<String>,
    /// Whether a yes holds for the session.
    pub(super) session: bool,
}

/// What is answered. A word that is not known decides nothing.
fn answer_of(row: &AskRow, typed: &Typed) -> Result<Answer, String> {
    let Typed { answer, why, session } = typed;
    let (answer, why) = (answer.trim(), why.as_deref().map(str::trim));
    let permission = matches!(row.asked, Asked::Permission(_));
    match (answer, why) {
        _ if *session && (answer != "allow" || !permission) => {
            Err("--session goes with `allow`, in answer to a permission request".to_owned())
        }
        ("", _) => Err("the answer is empty".to_owned()),
        ("reject", why) => Ok(row.asked.rejection(why.unwrap_or(REFUSED))),
        (_, Some(_)) => Err("only `reject` takes words beside it; put an answer in quotes".to_owned()),
        ("allow", None) if permission => {
            Ok(Answer::Permission(if *session { PermissionReply::Always } else { PermissionReply::Once }))
        }
        (_, None) if permission => Err("a permission request takes `allow`, or `reject` and why".to_owned()),
        (words, None) => input::answers(&as_shown(row), words).map(Answer::Question),
    }
}

/// Answers an open ask; a host that runs tells its agent, or else the next one does.
pub(super) async fn answer(common: &Common, id: i64, typed: Typed) -> Result<Exit, Failure> {
    let by = caller();
    let account = by.clone();
    let answered = common
        .existing_ledger()?
        .write(move |tx| {
            let Some(row) = asks::get(tx, id)? else { return Ok(None) };
            let given = match answer_of(&row, &typed) {
                Ok(given) => given,
                Err(problem) => return Ok(Some((row, Answered::DoesNotFit(problem), None))),
            };
            let answered = asks::answer(tx, id, &account, &given)?;
            Ok(Some((asks::get(tx, id)?.unwrap_or(row), answered, Some(given))))
        })
        .await?;
    let Some((row, answered, given)) = answered else {
        return Err(Failure::usage(format!("there is no ask {id}; see `approvals asks`")));
    };
    let (word, text, exit) = match answered {
        Answered::PassedOn => ("answered", said(&row, given.as_ref()), Exit::Done),
        Answered::NotOpen => ("not_open", not_open(&row), Exit::Failed),
        Answered::NotAllowed => (
            "not_allowed",
            format!("ask {id}: {by} may not answer it; `approvals asks` says who may"),
            Exit::Failed,
        ),
        Answered::DoesNotFit(problem) => {
            return Err(Failure::usage(format!("ask {id}: {}", one_line(&problem))));
        }
    };
    common.print(&json!({ "answer": word, "ask": row }), |_| text)?;
    Ok(exit)
}

fn said(row: &AskRow, given: Option<&Answer>) -> String {
    let what = match given {
        Some(Answer::Question(QuestionReply::Answers { answers })) => {
            let answers: Vec<String> = answers.iter().map(|chosen| chosen.join(", ")).collect();
            format!("answered: {}", one_line(&answers.join("; ")))
        }
        Some(Answer::Permission(PermissionReply::Reject { message })) => {
            format!("rejected: {}", one_line(message))
        }
        Some(answer) => answer.words().to_owned(),
        None => "answered".to_owned(),
    };
    format!("ask {} is {what}; the agent is told as soon as a host runs", row.id)
}

fn not_open(row: &AskRow) -> String {
    let by = row.answered_by.as_ref().map(|by| format!(", answered by {}", row.people.named(by)));
    match by {
        Some(by) => format!("ask {} is over already{}", row.id, one_line(&by)),
        None => format!("the agent no longer asks that ({})", row.id),
    }
}
