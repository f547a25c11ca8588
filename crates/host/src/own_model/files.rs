//! The files of opencode's configuration, in the order in which a later one wins.

use std::path::{Path, PathBuf};

use connector_files::bounded::{self, Link};
use opencode_daemons::Environment;
use opencode_daemons::project::Brought;
use serde_json::{Value, json};

/// The names of a file of settings; a later one wins.
const SETTINGS: [&str; 2] = ["opencode.json", "opencode.jsonc"];

/// The directories of agents that are written in Markdown.
const AGENTS: [&str; 4] = ["agent", "agents", "mode", "modes"];

/// The deepest directory of agents that is looked into.
const DEEPEST: usize = 4;

/// The largest file that is read: an agent may have put any into a workspace.
const LARGEST: u64 = 1 << 20;

/// Settings, and the file that has them.
pub(super) struct Layer {
    settings: Value,
    pub(super) file: Option<PathBuf>,
}

/// A file that is no settings, and where the mistake is.
type Mistake = (PathBuf, String);

impl Layer {
    /// What no file has.
    pub(super) fn given(settings: Value) -> Self {
        Self { settings, file: None }
    }

    fn of(file: PathBuf, text: &str) -> Result<Self, Mistake> {
        match serde_json::from_str(&plain(text)) {
            Ok(settings) => Ok(Self { settings, file: Some(file) }),
            Err(error) => Err((file, format!("line {}, column {}", error.line(), error.column()))),
        }
    }

    /// An agent in Markdown, `name` being its path without the ending.
    fn of_markdown(file: PathBuf, name: &str, text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let front = lines.next().filter(|line| line.trim_end() == "---").map(|_| lines)?;
        let model =
            front.take_while(|line| line.trim_end() != "---").find_map(|line| line.strip_prefix("model:"))?;
        let model = model.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']);
        let settings = json!({ "agent": { name: { "model": model } } });
        (!model.is_empty()).then_some(Self { settings, file: Some(file) })
    }

    pub(super) fn setting(&self, key: &str) -> Option<Value> {
        self.settings.get(key).filter(|value| !value.is_null()).cloned()
    }

    /// The model that it gives to `agent`, under the names of both generations.
    pub(super) fn of_agent(&self, agent: &str) -> Option<Value> {
        let of = |kind: &str| self.settings.get(kind)?.get(agent)?.get("model").filter(|it| !it.is_null());
        ["agent", "agents", "mode"].into_iter().find_map(of).cloned()
    }
}

/// Reads what the user of `environment` has, and what a workspace brings, as a copy or as it is found.
pub(super) fn read(
    environment: &Environment,
    project: Option<&(PathBuf, bool)>,
) -> Result<Vec<Layer>, Mistake> {
    let home = environment.get("HOME").map(PathBuf::from);
    let own = environment.get("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let own = own.or_else(|| Some(home.as_ref()?.join(".config"))).map(|own| own.join("opencode"));
    let mut layers = Vec::new();
    if let Some(own) = &own {
        settings(own, &["config.json", SETTINGS[0], SETTINGS[1]], Link::Followed, &mut layers)?;
    }
    let (mut above, mut copy) = (Vec::new(), Vec::new());
    match project {
        Some((workspace, true)) => copy = copied(workspace)?,
        Some((workspace, false)) => above = levels(workspace),
        None => {}
    }
    let (directories, files): (Vec<_>, Vec<_>) =
        copy.into_iter().partition(|(in_directory, _)| *in_directory);
    layers.extend(files.into_iter().map(|(_, layer)| layer));
    for level in &above {
        settings(level, &SETTINGS, Link::Refused, &mut layers)?;
    }
    if let Some(own) = &own {
        agents(own, Link::Followed, &mut layers);
    }
    layers.extend(directories.into_iter().map(|(_, layer)| layer));
    let directories = above.iter().map(|level| (level.join(".opencode"), Link::Refused));
    for (directory, link) in directories.chain(home.map(|home| (home.join(".opencode"), Link::Followed))) {
        settings(&directory, &SETTINGS, link, &mut layers)?;
        agents(&directory, link, &mut layers);
    }
    Ok(layers)
}

/// A workspace and what is above it in its repository, the nearest last.
fn levels(workspace: &Path) -> Vec<PathBuf> {
    let mut above: Vec<&Path> = workspace.ancestors().collect();
    let root = above.iter().position(|path| path.join(".git").exists());
    above.truncate(root.map_or(1, |root| root + 1));
    above.into_iter().rev().map(Path::to_owned).collect()
}

fn settings(directory: &Path, names: &[&str], link: Link, layers: &mut Vec<Layer>) -> Result<(), Mistake> {
    for file in names.iter().map(|name| directory.join(name)) {
        if let Ok(text) = bounded::text(&file, LARGEST, link) {
            layers.push(Layer::of(file, &text)?);
        }
    }
    Ok(())
}

fn agents(directory: &Path, link: Link, layers: &mut Vec<Layer>) {
    for kind in AGENTS {
        let root = directory.join(kind);
        let mut found = Vec::new();
        markdown(&root, 0, &mut found);
        found.sort();
        layers.extend(found.into_iter().filter_map(|file| {
            let name = file.strip_prefix(&root).ok()?.with_extension("").display().to_string();
            let text = bounded::text(&file, LARGEST, link).ok()?;
            Layer::of_markdown(file, &name, &text)
        }));
    }
}

fn markdown(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() && depth < DEEPEST {
            markdown(&path, depth + 1, found);
        } else if path.extension().is_some_and(|end| end == "md") {
            found.push(path);
        }
    }
}

/// What a daemon finds in the copy of what `workspace` brings, and whether it is in a directory of settings.
fn copied(workspace: &Path) -> Result<Vec<(bool, Layer)>, Mistake> {
    let brought = Brought::of(workspace);
    let mut layers = Vec::new();
    for (path, bytes) in brought.files() {
        let Ok(text) = std::str::from_utf8(bytes) else { continue };
        let below = path.strip_prefix("config").ok();
        let place =
            workspace.join(below.map_or_else(|| path.to_owned(), |below| Path::new(".opencode").join(below)));
        let is_settings = SETTINGS.iter().any(|name| below.unwrap_or(path) == Path::new(name));
        let agent =
            below.filter(|below| below.extension().is_some_and(|end| end == "md")).and_then(|below| {
                let kind = AGENTS.into_iter().find(|kind| below.starts_with(kind))?;
                below.strip_prefix(kind).ok()
            });
        match agent {
            Some(name) => {
                let name = name.with_extension("").display().to_string();
                layers.extend(Layer::of_markdown(place, &name, text).map(|layer| (true, layer)));
            }
            None if is_settings => layers.push((below.is_some(), Layer::of(place, text)?)),
            None => {}
        }
    }
    // Agents in Markdown go over the settings beside them.
    layers.sort_by_key(|(_, layer)| {
        layer.file.as_ref().is_some_and(|file| file.extension().is_some_and(|end| end == "md"))
    });
    Ok(layers)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_put_there_is_not_waited_for_and_no_link_of_a_workspace_is_followed() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        std::fs::create_dir_all(at("home/.config/opencode")).unwrap();
        std::fs::create_dir_all(at("app")).unwrap();
        std::fs::write(at("dotfiles.json"), "{\"model\":\"a/own\"}").unwrap();
        std::os::unix::fs::symlink(at("dotfiles.json"), at("home/.config/opencode/opencode.json")).unwrap();
        std::fs::write(at("other.json"), "{\"model\":\"b/other\"}").unwrap();
        let environment = Environment::default().with("HOME", at("home"));
        for target in ["/dev/zero", "../other.json"] {
            let _ = std::fs::remove_file(at("app/opencode.json"));
            std::os::unix::fs::symlink(target, at("app/opencode.json")).unwrap();
            let layers = read(&environment, Some(&(at("app"), false))).unwrap();
            let models: Vec<Value> = layers.iter().filter_map(|layer| layer.setting("model")).collect();
            assert_eq!(models, ["a/own"], "{target}");
        }
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
