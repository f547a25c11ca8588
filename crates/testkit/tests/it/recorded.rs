//! What the fake of 2.x answers and tells, against recordings of a running 2.0.14: the same routes and
//! events have the same fields, of the same kinds.
//!
//! Another test holds the fake to its fixtures to the letter, so the fixtures stand for it here.
//! [`UNRECORDED`] names what the fixtures have and no recording shows, with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// What is in no recording: of which route or event, which field or all of it, and why.
const UNRECORDED: &[(&str, &str, &str)] = &[
    (
        "POST /api/session/*/form/*/reply 400",
        "",
        "2.0.14 takes an answer of another kind; later ones may not",
    ),
    (
        "session.tool.input.delta",
        "",
        "2.0.14 tells a tool's input at its end alone, in how many pieces it ever came; later ones may not",
    ),
];

/// A field and what it holds.
type Field = (String, &'static str);

/// The fields of all that was seen of a route or event, and those that each of it has.
#[derive(Default)]
struct Seen {
    ever: BTreeSet<Field>,
    always: Option<BTreeSet<String>>,
}

impl Seen {
    fn add(&mut self, value: &Value) {
        let fields = fields(value);
        let names: BTreeSet<String> = fields.iter().map(|(name, _)| name.clone()).collect();
        self.always = Some(match self.always.take() {
            Some(always) => always.intersection(&names).cloned().collect(),
            None => names,
        });
        self.ever.extend(fields);
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/wire2")
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let odd = |path: &PathBuf| path.file_stem().is_some_and(|stem| stem == "odd");
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|it| it == extension) && !odd(path)).collect();
    files.sort();
    files
}

/// A request's line without ids and query.
fn route(line: &str) -> String {
    let path = line.split("   ").next().unwrap().split('?').next().unwrap().trim();
    let id = |part: &str| ["ses_", "msg_", "per_", "frm_"].iter().any(|it| part.starts_with(it));
    let mut parts: Vec<&str> = path.split('/').map(|part| if id(part) { "*" } else { part }).collect();
    if parts.contains(&"entries") {
        parts.pop();
    }
    parts.join("/")
}

/// Every field below a value. Rows, parts, sources and form fields are told apart by their type, and
/// what an agent calls its tools with is the model's, as what it was told is the server's.
fn fields(value: &Value) -> BTreeSet<Field> {
    fn walk(value: &Value, at: &str, found: &mut BTreeSet<Field>) {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        found.insert((at.to_owned(), kind));
        let open = [".input", ".delta"].iter().any(|it| at.ends_with(it));
        let tagged = [".data[]", ".content[]", ".source", ".fields[]"].iter().any(|it| at.ends_with(it));
        let tag = value["type"].as_str().filter(|_| tagged).map(|tag| format!("<{tag}>")).unwrap_or_default();
        for (key, value) in value.as_object().into_iter().flatten().filter(|_| !open) {
            let key = if key.starts_with("ses_") { "*" } else { key };
            walk(value, &format!("{at}{tag}.{key}"), found);
        }
        value.as_array().into_iter().flatten().for_each(|value| walk(value, &format!("{at}[]"), found));
    }
    let mut found = BTreeSet::new();
    walk(value, "", &mut found);
    found
}

/// The answers and events of the recordings.
fn recorded() -> BTreeMap<String, Seen> {
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    for file in files(&root().join("2.0.14"), "http") {
        let text = std::fs::read_to_string(file).unwrap();
        for exchange in text.split("### [").skip(1) {
            let line = exchange.lines().next().unwrap().split_once("] ").unwrap().1;
            let Some((_, answer)) = exchange.split_once("\n--> ") else { continue };
            let (head, body) = answer.split_once('\n').unwrap();
            let body = serde_json::from_str(body.trim()).unwrap_or(Value::Null);
            seen.entry(format!("{} {}", route(line), &head[..3])).or_default().add(&body);
        }
    }
    for file in files(&root().join("2.0.14"), "sse") {
        let text = std::fs::read_to_string(file).unwrap();
        for event in text.lines().filter_map(|line| line.split_once("] data: ")).map(|it| it.1) {
            let Ok(event) = serde_json::from_str::<Value>(event) else { continue };
            seen.entry(event["type"].as_str().unwrap().to_owned()).or_default().add(&event);
        }
    }
    seen
}

/// The answers and events of the fixtures.
fn written() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for file in files(&root(), "json") {
        let exchanges: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        for exchange in exchanges {
            let answer = match &exchange["response"] {
                // Nothing, or a stream, whose events are told too.
                Value::String(text) if !text.is_empty() => continue,
                Value::String(_) => Value::Null,
                answer => answer.clone(),
            };
            let line = route(exchange["request"].as_str().unwrap());
            all.push((format!("{line} {}", exchange["status"]), answer));
        }
    }
    for file in files(&root(), "sse") {
        let text = std::fs::read_to_string(file).unwrap();
        for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
            let event: Value = serde_json::from_str(data).unwrap();
            all.push((event["type"].as_str().unwrap().to_owned(), event));
        }
    }
    all
}

/// Whether a name stands for something below an object or list that is there.
fn has_parent(name: &str, names: &BTreeSet<&str>) -> bool {
    let at = name.rfind(['.', '[']).unwrap_or(0);
    let parent = &name[..at];
    let parent = parent.strip_suffix('>').and_then(|it| it.rsplit_once('<')).map_or(parent, |it| it.0);
    !name.ends_with("[]") && names.contains(parent)
}

#[test]
fn the_fake_has_the_fields_that_a_running_server_has_and_no_others() {
    let recorded = recorded();
    let (mut differences, mut excused) = (BTreeSet::new(), BTreeSet::new());
    let mut excuse = |what: &str, name: &str| {
        let reason = UNRECORDED.iter().find(|(of, field, _)| *of == what && name.starts_with(field));
        reason.map(|reason| excused.insert(*reason)).is_some()
    };
    for (what, value) in written() {
        let found = fields(&value);
        let Some(seen) = recorded.get(&what) else {
            if !excuse(&what, "") {
                differences.insert(format!("{what}: in no recording"));
            }
            continue;
        };
        for (name, kind) in found.difference(&seen.ever) {
            if !excuse(&what, name) {
                differences.insert(format!("{what}: {name} ({kind}) is not in the recordings"));
            }
        }
        let names: BTreeSet<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        for name in seen.always.iter().flatten() {
            if !names.contains(name.as_str()) && has_parent(name, &names) {
                differences.insert(format!("{what}: {name} is in every recording"));
            }
        }
    }
    assert_eq!(differences, BTreeSet::new());
    let listed: BTreeSet<_> = UNRECORDED.iter().copied().collect();
    assert_eq!(excused, listed, "what is excused and needs no excuse is left out of the list");
}
