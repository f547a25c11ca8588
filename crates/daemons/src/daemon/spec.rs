//! What to start: a value, complete before anything happens.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::contain::Contained;
use crate::confine::{Confinement, servers, shell};
use crate::environment::{Environment, is_of_the_session};
use crate::keys::{Keys, Logins};
use crate::project::Project;
use crate::providers::Providers;
use crate::user_config;

/// What [`Home::Own`] sets, and where below it.
pub(crate) const OWN: [(&str, &str); 3] =
    [("XDG_DATA_HOME", "data"), ("XDG_STATE_HOME", "state"), ("XDG_CACHE_HOME", "cache")];

/// Where the daemon keeps its sessions and finds its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// The user's own `HOME` and XDG directories, with their models, keys and sessions.
    User,
    /// The user's `HOME` and configuration, and their stored keys; sessions, state and caches in a
    /// directory of its own.
    Own(PathBuf),
    /// A directory of its own; nothing of the user's is seen.
    Isolated(PathBuf),
}

/// The port to listen on, always on 127.0.0.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// Any free one. Chosen anew when somebody takes it before the daemon does.
    Free,
    /// This one, or [`StartError::PortTaken`](super::StartError::PortTaken).
    Fixed(u16),
    /// The first of these that nobody has.
    FirstFree(Vec<u16>),
}

/// One daemon to be started.
#[derive(Clone)]
pub struct Spec {
    /// The opencode binary.
    pub program: PathBuf,
    /// The directory it serves and runs in.
    pub directory: PathBuf,
    /// Whose configuration and sessions.
    pub home: Home,
    /// Where it listens.
    pub port: Port,
    /// opencode's configuration, laid over [`Spec::defaults`]; wins where both say something.
    pub config: Value,
    /// The environment to choose from; the allow-list decides what the daemon sees of it.
    pub environment: Environment,
    /// Names of further variables that the daemon gets. Within walls its agent's commands do not get
    /// them, and the daemon itself not those with the keys of model providers: its model proxy has them.
    pub pass: Vec<String>,
    /// Where it reads the configuration of its project.
    pub project: Project,
    /// What becomes of stored logins that are renewed.
    pub logins: Logins,
    /// Where agents write, this daemon's or another's, and where the host keeps its own: nothing of it decides what
    /// its walls open beyond it.
    pub planted: Vec<PathBuf>,
    /// The password; random when absent.
    pub password: Option<SecretString>,
    /// A file to which the daemon's output is appended; an unnamed temporary one when absent.
    pub output: Option<PathBuf>,
    /// The walls it runs within; none when absent.
    pub confinement: Option<Confinement>,
    /// The group of processes that it is to have; none is asked for when absent.
    pub(crate) contained: Option<Contained>,
    /// How long it may take until the daemon answers.
    pub startup_limit: Duration,
    /// How long it may take to end after SIGTERM, before it is killed.
    pub stop_grace: Duration,
}

impl Spec {
    /// A daemon for `directory` with the user's own home, on any free port.
    pub fn new(program: impl Into<PathBuf>, directory: impl Into<PathBuf>, environment: Environment) -> Self {
        Self {
            program: program.into(),
            directory: directory.into(),
            home: Home::User,
            port: Port::Free,
            config: json!({}),
            environment,
            pass: Vec::new(),
            project: Project::AsFound,
            planted: Vec::new(),
            logins: Logins::Allow,
            password: None,
            output: None,
            confinement: None,
            contained: None,
            startup_limit: Duration::from_secs(30),
            stop_grace: Duration::from_secs(5),
        }
    }

    /// What every headless daemon is told: no updates, no sharing, no language servers, no formatters.
    pub fn defaults() -> Value {
        json!({ "autoupdate": false, "share": "disabled", "lsp": false, "formatter": false })
    }

    /// Whether the daemon may only run within whole walls.
    pub(crate) fn requires_walls(&self) -> bool {
        self.confinement.as_ref().is_some_and(|confinement| confinement.required)
    }

    /// The configuration that the daemon gets.
    pub(crate) fn merged_config(&self) -> Value {
        let mut config = Self::defaults();
        if let Some(instructions) = self.project.instructions() {
            config["instructions"] = json!([instructions]);
        }
        lay_over(&mut config, &self.config);
        config
    }

    /// The environment that the daemon gets, its secrets aside, with its `providers` at a model proxy at
    /// this address that takes this token.
    pub(crate) fn child_environment(
        &self,
        providers: &Providers,
        (address, token): (&str, &str),
    ) -> Environment {
        let mut environment = self.environment.allowed(&self.pass).without(|name| providers.take(name));
        let mut config = self.merged_config();
        if let Some(confinement) = &self.confinement {
            Providers::strip(&mut config);
            servers::without_password(&mut config);
            if shell::is_configured(self) {
                config["shell"] = json!(confinement.shell());
            }
        }
        lay_over(&mut config, &providers.overlay(address, token));
        match &self.home {
            Home::User => {}
            Home::Own(own) => {
                for (variable, below) in OWN {
                    environment = environment.with(variable, own.join(below));
                }
                if self.confinement.is_some() {
                    environment = environment.with(user_config::VARIABLE, user_config::directory(own));
                }
            }
            Home::Isolated(home) => environment = isolated(environment, home),
        }
        for (name, value) in self.project.variables() {
            environment = environment.with(name, value);
        }
        environment
            .with("OPENCODE_CONFIG_CONTENT", config.to_string())
            .with("OPENCODE_DISABLE_AUTOUPDATE", "true")
            .with("OPENCODE_DISABLE_LSP_DOWNLOAD", "true")
    }

    /// A digest of everything that decides how the daemon behaves, the values of passed variables
    /// included: a daemon with another digest is another daemon. The terminal and the login session
    /// it was started from do not count, unless they are passed by name, nor does what its walls replace.
    pub(crate) fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        part(self.program.as_os_str().as_encoded_bytes());
        let passed = |name: &str| self.pass.iter().any(|pass| pass == name);
        let replaced = |name: &str| self.confinement.is_some() && matches!(name, "SHELL" | "TMPDIR");
        let counts = |name: &str| !replaced(name) && (passed(name) || !is_of_the_session(name));
        let providers = Providers::of(self);
        let kept = self.child_environment(&providers, ("", "")).without(|name| !counts(name));
        for (name, value) in kept.iter() {
            part(name.as_encoded_bytes());
            part(value.as_encoded_bytes());
        }
        providers.parts().for_each(|text| part(text.as_bytes()));
        match Keys::of(self) {
            Keys::Passed(keys) => part(keys.expose_secret().as_bytes()),
            // Not what is in it, which is renewed.
            Keys::Copied(_) => part(b"a copy of logins"),
            Keys::None | Keys::Linked(_) => {}
        }
        if let Some(confinement) = &self.confinement {
            part(confinement.runs_as().as_os_str().as_encoded_bytes());
            part(confinement.plan().as_bytes());
            part(confinement.plan_of_commands().as_bytes());
            part(json!(confinement.network).to_string().as_bytes());
        }
        HEXLOWER.encode(&hasher.finalize())
    }
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spec")
            .field("program", &self.program)
            .field("directory", &self.directory)
            .field("home", &self.home)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

fn isolated(environment: Environment, home: &Path) -> Environment {
    let xdg =
        [("CONFIG", ".config"), ("DATA", ".local/share"), ("STATE", ".local/state"), ("CACHE", ".cache")];
    let cleared = environment.without(|name| name.starts_with("XDG_")).with("HOME", home);
    xdg.into_iter().fold(cleared, |environment, (kind, path)| {
        environment.with(OsString::from(format!("XDG_{kind}_HOME")), home.join(path))
    })
}

/// Lays one JSON object over another, member by member; anything but two objects is replaced.
pub(crate) fn lay_over(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                lay_over(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        let host = Environment::from_iter([
            ("PATH", "/bin"),
            ("HOME", "/home/me"),
            ("XDG_DATA_HOME", "/home/me/data"),
            ("XDG_RUNTIME_DIR", "/run/me"),
            ("KEY", "k1"),
            ("SECRET", "s"),
        ]);
        Spec::new("/bin/opencode", "/code", host)
    }

    #[test]
    fn the_configuration_is_laid_over_the_headless_defaults() {
        let mut spec = spec();
        spec.config = json!({ "formatter": { "x": 1 }, "model": "a/b" });
        assert_eq!(
            spec.merged_config(),
            json!({ "autoupdate": false, "share": "disabled", "lsp": false, "formatter": { "x": 1 }, "model": "a/b" })
        );
    }

    #[test]
    fn an_isolated_home_replaces_every_directory_of_the_user() {
        let mut spec = spec();
        spec.home = Home::Isolated("/iso".into());
        let environment = spec.child_environment(&Providers::default(), ("", ""));
        assert_eq!(environment.get("HOME").unwrap(), "/iso");
        assert_eq!(environment.get("XDG_DATA_HOME").unwrap(), "/iso/.local/share");
        assert_eq!(environment.get("XDG_RUNTIME_DIR"), None);
        assert_eq!(environment.get("SECRET"), None);
    }

    #[test]
    fn the_digest_changes_with_configuration_and_passed_values_and_with_nothing_else() {
        let base = spec();
        let mut other = spec();
        other.startup_limit = Duration::from_secs(1);
        other.environment = other.environment.with("SECRET", "t");
        assert_eq!(base.digest(), other.digest());
        other.pass = vec!["KEY".into()];
        assert_ne!(base.digest(), other.digest());
        let mut rotated = other.clone();
        rotated.environment = rotated.environment.with("KEY", "k2");
        assert_ne!(other.digest(), rotated.digest());
    }

    #[test]
    fn the_digest_is_the_same_from_another_terminal() {
        let base = spec();
        let mut other = spec();
        for name in ["TERM", "LANG", "LC_ALL", "XDG_RUNTIME_DIR", "XDG_SESSION_ID"] {
            other.environment = other.environment.with(name, "another");
        }
        assert_eq!(base.digest(), other.digest());
        other.pass = vec!["LANG".into()];
        assert_ne!(base.digest(), other.digest(), "what is passed by name was meant");
        for name in ["PATH", "HOME", "XDG_DATA_HOME", "SHELL", "TMPDIR"] {
            let mut other = spec();
            other.environment = other.environment.with(name, "/another");
            assert_ne!(base.digest(), other.digest(), "{name}");
        }
    }

    #[test]
    fn what_the_walls_replace_is_not_in_the_digest() {
        let walled = |shell: &str| {
            let mut spec = spec();
            spec.environment = spec.environment.with("SHELL", shell).with("TMPDIR", shell);
            spec.confinement = Some(Confinement::around(&spec, "/host", "/state/w.tmp"));
            spec.digest()
        };
        assert_eq!(walled("/usr/bin/fish"), walled("/bin/sh"), "commands run as bash either way");
    }
}
