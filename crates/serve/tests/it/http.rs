//! HTTP, spoken by hand: what is refused before it is read, and tasks that outlive their client.

#![expect(clippy::disallowed_methods, reason = "the requests are written here, byte by byte")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{RealDaemon, Script};

use crate::served::{Served, TOKEN};

const LIMIT: Duration = Duration::from_secs(90);

/// A request as it goes over the wire, and the whole answer.
fn send(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // One that is closed without being read to its end may be reset.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> u16 {
    answer.split_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// A client with one session.
struct Client {
    address: String,
    session: Option<String>,
    asked: u32,
}

impl Client {
    fn connect(address: &str, capabilities: &Value) -> Self {
        let mut client = Self { address: address.to_owned(), session: None, asked: 0 };
        let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities,
            "clientInfo": { "name": "by hand", "version": "1" } });
        let (head, _) = client.post("initialize", hello);
        let header = head.lines().find(|line| line.to_lowercase().starts_with("mcp-session-id:"));
        client.session = header.and_then(|line| line.split_once(':')).map(|(_, id)| id.trim().to_owned());
        assert!(client.session.is_some(), "{head}");
        client.write("POST", Some(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })));
        client
    }

    fn write(&self, method: &str, body: Option<&Value>) -> String {
        send(&self.address, &self.request(method, body))
    }

    fn request(&self, method: &str, body: Option<&Value>) -> String {
        let body = body.map(Value::to_string).unwrap_or_default();
        let session = self.session.as_ref().map(|id| format!("Mcp-Session-Id: {id}\r\n")).unwrap_or_default();
        let address = &self.address;
        format!(
            "{method} /mcp HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\
             Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n{session}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// Asks, and returns the head of the answer and the message in it.
    fn post(&mut self, method: &str, params: Value) -> (String, Value) {
        self.asked += 1;
        let mut message = json!({ "jsonrpc": "2.0", "id": self.asked, "method": method });
        message["params"] = params;
        let answer = self.write("POST", Some(&message));
        assert_eq!(status(&answer), 200, "{answer}");
        let id = format!("\"id\":{},", self.asked);
        let line =
            answer.lines().filter_map(|line| line.strip_prefix("data:")).find(|line| line.contains(&id));
        let message = line.map(|line| serde_json::from_str(line.trim()).unwrap());
        (answer.clone(), message.unwrap_or_else(|| panic!("no answer in {answer}")))
    }

    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let mut params = json!({ "name": tool });
        params["arguments"] = arguments;
        self.post("tools/call", params).1["result"].clone()
    }

    fn task(&mut self, prompt: &str) -> String {
        let begun = self.call("start_task", json!({ "prompt": prompt }));
        begun["structuredContent"]["task"].as_str().unwrap_or_else(|| panic!("{begun}")).to_owned()
    }

    /// Listens, and accepts what is asked.
    fn answer_the_next_form(&self) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(self.request("GET", None).as_bytes()).unwrap();
        let (mut heard, mut piece) = (String::new(), [0; 4096]);
        let ask = loop {
            let read = stream.read(&mut piece).unwrap();
            assert!(read > 0, "nothing is asked: {heard}");
            heard.push_str(&String::from_utf8_lossy(&piece[..read]));
            let mut lines = heard.lines().filter_map(|line| line.strip_prefix("data:"));
            let whole = lines.find_map(|line| serde_json::from_str::<Value>(line.trim()).ok());
            if let Some(ask) = whole {
                break ask;
            }
        };
        assert_eq!(ask["method"], "elicitation/create", "{ask}");
        assert!(ask["params"]["message"].as_str().unwrap().contains("asked.txt"), "{ask}");
        let answer = json!({ "jsonrpc": "2.0", "id": ask["id"],
            "result": { "action": "accept", "content": { "decision": "once" } } });
        assert_eq!(status(&self.write("POST", Some(&answer))), 202);
    }

    fn leave(self) {
        assert!((200..300).contains(&status(&self.write("DELETE", None))));
    }
}

fn environment(daemon: &RealDaemon, directory: &Path) -> Value {
    json!({
        "CONNECTOR_OPENCODE_BASE_URL": daemon.base_url(),
        "CONNECTOR_OPENCODE_PASSWORD": daemon.password().expose_secret(),
        "CONNECTOR_OPENCODE_DIRECTORY": directory,
        "CONNECTOR_OPENCODE_PARALLEL_TURNS": "true",
    })
}

fn bash(prompt: &str, command: &str) -> Script {
    let arguments = json!({ "command": command, "description": "a command" });
    Script::default().call(prompt, 0, "bash", arguments).reply(prompt, &format!("ran {prompt}"))
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_carry_the_token_to_this_port_is_refused_and_the_token_is_shown_nowhere() {
    let served = Served::start(&[], &json!({ "CONNECTOR_OPENCODE_ASKS": "reject" })).await;
    let address = served.address().to_owned();
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {} }).to_string();
    let right = format!("Host: {address}\r\nAuthorization: Bearer {TOKEN}\r\n");
    for (head, code) in [
        (String::new(), 403),
        (format!("Host: {address}\r\n"), 401),
        (format!("Host: {address}\r\nAuthorization: Bearer {}\r\n", TOKEN.replace('f', "e")), 401),
        (format!("Host: {address}\r\nAuthorization: Basic {TOKEN}\r\n"), 401),
        // A page whose name was bound to this machine, and one that asks across origins.
        (format!("Host: evil.example\r\nAuthorization: Bearer {TOKEN}\r\n"), 403),
        (format!("{right}Origin: http://evil.example\r\n"), 403),
        (format!("{right}Origin: http://{address}\r\n"), 403),
        (format!("{right}Origin: null\r\n"), 403),
    ] {
        for method in ["POST", "GET", "DELETE", "OPTIONS"] {
            let request = format!(
                "{method} /mcp?token={TOKEN} HTTP/1.1\r\n{head}Connection: close\r\nAccept: application/json, \
                 text/event-stream\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let answer = send(&address, &request);
            // Without a host it is no request of HTTP.
            let refused = status(&answer) == code || (head.is_empty() && status(&answer) == 400);
            assert!(refused, "{method} {head}: {answer}");
            assert!(!answer.to_lowercase().contains("access-control-allow"), "{answer}");
        }
    }
    let other = send(&address, &format!("GET /other HTTP/1.1\r\n{right}Connection: close\r\n\r\n"));
    assert_eq!(status(&other), 404, "{other}");
    // It answers still, whoever it refused.
    Client::connect(&address, &json!({})).leave();
    if cfg!(target_os = "linux") {
        for place in ["cmdline", "environ"] {
            let seen = std::fs::read(format!("/proc/{}/{place}", served.id())).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&seen).contains(TOKEN), "{place}");
        }
    }
    let (status, said) = served.stop().await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("a request was refused") && !said.contains(TOKEN), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_outlives_its_client_and_the_next_client_answers_and_fetches_it() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    daemon.model().add(bash("HTTP-1", "echo hi > asked.txt"));
    daemon.model().add(bash("HTTP-2", "echo $$ > pid; exec sleep 1000"));
    daemon.model().add(bash("HTTP-3", "echo hi > unable.txt"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[permissions]\nbash = \"ask\"\n").unwrap();
    let arguments = ["--config", file.path().to_str().unwrap()];
    let served = Served::start(&arguments, &environment(daemon, &directory)).await;
    let address = served.address().to_owned();
    let work = tokio::task::spawn_blocking(move || {
        let elicits = json!({ "elicitation": {} });
        let mut first = Client::connect(&address, &elicits);
        let task = first.task("HTTP-1");
        let status_of = |client: &mut Client, task: &str| {
            client.call("task_status", json!({ "task": task }))["structuredContent"]["tasks"][0]["status"]
                .clone()
        };
        let watcher = std::cell::RefCell::new(Client::connect(&address, &json!({})));
        until("it asks", || status_of(&mut watcher.borrow_mut(), &task) == "input_required");
        first.leave();
        assert_eq!(status_of(&mut watcher.borrow_mut(), &task), "input_required", "it waits");

        // The one that cannot be asked changed nothing; one that can is asked, since it waits.
        let mut second = Client::connect(&address, &elicits);
        let waiting = std::thread::spawn({
            let task = task.clone();
            let mut waiting =
                Client { address: address.clone(), asked: 2000, session: second.session.clone() };
            move || waiting.call("task_result", json!({ "task": task, "wait_secs": 50 }))
        });
        second.answer_the_next_form();
        let result = waiting.join().unwrap();
        assert_eq!(result["structuredContent"]["reply"], "ran HTTP-1", "{result}");
        let again = second.call("task_result", json!({ "task": task }));
        assert_eq!(again, result, "what it came to is kept");

        // Nobody can be asked through the client that began it: refused at once, with words.
        let mut third = Client::connect(&address, &json!({}));
        let refused = third.task("HTTP-3");
        let result = third.call("task_result", json!({ "task": refused, "wait_secs": 50 }));
        assert!(result["content"].to_string().contains("nobody can be asked"), "{result}");
        let missing = third.call("task_result", json!({ "task": "task-99" }));
        assert_eq!(missing["isError"], true, "{missing}");
        (second.task("HTTP-2"), address)
    });
    let (_, address) = work.await.unwrap();
    assert!(directory.join("asked.txt").exists() && !directory.join("unable.txt").exists());
    drop(address);
    let (status, said) = served.stop().await;
    assert_eq!(status.code(), Some(0), "a task that goes on is stopped: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_task_and_a_call_of_a_session_that_ends_stop_at_the_daemon() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    for (prompt, pid) in [("HTTP-4", "task"), ("HTTP-5", "call")] {
        daemon.model().add(bash(prompt, &format!("echo $$ > {pid}; exec sleep 1000")));
    }
    let served = Served::start(&[], &environment(daemon, &directory)).await;
    let address = served.address().to_owned();
    let work = tokio::task::spawn_blocking(move || {
        let runs = |pid: &str| {
            let number = std::fs::read_to_string(directory.join(pid)).unwrap_or_default();
            !number.trim().is_empty() && Path::new("/proc").join(number.trim()).exists()
        };
        let mut client = Client::connect(&address, &json!({}));
        let task = client.task("HTTP-4");
        until("the task's command runs", || runs("task"));
        let ended = client.call("cancel_task", json!({ "task": task }));
        assert_eq!(ended["structuredContent"]["tasks"][0]["status"], "cancelled", "{ended}");
        until("the task's command ends", || !runs("task"));

        let mut stream = TcpStream::connect(&address).unwrap();
        let call = json!({ "jsonrpc": "2.0", "id": 99, "method": "tools/call",
            "params": { "name": "run_task", "arguments": { "prompt": "HTTP-5" } } });
        stream.write_all(client.request("POST", Some(&call)).as_bytes()).unwrap();
        until("the call's command runs", || runs("call"));
        client.leave();
        until("the call's command ends", || !runs("call"));
    });
    work.await.unwrap();
    assert_eq!(served.stop().await.0.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_keep_no_client_out() {
    let served = Served::start(&[], &json!({ "CONNECTOR_OPENCODE_ASKS": "reject" })).await;
    let idle: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(served.address()).unwrap()).collect();
    let mut client = Client::connect(served.address(), &json!({}));
    let tools = client.post("tools/list", json!({})).1["result"]["tools"].clone();
    assert_eq!(tools.as_array().map(Vec::len), Some(7), "{tools}");
    drop(idle);
    assert_eq!(served.stop().await.0.code(), Some(0));
}
