//! Hosts that the user's own tools are configured for: which registries and forges those are, nobody else knows.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use connector_egress::HostPattern;
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use url::Url;

use crate::environment::Environment;

/// A tool, and what it is configured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The registries that npm and yarn name, by themselves and in the user's `.npmrc`.
    Npm,
    /// The registries in the user's configuration of cargo, and those that it has fetched an index of.
    Cargo,
    /// The indexes in the user's configuration of pip and uv; that of pip itself where they name none in its place.
    Pip,
    /// The hosts of the remotes of the workspace's repository.
    Git,
}

impl Preset {
    /// Its hosts, for a user of this environment and a workspace. May start npm, yarn and Python, and blocks meanwhile.
    pub fn hosts(self, environment: &Environment, workspace: &Path) -> Vec<HostPattern> {
        let home = environment.get("HOME").map(PathBuf::from).unwrap_or_default();
        // An agent may have put a pipe or a device there, or something without end.
        let read = |path: PathBuf| text_of(&path).unwrap_or_default();
        let texts: Vec<String> = match self {
            Self::Npm => {
                let asked = OF_NPM.iter().map(|(program, arguments)| said(environment, program, arguments));
                asked.chain([read(home.join(".npmrc"))]).collect()
            }
            Self::Cargo => {
                let cargo = environment.get("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
                let configured = ["config.toml", "config"].map(|name| read(cargo.join(name)));
                configured.into_iter().chain(indexes(&cargo.join("registry/index"))).collect()
            }
            Self::Pip => {
                let variables = OF_PIP.iter().filter_map(|name| environment.get(name));
                let variables = variables.map(|url| url.to_string_lossy().into_owned());
                let files = [".config/pip/pip.conf", ".pip/pip.conf"].map(|name| read(home.join(name)));
                let files = files.into_iter().chain([read("/etc/pip.conf".into())]);
                let named: Vec<String> = files.chain(variables).collect();
                let replaced = IN_ITS_PLACE.iter().any(|name| environment.get(name).is_some())
                    || named.iter().any(|text| names_an_index(text));
                let itself = (!replaced).then(|| said(environment, "python3", &["-I", "-c", PIP_ITSELF]));
                named.into_iter().chain(itself).collect()
            }
            Self::Git => vec![remotes(&read(workspace.join(".git/config")))],
        };
        let hosts: BTreeSet<String> = texts.iter().flat_map(|text| hosts_in(text)).collect();
        // What a repository says is its agent's word: it names hosts, and no addresses and no more than it has.
        let named = |host: &&String| self != Self::Git || !(host.contains('*') || is_address(host));
        hosts.iter().filter(named).filter_map(|host| host.parse().ok()).collect()
    }
}

/// The most that is read of a file.
const LONGEST: u64 = 1 << 20;

fn text_of(path: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: File = rustix::fs::open(path, flags, Mode::empty())?.into();
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// Whether a host, with a port or not, is an address.
fn is_address(host: &str) -> bool {
    let bare = host
        .rsplit_once(':')
        .map_or(host, |(bare, port)| if port.parse::<u16>().is_ok() { bare } else { host });
    bare.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok()
        || bare.split('.').next_back().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Who says which registry it asks, where that stands in no file of the user's. Both forms of yarn.
const OF_NPM: [(&str, &[&str]); 3] = [
    ("npm", &["config", "get", "registry"]),
    ("yarn", &["config", "get", "registry"]),
    ("yarn", &["config", "get", "npmRegistryServer"]),
];
/// Variables that name indexes of Python packages.
const OF_PIP: [&str; 8] = [
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
];
/// Those of them in whose presence pip's own index is not asked.
const IN_ITS_PLACE: [&str; 4] = ["PIP_INDEX_URL", "PIP_NO_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL"];
/// Has pip say which index is its own, and where that has its files.
const PIP_ITSELF: &str = "from pip._internal.models.index import PyPI\n\
                          print(PyPI.simple_url, 'https://' + PyPI.file_storage_domain)";

/// Whether settings of pip's name an index in place of its own.
fn names_an_index(settings: &str) -> bool {
    let mut keys = settings.lines().filter_map(|line| Some(line.split_once(['=', ':'])?.0.trim()));
    keys.any(|key| matches!(&*key.replace('_', "-"), "index-url" | "no-index"))
}

/// What a program of the user's says, in the environment that commands would have.
fn said(environment: &Environment, program: &str, arguments: &[&str]) -> String {
    #[expect(clippy::disallowed_methods, reason = "this crate starts npm elsewhere too")]
    let mut command = Command::new(program);
    // What stands in for yarn would fetch it.
    let offline = ("COREPACK_ENABLE_NETWORK", "0");
    command
        .args(arguments)
        .current_dir("/")
        .env_clear()
        .envs(environment.allowed(&[]).iter())
        .envs([offline]);
    let said = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned()).unwrap_or_default()
}

/// The directories of indexes that cargo has are named `HOST-HASH`; in each a file says where packages are.
fn indexes(directory: &Path) -> Vec<String> {
    let found = std::fs::read_dir(directory).into_iter().flatten().flatten();
    found
        .flat_map(|index| {
            let name = index.file_name().to_string_lossy().into_owned();
            let host = name.rsplit_once('-').map(|(host, _)| format!("https://{host}/"));
            [host, std::fs::read_to_string(index.path().join("config.json")).ok()]
        })
        .flatten()
        .collect()
}

/// The addresses of remotes, those of ssh (`git@host:path`) included.
fn remotes(config: &str) -> String {
    let urls = config
        .lines()
        .filter_map(|line| Some(line.trim().strip_prefix("url")?.trim_start().strip_prefix('=')?.trim()));
    let named = |place: &str| place.rsplit_once('@').map_or(place, |(_, host)| host).to_owned();
    let addresses = urls.map(|url| {
        if let Some((_, rest)) = url.split_once("://") {
            return format!("https://{}", named(rest));
        }
        format!("https://{}/", named(url.split_once(':').map_or("", |(host, _)| host)))
    });
    addresses.collect::<Vec<_>>().join("\n")
}

/// The hosts of what looks like an address, but for those of proxies.
fn hosts_in(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.contains("proxy"));
    let parts = lines.flat_map(|line| line.split(|c: char| c.is_whitespace() || "\"',;<>".contains(c)));
    let addresses =
        parts.filter_map(|part| Some(&part[part.find("http://").or_else(|| part.find("https://"))?..]));
    let hosts = addresses.filter_map(|address| {
        let url = Url::parse(address).ok()?;
        let host = url.host_str().filter(|host| host.contains('.'))?;
        Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
    });
    hosts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_come_from_the_files_of_each_tool() {
        let home = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = home.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            ".npmrc",
            "@team:registry=https://npm.team.example/x/\n//npm.team.example/:_authToken=secret\n",
        );
        write(
            ".cargo/config.toml",
            "[registries.own]\nindex = \"sparse+https://crates.own.example:8443/index/\"\n",
        );
        write(
            ".cargo/registry/index/index.main.example-0123abcd/config.json",
            r#"{"dl":"https://static.main.example/c"}"#,
        );
        write(
            ".config/pip/pip.conf",
            "[global]\nindex-url = https://u:p@pip.example/simple\nproxy = http://proxy.example\n",
        );
        write(
            "w/.git/config",
            "[remote \"a\"]\n\turl = git@forge.example:me/it.git\n[remote \"b\"]\n\turl = https://t@two.example/it\n",
        );
        let environment = Environment::from_iter([("HOME", home.path()), ("PATH", home.path())]);
        let hosts = |preset: Preset| -> Vec<String> {
            let hosts = preset.hosts(&environment, &home.path().join("w"));
            hosts.iter().map(ToString::to_string).collect()
        };
        assert_eq!(hosts(Preset::Npm), ["npm.team.example"]);
        assert_eq!(
            hosts(Preset::Cargo),
            ["crates.own.example:8443", "index.main.example", "static.main.example"]
        );
        assert_eq!(hosts(Preset::Pip), ["pip.example"]);
        assert_eq!(hosts(Preset::Git), ["forge.example", "two.example"]);
    }

    /// A user whose programs of these names do this.
    fn user_of(programs: &[(&str, &str)]) -> tempfile::TempDir {
        use std::os::unix::fs::PermissionsExt as _;

        let home = tempfile::tempdir().unwrap();
        for (name, script) in programs {
            std::fs::write(home.path().join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
            let permissions = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(home.path().join(name), permissions).unwrap();
        }
        home
    }

    #[test]
    fn pips_own_index_is_asked_for_unless_another_is_in_its_place() {
        type Row<'a> = (&'a str, Option<(&'a str, &'a str)>, &'a [&'a str]);

        const ITSELF: [&str; 2] = ["files.itself.example", "itself.example"];
        let python = [("python3", "echo https://itself.example/simple https://files.itself.example")];
        let rows: [Row<'_>; 9] = [
            ("", None, &ITSELF),
            ("[global]\ntimeout = 9\n", None, &ITSELF),
            ("[global]\nindex-url = https://a.example/simple\n", None, &["a.example"]),
            ("[global]\nindex_url: https://a.example/simple\n", None, &["a.example"]),
            ("[install]\nno-index = true\nfind-links = https://a.example/\n", None, &["a.example"]),
            (
                "[global]\nextra-index-url = https://a.example/simple\n",
                None,
                &["a.example", ITSELF[0], ITSELF[1]],
            ),
            ("", Some(("PIP_INDEX_URL", "https://a.example/simple")), &["a.example"]),
            ("", Some(("UV_DEFAULT_INDEX", "https://a.example/simple")), &["a.example"]),
            ("", Some(("UV_INDEX", "team=https://a.example/simple")), &["a.example", ITSELF[0], ITSELF[1]]),
        ];
        for (settings, variable, expected) in rows {
            let home = user_of(&python);
            std::fs::create_dir(home.path().join(".pip")).unwrap();
            std::fs::write(home.path().join(".pip/pip.conf"), settings).unwrap();
            let environment = Environment::from_iter([("HOME", home.path()), ("PATH", home.path())]);
            let environment =
                variable.into_iter().fold(environment, |it, (name, value)| it.with(name, value));
            let hosts = Preset::Pip.hosts(&environment, home.path());
            let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
            assert_eq!(hosts, expected, "{settings:?} {variable:?}");
        }
    }

    #[test]
    fn npm_and_both_forms_of_yarn_say_which_registry_they_ask() {
        let home = user_of(&[
            ("npm", "echo ${npm_config_registry:-https://npm.example/}"),
            (
                "yarn",
                "test \"$COREPACK_ENABLE_NETWORK\" = 0 || exit 1\n\
                 case $3 in registry) echo undefined;; npmRegistryServer) echo https://yarn.example;; esac",
            ),
        ]);
        let environment = Environment::from_iter([("HOME", home.path()), ("PATH", home.path())]);
        for (variable, expected) in [(None, "npm.example"), (Some("https://own.example/"), "own.example")] {
            let environment = environment.clone();
            let environment =
                variable.into_iter().fold(environment, |it, value| it.with("npm_config_registry", value));
            let hosts = Preset::Npm.hosts(&environment, home.path());
            let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
            assert_eq!(hosts, [expected, "yarn.example"]);
        }
    }

    #[test]
    fn what_is_no_address_is_no_host() {
        for text in [
            "",
            "https://",
            "registry=//npm.example/",
            "file:///x",
            "https://localhost/x",
            "see http:example",
        ] {
            assert_eq!(hosts_in(text), BTreeSet::new(), "{text}");
        }
    }
}
