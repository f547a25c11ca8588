//! The server's configuration, which is JSON and so YAML.

use std::path::Path;

use serde_json::{Value, json};

use super::SERVER_NAME;

/// What only the tests know, to make users with.
pub(super) const REGISTRATION_SECRET: &str = "only-for-tests";

/// How a server differs from the usual one of the tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// How many messages a second each user may send, and how many at once; as good as any number
    /// when absent. Synapse's own are 0.2 and 10.
    pub rc_message: Option<(f64, u32)>,
    /// Whether each room is encrypted when it is made, whatever whoever makes it asks for.
    pub encrypts_rooms: bool,
}

pub(super) fn config(root: &Path, port: u16, options: Options) -> Value {
    let at = |name: &str| root.join(name).to_string_lossy().into_owned();
    let wide = json!({ "per_second": 10_000, "burst_count": 10_000 });
    let (per_second, burst_count) = options.rc_message.unwrap_or((10_000.0, 10_000));
    let mut config = json!({
        "server_name": SERVER_NAME,
        "listeners": [{
            "port": port,
            "type": "http",
            "bind_addresses": ["127.0.0.1"],
            "resources": [{ "names": ["client"] }],
        }],
        "database": { "name": "sqlite3", "args": { "database": at("homeserver.db") } },
        "media_store_path": at("media"),
        "pid_file": at("homeserver.pid"),
        "registration_shared_secret": REGISTRATION_SECRET,
        "macaroon_secret_key": "only-for-tests",
        "form_secret": "only-for-tests",
        // A server that nobody else knows needs no key of its own.
        "signing_key": "ed25519 a_1 MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE",
        "bcrypt_rounds": 4,
        "report_stats": false,
        "trusted_key_servers": [],
        "suppress_key_server_warning": true,
        "federation_domain_whitelist": [],
        "encryption_enabled_by_default_for_room_type": if options.encrypts_rooms { "all" } else { "off" },
        "presence": { "enabled": false },
        "rc_message": { "per_second": per_second, "burst_count": burst_count },
        "rc_login": { "address": wide, "account": wide, "failed_attempts": wide },
        "rc_joins": { "local": wide, "remote": wide },
        "rc_invites": { "per_room": wide, "per_user": wide, "per_issuer": wide },
    });
    for limit in ["rc_registration", "rc_joins_per_room", "rc_room_creation", "rc_admin_redaction"] {
        config[limit] = wide.clone();
    }
    config
}
