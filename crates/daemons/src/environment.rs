//! What a started process gets to see of the host's environment: an allow-list, never the whole.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use crate::confine::settings::{anonymous, has_query};

const ALWAYS: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM", "TMPDIR"];
const PREFIXES: [&str; 2] = ["XDG_", "LC_"];

/// By these, toolchains find themselves.
const TOOLCHAINS: [&str; 42] = [
    "ASDF_DATA_DIR",
    "ASDF_DIR",
    "BUN_INSTALL",
    "CABAL_DIR",
    "CARGO_HOME",
    "CONDA_DEFAULT_ENV",
    "CONDA_PREFIX",
    "COREPACK_HOME",
    "DENO_INSTALL",
    "DOTNET_ROOT",
    "ELAN_HOME",
    "FNM_DIR",
    "GHCUP_INSTALL_BASE_PREFIX",
    "GOENV_ROOT",
    "GOPATH",
    "GOROOT",
    "GOTOOLCHAIN",
    "GRADLE_HOME",
    "JAVA_HOME",
    "M2_HOME",
    "MAMBA_ROOT_PREFIX",
    "MAVEN_HOME",
    "MISE_DATA_DIR",
    "NODENV_ROOT",
    "NVM_DIR",
    "N_PREFIX",
    "OPAMROOT",
    "OPAM_SWITCH_PREFIX",
    "PIPX_HOME",
    "PKG_CONFIG_PATH",
    "PNPM_HOME",
    "PYENV_ROOT",
    "PYENV_VERSION",
    "RBENV_ROOT",
    "RBENV_VERSION",
    "RUSTUP_AUTO_INSTALL",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "SDKMAN_DIR",
    "STACK_ROOT",
    "VIRTUAL_ENV",
    "VOLTA_HOME",
];
/// By these, programs find the certificates of whom they trust.
const TRUST: [&str; 11] = [
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "CURL_CA_BUNDLE",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "NIX_SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
];
/// By these, package managers know whom to ask and for what. They are passed where nobody's name and password are in them.
const REGISTRIES: [&str; 25] = [
    "COREPACK_NPM_REGISTRY",
    "GOFLAGS",
    "GONOPROXY",
    "GONOSUMDB",
    "GOPRIVATE",
    "GOPROXY",
    "GOSUMDB",
    "NPM_CONFIG_REGISTRY",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_DISABLE_PIP_VERSION_CHECK",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_INDEX_URL",
    "PIP_NO_INDEX",
    "PIP_TRUSTED_HOST",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_NO_INDEX",
    "UV_PYTHON",
    "YARN_NPM_REGISTRY_SERVER",
    "YARN_REGISTRY",
    "npm_config_registry",
];

/// Whether a variable tells of the terminal or the login session: the next one has other values,
/// and a daemon does the same work with either.
pub(crate) fn is_of_the_session(name: &str) -> bool {
    let directory = name.starts_with("XDG_") && name.ends_with("_HOME");
    matches!(name, "TERM" | "LANG") || PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !directory
}

/// A set of environment variables. `Debug` shows names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// Everything this process was given. Started processes get [`allowed`](Self::allowed) parts of it.
    pub fn of_this_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// The value of one variable.
    pub fn get(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.0.get(name.as_ref()).map(OsString::as_os_str)
    }

    /// The same with one variable set.
    #[must_use]
    pub fn with(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// The directories in which programs are looked for: those of `PATH` that are absolute. One that is relative
    /// or empty means another place in each directory, and in a repository whatever that holds.
    pub fn search_path(&self) -> Vec<PathBuf> {
        let path = self.get("PATH").unwrap_or_default();
        std::env::split_paths(path).filter(|entry| entry.is_absolute()).collect()
    }

    /// Whether `PATH` has entries that are left out of that.
    pub fn has_relative_path(&self) -> bool {
        self.get("PATH").is_some_and(|path| std::env::split_paths(path).any(|entry| !entry.is_absolute()))
    }

    /// The certificates that variables name, where they are certificates and no key.
    pub(crate) fn trusted(&self) -> Vec<PathBuf> {
        let named = TRUST.iter().filter_map(|name| self.get(name)).map(PathBuf::from);
        let is_public = |path: &PathBuf| {
            path.is_absolute()
                && path.is_file()
                && std::fs::read(path).is_ok_and(|text| {
                    let text = String::from_utf8_lossy(&text);
                    text.contains("-----BEGIN CERTIFICATE") && !text.contains("PRIVATE KEY")
                })
        };
        named.collect::<std::collections::BTreeSet<_>>().into_iter().filter(is_public).collect()
    }

    /// What the allow-list lets through: `PATH` without its relative entries, `HOME`, the user's name and shell, language,
    /// terminal, temporary and XDG directories, where toolchains, certificates and registries are, and the variables named.
    #[must_use]
    pub fn allowed(&self, named: &[String]) -> Self {
        let pass = |name: &OsStr, value: &OsStr| {
            let Some(name) = name.to_str() else { return false };
            ALWAYS.contains(&name)
                || TOOLCHAINS.contains(&name)
                || TRUST.contains(&name)
                || REGISTRIES.contains(&name) && value.to_str().is_some_and(is_without_key)
                || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
                || named.iter().any(|allowed| allowed == name)
        };
        let passed =
            self.0.iter().filter(|(name, value)| pass(name, value)).map(|(n, v)| (n.clone(), v.clone()));
        let mut allowed = Self(passed.collect());
        if self.has_relative_path() {
            allowed.0.remove(OsStr::new("PATH"));
            // An empty one would mean the working directory to some programs.
            let path = self.search_path();
            if let Some(path) = std::env::join_paths(path).ok().filter(|path| !path.is_empty()) {
                allowed.0.insert("PATH".into(), path);
            }
        }
        allowed
    }

    /// The same without the variables that `drop` chooses.
    #[must_use]
    pub(crate) fn without(mut self, drop: impl Fn(&str) -> bool) -> Self {
        self.0.retain(|name, _| !name.to_str().is_some_and(&drop));
        self
    }

    /// All variables, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Whether addresses in it neither name somebody nor have a query.
fn is_without_key(text: &str) -> bool {
    anonymous(text) == text && !has_query(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_and_named_variables_pass() {
        let host = Environment::from_iter([
            ("PATH", "/bin"),
            ("XDG_CACHE_HOME", "/c"),
            ("LC_ALL", "C"),
            ("AWS_SECRET_ACCESS_KEY", "no"),
            ("OPENCODE_CONFIG", "no"),
            ("ANTHROPIC_API_KEY", "yes"),
        ]);
        let passed = host.allowed(&["ANTHROPIC_API_KEY".into()]);
        let names: Vec<_> = passed.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        assert_eq!(names, ["ANTHROPIC_API_KEY", "LC_ALL", "PATH", "XDG_CACHE_HOME"]);
    }

    #[test]
    fn only_absolute_directories_of_path_are_searched_and_passed_on() {
        for (path, passed) in [
            ("/usr/bin:/bin", Some("/usr/bin:/bin")),
            ("/usr/bin:", Some("/usr/bin")),
            (":/usr/bin", Some("/usr/bin")),
            ("/usr/bin::/bin", Some("/usr/bin:/bin")),
            (".:/usr/bin", Some("/usr/bin")),
            ("node_modules/.bin:/usr/bin:../bin", Some("/usr/bin")),
            ("", None),
            (".", None),
            (":", None),
        ] {
            let environment = Environment::from_iter([("PATH", path)]);
            assert_eq!(environment.allowed(&[]).get("PATH"), passed.map(OsStr::new), "{path}");
            let searched: Vec<PathBuf> =
                passed.map(|path| std::env::split_paths(path).collect()).unwrap_or_default();
            assert_eq!(environment.search_path(), searched, "{path}");
        }
    }

    #[test]
    fn the_session_is_told_from_what_a_daemon_works_with() {
        for name in ["TERM", "LANG", "LC_CTYPE", "XDG_RUNTIME_DIR", "XDG_SESSION_ID", "XDG_DATA_DIRS"] {
            assert!(is_of_the_session(name), "{name}");
        }
        for name in ["PATH", "HOME", "SHELL", "TMPDIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "LANGUAGE_KEY"] {
            assert!(!is_of_the_session(name), "{name}");
        }
    }

    #[test]
    fn debug_shows_names_and_no_values() {
        let shown = format!("{:?}", Environment::default().with("KEY", "hunter2"));
        assert_eq!(shown, r#"{"KEY"}"#);
    }
}
