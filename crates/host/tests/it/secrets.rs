//! What an agent within walls does not get to see or change, with the real opencode daemon.

use serde_json::{Value, json};
use testkit::model::{Script, ScriptedModel};
use testkit::scratch;

use crate::terminal::{User, opencode, processes_below};

/// Asks the host for its daemons without the key, and succeeds if it is told.
const ASK_THE_HOST: &str = "node -e '\
    const s = require(\"net\").connect(process.argv[1]); let said = \"\"; s.setTimeout(3000); \
    s.on(\"connect\", () => s.write(JSON.stringify({ key: \"\", request: \"list\" }) + \"\\n\")); \
    s.on(\"data\", data => said += data); s.on(\"timeout\", () => process.exit(1)); s.on(\"error\", () => process.exit(1)); \
    s.on(\"close\", () => process.exit(said.includes(\"daemons\") ? 0 : 1))'";

/// What is tried, as a table. `H` is the user's home, `S` the host's state.
fn attempts() -> Vec<(&'static str, String)> {
    let tried = |what, attempt: &str| (what, attempt.to_owned());
    vec![
        tried("see a stored key in the environment", "env | grep -q sk-stored"),
        tried("read the stored keys", "cat $H/.local/share/opencode/auth.json"),
        tried("read them through the daemon's data", "cat $S/daemons/*.own/data/opencode/auth.json"),
        tried("write the stored keys", "echo '{}' > $H/.local/share/opencode/auth.json"),
        tried("read the daemon's environment", "grep -qa . /proc/$OPENCODE_PID/environ"),
        tried("read the sessions", "ls $S/daemons/*.own/data/opencode"),
        tried("leave a program for the daemon", "echo x > $(echo $S/daemons/*.own)/cache/opencode/x"),
        tried("read opencode's configuration", "cat $H/.config/opencode/opencode.json"),
        tried("change opencode's configuration", "echo '{}' > $H/.config/opencode/opencode.json"),
        tried("leave a plugin", "mkdir -p $H/.config/opencode/plugin"),
        tried("list the host's state", "ls $S"),
        tried("read the ledger", "cat $S/*.db $S/*.sqlite $S/ledger*"),
        tried("read a daemon's record", "cat $S/daemons/*.json"),
        tried("read the host's key", "cat $S/daemons/control.key"),
        ("ask the host", format!("{ASK_THE_HOST} $S/daemons/control.sock")),
    ]
}

struct Ended {
    user: User,
    model: ScriptedModel,
}

/// A user with these stored keys, whose agent tried everything in the table with a shell, and one thing with
/// opencode's own tools; none of it worked.
async fn tried(keys: &Value) -> Ended {
    let user = User::new();
    let (home, state) = (user.home.path().display().to_string(), user.state().display().to_string());
    let attempts = attempts();
    let mut script = format!("H={home}; S={state}; ");
    for (n, (_, attempt)) in attempts.iter().enumerate() {
        script.push_str(&format!("( {attempt} ) > out.txt 2>&1 && echo {n} >> escaped; "));
    }
    script.push_str("mkdir -p $XDG_CACHE_HOME/tool && echo tried > tried");
    let plugin = format!("{home}/.config/opencode/plugin/left.js");
    let stored = user.home.path().join(".local/share/opencode/auth.json");
    let sets = json!({ "https://evil.example": { "type": "wellknown", "key": "LD_PRELOAD", "token": "/x" } });
    let model = Script::default()
        .call("look around", 0, "bash", json!({ "command": script, "description": "tries" }))
        .call("look around", 1, "write", json!({ "filePath": plugin, "content": "left" }))
        // It writes nothing that it has not read.
        .call("look around", 2, "read", json!({ "filePath": stored }))
        .call("look around", 3, "write", json!({ "filePath": stored, "content": sets.to_string() }))
        .reply("look around", "I looked.");
    let model = ScriptedModel::start(model).unwrap();
    let mut config = model.config();
    let options = config["provider"]["scripted"]["options"].as_object_mut().unwrap();
    options.remove("apiKey");
    config["permission"] = json!({ "bash": "allow", "edit": "allow", "external_directory": "allow" });
    let user = user.with_opencode_config(&config);
    std::fs::create_dir_all(stored.parent().unwrap()).unwrap();
    std::fs::write(&stored, keys.to_string()).unwrap();
    let workspace = user.home.path().join("app");
    scratch::repository(&workspace, &[("a.txt", "a\n")]).unwrap();
    let opencode = opencode().await;

    let mut chat =
        user.start(&["chat", "--workspace", &workspace.display().to_string(), "--opencode", &opencode]);
    chat.type_line("/fix look around");
    chat.expect("└─");
    chat.type_line("y");
    chat.expect("I looked.");
    chat.type_line("/quit");
    assert_eq!(chat.finish().0, 0);

    assert!(workspace.join("tried").exists(), "the agent ran, and tools have a cache");
    let escaped = std::fs::read_to_string(workspace.join("escaped")).unwrap_or_default();
    let escaped: Vec<_> = escaped.lines().map(|n| attempts[n.parse::<usize>().unwrap()].0).collect();
    assert_eq!(escaped, [""; 0]);
    assert!(!std::path::Path::new(&plugin).exists(), "opencode's own tools write no configuration either");
    assert_eq!(std::fs::read_to_string(&stored).unwrap(), keys.to_string());
    assert_eq!(processes_below(user.home.path()), []);
    Ended { user, model }
}

fn used(ended: &Ended) -> Vec<Option<String>> {
    ended.model.seen().into_iter().map(|seen| seen.key).collect()
}

#[tokio::test]
async fn stored_keys_are_used_and_neither_they_nor_the_hosts_state_are_within_an_agents_reach() {
    let ended = tried(&json!({ "scripted": { "type": "api", "key": "sk-stored" } })).await;
    assert!(used(&ended).iter().all(|key| key.as_deref() == Some("sk-stored")), "{:?}", used(&ended));
    let logs = std::fs::read_dir(ended.user.state().join("daemons")).unwrap().flatten();
    let mut logs = logs.map(|entry| entry.path()).filter(|path| path.is_file());
    assert!(logs.all(|path| !String::from_utf8_lossy(&std::fs::read(path).unwrap()).contains("sk-stored")));
}

#[tokio::test]
async fn logins_that_are_renewed_stay_in_the_users_file_and_out_of_the_commands_reach() {
    let renewed = json!({ "type": "oauth", "refresh": "r", "access": "a", "expires": 0 });
    let ended = tried(&json!({ "scripted": { "type": "api", "key": "sk-stored" }, "other": renewed })).await;
    assert!(used(&ended).iter().all(|key| key.as_deref() == Some("sk-stored")), "{:?}", used(&ended));
}
