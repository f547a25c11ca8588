//! Asks: what an agent wants to know while it works.

use connector_contract::ask::{PermissionAsk, PermissionReply, Question, QuestionAsk, QuestionReply};
use connector_gate::ask::{Answer, Answered, Asked};
use serde_json::json;

use super::house::{House, TOGETHER};
use super::platform::{Platform, Who};
use crate::probe::Shared;

fn may(what: &str) -> Asked {
    let (id, session_id) = ("per_1".into(), "ses_1".into());
    let patterns = vec![what.to_owned()];
    Asked::Permission(PermissionAsk {
        id,
        session_id,
        permission: "bash".into(),
        patterns,
        metadata: json!({}),
        call: None,
    })
}

fn which(question: &str) -> Asked {
    let question = Question {
        question: question.to_owned(),
        header: String::new(),
        options: Vec::new(),
        multiple: false,
    };
    Asked::Question(QuestionAsk { id: "que_1".into(), session_id: "ses_1".into(), questions: vec![question] })
}

/// A host whose next step asks this.
async fn asking<P: Platform>(ask: Asked) -> House<P> {
    let house = House::<P>::with(Shared::open(), |_| {}).await;
    house.probe.asks.lock().unwrap().push(ask);
    house
}

impl<P: Platform> House<P> {
    /// Waits until the agent has its answer.
    async fn answered(&self) -> serde_json::Value {
        self.until("SELECT count(*) FROM steps WHERE state = 'succeeded'").await;
        let answers = self.probe.answers.lock().unwrap();
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers[0].clone()
    }
}

pub(super) async fn a_permission_is_asked_in_the_chat_and_answered_there<P: Platform>() {
    let mut house = asking::<P>(may("make clean")).await;
    house.approved("/fix a").await;
    let ask = house.open(0, "make clean").await;
    house.platform.permit(Who::Anna, 0, &ask, PermissionReply::Once).await;
    assert_eq!(house.answered().await, json!(PermissionReply::Once));
    house.stop().await;
}

pub(super) async fn a_refused_permission_reaches_the_agent<P: Platform>() {
    let mut house = asking::<P>(may("make clean")).await;
    house.approved("/fix a").await;
    let ask = house.open(0, "make clean").await;
    house.platform.permit(Who::Anna, 0, &ask, PermissionReply::Reject { message: String::new() }).await;
    let answer = house.answered().await;
    assert!(answer.to_string().contains("reject"), "{answer}");
    house.stop().await;
}

pub(super) async fn a_question_takes_words<P: Platform>() {
    let mut house = asking::<P>(which("Which branch?")).await;
    house.approved("/fix a").await;
    let ask = house.open(0, "Which branch?").await;
    house.platform.answer(Who::Anna, 0, &ask, "the release one").await;
    let answers = vec![vec!["the release one".to_owned()]];
    assert_eq!(house.answered().await, json!(QuestionReply::Answers { answers }));
    house.stop().await;
}

pub(super) async fn who_may_not_approve_does_not_answer<P: Platform>() {
    let mut house = asking::<P>(may("make clean")).await;
    house.approved_in(TOGETHER, "/fix a").await;
    let ask = house.open(TOGETHER, "make clean").await;
    for who in [Who::Carol, Who::Stranger] {
        house.platform.permit(who, TOGETHER, &ask, PermissionReply::Always).await;
    }
    house.platform.say(Who::Anna, TOGETHER, "/fix b").await;
    house.card(TOGETHER, "/fix b").await;
    assert_eq!(house.probe.answers.lock().unwrap().len(), 0);
    house.platform.permit(Who::Ben, TOGETHER, &ask, PermissionReply::Once).await;
    assert_eq!(house.answered().await, json!(PermissionReply::Once));
    house.stop().await;
}

pub(super) async fn what_was_answered_elsewhere_is_over_here<P: Platform>() {
    let mut house = asking::<P>(may("make clean")).await;
    house.approved("/fix a").await;
    let ask = house.open(0, "make clean").await;
    let (ben, number) = (house.platform.actor(Who::Ben), house.engine().open_asks()[0].number);
    let answer = Answer::Permission(PermissionReply::Once);
    assert_eq!(house.engine().answer(number, &ben, answer).await.unwrap(), Answered::PassedOn);
    assert_eq!(house.answered().await, json!(PermissionReply::Once));
    if P::TRAITS.edits {
        house.see(0, "the ask is over", |it| it.id == ask.id && !it.is_open()).await;
    } else {
        house.see_text(0, "allowed once").await;
    }
    house.stop().await;
}

pub(super) async fn an_ask_whose_step_was_stopped_is_over<P: Platform>() {
    let mut house = asking::<P>(may("make clean")).await;
    house.approved("/fix a").await;
    let ask = house.open(0, "make clean").await;
    house.platform.say(Who::Anna, 0, "/abort").await;
    house.see_text(0, "1.1 stopped").await;
    if P::TRAITS.edits {
        house.see(0, "the ask is over", |it| it.id == ask.id && !it.is_open()).await;
    }
    house.platform.permit(Who::Anna, 0, &ask, PermissionReply::Once).await;
    house.asked("/fix b").await;
    assert_eq!(house.probe.answers.lock().unwrap().len(), 0);
    house.stop().await;
}

pub(super) async fn two_answers_at_once_are_one<P: Platform>() {
    let mut house = asking::<P>(may("make clean")).await;
    house.approved_in(TOGETHER, "/fix a").await;
    let ask = house.open(TOGETHER, "make clean").await;
    let number = house.engine().open_asks()[0].number;
    let reject = Answer::Permission(PermissionReply::Reject { message: String::new() });
    let ben = house.platform.actor(Who::Ben);
    let ((), his) = tokio::join!(
        house.platform.permit(Who::Anna, TOGETHER, &ask, PermissionReply::Once),
        house.engine().answer(number, &ben, reject),
    );
    let heard = house.answered().await.to_string();
    assert_eq!(his.unwrap() == Answered::PassedOn, heard.contains("reject"), "the agent heard {heard}");
    house.stop().await;
}

pub(super) async fn what_an_agent_asks_is_shown_written_out<P: Platform>() {
    let mut house = asking::<P>(may("rm \u{202e}gnp.exe\u{1b}[2K")).await;
    house.approved("/fix a").await;
    let ask = house.open(0, "gnp.exe").await;
    assert!(!ask.text.contains(['\u{202e}', '\u{1b}']) && ask.text.contains("\\u{202e}"), "{ask:#?}");
    house.platform.permit(Who::Anna, 0, &ask, PermissionReply::Once).await;
    house.answered().await;
    house.stop().await;
}
