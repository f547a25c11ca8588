//! What is opened, what is refused, and what a grant is good for.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use connector_contract::chain;
use connector_plugins::package::{
    EXECUTABLE, Kind, MANIFEST, Package, PackageGrant, PluginName, Refusal, Trust, Warning,
};

const TEXT: &str = "name = \"connector-x\"\nversion = \"1.0.0\"\nauthor = \"a\"\ndescription = \"d\"\n\
    [[capabilities]]\ntype = \"NetworkOutbound\"\nhost = \"127.0.0.1:4096\"\n\
    [[actions]]\nname = \"look\"\ndescription = \"looks\"\nread_only = true\n";

const PROGRAM: &[u8] = b"\x7fELF as granted";

/// `plugins/` with the package `connector-x` in it.
struct Plugins(tempfile::TempDir);

impl Plugins {
    fn new() -> Self {
        let plugins = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(plugins.package()).unwrap();
        Self::mode(&plugins.package(), 0o755);
        plugins.put(MANIFEST, TEXT.as_bytes(), 0o644);
        plugins.put(EXECUTABLE, PROGRAM, 0o755);
        plugins
    }

    fn package(&self) -> PathBuf {
        self.0.path().join("connector-x")
    }

    fn put(&self, name: &str, bytes: &[u8], mode: u32) {
        let path = self.package().join(name);
        std::fs::write(&path, bytes).unwrap();
        Self::mode(&path, mode);
    }

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn open(&self) -> Package {
        self.opened().unwrap_or_else(|error| panic!("{error}"))
    }

    fn opened(&self) -> Result<Package, String> {
        Package::open(self.0.path(), &name()).map_err(|error| chain(&error))
    }
}

fn name() -> PluginName {
    "connector-x".parse().unwrap()
}

fn refusals(package: &Package, grant: Option<&PackageGrant>) -> Vec<&'static str> {
    package.verdict(grant, &Trust::default()).refusals.iter().map(Refusal::kind).collect()
}

#[test]
fn a_package_says_what_it_asks_for_before_anything_runs() {
    let package = Plugins::new().open();
    assert_eq!(package.name().as_str(), "connector-x");
    assert_eq!(package.manifest().capabilities[0].to_string(), "NetworkOutbound(127.0.0.1:4096)");
    assert_eq!(package.executable().kind(), &Kind::Program);
    assert_eq!(package.executable().size(), PROGRAM.len() as u64);
    assert!(!package.is_signed());
}

#[test]
fn what_others_could_have_changed_is_no_package() {
    type Change = fn(&Plugins);
    let changes: &[(&str, Change)] = &[
        ("connector-x does not exist", |it| std::fs::remove_dir_all(it.package()).unwrap()),
        ("connector-x is not a directory", |it| {
            std::fs::remove_dir_all(it.package()).unwrap();
            std::fs::write(it.package(), "").unwrap();
        }),
        ("connector-x is a link", |it| {
            let away = it.0.path().join("away");
            std::fs::rename(it.package(), &away).unwrap();
            symlink(away, it.package()).unwrap();
        }),
        ("connector-x can be written by others than its owner (mode 775)", |it| {
            Plugins::mode(&it.package(), 0o775);
        }),
        ("connector-x can be written by others", |it| Plugins::mode(&it.package(), 0o757)),
        ("can be written by others than its owner (mode 777)", |it| Plugins::mode(it.0.path(), 0o777)),
        ("connector.toml does not exist", |it| std::fs::remove_file(it.package().join(MANIFEST)).unwrap()),
        ("connector.toml is a link", |it| moved(it, MANIFEST)),
        ("connector.toml can be written by others", |it| it.put(MANIFEST, TEXT.as_bytes(), 0o666)),
        ("connector.toml is not UTF-8", |it| it.put(MANIFEST, b"\xff", 0o644)),
        ("connector.toml has more than 262144 bytes", |it| it.put(MANIFEST, &vec![b'#'; 262_145], 0o644)),
        ("cannot be used: the manifest cannot be read", |it| it.put(MANIFEST, b"wasm = true", 0o644)),
        ("write something like 127.0.0.1:4096", |it| {
            it.put(MANIFEST, TEXT.replace("127.0.0.1:4096", "*:443").as_bytes(), 0o644);
        }),
        ("the directory is `connector-x`, and its manifest says `connector-y`", |it| {
            it.put(MANIFEST, TEXT.replace("connector-x", "connector-y").as_bytes(), 0o644);
        }),
        ("executable does not exist", |it| std::fs::remove_file(it.package().join(EXECUTABLE)).unwrap()),
        ("executable is a link", |it| moved(it, EXECUTABLE)),
        ("executable is not a plain file", |it| {
            std::fs::remove_file(it.package().join(EXECUTABLE)).unwrap();
            std::fs::create_dir(it.package().join(EXECUTABLE)).unwrap();
        }),
        #[cfg(not(target_vendor = "apple"))]
        ("executable is not a plain file", |it| {
            std::fs::remove_file(it.package().join(EXECUTABLE)).unwrap();
            let mode = rustix::fs::Mode::from_raw_mode(0o700);
            let pipe = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, it.package().join(EXECUTABLE), pipe, mode, 0).unwrap();
        }),
        ("executable is not a plain file", |it| {
            std::fs::remove_file(it.package().join(EXECUTABLE)).unwrap();
            std::os::unix::net::UnixListener::bind(it.package().join(EXECUTABLE)).unwrap();
        }),
        ("executable can be written by others", |it| it.put(EXECUTABLE, b"#!/bin/sh\n", 0o775)),
        ("executable would run as somebody else (mode 4755)", |it| {
            it.put(EXECUTABLE, b"#!/bin/sh\n", 0o4755);
        }),
        ("executable is not executable", |it| it.put(EXECUTABLE, b"#!/bin/sh\n", 0o644)),
        ("executable is neither a program", |it| it.put(EXECUTABLE, b"echo hi\n", 0o755)),
        ("executable has more than 268435456 bytes", |it| {
            it.put(EXECUTABLE, b"#!/bin/sh\n", 0o755);
            let file = std::fs::OpenOptions::new().write(true).open(it.package().join(EXECUTABLE)).unwrap();
            file.set_len(268_435_457).unwrap();
        }),
    ];
    for (words, change) in changes {
        let plugins = Plugins::new();
        change(&plugins);
        let error = plugins.opened().expect_err(words);
        assert!(error.contains(words), "{words}: {error}");
    }
}

fn moved(it: &Plugins, name: &str) {
    let away = it.0.path().join("away");
    std::fs::rename(it.package().join(name), &away).unwrap();
    symlink(away, it.package().join(name)).unwrap();
}

#[test]
fn everything_that_could_be_a_package_is_found_and_nothing_else() {
    let plugins = Plugins::new();
    let root = plugins.0.path();
    std::fs::create_dir(root.join(".git")).unwrap();
    std::fs::create_dir(root.join("Connector-Y")).unwrap();
    std::fs::write(root.join("README.md"), "").unwrap();
    symlink("connector-x", root.join("connector-z")).unwrap();
    let found: Vec<(String, Option<String>)> = Package::all(root)
        .unwrap()
        .into_iter()
        .map(|found| (found.name.into_string().unwrap(), found.package.err().map(|error| chain(&error))))
        .collect();
    let [(other, not_named), (whole, none), (link, linked)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!([other.as_str(), whole, link], ["Connector-Y", "connector-x", "connector-z"]);
    assert!(not_named.as_ref().unwrap().contains("is not a package's name"), "{not_named:?}");
    assert!(linked.as_ref().unwrap().contains("is a link"), "{linked:?}");
    assert_eq!(none, &None);
    assert!(Package::all(&root.join("none")).unwrap().is_empty());
}

#[test]
fn a_grant_holds_for_these_bytes_and_no_others() {
    let plugins = Plugins::new();
    let grant = plugins.open().full_grant();
    assert_eq!(refusals(&plugins.open(), None), ["not_granted"]);
    assert_eq!(refusals(&plugins.open(), Some(&grant)), [""; 0]);

    plugins.put(EXECUTABLE, b"\x7fELF another", 0o755);
    assert_eq!(refusals(&plugins.open(), Some(&grant)), ["executable_differs"]);
    plugins.put(MANIFEST, TEXT.replace("read_only = true", "read_only = false").as_bytes(), 0o644);
    assert_eq!(refusals(&plugins.open(), Some(&grant)), ["executable_differs", "manifest_differs"]);
    plugins.put(MANIFEST, TEXT.replace("4096", "4097").as_bytes(), 0o644);
    let package = plugins.open();
    let verdict = package.verdict(Some(&grant), &Trust::default());
    assert_eq!(
        verdict.refusals[0].to_string(),
        "it asks for NetworkOutbound(127.0.0.1:4097), which was not granted"
    );
    assert_eq!(verdict.warnings[0].kind(), "not_asked_for");
    let refused = package.admit(Some(&grant), &Trust::default()).unwrap_err();
    assert!(
        refused.to_string().starts_with("the package `connector-x` is not run: it asks for"),
        "{refused}"
    );
}

#[test]
fn what_was_granted_and_not_asked_for_is_not_given() {
    let package = Plugins::new().open();
    let mut grant = package.full_grant();
    grant.capabilities.push("ShellExec".parse().unwrap());
    let verdict = package.verdict(Some(&grant), &Trust::default());
    assert!(verdict.refusals.is_empty());
    let kinds: Vec<_> = verdict.warnings.iter().map(Warning::kind).collect();
    assert_eq!(kinds, ["not_asked_for"]);
    let granted = package.admit(Some(&grant), &Trust::default()).unwrap();
    assert_eq!(granted.capabilities().len(), 1);
}

#[test]
fn a_script_does_not_run_whatever_was_granted() {
    let plugins = Plugins::new();
    plugins.put(EXECUTABLE, b"#!/bin/sh\necho hi\n", 0o755);
    let package = plugins.open();
    assert_eq!(package.executable().kind(), &Kind::Script { interpreter: "/bin/sh".into() });
    assert_eq!(refusals(&package, Some(&package.full_grant())), ["script"]);
}

#[test]
fn a_required_signature_is_missed() {
    let package = Plugins::new().open();
    let required = PackageGrant { require_signature: true, ..package.full_grant() };
    assert_eq!(refusals(&package, Some(&required)), ["not_signed"]);
    let all = Trust { require_signature: true, ..Trust::default() };
    let verdict = package.verdict(Some(&package.full_grant()), &all);
    assert_eq!(verdict.refusals, [Refusal::NotSigned]);
}

#[test]
fn grants_that_are_not_whole_and_exact_are_errors() {
    let digest = "0".repeat(64);
    let whole = format!("grant = [\"ShellExec\"]\nsha256 = \"{digest}\"\nmanifest_sha256 = \"{digest}\"\n");
    let grant: PackageGrant = toml::from_str(&whole).unwrap();
    assert_eq!(grant.capabilities, ["ShellExec".parse().unwrap()]);
    for (text, words) in [
        (whole.replace("grant = [\"ShellExec\"]\n", ""), "grant"),
        (whole.replace("sha256 = \"0", "sha256 = \""), "64 lower-case"),
        (whole.replace("manifest_sha256", "manifest"), "manifest"),
        (whole.replace("ShellExec", "Everything"), "no capability"),
        (whole.replace("[\"ShellExec\"]", "\"ShellExec\""), "sequence"),
        (format!("{whole}colour = 1\n"), "colour"),
    ] {
        let error = toml::from_str::<PackageGrant>(&text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
    for text in ["[keys]\na = \"00\"", "keys = []", "key = {}", "require_signature = 1"] {
        assert!(toml::from_str::<Trust>(text).is_err(), "{text}");
    }
}
