//! Where a connector's calls are performed: in a process of its own within walls, or in this one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use connector_contract::{ConnectorFactory, Manifest, chain};
use connector_files::Log;
use connector_plugins::InProcesses;
use connector_sandbox::Within;
use serde::{Deserialize, Serialize};

use crate::build::Registry;
use crate::exit::Exit;

/// Where a connector's calls are performed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectorIsolation {
    /// In a process of its own, within the walls that this kernel can hold.
    #[default]
    Process,
    /// The same, and only where the kernel can hold all of them.
    Required,
    /// In this process, with nothing between them but the language.
    InProcess,
}

impl ConnectorIsolation {
    /// The words that a command line takes.
    pub const WORDS: [&str; 3] = ["process", "required", "in-process"];

    /// The isolation of this word.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "process" => Some(Self::Process),
            "required" => Some(Self::Required),
            "in-process" => Some(Self::InProcess),
            _ => None,
        }
    }

    /// A factory of the same connectors, performed where this says. To be called by a binary that
    /// [serves](serve) them.
    /// What their processes say is kept in `said`, for the owner's eyes.
    pub fn factory(self, inner: Arc<dyn ConnectorFactory>, said: Option<Log>) -> Arc<dyn ConnectorFactory> {
        match self {
            Self::InProcess => inner,
            Self::Process | Self::Required => {
                Arc::new(InProcesses::new(inner, launcher(), self == Self::Required).with_log(said))
            }
        }
    }

    /// What is missing of it here, in words for people.
    pub fn missing(self) -> Option<String> {
        let held = connector_sandbox::kernel();
        match self {
            Self::InProcess => Some(
                "isolation is in-process: the connector can do what this host can, its ledger included"
                    .to_owned(),
            ),
            Self::Process | Self::Required if held.is_whole() => None,
            Self::Process | Self::Required => {
                Some(format!("a connector's process is not wholly confined: {held}"))
            }
        }
    }

    /// What is [missing](Self::missing) of it; an error, in words for people, if that is required.
    pub fn check(self) -> Result<Option<String>, String> {
        match (self, self.missing()) {
            (Self::Required, Some(missing)) => Err(format!("isolation is required, but {missing}")),
            (_, missing) => Ok(missing),
        }
    }
}

/// Where what the processes of the connector `instance` say is kept.
pub fn said(state: &Path, instance: &str) -> Log {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let name: String = instance.chars().map(plain).take(100).collect();
    Log::at(state.join("connectors").join(format!("{name}.log")))
}

/// This binary, even after the file was replaced.
pub(crate) fn launcher() -> PathBuf {
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() { own } else { std::env::current_exe().unwrap_or(own) }
}

/// Serves the connector of `registry` that a launcher was asked for, within its walls.
pub fn serve(registry: &Registry, within: &Within) -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .init();
    let Some(entry) = registry.connector(&within.name) else {
        tracing::error!(name = within.name, "this binary contains no such connector");
        return Exit::Usage.code();
    };
    let manifest = match Manifest::parse(entry.manifest) {
        Ok(manifest) => manifest,
        Err(error) => {
            tracing::error!("connector.toml: {}", chain(&error));
            return Exit::Failed.code();
        }
    };
    match connector_plugins::serve(manifest, (entry.factory)()) {
        Ok(()) => Exit::Done.code(),
        Err(error) => {
            tracing::error!("{}", chain(&error));
            Exit::Failed.code()
        }
    }
}
