//! `plugins` through the binary: what packages ask for, and granting it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::terminal::{Ended, User, pseudo_terminal};

const HOST: &str = "# my host\nrules = \"rules\"\n[connectors]\n";
const MANIFEST: &str = "name = \"connector-x\"\nversion = \"1.0.0\"\nauthor = \"Anna\"\ndescription = \"looks\"\n\
    [[capabilities]]\ntype = \"NetworkOutbound\"\nhost = \"127.0.0.1:4096\"\n\
    [[actions]]\nname = \"look\"\ndescription = \"looks\"\nread_only = true\n\
    [[actions]]\nname = \"change\"\ndescription = \"changes\"\n\
    [[data_disclosure]]\ndata_type = \"prompts\"\npurpose = \"to answer them\"\ndestination = \"127.0.0.1:4096\"\n";

/// A user with a `host.toml`, and `plugins/connector-x` beside it.
struct Packages(User);

impl Packages {
    fn new() -> Self {
        let packages = Self(User::new());
        std::fs::create_dir_all(packages.path("plugins/connector-x")).unwrap();
        packages.put("host.toml", HOST, 0o644);
        packages.put("plugins/connector-x/connector.toml", MANIFEST, 0o644);
        packages.put("plugins/connector-x/executable", "\x7fELF", 0o755);
        for directory in ["plugins", "plugins/connector-x"] {
            packages.mode(directory, 0o755);
        }
        packages
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.0.home.path().join(relative)
    }

    fn put(&self, relative: &str, text: &str, mode: u32) {
        std::fs::write(self.path(relative), text).unwrap();
        self.mode(relative, mode);
    }

    fn mode(&self, relative: &str, mode: u32) {
        std::fs::set_permissions(self.path(relative), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn host(&self) -> String {
        std::fs::read_to_string(self.path("host.toml")).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let config = self.path("host.toml").display().to_string();
        self.0.run(&[&["plugins"], arguments, &["-c", &config]].concat())
    }

    /// Runs a command at a terminal where `typed` was typed.
    fn at_a_terminal(&self, typed: &str, arguments: &[&str]) -> Ended {
        let (terminal, input) = pseudo_terminal();
        rustix::io::write(&terminal, typed.as_bytes()).unwrap();
        let config = self.path("host.toml").display().to_string();
        let mut command = self.0.command(&[&["plugins"], arguments, &["-c", &config]].concat());
        Ended(command.stdin(input).output().unwrap())
    }

    fn refused(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let ended = self.run(arguments);
        let text = ended.text();
        assert_eq!(ended.code(), code, "{arguments:?}: {text}");
        for word in words {
            assert!(text.contains(word), "{arguments:?}: no {word:?} in {text}");
        }
    }

    /// Signs the manifest as docs/plugins.md says, and returns the public key.
    #[expect(clippy::disallowed_methods, reason = "the documented way to sign is a program of its own")]
    fn sign(&self) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/sign-manifest.mjs");
        let manifest = self.path("plugins/connector-x/connector.toml");
        let output =
            Command::new("node").arg(script).arg(self.path("key.pem")).arg(manifest).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

fn kinds(ended: &Ended) -> Vec<String> {
    let refusals = ended.json()[0]["refusals"].clone();
    refusals.as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_a_package_asks_for_is_shown_before_anything_is_granted() {
    let packages = Packages::new();
    let text = packages.run(&["list"]).text();
    let shown: Vec<&str> = text.lines().filter(|line| !line.contains("sha256")).collect();
    assert_eq!(
        shown,
        [
            "connector-x 1.0.0  may not run",
            "    is        looks",
            "    by        Anna",
            "    signed by nobody",
            "    asks for  NetworkOutbound(127.0.0.1:4096)",
            "    action    look   runs without approval",
            "    action    change   asks for approval",
            "    sends     prompts to 127.0.0.1:4096: to answer them",
            "    refused   it was not granted anything",
        ]
    );
    let documented = include_str!("../../../../docs/plugins.md");
    for line in &shown {
        assert!(documented.contains(&format!("\n{line}\n")), "docs/plugins.md does not show {line:?}");
    }
    let row = packages.run(&["list", "--json"]).json()[0].clone();
    assert_eq!(
        (&row["granted"], &row["signed"], &row["signed_by"]),
        (&json!(false), &json!(false), &json!(null))
    );
    assert_eq!(row["actions"][0], json!({ "name": "look", "read_only": true }));
    assert_eq!(row["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(packages.run(&["list"]).code(), 0);
    assert_eq!(packages.run(&["verify"]).code(), 1);
    assert_eq!(packages.host(), HOST);
}

#[test]
fn a_grant_holds_until_a_file_changes_or_it_is_taken_back() {
    let packages = Packages::new();
    packages.refused(&["grant", "connector-x"], 2, &["no terminal", "--yes"]);
    assert_eq!(packages.host(), HOST, "nobody said yes");
    packages.refused(&["grant", "connector-x", "--yes"], 0, &["may run", "next start"]);
    assert!(packages.host().starts_with(HOST), "{}", packages.host());
    for arguments in [&["verify"][..], &["verify", "connector-x"]] {
        assert_eq!(packages.run(arguments).code(), 0, "{}", packages.run(arguments).text());
    }

    packages.put("plugins/connector-x/executable", "\x7fELF 1", 0o755);
    assert_eq!(kinds(&packages.run(&["verify", "--json"])), ["executable_differs"]);
    packages.put("plugins/connector-x/executable", "\x7fELF", 0o755);
    assert_eq!(packages.run(&["verify"]).code(), 0);
    let changed = MANIFEST.replace("changes\"\n", "changes\"\nread_only = true\n");
    packages.put("plugins/connector-x/connector.toml", &changed, 0o644);
    assert_eq!(kinds(&packages.run(&["verify", "--json"])), ["manifest_differs"]);
    packages.put("plugins/connector-x/connector.toml", &MANIFEST.replace("4096\"\n[", "4097\"\n["), 0o644);
    assert_eq!(kinds(&packages.run(&["verify", "--json"])), ["more_than_granted", "manifest_differs"]);
    packages.put("plugins/connector-x/connector.toml", MANIFEST, 0o644);
    assert_eq!(packages.run(&["verify"]).code(), 0);

    packages.refused(&["revoke", "connector-x"], 0, &["no grant any more"]);
    assert_eq!(packages.host(), HOST);
    packages.refused(&["verify"], 1, &["was not granted anything"]);
    packages.refused(&["revoke", "connector-x"], 2, &["was not granted"]);
}

#[test]
fn at_a_terminal_a_person_sees_what_is_asked_for_and_says_yes_or_no() {
    let packages = Packages::new();
    for no in ["n\n", "\n", "yes please\n", "\u{4}"] {
        let ended = packages.at_a_terminal(no, &["grant", "connector-x"]);
        let text = ended.text();
        assert_eq!(ended.code(), 1, "{no:?}: {text}");
        for words in ["asks for  NetworkOutbound(127.0.0.1:4096)", "[y/N]", "nothing was granted"] {
            assert!(text.contains(words), "{no:?}: {text}");
        }
        assert_eq!(packages.host(), HOST, "{no:?}");
    }
    assert_eq!(packages.at_a_terminal("y\n", &["grant", "connector-x"]).code(), 0);
    assert_eq!(packages.run(&["verify"]).code(), 0);
    packages.put("plugins/connector-x/connector.toml", &MANIFEST.replace("4096\"\n[", "4097\"\n["), 0o644);
    let ended = packages.at_a_terminal("n\n", &["grant", "connector-x"]);
    assert!(ended.text().contains("NetworkOutbound(127.0.0.1:4097)   (new)"), "{}", ended.text());
}

#[test]
fn a_signature_is_that_of_a_trusted_key_or_it_does_not_count() {
    let packages = Packages::new();
    let key = packages.sign();
    let signed = std::fs::read_to_string(packages.path("plugins/connector-x/connector.toml")).unwrap();
    assert_eq!(packages.sign(), key);
    let again = std::fs::read_to_string(packages.path("plugins/connector-x/connector.toml")).unwrap();
    assert_eq!(signed, again, "signing again changes nothing");

    packages.refused(&["grant", "connector-x", "--yes"], 0, &["nobody who is trusted here"]);
    let mine = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    packages.put(
        "host.toml",
        &format!("{HOST}[plugin_trust]\nrequire_signature = true\nkeys.me = \"{mine}\"\n"),
        0o644,
    );
    packages.refused(&["grant", "connector-x", "--yes"], 1, &["no trusted key made its signature"]);
    assert!(!packages.host().contains("[plugins"));
    packages.put(
        "host.toml",
        &packages.host().replace("keys.me", &format!("keys.anna = \"{key}\"\nkeys.me")),
        0o644,
    );
    packages.refused(&["grant", "connector-x", "--yes"], 0, &["signed by anna", "may run"]);

    packages.put("plugins/connector-x/connector.toml", &signed.replace("Anna", "Eve"), 0o644);
    assert_eq!(kinds(&packages.run(&["verify", "--json"])), ["manifest_differs", "unknown_signer"]);
    packages.put("plugins/connector-x/connector.toml", MANIFEST, 0o644);
    assert_eq!(kinds(&packages.run(&["verify", "--json"])), ["manifest_differs", "not_signed"]);
    packages.put(
        "plugins/connector-x/connector.toml",
        &signed.replace("signature = \"", "signature = \"00"),
        0o644,
    );
    packages.refused(&["grant", "connector-x", "--yes"], 1, &["its signature is not valid", "128"]);
}

#[test]
fn what_is_no_package_is_a_row_and_not_the_end_of_the_list() {
    let packages = Packages::new();
    packages.run(&["grant", "connector-x", "--yes"]);
    std::fs::create_dir(packages.path("plugins/\u{1b}[2Jx")).unwrap();
    packages.refused(&["list"], 0, &["\\u{1b}[2Jx  may not run", "connector-x 1.0.0  may run"]);
    assert_eq!(packages.run(&["verify"]).code(), 1);
    assert_eq!(packages.run(&["verify", "connector-x"]).code(), 0);
    packages.mode("plugins/connector-x/executable", 0o757);
    packages.refused(&["verify", "connector-x"], 1, &["can be written by others", "chmod go-w"]);
    packages.refused(&["grant", "connector-x", "--yes"], 1, &["can be written by others"]);
    std::fs::remove_dir_all(packages.path("plugins")).unwrap();
    packages.refused(&["list"], 0, &["connector-x  may not run", "does not exist"]);
    packages.run(&["revoke", "connector-x"]);
    packages.refused(&["verify"], 0, &["there is no package in"]);
}

#[test]
fn text_of_a_manifest_cannot_play_tricks_on_a_screen() {
    let packages = Packages::new();
    let manifest = MANIFEST.replace("\"looks\"\n[[c", "\"a\\u001b[2J\\nconnector-y  may run\"\n[[c");
    packages.put("plugins/connector-x/connector.toml", &manifest, 0o644);
    packages.refused(&["list"], 0, &["a\\u{1b}[2J\\nconnector-y  may run"]);
}

#[test]
fn mistakes_in_the_configuration_are_named() {
    let packages = Packages::new();
    let zero = "0".repeat(64);
    let grant = format!("sha256 = \"{zero}\"\nmanifest_sha256 = \"{zero}\"\n");
    for (text, words) in [
        ("[plugins.x]\n".to_owned(), "connector-"),
        ("[plugins.connector-x]\ngrant = []\n".to_owned(), "sha256"),
        (format!("[plugins.connector-x]\ngrant = [\"NetworkOutbound(*:1)\"]\n{grant}"), "127.0.0.1:4096"),
        (format!("[plugins.connector-x]\ngrant = []\n{grant}isolation = 1\n"), "isolation"),
        ("[plugin_trust]\nkeys.anna = \"00\"\n".to_owned(), "64 lower-case"),
    ] {
        packages.put("host.toml", &format!("{HOST}{text}"), 0o644);
        for arguments in
            [&["list"][..], &["verify"], &["grant", "connector-x", "--yes"], &["revoke", "connector-x"]]
        {
            packages.refused(arguments, 2, &["host.toml", words]);
        }
    }
    packages.refused(&["grant", "../connector-x", "--yes"], 2, &["connector-"]);
}
