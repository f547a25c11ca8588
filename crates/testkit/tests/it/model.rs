//! The scripted model's HTTP, without a daemon.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Answer, Script, ScriptedModel};

use crate::client::call;

fn request(prompt: &str, tools_done: usize, stream: bool) -> Value {
    let mut messages = vec![json!({ "role": "user", "content": prompt })];
    messages.extend((0..tools_done).map(|_| json!({ "role": "tool", "content": "done" })));
    json!({ "model": "scripted", "stream": stream, "messages": messages, "tools": [{ "type": "function" }] })
}

async fn ask(model: &ScriptedModel, body: &Value) -> (u16, Value) {
    call(Method::POST, &format!("{}/chat/completions", model.base_url()), None, Some(body)).await
}

#[tokio::test]
async fn the_first_fitting_turn_answers_and_every_request_is_kept() {
    let script = Script::default().call("fix", 0, "bash", json!({ "command": "ls" })).reply("fix", "fixed");
    let model = ScriptedModel::start(script).unwrap();

    let (_, first) = ask(&model, &request("fix it", 0, false)).await;
    let call = &first["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "bash");
    assert_eq!(call["arguments"], r#"{"command":"ls"}"#);
    let (_, second) = ask(&model, &request("fix it", 1, false)).await;
    assert_eq!(second["choices"][0]["message"]["content"], "fixed");

    let seen = model.seen();
    assert_eq!(seen.iter().map(|seen| seen.tools_done).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(seen[0].body["messages"][0]["content"], "fix it");
    assert!(model.misses().is_empty());
}

#[tokio::test]
async fn a_streamed_answer_is_chunks_with_one_end() {
    let chunks = vec!["one ".to_owned(), "two".to_owned()];
    let model =
        ScriptedModel::start(Script::default().answer("go", Answer::Text { chunks, delay_ms: 1 })).unwrap();
    let (status, stream) = ask(&model, &request("go", 0, true)).await;
    assert_eq!(status, 200);
    let events: Vec<_> =
        stream.as_str().unwrap().lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(events.len(), 4);
    assert_eq!(events[3], "[DONE]");
    let text: String = events[..2]
        .iter()
        .map(|event| {
            serde_json::from_str::<Value>(event).unwrap()["choices"][0]["delta"]["content"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(text, "one two");
}

#[tokio::test]
async fn an_error_turn_is_an_http_error_for_as_often_as_it_says() {
    let script = Script::from_toml(
        r#"
        [[turn]]
        times = 1
        answer = { kind = "error", status = 429, body = { error = { message = "slow down" } } }
        [[turn]]
        answer = { kind = "text", chunks = ["better"] }
        "#,
    )
    .unwrap();
    let model = ScriptedModel::start(script).unwrap();
    let (status, body) = ask(&model, &request("x", 0, true)).await;
    assert_eq!((status, &body["error"]["message"]), (429, &json!("slow down")));
    let (status, _) = ask(&model, &request("x", 0, true)).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn what_fits_nothing_says_so_and_is_a_miss() {
    let model = ScriptedModel::start(Script::default()).unwrap();
    let (_, answer) = ask(&model, &request("unheard of", 2, false)).await;
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.contains("no turn") && text.contains("unheard of"), "{text}");
    assert_eq!(model.misses().len(), 1);
}

#[tokio::test]
async fn a_request_without_tools_is_the_title_generators_and_no_miss() {
    let model = ScriptedModel::start(Script::default()).unwrap();
    ask(&model, &json!({ "messages": [{ "role": "user", "content": "hi" }] })).await;
    assert!(model.seen()[0].title);
    assert!(model.misses().is_empty());
}

#[tokio::test]
async fn a_hanging_answer_waits_for_its_release() {
    let model =
        ScriptedModel::start(Script::default().answer("", Answer::Hang { text: "at last".into() })).unwrap();
    let body = request("wait", 0, false);
    let asking = ask(&model, &body);
    tokio::pin!(asking);
    tokio::select! {
        answer = &mut asking => panic!("answered early: {answer:?}"),
        arrived = model.wait_for(Duration::from_secs(10), |seen| seen.len() == 1) => assert!(arrived),
    }
    model.release();
    let (_, answer) = asking.await;
    assert_eq!(answer["choices"][0]["message"]["content"], "at last");
}

#[tokio::test]
async fn turns_can_be_added_while_it_runs() {
    let model = ScriptedModel::start(Script::default()).unwrap();
    model.add(Script::default().reply("later", "here"));
    let (_, answer) = ask(&model, &request("later", 0, false)).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "here");
}
