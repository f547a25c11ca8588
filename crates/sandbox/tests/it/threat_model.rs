//! What `docs/threat-model.md` claims is what tests show.

use std::path::Path;

const DOCUMENT: &str = include_str!("../../../../docs/threat-model.md");

/// Every `.rs` file below a directory.
fn sources(directory: &Path, found: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let mut code = String::new();
    for directory in ["..", "../../src", "../../tests"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut code);
    }
    // A test is named by a sentence: at least three words.
    let named: Vec<&str> =
        DOCUMENT.split('`').skip(1).step_by(2).filter(|text| text.matches('_').count() > 2).collect();
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        assert!(code.contains(&format!("fn {name}(")), "no test is called {name}");
    }
}
