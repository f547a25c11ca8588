//! The worked examples and the documentation are true.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use connector_rules::{RuleSet, SourceFile, schema};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn examples() -> Vec<SourceFile> {
    let mut paths: Vec<_> = std::fs::read_dir(root().join("examples/rules"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        SourceFile::new(name, std::fs::read_to_string(path).unwrap())
    };
    paths.into_iter().map(read).collect()
}

fn documentation() -> String {
    std::fs::read_to_string(root().join("docs/rules.md")).unwrap()
}

#[test]
fn every_example_loads_and_its_tests_hold() {
    let files = examples();
    assert!(files.len() >= 12, "{} examples", files.len());
    let set = match RuleSet::parse(files) {
        Ok(set) => set,
        Err(wrong) => panic!("{}", wrong.render(false)),
    };
    for rule in set.rules() {
        assert!(rule.tests().len() >= 2, "`{}` has too few tests", rule.name());
    }
    let failures: String = set.run_tests().iter().map(|report| report.failures.render(false)).collect();
    assert!(failures.is_empty(), "{failures}");
}

/// The TOML blocks of the documentation, each with the line it starts at.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match &mut open {
            None if line == "```toml" => open = Some((number + 2, String::new())),
            None => {}
            Some(_) if line == "```" => blocks.extend(open.take()),
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
        }
    }
    blocks
}

/// A block with what it does not show: the rest of a rule.
fn complete(block: &str) -> String {
    let table: toml::Table = toml::from_str(block).unwrap_or_default();
    let mut text = block.to_owned();
    for (key, rest) in [
        ("rule", "[rule]\nname = \"shown\"\n"),
        (
            "trigger",
            "[trigger]\ntype = \"ConnectorEvent\"\nconnector = \"connector-telegram\"\nevent = \"message_received\"\n",
        ),
        ("actions", "[[actions]]\ntype = \"Reply\"\ntext = \"ok\"\n"),
    ] {
        // Springtale writes the header at the top.
        let has = table.contains_key(key) || (key == "rule" && table.contains_key("name"));
        if !has {
            text.push_str(rest);
        }
    }
    text
}

#[test]
fn every_block_of_the_documentation_loads_and_its_tests_hold() {
    let found = blocks(&documentation());
    assert!(found.len() >= 12, "{} blocks", found.len());
    for (line, block) in found {
        let file = SourceFile::new(format!("docs/rules.md, line {line}"), complete(&block));
        match RuleSet::parse([file]) {
            Ok(set) => {
                let failures: String =
                    set.run_tests().iter().map(|report| report.failures.render(false)).collect();
                assert!(failures.is_empty(), "{failures}");
            }
            Err(wrong) => panic!("{}", wrong.render(false)),
        }
    }
}

/// Every key and every `type` that the schema knows.
fn words(schema: &Value, words: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(properties) = fields.get("properties").and_then(Value::as_object) {
                words.extend(properties.keys().cloned());
            }
            if let Some(Value::String(constant)) = fields.get("const") {
                words.insert(constant.clone());
            }
            fields.values().for_each(|below| self::words(below, words));
        }
        Value::Array(items) => items.iter().for_each(|below| self::words(below, words)),
        _ => {}
    }
}

#[test]
fn the_documentation_speaks_of_every_key_and_type() {
    let mut known = BTreeSet::new();
    words(&schema(), &mut known);
    assert!(known.contains("cooldown") && known.contains("FieldMatches"), "{known:?}");
    let text = documentation();
    let shown: String = blocks(&text).into_iter().map(|(_, block)| block).collect();
    let missing: Vec<_> = known
        .iter()
        .filter(|word| {
            // Of the days it is enough to show some.
            let day = word.ends_with("day");
            !text.contains(&format!("`{word}`")) || (!day && !shown.contains(word.as_str()))
        })
        .collect();
    assert!(missing.is_empty(), "not named and shown: {missing:?}");
}
