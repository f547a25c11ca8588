//! What an agent asks, and what comes of each answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use connector_contract::ask::{PermissionAsk, PermissionReply, QuestionAsk, QuestionReply};
use connector_contract::{AskRelay, Progress, ToolOutcome};
use serde_json::{Value, json};
use testkit::fake::Generation;
use testkit::{Answer, Call, RealDaemon, Script, Turn};

use super::{bash, bench, offered, place, reply};
use crate::support::{Person, eventually};
use crate::wires::on_wires;

on_wires! {
    threaded {
        permissions_are_asked_and_each_answer_is_heeded,
        an_edit_and_an_address_are_shown_with_what_they_would_do,
        one_refusal_of_two_asks_ends_what_it_ends_and_says_so,
        questions_are_answered_one_or_several,
        a_declined_question_is_told_as_what_it_is,
        a_sub_agents_ask_is_answered,
        an_agent_that_must_ask_cannot_let_a_sub_agent_do_it_unasked,
    }
}

fn no(message: &str) -> PermissionReply {
    PermissionReply::Reject { message: message.into() }
}

async fn permissions_are_asked_and_each_answer_is_heeded(generation: Generation) {
    for (number, answer, runs) in [
        (1, PermissionReply::Once, true),
        (2, PermissionReply::Always, true),
        (3, no("use another way"), false),
        (4, no(""), false),
    ] {
        let (daemon, directory) = place(generation).await;
        let prompt = format!("ASK-3-{number}");
        daemon.model().add(bash(&prompt, "echo hi > out.txt"));
        let mut bench = bench(daemon, &directory, json!({ "permissions": { "bash": "ask" } })).await;
        let person = Person::who_says([answer]);
        bench.relay = person.clone();
        let (result, seen) = bench.watch(&prompt).await;
        let result = result.unwrap();
        assert_eq!(reply(&result), format!("ran {prompt}"), "the agent goes on, told why or not");
        assert_eq!(directory.join("out.txt").exists(), runs);
        let asked = person.asked();
        assert_eq!((asked.len(), &asked[0]["permission"]), (1, &json!("bash")));
        assert!(asked[0].to_string().contains("echo hi > out.txt"), "{asked:?}");
        let refused = ToolOutcome::Refused { by: "a person".to_owned() };
        let told =
            |it: &Progress| matches!(it, Progress::ToolFinished { outcome, .. } if *outcome == refused);
        assert_eq!(seen.iter().any(told), !runs, "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_holds_for_the_command_that_was_shown_and_in_its_session_alone() {
    for generation in [Generation::V1, Generation::V2] {
        let (daemon, directory) = place(generation).await;
        let commands = ["cd .git && ls *", "D=README.md; ls $D", "D=.git; ls $D", "D=README.md; ls $D"];
        let script = commands.iter().enumerate().fold(Script::default(), |script, (done, command)| {
            script.call("GRANT-3", done, "bash", json!({ "command": command, "description": "list" }))
        });
        daemon.model().add(script.reply("GRANT-3", "listed"));
        let mut bench = bench(daemon, &directory, json!({ "permissions": { "bash": "ask" } })).await;
        let (once, always) = (PermissionReply::Once, PermissionReply::Always);
        // A later session of the directory asks anew.
        for turn in 1..=2 {
            let person = Person::who_says([once.clone(), always.clone(), once.clone()]);
            bench.relay = person.clone();
            assert_eq!(reply(&bench.run("GRANT-3").await.unwrap()), "listed");
            let asked = person.asked();
            let shown: Vec<&str> =
                asked.iter().filter_map(|ask| ask["call"]["input"]["command"].as_str()).collect();
            assert_eq!(shown, commands[..3], "turn {turn}: the fourth was shown before, to the byte");
        }
    }
}

async fn an_edit_and_an_address_are_shown_with_what_they_would_do(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    let write = json!({ "filePath": directory.join("hello.txt"), "content": "hello\n" });
    let fetch = json!({ "url": "http://127.0.0.1:9/page", "format": "text" });
    let script = Script::default()
        .call("SHOWN-4", 0, "write", write)
        .call("SHOWN-4", 1, "webfetch", fetch)
        .reply("SHOWN-4", "shown");
    daemon.model().add(script);
    let config = json!({ "permissions": { "edit": "ask", "webfetch": "ask" } });
    let mut bench = bench(daemon, &directory, config).await;
    let person = Person::who_says([PermissionReply::Once, no("not there")]);
    bench.relay = person.clone();
    assert_eq!(reply(&bench.run("SHOWN-4").await.unwrap()), "shown");
    let asked = person.asked();
    assert_eq!(asked[0]["permission"], "edit");
    let change = asked[0]["metadata"].to_string();
    assert!(change.contains("+hello"), "{change}");
    assert_eq!(asked[0]["patterns"], json!(["hello.txt"]));
    assert_eq!(asked[1]["permission"], "webfetch");
    assert_eq!(asked[1]["metadata"]["url"], "http://127.0.0.1:9/page", "{}", asked[1]);
}

/// Refuses the second of two requests, when both are there, and never answers the first.
#[derive(Default)]
struct Second {
    asked: AtomicUsize,
    withdrawn: Arc<AtomicUsize>,
}

struct Withdrawn(Arc<AtomicUsize>);

impl Drop for Withdrawn {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl AskRelay for Second {
    async fn permission(&self, _ask: PermissionAsk) -> PermissionReply {
        if self.asked.fetch_add(1, Ordering::Relaxed) == 1 {
            return no("not this");
        }
        let _withdrawn = Withdrawn(Arc::clone(&self.withdrawn));
        std::future::pending().await
    }

    async fn question(&self, _ask: QuestionAsk) -> QuestionReply {
        QuestionReply::Reject
    }
}

fn two_commands(prompt: &str) -> Script {
    let bash = |name: &str| Call {
        tool: "bash".into(),
        arguments: json!({ "command": format!("echo {name} > {name}.txt"), "description": name }),
    };
    let answer = Answer::Tools { text: String::new(), calls: vec![bash("one"), bash("two")] };
    Script::default()
        .turn(Turn { prompt: Some(prompt.into()), tools_done: Some(0), times: None, answer })
        .reply(prompt, "went on")
}

/// 1.x tells the agent of both refusals and goes on; 2.x ends the turn.
async fn one_refusal_of_two_asks_ends_what_it_ends_and_says_so(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    daemon.model().add(two_commands("TWO-5"));
    let mut bench = bench(daemon, &directory, json!({ "permissions": { "bash": "ask" } })).await;
    let person = Arc::new(Second::default());
    bench.relay = person.clone();
    let result = bench.run("TWO-5").await.unwrap();
    assert!(!directory.join("one.txt").exists() && !directory.join("two.txt").exists());
    let withdrawn = || person.withdrawn.load(Ordering::Relaxed);
    eventually("the other ask is withdrawn", || withdrawn() == 1).await;
    if generation == Generation::V2 {
        assert!(!result.success);
        assert_eq!(result.message, "the turn ended without a reply: a request of the agent's was refused");
    }
}

fn asks(prompt: &str, questions: &Value) -> Script {
    Script::default()
        .call(prompt, 0, "question", json!({ "questions": questions }))
        .reply(prompt, &format!("thanks {prompt}"))
}

fn choice(question: &str, multiple: bool) -> Value {
    let option = |label: &str| json!({ "label": label, "description": label });
    json!({ "question": question, "header": "Pick", "options": [option("A"), option("B")], "multiple": multiple })
}

async fn questions_are_answered_one_or_several(generation: Generation) {
    for (prompt, questions, answers) in [
        ("QUESTION-6-one", json!([choice("Which?", false)]), vec![vec!["A"]]),
        ("QUESTION-6-own", json!([choice("Which?", false)]), vec![vec!["neither of them"]]),
        ("QUESTION-6-several", json!([choice("Which?", true)]), vec![vec!["A", "B"]]),
        (
            "QUESTION-6-two",
            json!([choice("Which?", true), choice("Why?", false)]),
            vec![vec!["B"], vec!["A"]],
        ),
    ] {
        let (daemon, directory) = place(generation).await;
        daemon.model().add(asks(prompt, &questions));
        let mut bench = bench(daemon, &directory, json!({})).await;
        let answers: Vec<Vec<String>> =
            answers.iter().map(|all| all.iter().map(|it| (*it).to_owned()).collect()).collect();
        let person = Person::who_answers([QuestionReply::Answers { answers: answers.clone() }]);
        bench.relay = person.clone();
        assert_eq!(reply(&bench.run(prompt).await.unwrap()), format!("thanks {prompt}"));
        let asked = person.asked();
        assert_eq!(asked[0]["questions"][0]["multiple"], questions[0]["multiple"]);
        assert_eq!(asked[0]["questions"][0]["question"], "Which?");
        let told = super::told_of_tool(daemon, prompt).unwrap();
        for answer in answers.iter().flatten() {
            assert!(told.contains(answer.as_str()), "{told}");
        }
    }
}

/// 1.x tells the agent, which goes on or stops as it likes; 2.x ends the turn.
async fn a_declined_question_is_told_as_what_it_is(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    daemon.model().add(asks("DECLINED-7", &json!([choice("Which?", false)])));
    let mut bench = bench(daemon, &directory, json!({})).await;
    bench.relay = Person::who_answers([QuestionReply::Reject]);
    let result = bench.run("DECLINED-7").await.unwrap();
    assert!(!result.success, "{result:?}");
    assert_eq!(result.message, "the turn ended without a reply: a question of the agent's was not answered");
}

fn delegating(parent: &str, child: &str) -> Script {
    let task =
        json!({ "description": "look", "prompt": format!("{child} do it"), "subagent_type": "general" });
    bash(child, "echo child > child.txt").call(parent, 0, "task", task).reply(parent, "all done")
}

/// On 1.x rules of a session that ask do not reach its sub-agents; the daemon's own do.
async fn a_sub_agents_ask_is_answered(generation: Generation) {
    let adjust = |spec: &mut opencode_daemons::Spec| spec.config["permission"] = json!({ "bash": "ask" });
    let daemon = RealDaemon::with_on(generation, delegating("PARENT-6", "CHILD-6"), adjust).await.unwrap();
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let mut bench = bench(&daemon, &directory, json!({})).await;
    let person = Person::who_says([PermissionReply::Once]);
    bench.relay = person.clone();
    let (result, seen) = bench.watch("PARENT-6").await;
    let result = result.unwrap();
    assert_eq!(reply(&result), "all done");
    assert!(directory.join("child.txt").exists());
    assert_ne!(person.asked()[0]["session_id"], result.output["session_id"]);
    assert!(seen.iter().any(|it| matches!(it, Progress::SubAgentStarted { .. })), "{seen:?}");
}

/// Sub-agents are not even offered.
async fn an_agent_that_must_ask_cannot_let_a_sub_agent_do_it_unasked(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    daemon.model().add(delegating("PARENT-16", "CHILD-16"));
    let bench = bench(daemon, &directory, json!({ "permissions": { "bash": "ask" } })).await;
    let result = bench.run("PARENT-16").await;
    assert!(!directory.join("child.txt").exists(), "{result:?}");
    let tools = offered(daemon, "PARENT-16");
    let (command, delegate) = match generation {
        Generation::V1 => ("bash", "task"),
        Generation::V2 => ("shell", "subagent"),
    };
    let offers = |name: &str| tools.iter().any(|tool| tool == name);
    assert!(offers(command) && !offers(delegate), "{tools:?}");
}
