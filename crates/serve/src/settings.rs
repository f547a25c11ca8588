//! The connector's configuration, gathered from a file, the environment and a descriptor.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use connector_contract::chain;
use opencode_api::PASSWORD_VARIABLES;
use serde_json::{Map, Value, json};

use crate::Failure;
use crate::arguments::Arguments;

/// What a variable's text becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    Flag,
}

/// The settings that the environment can give. Tables are for the file.
pub(crate) const KEYS: [(&str, Kind); 12] = [
    ("base_url", Kind::Text),
    ("password", Kind::Text),
    ("model", Kind::Text),
    ("agent", Kind::Text),
    ("directory", Kind::Text),
    ("allow_remote", Kind::Flag),
    ("asks", Kind::Text),
    ("ask_timeout_secs", Kind::Number),
    ("deadline_secs", Kind::Number),
    ("no_progress_secs", Kind::Number),
    ("name_source", Kind::Flag),
    ("parallel_turns", Kind::Flag),
];

/// The variable of the token that clients of HTTP carry.
pub(crate) const HTTP_TOKEN: &str = "CONNECTOR_OPENCODE_HTTP_TOKEN";

const PREFIX: &str = "CONNECTOR_OPENCODE_";

/// The longest password that is read from a descriptor.
const PASSWORD_BYTES: u64 = 4096;

/// The variable of a setting.
pub(crate) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase())
}

/// This process's environment.
pub(crate) fn environment() -> BTreeMap<OsString, OsString> {
    std::env::vars_os().collect()
}

/// The whole configuration; a later source overrides an earlier one: the file, the
/// environment, the descriptor.
pub(crate) fn gather(
    arguments: &Arguments,
    environment: &BTreeMap<OsString, OsString>,
) -> Result<Value, Failure> {
    let mut config = arguments.config.as_deref().map_or_else(|| Ok(Map::new()), read_file)?;
    config.extend(from_environment(environment)?);
    if let Some(descriptor) = arguments.password_fd {
        config.insert("password".to_owned(), json!(read_password(descriptor)?));
    }
    Ok(Value::Object(config))
}

fn read_file(path: &Path) -> Result<Map<String, Value>, Failure> {
    let wrong = |why: String| Failure::Usage(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    parse(&text).map_err(wrong)
}

/// The text of an error would show the lines around it, and one of them may hold the password.
fn parse(text: &str) -> Result<Map<String, Value>, String> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
        let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        format!("{place}not TOML ({})", error.message().replace('\n', " "))
    })
}

fn from_environment(environment: &BTreeMap<OsString, OsString>) -> Result<Map<String, Value>, Failure> {
    let mut config = Map::new();
    let text = |name: &str, value: &OsString| {
        value.to_str().map(str::to_owned).ok_or_else(|| Failure::Usage(format!("{name}: not UTF-8")))
    };
    // What the daemon itself calls it: the name of 2.x goes first.
    for name in PASSWORD_VARIABLES {
        if let Some(value) = environment.get(&OsString::from(name)).filter(|value| !value.is_empty()) {
            config.insert("password".to_owned(), json!(text(name, value)?));
        }
    }
    for (name, value) in environment {
        let ours = |name: &&str| name.starts_with(PREFIX) && *name != HTTP_TOKEN;
        let Some(name) = name.to_str().filter(ours) else { continue };
        let Some((key, kind)) = KEYS.iter().find(|(key, _)| variable(key) == name) else {
            return Err(Failure::Usage(format!("{name}: no such setting; --help has those there are")));
        };
        let value = text(name, value)?;
        let value = typed(*kind, &value).ok_or_else(|| {
            let expected = if *kind == Kind::Flag { "`true` or `false`" } else { "a whole number" };
            Failure::Usage(format!("{name}: expected {expected}"))
        })?;
        config.insert((*key).to_owned(), value);
    }
    Ok(config)
}

fn typed(kind: Kind, text: &str) -> Option<Value> {
    match kind {
        Kind::Text => Some(json!(text)),
        Kind::Number => text.parse::<u64>().ok().map(|it| json!(it)),
        Kind::Flag => text.parse::<bool>().ok().map(|it| json!(it)),
    }
}

/// The descriptor's content without the line's end that `echo` leaves.
fn read_password(descriptor: u32) -> Result<String, Failure> {
    let wrong = |why: String| Failure::Usage(format!("--password-fd {descriptor}: {why}"));
    let mut password = String::new();
    inherited(descriptor)
        .and_then(|file| file.take(PASSWORD_BYTES + 1).read_to_string(&mut password))
        .map_err(|error| wrong(error.to_string()))?;
    if password.len() as u64 > PASSWORD_BYTES {
        return Err(wrong(format!("more than {PASSWORD_BYTES} bytes")));
    }
    let password = password.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() { Err(wrong("no password in it".to_owned())) } else { Ok(password) }
}

/// The descriptor itself: to open it by its name again fails for a socket, and for a file that only
/// who started this program may open. A container may leave nothing but the name.
#[cfg(target_os = "linux")]
fn inherited(descriptor: u32) -> std::io::Result<File> {
    match duplicate(descriptor) {
        Err(error) if is_forbidden(&error) => by_name(descriptor),
        other => other,
    }
}

/// Whether the kernel or a filter of system calls refuses the call as such.
#[cfg(target_os = "linux")]
fn is_forbidden(error: &std::io::Error) -> bool {
    use rustix::io::Errno;

    matches!(Errno::from_io_error(error), Some(Errno::PERM | Errno::NOSYS))
}

#[cfg(target_os = "linux")]
fn duplicate(descriptor: u32) -> std::io::Result<File> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    let descriptor = i32::try_from(descriptor).map_err(std::io::Error::other)?;
    Ok(pidfd_getfd(this, descriptor, PidfdGetfdFlags::empty())?.into())
}

/// Here the name stands for the descriptor itself.
#[cfg(not(target_os = "linux"))]
fn inherited(descriptor: u32) -> std::io::Result<File> {
    by_name(descriptor)
}

fn by_name(descriptor: u32) -> std::io::Result<File> {
    File::open(format!("/dev/fd/{descriptor}"))
}

/// The connector's own words for a configuration that it does not take.
pub(crate) fn refused(error: &connector_contract::ConnectorError) -> Failure {
    Failure::Usage(chain(error))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsRawFd;

    use clap::Parser as _;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<OsString, OsString> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn every_setting_is_one_of_the_connectors() {
        let schema = connector_opencode::schema::config();
        for (key, _) in KEYS {
            assert!(schema["properties"].get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn variables_become_what_their_settings_are() {
        let config = from_environment(&variables(&[
            ("CONNECTOR_OPENCODE_BASE_URL", "http://127.0.0.1:1"),
            ("CONNECTOR_OPENCODE_DEADLINE_SECS", "60"),
            ("CONNECTOR_OPENCODE_ALLOW_REMOTE", "true"),
            ("PATH", "/bin"),
        ]));
        let expected = json!({ "allow_remote": true, "base_url": "http://127.0.0.1:1", "deadline_secs": 60 });
        assert_eq!(Value::Object(config.unwrap()), expected);
    }

    #[test]
    fn the_daemons_own_variables_serve_and_ours_goes_first() {
        let one = ("OPENCODE_SERVER_PASSWORD", "of 1.x");
        let two = ("OPENCODE_PASSWORD", "of 2.x");
        let ours = ("CONNECTOR_OPENCODE_PASSWORD", "ours");
        for (set, password) in [
            (vec![one], "of 1.x"),
            (vec![two], "of 2.x"),
            (vec![one, two], "of 2.x"),
            (vec![one, ("OPENCODE_PASSWORD", "")], "of 1.x"),
            (vec![one, two, ours], "ours"),
        ] {
            assert_eq!(from_environment(&variables(&set)).unwrap()["password"], password, "{set:?}");
        }
    }

    #[test]
    fn a_mistake_is_named_and_its_value_is_not_quoted() {
        for (name, value, says) in [
            ("CONNECTOR_OPENCODE_BASEURL", "http://x", "no such setting"),
            ("CONNECTOR_OPENCODE_DEADLINE_SECS", "hunter2", "whole number"),
            ("CONNECTOR_OPENCODE_ALLOW_REMOTE", "hunter2", "`true` or `false`"),
        ] {
            let error = from_environment(&variables(&[(name, value)])).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(says) && !error.contains("hunter2"), "{error}");
        }
    }

    fn with_password_from(descriptor: &impl AsRawFd) -> Result<Value, Failure> {
        let descriptor = descriptor.as_raw_fd().to_string();
        let arguments = Arguments::parse_from(["connector-opencode", "--password-fd", &descriptor]);
        gather(&arguments, &variables(&[("OPENCODE_PASSWORD", "another")]))
    }

    #[test]
    fn a_password_is_read_from_a_descriptor_before_any_other() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"hunter2\n").unwrap();
        drop(writer);
        assert_eq!(with_password_from(&reader).unwrap()["password"], "hunter2");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(writer);
        let error = with_password_from(&reader).unwrap_err().to_string();
        assert!(error.contains("no password in it"), "{error}");
    }

    #[test]
    fn a_descriptor_is_read_by_its_name_where_its_duplication_is_forbidden() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"hunter2").unwrap();
        drop(writer);
        let descriptor = reader.as_raw_fd().try_into().unwrap();
        assert_eq!(std::io::read_to_string(by_name(descriptor).unwrap()).unwrap(), "hunter2");
        #[cfg(target_os = "linux")]
        for (error, forbidden) in
            [(rustix::io::Errno::PERM.into(), true), (rustix::io::Errno::BADF.into(), false)]
        {
            assert_eq!(is_forbidden(&error), forbidden, "{error}");
        }
    }

    #[test]
    fn a_password_that_is_too_long_is_refused_and_not_cut() {
        for (length, fits) in [(4096, true), (4097, false)] {
            let (reader, mut writer) = std::io::pipe().unwrap();
            writer.write_all(&vec![b'x'; length]).unwrap();
            drop(writer);
            let read = with_password_from(&reader);
            assert_eq!(read.is_ok(), fits, "{length}");
            assert!(fits || read.unwrap_err().to_string().contains("more than 4096 bytes"));
        }
    }

    /// It has no name that could be opened again.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_password_is_read_from_a_socket_too() {
        let (reader, mut writer) = std::os::unix::net::UnixStream::pair().unwrap();
        writer.write_all(b"hunter2").unwrap();
        drop(writer);
        assert_eq!(with_password_from(&reader).unwrap()["password"], "hunter2");
    }

    #[test]
    fn a_broken_file_shows_its_line_and_not_what_is_in_it() {
        let error = parse("base_url = \"http://x\"\npassword = hunter2\n").unwrap_err();
        assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
    }
}
