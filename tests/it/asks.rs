//! The agent's asks: put to a person once, answered once, never forgotten.

use std::sync::Arc;
use std::time::Duration;

use connector_contract::ask::{PermissionReply, QuestionReply};
use serde_json::{Value, json};
use testkit::fake::{Canned, Fake, Faults, Fixture, Generation, PromptFault};

use crate::resume::behind_somebody_elses_turn;
use crate::support::{Person, eventually, fake};
use crate::wires::on_wires;

on_wires! {
    both {
        each_answer_of_a_person_reaches_the_agent,
        a_command_that_cannot_be_shown_whole_is_put_to_nobody,
        an_ask_is_put_once_however_often_it_is_told,
        a_sub_agents_ask_is_put_too_whether_or_not_its_session_was_announced,
        an_ask_answered_elsewhere_is_withdrawn_and_the_turn_goes_on,
        a_reply_that_comes_too_late_is_no_error,
        an_ask_that_nobody_answers_is_rejected_at_its_deadline,
        a_policy_answers_without_a_person,
        several_questions_are_answered_together,
        answers_that_do_not_fit_the_questions_leave_nobody_waiting,
        a_relay_that_panics_costs_its_ask_and_not_the_turn,
        an_empty_rejection_goes_with_words_so_that_the_turn_goes_on,
        what_waits_for_an_answer_and_cannot_be_read_costs_no_turn,
    }
    only V2 because "on 1.x another prompt is merged into the turn that runs" {
        what_the_turn_before_asks_is_not_answered_as_ours,
    }
}

/// What was sent to answer or to turn down an ask.
fn replies(fake: &Fake) -> Vec<String> {
    let generation = fake.generation();
    let sent = [generation.permission_reply(), generation.question_reply(), generation.question_reject()];
    sent.iter().flat_map(|pattern| fake.lines(pattern)).collect()
}

/// How a permission request was answered: `once`, `always` or `reject`, and the words.
fn decisions(fake: &Fake) -> Vec<(String, Option<String>)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let bodies = fake.bodies(fake.generation().permission_reply());
    bodies
        .iter()
        .map(|it| (text(&it["reply"]).or(text(&it["decision"])).unwrap(), text(&it["message"])))
        .collect()
}

async fn each_answer_of_a_person_reaches_the_agent(generation: Generation) {
    let reject = PermissionReply::Reject { message: "not now".into() };
    for (reply, sent, words) in [
        (PermissionReply::Once, "once", None),
        // A daemon would keep it longer, and for more than was shown.
        (PermissionReply::Always, "once", None),
        (reject, "reject", Some("not now".to_owned())),
    ] {
        let (fake, mut bench) =
            fake(Fixture::of(generation, "permission-once"), Faults::default(), json!({})).await;
        let person = Person::who_says([reply]);
        bench.relay = person.clone();
        bench.run("go").await.unwrap();
        assert_eq!(decisions(&fake), [(sent.to_owned(), words)]);
        let asked = person.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0]["patterns"], json!(["echo hi > out.txt", "ls"]));
        assert_eq!(asked[0]["permission"], "bash");
        // Whole, also where the daemon tells its pieces alone.
        assert_eq!(asked[0]["call"]["input"]["command"], "echo hi > out.txt; ls");
    }
}

async fn a_command_that_cannot_be_shown_whole_is_put_to_nobody(generation: Generation) {
    let path = match generation {
        Generation::V1 => "GET /session/*/message/*",
        Generation::V2 => "GET /api/session/*/message/*",
    };
    let faults = Faults {
        canned: vec![(path.into(), Canned::json(404, &json!({ "_tag": "gone" })))],
        ..Faults::default()
    };
    let (fake, mut bench) = fake(Fixture::of(generation, "permission-once"), faults, json!({})).await;
    let person = Person::who_says([PermissionReply::Once]);
    bench.relay = person.clone();
    let _ = bench.run("go").await;
    assert_eq!(person.asked().len(), 0);
    let (decision, words) = decisions(&fake).remove(0);
    assert_eq!(decision, "reject");
    assert!(words.unwrap().contains("could not be shown to a person whole"));
}

async fn an_ask_is_put_once_however_often_it_is_told(generation: Generation) {
    for faults in [
        Faults { duplicate: true, ..Faults::default() },
        Faults { no_stream: true, ..Faults::default() },
        Faults { stream_cut_at: Some(18), pace: Duration::from_millis(1), ..Faults::default() },
        Faults { prompt: PromptFault::CutAt(5), duplicate: true, ..Faults::default() },
    ] {
        let (fake, mut bench) = fake(Fixture::of(generation, "permission-once"), faults, json!({})).await;
        let person = Person::who_says([PermissionReply::Once]);
        bench.relay = person.clone();
        assert!(bench.run("go").await.unwrap().success);
        assert_eq!((person.asked().len(), replies(&fake).len()), (1, 1));
    }
}

async fn a_sub_agents_ask_is_put_too_whether_or_not_its_session_was_announced(generation: Generation) {
    for announced in [true, false] {
        for no_stream in [false, true] {
            let faults = Faults { no_stream, ..Faults::default() };
            let (_fake, mut bench) =
                fake(Fixture::child_ask_of(generation, announced), faults, json!({})).await;
            let person = Person::who_says([PermissionReply::Once]);
            bench.relay = person.clone();
            assert!(bench.run("go").await.unwrap().success);
            let asked = person.asked();
            assert_eq!(asked[0]["session_id"], "ses_00000000000000child0000000");
        }
    }
}

async fn an_ask_answered_elsewhere_is_withdrawn_and_the_turn_goes_on(generation: Generation) {
    let (fake, mut bench) =
        fake(Fixture::of(generation, "permission-once"), Faults::default(), json!({})).await;
    let person = Arc::new(Person::default());
    bench.relay = person.clone();
    let (result, ()) = tokio::join!(bench.run("go"), async {
        eventually("the person is asked", || !person.asked().is_empty()).await;
        assert!(fake.answer_elsewhere());
    });
    assert!(result.unwrap().success);
    assert_eq!(replies(&fake), Vec::<String>::new());
}

async fn a_reply_that_comes_too_late_is_no_error(generation: Generation) {
    let gone = Canned::json(404, &json!({ "_tag": "PermissionNotFoundError" }));
    let faults = Faults { canned: vec![(generation.permission_reply().into(), gone)], ..Faults::default() };
    let (fake, mut bench) = fake(Fixture::of(generation, "permission-once"), faults, json!({})).await;
    bench.relay = Person::who_says([PermissionReply::Once]);
    let (result, ()) = tokio::join!(bench.run("go"), async {
        eventually("the reply was sent", || !replies(&fake).is_empty()).await;
        fake.answer_elsewhere();
    });
    assert!(result.unwrap().success);
    assert_eq!(replies(&fake).len(), 1);
}

async fn an_ask_that_nobody_answers_is_rejected_at_its_deadline(generation: Generation) {
    for (fixture, turned_down) in
        [("permission-once", generation.permission_reply()), ("question", generation.question_reject())]
    {
        let (fake, mut bench) =
            fake(Fixture::of(generation, fixture), Faults::default(), json!({ "ask_timeout_secs": 1 })).await;
        bench.relay = Arc::new(Person::default());
        bench.run("go").await.unwrap();
        let sent = replies(&fake);
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert_eq!(fake.lines(turned_down), sent);
        assert!(decisions(&fake).iter().all(|it| it.0 == "reject"), "{:?}", decisions(&fake));
    }
}

async fn a_policy_answers_without_a_person(generation: Generation) {
    let sent = async |policy: &str, fixture: &str| {
        let (fake, mut bench) =
            fake(Fixture::of(generation, fixture), Faults::default(), json!({ "asks": policy })).await;
        let person = Arc::new(Person::default());
        bench.relay = person.clone();
        bench.run("go").await.unwrap();
        assert_eq!(person.asked(), Vec::<Value>::new());
        (decisions(&fake), replies(&fake), fake.lines(generation.question_reject()))
    };
    assert_eq!(sent("allow", "permission-once").await.0[0].0, "once");
    let (decisions, ..) = sent("reject", "permission-once").await;
    assert_eq!(decisions[0].0, "reject");
    assert!(decisions[0].1.as_ref().is_some_and(|it| !it.is_empty()), "with a message the agent goes on");
    for policy in ["allow", "reject"] {
        let (_, all, rejected) = sent(policy, "question").await;
        assert_eq!((all.len(), rejected.len()), (1, 1), "{all:?}");
    }
}

fn two_questions(generation: Generation) -> Fixture {
    let options = json!([{ "label": "A", "description": "a" }, { "label": "B", "description": "b" }]);
    let values = json!([
        { "value": "A", "label": "A", "description": "a" },
        { "value": "B", "label": "B", "description": "b" },
    ]);
    Fixture::of(generation, "question").edited(|event| {
        if event["type"] == "question.asked" {
            event["properties"]["questions"] = json!([
                { "question": "Which?", "header": "Pick", "options": options, "multiple": true },
                { "question": "Why?", "header": "Say", "options": [] },
            ]);
        }
        if event["type"] == "form.created" {
            event["data"]["form"]["fields"] = json!([
                { "key": "q0", "title": "Pick", "description": "Which?", "type": "multiselect", "options": values },
                { "key": "q1", "title": "Say", "description": "Why?", "type": "string", "custom": true },
            ]);
        }
    })
}

async fn several_questions_are_answered_together(generation: Generation) {
    let answers = vec![vec!["A".to_owned(), "B".to_owned()], vec!["because".to_owned()]];
    let (fake, mut bench) = fake(two_questions(generation), Faults::default(), json!({})).await;
    let person = Person::who_answers([QuestionReply::Answers { answers }]);
    bench.relay = person.clone();
    assert!(bench.run("go").await.unwrap().success);
    assert_eq!(person.asked()[0]["questions"][0]["multiple"], true);
    let sent = match generation {
        Generation::V1 => json!({ "answers": [["A", "B"], ["because"]] }),
        Generation::V2 => json!({ "answer": { "q0": ["A", "B"], "q1": "because" } }),
    };
    assert_eq!(fake.bodies(generation.question_reply()), [sent]);
}

async fn answers_that_do_not_fit_the_questions_leave_nobody_waiting(generation: Generation) {
    let answers = vec![vec!["A".to_owned()]];
    let (fake, mut bench) = fake(two_questions(generation), Faults::default(), json!({})).await;
    bench.relay = Person::who_answers([QuestionReply::Answers { answers }]);
    bench.run("go").await.unwrap();
    assert_eq!(fake.lines(generation.question_reject()), replies(&fake));
}

async fn an_empty_rejection_goes_with_words_so_that_the_turn_goes_on(generation: Generation) {
    for message in ["", " "] {
        let (fake, mut bench) =
            fake(Fixture::of(generation, "permission-once"), Faults::default(), json!({})).await;
        bench.relay = Person::who_says([PermissionReply::Reject { message: message.into() }]);
        assert!(bench.run("go").await.unwrap().success);
        assert_eq!(decisions(&fake), [("reject".to_owned(), Some("a person said no".to_owned()))]);
    }
}

async fn what_waits_for_an_answer_and_cannot_be_read_costs_no_turn(generation: Generation) {
    let failed = |request: &str| (request.to_owned(), Canned::empty(500));
    let canned = match generation {
        Generation::V1 => vec![failed("GET /permission"), failed("GET /session/*/children")],
        Generation::V2 => vec![failed("GET /api/session/*/permission"), failed("GET /api/session?")],
    };
    let faults = Faults { canned, pace: Duration::from_millis(25), ..Faults::default() };
    let (fake, bench) = fake(Fixture::of(generation, "write"), faults, json!({})).await;
    let began = tokio::time::Instant::now();
    assert!(bench.run("go").await.unwrap().success);
    assert!(
        began.elapsed() > crate::support::impatient().give_up && fake.lines(generation.abort()).is_empty()
    );
}

async fn what_the_turn_before_asks_is_not_answered_as_ours(generation: Generation) {
    let (fake, mut bench) =
        fake(Fixture::of(generation, "permission-once"), Faults::default(), json!({})).await;
    let person = Person::who_says([PermissionReply::Once]);
    bench.relay = person.clone();
    let queued = behind_somebody_elses_turn(&fake).await;
    bench.resume = Some(queued.clone());
    let (result, ()) = tokio::join!(bench.run("go"), async {
        let looks = || fake.lines("GET /api/session/*/permission").len();
        eventually("theirs was seen and left", || looks() > 2 || !person.asked().is_empty()).await;
        assert_eq!((person.asked(), replies(&fake)), (Vec::new(), Vec::new()));
        assert!(fake.answer_elsewhere());
    });
    assert!(result.unwrap().success);
    assert_eq!((person.asked().len(), replies(&fake).len()), (1, 1));
}

async fn a_relay_that_panics_costs_its_ask_and_not_the_turn(generation: Generation) {
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
        fake(Fixture::of(generation, "permission-once"), Faults::default(), json!({ "ask_timeout_secs": 1 }))
            .await;
    bench.relay = Arc::new(Clumsy);
    bench.run("go").await.unwrap();
    assert_eq!(decisions(&fake)[0].0, "reject");
}
