//! The password of a background service of opencode 2.x, which chooses its own and writes it down.
//!
//! It is taken only where it can be nobody else's: from the file in the user's own state directory,
//! which belongs to the user and which nobody else can read, and for the very address on this machine
//! that stands beside it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use connector_contract::Origin;
use connector_files::bounded::{self, Link};
use opencode_daemons::Environment;
use serde::Deserialize;

/// Where a service writes down how it is reached, below `XDG_STATE_HOME`.
const FILE: &str = "opencode/service.json";

/// The largest such file that is read.
const LARGEST: u64 = 1 << 16;

/// What a service writes down, as far as it matters here.
#[derive(Deserialize)]
struct Service {
    url: String,
    password: String,
}

/// The password of the user's own service at `base_url`, if one has written it down.
pub(super) fn password(base_url: &str, environment: &Environment) -> Option<String> {
    let path = file(environment)?;
    let about = std::fs::symlink_metadata(&path).ok()?;
    let own = about.uid() == rustix::process::geteuid().as_raw() && about.mode().trailing_zeros() >= 6;
    if !about.is_file() || !own {
        tracing::warn!(path = %path.display(), "not read for a password: others can read or change it");
        return None;
    }
    let service: Service = serde_json::from_str(&bounded::text(&path, LARGEST, Link::Refused).ok()?).ok()?;
    let here = |url: &str| url.parse::<Origin>().ok().filter(is_of_this_machine);
    let (its, wanted) = (here(&service.url)?, here(base_url)?);
    if its != wanted {
        if its.port() == wanted.port() {
            // Another address of this machine may be somebody else's.
            tracing::warn!(
                "your service is at {its}: its password is for that address and not for {wanted}; use that one"
            );
        }
        return None;
    }
    (!service.password.is_empty()).then_some(service.password)
}

fn file(environment: &Environment) -> Option<PathBuf> {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").filter(|path| path.is_absolute());
    Some(state.or_else(|| Some(set("HOME")?.join(Path::new(".local/state"))))?.join(FILE))
}

fn is_of_this_machine(origin: &Origin) -> bool {
    origin.is_loopback() && !origin.is_encrypted()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_password_is_found_for_the_users_own_service_alone() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("state");
        let path = state.join(FILE);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let written =
            r#"{"id":"x","version":"2.0.22","url":"http://127.0.0.1:49374","pid":7,"password":"p"}"#;
        std::fs::write(&path, written).unwrap();
        let of_state = Environment::from_iter([("XDG_STATE_HOME", state.to_str().unwrap())]);
        for (mode, base_url, found) in [
            (0o600, "http://127.0.0.1:49374", true),
            (0o600, "http://127.0.0.1:49374/", true),
            // There somebody else may listen.
            (0o600, "http://localhost:49374", false),
            (0o600, "http://127.0.0.2:49374", false),
            (0o600, "http://[::1]:49374", false),
            (0o600, "http://127.0.0.1:4096", false),
            (0o600, "https://127.0.0.1:49374", false),
            (0o600, "http://192.0.2.1:49374", false),
            (0o644, "http://127.0.0.1:49374", false),
            (0o620, "http://127.0.0.1:49374", false),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(password(base_url, &of_state).is_some(), found, "{mode:o} {base_url}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let place = home.path().join(".local/state/opencode");
        std::fs::create_dir_all(&place).unwrap();
        let of_home =
            Environment::from_iter([("HOME", home.path().to_str().unwrap()), ("XDG_STATE_HOME", "")]);
        assert_eq!(password("http://127.0.0.1:49374", &of_home), None, "there is none yet");
        std::os::unix::fs::symlink(&path, place.join("service.json")).unwrap();
        assert_eq!(password("http://127.0.0.1:49374", &of_home), None, "a link is not read");
        std::fs::remove_file(place.join("service.json")).unwrap();
        std::fs::copy(&path, place.join("service.json")).unwrap();
        assert_eq!(password("http://127.0.0.1:49374", &of_home).as_deref(), Some("p"));
        for broken in ["", "{}", r#"{"url":"http://127.0.0.1:49374","password":""}"#, r#"{"password":"p"}"#] {
            std::fs::write(&path, broken).unwrap();
            assert_eq!(password("http://127.0.0.1:49374", &of_state), None, "{broken}");
        }
        assert_eq!(password("http://127.0.0.1:49374", &Environment::default()), None);
    }
}
