//! Facts of an outcome: the members of an action's output that mean the same whichever connector returned it.
//!
//! A connector that has such a fact returns it under this name and in this shape, beside whatever else its output has; a
//! host reads it here and nowhere else. What has another shape is no fact: it is as if it were absent.
//!
//! | member | type | is |
//! |---|---|---|
//! | `session_id` | string | the conversation it ran in, to go on with |
//! | `reply` | string, Markdown | what is told to who asked |
//! | `remark` | string | what is to be known of the reply: that it was cut off |
//! | `files` | array of `path`, `status`, `additions`, `deletions` | the files it changed, as far as is known |
//! | `files_left_out` | integer | how many more there are |
//! | `files_are_all` | boolean | whether everything was compared: then no `files` is no change |
//! | `patch` | string | the same as a unified diff |
//! | `branch` | string | where its changes are |
//! | `base`, `commit` | hexadecimal | the commits that its changes begin at and end with |
//! | `duration_ms` | integer | wall time |
//! | `cost` | number | in US dollars |
//! | `tokens` | integer, or `total`, or `input` + `output` + `reasoning` | what the model read and wrote |
//! | `network_refused`, `paths_refused` | arrays of strings | what the walls kept from it |
//! | `response` | any | what the connector got, unchanged and long; the first to go where there is little room |
//!
//! Texts in them are another party's, and are shown as such. Of an input one member means the same everywhere: [`PROMPT`].

use serde_json::{Map, Value};

/// The key of an action's input that holds what an agent is told to do.
pub const PROMPT: &str = "prompt";

/// What an agent is told to do, in the words of an action's input.
pub fn prompt(input: &Value) -> Option<&str> {
    input.get(PROMPT)?.as_str()
}

const SESSION: &str = "session_id";
const REPLY: &str = "reply";
const REMARK: &str = "remark";
const FILES: &str = "files";
const LEFT_OUT: &str = "files_left_out";
const ARE_ALL: &str = "files_are_all";
const PATCH: &str = "patch";
const BRANCH: &str = "branch";
const BASE: &str = "base";
const COMMIT: &str = "commit";
const DURATION: &str = "duration_ms";
const COST: &str = "cost";
const TOKENS: &str = "tokens";
const NETWORK_REFUSED: &str = "network_refused";
const PATHS_REFUSED: &str = "paths_refused";
const RESPONSE: &str = "response";

/// The names of all facts.
pub const NAMES: [&str; 16] = [
    SESSION,
    REPLY,
    REMARK,
    FILES,
    LEFT_OUT,
    ARE_ALL,
    PATCH,
    BRANCH,
    BASE,
    COMMIT,
    DURATION,
    COST,
    TOKENS,
    NETWORK_REFUSED,
    PATHS_REFUSED,
    RESPONSE,
];

/// The facts in an output, read as they are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a>(&'a Value);

/// The files that an action changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes<'a> {
    /// Those that are named.
    pub files: Vec<ChangedFile<'a>>,
    /// How many more there are.
    pub left_out: u64,
    /// Whether everything was compared: no file means that none changed.
    pub are_all: bool,
}

/// A file that an action changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChangedFile<'a> {
    /// `added`, `modified` or `deleted`; empty where it is not told.
    pub status: &'a str,
    /// Relative to the directory; empty where it is not told.
    pub path: &'a str,
    /// How many lines were added and deleted; nothing of a file without lines, or whose lines nobody counted.
    pub lines: Option<(u64, u64)>,
}

/// The commits of a branch that an action left. Hexadecimal, so that neither can be an option for git.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commits<'a> {
    /// The one that the changes begin at.
    pub base: &'a str,
    /// The one that has them.
    pub head: &'a str,
}

/// What an action took; each is absent where nobody counted it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Wall time, in milliseconds.
    pub duration_ms: Option<u64>,
    /// In US dollars.
    pub cost: Option<f64>,
    /// Read and written by the model, thinking included, its provider's cache left out.
    pub tokens: Option<u64>,
}

impl<'a> Facts<'a> {
    /// The facts in `output`.
    pub fn of(output: &'a Value) -> Self {
        Self(output)
    }

    /// The session it ran in.
    pub fn session(self) -> Option<&'a str> {
        text(self.0, SESSION)
    }

    /// The reply, in Markdown.
    pub fn reply(self) -> Option<&'a str> {
        text(self.0, REPLY)
    }

    /// What is to be known of the reply.
    pub fn remark(self) -> Option<&'a str> {
        text(self.0, REMARK)
    }

    /// The files it changed; `None` where that is not known, or no question.
    pub fn changes(self) -> Option<Changes<'a>> {
        let files = self.0.get(FILES)?.as_array()?;
        Some(Changes {
            files: files.iter().map(ChangedFile::of).collect(),
            left_out: number(self.0, LEFT_OUT).unwrap_or(0),
            are_all: self.0.get(ARE_ALL).and_then(Value::as_bool) == Some(true),
        })
    }

    /// The changes as a unified diff; `None` where there are none.
    pub fn patch(self) -> Option<&'a str> {
        text(self.0, PATCH).filter(|patch| !patch.is_empty())
    }

    /// The branch with its changes.
    pub fn branch(self) -> Option<&'a str> {
        text(self.0, BRANCH)
    }

    /// The commits of that branch.
    pub fn commits(self) -> Option<Commits<'a>> {
        let id = |name| text(self.0, name).filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        Some(Commits { base: id(BASE)?, head: id(COMMIT)? })
    }

    /// What it took.
    pub fn usage(self) -> Usage {
        Usage {
            duration_ms: number(self.0, DURATION),
            cost: self.0.get(COST).and_then(Value::as_f64),
            tokens: self.0.get(TOKENS).and_then(tokens),
        }
    }

    /// The hosts that its network was refused, as `host:port`.
    pub fn network_refused(self) -> Vec<&'a str> {
        texts(self.0, NETWORK_REFUSED)
    }

    /// The paths that its walls closed, one for each time.
    pub fn paths_refused(self) -> Vec<&'a str> {
        texts(self.0, PATHS_REFUSED)
    }
}

impl<'a> ChangedFile<'a> {
    fn of(file: &'a Value) -> Self {
        Self {
            status: text(file, "status").unwrap_or_default(),
            path: text(file, "path").unwrap_or_default(),
            lines: number(file, "additions").zip(number(file, "deletions")),
        }
    }
}

/// What a working tree knows of an outcome, better than who worked in it.
#[derive(Debug, Clone)]
pub struct WorktreeFacts<'a> {
    /// The changed files that are named, as an array.
    pub files: Value,
    /// How many more there are.
    pub left_out: usize,
    /// The commit that the changes begin at.
    pub base: &'a str,
    /// The changes as a unified diff.
    pub patch: &'a str,
    /// What is no fact, and stands between them.
    pub more: Option<(&'a str, Value)>,
    /// The branch that has the changes and its commit; `None` where there is nothing to keep.
    pub branch: Option<(&'a str, &'a str)>,
}

impl WorktreeFacts<'_> {
    /// Writes them into an output, in place of what it says of the same.
    pub fn write_to(self, output: &mut Map<String, Value>) {
        let mut write = |name: &str, value| output.insert(name.to_owned(), value);
        write(FILES, self.files);
        write(LEFT_OUT, self.left_out.into());
        write(ARE_ALL, true.into());
        write(BASE, self.base.into());
        write(PATCH, self.patch.into());
        if let Some((name, value)) = self.more {
            write(name, value);
        }
        if let Some((branch, commit)) = self.branch {
            write(BRANCH, branch.into());
            write(COMMIT, commit.into());
        }
    }
}

/// Writes what the walls refused into an output; nothing where it is nothing.
pub fn write_refusals(output: &mut Map<String, Value>, hosts: &[String], paths: &[String]) {
    for (name, all) in [(NETWORK_REFUSED, hosts), (PATHS_REFUSED, paths)] {
        if !all.is_empty() {
            output.insert(name.to_owned(), all.into());
        }
    }
}

/// Takes out of an output what is long and told by its facts.
pub fn strip_response(output: &mut Map<String, Value>) {
    output.remove(RESPONSE);
}

/// The session that an input goes on with, or a checkpoint is about, in its member `session_id`.
pub fn session_of(input: &Value) -> Option<&str> {
    text(input, SESSION)
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}

fn number(value: &Value, name: &str) -> Option<u64> {
    value.get(name)?.as_u64()
}

fn texts<'a>(value: &'a Value, name: &str) -> Vec<&'a str> {
    value.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

fn tokens(tokens: &Value) -> Option<u64> {
    let direct = tokens.as_u64().or_else(|| number(tokens, "total"));
    direct.or_else(|| {
        let thought = number(tokens, "reasoning").unwrap_or(0);
        Some(number(tokens, "input")?.saturating_add(number(tokens, "output")?).saturating_add(thought))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_has_another_shape_is_no_fact() {
        for output in [
            json!(null),
            json!("text"),
            json!([]),
            json!({ "session_id": 1, "reply": [], "remark": {}, "files": "a", "patch": 7, "branch": null,
                "base": "a1", "commit": 2, "duration_ms": -1, "cost": "1", "tokens": { "input": 1 },
                "network_refused": "h", "paths_refused": [1] }),
        ] {
            let facts = Facts::of(&output);
            assert_eq!((facts.session(), facts.reply(), facts.remark()), (None, None, None), "{output}");
            assert_eq!((facts.changes(), facts.patch(), facts.branch()), (None, None, None), "{output}");
            assert_eq!((facts.commits(), facts.usage()), (None, Usage::default()), "{output}");
            assert!(facts.network_refused().is_empty() && facts.paths_refused().is_empty(), "{output}");
        }
    }

    #[test]
    fn a_commit_is_an_id() {
        for (base, commit, known) in
            [("a1", "b2", true), ("--force", "b2", false), ("a1", "HEAD", false), ("a1", "b2 --x", false)]
        {
            let output = json!({ "base": base, "commit": commit });
            assert_eq!(Facts::of(&output).commits().is_some(), known, "{output}");
        }
    }

    #[test]
    fn tokens_are_counted_whichever_way_they_are_told() {
        for (told, counted) in [
            (json!(7), Some(7)),
            (json!({ "total": 7, "input": 1, "output": 1 }), Some(7)),
            (json!({ "input": 1, "output": 2, "reasoning": 3, "cache": { "read": 9, "write": 9 } }), Some(6)),
            (json!({ "input": u64::MAX, "output": 2 }), Some(u64::MAX)),
            (json!({ "output": 2 }), None),
            (json!("7"), None),
        ] {
            assert_eq!(Facts::of(&json!({ "tokens": told })).usage().tokens, counted, "{told}");
        }
    }

    #[test]
    fn what_a_tree_puts_in_is_what_is_read() {
        let file = |path: &str| json!({ "path": path, "status": "added", "additions": 1, "deletions": null });
        let files = json!([file("a"), { "path": "b", "additions": 1, "deletions": 2 }]);
        let (more, branch) = (Some(("submodules", json!([]))), Some(("opencode/1", "b2")));
        let tree = WorktreeFacts { files, left_out: 3, base: "a1", patch: "+x\n", more, branch };
        let mut output = Map::from_iter([("files".to_owned(), json!([])), ("other".to_owned(), json!(1))]);
        tree.write_to(&mut output);
        write_refusals(&mut output, &["h:443".to_owned()], &[]);
        let order = [
            "files",
            "other",
            "files_left_out",
            "files_are_all",
            "base",
            "patch",
            "submodules",
            "branch",
            "commit",
        ];
        assert!(output.keys().eq(order.iter().chain(&["network_refused"])), "{output:?}");
        let output = Value::Object(output);
        let facts = Facts::of(&output);
        let changes = facts.changes().unwrap();
        assert_eq!(changes.files[0], ChangedFile { status: "added", path: "a", lines: None });
        assert_eq!(changes.files[1], ChangedFile { status: "", path: "b", lines: Some((1, 2)) });
        assert_eq!((changes.left_out, changes.are_all, facts.patch()), (3, true, Some("+x\n")));
        assert_eq!(
            (facts.branch(), facts.commits()),
            (Some("opencode/1"), Some(Commits { base: "a1", head: "b2" }))
        );
        assert_eq!((facts.network_refused(), output["other"].as_u64()), (vec!["h:443"], Some(1)));
    }
}
