//! Any text: reading it never panics, every diagnostic can be shown, and what loads can be printed,
//! read back as the same rule, linted and tested.
#![no_main]

use connector_rules::{Catalog, LintPolicy, RuleSet, SourceFile, lint};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let set = match RuleSet::parse([SourceFile::new("rule.toml", text)]) {
        Ok(set) => set,
        Err(wrong) => {
            assert!(!wrong.is_empty());
            let _ = wrong.render(true);
            let _ = serde_json::to_string(&wrong);
            return;
        }
    };
    let _ = lint(&set, &Catalog::default(), &LintPolicy::default()).render(false);
    let _ = set.run_tests();
    let rule = &set.rules()[0];
    let printed = rule.definition().print().expect("a rule that loads can be printed");
    match RuleSet::parse([SourceFile::new("printed.toml", printed.as_str())]) {
        Ok(again) => {
            assert_eq!(again.rules()[0].definition(), rule.definition(), "{printed}");
            assert_eq!(again.rules()[0].version(), rule.version(), "{printed}");
        }
        Err(wrong) => panic!("{}\n{printed}", wrong.render(false)),
    }
});
