//! The agent's asks: put to a person once, answered once, never forgotten.

use std::sync::Arc;
use std::time::Duration;

use connector_contract::ask::{PermissionReply, QuestionReply};
use serde_json::{Value, json};
use testkit::fake::{Canned, Faults, Fixture, PromptFault};

use crate::support::{Person, eventually, fake};

fn replies(fake: &testkit::fake::Fake) -> Vec<String> {
    let requests = fake.requests();
    requests.into_iter().filter(|line| line.contains("/reply") || line.contains("/reject")).collect()
}

#[tokio::test]
async fn each_answer_of_a_person_reaches_the_agent() {
    let reject = PermissionReply::Reject { message: "not now".into() };
    for (reply, sent) in [
        (PermissionReply::Once, json!({ "reply": "once" })),
        (PermissionReply::Always, json!({ "reply": "always" })),
        (reject, json!({ "reply": "reject", "message": "not now" })),
    ] {
        let (fake, mut bench) =
            fake(Fixture::recorded("permission-once"), Faults::default(), json!({})).await;
        let person = Person::who_says([reply]);
        bench.relay = person.clone();
        bench.run("go").await.unwrap();
        assert_eq!(fake.bodies("POST /permission/"), [sent]);
        let asked = person.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0]["patterns"], json!(["echo hi > out.txt", "ls"]));
    }
}

#[tokio::test]
async fn an_ask_is_put_once_however_often_it_is_told() {
    for faults in [
        Faults { duplicate: true, ..Faults::default() },
        Faults { no_stream: true, ..Faults::default() },
        Faults { stream_cut_at: Some(18), pace: Duration::from_millis(1), ..Faults::default() },
        Faults { prompt: PromptFault::CutAt(5), duplicate: true, ..Faults::default() },
    ] {
        let (fake, mut bench) = fake(Fixture::recorded("permission-once"), faults, json!({})).await;
        let person = Person::who_says([PermissionReply::Once]);
        bench.relay = person.clone();
        assert!(bench.run("go").await.unwrap().success);
        assert_eq!((person.asked().len(), replies(&fake).len()), (1, 1));
    }
}

#[tokio::test]
async fn a_sub_agents_ask_is_put_too_whether_or_not_its_session_was_announced() {
    for announced in [true, false] {
        for no_stream in [false, true] {
            let faults = Faults { no_stream, ..Faults::default() };
            let (_fake, mut bench) = fake(Fixture::child_ask(announced), faults, json!({})).await;
            let person = Person::who_says([PermissionReply::Once]);
            bench.relay = person.clone();
            assert!(bench.run("go").await.unwrap().success);
            let asked = person.asked();
            assert_eq!(asked[0]["session_id"], "ses_00000000000000child0000000");
        }
    }
}

#[tokio::test]
async fn an_ask_answered_elsewhere_is_withdrawn_and_the_turn_goes_on() {
    let (fake, mut bench) = fake(Fixture::recorded("permission-once"), Faults::default(), json!({})).await;
    let person = Arc::new(Person::default());
    bench.relay = person.clone();
    let (result, ()) = tokio::join!(bench.run("go"), async {
        eventually("the person is asked", || !person.asked().is_empty()).await;
        assert!(fake.answer_elsewhere());
    });
    assert!(result.unwrap().success);
    assert_eq!(replies(&fake), Vec::<String>::new());
}

#[tokio::test]
async fn a_reply_that_comes_too_late_is_no_error() {
    let gone = Canned::json(404, &json!({ "_tag": "PermissionNotFoundError" }));
    let faults = Faults { canned: vec![("POST /permission/".into(), gone)], ..Faults::default() };
    let (fake, mut bench) = fake(Fixture::recorded("permission-once"), faults, json!({})).await;
    bench.relay = Person::who_says([PermissionReply::Once]);
    let (result, ()) = tokio::join!(bench.run("go"), async {
        eventually("the reply was sent", || !replies(&fake).is_empty()).await;
        fake.answer_elsewhere();
    });
    assert!(result.unwrap().success);
    assert_eq!(replies(&fake).len(), 1);
}

#[tokio::test]
async fn an_ask_that_nobody_answers_is_rejected_at_its_deadline() {
    for (fixture, path) in [("permission-once", "/permission/"), ("question", "/question/")] {
        let (fake, mut bench) =
            fake(Fixture::recorded(fixture), Faults::default(), json!({ "ask_timeout_secs": 1 })).await;
        bench.relay = Arc::new(Person::default());
        bench.run("go").await.unwrap();
        let sent = replies(&fake);
        assert_eq!(sent.len(), 1, "{sent:?}");
        let rejected =
            sent[0].ends_with("/reject") || fake.bodies("POST /permission/")[0]["reply"] == "reject";
        assert!(sent[0].contains(path) && rejected, "{sent:?}");
    }
}

#[tokio::test]
async fn a_policy_answers_without_a_person() {
    let sent = async |policy: &str, fixture: &str| {
        let (fake, mut bench) =
            fake(Fixture::recorded(fixture), Faults::default(), json!({ "asks": policy })).await;
        let person = Arc::new(Person::default());
        bench.relay = person.clone();
        bench.run("go").await.unwrap();
        assert_eq!(person.asked(), Vec::<Value>::new());
        (fake.bodies("POST /permission/"), replies(&fake))
    };
    assert_eq!(sent("allow", "permission-once").await.0[0]["reply"], "once");
    let (bodies, _) = sent("reject", "permission-once").await;
    assert_eq!(bodies[0]["reply"], "reject");
    assert!(
        bodies[0]["message"].as_str().is_some_and(|it| !it.is_empty()),
        "with a message the agent goes on"
    );
    for policy in ["allow", "reject"] {
        assert!(sent(policy, "question").await.1[0].ends_with("/reject"));
    }
}

fn two_questions() -> Fixture {
    let options = json!([{ "label": "A", "description": "a" }, { "label": "B", "description": "b" }]);
    Fixture::recorded("question").edited(|event| {
        if event["type"] == "question.asked" {
            event["properties"]["questions"] = json!([
                { "question": "Which?", "header": "Pick", "options": options, "multiple": true },
                { "question": "Why?", "header": "Say", "options": [] },
            ]);
        }
    })
}

#[tokio::test]
async fn several_questions_are_answered_together() {
    let answers = vec![vec!["A".to_owned(), "B".to_owned()], vec!["because".to_owned()]];
    let (fake, mut bench) = fake(two_questions(), Faults::default(), json!({})).await;
    let person = Person::who_answers([QuestionReply::Answers { answers }]);
    bench.relay = person.clone();
    assert!(bench.run("go").await.unwrap().success);
    assert_eq!(person.asked()[0]["questions"][0]["multiple"], true);
    assert_eq!(fake.bodies("POST /question/"), [json!({ "answers": [["A", "B"], ["because"]] })]);
}

#[tokio::test]
async fn answers_that_do_not_fit_the_questions_leave_nobody_waiting() {
    let answers = vec![vec!["A".to_owned()]];
    let (fake, mut bench) = fake(two_questions(), Faults::default(), json!({})).await;
    bench.relay = Person::who_answers([QuestionReply::Answers { answers }]);
    bench.run("go").await.unwrap();
    assert!(replies(&fake)[0].ends_with("/reject"), "{:?}", replies(&fake));
}

#[tokio::test]
async fn a_relay_that_panics_costs_its_ask_and_not_the_turn() {
    struct Clumsy;
    #[async_trait::async_trait]
    impl connector_contract::AskRelay for Clumsy {
        async fn permission(&self, _: connector_contract::ask::PermissionAsk) -> PermissionReply {
            panic!("clumsy on purpose")
        }
        async fn question(&self, _: connector_contract::ask::QuestionAsk) -> QuestionReply {
            panic!("clumsy on purpose")
        }
    }
    let (fake, mut bench) =
        fake(Fixture::recorded("permission-once"), Faults::default(), json!({ "ask_timeout_secs": 1 })).await;
    bench.relay = Arc::new(Clumsy);
    bench.run("go").await.unwrap();
    assert_eq!(fake.bodies("POST /permission/")[0]["reply"], "reject");
}
