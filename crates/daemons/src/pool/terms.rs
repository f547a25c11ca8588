//! What a workspace's daemon is let do, as it is told to whoever approves a task there: in words what
//! is not the default (permissions are told as rules elsewhere), and a digest of all of it, so that an approval holds for these walls and no others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{Confine, Isolation, PoolConfig, WorkspaceConfig};
use crate::confine::{self, Access};
use crate::keys::Logins;
use crate::project::{Brought, ProjectConfig};

/// How much of the digest is told: enough that nobody finds other settings with the same.
const DIGITS: usize = 32;

impl PoolConfig {
    /// The terms on which tasks run in `workspace`.
    pub fn terms(&self, workspace: &WorkspaceConfig) -> Map<String, Value> {
        let asks = workspace.project_config.unwrap_or(self.project_config) == ProjectConfig::Ask;
        let brought = if asks { Brought::of(&workspace.directory) } else { Brought::default() };
        self.terms_with(workspace, &brought)
    }

    /// The same where its repository has `brought` of opencode's configuration.
    pub fn terms_with(&self, workspace: &WorkspaceConfig, brought: &Brought) -> Map<String, Value> {
        // Whoever adds a setting decides here whether an approval holds for it.
        let WorkspaceConfig {
            directory,
            permissions,
            model: _,
            pass,
            pass_to_commands,
            confine,
            isolation,
            setup,
            unix_sockets,
            network: _,
            hosts: _,
            presets: _,
            loopback: _,
            read,
            write,
            memory_mb,
            max_processes,
            disk_mb,
            cpu_percent,
            io_weight,
            project_config,
            extra_config,
            logins,
            remote,
        } = workspace;
        let confine = confine.unwrap_or(self.confine);
        let walled = confine != Confine::Off;
        let permissions: BTreeMap<_, _> =
            self.permissions.iter().chain(permissions).map(|(tool, action)| (tool, action.word())).collect();
        let names = |common: &[String], own: &[String]| listed(common.iter().chain(own));
        let doors = |common: &[PathBuf], own: &[PathBuf]| {
            // As it is now: a link on the way there may be another agent's to change.
            let real =
                |door: &PathBuf| door.canonicalize().unwrap_or_else(|_| door.clone()).display().to_string();
            listed(common.iter().chain(own).filter(|_| walled).map(real))
        };
        let (extra, mut terms) = (extras([&self.extra_config, extra_config]), Map::new());
        let mut say = |key: &str, said: Option<Value>| {
            if let Some(said) = said {
                terms.insert(key.to_owned(), said);
            }
        };
        let sockets = unix_sockets.unwrap_or(self.unix_sockets) && walled;
        say("confine", Some(json!(word(confine))));
        say("unix_sockets", sockets.then(|| json!(true)));
        say("network", walled.then(|| self.reaches(workspace)).flatten().map(Value::String));
        say("read", doors(&self.read, read));
        say("write", doors(&self.write, write));
        say("pass", names(&self.pass, pass));
        say("pass_to_commands", names(&self.pass_to_commands, pass_to_commands));
        say("memory_mb", memory_mb.or(self.memory_mb).map(|most| json!(most)));
        say("max_processes", max_processes.or(self.max_processes).map(|most| json!(most)));
        say("disk_mb", disk_mb.or(self.disk_mb).map(|most| json!(most)));
        say("cpu_percent", cpu_percent.or(self.cpu_percent).map(|most| json!(most)));
        say("io_weight", io_weight.or(self.io_weight).map(|weight| json!(weight)));
        let project = project_config.unwrap_or(self.project_config);
        say("project_config", brings(project, brought).map(Value::String));
        // What is shown of it is short, and what is bound is all of it.
        let brought = (project == ProjectConfig::Ask).then(|| brought.digest());
        let refused = logins.unwrap_or(self.logins) == Logins::Refuse;
        say("logins", refused.then(|| json!("refuse")));
        // Its values may be secrets.
        say("extra_config", listed(extra.iter().flat_map(|extra| extra.keys())));
        if *isolation == Isolation::Worktree {
            say("isolation", Some(json!("worktree")));
            say(
                "setup",
                setup.as_ref().and_then(|setup| setup.words(directory, remote.as_deref())).map(Value::String),
            );
            say("base", Some(json!("HEAD at dispatch, or where its session was")));
            say("borrows", listed(borrowed(directory).filter(|_| walled)));
        }
        let walls = bound(&json!([terms, permissions, extra, brought]));
        terms.insert("walls".to_owned(), json!(walls));
        terms
    }
}

impl PoolConfig {
    /// What of the network is reached, unless it is what is reached by default.
    fn reaches(&self, workspace: &WorkspaceConfig) -> Option<String> {
        let network = self.network(workspace);
        if self.no_namespaces.is_some() && network.access != Access::Open {
            return Some("open, since this system lets daemons have no namespaces".to_owned());
        }
        let hosts = network.hosts.iter().map(ToString::to_string);
        let ports = network.loopback.iter().map(|port| format!("port {port} of this machine"));
        let named: Vec<_> = hosts.chain(ports).collect();
        match network.access {
            Access::Limited if named.is_empty() => None,
            Access::Limited => Some(format!("limited: {}", named.join(", "))),
            access => Some(access.word().to_owned()),
        }
    }
}

/// The digest of all that an approval holds for.
fn bound(parts: &Value) -> String {
    HEXLOWER.encode(&Sha256::digest(parts.to_string()))[..DIGITS].to_owned()
}

/// What becomes of the configuration that the repository brings, if it is not that there is none.
fn brings(project: ProjectConfig, brought: &Brought) -> Option<String> {
    match project {
        ProjectConfig::Ignore => Some("ignore".to_owned()),
        ProjectConfig::Trust => Some("trust: whatever is found where the agent works".to_owned()),
        ProjectConfig::Ask => brought.words(),
    }
}

/// In one line; nothing when there are none.
fn listed<T: AsRef<str>>(parts: impl IntoIterator<Item = T>) -> Option<Value> {
    let mut seen = Vec::new();
    for part in parts {
        if !seen.iter().any(|known: &String| known == part.as_ref()) {
            seen.push(part.as_ref().to_owned());
        }
    }
    (!seen.is_empty()).then(|| json!(seen.join(", ")))
}

fn extras(layers: [&Option<Value>; 2]) -> Vec<Map<String, Value>> {
    layers.into_iter().flatten().filter_map(Value::as_object).cloned().collect()
}

/// The directories of objects outside the workspace's repository that its walls open: an agent that
/// wrote there may have named them.
fn borrowed(directory: &Path) -> impl Iterator<Item = String> {
    let found = confine::located(directory).map(|found| confine::with_borrowed(&found.common));
    found.unwrap_or_default().into_iter().skip(1).map(|objects| objects.display().to_string())
}

fn word(confine: Confine) -> &'static str {
    match confine {
        Confine::On => "on",
        Confine::Off => "off",
        Confine::Required => "required",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(settings: &Value) -> Map<String, Value> {
        let mut settings = settings.clone();
        settings["workspaces"]["w"]["directory"] = json!("/w");
        let config: PoolConfig = serde_json::from_value(settings).unwrap();
        config.terms(&config.workspaces["w"])
    }

    #[test]
    fn every_setting_of_the_walls_makes_other_terms_and_is_told_in_words() {
        let own = |settings: Value| json!({ "workspaces": { "w": settings } });
        let usual = terms(&own(json!({})));
        assert_eq!(usual.keys().collect::<Vec<_>>(), ["confine", "walls"]);
        let rows = [
            (own(json!({ "permissions": { "bash": "allow" } })), "confine", json!("on")),
            (json!({ "permissions": { "bash": "allow", "edit": "ask" } }), "confine", json!("on")),
            (own(json!({ "write": ["/home/me"] })), "write", json!("/home/me")),
            (json!({ "write": ["/x"] }), "write", json!("/x")),
            (own(json!({ "read": ["/data", "/data"] })), "read", json!("/data")),
            (own(json!({ "pass": ["KEY"] })), "pass", json!("KEY")),
            (own(json!({ "pass_to_commands": ["KEY"] })), "pass_to_commands", json!("KEY")),
            (own(json!({ "unix_sockets": true })), "unix_sockets", json!(true)),
            (own(json!({ "network": "open" })), "network", json!("open")),
            (own(json!({ "network": "off", "hosts": ["example.org"] })), "network", json!("off")),
            (json!({ "hosts": ["example.org"] }), "network", json!("limited: example.org")),
            (
                own(json!({ "hosts": ["*.example.org:8443"], "loopback": [5432] })),
                "network",
                json!("limited: *.example.org:8443, port 5432 of this machine"),
            ),
            (own(json!({ "confine": "off" })), "confine", json!("off")),
            (own(json!({ "isolation": "worktree" })), "isolation", json!("worktree")),
            (
                own(
                    json!({ "isolation": "worktree", "setup": { "run": "npm ci", "inputs": ["package-lock.json"] } }),
                ),
                "setup",
                json!("runs `npm ci`, at most 600 s, once for the same package-lock.json"),
            ),
            (
                own(json!({ "isolation": "worktree", "setup": { "copy": [".env"] } })),
                "setup",
                json!("copies .env, which cannot be looked for now"),
            ),
            (
                own(json!({ "isolation": "worktree", "setup": { "submodules": true } })),
                "setup",
                json!("submodules are filled, and what is changed in them becomes branches of theirs"),
            ),
            (
                own(
                    json!({ "isolation": "worktree", "setup": { "fetch": true }, "remote": "https://forge.example/a" }),
                ),
                "setup",
                json!("files that a partial clone lacks are fetched from https://forge.example/a"),
            ),
            (
                own(json!({ "isolation": "worktree", "setup": { "lfs": true } })),
                "setup",
                json!("files of Git LFS have their content, and new content is stored in the repository"),
            ),
            (own(json!({ "project_config": "ignore" })), "project_config", json!("ignore")),
            (own(json!({ "memory_mb": 2048 })), "memory_mb", json!(2048)),
            (json!({ "max_processes": 7 }), "max_processes", json!(7)),
            (json!({ "cpu_percent": 150 }), "cpu_percent", json!(150)),
            (json!({ "io_weight": 50 }), "io_weight", json!(50)),
            (json!({ "disk_mb": 7 }), "disk_mb", json!(7)),
            (own(json!({ "extra_config": { "mcp": { "x": "sk-1" } } })), "extra_config", json!("mcp")),
            (own(json!({ "extra_config": { "mcp": { "x": "sk-2" } } })), "extra_config", json!("mcp")),
        ];
        let mut digests = std::collections::BTreeSet::from([usual["walls"].to_string()]);
        for (settings, key, said) in rows {
            let terms = terms(&settings);
            assert_eq!(terms[key], said, "{settings}");
            assert!(!json!(terms).to_string().contains("sk-"), "a secret is told: {terms:?}");
            assert!(digests.insert(terms["walls"].to_string()), "the same digest as another: {settings}");
        }
    }

    /// Every kind of file that a copy is made of, and what the card calls it.
    const BROUGHT: [(&str, &str, &str); 14] = [
        ("opencode.json", r#"{"mcp":{"x":{}}}"#, "mcp x"),
        ("opencode.jsonc", r#"{"plugin":["evil"]}"#, "plugin evil"),
        ("opencode.jsonc", "{ // a comment\n}", "settings that are not plain JSON"),
        ("opencode.json", "{}", "opencode.json"),
        (".opencode/opencode.json", r#"{"permission":{"bash":"allow"}}"#, "permission bash"),
        (".opencode/opencode.jsonc", r#"{"mcp":{"y":{}}}"#, "mcp y"),
        (".opencode/opencode.jsonc", "{ // a comment\n}", "settings that are not plain JSON"),
        (".opencode/opencode.jsonc", "{}", "opencode.jsonc"),
        (".opencode/agent/opencode.json", "{}", "agent/opencode.json"),
        (".opencode/plugin/e.js", "evil", "plugin/e.js"),
        (".opencode/package.json", "{}", "package.json"),
        (".opencode/.env", "A=b", ".env"),
        ("AGENTS.md", "Be good.", "instructions"),
        ("CLAUDE.md", "Be good.", "instructions"),
    ];

    #[test]
    fn every_file_that_a_repository_brings_is_told_of_and_is_in_the_digest() {
        for (file, text, word) in BROUGHT {
            let root = tempfile::tempdir().unwrap();
            let own = json!({ "workspaces": { "w": { "directory": root.path() } } });
            let config: PoolConfig = serde_json::from_value(own).unwrap();
            let terms = || config.terms(&config.workspaces["w"]);
            let path = root.path().join(file);
            let mut digests = std::collections::BTreeSet::from([terms()["walls"].to_string()]);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            for text in [text.to_owned(), format!("{text} ")] {
                std::fs::write(&path, text).unwrap();
                let copies = tempfile::tempdir().unwrap();
                Brought::of(root.path()).copy(copies.path()).unwrap();
                let terms = terms();
                let said = terms["project_config"].as_str().unwrap();
                assert!(said.starts_with(&format!("{word} (")), "{file}: {said}");
                assert!(digests.insert(terms["walls"].to_string()), "{file} changes nothing that is bound");
            }
        }
    }

    #[test]
    fn an_approval_is_bound_to_more_of_the_digest_than_is_shown() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("opencode.json"), r#"{"model":"a/b"}"#).unwrap();
        let own = json!({ "workspaces": { "w": { "directory": root.path() } } });
        let config: PoolConfig = serde_json::from_value(own).unwrap();
        let mut terms = config.terms(&config.workspaces["w"]);
        let walls = terms.remove("walls").unwrap();
        let digest = Brought::of(root.path()).digest();
        let shown = terms["project_config"].as_str().unwrap();
        assert!(digest.starts_with(shown.rsplit_once(" (").unwrap().1.trim_end_matches(')')), "{shown}");
        // Whoever finds another file with the same first digits has found nothing.
        let mut similar = digest.clone();
        similar.replace_range(63.., if digest.ends_with('0') { "1" } else { "0" });
        assert_eq!(walls, bound(&json!([terms, {}, [], digest])));
        assert_ne!(walls, bound(&json!([terms, {}, [], similar])));
    }

    #[test]
    fn without_walls_there_are_no_doors_to_tell_of() {
        let off = |more: Value| {
            let mut settings = json!({ "workspaces": { "w": more } });
            settings["confine"] = json!("off");
            terms(&settings)
        };
        assert_eq!(off(json!({ "unix_sockets": true, "read": ["/x"] })), off(json!({})));
    }
}
