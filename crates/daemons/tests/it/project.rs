//! What a repository brings of opencode's configuration, in the real daemon: what a turn could have
//! written acts only where that is trusted.

use std::path::Path;

use opencode_daemons::project::{Brought, Project};
use serde_json::json;
use testkit::{RealDaemon, Script};

use crate::support::prompt;

/// A plugin that leaves a mark where its daemon works.
fn plugin(mark: &str) -> String {
    format!(
        "import fs from 'fs';\n\
         export const P = async ({{ directory }}) => {{ fs.writeFileSync(directory + '/{mark}', 'x'); return {{}}; }};\n"
    )
}

/// A repository's configuration: a plugin that is found, another that is named, and instructions.
fn brings(root: &Path, whose: &str) {
    std::fs::create_dir_all(root.join(".opencode/plugin")).unwrap();
    std::fs::write(root.join(".opencode/plugin/found.js"), plugin(&format!("{whose}-found"))).unwrap();
    std::fs::write(root.join(".opencode/named.js"), plugin(&format!("{whose}-named"))).unwrap();
    let named = json!({ "plugin": [format!("file://{}", root.join(".opencode/named.js").display())] });
    std::fs::write(root.join("opencode.json"), named.to_string()).unwrap();
    std::fs::write(root.join("AGENTS.md"), format!("These are the instructions of {whose}.\n")).unwrap();
}

#[tokio::test]
async fn what_a_turn_wrote_of_configuration_does_not_act_in_its_daemon() {
    let elsewhere = tempfile::tempdir().unwrap();
    let (approved, copies) = (elsewhere.path().join("approved"), elsewhere.path().join("copies"));
    brings(&approved, "workspace");
    Brought::of(&approved).copy(&copies).unwrap();
    for (project, acts) in [
        (Project::AsFound, ["turn-found", "turn-named"].as_slice()),
        (Project::Ignored, &[]),
        (Project::Copied(copies), &["workspace-found", "workspace-named"]),
    ] {
        let told = project.clone();
        let daemon = RealDaemon::with(Script::default().reply("ANY", "done"), |spec| {
            spec.project = told;
            brings(&spec.directory, "turn");
        });
        let daemon = daemon.await.unwrap();
        prompt(&daemon, "ANY").await;
        let entries = std::fs::read_dir(daemon.directory()).unwrap().flatten();
        let mut marks: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        marks.retain(|name| name.ends_with("-found") || name.ends_with("-named"));
        marks.sort();
        assert_eq!(marks, acts, "{project:?}");
        let seen = daemon.model().seen();
        let told = seen.iter().find(|seen| !seen.title).unwrap().body.to_string();
        let instructed = |whose: &str| told.contains(&format!("instructions of {whose}"));
        let expected = (project == Project::AsFound, matches!(project, Project::Copied(_)));
        assert_eq!((instructed("turn"), instructed("workspace")), expected, "{project:?}");
    }
}
