//! The model that opencode's own configuration names, for people to know before anything runs.
//!
//! Read as opencode reads it: JSON with comments and trailing commas, the workspace's files over the
//! user's. Nothing else of these files is kept, and nothing of them is quoted.

use std::path::{Path, PathBuf};

use opencode_daemons::Environment;
use serde_json::Value;

/// What opencode's configuration says of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// It names one.
    Model {
        /// `provider/model`.
        model: String,
        /// The file that does.
        file: PathBuf,
    },
    /// It names none: opencode chooses, among what it is logged in to or what it has for nothing in a cloud.
    None,
    /// A file of it cannot be read, so that opencode would not start.
    Invalid {
        /// The file.
        file: PathBuf,
        /// Where the mistake is, if that is known.
        at: String,
    },
}

/// What the configurations of the user of `environment` and of `workspace` say together.
pub fn named(environment: &Environment, workspace: Option<&Path>) -> Named {
    let home = environment.get("HOME").map(PathBuf::from);
    let own = environment.get("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let own = own.or_else(|| Some(home.as_ref()?.join(".config"))).map(|own| own.join("opencode"));
    let mut files: Vec<PathBuf> = Vec::new();
    let names = ["config.json", "opencode.json", "opencode.jsonc"];
    files.extend(own.iter().flat_map(|own| names.map(|name| own.join(name))));
    // Up to the root of its repository, the nearest last, which wins.
    let mut above: Vec<&Path> = workspace.into_iter().flat_map(Path::ancestors).collect();
    if let Some(root) = above.iter().position(|path| path.join(".git").exists()) {
        above.truncate(root + 1);
    } else {
        above.truncate(1);
    }
    let names = ["opencode.json", "opencode.jsonc", ".opencode/opencode.json", ".opencode/opencode.jsonc"];
    files.extend(above.iter().rev().flat_map(|directory| names.map(|name| directory.join(name))));
    let mut found = Named::None;
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        match serde_json::from_str::<Value>(&plain(&text)) {
            Ok(config) => {
                if let Some(model) = config.get("model").and_then(Value::as_str).filter(|model| is_one(model))
                {
                    found = Named::Model { model: model.to_owned(), file };
                }
            }
            Err(error) => {
                return Named::Invalid {
                    file,
                    at: format!("line {}, column {}", error.line(), error.column()),
                };
            }
        }
    }
    found
}

/// Whether it has the form of one: anything else is not shown.
fn is_one(model: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@+".contains(c);
    model.contains('/') && model.len() <= 200 && model.chars().all(plain)
}

/// JSON without comments and commas behind the last of several, with everything else in its place.
/// A comma behind nothing stays, for the parser to say where it is.
fn plain(text: &str) -> String {
    let mut out: Vec<char> = Vec::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut comma = None;
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('"', _) => {
                comma = None;
                out.push(c);
                while let Some(c) = rest.next() {
                    out.push(c);
                    match c {
                        '\\' => out.extend(rest.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            ('/', Some('/')) => {
                out.push(' ');
                while let Some(c) = rest.next_if(|c| *c != '\n') {
                    out.push(if c == '\r' { c } else { ' ' });
                }
            }
            ('/', Some('*')) => {
                rest.next();
                out.extend([' ', ' ']);
                let mut last = ' ';
                for c in rest.by_ref() {
                    out.push(if c == '\n' { c } else { ' ' });
                    if (last, c) == ('*', '/') {
                        break;
                    }
                    last = c;
                }
            }
            (',', _) => {
                let behind = out.iter().rev().find(|c| !c.is_whitespace());
                comma = behind.is_some_and(|c| !",[{".contains(*c)).then_some(out.len());
                out.push(c);
            }
            ('}' | ']', _) => {
                if let Some(at) = comma.take() {
                    out[at] = ' ';
                }
                out.push(c);
            }
            (c, _) => {
                if !c.is_whitespace() {
                    comma = None;
                }
                out.push(c);
            }
        }
    }
    out.into_iter().collect()
}

/// In words for people, when the host names no model itself.
impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Model { model, file } => write!(f, "{model}, by {}", file.display()),
            Self::None => f.write_str(
                "none is named: opencode takes a default of its own, which may be one in a cloud; \
                 name one in [routing] model, with --model, or in opencode's configuration",
            ),
            Self::Invalid { file, at } => {
                write!(f, "opencode's configuration {} is not valid: {at}", file.display())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_of_the_nearest_configuration_is_found_and_nothing_else_is_shown() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for directory in ["home/.config/opencode", "app/sub/.opencode", "app/.git"] {
            std::fs::create_dir_all(at(directory)).unwrap();
        }
        let environment = Environment::default().with("HOME", at("home"));
        let shown = |workspace: &str| named(&environment, Some(&at(workspace))).to_string();
        assert!(shown("app").contains("may be one in a cloud"));
        let write = |path: &str, text: &str| std::fs::write(at(path), text).unwrap();
        write(
            "home/.config/opencode/opencode.jsonc",
            "{ // the usual\n \"model\": \"a/own\", /* , */ \"x\": [1,], }",
        );
        assert!(shown("app").starts_with("a/own, by "), "{}", shown("app"));
        write("app/opencode.json", "{\"model\":\"b/project\"}");
        write("app/sub/.opencode/opencode.json", "{\"model\":\"c/nearest\"}");
        assert!(shown("app").starts_with("b/project, by ") && shown("app/sub").starts_with("c/nearest, by "));
        write("app/opencode.json", "{\"model\":\"hunter2 is no model\"}");
        assert!(shown("app").starts_with("a/own"), "{}", shown("app"));
        write("app/opencode.json", "{\"apiKey\":\"hunter2\",\n \"model\": \"acme/x\",, }");
        assert!(shown("app").ends_with("opencode.json is not valid: line 2, column 20"), "{}", shown("app"));
        assert!(!shown("app").contains("hunter2"));
    }

    #[test]
    fn comments_and_last_commas_are_taken_out_and_nothing_else_moves() {
        for (given, meant) in [
            ("[1, 2]", "[1, 2]"),
            ("[1, ]", "[1  ]"),
            ("{\"a\":1,\n}", "{\"a\":1 \n}"),
            ("[1, // a, ]\r\n]", "[1         \r\n]"),
            ("[1 /*/ , */, 2]", "[1         , 2]"),
            ("[1, /* \n */]", "[1     \n   ]"),
            ("[\",]\", \"//\", \"\\\",]\"]", "[\",]\", \"//\", \"\\\",]\"]"),
            // What opencode takes no more than we do.
            ("[1,,]", "[1,,]"),
            ("[,]", "[,]"),
            ("{,}", "{,}"),
        ] {
            assert_eq!(plain(given), meant, "{given}");
        }
    }
}
