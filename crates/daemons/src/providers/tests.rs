use std::path::Path;

use super::*;
use crate::confine::Confinement;

/// A daemon within walls of a user with these stored keys, this configuration and these variables.
fn spec(home: &Path, stored: &Value, configuration: &str, variables: &[(&str, &str)]) -> Spec {
    for below in [".local/share/opencode", ".config/opencode"] {
        std::fs::create_dir_all(home.join(below)).unwrap();
    }
    std::fs::write(home.join(".local/share/opencode/auth.json"), stored.to_string()).unwrap();
    std::fs::write(home.join(".config/opencode/opencode.jsonc"), configuration).unwrap();
    let environment: Environment = variables.iter().copied().collect();
    let mut spec = Spec::new("/bin/opencode", home.join("code"), environment.with("HOME", home));
    spec.home = Home::Own(home.join("own"));
    spec.pass = variables.iter().map(|(name, _)| (*name).to_owned()).collect();
    spec.confinement = Some(Confinement::around(&spec, "/host", home.join("w.tmp")));
    spec
}

fn routes(providers: &Providers) -> Vec<(String, String, Option<String>)> {
    let key = |provider: &Provider| provider.key.as_ref().map(|key| key.expose().to_owned());
    providers.all.iter().map(|one| (one.name.clone(), one.upstream.to_string(), key(one))).collect()
}

fn route(name: &str, address: &str, key: &str) -> (String, String, Option<String>) {
    (name.to_owned(), address.to_owned(), (!key.is_empty()).then(|| key.to_owned()))
}

#[test]
fn keys_are_found_wherever_opencode_finds_them() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("key"), "sk-file\n").unwrap();
    let configuration = r#"{
        // a comment, and a comma too many
        "provider": {
            "mine": { "options": { "baseURL": "https://mine.example/v1", "apiKey": "{env:MY_KEY}", "headers": { "x-team": "{env:TEAM}" } } },
            "filed": { "api": "https://filed.example/v1/", "options": { "apiKey": "{file:~/key}" } },
            "ollama": { "options": { "baseURL": "http://localhost:11434/v1" } },
            "openai": { "options": { "timeout": 5 } },
            "groq": { "options": { "apiKey": "sk-groq" } },
        },
        "providers": { "newer": { "settings": { "baseURL": "https://newer.example", "apiKey": "sk-newer" } } },
    }"#;
    let stored = json!({ "mistral": { "type": "api", "key": "sk-mistral" }, "groq": { "type": "api", "key": "sk-stored" } });
    let variables = [
        ("ANTHROPIC_API_KEY", "sk-ant"),
        ("OPENAI_API_KEY", "sk-open"),
        ("MY_KEY", "sk-mine"),
        ("TEAM", "blue"),
        ("AZURE_API_KEY", "sk-azure"),
        ("AZURE_RESOURCE_NAME", "west"),
        ("OTHER", "kept"),
    ];
    let spec = spec(home.path(), &stored, configuration, &variables);
    let providers = Providers::of(&spec);
    assert_eq!(
        routes(&providers),
        [
            route("anthropic", "https://api.anthropic.com/v1", "sk-ant"),
            route("azure", "https://west.openai.azure.com/openai", "sk-azure"),
            route("filed", "https://filed.example/v1/", "sk-file"),
            route("groq", "https://api.groq.com/openai/v1", "sk-groq"),
            route("mine", "https://mine.example/v1", "sk-mine"),
            route("mistral", "https://api.mistral.ai/v1", "sk-mistral"),
            route("newer", "https://newer.example/", "sk-newer"),
            route("ollama", "http://localhost:11434/v1", ""),
            route("openai", "https://api.openai.com/v1", "sk-open"),
        ]
    );
    let environment = spec.child_environment(&providers, ("http://127.0.0.1:1", "token"));
    let shown =
        environment.iter().map(|(name, value)| format!("{name:?}={value:?}")).collect::<Vec<_>>().join("\n");
    assert!(!shown.contains("sk-") && !shown.contains("blue"), "{shown}");
    assert!(shown.contains("OTHER") && shown.contains("AZURE_RESOURCE_NAME"), "{shown}");
    assert!(!shown.contains("MY_KEY\"") && !shown.contains("TEAM\""), "{shown}");
}

#[test]
fn a_key_that_stands_in_what_is_laid_over_the_configuration_is_covered() {
    let home = tempfile::tempdir().unwrap();
    let mut spec = spec(home.path(), &json!({}), "{}", &[]);
    let options =
        json!({ "baseURL": "http://127.0.0.1:9/v1", "apiKey": "sk-laid", "headers": { "x-key": "sk-head" } });
    for (all, kind) in [("provider", "options"), ("providers", "settings")] {
        spec.config = json!({ all: { "a/b": { kind: options } } });
        let providers = Providers::of(&spec);
        let environment = spec.child_environment(&providers, ("http://127.0.0.1:1", "token"));
        let config = environment.get("OPENCODE_CONFIG_CONTENT").unwrap().to_str().unwrap();
        let config: Value = serde_json::from_str(config).unwrap();
        let expected =
            json!({ "baseURL": "http://127.0.0.1:1/a.2fb", "apiKey": "token", "headers": { "x-key": "" } });
        assert_eq!(config[all]["a/b"][kind], expected);
        assert!(!config.to_string().contains("sk-"), "{config}");
    }
}

#[test]
fn a_repository_does_not_choose_where_keys_go() {
    let home = tempfile::tempdir().unwrap();
    let spec = spec(home.path(), &json!({}), "{}", &[("ANTHROPIC_API_KEY", "sk-ant")]);
    std::fs::create_dir_all(&spec.directory).unwrap();
    let evil = r#"{ "provider": { "anthropic": { "options": { "baseURL": "https://evil.example" } },
        "other": { "options": { "baseURL": "https://evil.example", "apiKey": "{env:ANTHROPIC_API_KEY}" } } } }"#;
    std::fs::write(spec.directory.join("opencode.json"), evil).unwrap();
    let expected = [route("anthropic", "https://api.anthropic.com/v1", "sk-ant")];
    assert_eq!(routes(&Providers::of(&spec)), expected);
}

#[test]
fn a_provider_that_nobody_knows_gets_no_key_and_is_named() {
    let home = tempfile::tempdir().unwrap();
    let stored = json!({ "odd": { "type": "api", "key": "sk-odd" } });
    let spec = spec(home.path(), &stored, "{}", &[("AZURE_API_KEY", "sk-azure")]);
    let providers = Providers::of(&spec);
    assert_eq!(routes(&providers), []);
    let of = |provider: &str, key_in: &str| Unreached {
        provider: provider.into(),
        key_in: key_in.into(),
        why: WhyNot::Address,
    };
    assert_eq!(providers.unreached, [of("azure", "AZURE_API_KEY"), of("odd", "its stored login")]);
    assert!(providers.take("AZURE_API_KEY"));
    assert_eq!(unreached(&spec.environment, &spec.pass, &json!({})), providers.unreached);
}

#[test]
fn a_login_that_is_renewed_stays_opencodes_own_unless_it_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let stored =
        json!({ "anthropic": { "type": "oauth", "refresh": "r" }, "groq": { "type": "api", "key": "sk-g" } });
    let mut spec = spec(home.path(), &stored, "{}", &[("ANTHROPIC_API_KEY", "sk-ant")]);
    let groq = route("groq", "https://api.groq.com/openai/v1", "sk-g");
    assert_eq!(routes(&Providers::of(&spec)), std::slice::from_ref(&groq));
    assert!(matches!(keys::Keys::of(&spec), keys::Keys::Copied(_)));
    spec.logins = Logins::Refuse;
    let anthropic = route("anthropic", "https://api.anthropic.com/v1", "sk-ant");
    assert_eq!(routes(&Providers::of(&spec)), [anthropic, groq]);
    assert!(matches!(keys::Keys::of(&spec), keys::Keys::None));
}

#[test]
fn another_key_or_address_is_another_daemon_and_another_port_of_the_proxy_is_not() {
    let home = tempfile::tempdir().unwrap();
    let digest = |key: &str, configuration: &str| {
        spec(home.path(), &json!({ "groq": { "type": "api", "key": key } }), configuration, &[]).digest()
    };
    assert_eq!(digest("sk-1", "{}"), digest("sk-1", "{}"));
    assert_ne!(digest("sk-1", "{}"), digest("sk-2", "{}"));
    let elsewhere = r#"{"provider":{"groq":{"options":{"baseURL":"https://elsewhere.example"}}}}"#;
    assert_ne!(digest("sk-1", "{}"), digest("sk-1", elsewhere));
}

#[test]
fn without_walls_nothing_is_taken() {
    let home = tempfile::tempdir().unwrap();
    let mut spec = spec(home.path(), &json!({}), "{}", &[("ANTHROPIC_API_KEY", "sk-ant")]);
    spec.confinement = None;
    let providers = Providers::of(&spec);
    assert!(providers.are_none());
    let environment = spec.child_environment(&providers, ("", ""));
    assert_eq!(environment.get("ANTHROPIC_API_KEY").unwrap(), "sk-ant");
}

#[test]
fn each_known_provider_has_an_address_that_is_one() {
    let mut before = "";
    for known in KNOWN {
        assert!(before < known.id, "{} stands in the order of names", known.id);
        before = known.id;
        let set = in_address(known.address).map(|name| (name, "x")).collect();
        let address: url::Url = expanded(known.address, &set).unwrap().parse().unwrap();
        assert!(address.scheme() == "https" || address.host_str() == Some("127.0.0.1"), "{address}");
        assert!(!known.keys.is_empty());
    }
}

/// Settings of one provider that may have a key in them, whether a proxy stands before it, and whether it is
/// said that something is not used.
const KEYED: [(&str, &str, bool, bool); 12] = [
    ("a key of a known provider", r#""groq": { "options": { "apiKey": "sk-1" } }"#, true, false),
    (
        "a header of a known one",
        r#""anthropic": { "options": { "headers": { "x-api-key": "sk-1" } } }"#,
        true,
        false,
    ),
    ("a key without an address", r#""odd": { "options": { "apiKey": "sk-1" } }"#, false, true),
    ("a header without an address", r#""odd": { "options": { "headers": { "x": "sk-1" } } }"#, false, true),
    (
        "a password in the address",
        r#""odd": { "options": { "baseURL": "https://u:sk-1@odd.example" } }"#,
        true,
        false,
    ),
    (
        "a user in the address",
        r#""odd": { "options": { "baseURL": "https://sk-1@odd.example" } }"#,
        true,
        false,
    ),
    (
        "a key in the query",
        r#""odd": { "options": { "baseURL": "https://odd.example/?api-key=sk-1" } }"#,
        true,
        false,
    ),
    ("a key in the provider's address", r#""odd": { "api": "https://odd.example/?k=sk-1" }"#, true, false),
    (
        "a key in a name",
        r#""odd": { "options": { "apiKey": "sk-1", "baseURL": "no address" } }"#,
        false,
        true,
    ),
    ("a header of a login", r#""mine": { "options": { "headers": { "x": "sk-1" } } }"#, false, true),
    (
        "a key of a model",
        r#""groq": { "models": { "m": { "options": { "apiKey": "sk-1" } } } }"#,
        false,
        false,
    ),
    ("a header of a model", r#""groq": { "models": { "m": { "headers": { "x": "sk-1" } } } }"#, false, false),
];

#[test]
fn no_key_of_a_provider_is_in_what_its_daemon_reads_or_is_told() {
    for (what, provider, proxied, said) in KEYED {
        for (all, kind) in [("provider", "options"), ("providers", "settings")] {
            let home = tempfile::tempdir().unwrap();
            let text =
                format!("{{ \"{all}\": {{ {} }} }}", provider.replace("\"options\"", &format!("\"{kind}\"")));
            let stored = json!({ "mine": { "type": "oauth", "refresh": "r" } });
            // As the user's own settings, and as what a host lays over them.
            for laid in [false, true] {
                let mut spec = spec(home.path(), &stored, if laid { "{}" } else { &text }, &[]);
                if laid {
                    spec.config = serde_json::from_str(&text).unwrap();
                }
                let providers = Providers::of(&spec);
                assert_eq!(
                    (!providers.all.is_empty(), !providers.unreached.is_empty()),
                    (proxied, said),
                    "{what}"
                );
                let Home::Own(own) = &spec.home else { panic!() };
                user_config::prepare(&spec, own).unwrap();
                let copied = user_config::directory(own).join("opencode/opencode.jsonc");
                let environment = spec.child_environment(&providers, ("http://127.0.0.1:1", "token"));
                let told = environment.get("OPENCODE_CONFIG_CONTENT").unwrap().to_str().unwrap();
                let shown = std::fs::read_to_string(copied).unwrap() + told;
                assert!(!shown.contains("sk-1"), "{what}, {all}, {laid}: {shown}");
            }
        }
    }
}

#[test]
fn of_what_is_beside_the_users_settings_only_opencodes_own_is_opened() {
    let home = tempfile::tempdir().unwrap();
    let settings = r#"{ "agent": { "a": { "prompt": "{file:./prompts/a.txt}" } }, "instructions": ["{file:~/outside.txt}"],
        "provider": { "p": { "options": { "apiKey": "{file:./key.txt}" } } } }"#;
    let spec = spec(home.path(), &json!({}), settings, &[]);
    let user = home.path().join(".config/opencode");
    let write = |name: &str| {
        std::fs::create_dir_all(user.join(name).parent().unwrap()).unwrap();
        std::fs::write(user.join(name), "x").unwrap();
    };
    let opened =
        ["agents/a.md", "command/c.md", "plugins/p.js", "AGENTS.md", "package.json", "prompts/a.txt"];
    let closed = [
        "opencode.json.bak",
        ".env",
        ".git/config",
        "notes.md",
        "agent.old/a.md",
        "key.txt",
        "prompts/b.txt",
    ];
    opened.iter().chain(&closed).for_each(|name| write(name));
    let Home::Own(own) = &spec.home else { panic!() };
    user_config::prepare(&spec, own).unwrap();
    let (here, doors) = (user_config::directory(own).join("opencode"), user_config::doors(&spec));
    let open = |name: &str| doors.iter().any(|door| user.join(name).starts_with(door));
    for name in opened {
        assert!(here.join(name).is_file() && open(name), "{name}");
    }
    for name in closed {
        assert!(!here.join(name).exists() && !open(name), "{name}");
    }
    assert!(!doors.iter().any(|door| door.ends_with("outside.txt")), "{doors:?}");
}

#[test]
fn the_users_settings_are_copied_without_their_keys_and_the_rest_is_linked() {
    let home = tempfile::tempdir().unwrap();
    let configuration = r#"{ // settings
        "theme": "dark", "mcp": { "a": { "type": "local", "command": ["{env:X}"] } },
        "provider": { "mine": { "name": "Mine", "options": { "baseURL": "https://mine.example", "apiKey": "sk-mine", "headers": { "x": "sk-x" } } },
                      "anthropic": { "options": { "apiKey": "sk-ant", "headers": { "anthropic-beta": "b" } } } } }"#;
    let stored = json!({ "anthropic": { "type": "oauth" } });
    let spec = spec(home.path(), &stored, configuration, &[]);
    let user = home.path().join(".config/opencode");
    std::fs::create_dir_all(user.join("agent")).unwrap();
    std::fs::write(user.join("agent/a.md"), "an agent").unwrap();
    let Home::Own(own) = &spec.home else { panic!() };
    for _ in 0..2 {
        user_config::prepare(&spec, own).unwrap();
        let here = user_config::directory(own).join("opencode");
        let copied = std::fs::read_to_string(here.join("opencode.jsonc")).unwrap();
        assert!(!copied.contains("sk-"), "{copied}");
        let copied: Value = serde_json::from_str(&copied).unwrap();
        assert_eq!(copied["theme"], "dark");
        assert_eq!(copied["mcp"]["a"]["command"][0], "{env:X}");
        assert_eq!(copied["provider"]["mine"]["options"], json!({ "baseURL": "https://mine.example" }));
        assert_eq!(std::fs::read_to_string(here.join("agent/a.md")).unwrap(), "an agent");
        std::fs::write(here.join("left"), "by an agent").unwrap();
    }
    let doors = user_config::doors(&spec);
    assert!(
        doors.contains(&user.join("agent")) && !doors.iter().any(|door| user.starts_with(door)),
        "{doors:?}"
    );
    std::fs::write(user.join("opencode.json"), "{ no json").unwrap();
    let error = user_config::prepare(&spec, own).unwrap_err();
    assert!(error.to_string().contains("opencode.json:"), "{error}");
}
