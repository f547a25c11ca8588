//! The crates' arrows: as cargo has them, downwards, and as the picture in `docs/architecture.md` shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// From the bottom up. A crate depends on crates of layers below its own alone.
const LAYERS: [&[&str]; 5] = [
    &[
        "connector-connections",
        "connector-contract",
        "connector-egress",
        "connector-failpoint",
        "connector-files",
        "connector-rules",
        "connector-sandbox",
        "opencode-api",
    ],
    &[
        "connector-gate",
        "connector-http",
        "connector-mcp",
        "connector-opencode",
        "connector-telegram",
        "opencode-daemons",
    ],
    &[
        "connector-ledger",
        "connector-opencode-serve",
        "connector-plugins",
        "connector-surface",
        "springtale-adapter",
        "testkit",
    ],
    &["connector-engine", "connector-matrix"],
    &["connector-host"],
];

/// What each crate of the workspace depends on in a release, of the workspace.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    #[expect(clippy::disallowed_methods, reason = "cargo knows what depends on what")]
    let told = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let packages = told["packages"].as_array().unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    let of = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|it| it["kind"].is_null()).map(name).filter(|it| ours.contains(it)).collect()
    };
    packages.iter().map(|package| (name(package), of(package))).collect()
}

fn layer(name: &str) -> usize {
    LAYERS.iter().position(|layer| layer.contains(&name)).unwrap_or_else(|| panic!("{name} has no layer"))
}

#[test]
fn no_arrow_points_up_or_sideways() {
    for (from, all) in arrows() {
        for to in all {
            assert!(layer(&to) < layer(&from), "{from} must not depend on {to}");
        }
    }
}

#[test]
fn the_picture_shows_the_arrows_that_there_are() {
    let short = |name: &str| name.trim_start_matches("connector-").replace("opencode-daemons", "daemons");
    let mut picture = String::from("```mermaid\nflowchart TD\n");
    for (from, all) in arrows() {
        for to in all {
            picture.push_str(&format!("    {} --> {}\n", short(&from), short(&to)));
        }
    }
    picture.push_str("```\n");
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let text = std::fs::read_to_string(document).unwrap();
    assert!(text.contains(&picture), "docs/architecture.md is to have this picture:\n{picture}");
}
