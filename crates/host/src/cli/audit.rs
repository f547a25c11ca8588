//! `audit`: the proof of what was decided.

use std::io::Write as _;

use clap::Subcommand;
use connector_ledger::audit::{self, Verdict};

use super::Common;
use crate::exit::{Exit, Failure};

/// How many rows are read at a time, so that an export holds up nobody.
const PAGE: u32 = 1_000;

/// `audit`
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Check that no row was changed, removed or slipped in
    Verify {
        /// Check too that this hash, noted down earlier, is still in the chain
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
    /// Print every row as a line of JSON
    Export {
        /// Lines of JSON, the only form there is
        #[arg(long)]
        jsonl: bool,
        /// Begin after the row of this number
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        after: i64,
    },
}

impl Audit {
    pub(super) async fn run(self, common: &Common) -> Result<Exit, Failure> {
        match self {
            Self::Verify { head } => verify(common, head).await,
            Self::Export { jsonl: _, after } => export(common, after).await,
        }
    }
}

async fn verify(common: &Common, noted: Option<String>) -> Result<Exit, Failure> {
    let verdict = common
        .existing_ledger()?
        .read(move |tx| {
            let verdict = audit::verify(tx)?;
            Ok(match noted {
                Some(noted) if matches!(verdict, Verdict::Intact { .. }) => {
                    audit::with_head(tx, verdict, &noted)?
                }
                _ => verdict,
            })
        })
        .await?;
    common.print(&verdict, |verdict| match verdict {
        Verdict::Intact { rows, head } => format!("intact: {rows} rows, ending in {head}"),
        Verdict::Broken { seq, reason } => format!("broken at row {seq}: {reason}"),
    })?;
    Ok(if matches!(verdict, Verdict::Intact { .. }) { Exit::Done } else { Exit::Failed })
}

async fn export(common: &Common, mut after: i64) -> Result<Exit, Failure> {
    let ledger = common.existing_ledger()?;
    let mut output = anstream::stdout();
    loop {
        let rows = ledger.read(move |tx| audit::after(tx, after, PAGE)).await?;
        let Some(last) = rows.last() else { return Ok(Exit::Done) };
        after = last.seq;
        for row in &rows {
            writeln!(output, "{}", serde_json::to_string(row)?)?;
        }
    }
}
