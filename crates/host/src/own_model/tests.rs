use super::*;

/// A user and a repository with these files.
fn source(files: &[(&str, &str)], pool: &str) -> (tempfile::TempDir, Source) {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("app/.git")).unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let text = format!("{pool}\n[workspaces.w]\ndirectory = '{}'\n", root.path().join("app/sub").display());
    std::fs::create_dir_all(root.path().join("app/sub")).unwrap();
    let pool: PoolConfig = toml::from_str(&text).unwrap();
    let environment = Environment::default().with("HOME", root.path().join("home"));
    let source = Source::of(environment, &pool, pool.workspaces.get("w"));
    (root, source)
}

const USER: &str = "home/.config/opencode/opencode.jsonc";

/// What there is, what the host says, the agent that is named, and the line of a card.
type Case = (&'static [(&'static str, &'static str)], &'static str, Option<&'static str>, &'static str);

const CASES: [Case; 12] = [
    (&[], "", None, "none configured: opencode takes a default of its own, which may be one in a cloud"),
    (
        &[(USER, "{ // the usual\n \"model\": \"a/own\", /* , */ \"x\": [1,], }")],
        "",
        None,
        "a/own (opencode's configuration)",
    ),
    (
        &[(USER, r#"{"model":"a/own"}"#), ("app/opencode.json", r#"{"model":"b/project"}"#)],
        "",
        None,
        "b/project (opencode's configuration)",
    ),
    (
        &[(USER, r#"{"model":"a/own"}"#), ("app/opencode.json", r#"{"model":"b/project"}"#)],
        "project_config = 'ignore'",
        None,
        "a/own (opencode's configuration)",
    ),
    (
        &[
            ("app/opencode.json", r#"{"model":"b/project"}"#),
            ("app/sub/.opencode/opencode.json", r#"{"model":"c/nearest"}"#),
        ],
        "",
        None,
        "c/nearest (opencode's configuration)",
    ),
    (
        &[
            ("app/opencode.json", r#"{"model":"b/project"}"#),
            ("app/sub/.opencode/opencode.json", r#"{"model":"c/nearest"}"#),
        ],
        "project_config = 'trust'",
        None,
        "c/nearest (opencode's configuration)",
    ),
    (&[(USER, r#"{"model":"a/own"}"#)], "model = 'h/host'", None, "h/host"),
    (
        &[(USER, r#"{"model":"a/own","agent":{"build":{"model":"d/agent"}}}"#)],
        "model = 'h/host'",
        None,
        "d/agent (agent build's own)",
    ),
    (
        &[
            (USER, r#"{"default_agent":"mine","model":"a/own"}"#),
            (
                "app/sub/.opencode/agent/mine.md",
                "---\ndescription: x\nmodel: 'e/md' # mine\n---\nBe good.\nmodel: x/y\n",
            ),
        ],
        "",
        None,
        "e/md (agent mine's own)",
    ),
    (
        &[
            (USER, r#"{"model":"a/own"}"#),
            ("home/.config/opencode/agents/plan.md", "---\nmodel: f/plan\n---\n"),
        ],
        "",
        Some("plan"),
        "f/plan (agent plan's own)",
    ),
    (
        &[(USER, r#"{"model":{"providerID":"g","model":"two"}}"#)],
        "",
        None,
        "g/two (opencode's configuration)",
    ),
    (
        &[(USER, r#"{"agents":{"plan":{"model":"f/plan"}},"model":"a/own"}"#)],
        "",
        Some("build"),
        "a/own (opencode's configuration)",
    ),
];

#[test]
fn a_card_says_the_model_that_opencodes_configuration_names() {
    for (files, pool, agent, line) in CASES {
        let (_root, source) = source(files, pool);
        let agent = agent.map(|agent| ("agent".to_owned(), json!(agent)));
        let target = Target { origin: None, settings: agent.into_iter().collect() };
        let told = source.tell(target, &json!({}));
        assert_eq!(super::line(&told.settings), line, "{files:?} {pool}");
    }
}

#[test]
fn what_a_target_names_itself_stays_and_a_session_has_its_own() {
    let (_root, source) = source(&[(USER, r#"{"model":"a/own"}"#)], "");
    let own = Target { origin: None, settings: [(MODEL.to_owned(), json!("x/y"))].into() };
    assert_eq!(source.tell(own.clone(), &json!({})), own);
    let told = source.tell(Target::default(), &json!({ "session_id": "ses_1" }));
    assert_eq!(line(&told.settings), "its session's, or else a/own (opencode's configuration)");
}

#[test]
fn what_is_no_model_or_no_configuration_is_said_and_not_quoted() {
    let (_root, unclear) = source(&[("app/opencode.json", r#"{"model":"hunter2 is no model"}"#)], "");
    assert!(unclear.named(None).to_string().starts_with("one that is not written plainly, by "));
    let wrong = "{\"apiKey\":\"hunter2\",\n \"model\": \"acme/x\",, }";
    let (_root, invalid) = source(&[(USER, wrong)], "");
    let text = invalid.named(None).to_string();
    assert!(text.ends_with("opencode.jsonc is not valid: line 2, column 20"), "{text}");
    for named in [unclear, invalid] {
        assert!(!line(&named.tell(Target::default(), &json!({})).settings).contains("hunter2"));
    }
}
