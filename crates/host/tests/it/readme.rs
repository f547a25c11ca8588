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
fn its_test_command_is_what_ci_runs() {
    let command = README.lines().find(|line| line.starts_with("cargo test")).unwrap();
    let command = command.split('#').next().unwrap().trim_end();
    let ci = include_str!("../../../../.ci/run");
    assert!(ci.lines().any(|line| line == format!("step {command}")), "{command}");
}
