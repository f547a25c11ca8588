//! What listens, asked by a fuzzer that reads its description.

#![expect(clippy::disallowed_methods, reason = "the fuzzer is installed and started here")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use testkit::model::Script;

use crate::api::{At, card, shown};
use crate::database;
use crate::scripts::Office;
use crate::terminal::User;

/// Where what the fuzzer is given lies.
pub(crate) const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

/// The fuzzer, installed once at locked versions beside the build.
fn schemathesis() -> PathBuf {
    let wanted = Path::new(CLIENTS).join("requirements.txt");
    let sum = std::fs::read(&wanted)
        .unwrap()
        .iter()
        .fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let place = target.join(format!("schemathesis-{sum:08x}"));
    if !place.is_dir() {
        let beside = tempfile::tempdir_in(target).unwrap();
        done(Command::new("python3").args(["-m", "venv"]).arg(beside.path()));
        let quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        let locked = ["--only-binary", ":all:", "--no-deps", "-r"];
        done(Command::new(beside.path().join("bin/python")).args(quiet).args(locked).arg(&wanted));
        // Another test process may have been faster; its install is as good.
        if let Err(error) = std::fs::rename(beside.path(), &place) {
            assert!(place.is_dir(), "{error}");
        }
    }
    place
}

fn done(command: &mut Command) -> String {
    let ended = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
    assert!(ended.status.success(), "{command:?}: {said}");
    said
}

/// Asks the server at `url` what the document `of` describes, with this header.
pub(crate) fn fuzz(of: &Path, url: &str, header: &str, more: &[&str]) {
    // A script that was moved with its directory has lost its interpreter.
    let mut command = Command::new(schemathesis().join("bin/python"));
    command.args(["-c", "from schemathesis.cli import schemathesis; schemathesis()"]);
    command.arg("--config-file").arg(Path::new(CLIENTS).join("schemathesis.toml"));
    command.arg("run").arg(of).args(["--url", url, "--header", header]);
    command.args(["--phases", "coverage,fuzzing", "--seed", "1", "--request-timeout", "20", "--no-color"]);
    // It remembers what it found, and another time is to begin from its seed alone.
    let here = tempfile::tempdir().unwrap();
    done(command.args(more).current_dir(here.path()));
}

/// Asks the port of the API: its GETs, or what changes something.
fn fuzz_api(at: &At, method: &str) {
    let At::Port(address, headers) = at else { panic!("a fuzzer asks a port") };
    let document = Path::new(CLIENTS).join("../../../../docs/openapi.json");
    let more = ["--include-method", method, "--max-examples", "3"];
    fuzz(&document, &format!("http://{address}"), &headers[1], &more);
}

/// All that the ledger holds, table by table.
fn content(user: &User) -> Value {
    let file = database::open(&user.state().join("ledger.sqlite"));
    let mut tables = file
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'clock' ORDER BY name")
        .unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let rows = |table: &String| {
        let mut select = file.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = select.column_count();
        let read = |row: &rusqlite::Row<'_>| {
            (0..columns)
                .map(|column| row.get::<_, rusqlite::types::Value>(column))
                .collect::<Result<Vec<_>, _>>()
        };
        let rows = select.query_map([], read).unwrap().map(|row| format!("{:?}", row.unwrap()));
        json!(rows.collect::<Vec<_>>())
    };
    tables.iter().map(|table| (table.clone(), rows(table))).collect()
}

#[tokio::test]
async fn no_request_that_a_fuzzer_makes_of_the_document_breaks_the_host_and_no_get_changes_anything() {
    let script = Script::default().reply("write it", "It is written.");
    let more = "[api]\nlisten = \"127.0.0.1:0\"\nclient = \"ci\"\n";
    let office = Office::with(User::new(), "api:ci", script, more).await;
    let user = &office.user;
    let at = At::port_of(user);
    // One run that has ended, and a card that waits.
    let (event, done) = card(&at, "m1", "/fix write it");
    let decided = json!({ "decision": "approve", "digest": done["digest"] });
    assert_eq!(
        at.post(&format!("/v1/approvals/{}/decision", done["id"].as_str().unwrap()), &decided).status,
        200
    );
    let ended = at.get(&format!("/v1/events/{event}?wait_secs=50")).json();
    assert_eq!(ended["runs"][0]["state"], "succeeded", "{ended}");
    let (_, waiting) = card(&at, "m2", "/fix write it");
    shown(&at, &waiting).await;

    let before = content(user);
    fuzz_api(&at, "GET");
    assert!(content(user) == before, "a GET changed the ledger");

    fuzz_api(&at, "POST");
    let after = at.get("/v1/health").json();
    assert_eq!(after["status"], "ok", "{after}");
    // Nobody guesses a digest: what waits was not decided, by however many requests.
    let card = at.get(&format!("/v1/approvals/{}", waiting["id"].as_str().unwrap())).json();
    let still = ["waiting", "cancelled"].map(Value::from);
    assert!(still.contains(&card["state"]), "{card}");
    assert_eq!(user.run(&["audit", "verify"]).code(), 0);
    office.close();
}
