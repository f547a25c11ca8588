//! What `host.toml` takes: the schema for editors, the reference, and what is said of mistakes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use connector_host::config::{reference, schema, unknown_keys};
use serde_json::Value;

use crate::terminal::User;

const TAPLO: &str = "0.7.0";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_reference_has_every_key_as_the_types_have_it() {
    let written = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let wanted = reference();
    assert!(written == wanted, "regenerate it: connector-host config reference > docs/configuration.md");
    for key in ["`on_stop`", "`expiry_secs`", "`probe`", "`bot_token`", "`manifest_sha256`", "`max_servers`"]
    {
        assert!(wanted.contains(key), "{key}");
    }
}

/// The keys of a schema that hide which key is wrong, or that TOML has nothing for.
fn alternatives(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            for (key, below) in fields {
                if ["oneOf", "anyOf", "unevaluatedProperties"].contains(&key.as_str()) || below == "null" {
                    found.push(format!("{key}: {below}"));
                }
                alternatives(below, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| alternatives(item, found)),
        _ => {}
    }
}

#[test]
fn no_schema_hides_what_is_wrong_behind_alternatives() {
    for schema in [schema().clone(), connector_rules::schema()] {
        let mut found = Vec::new();
        alternatives(&schema, &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
}

#[test]
fn what_the_documents_show_has_no_key_that_nothing_reads() {
    let mut shown = 0;
    for document in [
        "README.md",
        "docs/gate.md",
        "docs/daemons.md",
        "docs/telegram.md",
        "docs/plugins.md",
        "docs/webhooks.md",
        "docs/http.md",
    ] {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        for block in text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
            // A rule, or a manifest.
            if ["[rule]", "[[actions]]", "[[capabilities]]", "author ="].iter().any(|it| block.contains(it)) {
                continue;
            }
            let unknown: Vec<String> = unknown_keys(block).iter().map(ToString::to_string).collect();
            assert_eq!(unknown, Vec::<String>::new(), "{document}: {block}");
            shown += 1;
        }
    }
    assert!(shown > 4, "{shown} blocks");
}

fn program(name: &str, arguments: &[&str], directory: &Path) -> (bool, String) {
    #[expect(clippy::disallowed_methods, reason = "npm installs the linter that the schemas are tested with")]
    let output = Command::new(name)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// A program of a package, installed beside the build by npm at its pinned version.
pub(crate) fn npm(package: &str, name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let place = target.join(package.replace(['@', '/'], "-"));
    let binary = place.join("node_modules/.bin").join(name);
    if !binary.exists() {
        let beside = tempfile::tempdir_in(target).unwrap();
        let arguments = ["install", "--prefix", ".", "--ignore-scripts", "--no-audit", "--no-fund", package];
        let (installed, said) = program("npm", &arguments, beside.path());
        assert!(installed, "{said}");
        // Another test process may have been faster; its install is as good.
        if let Err(error) = std::fs::rename(beside.path(), &place) {
            assert!(binary.exists(), "{error}");
        }
    }
    binary
}

const HOST: &str = "\
rules = \"rules\"
max_runing = 3
[gate]
expiry_sec = 900
[workspaces.app]
directory = \"/srv/app\"
confine = \"yes\"
[connectors.app]
use = \"connector-opencode\"
workspace = \"app\"
modle = \"a/b\"
[connectors.weather]
use = \"plugin:connector-weather\"
station = 7
[opencode]
max_server = 3
[surfaces.telegram]
bot_tokn = \"env:TOKEN\"
";

const RULE: &str = "\
[rule]
name = \"x\"
cooldwon = \"1s\"
[trigger]
type = \"ConnectorEvent\"
conector = \"c\"
event = \"e\"
[[conditions]]
type = \"FieldContains\"
field = \"trigger.text\"
valeu = \"a\"
[[actions]]
type = \"RunConnector\"
connector = \"c\"
action = \"a\"
parms = { prompt = \"x\" }
";

#[test]
fn an_editor_with_our_schemas_points_at_each_misspelt_key_and_at_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let write = |name: &str, text: &str| std::fs::write(here.join(name), text).unwrap();
    write("host.schema.json", &schema().to_string());
    write("rule.schema.json", &connector_rules::schema().to_string());
    let binary = npm(&format!("@taplo/cli@{TAPLO}"), "taplo");
    let lint = |schema: &str, files: &[&str]| {
        let schema = format!("file://{}", here.join(schema).display());
        program(binary.to_str().unwrap(), &[&["lint", "--schema", &schema], files].concat(), here)
    };
    for (schema, text, wrong) in [
        (
            "host.schema.json",
            HOST,
            &["max_runing", "expiry_sec", "modle", "max_server", "bot_tokn", "\"yes\" is not one of"][..],
        ),
        ("rule.schema.json", RULE, &["cooldwon", "conector", "valeu", "parms"]),
    ] {
        write("file.toml", text);
        let (fine, said) = lint(schema, &["file.toml"]);
        assert!(!fine, "{said}");
        for key in wrong {
            let words =
                if key.contains(' ') { (*key).to_owned() } else { format!("('{key}' was unexpected)") };
            assert!(said.contains(&words), "{key}: {said}");
        }
        assert!(!said.contains("'station' was"), "{said}");
    }
    // Springtale's spelling is not in the schema.
    let examples = std::fs::read_dir(root().join("examples/rules")).unwrap();
    let examples: Vec<String> = examples
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension().is_some_and(|it| it == "toml") && !path.ends_with("from-springtale.toml")
        })
        .map(|path| path.to_str().unwrap().to_owned())
        .collect();
    assert!(examples.len() > 10, "{examples:?}");
    let (fine, said) = lint("rule.schema.json", &examples.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(fine, "{said}");
    let right = HOST.replace("max_runing", "max_running").replace("expiry_sec", "expiry_secs");
    let right = right.replace("modle", "model").replace("max_server", "max_servers").replace("yes", "on");
    write("file.toml", &right.replace("bot_tokn", "bot_token"));
    let (fine, said) = lint("host.schema.json", &["file.toml"]);
    assert!(fine, "{said}");
}

#[test]
fn the_command_line_checks_and_explains_a_configuration() {
    let user = User::new();
    let file = user.home.path().join("host.toml");
    let path = file.to_str().unwrap().to_owned();
    std::fs::write(&file, HOST).unwrap();
    let ended = user.run(&["config", "check", "-c", &path]);
    assert_eq!(ended.code(), 1, "{}", ended.text());
    for line in [
        "host.toml:2:1: there is no key `max_runing`; did you mean `max_running`?",
        "host.toml:4:1: there is no key `gate.expiry_sec`; did you mean `expiry_secs`?",
        "host.toml:11:1: there is no key `connectors.app.modle`; did you mean `model`?",
        "host.toml:16:1: there is no key `opencode.max_server`; did you mean `max_servers`?",
        "host.toml:18:1: there is no key `surfaces.telegram.bot_tokn`; did you mean `bot_token`?",
    ] {
        assert!(ended.text().contains(line), "{line}: {}", ended.text());
    }
    let ended = user.run(&["run", "-c", &path]);
    assert_eq!(ended.code(), 2);
    let words =
        "line 2, column 1, at `max_runing`: there is no key `max_runing`; did you mean `max_running`?";
    assert!(ended.text().contains(words), "{}", ended.text());

    let rules = user.home.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("fix.toml"), include_str!("../../../rules/tests/fixtures/seed.toml")).unwrap();
    let right = "rules = \"rules\"\n[connectors.connector-opencode]\nbase_url = \"http://127.0.0.1:9\"\n";
    for (text, code, words) in [
        (right.to_owned(), 0, "nothing is wrong"),
        (format!("{right}workspace = \"app\"\n"), 1, "there is no [workspaces.app]"),
        (format!("{right}directory = 7\n"), 1, "directory"),
        (
            format!("{right}workspace = \"app\"\n[workspaces.app]\ndirectory = \".\"\n"),
            1,
            "give a workspace or a base_url, not both",
        ),
        (format!("{right}[surfaces.telegram]\nbot_token = \"no token\"\n"), 1, "bot_token"),
        (
            format!(
                "{right}password = \"env:NOT_SET_ANYWHERE\"\n[surfaces.telegram]\nbot_token = \"no token\"\n"
            ),
            1,
            "NOT_SET_ANYWHERE",
        ),
        (format!("{right}password = \"env:NOT_SET_ANYWHERE\"\n"), 1, "NOT_SET_ANYWHERE"),
        (right.replace("\"rules\"", "\"rule\""), 1, "the rules in"),
        (
            format!("{right}[schedules]\nsurface = \"telegram\"\n"),
            1,
            "schedules are to report to the surface `telegram`",
        ),
        (format!("max_running = 0\n{right}"), 1, "`max_running` takes 1 to 10000"),
        (right.replace("connectors.connector-opencode", "connectors.host"), 1, "the host's own steps"),
        (
            format!(
                "{right}[workspaces.app]\ndirectory = \".\"\nloopback = [4402]\n[api]\nlisten = \"127.0.0.1:4402\"\n"
            ),
            1,
            "`loopback` opens port 4402 to the agents of the workspace app",
        ),
        (format!("max_running = \"x\"\n{right}"), 1, "line 1, column 15, at `max_running`"),
        ("rules = ".to_owned(), 1, "line 1"),
    ] {
        std::fs::write(&file, &text).unwrap();
        let ended = user.run(&["config", "check", "-c", &path]);
        assert_eq!(ended.code(), code, "{text}: {}", ended.text());
        assert!(ended.text().contains(words), "{text}: {}", ended.text());
    }
    for (key, code, words) in [
        ("gate.expiry_secs", 0, "takes a whole number; 900 without it"),
        ("workspaces.anything.directory", 0, "takes a text; it must be given"),
        ("opencode.on_exit", 0, "takes `\"stop\"`, `\"keep\"`; \"stop\" without it"),
        ("connectors.app.asks", 0, "permission requests"),
        ("gate", 0, "keys: approvers"),
        ("gate.expiry_sec", 2, "did you mean `expiry_secs`?"),
        ("rules.x", 2, "`rules` has no keys"),
    ] {
        let ended = user.run(&["config", "explain", key]);
        assert_eq!(ended.code(), code, "{key}: {}", ended.text());
        assert!(ended.text().contains(words), "{key}: {}", ended.text());
    }
}
