//! `telegram`: from a token to a host that answers.

mod setup;

use crate::exit::{Exit, Failure};

/// `telegram`
#[derive(Debug, clap::Subcommand)]
pub(super) enum Telegram {
    /// Ask for a token, find out who you are, write host.toml, and send a test message
    Setup(setup::Setup),
}

impl Telegram {
    pub(super) async fn run(self, _common: &super::Common) -> Result<Exit, Failure> {
        match self {
            Self::Setup(setup) => setup.run().await,
        }
    }
}
