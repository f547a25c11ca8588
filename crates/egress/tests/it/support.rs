//! Proxies that serve, and what they lead to.

use std::net::{SocketAddr, TcpListener};

use connector_egress::{Listeners, ModelPlan, NetworkPlan, Plan, Policy, Provider, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A proxy in a task; it ends with this value.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn serving(plan: Plan, listeners: Listeners, address: SocketAddr) -> Proxy {
    let task = tokio::spawn(async move {
        let Err(error) = serve(plan, listeners).await;
        panic!("{error}");
    });
    Proxy { address, task }
}

/// A model proxy to these upstreams, each with the key `sk-real-key` and the token `token`.
pub(crate) fn models(upstreams: &[(&str, String)], record: Option<&std::path::Path>) -> Proxy {
    let provider = |(name, upstream): &(&str, String)| Provider {
        name: (*name).to_owned(),
        segment: (*name).to_owned(),
        upstream: upstream.parse().unwrap(),
        key: Some("sk-real-key".into()),
        headers: vec![],
    };
    let providers = upstreams.iter().map(provider).collect();
    let plan = Plan {
        models: Some(ModelPlan { token: "token".into(), providers }),
        record: record.map(Into::into),
        ..Plan::default()
    };
    let (listener, address) = listener();
    serving(plan, Listeners { models: Some(listener), ..Listeners::default() }, address)
}

/// An egress proxy.
pub(crate) fn network(policy: Policy, record: Option<&std::path::Path>) -> Proxy {
    let plan =
        Plan { network: Some(NetworkPlan { policy }), record: record.map(Into::into), ..Plan::default() };
    let (listener, address) = listener();
    serving(plan, Listeners { network: Some(listener), ..Listeners::default() }, address)
}

/// Sends `request` as it is and reads to the end.
pub(crate) async fn say(to: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Serves a router on a free port.
pub(crate) async fn upstream(router: axum::Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}
