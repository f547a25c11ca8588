//! Several turns, and several people, in one session.

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::fake::Generation;
use testkit::{Answer, RealDaemon, Script, Turn};

use super::{bench, place, reply};
use crate::support::eventually;
use crate::wires::on_wires;

on_wires! {
    threaded {
        fifty_turns_in_ten_sessions_at_once_are_each_answered_with_their_own,
        turns_of_one_session_sent_at_once_are_answered_one_by_one,
    }
    only V2 because "on 1.x another prompt is merged into the turn that runs" {
        somebody_elses_prompt_in_the_session_runs_first_and_is_not_ours,
    }
}

/// Asks a daemon as another client would.
pub(super) async fn ask(
    daemon: &RealDaemon,
    method: reqwest::Method,
    path: &str,
    body: Option<Value>,
) -> Value {
    #[expect(clippy::disallowed_methods, reason = "tests speak to what they started themselves")]
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let password = daemon.password();
    let request = client
        .request(method, format!("{}{path}", daemon.base_url()))
        .basic_auth("opencode", Some(password.expose_secret()));
    let request = match body {
        Some(body) => request.header("content-type", "application/json").body(body.to_string()),
        None => request,
    };
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default()
}

pub(super) async fn get(daemon: &RealDaemon, path: &str) -> Value {
    ask(daemon, reqwest::Method::GET, path, None).await
}

async fn fifty_turns_in_ten_sessions_at_once_are_each_answered_with_their_own(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    for number in 0..50 {
        let prompt = format!("MANY-14-{number}-END");
        let answer = Answer::text(&format!("answer {number}"));
        daemon.model().add(Script::default().turn(Turn {
            prompt: Some(prompt),
            tools_done: None,
            times: None,
            answer,
        }));
    }
    let bench = bench(daemon, &directory, json!({ "parallel_turns": true })).await;
    let session = async |first: usize| {
        let mut session = Value::Null;
        for number in first..first + 5 {
            let prompt = format!("MANY-14-{number}-END");
            let result = if session.is_null() {
                bench.run(&prompt).await.unwrap()
            } else {
                let input = json!({ "session_id": session, "prompt": prompt });
                bench.execute("continue_session", input).await.unwrap()
            };
            assert_eq!(reply(&result), format!("answer {number}"));
            session = result.output["session_id"].clone();
        }
    };
    // The five turns of a session wait for each other inside the connector too.
    let all = (0..10).map(|number| session(number * 5));
    futures_util::future::join_all(all).await;
}

async fn turns_of_one_session_sent_at_once_are_answered_one_by_one(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    let mut script = Script::default();
    for number in 0..5 {
        script = script.reply(&format!("SAME-15-{number}"), &format!("same {number}"));
    }
    daemon.model().add(script);
    let bench = bench(daemon, &directory, json!({ "parallel_turns": true })).await;
    let first = bench.run("SAME-15-0").await.unwrap();
    let turns = (1..5).map(|number| {
        let input =
            json!({ "session_id": first.output["session_id"], "prompt": format!("SAME-15-{number}") });
        bench.execute("continue_session", input)
    });
    let replies = futures_util::future::join_all(turns).await;
    for (index, result) in replies.into_iter().enumerate() {
        assert_eq!(reply(&result.unwrap()), format!("same {}", index + 1));
    }
}

/// Theirs is under way when ours is sent: ours waits, and has its own answer.
async fn somebody_elses_prompt_in_the_session_runs_first_and_is_not_ours(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    let slow = Answer::Text { chunks: (0..30).map(|it| format!("{it} ")).collect(), delay_ms: 100 };
    let script = Script::default()
        .reply("MINE-16-first", "begun")
        .answer("THEIRS-16", slow)
        .reply("MINE-16-second", "mine alone");
    daemon.model().add(script);
    let bench = bench(daemon, &directory, json!({})).await;
    let first = bench.run("MINE-16-first").await.unwrap();
    let session = first.output["session_id"].as_str().unwrap();
    let path = format!("/api/session/{session}/prompt");
    let theirs = json!({ "text": "THEIRS-16", "delivery": "queue" });
    ask(daemon, reqwest::Method::POST, &path, Some(theirs)).await;
    let model = daemon.model();
    eventually("theirs runs", || model.seen().iter().any(|it| it.prompt.contains("THEIRS-16") && !it.title))
        .await;
    let input = json!({ "session_id": session, "prompt": "MINE-16-second" });
    let second = bench.execute("continue_session", input).await.unwrap();
    assert_eq!(reply(&second), "mine alone");
}
