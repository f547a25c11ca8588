//! What the host's sources may speak of is seen by looking at them.

use std::path::{Path, PathBuf};

/// What only the ledger says: the library, its transaction's inside, and SQL.
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (ledger, others): (Vec<_>, Vec<_>) = sources(&root)
        .into_iter()
        .partition(|path| path.starts_with(root.join("ledger")) || *path == root.join("ledger.rs"));
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

/// What the contract alone knows of an outcome's members, as somebody else would read or write it.
const FACTS: [&str; 15] = [
    "session_id",
    "reply",
    "remark",
    "files",
    "files_left_out",
    "files_are_all",
    "patch",
    "branch",
    "base",
    "commit",
    "duration_ms",
    "cost",
    "tokens",
    "network_refused",
    "response",
];

/// The facts that a line reads or writes by their own names. A column of a row is none.
fn facts_by_name(line: &str) -> Vec<&'static str> {
    let by_name = |name: &&str| {
        let ways =
            ["get(\"NAME\")", "[\"NAME\"]", "insert(\"NAME\"", "remove(\"NAME\"", "text(output, \"NAME\""];
        ways.iter().any(|way| line.contains(&way.replace("NAME", name)))
    };
    if line.contains("row.get(") { Vec::new() } else { FACTS.into_iter().filter(by_name).collect() }
}

#[test]
fn nobody_but_the_contract_knows_the_facts_of_an_outcome_by_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in sources(&root) {
        // An answer of the command line, which is as its document says; and the files of a message.
        if file.ends_with("tests.rs")
            || file.ends_with("cli/runs/after.rs")
            || file.ends_with("telegram/files.rs")
        {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let (product, _) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((&text, ""));
        let named: Vec<_> = product.lines().filter(|line| !facts_by_name(line).is_empty()).collect();
        assert_eq!(named, Vec::<&str>::new(), "{}", file.display());
    }
}

#[test]
fn a_fact_read_or_written_by_name_is_seen() {
    for (line, seen) in [
        (r#"result.output.get("session_id").and_then(Value::as_str)"#, true),
        (r#"output.insert("patch".to_owned(), json!(patch));"#, true),
        (r#"answer["branch"] = json!(branch);"#, true),
        (r#"session_id: row.get("session_id")?,"#, false),
        (r#"self.sent(parcel, "patch")"#, false),
    ] {
        assert_eq!(!facts_by_name(line).is_empty(), seen, "{line}");
    }
}
