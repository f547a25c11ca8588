//! The host as an MCP server: what a client gets, and what it cannot get.

use serde_json::{Value, json};

use crate::scripts::Office;
use crate::terminal::{Terminal, User};

/// A client by hand, so that it can also say what no client says.
struct Client {
    server: Terminal,
    asked: u32,
}

impl Client {
    fn start(user: &User, arguments: &[&str]) -> Self {
        let server = user.start(&[&["mcp"], arguments].concat());
        let mut client = Self { server, asked: 0 };
        // Whoever it says that it is, it is who it was started as.
        let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "mcp:ci", "version": "1" } });
        let greeted = client.request("initialize", hello);
        assert_eq!(greeted["result"]["serverInfo"]["name"], "connector-host", "{greeted}");
        assert_eq!(
            greeted["result"]["capabilities"]["experimental"],
            Value::Null,
            "it is no plugin: {greeted}"
        );
        client.server.type_line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        client
    }

    fn request(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let id = self.asked;
        let mut line = json!({ "jsonrpc": "2.0", "id": id, "method": method });
        line["params"] = params;
        self.server.type_line(&line.to_string());
        serde_json::from_str(&self.server.expect(&format!("\"id\":{id},"))).unwrap()
    }

    fn tools(&mut self) -> Vec<String> {
        let listed = self.request("tools/list", json!({}));
        let tools = listed["result"]["tools"].as_array().unwrap().clone();
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The answer's data, and whether it is no error.
    fn call(&mut self, name: &str, arguments: Value) -> (Value, bool) {
        let mut params = json!({ "name": name });
        params["arguments"] = arguments;
        let answer = self.request("tools/call", params);
        let result = &answer["result"];
        let data = match &result["structuredContent"] {
            Value::Null => answer.clone(),
            data => data.clone(),
        };
        (data, result["isError"] == false)
    }

    fn done(&mut self, name: &str, arguments: Value) -> Value {
        let (data, done) = self.call(name, arguments);
        assert!(done, "{name}: {data}");
        data
    }

    /// Follows a run to its end, as a client does that gives each call a second.
    fn follow(&mut self, run: &Value) -> Value {
        let (mut after, mut kinds) = (json!(0), Vec::new());
        loop {
            let news = self.done("follow_run", json!({ "run": run, "after": after, "wait_secs": 1 }));
            after = news["next"].clone();
            kinds.extend(news["events"].as_array().unwrap().iter().map(|it| it["kind"].clone()));
            if news["ended"] == true {
                return json!({ "state": news["state"], "kinds": kinds });
            }
        }
    }

    fn close(self) {
        let (code, seen) = self.server.finish();
        assert_eq!(code, 0, "{seen:?}");
    }
}

/// Submits, and waits until its card waits: the step, and its digest.
fn card(client: &mut Client, user: &User, id: &str) -> (String, String) {
    let sent = client.done("submit_message", json!({ "text": "/fix write it", "id": id }));
    let event = sent["event"]["id"].to_string();
    assert_eq!(user.run(&["approvals", "wait", "--event", &event, "--timeout", "60"]).code(), 0);
    let sent = client.done("submit_message", json!({ "text": "/fix write it", "id": id }));
    assert_eq!(sent["event"]["id"].to_string(), event, "the same id is the same message");
    let step = sent["runs"][0]["steps"][0]["id"].as_str().unwrap().to_owned();
    let card = client.done("show_card", json!({ "step": step }));
    assert_eq!(card["input"]["prompt"], "write it", "{card}");
    (step, card["digest"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_client_submits_reads_and_follows_and_is_not_offered_to_decide() {
    let me = format!("cli:{}", whoami::username().unwrap());
    let office = Office::with_approver(&me).await;
    let user = &office.user;
    let config = user.home.path().join("host.toml");
    let mut client = Client::start(user, &["-c", config.to_str().unwrap()]);
    let tools = client.tools();
    assert!(tools.contains(&"follow_run".to_owned()), "{tools:?}");
    assert!(!tools.iter().any(|tool| tool.contains("approve") || tool.contains("deny")), "{tools:?}");

    let nothing = client.done("submit_message", json!({ "text": "good morning" }));
    assert_eq!((&nothing["runs"], &nothing["ended"]), (&json!([]), &json!(true)), "{nothing}");
    let (step, digest) = card(&mut client, user, "m1");
    let run = client.done("list_runs", json!({}))["runs"][0].clone();
    assert_eq!(run["requester"], "mcp:client", "{run}");
    let listed = client.done("list_cards", json!({}))["cards"][0].clone();
    assert_eq!((&listed["digest"], &listed["you_may_approve"]), (&json!(digest), &json!(false)));

    // What is not offered is not there.
    for tool in ["approve_card", "deny_card"] {
        let (answer, _) = client.call(tool, json!({ "step": step, "digest": digest }));
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
    assert_eq!(user.run(&["approvals", "approve", &step, "--digest", &digest]).code(), 0);
    let end = client.follow(&run["id"]);
    assert_eq!(end["state"], "succeeded", "{end}");
    let shown = client.done("show_run", json!({ "run": run["id"] }));
    assert_eq!(shown["steps"][0]["output"]["reply"], "It is written.", "{shown}");
    assert_eq!(shown["steps"][0]["output"]["response"], Value::Null, "the daemon's own message stays there");
    assert_eq!(shown["event"]["payload"]["user_id"], "mcp:client", "{shown}");

    for (tool, input) in [
        ("show_run", json!({ "run": 99 })),
        ("show_card", json!({ "step": "99.1" })),
        ("show_message", json!({ "event": 99 })),
        ("show_run", json!({ "run": "1; DROP TABLE runs" })),
        ("submit_message", json!({ "text": "/fix it", "requester": me })),
    ] {
        let (answer, done) = client.call(tool, input);
        assert!(!done, "{tool}: {answer}");
    }
    client.close();
    office.close();
}

#[tokio::test]
async fn only_the_client_that_configuration_names_decides_and_only_what_it_read() {
    let office = Office::with_approver("mcp:ci").await;
    let user = &office.user;
    let config = user.home.path().join("host.toml");
    let config = config.to_str().unwrap();
    let mut named = Client::start(user, &["--client", "ci", "-c", config]);
    assert_eq!(named.tools().iter().filter(|tool| tool.ends_with("_card")).count(), 3, "show, approve, deny");
    let (step, digest) = card(&mut named, user, "m1");

    // Another configuration offers it the tools; the card's own list is what counts.
    let forged = user.home.path().join("forged.toml");
    let text = std::fs::read_to_string(config).unwrap().replace("mcp:ci", "mcp:other");
    std::fs::write(&forged, text).unwrap();
    let mut other = Client::start(user, &["--client", "other", "-c", forged.to_str().unwrap()]);
    for tool in ["approve_card", "deny_card"] {
        let (answer, done) = other.call(tool, json!({ "step": step, "digest": digest }));
        assert_eq!((&answer["answer"], done), (&json!("not_allowed"), false), "{answer}");
    }
    let (answer, done) = other.call("cancel_run", json!({ "run": 1 }));
    assert!(!done, "another's run is not its to stop: {answer}");
    other.close();
    // Nor does it become another by its name, or the user who started it.
    for name in ["cli:root", "a:b", ""] {
        let refused = user.run(&["mcp", "--client", name]);
        assert_eq!(refused.code(), 2, "{name}: {}", refused.text());
    }
    assert_ne!(user.run(&["approvals", "approve", &step]).code(), 0, "the user is no approver here");

    for input in [
        json!({ "step": step }),
        json!({ "step": step, "digest": "" }),
        json!({ "step": step, "digest": &digest[..11] }),
        json!({ "step": step, "digest": "0".repeat(64) }),
    ] {
        let (answer, done) = named.call("approve_card", input.clone());
        assert!(!done, "{input}: {answer}");
    }
    let waiting = named.done("list_cards", json!({}));
    assert_eq!(waiting["cards"][0]["you_may_approve"], true, "it still waits: {waiting}");
    let approved = named.done("approve_card", json!({ "step": step, "digest": digest }));
    assert_eq!(approved["answer"], "approved");
    let end = named.follow(&json!(1));
    assert_eq!(end["state"], "succeeded", "{end}");
    let shown = named.done("show_run", json!({ "run": 1 }));
    assert_eq!(shown["steps"][0]["decided_by"], "mcp:ci", "{shown}");

    let (step, digest) = card(&mut named, user, "m2");
    named.done("deny_card", json!({ "step": step, "digest": digest }));
    assert_eq!(named.follow(&json!(2))["state"], "denied");
    card(&mut named, user, "m3");
    assert_eq!(named.done("cancel_run", json!({ "run": 3 }))["outcome"], "withdrawn");
    named.close();
    office.close();
}

#[tokio::test]
async fn over_http_only_who_carries_the_token_is_the_client() {
    let office = Office::with_approver("mcp:ci").await;
    let user = &office.user;
    let token = user.home.path().join("token");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef").unwrap();
    let token = token.to_str().unwrap();
    std::fs::set_permissions(token, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let shared = user.run(&["mcp", "--http", "0", "--http-token-file", token]);
    assert!(shared.code() == 2 && shared.text().contains("chmod 600"), "{}", shared.text());
    let open = user.run(&["mcp", "--http", "0"]);
    assert!(open.code() == 2 && open.text().contains("--http-token-file"), "{}", open.text());
    let wide = user.run(&["mcp", "--http", "0.0.0.0:0", "--http-token-file", token]);
    assert_eq!(wide.code(), 2, "{}", wide.text());

    std::fs::set_permissions(token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut server = user.start(&["mcp", "--client", "ci", "--http", "0", "--http-token-file", token]);
    let line = server.expect("listening at http://");
    let address = line.split("http://").nth(1).unwrap().trim_end_matches("/mcp").to_owned();
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" } } });
    let asked = |head: &str| {
        use std::io::{Read as _, Write as _};
        #[expect(clippy::disallowed_methods, reason = "the request is written here, byte by byte")]
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let body = hello.to_string();
        let length = body.len();
        let rest = "Accept: application/json, text/event-stream\r\nContent-Type: application/json";
        let request = format!(
            "POST /mcp HTTP/1.1\r\n{head}\r\nConnection: close\r\n{rest}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let bearer = "Authorization: Bearer 0123456789abcdef0123456789abcdef";
    let greeted = asked(&format!("Host: {address}\r\n{bearer}"));
    assert!(greeted.starts_with("HTTP/1.1 200") && greeted.contains("connector-host"), "{greeted}");
    for (head, code) in [
        (format!("Host: {address}"), "401"),
        (format!("Host: {address}\r\n{bearer}0"), "401"),
        (format!("Host: evil.example\r\n{bearer}"), "403"),
        (format!("Host: {address}\r\n{bearer}\r\nOrigin: http://{address}"), "403"),
    ] {
        let refused = asked(&head);
        assert!(refused.starts_with(&format!("HTTP/1.1 {code}")), "{head}: {refused}");
    }
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.wait(), 0);
    office.close();
}
