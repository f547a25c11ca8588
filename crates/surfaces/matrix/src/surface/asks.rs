//! Asks of agents: a message each, answered by a reply or a reaction, which says at its end what became of it.
//!
//! An ask is answered by what is said about its own message alone. After a restart the host asks again what
//! is still asked: under the same transaction id that is the same message. What was said about it meanwhile waits for that.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use connector_contract::ask::{PermissionReply, QuestionAsk, QuestionReply};
use connector_contract::chain;
use connector_gate::ask::{Answer, Answered, Asked};
use connector_gate::decision::Decision;
use connector_gate::policy::Actor;
use connector_surface::inbox::Sent;
use connector_surface::text::{one_line, shortened};
use connector_surface::{Inbox, InboxError, OpenAsk, words};
use serde_json::Value;
use tokio::time::Instant;

use super::mark::{Mark, Said, marked};
use super::{Matrix, hashed, locked, render};
use crate::api::ApiError;
use crate::id::{ChatKey, EventId, UserId};
use crate::text::{related, replacing};

/// How long until an ask that was not sent is sent again.
const AGAIN: Duration = Duration::from_secs(10);

/// What is said to whoever is too late.
const NO_LONGER: &str = "that is no longer asked";

/// How long after the start an ask may come again that was shown before it.
const STARTING: Duration = Duration::from_mins(2);

/// The asks that wait, and what was said about such as may come again.
pub(super) struct Asks {
    known: Mutex<Known>,
    /// Until when asks come again that were shown before the start.
    starting: Instant,
}

#[derive(Default)]
struct Known {
    /// By the keys that their messages are marked with.
    open: HashMap<String, Open>,
    /// Those that are over since the start, as long as others may come again.
    over: HashSet<String>,
    early: Vec<Early>,
}

impl Asks {
    fn is_starting(&self) -> bool {
        Instant::now() < self.starting
    }
}

impl Default for Asks {
    fn default() -> Self {
        Self { known: Mutex::default(), starting: Instant::now() + STARTING }
    }
}

/// What somebody said about an ask, while the host was down or before it asked again.
#[derive(Debug, Clone)]
struct Early {
    key: String,
    by: UserId,
    event: EventId,
    chat: ChatKey,
    said: SaidSo,
}

#[derive(Debug, Clone)]
enum SaidSo {
    Sign(Decision),
    Words(String),
}

impl SaidSo {
    fn of(said: Said<'_>) -> Self {
        match said {
            Said::Sign(decision) => Self::Sign(decision),
            Said::Words(words) => Self::Words(words.to_owned()),
        }
    }

    fn said(&self) -> Said<'_> {
        match self {
            Self::Sign(decision) => Said::Sign(*decision),
            Self::Words(words) => Said::Words(words),
        }
    }
}

struct Open {
    chat: ChatKey,
    ask: OpenAsk,
    /// Its message, once there is one.
    message: Option<EventId>,
}

/// What asks the same in the same chat has the same key.
fn key(chat: &ChatKey, ask: &OpenAsk) -> String {
    hashed(&[ask.asked.id(), &ask.asked.shown(), &chat.to_string()])
}

impl Matrix {
    /// Shows an ask, sooner or later.
    pub(super) async fn open_ask(&self, chat: ChatKey, ask: OpenAsk) {
        let key = key(&chat, &ask);
        let open = Open { chat: chat.clone(), ask: ask.clone(), message: None };
        locked(&self.0.asks.known).open.insert(key.clone(), open);
        self.hear_early(&key).await;
        while let Err(error) = self.show_ask(&chat, &ask, &key).await {
            tracing::error!(reason = chain(&error), %chat, number = ask.number, "an ask is not shown yet");
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = self.0.finishing.cancelled() => return,
            }
            if !locked(&self.0.asks.known).open.contains_key(&key) {
                return;
            }
        }
    }

    async fn show_ask(&self, chat: &ChatKey, ask: &OpenAsk, key: &str) -> Result<(), ApiError> {
        let (content, is_cut) = render::ask(ask);
        if is_cut {
            let file = self.kept(&format!("ask-{}.txt", ask.step), &render::whole_ask(ask)).await?;
            let file = related(file, chat.thread.as_ref(), None);
            self.send(chat, &format!("whole.{key}"), &file).await?;
        }
        let marked = marked(content.clone(), &Mark::Ask(key.to_owned()));
        let first = related(marked, chat.thread.as_ref(), None);
        let message = self.send(chat, &format!("ask.{key}"), &first).await?;
        if ask.times > 1 {
            // It may say that it was no longer asked.
            let transaction = format!("ask.{key}.{}", ask.times);
            self.send(chat, &transaction, &replacing(&message, &content)).await?;
        }
        let (at, part) = (chat.to_string(), "ask".to_owned());
        let sent =
            Sent { chat: at, message: message.to_string(), step: Some(ask.step), delivery: None, part };
        if let Ok(inbox) = self.inbox()
            && let Err(error) = inbox.record(sent).await
        {
            tracing::warn!(reason = chain(&error), "an ask is not on record");
        }
        let still_open =
            locked(&self.0.asks.known).open.get_mut(key).map(|open| open.message = Some(message.clone()));
        if still_open.is_none() {
            self.replace(chat, &message, &over(ask, None)).await?;
        }
        Ok(())
    }

    /// Passes on what somebody said about an ask.
    pub(super) async fn answered(
        &self,
        inbox: &Inbox,
        (by, event, chat): (&UserId, &EventId, &ChatKey),
        key: &str,
        said: Said<'_>,
    ) -> Result<(), InboxError> {
        let found = {
            let mut known = locked(&self.0.asks.known);
            let found = known.open.get(key).map(|open| (open.ask.number, open.ask.asked.clone()));
            if found.is_none() && self.0.asks.is_starting() && !known.over.contains(key) {
                // It may come in twice.
                if !known.early.iter().any(|it| it.event == *event) {
                    let (by, event, chat) = (by.clone(), event.clone(), chat.clone());
                    self.expire_early(event.clone());
                    known.early.push(Early { key: key.to_owned(), by, event, chat, said: SaidSo::of(said) });
                }
                return Ok(());
            }
            found
        };
        let Some((number, asked)) = found else {
            self.answer(chat, event, NO_LONGER);
            return Ok(());
        };
        let answer = match said {
            Said::Words(words) => Some(in_words(&asked, words.trim())),
            Said::Sign(decision) => by_sign(&asked, decision),
        };
        let Some(answer) = answer else { return Ok(()) };
        let told = match inbox.answer(by.as_str(), number, answer).await? {
            Answered::PassedOn => return Ok(()),
            Answered::NotAllowed => "you may not answer that".to_owned(),
            Answered::NotOpen => NO_LONGER.to_owned(),
            Answered::DoesNotFit(reason) => one_line(&reason),
        };
        self.answer(chat, event, &told);
        Ok(())
    }

    /// Says to whoever said something about an ask that it did not come again, once it no longer may.
    fn expire_early(&self, event: EventId) {
        let this = self.clone();
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep_until(this.0.asks.starting) => {}
                () = this.0.finishing.cancelled() => return,
            }
            let left = locked(&this.0.asks.known).early.extract_if(.., |it| it.event == event).next();
            if let Some(left) = left {
                this.answer(&left.chat, &left.event, NO_LONGER);
            }
        });
    }

    /// Passes on what was said about an ask before it came.
    async fn hear_early(&self, key: &str) {
        let heard: Vec<Early> = locked(&self.0.asks.known).early.extract_if(.., |it| it.key == key).collect();
        let Ok(inbox) = self.inbox() else { return };
        for Early { by, event, chat, said, .. } in heard {
            let passed_on = self.answered(&inbox, (&by, &event, &chat), key, said.said()).await;
            if let Err(error) = passed_on {
                tracing::error!(reason = chain(&error), %chat, "an answer is not passed on; it is to be given again");
            }
        }
    }

    /// Says in its message in a chat that an ask is over there.
    pub(super) fn close_ask(&self, chat: &str, number: u64, by: Option<(Option<&'static str>, &Actor)>) {
        let closed: Vec<(String, Open)> = {
            let mut known = locked(&self.0.asks.known);
            let is_this = |open: &Open| open.ask.number == number && open.chat.to_string() == chat;
            let closed: Vec<(String, Open)> = known.open.extract_if(|_, open| is_this(open)).collect();
            if self.0.asks.is_starting() {
                known.over.extend(closed.iter().map(|(key, _)| key.clone()));
            }
            closed
        };
        for (_, Open { chat, ask, message }) in closed {
            let Some(message) = message else { continue };
            let (this, content) = (self.clone(), over(&ask, by));
            self.0.tasks.spawn(async move {
                if let Err(error) = this.replace(&chat, &message, &content).await {
                    tracing::warn!(reason = chain(&error), "an ask is not shown as over");
                }
            });
        }
    }
}

/// What an ask that is over becomes.
fn over(ask: &OpenAsk, by: Option<(Option<&str>, &Actor)>) -> Value {
    let how = match by {
        None => "no longer asked".to_owned(),
        Some((how, by)) => {
            let how = how.map_or(String::new(), |how| format!("{how} · "));
            format!("{how}answered by {}", one_line(&ask.people.named(by)))
        }
    };
    render::words(&format!("{} · {how}", shortened(&one_line(&ask.asked.in_a_line()), 1_000)))
}

fn refusal(words: &str) -> Answer {
    Answer::Permission(PermissionReply::Reject { message: words.to_owned() })
}

/// What a sign says; a yes says nothing of several options.
fn by_sign(asked: &Asked, decision: Decision) -> Option<Answer> {
    match (asked, decision) {
        (Asked::Permission(_), Decision::Deny) => Some(refusal(words::REFUSED)),
        (Asked::Permission(_), _) => Some(Answer::Permission(PermissionReply::Once)),
        (Asked::Question(_), Decision::Deny) => Some(Answer::Question(QuestionReply::Reject)),
        (Asked::Question(_), _) => None,
    }
}

/// What a reply says. Words about a permission request are a no, for that reason.
fn in_words(asked: &Asked, said: &str) -> Answer {
    match asked {
        Asked::Permission(_) => match said.to_lowercase().as_str() {
            "y" | "yes" => Answer::Permission(PermissionReply::Once),
            "always" => Answer::Permission(PermissionReply::Always),
            "n" | "no" => refusal(words::REFUSED),
            _ => refusal(said),
        },
        Asked::Question(ask) => Answer::Question(QuestionReply::Answers { answers: answers(ask, said) }),
    }
}

/// The answers of a reply: of several questions each has a line, and an option is named by its number, or
/// several of them by theirs.
fn answers(ask: &QuestionAsk, said: &str) -> Vec<Vec<String>> {
    if let [question] = &ask.questions[..] {
        return vec![chosen(question, said)];
    }
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // Whoever counts otherwise is told that it does not fit.
    let missing = ask.questions.len().saturating_sub(lines.len());
    let of_lines = ask.questions.iter().zip(&lines).map(|(question, line)| chosen(question, line));
    of_lines.chain((0..missing).map(|_| Vec::new())).collect()
}

fn chosen(question: &connector_contract::ask::Question, said: &str) -> Vec<String> {
    let option = |word: &str| {
        let number = word.trim().parse::<usize>().ok()?.checked_sub(1)?;
        question.options.get(number).map(|option| option.label.clone())
    };
    let all: Option<Vec<String>> = said.split(',').map(option).collect();
    match all {
        Some(labels) if labels.len() == 1 || question.multiple => labels,
        _ => vec![said.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector_contract::ask::Question;
    use connector_gate::people::People;
    use serde_json::json;

    fn question(options: &[&str], multiple: bool) -> Value {
        let options: Vec<Value> = options.iter().map(|label| json!({ "label": label })).collect();
        json!({ "question": "which?", "options": options, "multiple": multiple })
    }

    #[test]
    fn an_option_is_named_by_its_number_and_anything_else_is_said_as_it_is() {
        let one: Question = serde_json::from_value(question(&["red", "blue"], false)).unwrap();
        let several: Question = serde_json::from_value(question(&["red", "blue"], true)).unwrap();
        for (of, said, answered) in [
            (&one, "2", vec!["blue"]),
            (&one, "1,2", vec!["1,2"]),
            (&one, "3", vec!["3"]),
            (&one, "0", vec!["0"]),
            (&one, "neither, please", vec!["neither, please"]),
            (&several, "1, 2", vec!["red", "blue"]),
            (&several, "1, green", vec!["1, green"]),
        ] {
            assert_eq!(chosen(of, said), answered, "{said}");
        }
    }

    #[test]
    fn of_several_questions_each_has_a_line() {
        let questions = [question(&["red"], false), question(&[], false)];
        let ask = json!({ "id": "q", "session_id": "s", "questions": questions });
        let ask: QuestionAsk = serde_json::from_value(ask).unwrap();
        assert_eq!(answers(&ask, "1\n\n because"), [vec!["red"], vec!["because"]]);
        assert_eq!(answers(&ask, "1"), [vec!["red"], vec![]]);
    }

    #[tokio::test]
    async fn an_ask_that_is_over_in_one_chat_waits_on_in_the_others() {
        let config =
            json!({ "homeserver": "http://127.0.0.1:1", "user": "@bot:x", "access_token": "SECRETSECRET" });
        let settings = serde_json::from_value::<crate::Config>(config).unwrap().check().unwrap();
        let matrix = Matrix::new(settings, crate::NAME).unwrap();
        let asked = json!({ "id": "q", "session_id": "s", "questions": [question(&["red"], false)] });
        let asked = Asked::Question(serde_json::from_value(asked).unwrap());
        for room in ["!a", "!b"] {
            let (asked, step, people) = (asked.clone(), "1.1".parse().unwrap(), People::default());
            let ask = OpenAsk { number: 7, times: 1, step, asked, approvers: Vec::new(), people };
            let chat: ChatKey = room.parse().unwrap();
            locked(&matrix.0.asks.known).open.insert(key(&chat, &ask), Open { chat, ask, message: None });
        }
        matrix.close_ask("!a", 7, None);
        let left: Vec<String> =
            locked(&matrix.0.asks.known).open.values().map(|open| open.chat.to_string()).collect();
        assert_eq!(left, ["!b"]);
    }
}
