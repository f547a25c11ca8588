//! `ledger`: checking, copying and pruning what is kept, beside a running host or without one.

use std::path::PathBuf;

use clap::Subcommand;
use connector_engine::transcript::Transcripts;
use connector_gate::clock::{Clock, Millis, rfc3339};
use connector_ledger::keep::{self, Findings, Pruned};
use serde::Serialize;

use super::Common;
use crate::exit::{Exit, Failure};

const DAY: Millis = 24 * 60 * 60 * 1_000;

/// How many runs go in one transaction, so that a host gets its turn in between.
const BATCH: u32 = 500;

/// `ledger`
#[derive(Debug, Subcommand)]
pub(super) enum LedgerCommand {
    /// Look for damage, broken links of the audit, and rows that disagree with it
    Check,
    /// Copy the ledger as it is now into a new file
    Backup {
        /// The new file
        file: PathBuf,
    },
    /// Let go of runs that ended long ago, with their part of the audit; the rest still verifies
    Prune {
        /// Keep what is younger than this many days
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        older_than_days: u32,
    },
}

/// What a backup came to.
#[derive(Serialize)]
struct Copied {
    file: PathBuf,
    bytes: u64,
}

impl LedgerCommand {
    pub(super) async fn run(self, common: &Common) -> Result<Exit, Failure> {
        match self {
            Self::Check => check(common).await,
            Self::Backup { file } => backup(common, file).await,
            Self::Prune { older_than_days } => prune(common, older_than_days).await,
        }
    }
}

async fn check(common: &Common) -> Result<Exit, Failure> {
    let findings = common.existing_ledger()?.read(keep::check).await?;
    common.print(&findings, found)?;
    Ok(if findings.problems.is_empty() { Exit::Done } else { Exit::Failed })
}

fn found(findings: &Findings) -> String {
    if findings.problems.is_empty() {
        return format!(
            "sound: {} steps agree with {} rows of the audit",
            findings.steps, findings.audit_rows
        );
    }
    let lines: Vec<String> =
        findings.problems.iter().map(|problem| connector_surface::text::one_line(problem)).collect();
    format!("{}\n{} problems; nothing was changed", lines.join("\n"), lines.len())
}

async fn backup(common: &Common, file: PathBuf) -> Result<Exit, Failure> {
    let ledger = common.existing_ledger()?;
    let to = file.clone();
    tokio::task::spawn_blocking(move || ledger.backup(&to)).await??;
    let bytes = std::fs::metadata(&file)?.len();
    common.print(&Copied { file, bytes }, |copied| {
        format!("copied to {} ({} KiB)", copied.file.display(), copied.bytes / 1_024)
    })?;
    Ok(Exit::Done)
}

async fn prune(common: &Common, days: u32) -> Result<Exit, Failure> {
    let before = Clock::System.now() - Millis::from(days) * DAY;
    let ledger = common.existing_ledger()?;
    let mut all = Pruned::default();
    loop {
        let some = ledger.write_alone(move |tx| keep::prune(tx, before, BATCH)).await?;
        all.runs += some.runs;
        all.events += some.events;
        all.audit_rows += some.audit_rows;
        if some.runs < BATCH as usize {
            break;
        }
    }
    let transcripts = common.transcripts()?;
    let kept = transcripts.kept();
    ledger.read(move |tx| Transcripts::sweep(tx, kept)).await?;
    common.print(&all, |all| {
        format!(
            "let go of {} runs, {} events and {} rows of the audit from before {}",
            all.runs,
            all.events,
            all.audit_rows,
            rfc3339(before)
        )
    })?;
    Ok(Exit::Done)
}
