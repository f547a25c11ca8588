//! What the host's sources may speak of is seen by looking at them.

use std::path::{Path, PathBuf};

use connector_contract::facts;

/// What only the ledger's crate says: the library, its transaction's inside, and SQL.
const OF_THE_LEDGER: [&str; 11] = [
    "rusqlite",
    ".sql.",
    "prepare_cached",
    "SELECT ",
    "INSERT ",
    "UPDATE ",
    "DELETE ",
    "PRAGMA ",
    " WHERE ",
    " IS NULL",
    " IS NOT NULL",
];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    found.filter(|path| path.extension().is_some_and(|it| it == "rs")).collect()
}

/// The words in `text` that only the ledger says.
fn words_of_the_ledger(text: &str) -> Vec<&'static str> {
    OF_THE_LEDGER.into_iter().filter(|word| text.contains(word)).collect()
}

#[test]
fn nobody_but_the_ledger_speaks_sql() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (ledger, mut others) = (sources(&root.join("../ledger/src")), sources(&root.join("src")));
    others.extend(sources(&root.join("../engine/src")));
    assert!(ledger.len() > 10 && others.len() > 100, "{} and {}", ledger.len(), others.len());
    for file in others {
        let words = words_of_the_ledger(&std::fs::read_to_string(&file).unwrap());
        assert_eq!(words, Vec::<&str>::new(), "{}", file.display());
    }
    let mut said =
        ledger.iter().flat_map(|file| words_of_the_ledger(&std::fs::read_to_string(file).unwrap()));
    let said: std::collections::BTreeSet<_> = said.by_ref().collect();
    assert_eq!(said.len(), OF_THE_LEDGER.len(), "each is a word that the ledger does say: {said:?}");
}

#[test]
fn a_condition_or_a_column_at_a_call_is_seen() {
    for (line, seen) in [
        (r#"change.only_if("? AND checkpoint IS NULL", true)"#, true),
        (r#"tx.sql.query_row("SELECT 1", [], |row| row.get(0))"#, true),
        (r"Change::none().set(column, rusqlite::types::Null)", true),
        (r#"let sql = format!("UPDATE runs SET due = {due}");"#, true),
        (r"change.only_if(Guard::NoCheckpoint)", false),
        (r#""select one, or update it where it is""#, false),
    ] {
        assert_eq!(!words_of_the_ledger(line).is_empty(), seen, "{line}");
    }
}

/// Where a word that names a fact stands for something else, and how often.
const OTHERS: [(&str, &str, usize); 20] = [
    // A trigger's payload.
    ("build/telegram.rs", "files", 1),
    // A row of its report.
    ("cli/doctor.rs", "files", 2),
    // The audit's detail.
    ("cli/runs.rs", "session_id", 1),
    // Answers of the command line.
    ("cli/runs/after.rs", "branch", 1),
    ("cli/runs/after.rs", "commit", 1),
    ("cli/runs/after.rs", "files", 2),
    // The host's own action.
    ("engine/advance.rs", "reply", 2),
    // The audit's detail.
    ("engine/dispatch.rs", "session_id", 1),
    // A connector itself: its actions, inputs and outputs.
    ("git.rs", "base", 2),
    ("git.rs", "branch", 2),
    ("git.rs", "commit", 6),
    ("git.rs", "files", 2),
    ("git.rs", "reply", 4),
    // A permission.
    ("powers.rs", "patch", 1),
    // A command.
    ("telegram/buttons.rs", "commit", 1),
    // Files of a message.
    ("telegram/files.rs", "files", 1),
    // Files of a message.
    ("telegram/intake.rs", "files", 1),
    // A language.
    ("telegram/render/prose.rs", "patch", 1),
    // A part of a delivery.
    ("telegram/send.rs", "patch", 2),
    // A trouble.
    ("watch.rs", "files", 2),
];

/// How often each name of a fact stands in a source, as a literal, outside of its tests.
fn facts_named(text: &str) -> Vec<(&'static str, usize)> {
    let (product, _) = text.split_once("#[cfg(test)]").unwrap_or((text, ""));
    let count = |name| (name, product.matches(&format!("\"{name}\"")).count());
    facts::NAMES.into_iter().map(count).filter(|(_, count)| *count > 0).collect()
}

#[test]
fn nobody_but_the_contract_knows_the_facts_of_an_outcome_by_name() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    let mut seen = 0;
    // The ledger's columns have names of their own, and nobody else sees them.
    for (root, above) in [("host/src", ""), ("engine/src", "engine/")] {
        let root = crates.join(root);
        for file in sources(&root) {
            let name = format!("{above}{}", file.strip_prefix(&root).unwrap().display());
            if name.ends_with("tests.rs") {
                continue;
            }
            seen += 1;
            let named = facts_named(&std::fs::read_to_string(&file).unwrap());
            found.extend(named.into_iter().map(|(fact, count)| (name.clone(), fact, count)));
        }
    }
    assert!(seen > 100, "{seen} files");
    found.sort();
    let expected: Vec<_> =
        OTHERS.iter().map(|(file, fact, count)| ((*file).to_owned(), *fact, *count)).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_fact_read_or_written_by_name_is_seen() {
    for (line, seen) in [
        (r#"result.output.get("session_id").and_then(Value::as_str)"#, true),
        (r#"output.insert("patch".to_owned(), json!(patch));"#, true),
        (r#"Some(Self { branch: text("branch")?, base: commit("base")? })"#, true),
        (r#"const FILES_ARE_ALL: &str = "files_are_all";"#, true),
        (r#"json!({ "reply": message })"#, true),
        (r"let facts = Facts::of(&output); facts.session()", false),
    ] {
        assert_eq!(!facts_named(line).is_empty(), seen, "{line}");
    }
}
