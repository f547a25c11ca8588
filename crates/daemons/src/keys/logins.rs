//! The stored logins that are renewed, as a daemon within walls has them: a copy, in its own data, of nothing
//! but these.
//!
//! A renewal replaces a login, so one copy would soon be worth nothing. The host takes a renewal back into the
//! user's file: for providers that have such a login there, and of what is renewed alone. Whatever else code
//! that ran as the daemon wrote into the copy goes nowhere: an entry of opencode's `auth.json` may set
//! variables of its process. What the user changed meanwhile wins, and reaches the copy.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::fd::OwnedFd;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::is_renewed;
use crate::place::{self, Held};

/// Where the copy is below the daemon's own directory.
pub(super) const PLACE: &str = "data/opencode";
pub(super) const FILE: &str = "auth.json";
/// What a renewal replaces.
const RENEWED: [&str; 3] = ["access", "refresh", "expires"];
/// How long a token may be: a stolen place for text in the user's file is of use to nobody.
const LONGEST: usize = 64 << 10;

/// The copy of one daemon, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoginCopy {
    /// The user's file.
    user: PathBuf,
    /// The daemon's own directory.
    own: PathBuf,
}

/// The logins that the copy was last brought in line with, by digest.
type Seen = BTreeMap<String, String>;

/// What is to be written after a look at both.
#[derive(Debug, Default, PartialEq)]
struct Exchange {
    user: Option<Map<String, Value>>,
    copy: Option<Map<String, Value>>,
    seen: Seen,
}

impl LoginCopy {
    pub(super) fn new(user: PathBuf, own: PathBuf) -> Self {
        Self { user, own }
    }

    /// Takes back what an earlier daemon renewed, and makes the copy anew in `place`, which is the daemon's
    /// and reached without links.
    pub(super) fn prepare(&self, place: &OwnedFd) -> io::Result<()> {
        self.exchange()?;
        let user = self.of_user().unwrap_or_default();
        place::write(place, FILE.as_ref(), &text(&logins(&user)))?;
        self.keep_seen(&seen(&user))
    }

    /// Brings both in line.
    pub(crate) fn exchange(&self) -> io::Result<()> {
        let Some(user) = self.of_user() else { return Ok(()) };
        let (before, copy) = (self.seen(), self.of_daemon()?);
        let exchange = exchanged(&user, &copy, &before);
        if let Some(user) = &exchange.user {
            self.write_user(user)?;
        }
        if let Some(copy) = &exchange.copy
            && let Ok(place) = place::opened(&self.own, PLACE.as_ref())
        {
            place::write(&place, FILE.as_ref(), &text(copy))?;
        }
        if exchange.seen == before { Ok(()) } else { self.keep_seen(&exchange.seen) }
    }

    /// What must not be shown of the logins.
    pub(super) fn secrets(&self) -> Vec<String> {
        let user = self.of_user().map(|user| logins(&user)).unwrap_or_default();
        let tokens = user.values().flat_map(|login| ["access", "refresh"].map(|name| login[name].as_str()));
        tokens.flatten().map(str::to_owned).collect()
    }

    fn of_user(&self) -> Option<Map<String, Value>> {
        serde_json::from_slice(&std::fs::read(&self.user).ok()?).ok()
    }

    fn of_daemon(&self) -> io::Result<Map<String, Value>> {
        let text = match place::read(&self.own, &Path::new(PLACE).join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            text => text?,
        };
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    /// By its own name's target: a link to the file stays one.
    fn write_user(&self, keys: &Map<String, Value>) -> io::Result<()> {
        let file = self.user.canonicalize()?;
        let directory = file.parent().ok_or(io::ErrorKind::NotFound)?;
        // Made for the owner alone.
        let mut beside = tempfile::NamedTempFile::new_in(directory)?;
        beside.write_all(&text(keys))?;
        beside.persist(file)?;
        Ok(())
    }

    /// Beside the daemon's own directory, where it does not write.
    fn seen_file(&self) -> PathBuf {
        self.own.with_extension("logins")
    }

    fn seen(&self) -> Seen {
        let read = std::fs::read(self.seen_file()).ok();
        read.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    fn keep_seen(&self, seen: &Seen) -> io::Result<()> {
        let file = self.seen_file();
        let directory = file.parent().ok_or(io::ErrorKind::NotFound)?;
        let mut beside = tempfile::NamedTempFile::new_in(directory)?;
        beside.write_all(json!(seen).to_string().as_bytes())?;
        beside.persist(file)?;
        Ok(())
    }
}

/// Removes the file with what the daemon with data in `own` would find of logins.
pub(super) fn remove(own: &Held) -> io::Result<OwnedFd> {
    let place = own.make_over(PLACE.as_ref())?;
    place::clear(&place, FILE.as_ref())?;
    Ok(place)
}

/// What becomes of both files. A renewal counts only where the user's login is the one that the copy was made
/// from.
fn exchanged(user: &Map<String, Value>, copy: &Map<String, Value>, before: &Seen) -> Exchange {
    let (mut all, mut taken, mut stale) = (user.clone(), false, false);
    for (id, login) in user.iter().filter(|(_, entry)| is_renewed(entry)) {
        if before.get(id) != Some(&digest(login)) {
            stale = true;
        } else if let Some(renewed) = copy.get(id).and_then(|found| renewal(login, found)) {
            all.insert(id.clone(), renewed);
            taken = true;
        }
    }
    let seen = seen(&all);
    stale |= before.keys().any(|id| !seen.contains_key(id));
    let copy = stale.then(|| logins(&all));
    Exchange { user: taken.then_some(all), copy, seen }
}

/// The login with what `found` has of a renewal, if that is one.
fn renewal(login: &Value, found: &Value) -> Option<Value> {
    let token = |name: &str| found[name].as_str().filter(|token| token.len() <= LONGEST);
    let (_, refresh) = (token("access")?, token("refresh")?);
    if !is_renewed(found) || refresh.is_empty() || !found["expires"].is_number() {
        return None;
    }
    let mut renewed = login.clone();
    for name in RENEWED {
        renewed[name] = found[name].clone();
    }
    (renewed != *login).then_some(renewed)
}

fn logins(keys: &Map<String, Value>) -> Map<String, Value> {
    keys.iter()
        .filter(|(_, entry)| is_renewed(entry))
        .map(|(id, entry)| (id.clone(), entry.clone()))
        .collect()
}

fn seen(keys: &Map<String, Value>) -> Seen {
    logins(keys).iter().map(|(id, login)| (id.clone(), digest(login))).collect()
}

fn digest(login: &Value) -> String {
    HEXLOWER.encode(&Sha256::digest(json!(RENEWED.map(|name| &login[name])).to_string()))
}

fn text(keys: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec_pretty(keys).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn login(tokens: &str, expires: u64) -> Value {
        json!({ "type": "oauth", "access": format!("a-{tokens}"), "refresh": format!("r-{tokens}"),
                "expires": expires, "accountId": "mine" })
    }

    fn map(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("{value}") };
        map
    }

    /// What code that ran as the daemon may have made of its copy, and the tokens that the user has then.
    fn copies() -> Vec<(&'static str, Value, &'static str)> {
        let with = |name: &str, value: Value| {
            let mut changed = login("new", 9);
            changed[name] = value;
            json!({ "a": changed })
        };
        vec![
            ("a renewal", json!({ "a": login("new", 9) }), "r-new"),
            ("a renewal that ends sooner", json!({ "a": login("new", 1) }), "r-new"),
            ("nothing", json!({ "a": login("old", 5) }), "r-old"),
            (
                "an entry that sets a variable",
                json!({ "a": login("old", 5), "https://evil.example":
                { "type": "wellknown", "key": "LD_PRELOAD", "token": "/tmp/evil.so" } }),
                "r-old",
            ),
            ("another login", json!({ "a": login("old", 5), "b": login("evil", 9) }), "r-old"),
            ("a login in place of a key", json!({ "a": login("old", 5), "k": login("evil", 9) }), "r-old"),
            ("another type", with("type", json!("wellknown")), "r-old"),
            ("a key in place of a login", json!({ "a": { "type": "api", "key": "k" } }), "r-old"),
            ("tokens that are none", with("refresh", json!({ "x": 1 })), "r-old"),
            ("an empty token", with("refresh", json!("")), "r-old"),
            ("a token without an end", with("access", json!("x".repeat(LONGEST + 1))), "r-old"),
            ("an expiry that is none", with("expires", json!("soon")), "r-old"),
            ("no entry", json!({}), "r-old"),
        ]
    }

    #[test]
    fn only_a_renewal_of_a_login_that_the_user_has_comes_back() {
        let user = map(json!({ "a": login("old", 5), "k": { "type": "api", "key": "sk-1" },
            "https://mine.example": { "type": "wellknown", "key": "MINE", "token": "t" } }));
        for (what, mut copy, refresh) in copies() {
            copy["a"]["accountId"] = json!("evil");
            copy["a"]["enterpriseUrl"] = json!("https://evil.example");
            let exchange = exchanged(&user, &map(copy), &seen(&user));
            let now = exchange.user.clone().unwrap_or_else(|| user.clone());
            assert_eq!(now["a"]["refresh"], refresh, "{what}");
            let (mut rest, mut before) = (now.clone(), user.clone());
            for name in RENEWED {
                for keys in [&mut rest, &mut before] {
                    keys["a"].as_object_mut().unwrap().remove(name);
                }
            }
            assert_eq!(rest, before, "{what}: nothing else changes");
            assert_eq!(exchange.seen, seen(&now), "{what}");
            assert_eq!(exchange.copy, None, "{what}");
        }
    }

    #[test]
    fn what_the_user_changed_wins_and_reaches_the_copy() {
        let before = map(json!({ "a": login("old", 5), "b": login("b", 5) }));
        let copy = map(json!({ "a": login("renewed", 9), "b": login("b", 5) }));
        for (what, user) in [
            ("a new login", json!({ "a": login("mine", 7), "b": login("b", 5) })),
            ("a logout", json!({ "b": login("b", 5) })),
            ("another kind of login", json!({ "a": { "type": "api", "key": "k" }, "b": login("b", 5) })),
            ("one more", json!({ "a": login("mine", 7), "b": login("b", 5), "c": login("c", 1) })),
        ] {
            let user = map(user);
            let exchange = exchanged(&user, &copy, &seen(&before));
            assert_eq!((exchange.user, exchange.copy), (None, Some(logins(&user))), "{what}");
            assert_eq!(exchange.seen, seen(&user), "{what}");
        }
    }

    #[test]
    fn a_renewal_goes_to_the_users_file_and_nothing_of_anybody_elses_is_read_for_it() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        let read =
            |path: &str| -> Value { serde_json::from_slice(&std::fs::read(at(path)).unwrap()).unwrap() };
        let write = |path: &str, value: &Value| std::fs::write(at(path), value.to_string()).unwrap();
        std::fs::create_dir_all(at("own")).unwrap();
        std::fs::create_dir_all(at("dotfiles")).unwrap();
        write("dotfiles/auth.json", &json!({ "a": login("old", 5), "k": { "type": "api", "key": "sk-1" } }));
        std::os::unix::fs::symlink(at("dotfiles/auth.json"), at("auth.json")).unwrap();
        let copy = LoginCopy::new(at("auth.json"), at("own"));
        let prepare = || {
            let own = Held::of(&at("own"), "".as_ref()).unwrap();
            copy.prepare(&own.make_over(PLACE.as_ref()).unwrap()).unwrap();
        };
        prepare();
        assert_eq!(read("own/data/opencode/auth.json"), json!({ "a": login("old", 5) }), "no key is in it");
        assert_eq!(at("own/data/opencode/auth.json").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        write("own/data/opencode/auth.json", &json!({ "a": login("new", 9), "x": { "type": "wellknown" } }));
        copy.exchange().unwrap();
        let expected = json!({ "a": login("new", 9), "k": { "type": "api", "key": "sk-1" } });
        assert_eq!(read("auth.json"), expected);
        assert!(at("auth.json").is_symlink());
        assert_eq!(at("auth.json").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        // What an earlier host did not come to.
        write(
            "own/data/opencode/auth.json",
            &json!({ "a": login("newer", 10), "x": { "type": "wellknown" } }),
        );
        prepare();
        assert_eq!(read("auth.json")["a"], login("newer", 10));
        assert_eq!(read("own/data/opencode/auth.json"), json!({ "a": login("newer", 10) }));
        // A link in place of the copy is not followed.
        write("elsewhere.json", &json!({ "a": login("evil", 11) }));
        std::fs::remove_file(at("own/data/opencode/auth.json")).unwrap();
        std::os::unix::fs::symlink(at("elsewhere.json"), at("own/data/opencode/auth.json")).unwrap();
        copy.exchange().unwrap();
        assert_eq!(read("auth.json")["a"], login("newer", 10));
    }
}
