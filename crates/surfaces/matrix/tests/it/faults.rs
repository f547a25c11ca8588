//! Faults that Synapse does not produce, from a server that is nothing else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use connector_contract::Origin;
use connector_matrix::api::{ApiError, persist};
use connector_matrix::{AccessToken, Api, Config, Matrix, RoomId, Settings, Syncer};
use connector_surface::view::CardView;
use connector_surface::{DeliveryError, Inbox, Surface as _, View};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::{SOON, http, syncer_of, texts};
use crate::surface::{Engine, card};

/// What the server does with one request.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Gateway,
    HalfAnAnswer,
    NoJson,
    Redirect,
    None,
}

/// What is left of the faults, and the paths that were asked for.
type Remembered = Arc<Mutex<(Vec<Fault>, Vec<String>)>>;

async fn answer(State(remembered): State<Remembered>, request: Request) -> Response {
    let fault = {
        let mut remembered = remembered.lock().unwrap();
        remembered.1.push(request.uri().path().to_owned());
        remembered.0.pop().unwrap_or(Fault::None)
    };
    match fault {
        Fault::Gateway => (StatusCode::BAD_GATEWAY, "<html>Bad Gateway</html>").into_response(),
        Fault::NoJson => "<html>Hello</html>".into_response(),
        Fault::Redirect => (StatusCode::FOUND, [("location", "http://127.0.0.1:9/")]).into_response(),
        Fault::HalfAnAnswer => {
            let pieces = [Ok(Bytes::from_static(b"{\"event_id\":")), Err(std::io::Error::other("cut"))];
            Body::from_stream(futures_util::stream::iter(pieces)).into_response()
        }
        Fault::None => axum::Json(json!({ "event_id": "$1" })).into_response(),
    }
}

/// A server with these faults, the last first, and a client of it.
async fn failing(faults: &[Fault]) -> (Api, Remembered) {
    let remembered = Remembered::new(Mutex::new((faults.to_vec(), Vec::new())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin: Origin = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let router = axum::Router::new().fallback(answer).with_state(remembered.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (Api::new(http(&origin), origin, AccessToken::new("SECRETSECRET".into()).unwrap()), remembered)
}

async fn send(api: &Api) -> Result<connector_matrix::EventId, ApiError> {
    let room: RoomId = "!r".parse().unwrap();
    api.send(&room, "m.room.message", "t", &json!({ "body": "x" })).await
}

#[tokio::test]
async fn what_a_server_in_trouble_answers_may_have_arrived_and_is_tried_again_as_the_same() {
    let (api, remembered) = failing(&[Fault::HalfAnAnswer, Fault::Gateway]).await;
    let deadline = Instant::now() + SOON;
    let sent = persist(deadline, || send(&api)).await.unwrap();
    assert_eq!(sent.as_str(), "$1");
    let asked = remembered.lock().unwrap().1.clone();
    assert_eq!(asked, vec!["/_matrix/client/v3/rooms/%21r/send/m.room.message/t"; 3]);
}

#[tokio::test]
async fn each_fault_says_whether_it_may_have_arrived() {
    for (fault, passing, nothing_done) in [
        (Fault::Gateway, true, false),
        (Fault::HalfAnAnswer, true, false),
        (Fault::NoJson, false, false),
        (Fault::Redirect, false, true),
    ] {
        let (api, _) = failing(&[fault]).await;
        let error = send(&api).await.unwrap_err();
        assert_eq!(
            (error.is_passing(), error.nothing_done()),
            (passing, nothing_done),
            "{fault:?}: {error:?}"
        );
        assert!(!format!("{error:?}").contains("SECRET"));
    }
}

/// No time passes by itself: what is waited for is over at once.
#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_given_up_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin: Origin = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let api = Api::new(http(&origin), origin, AccessToken::new("SECRETSECRET".into()).unwrap());
    let begun = Instant::now();
    let error = send(&api).await.unwrap_err();
    assert!(matches!(error, ApiError::TimedOut), "{error:?}");
    assert_eq!(begun.elapsed().as_secs(), connector_matrix::api::PATIENCE.as_secs());
}

/// A server that answers as it is told: by the path, and how often it was asked for.
async fn scripted(script: impl Fn(&str, usize) -> (u16, Value) + Send + Sync + 'static) -> (Syncer, Asked) {
    let (settings, asked) = served(script).await;
    (syncer_of(&settings.api().unwrap(), settings, Some("s1".to_owned())), asked)
}

pub(crate) async fn served(
    script: impl Fn(&str, usize) -> (u16, Value) + Send + Sync + 'static,
) -> (Settings, Asked) {
    let asked = Asked::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin: Origin = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (remembered, script) = (asked.clone(), Arc::new(script));
    let router = axum::Router::new().fallback(move |request: Request| {
        let path = request.uri().to_string();
        let mut asked = remembered.lock().unwrap();
        let before = asked.iter().filter(|it| it.split('?').next() == path.split('?').next()).count();
        asked.push(path.clone());
        let (status, body) = script(&path, before);
        std::future::ready((StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response())
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let settings = Config {
        homeserver: origin.to_string(),
        user: "@bot:x".to_owned(),
        access_token: "SECRETSECRET".into(),
        allow_rooms: vec!["!a".to_owned(), "!b".to_owned()],
        allow_users: vec!["@anna:x".to_owned()],
        ..Config::default()
    };
    (settings.check().unwrap(), asked)
}

pub(crate) type Asked = Arc<Mutex<Vec<String>>>;

fn said(id: &str, body: &str) -> Value {
    json!({
        "type": "m.room.message", "sender": "@anna:x", "event_id": id, "content": { "msgtype": "m.text", "body": body },
    })
}

fn gap(body: &str) -> Value {
    json!({ "timeline": { "limited": true, "prev_batch": "p1", "events": [said(&format!("${body}"), body)] } })
}

#[tokio::test]
async fn a_room_whose_gap_cannot_be_read_is_passed_over_and_the_others_are_heard() {
    let (mut syncer, asked) = scripted(|path, _| match path {
        it if it.contains("/sync") => {
            (200, json!({ "next_batch": "s2", "rooms": { "join": { "!a": gap("a"), "!b": gap("b") } } }))
        }
        it if it.contains("/rooms/%21a/messages") => (500, json!({})),
        _ => (200, json!({ "chunk": [said("$1", "left out")] })),
    })
    .await;
    let news = tokio::time::timeout(SOON, syncer.next()).await.unwrap();
    assert_eq!(texts(&news.items), ["a", "left out", "b"]);
    let tries = asked.lock().unwrap().iter().filter(|it| it.contains("/rooms/%21a/messages")).count();
    assert_eq!(tries, 3);
}

/// While nothing at all answers, nobody's words are given up; the call that says so fails as often as the others.
#[tokio::test]
async fn what_fails_while_the_server_is_down_is_waited_for() {
    let (mut syncer, _) = scripted(|path, before| match path {
        it if it.contains("/sync") => {
            let private = json!({ "timeline": { "events": [said("$p", "private")] } });
            let rooms = json!({ "!a": gap("a"), "!private": private });
            (200, json!({ "next_batch": "s2", "rooms": { "join": rooms } }))
        }
        it if it.contains("/whoami") && before < 4 => (502, json!({})),
        it if it.contains("/messages") && before < 3 => (502, json!({})),
        it if it.contains("/members") && before < 1 => (502, json!({})),
        it if it.contains("/messages") => (200, json!({ "chunk": [said("$1", "left out")] })),
        it if it.contains("/members") => {
            let of = |user: &str| json!({ "state_key": user, "content": { "membership": "join" } });
            (200, json!({ "chunk": [of("@bot:x"), of("@anna:x")] }))
        }
        it if it.contains("join_rules") => (200, json!({ "join_rule": "invite" })),
        _ => (404, json!({ "errcode": "M_NOT_FOUND" })),
    })
    .await;
    let news = tokio::time::timeout(SOON, syncer.next()).await.unwrap();
    let mut heard = texts(&news.items);
    heard.sort_unstable();
    assert_eq!(heard, ["a", "left out", "private"]);
}

#[tokio::test]
async fn a_room_whose_members_cannot_be_had_is_passed_over_and_the_others_are_heard() {
    let (mut syncer, _) = scripted(|path, _| match path {
        it if it.contains("/sync") => {
            let room = |body: &str| json!({ "timeline": { "events": [said(&format!("${body}"), body)] } });
            let rooms = json!({ "!a": room("a"), "!private": room("private") });
            (200, json!({ "next_batch": "s2", "rooms": { "join": rooms } }))
        }
        it if it.contains("/whoami") => (200, json!({ "user_id": "@bot:x" })),
        _ => (500, json!({})),
    })
    .await;
    let news = tokio::time::timeout(SOON, syncer.next()).await.unwrap();
    assert_eq!(texts(&news.items), ["a"]);
}

#[tokio::test]
async fn an_empty_page_is_not_the_end_of_a_gap() {
    let (mut syncer, _) = scripted(|path, before| match path {
        it if it.contains("/sync") => {
            (200, json!({ "next_batch": "s2", "rooms": { "join": { "!a": gap("a") } } }))
        }
        _ if before == 0 => (200, json!({ "chunk": [], "end": "p0.5" })),
        _ => (200, json!({ "chunk": [said("$1", "left out")] })),
    })
    .await;
    let news = tokio::time::timeout(SOON, syncer.next()).await.unwrap();
    assert_eq!(texts(&news.items), ["left out", "a"]);
}

#[tokio::test]
async fn a_flood_does_not_fill_the_memory() {
    let (mut syncer, asked) = scripted(|path, before| match path {
        it if it.contains("/sync") => {
            (200, json!({ "next_batch": "s2", "rooms": { "join": { "!a": gap("a") } } }))
        }
        _ => {
            let page: Vec<Value> =
                (0..100).map(|it| said(&format!("${before}.{it}"), &"x".repeat(50_000))).collect();
            (200, json!({ "chunk": page, "end": format!("p{before}.") }))
        }
    })
    .await;
    let news = tokio::time::timeout(SOON, syncer.next()).await.unwrap();
    assert_eq!(texts(&news.items).last().unwrap(), "a");
    let pages = asked.lock().unwrap().iter().filter(|it| it.contains("/messages")).count();
    assert!(pages < 10, "{pages} pages of 5 MB");
}

#[tokio::test]
async fn a_place_is_lost_only_when_the_server_says_so_again_and_again() {
    for (refusals, is_lost) in [(2, false), (3, true)] {
        let (mut syncer, _) = scripted(move |path, before| {
            let unknown = json!({ "errcode": "M_UNKNOWN", "error": "?" });
            if path.contains("since=") && before < refusals {
                (400, unknown)
            } else {
                (200, json!({ "next_batch": "s2" }))
            }
        })
        .await;
        let news = tokio::time::timeout(SOON, syncer.next()).await.unwrap();
        assert_eq!((news.lost, news.next.as_str()), (is_lost, "s2"), "{refusals}");
    }
}

#[tokio::test]
async fn an_invitation_is_accepted_once_the_server_can_and_holds_up_nothing() {
    let (settings, asked) = served(|path, before| match path {
        it if it.contains("/whoami") => (200, json!({ "user_id": "@bot:x" })),
        it if it.contains("/join/") && before < 2 => (502, json!({})),
        it if it.contains("/join/") => (200, json!({ "room_id": "!a" })),
        it if it.contains("since=s2") => (200, json!({ "next_batch": "s3" })),
        _ => {
            let invite = json!({
                "type": "m.room.member", "sender": "@anna:x", "state_key": "@bot:x", "content": { "membership": "invite" },
            });
            let rooms = json!({ "invite": { "!a": { "invite_state": { "events": [invite] } } } });
            (200, json!({ "next_batch": "s2", "rooms": rooms }))
        }
    })
    .await;
    let (matrix, stop) = (Matrix::new(settings, "connector-matrix").unwrap(), CancellationToken::new());
    let (this, until, inbox) =
        (matrix.clone(), stop.clone(), Inbox::new(Arc::new(Engine::default()), "matrix"));
    let running = tokio::spawn(async move { this.run(inbox, until).await });
    let place = |what: &'static str, number: usize| {
        let asked = asked.lock().unwrap();
        asked.iter().enumerate().filter(|(_, it)| it.contains(what)).map(|(at, _)| at).nth(number)
    };
    let joined = async {
        while place("/join/", 2).is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, joined).await.unwrap();
    let (next, last_try) = (place("since=s2", 0).unwrap(), place("/join/", 2).unwrap());
    assert!(next < last_try, "what comes in does not wait for it");
    stop.cancel();
    running.await.unwrap().unwrap();
    matrix.finish().await;
}

#[tokio::test]
async fn only_what_no_server_ever_takes_is_left_out_and_a_card_never_is() {
    for (status, code, is_left_out) in [
        (413, "M_TOO_LARGE", true),
        (400, "M_BAD_JSON", true),
        (400, "M_UNKNOWN", false),
        (401, "M_UNKNOWN_TOKEN", false),
        (403, "M_FORBIDDEN", false),
        (404, "M_NOT_FOUND", false),
    ] {
        let (settings, _) = served(move |path, _| match path {
            it if it.contains("/whoami") => (200, json!({ "user_id": "@bot:x" })),
            it if it.contains("/sync") => (200, json!({ "next_batch": "s1" })),
            it if it.contains("/send/") => (status, json!({ "errcode": code, "error": "?" })),
            _ => (404, json!({ "errcode": "M_NOT_FOUND" })),
        })
        .await;
        let (matrix, stop) = (Matrix::new(settings, "connector-matrix").unwrap(), CancellationToken::new());
        let (engine, this, until) = (Arc::new(Engine::default()), matrix.clone(), stop.clone());
        let inbox = Inbox::new(engine.clone(), "matrix");
        let running = tokio::spawn(async move { this.run(inbox, until).await });
        let runs = async {
            while !engine.has_a_place() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(SOON, runs).await.unwrap();
        let text = matrix.deliver("!a", 1, View::Text("hello".to_owned())).await;
        assert_eq!(text.is_ok(), is_left_out, "{code}: {text:?}");
        let card = matrix.deliver("!a", 2, View::Card(Box::new(card()))).await;
        assert!(matches!(card, Err(DeliveryError::Later(_))), "{code}: {card:?}");
        stop.cancel();
        running.await.unwrap().unwrap();
    }
}

/// A surface of a server, which runs until the token is cancelled.
async fn running(settings: Settings) -> (Matrix, CancellationToken) {
    let (matrix, stop) = (Matrix::new(settings, "connector-matrix").unwrap(), CancellationToken::new());
    let (engine, this, until) = (Arc::new(Engine::default()), matrix.clone(), stop.clone());
    let inbox = Inbox::new(engine.clone(), "matrix");
    tokio::spawn(async move { this.run(inbox, until).await });
    let runs = async {
        while !engine.has_a_place() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, runs).await.unwrap();
    (matrix, stop)
}

#[tokio::test]
async fn a_card_is_not_shown_without_the_file_that_has_all_of_it() {
    let (settings, asked) = served(|path, _| match path {
        it if it.contains("/whoami") => (200, json!({ "user_id": "@bot:x" })),
        it if it.contains("/sync") => (200, json!({ "next_batch": "s1" })),
        it if it.contains("/upload") => (413, json!({})),
        _ => (200, json!({ "event_id": "$1" })),
    })
    .await;
    let (matrix, stop) = running(settings).await;
    let long = CardView { prompt: Some("x".repeat(200_000)), ..card() };
    let shown = matrix.deliver("!a", 1, View::Card(Box::new(long))).await;
    assert!(matches!(shown, Err(DeliveryError::Later(_))), "{shown:?}");
    let asked = asked.lock().unwrap();
    assert!(asked.iter().any(|it| it.contains("/upload")) && !asked.iter().any(|it| it.contains("/send/")));
    stop.cancel();
}

/// Each host has a ledger of its own here, so the second knows nothing of what the first sent.
#[tokio::test]
async fn what_is_sent_again_by_a_host_that_forgot_it_is_the_same_event_and_so_is_its_file() {
    let (settings, asked) = served(|path, before| match path {
        it if it.contains("/whoami") => (200, json!({ "user_id": "@bot:x" })),
        it if it.contains("/sync") => (200, json!({ "next_batch": "s1" })),
        it if it.contains("/upload") => (200, json!({ "content_uri": format!("mxc://x/{before}") })),
        _ => (200, json!({ "event_id": "$1" })),
    })
    .await;
    for _ in 0..2 {
        let (matrix, stop) = running(settings.clone()).await;
        matrix.deliver("!a", 1, View::Text("word ".repeat(30_000))).await.unwrap();
        stop.cancel();
    }
    let asked = asked.lock().unwrap();
    let sent: Vec<&String> = asked.iter().filter(|it| it.contains("/send/")).collect();
    assert_eq!((sent.len(), &sent[..2]), (4, &sent[2..]), "{sent:?}");
    assert_ne!(sent[0], sent[1], "the beginning and the file are two");
}
