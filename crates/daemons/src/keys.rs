//! The provider keys that opencode stored when the user logged in, on their way to a daemon with
//! data of its own.
//!
//! Within walls they go to its model proxy, and the daemon has none. Without walls they go in its
//! environment: there is no file to read. Logins that are renewed (`"type": "oauth"`) cannot go that way, because each
//! renewal replaces the stored one, for the user's own opencode too. Within walls the daemon has a
//! copy of these and of nothing else, which its agent's commands do not reach; without walls it
//! works on the user's file itself, through a link.

mod logins;

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::symlinkat;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::daemon::{Home, Spec};
use crate::environment::Environment;
use crate::place::Held;
pub(crate) use logins::LoginCopy;

/// The variable by which opencode takes the contents of its file of keys.
pub(crate) const VARIABLE: &str = "OPENCODE_AUTH_CONTENT";

/// What of a stored login must not be shown.
const SECRETS: [&str; 4] = ["key", "token", "access", "refresh"];

/// What becomes of logins that are renewed, which only opencode can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Logins {
    /// The daemon has them, and renews them.
    #[default]
    Allow,
    /// No daemon gets one.
    Refuse,
}

/// How a daemon comes by the user's stored keys.
pub(crate) enum Keys {
    /// It has what its environment and configuration hold.
    None,
    /// In its environment.
    Passed(SecretString),
    /// It works on this file, which is the user's.
    Linked(PathBuf),
    /// It has a copy of the logins that are renewed.
    Copied(LoginCopy),
}

impl Keys {
    pub(crate) fn of(spec: &Spec) -> Self {
        let Home::Own(own) = &spec.home else { return Self::None };
        if spec.pass.iter().any(|name| name == VARIABLE) {
            return Self::None;
        }
        let walled = spec.confinement.is_some();
        match read(&spec.environment) {
            None => Self::None,
            Some((file, keys)) if spec.logins == Logins::Allow && renewed(&keys) => {
                if walled {
                    Self::Copied(LoginCopy::new(file, own.clone()))
                } else {
                    Self::Linked(file)
                }
            }
            // Its model proxy has them.
            _ if walled => Self::None,
            Some((_, keys)) => Self::Passed(keys.to_string().into()),
        }
    }

    /// Puts the copy or the link where the daemon with data in `own` looks, and nothing else: a file that an
    /// agent left there is not taken for the user's. No link that it left on the way is followed.
    pub(crate) fn prepare(&self, own: &Held) -> io::Result<()> {
        if let Self::Copied(copy) = self {
            // What was renewed in the copy that is there is taken back before that is replaced.
            return copy.prepare(&own.make_over(logins::PLACE.as_ref())?);
        }
        let place = logins::remove(own)?;
        match self {
            Self::Linked(keys) => Ok(symlinkat(keys, &place, logins::FILE)?),
            Self::None | Self::Passed(_) | Self::Copied(_) => Ok(()),
        }
    }

    /// The copy, if there is one.
    pub(crate) fn into_copy(self) -> Option<LoginCopy> {
        if let Self::Copied(copy) = self { Some(copy) } else { None }
    }

    /// What must not be shown of them.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let stored: Value = match self {
            Self::None => return Vec::new(),
            Self::Copied(copy) => return copy.secrets(),
            Self::Passed(keys) => serde_json::from_str(keys.expose_secret()),
            Self::Linked(file) => serde_json::from_slice(&std::fs::read(file).unwrap_or_default()),
        }
        .unwrap_or_default();
        let entries = stored.as_object().into_iter().flat_map(|keys| keys.values());
        let values = entries.flat_map(|entry| SECRETS.map(|name| entry.get(name).and_then(Value::as_str)));
        values.flatten().map(str::to_owned).collect()
    }
}

/// What opencode stored at logins, by provider: of the daemons that have the user's.
pub(crate) fn stored(spec: &Spec) -> Option<Map<String, Value>> {
    if spec.pass.iter().any(|name| name == VARIABLE) {
        return serde_json::from_str(spec.environment.get(VARIABLE)?.to_str()?).ok();
    }
    if !matches!(spec.home, Home::Own(_)) {
        return None;
    }
    match read(&spec.environment)?.1 {
        Value::Object(keys) => Some(keys),
        _ => None,
    }
}

/// Whether stored keys, and no login that is renewed, are in a variable that is passed.
pub(crate) fn passed_whole(spec: &Spec) -> bool {
    let passed = spec.pass.iter().any(|name| name == VARIABLE);
    passed && stored(spec).is_some_and(|keys| !keys.values().any(is_renewed))
}

/// The providers whose stored logins are renewed.
pub fn renewed_logins(environment: &Environment) -> Vec<String> {
    let keys = read(environment).map(|(_, keys)| keys).unwrap_or_default();
    let entries = keys.as_object().into_iter().flatten();
    entries.filter(|(_, entry)| is_renewed(entry)).map(|(name, _)| name.clone()).collect()
}

/// Where opencode stores what it got at logins.
pub(crate) fn file(environment: &Environment) -> Option<PathBuf> {
    // A relative one counts as none, by the rules of those variables.
    let data = environment.get("XDG_DATA_HOME").map(PathBuf::from).filter(|data| data.is_absolute());
    let data = data.or_else(|| Some(Path::new(environment.get("HOME")?).join(".local/share")))?;
    Some(data.join("opencode/auth.json"))
}

fn read(environment: &Environment) -> Option<(PathBuf, Value)> {
    let file = file(environment)?;
    let keys: Value = serde_json::from_slice(&std::fs::read(&file).ok()?).ok()?;
    keys.as_object().is_some_and(|keys| !keys.is_empty()).then_some((file, keys))
}

fn renewed(keys: &Value) -> bool {
    let mut entries = keys.as_object().into_iter().flat_map(|keys| keys.values());
    entries.any(is_renewed)
}

fn is_renewed(entry: &Value) -> bool {
    entry.get("type").and_then(Value::as_str) == Some("oauth")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(home: &Path, keys: &str) -> Spec {
        std::fs::create_dir_all(home.join(".local/share/opencode")).unwrap();
        std::fs::write(home.join(".local/share/opencode/auth.json"), keys).unwrap();
        let mut spec = Spec::new("/bin/opencode", "/code", Environment::from_iter([("HOME", home)]));
        spec.home = Home::Own(home.join("own"));
        spec
    }

    #[test]
    fn without_walls_keys_go_by_the_environment_and_renewed_logins_by_a_link() {
        let home = tempfile::tempdir().unwrap();
        let keys = Keys::of(&spec(home.path(), r#"{"a":{"type":"api","key":"sk-1"}}"#));
        assert!(matches!(&keys, Keys::Passed(_)));
        assert_eq!(keys.secrets(), ["sk-1"]);
        let keys = r#"{"a":{"type":"api","key":"sk-1"},"b":{"type":"oauth","refresh":"r"}}"#;
        let keys = Keys::of(&spec(home.path(), keys));
        assert_eq!(keys.secrets(), ["sk-1", "r"]);
        assert!(matches!(&keys, Keys::Linked(file) if file.ends_with(".local/share/opencode/auth.json")));
        for nothing in ["", "{}", "[]"] {
            assert!(matches!(Keys::of(&spec(home.path(), nothing)), Keys::None), "{nothing}");
        }
    }

    #[test]
    fn what_an_agent_left_in_place_of_the_keys_is_removed_and_no_link_of_its_is_followed() {
        for (what, plant) in [
            (
                "a link in place of the file",
                "mkdir -p own/data/opencode; ln -s ../../../user/opencode/auth.json own/data/opencode/auth.json",
            ),
            (
                "a link in place of its directory",
                "mkdir -p own/data; ln -s ../../user/opencode own/data/opencode",
            ),
            ("a link above it", "mkdir own; ln -s ../user own/data"),
            ("a file above it", "mkdir own; touch own/data"),
            ("another file", "mkdir -p own/data/opencode; echo theirs > own/data/opencode/auth.json"),
            ("a directory", "mkdir -p own/data/opencode/auth.json"),
            (
                "a full directory",
                "mkdir -p own/data/opencode/auth.json/a/b; chmod 0 own/data/opencode/auth.json/a",
            ),
            ("a closed directory", "mkdir -p own/data/opencode; chmod 0 own/data/opencode"),
            ("a closed directory above it", "mkdir -p own/data/opencode; chmod 0 own/data"),
            (
                "one that cannot be written",
                "mkdir -p own/data/opencode; chmod 500 own/data/opencode own/data own",
            ),
            (
                "everything closed",
                "mkdir -p own/data/opencode/auth.json; chmod 0 own/data/opencode own/data own",
            ),
        ] {
            let root = tempfile::tempdir().unwrap();
            let user = root.path().join("user/opencode");
            std::fs::create_dir_all(&user).unwrap();
            std::fs::write(user.join("auth.json"), "mine").unwrap();
            #[expect(clippy::disallowed_methods, reason = "this is what an agent does")]
            let mut agent = std::process::Command::new("/bin/sh");
            assert!(agent.args(["-ec", plant]).current_dir(root.path()).status().unwrap().success());
            let own = Held::over(&root.path().join("own")).unwrap();
            let file = root.path().join("own/data/opencode/auth.json");
            Keys::None.prepare(&own).unwrap();
            assert!(file.symlink_metadata().is_err(), "{what}");
            Keys::Linked("/user/auth.json".into()).prepare(&own).unwrap();
            assert_eq!(std::fs::read_link(&file).unwrap(), Path::new("/user/auth.json"), "{what}");
            let copy = LoginCopy::new(root.path().join("mine.json"), root.path().join("own"));
            Keys::Copied(copy).prepare(&own).unwrap();
            assert!(file.symlink_metadata().unwrap().is_file(), "{what}");
            let theirs =
                std::fs::read_dir(&user).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
            assert_eq!(theirs, ["auth.json"], "{what}");
            assert_eq!(std::fs::read_to_string(user.join("auth.json")).unwrap(), "mine", "{what}");
        }
    }
}
