//! `audit`: the proof of what was decided.

use std::io::Write as _;

use clap::Subcommand;

use super::Common;
use crate::exit::{Exit, Failure};
use crate::ledger::audit::{self, Verdict};

/// `audit`
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Check that no row was changed, removed or slipped in
    Verify,
    /// Print every row as a line of JSON
    Export,
}

impl Audit {
    pub(super) async fn run(self, common: &Common) -> Result<Exit, Failure> {
        match self {
            Self::Verify => verify(common).await,
            Self::Export => export(common).await,
        }
    }
}

async fn verify(common: &Common) -> Result<Exit, Failure> {
    let verdict = common.existing_ledger()?.read(audit::verify).await?;
    common.print(&verdict, |verdict| match verdict {
        Verdict::Intact { rows, head } => format!("intact: {rows} rows, ending in {head}"),
        Verdict::Broken { seq, reason } => format!("broken at row {seq}: {reason}"),
    })?;
    Ok(if matches!(verdict, Verdict::Intact { .. }) { Exit::Done } else { Exit::Failed })
}

async fn export(common: &Common) -> Result<Exit, Failure> {
    let lines = common
        .existing_ledger()?
        .read(|tx| {
            let mut lines = Vec::new();
            audit::for_each(tx, |row| {
                lines.push(serde_json::to_string(&row)?);
                Ok(())
            })?;
            Ok(lines)
        })
        .await?;
    let mut output = anstream::stdout();
    for line in lines {
        writeln!(output, "{line}")?;
    }
    Ok(Exit::Done)
}
