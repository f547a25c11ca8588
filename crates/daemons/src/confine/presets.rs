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
    /// The registries that npm names, by itself and in the user's `.npmrc`.
    Npm,
    /// The registries in the user's configuration of cargo, and those that it has fetched an index of.
    Cargo,
    /// The indexes in the user's configuration of pip.
    Pip,
    /// The hosts of the remotes of the workspace's repository.
    Git,
}

impl Preset {
    /// Its hosts, for a user of this environment and a workspace. May start npm, and blocks meanwhile.
    pub fn hosts(self, environment: &Environment, workspace: &Path) -> Vec<HostPattern> {
        let home = environment.get("HOME").map(PathBuf::from).unwrap_or_default();
        // An agent may have put a pipe or a device there, or something without end.
        let read = |path: PathBuf| text_of(&path).unwrap_or_default();
        let texts: Vec<String> = match self {
            Self::Npm => vec![registry_of_npm(environment), read(home.join(".npmrc"))],
            Self::Cargo => {
                let cargo = environment.get("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
                let configured = ["config.toml", "config"].map(|name| read(cargo.join(name)));
                configured.into_iter().chain(indexes(&cargo.join("registry/index"))).collect()
            }
            Self::Pip => {
                let variable = environment.get("PIP_INDEX_URL").map(|url| url.to_string_lossy().into_owned());
                let files = [".config/pip/pip.conf", ".pip/pip.conf"].map(|name| read(home.join(name)));
                files.into_iter().chain([read("/etc/pip.conf".into())]).chain(variable).collect()
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

/// What npm says, which has a registry that stands in no file of the user's.
fn registry_of_npm(environment: &Environment) -> String {
    #[expect(clippy::disallowed_methods, reason = "this crate starts npm elsewhere too")]
    let mut npm = Command::new("npm");
    npm.args(["config", "get", "registry"]).current_dir("/").env_clear();
    for name in ["PATH", "HOME"] {
        npm.envs(environment.get(name).map(|value| (name, value)));
    }
    let said = npm.stdin(Stdio::null()).stderr(Stdio::null()).output();
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
