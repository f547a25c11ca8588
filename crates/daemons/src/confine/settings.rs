//! What the user has set of package managers, such as which registry they ask, without what is secret in it.
//!
//! Copied at the start of a daemon rather than opened: a token may come into the user's own file at any time.

use std::path::{Path, PathBuf};

use crate::environment::Environment;

/// The most that is read of a file.
const LONGEST: u64 = 1 << 20;

/// A file of settings as commands get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// What it is called.
    pub(super) name: &'static str,
    /// The variable by which its program finds it, if there is one.
    pub(super) variable: Option<&'static str>,
    /// What stands before its path there.
    pub(super) before: &'static str,
    /// Where it is below the caches, if its program finds it by its place.
    pub(super) below: &'static str,
    /// What it says.
    pub(super) text: String,
}

/// One kind of file: where the user has it, and how it is copied.
struct Kind {
    name: &'static str,
    variable: Option<&'static str>,
    before: &'static str,
    below: &'static str,
    /// The first that is there counts. A variable may stand for the directory.
    places: &'static [(&'static str, &'static str, &'static str)],
    copied: fn(&str) -> Option<String>,
}

const KINDS: [Kind; 6] = [
    Kind {
        name: "npmrc",
        variable: Some("npm_config_userconfig"),
        before: "",
        below: "",
        places: &[("", "", ".npmrc")],
        copied: npmrc,
    },
    Kind {
        name: "pip.conf",
        variable: Some("PIP_CONFIG_FILE"),
        before: "",
        below: "",
        places: &[("XDG_CONFIG_HOME", ".config", "pip/pip.conf"), ("", "", ".pip/pip.conf")],
        copied: pip,
    },
    Kind {
        name: "config.toml",
        variable: None,
        before: "",
        below: "cargo",
        places: &[("CARGO_HOME", ".cargo", "config.toml"), ("CARGO_HOME", ".cargo", "config")],
        copied: cargo,
    },
    Kind {
        name: "go.env",
        variable: Some("GOENV"),
        before: "",
        below: "",
        places: &[("XDG_CONFIG_HOME", ".config", "go/env")],
        copied: go,
    },
    Kind {
        name: "settings.xml",
        variable: Some("MAVEN_ARGS"),
        before: "-s ",
        below: "",
        places: &[("", "", ".m2/settings.xml")],
        copied: maven,
    },
    Kind {
        name: "NuGet.Config",
        variable: None,
        before: "",
        below: "dotnet/.nuget/NuGet",
        places: &[("", "", ".nuget/NuGet/NuGet.Config")],
        copied: nuget,
    },
];

/// All that this user has, as it is now.
pub(super) fn all(environment: &Environment) -> Vec<Setting> {
    let Some(home) = environment.get("HOME").map(PathBuf::from) else { return Vec::new() };
    let found = |kind: &Kind| {
        let at = |(variable, usual, name): &(&str, &str, &str)| {
            let said = environment.get(variable).map(PathBuf::from).filter(|said| said.is_absolute());
            said.unwrap_or_else(|| home.join(usual)).join(name)
        };
        let text = kind.places.iter().find_map(|place| text_of(&at(place)))?;
        let text = (kind.copied)(&text)?;
        let Kind { name, variable, before, below, .. } = *kind;
        Some(Setting { name, variable, before, below, text })
    };
    KINDS.iter().filter_map(found).collect()
}

fn text_of(path: &Path) -> Option<String> {
    use std::io::Read as _;

    // A pipe has no end.
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// `[@scope:]key = value`; a value that is a reference to a variable is no secret itself.
#[expect(clippy::unnecessary_wraps, reason = "a row of the table may copy nothing")]
fn npmrc(text: &str) -> Option<String> {
    const SECRET: [&str; 11] = [
        "_auth", "pass", "pwd", "token", "username", "login", "apikey", "email", "certfile", "keyfile", "otp",
    ];
    const OURS: [&str; 10] = [
        "proxy",
        "https-proxy",
        "http-proxy",
        "noproxy",
        "cache",
        "cache-dir",
        "store-dir",
        "state-dir",
        "logs-dir",
        "userconfig",
    ];
    let kept = text.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        let (key, value) = (key.trim(), value.trim());
        let lower = key.to_ascii_lowercase();
        let secret = SECRET.iter().any(|word| lower.contains(word)) || lower == "key" || lower == "cert";
        let refers = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        let refers =
            refers.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
        let plain = !key.starts_with(['#', ';']) && !OURS.contains(&lower.as_str()) && (!secret || refers);
        let plain = plain && !has_query(value);
        plain.then(|| format!("{key}={}\n", anonymous(value)))
    });
    Some(kept.collect())
}

/// The form that pip's settings have, with values on further lines.
#[expect(clippy::unnecessary_wraps, reason = "a row of the table may copy nothing")]
fn pip(text: &str) -> Option<String> {
    const DROPPED: [&str; 5] = ["client-cert", "proxy", "cache-dir", "keyring-provider", "log"];
    let (mut kept, mut dropping) = (String::new(), false);
    for line in text.lines() {
        let further = line.starts_with([' ', '\t']);
        if !further {
            let key = line.split(['=', ':']).next().unwrap_or_default().trim().replace('_', "-");
            dropping = DROPPED.contains(&key.to_ascii_lowercase().as_str());
        }
        if !dropping && !has_query(line) && !line.trim_start().starts_with(['#', ';']) {
            kept.push_str(&anonymous(line));
            kept.push('\n');
        }
    }
    Some(kept)
}

fn cargo(text: &str) -> Option<String> {
    let mut config: toml::Table = text.parse().ok()?;
    bare(&mut config);
    toml::to_string(&config).ok()
}

/// Takes out what is secret, or leads to a program that tells it.
fn bare(table: &mut toml::Table) {
    const DROPPED: [&str; 5] =
        ["token", "secret-key", "credential-provider", "global-credential-providers", "proxy"];
    table.retain(|key, value| !DROPPED.contains(&key) && !value.as_str().is_some_and(has_query));
    if let Some(toml::Value::Table(variables)) = table.get_mut("env") {
        variables.retain(|name, _| !sounds_secret(name));
    }
    for (_, value) in table.iter_mut() {
        plain(value);
    }
}

fn plain(value: &mut toml::Value) {
    match value {
        toml::Value::String(text) => *text = anonymous(text),
        toml::Value::Array(values) => {
            values.retain(|value| !value.as_str().is_some_and(has_query));
            values.iter_mut().for_each(plain);
        }
        toml::Value::Table(table) => bare(table),
        _ => {}
    }
}

/// Whether a variable is called as one with a secret is.
pub(crate) fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    [
        "TOKEN",
        "SECRET",
        "PASS",
        "PWD",
        "LOGIN",
        "CREDENTIAL",
        "AUTH",
        "API_KEY",
        "APIKEY",
        "ACCESS_KEY",
        "PRIVATE",
    ]
    .iter()
    .any(|word| name.contains(word))
}

/// `NAME=value`.
#[expect(clippy::unnecessary_wraps, reason = "a row of the table may copy nothing")]
fn go(text: &str) -> Option<String> {
    const OURS: [&str; 5] = ["GOAUTH", "GOCACHE", "GOMODCACHE", "GOBIN", "GOTMPDIR"];
    let kept = text
        .lines()
        .filter(|line| line.split_once('=').is_some_and(|(name, _)| !OURS.contains(&name.trim())))
        .filter(|line| !has_query(line));
    Some(kept.flat_map(|line| [anonymous(line), "\n".to_owned()]).collect())
}

fn maven(text: &str) -> Option<String> {
    without_elements(text, &["servers", "proxies", "localRepository", "properties"])
}

fn nuget(text: &str) -> Option<String> {
    without_elements(text, &["packageSourceCredentials", "apikeys", "config", "clientCertificates"])
}

/// A document of XML without such elements, however large their letters are, and without comments; nothing where something in it
/// still sounds secret.
fn without_elements(text: &str, names: &[&str]) -> Option<String> {
    let mut text = text.to_owned();
    cut(&mut text, "<!--", "-->")?;
    for name in names {
        let name = name.to_ascii_lowercase();
        let (alone, end) = (format!("<{name}/>"), format!("</{name}>"));
        cut(&mut text, &alone, "/>")?;
        for begin in ['>', ' ', '\t', '\n', '\r'].map(|after| format!("<{name}{after}")) {
            cut(&mut text, &begin, &end)?;
        }
    }
    let lower = text.to_ascii_lowercase();
    let secret = ["pass", "pwd", "login", "token", "secret", "privatekey", "credential", "apikey"];
    (!secret.iter().any(|word| lower.contains(word)) && !has_query(&text)).then(|| anonymous(&text))
}

/// Cuts everything from `begin` to `end`, both in small letters, out, as often as it is there; nothing where an end is missing.
fn cut(text: &mut String, begin: &str, end: &str) -> Option<()> {
    while let Some(from) = text.to_ascii_lowercase().find(begin) {
        let to = from + text.get(from..)?.to_ascii_lowercase().find(end)? + end.len();
        text.replace_range(from..to, "");
    }
    Some(())
}

/// Whether an address in it has a query, which may be a key.
pub(crate) fn has_query(text: &str) -> bool {
    let ends = |c: char| c.is_whitespace() || "\"<>".contains(c);
    text.split("://").skip(1).any(|rest| rest.split(ends).next().is_some_and(|address| address.contains('?')))
}

/// The same with nobody's name and password in addresses.
pub(crate) fn anonymous(text: &str) -> String {
    let (mut kept, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        kept.push_str(before);
        let end = after
            .find(|c: char| c == '/' || c.is_whitespace() || "\"<>?#".contains(c))
            .unwrap_or(after.len());
        let host = after.get(..end).and_then(|part| part.rfind('@')).map_or(0, |at| at + 1);
        rest = after.get(host..).unwrap_or_default();
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_keep_which_registry_is_asked_and_lose_what_is_secret() {
        type Copied = fn(&str) -> Option<String>;
        let rows: [(Copied, &str, Option<&str>); 27] = [
            (npmrc, "registry=https://r.example/\n", Some("registry=https://r.example/\n")),
            (
                npmrc,
                "//r.example/:_authToken=npm_123\n@team:registry = https://t.example",
                Some("@team:registry=https://t.example\n"),
            ),
            (npmrc, "//r.example/:_authToken=${NPM_TOKEN}", Some("//r.example/:_authToken=${NPM_TOKEN}\n")),
            (npmrc, "//r.example/:_authToken=${A}-secret", Some("")),
            (
                npmrc,
                "_auth=x\n_password=x\nusername=me\n; a=b\nproxy=http://p\ncache=/c\nfund=false",
                Some("fund=false\n"),
            ),
            (npmrc, "registry=https://me:pw@r.example/a", Some("registry=https://r.example/a\n")),
            (
                pip,
                "[global]\nindex-url = https://me:pw@i.example/simple\n",
                Some("[global]\nindex-url = https://i.example/simple\n"),
            ),
            (
                pip,
                "[global]\nextra-index-url =\n  https://t@a.example/s\n  https://b.example/s\nclient-cert = x\n  y\ntimeout = 9\n",
                Some(
                    "[global]\nextra-index-url =\n  https://a.example/s\n  https://b.example/s\ntimeout = 9\n",
                ),
            ),
            (
                cargo,
                "[registries.own]\nindex = \"sparse+https://u:p@c.example/\"\ntoken = \"x\"\n",
                Some("[registries.own]\nindex = \"sparse+https://c.example/\"\n"),
            ),
            (
                cargo,
                "registries = { own = { index = \"i\", token = \"x\" } }",
                Some("[registries.own]\nindex = \"i\"\n"),
            ),
            (cargo, "[env]\nMY_TOKEN = \"x\"\nLIB = \"/l\"\n", Some("[env]\nLIB = \"/l\"\n")),
            (cargo, "not = [toml", None),
            (
                go,
                "GOPROXY=https://me:pw@p.example,direct\nGOAUTH=netrc\nGOPRIVATE=x.example\n",
                Some("GOPROXY=https://p.example,direct\nGOPRIVATE=x.example\n"),
            ),
            (
                maven,
                "<settings><servers><server><password>x</password></server></servers><mirrors/></settings>",
                Some("<settings><mirrors/></settings>"),
            ),
            (maven, "<settings><x><password>y</password></x></settings>", None),
            (
                nuget,
                "<configuration><packageSources/><apikeys><add value=\"x\"/></apikeys></configuration>",
                Some("<configuration><packageSources/></configuration>"),
            ),
            (nuget, "<configuration><apiKeys><add value=\"x\"/></apiKeys><Config /></configuration>", None),
            (
                nuget,
                "<configuration><apiKeys>\n<add value=\"x\"/></apiKeys><config>y</Config></configuration>",
                Some("<configuration></configuration>"),
            ),
            (
                maven,
                "<settings><properties><my.key>x</my.key></properties><mirrors/></settings>",
                Some("<settings><mirrors/></settings>"),
            ),
            (maven, "<settings><mirror><url>https://m.example/a?key=x</url></mirror></settings>", None),
            (maven, "<settings><db.pwd>x</db.pwd></settings>", None),
            (npmrc, "registry=https://r.example/?key=x\nfund=false", Some("fund=false\n")),
            (npmrc, "my-pwd=x\nlogin=x\napiKey=x\nmypass=x\nfund=false", Some("fund=false\n")),
            (pip, "index-url = https://i.example/simple?sig=x\ntimeout = 9\n", Some("timeout = 9\n")),
            (cargo, "[registries.own]\nindex = \"https://c.example/?key=x\"\n", Some("[registries.own]\n")),
            (cargo, "[env]\nMY_PWD = \"x\"\nDB_LOGIN = \"x\"\nLIB = \"/l\"\n", Some("[env]\nLIB = \"/l\"\n")),
            (go, "GOPROXY=https://p.example/?key=x\nGOPRIVATE=x\n", Some("GOPRIVATE=x\n")),
        ];
        for (copied, text, expected) in rows {
            assert_eq!(copied(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn an_address_loses_who_asks_and_nothing_else() {
        for (text, expected) in [
            ("https://a:b@h.example/x@y", "https://h.example/x@y"),
            ("https://h.example/x@y", "https://h.example/x@y"),
            ("a https://t@one,https://u@two b", "a https://one,https://two b"),
            ("https://p@ss@h", "https://h"),
            ("https://me:a,b;c'd@h.example/x", "https://h.example/x"),
            (
                "'https://me:a@h.example/x','https://b;c@i.example'",
                "'https://h.example/x','https://i.example'",
            ),
            ("https://one,https://u:p@two", "https://one,https://two"),
            ("git@h:x", "git@h:x"),
            ("://", "://"),
        ] {
            assert_eq!(anonymous(text), expected, "{text}");
        }
    }
}
