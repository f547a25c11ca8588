//! What a daemon and its agent's commands reach of the network, with real daemons whose code and commands try.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use opencode_daemons::confine::{Access, Confinement, Network};
use opencode_daemons::{Daemon, EgressRecord, Spec};
use testkit::fake::Generation;

use crate::support::{run, spec, with};
use crate::walls::{LAUNCHER, confined_with};

/// A server on the host's loopback that says its name to whoever connects.
fn server(name: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let length = name.len();
            let _ = stream.read(&mut [0; 1024]);
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{name}"
            );
        }
    });
    port
}

/// Asks `url`, and writes what came of it.
fn ask(url: &str, into: &str) -> String {
    format!("curl -s -m 10 -o {into} \"{url}\" || echo refused > {into}")
}

async fn tried(generation: Generation, network: Network, script: &str) -> testkit::RealDaemon {
    let daemon = confined_with(
        generation,
        &[script],
        |_| {},
        |confinement| {
            confinement.network = network;
            confinement.network_is_asked_for = true;
        },
    )
    .await;
    let port = daemon.base_url().rsplit_once(':').unwrap().1.to_owned();
    std::fs::write(daemon.directory().join("port"), port).unwrap();
    run(&daemon, "RUN-IT").await;
    daemon
}

fn read(daemon: &testkit::RealDaemon, name: &str) -> String {
    std::fs::read_to_string(daemon.directory().join(name)).unwrap_or_default().trim().to_owned()
}

async fn commands_reach_named_ports_alone(generation: Generation) {
    let (named, other) = (server("named"), server("other"));
    let script = [
        ask(&format!("http://127.0.0.1:{named}/"), "named"),
        ask(&format!("http://127.0.0.1:{other}/"), "other"),
        // Its own daemon, which has the password; and the model proxy.
        ask("http://127.0.0.1:$(cat port)/global/health", "daemon"),
        ask("http://127.0.0.1:1022/", "models"),
        // By the proxy, which answers for itself.
        "curl -s -m 10 -o /dev/null -w '%{http_code}' --noproxy '' http://not-named.example/ > by-proxy".to_owned(),
        format!("curl -s -m 10 -o /dev/null -w '%{{http_code}}' --noproxy '' http://localhost:{other}/ > loopback-by-proxy"),
        format!("curl -s -m 10 --noproxy '' http://localhost:{named}/ > named-by-proxy"),
        // Commands serve one another.
        "node -e 'require(\"http\").createServer((_, r) => r.end(\"own\")).listen(8123, \"127.0.0.1\")' & \
         for n in 1 2 3 4 5 6 7 8 9 10; do curl -s -m 5 -o own http://127.0.0.1:8123/ && break; sleep 0.3; done; kill $!"
            .to_owned(),
        "ls /proc/net > /dev/null; cat /proc/net/dev | grep -c : > interfaces; echo tried > tried".to_owned(),
    ]
    .join("\n");
    let network = Network { access: Access::Limited, hosts: vec![], loopback: vec![named] };
    let daemon = tried(generation, network, &script).await;
    assert_eq!(read(&daemon, "tried"), "tried");
    assert_eq!(read(&daemon, "named"), "named");
    assert_eq!(read(&daemon, "named-by-proxy"), "named", "the proxy leads somewhere");
    assert_eq!(read(&daemon, "own"), "own");
    for refused in ["other", "daemon", "models"] {
        assert_eq!(read(&daemon, refused), "refused", "{refused}");
    }
    assert_eq!((read(&daemon, "by-proxy"), read(&daemon, "loopback-by-proxy")), ("403".into(), "403".into()));
    assert_eq!(read(&daemon, "interfaces"), "1", "there is loopback and nothing else");
}

#[tokio::test]
async fn commands_of_1_x_reach_the_ports_and_hosts_that_are_named_and_no_others() {
    commands_reach_named_ports_alone(Generation::V1).await;
}

#[tokio::test]
async fn commands_of_2_x_reach_the_ports_and_hosts_that_are_named_and_no_others() {
    commands_reach_named_ports_alone(Generation::V2).await;
}

#[tokio::test]
async fn with_an_open_network_the_same_commands_reach_everything() {
    let other = server("other");
    let script = format!(
        "{}; {}; echo tried > tried",
        ask(&format!("http://127.0.0.1:{other}/"), "other"),
        ask("http://127.0.0.1:$(cat port)/global/health", "daemon")
    );
    let network = Network { access: Access::Open, ..Network::default() };
    let daemon = tried(Generation::V1, network, &script).await;
    assert_eq!((read(&daemon, "tried").as_str(), read(&daemon, "other").as_str()), ("tried", "other"));
    assert_ne!(read(&daemon, "daemon"), "refused");
}

#[tokio::test]
async fn with_the_network_off_models_are_reached_and_named_ports_are_not() {
    let named = server("named");
    let script = format!("{}; echo tried > tried", ask(&format!("http://127.0.0.1:{named}/"), "named"));
    let network = Network { access: Access::Off, hosts: vec![], loopback: vec![named] };
    let daemon = tried(Generation::V1, network, &script).await;
    assert_eq!((read(&daemon, "tried").as_str(), read(&daemon, "named").as_str()), ("tried", "refused"));
}

/// A daemon that is a script of ours, within walls.
fn own(name: &str, directory: &Path, private: &Path, network: Network) -> Spec {
    let mut spec = spec(name, directory);
    let mut confinement = Confinement::around(&spec, LAUNCHER, private.join("w.tmp"));
    confinement.required = true;
    confinement.network = network;
    confinement.walls.read.push(spec.program.parent().unwrap().to_owned());
    spec.confinement = Some(confinement);
    spec
}

#[tokio::test]
async fn what_the_daemon_itself_is_refused_is_on_record_and_it_ends_with_all_it_started() {
    let (dir, private) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mark = format!("namespaced-{}", std::process::id());
    let spec = own("answers", dir.path(), private.path(), Network::default());
    let daemon =
        Daemon::start(with(with(spec, "FAKE_CHILD", &mark), "FAKE_ASKS", "not-named.example")).await.unwrap();
    let record = private.path().join("w.egress/record.json");
    crate::support::eventually("the refusal", || {
        EgressRecord::read(&record).is_ok_and(|record| record.refusals.contains_key("not-named.example:443"))
    })
    .await;
    assert!(!crate::support::processes_with("FAKE_CHILD", &mark).is_empty());
    daemon.stop().await;
    assert!(crate::support::processes_with("FAKE_CHILD", &mark).is_empty());
}

#[tokio::test]
async fn a_daemon_in_namespaces_that_is_killed_from_outside_takes_everything_along() {
    let (dir, private) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mark = format!("taken-along-{}", std::process::id());
    let spec = own("answers", dir.path(), private.path(), Network::default());
    let mut daemon = Daemon::start(with(spec, "FAKE_CHILD", &mark)).await.unwrap();
    daemon.kill9().await;
    crate::support::eventually("everything has ended", || {
        crate::support::processes_with("FAKE_CHILD", &mark).is_empty()
    })
    .await;
}
