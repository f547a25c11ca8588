//! What setting up has in common for all chats: where it is written, and what is asked at the terminal.

pub(super) mod rules;

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use connector_files::AbsolutePath;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::path;
use crate::exit::Failure;
use crate::places::{Door, Places};

/// What says where it is written.
#[derive(Debug, clap::Args)]
pub(super) struct Destination {
    /// The repository the agent is to work on
    #[arg(long, value_name = "DIR", default_value = ".", value_parser = path::absolute())]
    workspace: AbsolutePath,
    /// Where `host.toml` and the rules are written, outside the repository [default: your configuration directory]
    #[arg(long, value_name = "DIR", value_parser = path::absolute())]
    into: Option<AbsolutePath>,
}

/// Where it is written: nothing is there yet that it would replace.
#[derive(Debug)]
pub(super) struct Target {
    into: AbsolutePath,
    /// The repository.
    pub(super) workspace: AbsolutePath,
}

/// A file with a secret, in the directory of `host.toml`.
pub(super) struct SecretFile<'a> {
    pub(super) name: &'a str,
    pub(super) secret: &'a SecretString,
}

impl Destination {
    /// Checks that nothing in the way is replaced, and that no agent could change what is written.
    pub(super) fn target(&self, files: &[&str]) -> Result<Target, Failure> {
        let own = || {
            path::own_directory()
                .ok_or_else(|| Failure::usage("there is no home directory; name a place with --into"))
        };
        let into = self.into.clone().map_or_else(own, Ok)?;
        let taken = ["host.toml"].iter().chain(files).map(|file| into.join(file)).find(|file| file.exists());
        if let Some(taken) = taken {
            let text = format!("{} is there already; it was left as it was", taken.display());
            return Err(Failure::usage(text));
        }
        let workspace = super::chat::existing_directory(&self.workspace)?;
        let door =
            Door { what: "the repository".to_owned(), path: workspace.to_path_buf(), read_only: false };
        let places = Places::default().with("the configuration", into.join("host.toml").to_path_buf());
        if let Some(misplaced) = places.misplaced(&[door]).first() {
            return Err(Failure::usage(format!("{misplaced}, with --into")));
        }
        Ok(Target { into, workspace })
    }
}

impl Target {
    /// Where `host.toml` will be.
    pub(super) fn file(&self) -> PathBuf {
        self.into.join("host.toml").into_path_buf()
    }

    /// Writes the rules that are not there yet, then the secret, and then `host.toml`.
    pub(super) fn write(
        &self,
        rules: impl IntoIterator<Item = (&'static str, String)>,
        secret: Option<SecretFile<'_>>,
        host_toml: &str,
    ) -> Result<(), Failure> {
        let directory = self.into.join("rules");
        std::fs::create_dir_all(&directory)?;
        for (file, text) in rules {
            let path = directory.join(file);
            if !path.exists() {
                write_new(&path, 0o666, &text)?;
            }
        }
        let kept = secret.as_ref().map(|secret| self.into.join(secret.name));
        if let (Some(SecretFile { secret, .. }), Some(path)) = (secret, &kept) {
            let text = SecretString::from(format!("{}\n", secret.expose_secret()));
            write_new(path, 0o600, text.expose_secret())?;
        }
        let written = write_new(&self.file(), 0o666, host_toml);
        if let (Err(_), Some(path)) = (&written, kept) {
            // It would be in the way of the next try.
            let _ = std::fs::remove_file(path);
        }
        written
    }
}

/// Writes a file that is not there, with as much of `mode` as the user's own mask leaves.
fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), Failure> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes()).map_err(|error| {
        // Half of it would be in the way of the next try.
        let _ = std::fs::remove_file(path);
        error.into()
    })
}

/// Standard input, for what is asked at the terminal.
pub(super) struct Questions(tokio::io::Lines<BufReader<tokio::io::Stdin>>);

impl Questions {
    pub(super) fn new() -> Self {
        Self(BufReader::new(tokio::io::stdin()).lines())
    }

    /// What is typed in answer; `instead` says how else it is given where there is no terminal.
    pub(super) async fn ask(&mut self, question: &str, instead: &str) -> Result<String, Failure> {
        Self::at_terminal(instead)?;
        say(question)?;
        Ok(self.line().await?.trim().to_owned())
    }

    /// The same for a secret, which is not shown while it is typed.
    pub(super) async fn ask_unseen(
        &mut self,
        question: &str,
        instead: &str,
    ) -> Result<SecretString, Failure> {
        Self::at_terminal(instead)?;
        // First: what is typed as soon as the question is there is not shown either.
        let Some(_unseen) = super::terminal::Unseen::begin() else {
            return Err(Failure::usage(format!("this terminal cannot hide what is typed; {instead}")));
        };
        say(question)?;
        Ok(self.line().await?.trim_end_matches(['\r', '\n']).into())
    }

    fn at_terminal(instead: &str) -> Result<(), Failure> {
        if std::io::stdin().is_terminal() {
            return Ok(());
        }
        Err(Failure::usage(format!("there is no terminal to ask at; {instead}")))
    }

    async fn line(&mut self) -> Result<String, Failure> {
        Ok(self.0.next_line().await?.unwrap_or_default())
    }
}

/// Tells whoever sits at the terminal.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    Ok(writeln!(anstream::stdout(), "{text}")?)
}
