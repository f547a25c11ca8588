//! What the README shows is what the host takes.

use connector_host::config::HostConfig;
use connector_rules::{RuleSet, SourceFile};

const README: &str = include_str!("../../../../README.md");

fn toml_blocks() -> Vec<&'static str> {
    README.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn its_configuration_and_its_rule_are_taken() {
    let blocks = toml_blocks();
    let (configurations, rules): (Vec<&str>, Vec<&str>) =
        blocks.into_iter().partition(|block| !block.starts_with("[rule]"));
    assert_eq!((configurations.len(), rules.len()), (1, 1));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("host.toml");
    std::fs::write(&path, configurations[0]).unwrap();
    let config = HostConfig::load(&connector_files::AbsolutePath::new(&path).unwrap())
        .unwrap_or_else(|error| panic!("{}", connector_contract::chain(&error)));
    assert_eq!(config.gate.approvers.len(), 1);
    RuleSet::parse([SourceFile::new("README.md", rules[0])]).unwrap();
}

#[test]
fn its_two_commands_are_run_the_one_by_ci_and_the_other_by_a_test() {
    let (ci, tests) = (include_str!("../../../../.ci/run"), include_str!("cli.rs"));
    for (command, run_by, named) in [
        ("cargo test --workspace", ci, "cargo test --workspace"),
        ("cargo run --release -- demo", tests, "\"demo\""),
    ] {
        assert!(README.contains(command) && run_by.contains(named), "{command}");
    }
}
