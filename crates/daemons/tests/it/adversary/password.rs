//! The daemon's password, which opencode keeps in its environment: its own tools of 1.x read what any path leads to, and judge
//! it by its letters. Those of 2.x take that file for a binary one and show nothing of it.

use std::path::Path;

use opencode_daemons::Spec;
use serde_json::json;
use testkit::fake::Generation;
use testkit::{RealDaemon, Script};

use crate::support::{eventually, run};
use crate::walls::{confined_by, confined_with};

/// Paths to what the daemon was started with in its environment.
const PATHS: [&str; 4] = [
    "/proc/self/environ",
    "/proc/thread-self/environ",
    "/.proc/self/environ",
    "/proc/self/cwd/../../../../../../../../proc/self/environ",
];

/// Looks at every process and thread as the daemon itself does, for a line that has the password.
const PLUGIN: &str = r#"
import { existsSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
const list = (path) => { try { return readdirSync(path) } catch { return [] } };
const password = process.env.OPENCODE_SERVER_PASSWORD;
const look = () => {
  const found = [], processes = [];
  let looked = 0;
  for (const proc of ['/proc', '/.proc']) for (const id of list(proc)) {
    const threads = list(`${proc}/${id}/task`).map((thread) => `${proc}/${id}/task/${thread}`);
    for (const at of [`${proc}/${id}`, ...threads]) try {
      const text = readFileSync(`${at}/environ`, 'latin1');
      looked++;
      const line = readFileSync(`${at}/cmdline`, 'latin1').replaceAll('\0', ' ');
      processes.push(line);
      if (text.includes(password)) found.push(`${at} ${line}`);
    } catch {}
  }
  return JSON.stringify({ found, looked, processes });
};
const first = look();
export const Looks = async ({ directory }) => {
  writeFileSync(`${directory}/looked.json`, first);
  const again = setInterval(() => {
    if (!existsSync(`${directory}/look-again`)) return;
    clearInterval(again);
    writeFileSync(`${directory}/draft.json`, look());
    renameSync(`${directory}/draft.json`, `${directory}/looked-again.json`);
  }, 50);
  return {};
};
"#;

fn lay(directory: &Path) {
    for (number, path) in PATHS.iter().enumerate() {
        std::os::unix::fs::symlink(path, directory.join(format!("notes-{number}.md"))).unwrap();
    }
    std::fs::create_dir_all(directory.join(".opencode/plugin")).unwrap();
    std::fs::write(directory.join(".opencode/plugin/looks.js"), PLUGIN).unwrap();
}

/// A daemon whose agent has `read` all of these links, and how many of them had the password.
async fn read_all(walled: bool) -> (RealDaemon, usize) {
    let script = (0..PATHS.len()).fold(Script::default(), |script, number| {
        script.call("RUN-IT", number, "read", json!({ "filePath": format!("notes-{number}.md") }))
    });
    let script = script.reply("RUN-IT", "done");
    let daemon = if walled {
        let adjust = |spec: &mut Spec| lay(&spec.directory);
        confined_by(Generation::V1, script, adjust, |_| {}).await
    } else {
        let adjust = |spec: &mut Spec| {
            lay(&spec.directory);
            spec.config["permission"] = json!({ "external_directory": "allow" });
        };
        RealDaemon::with(script, adjust).await.unwrap()
    };
    run(&daemon, "RUN-IT").await;
    let all_read = |seen: &[testkit::model::Seen]| seen.iter().any(|seen| seen.tools_done == PATHS.len());
    assert!(daemon.model().wait_for(std::time::Duration::from_mins(2), all_read).await, "all were read");
    let last = daemon.model().seen().into_iter().find(|seen| seen.tools_done == PATHS.len()).unwrap();
    let told =
        last.body.to_string().matches(secrecy::ExposeSecret::expose_secret(&daemon.password())).count();
    (daemon, told)
}

async fn looked(daemon: &RealDaemon) -> serde_json::Value {
    let path = daemon.directory().join("looked.json");
    eventually("the plugin looked", || path.exists()).await;
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[tokio::test]
async fn the_tools_of_1_x_find_no_password_of_their_daemon() {
    let (daemon, told) = read_all(true).await;
    let looked = looked(&daemon).await;
    assert_eq!((told, looked["found"].as_array().unwrap().len()), (0, 0), "{looked}");
    assert!(looked["looked"].as_u64().unwrap() > 0, "it can look: {looked}");
}

#[tokio::test]
async fn without_walls_the_same_tools_find_it() {
    let (daemon, told) = read_all(false).await;
    // There is no `/.proc` then.
    assert!(told >= PATHS.len() - 1, "{told}");
    assert!(looked(&daemon).await["found"].as_array().unwrap().len() > 2);
}

/// A command and an MCP server that are there for as long as it takes to look at them.
const COMMAND: &str = "until [ -e served ]; do sleep 0.1; done; : > look-again; \
    until [ -e looked-again.json ]; do sleep 0.1; done";

#[tokio::test]
async fn no_command_and_no_mcp_server_that_runs_has_the_password_of_its_daemon() {
    let adjust = |spec: &mut Spec| {
        lay(&spec.directory);
        let server = spec.directory.join("serves.sh");
        std::fs::write(&server, "env > served.env; : > served; while :; do sleep 1; done\n").unwrap();
        spec.config["mcp"] =
            json!({ "serves": { "type": "local", "command": ["/bin/sh", server], "enabled": true } });
    };
    let daemon = confined_with(Generation::V1, &[COMMAND], adjust, |_| {}).await;
    run(&daemon, "RUN-IT").await;
    let looked = std::fs::read(daemon.directory().join("looked-again.json")).unwrap();
    let looked: serde_json::Value = serde_json::from_slice(&looked).unwrap();
    assert_eq!(looked["found"], json!([]), "{looked}");
    let processes = looked["processes"].to_string();
    for running in ["serves.sh", "--run-command-within-walls", "look-again"] {
        assert!(processes.contains(running), "{running} was looked at: {looked}");
    }
    let served = std::fs::read_to_string(daemon.directory().join("served.env")).unwrap();
    assert!(served.contains("PATH="), "{served}");
}
