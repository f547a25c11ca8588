//! What the model proxy costs: requests to a bare server and through the proxy, by turns, in one run.
//! `cargo run --release -p connector-egress --example overhead`
#![expect(clippy::disallowed_methods, clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use connector_egress::{Listeners, ModelPlan, Plan, Provider, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const ROUNDS: usize = 500;
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 68\r\n\r\n\
    data: {\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\ndata: x\n\n";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bare = upstream.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = upstream.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    let provider = Provider {
        name: "a".into(),
        segment: "a".into(),
        upstream: format!("http://{bare}/v1").parse().unwrap(),
        key: Some("sk-key-of-the-measurement".into()),
        headers: vec![],
    };
    let models = Some(ModelPlan { token: "token".into(), providers: vec![provider] });
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap();
    let plan = Plan { models, ..Plan::default() };
    tokio::spawn(serve(plan, Listeners { models: Some(listener), ..Listeners::default() }));

    let (mut direct, mut through) = (Client::to(bare, "/v1").await, Client::to(proxy, "/a").await);
    let (mut bare, mut proxied) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(direct.ask().await);
        proxied.push(through.ask().await);
    }
    let (bare, proxied) = (median(bare), median(proxied));
    let ratio = proxied.as_secs_f64() / bare.as_secs_f64();
    println!(
        "bare {bare:?}, through the proxy {proxied:?}: {ratio:.1} times, {:?} more",
        proxied.saturating_sub(bare)
    );
}

struct Client {
    stream: TcpStream,
    request: String,
}

impl Client {
    async fn to(address: SocketAddr, base: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let body = format!("{{\"model\":\"m\",\"messages\":\"{}\"}}", "x".repeat(20_000));
        let head = format!("POST {base}/chat HTTP/1.1\r\nhost: x\r\nauthorization: Bearer token\r\n");
        Self { stream, request: format!("{head}content-length: {}\r\n\r\n{body}", body.len()) }
    }

    /// How long it takes until the answer's last byte.
    async fn ask(&mut self) -> Duration {
        let begun = Instant::now();
        self.stream.write_all(self.request.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"data: x\n\n") {
            assert!(self.stream.read_buf(&mut read).await.unwrap() > 0, "{}", String::from_utf8_lossy(&read));
        }
        begun.elapsed()
    }
}

/// Answers each request once its body has come.
async fn answer(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut read = Vec::new();
    while stream.read_buf(&mut read).await.unwrap_or(0) > 0 {
        if read.ends_with(b"x\"}") {
            read.clear();
            stream.write_all(ANSWER.as_bytes()).await.unwrap();
        }
    }
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}
