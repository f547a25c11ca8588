//! `matrix`: from a user's password to a host that answers.

mod setup;

use crate::exit::{Exit, Failure};

/// `matrix`
#[derive(Debug, clap::Subcommand)]
pub(super) enum Matrix {
    /// Log the bot in, make a room with you, write host.toml, and send a test message
    Setup(setup::Setup),
}

impl Matrix {
    pub(super) async fn run(self, _common: &super::Common) -> Result<Exit, Failure> {
        match self {
            Self::Setup(setup) => setup.run().await,
        }
    }
}
