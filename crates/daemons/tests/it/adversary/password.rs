//! The daemon's password, which opencode keeps in its environment: its own tools of 1.x read what any path leads to, and judge
//! it by its letters. Those of 2.x take that file for a binary one and show nothing of it.

use std::path::Path;

use opencode_daemons::Spec;
use serde_json::json;
use testkit::fake::Generation;
use testkit::{RealDaemon, Script};

use crate::support::{eventually, run};
use crate::walls::confined_by;

/// Paths to what the daemon was started with in its environment.
const PATHS: [&str; 4] = [
    "/proc/self/environ",
    "/proc/thread-self/environ",
    "/.proc/self/environ",
    "/proc/self/cwd/../../../../../../../../proc/self/environ",
];

/// A command that runs until the plugin has looked.
const COMMAND: &str = "touch runs; while [ ! -e looked.json ]; do sleep 0.1; done; touch saw";

/// Looks at every process and thread as the daemon itself does, for a line that has the password, while a command runs.
const PLUGIN: &str = r"
import { existsSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
const list = (path) => { try { return readdirSync(path) } catch { return [] } };
const password = process.env.OPENCODE_SERVER_PASSWORD;
function look() {
 const found = [];
 let looked = 0;
 for (const proc of ['/proc', '/.proc']) for (const id of list(proc)) {
  const threads = list(`${proc}/${id}/task`).map((thread) => `${proc}/${id}/task/${thread}`);
  for (const at of [`${proc}/${id}`, ...threads]) try {
    const text = readFileSync(`${at}/environ`, 'latin1');
    looked++;
    if (text.includes(password)) found.push(at);
  } catch {}
 }
 return JSON.stringify({ found, looked });
}
export const Looks = async ({ directory }) => {
  const waits = setInterval(() => {
    if (!existsSync(`${directory}/runs`)) return;
    clearInterval(waits);
    writeFileSync(`${directory}/looked.part`, look());
    renameSync(`${directory}/looked.part`, `${directory}/looked.json`);
  }, 20);
  return {};
};
";

fn lay(directory: &Path) {
    for (number, path) in PATHS.iter().enumerate() {
        std::os::unix::fs::symlink(path, directory.join(format!("notes-{number}.md"))).unwrap();
    }
    std::fs::create_dir_all(directory.join(".opencode/plugin")).unwrap();
    std::fs::write(directory.join(".opencode/plugin/looks.js"), PLUGIN).unwrap();
}

/// A daemon whose agent has `read` all of these links, and how many of them had the password.
async fn read_all(walled: bool) -> (RealDaemon, usize) {
    let command = json!({ "command": COMMAND, "description": "waits", "timeout": 110_000 });
    let script = Script::default().call("RUN-IT", 0, "bash", command);
    let script = (0..PATHS.len()).fold(script, |script, number| {
        script.call("RUN-IT", number + 1, "read", json!({ "filePath": format!("notes-{number}.md") }))
    });
    let script = script.reply("RUN-IT", "done");
    let daemon = if walled {
        let adjust = |spec: &mut Spec| lay(&spec.directory);
        confined_by(Generation::V1, script, adjust, |_| {}).await
    } else {
        let adjust = |spec: &mut Spec| {
            lay(&spec.directory);
            spec.config["permission"] = json!({ "bash": "allow", "external_directory": "allow" });
        };
        RealDaemon::with(script, adjust).await.unwrap()
    };
    run(&daemon, "RUN-IT").await;
    let all_read = |seen: &[testkit::model::Seen]| seen.iter().any(|seen| seen.tools_done > PATHS.len());
    assert!(daemon.model().wait_for(std::time::Duration::from_mins(2), all_read).await, "all were read");
    let last = daemon.model().seen().into_iter().find(|seen| seen.tools_done > PATHS.len()).unwrap();
    let told =
        last.body.to_string().matches(secrecy::ExposeSecret::expose_secret(&daemon.password())).count();
    (daemon, told)
}

async fn looked(daemon: &RealDaemon) -> serde_json::Value {
    let path = daemon.directory().join("looked.json");
    eventually("the plugin looked", || path.exists()).await;
    eventually("a command ran while it looked", || daemon.directory().join("saw").exists()).await;
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
