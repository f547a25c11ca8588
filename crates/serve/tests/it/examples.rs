//! The examples are what the program takes.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::client::BINARY;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/mcp");

fn server(file: &str, servers: &str) -> (Vec<String>, Vec<(String, String)>) {
    let text = std::fs::read_to_string(format!("{EXAMPLES}/{file}")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    let server = &config[servers]["opencode"];
    assert_eq!(server["command"], "connector-opencode");
    let args = server["args"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect();
    let env = server["env"].as_object().unwrap();
    (args, env.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect())
}

/// Starts the program as the host would, with the host's own variables filled in.
fn starts(args: &[String], env: &[(String, String)]) {
    let args = args.iter().map(|it| match it.as_str() {
        "/home/anna/.config/connector-opencode.toml" => format!("{EXAMPLES}/connector-opencode.toml"),
        other => other.to_owned(),
    });
    let env = env.iter().map(|(key, value)| (key, value.replace("${workspaceFolder}", "/code/myapp")));
    #[expect(clippy::disallowed_methods, reason = "the program is what is tested")]
    let output = Command::new(BINARY).args(args).env_clear().envs(env).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn each_hosts_configuration_starts_the_program() {
    let mut formats = BTreeSet::new();
    for (file, servers) in [("claude_desktop_config.json", "mcpServers"), ("mcp.json", "servers")] {
        let (args, env) = server(file, servers);
        starts(&args, &env);
        formats.insert(servers);
    }
    assert_eq!(formats.len(), 2);
}
