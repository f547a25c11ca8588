//! Who did what, when, to which digest: append-only and hash-chained.
//!
//! Each row's hash covers the hash before it, so that a row changed, removed or
//! slipped in is found by [`verify`], which names the first broken link.
//!
//! Retention cuts at the beginning only: the anchor keeps the hash of the last row that was
//! pruned, so that the rest still verifies, and a row in the rest says the same, so that the anchor
//! cannot be moved unnoticed.

use connector_gate::clock::Millis;
use connector_gate::ids::{RunId, StepId};
use connector_gate::policy::Actor;
use connector_gate::state::Move;
use data_encoding::HEXLOWER;
use rusqlite::OptionalExtension as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{LedgerError, Tx, json as json_column};

/// The kind of the row that tells of pruned rows.
const PRUNED: &str = "pruned";

/// The kinds of the rows that tell of a step's asks: one was put to people, …
pub const ASKED: &str = "asked";
/// … it was answered, …
pub const ANSWERED: &str = "ask_answered";
/// … it could not be shown, …
pub const UNSHOWN: &str = "ask_unshown";
/// … or nobody need answer it any more.
pub const WITHDRAWN: &str = "ask_withdrawn";

/// How many asks of a step wait for an answer, by the rows of its run. Those of an earlier call went
/// with it.
pub fn open_asks(rows: &[Row], step: StepId) -> usize {
    let of_step = rows.iter().filter(|row| row.entry.index == Some(step.index));
    of_step.fold(0, |open, row| match row.entry.kind.as_str() {
        ASKED => open + 1,
        ANSWERED | UNSHOWN | WITHDRAWN => open.saturating_sub(1),
        "dispatched" => 0,
        _ => open,
    })
}

/// What stands before the first row.
const GENESIS: &str = "connector-host audit v1";

/// One row, without its place in the chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// When.
    pub at: Millis,
    /// What: `event`, `run`, or a move of a step such as `approved`.
    pub kind: String,
    /// The run it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The step's index in the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Who: an actor, or `host`.
    pub actor: Actor,
    /// The digest it was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The rest, depending on the kind. Never a secret.
    pub detail: Value,
}

/// A row of the audit.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "AuditRow")]
pub struct Row {
    /// Its place, from 1.
    pub seq: i64,
    /// What it says.
    #[serde(flatten)]
    pub entry: Entry,
    /// The chain up to and including it.
    pub hash: String,
}

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Every link holds.
    Intact {
        /// How many rows there are.
        rows: i64,
        /// The last row's hash; keep it elsewhere to notice a cut tail.
        head: String,
    },
    /// A row does not follow from the one before it.
    Broken {
        /// The first such row.
        seq: i64,
        /// What is wrong with it.
        reason: String,
    },
}

/// The host itself, as an actor.
pub fn host() -> Actor {
    Actor::from_text("host")
}

/// Starts an entry about a step.
pub fn of_step(step: StepId, kind: &str, actor: Actor, digest: Option<String>, detail: Value) -> Entry {
    Entry {
        at: 0,
        kind: kind.to_owned(),
        run: Some(step.run),
        index: Some(step.index),
        actor,
        digest,
        detail,
    }
}

/// Appends `entry`, at the transaction's time.
pub fn append(tx: &Tx<'_>, mut entry: Entry) -> Result<(), LedgerError> {
    entry.at = tx.now;
    if let Some(run) = entry.run {
        tx.changes(run);
    }
    let last: Option<(i64, String)> = tx
        .sql
        .prepare_cached("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (last, before) = match last {
        Some(last) => last,
        None => anchor(tx)?,
    };
    let seq = last + 1;
    let hash = link(&before, seq, &entry)?;
    tx.sql
        .prepare_cached(
            "INSERT INTO audit (seq, at, kind, run_id, idx, actor, digest, detail, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(rusqlite::params![
            seq,
            entry.at,
            entry.kind,
            entry.run.map(|run| run.0),
            entry.index,
            entry.actor.as_str(),
            entry.digest,
            entry.detail.to_string(),
            hash,
        ])?;
    Ok(())
}

/// The asks of a step that nobody has answered and that were not withdrawn, as they were asked.
pub fn unanswered(tx: &Tx<'_>, step: StepId) -> Result<Vec<Value>, LedgerError> {
    let mut statement = tx.sql.prepare_cached(
        "SELECT detail FROM audit AS asked
         WHERE run_id = ?1 AND idx = ?2 AND kind = 'asked'
           AND NOT EXISTS (
             SELECT 1 FROM audit AS later
             WHERE later.run_id = ?1 AND later.idx = ?2 AND later.seq > asked.seq
               AND later.kind IN ('asked', 'ask_answered', 'ask_unshown', 'ask_withdrawn')
               AND later.detail ->> '$.ask.id' = asked.detail ->> '$.ask.id')
         ORDER BY seq",
    )?;
    let rows = statement
        .query_map([step.run.0, i64::from(step.index)], |row| json_column::<Value>(row, "detail"))?;
    let mut asks = Vec::new();
    for row in rows {
        asks.push(row?["ask"].take());
    }
    Ok(asks)
}

/// What a step asked under this id, as it was asked last.
pub fn asked(tx: &Tx<'_>, step: StepId, id: &str) -> Result<Option<Value>, LedgerError> {
    let sql = "SELECT detail FROM audit
         WHERE run_id = ?1 AND idx = ?2 AND kind = 'asked' AND detail ->> '$.ask.id' = ?3
         ORDER BY seq DESC LIMIT 1";
    let found = tx
        .sql
        .prepare_cached(sql)?
        .query_row(rusqlite::params![step.run.0, step.index, id], |row| json_column::<Value>(row, "detail"));
    Ok(found.optional()?.map(|mut detail| detail["ask"].take()))
}

/// Every row in order, given to `each`.
pub fn for_each(
    tx: &Tx<'_>,
    mut each: impl FnMut(Row) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    let mut statement = tx.sql.prepare("SELECT * FROM audit ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        each(read(row)?)?;
    }
    Ok(())
}

/// At most `limit` rows after the one numbered `seq`, in order.
pub fn after(tx: &Tx<'_>, seq: i64, limit: u32) -> Result<Vec<Row>, LedgerError> {
    let mut statement = tx.sql.prepare_cached("SELECT * FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let rows = statement.query_map(rusqlite::params![seq, limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The rows about one run after the one numbered `seq`, in order.
pub fn of_run(tx: &Tx<'_>, run: RunId, seq: i64) -> Result<Vec<Row>, LedgerError> {
    let sql = "SELECT * FROM audit WHERE run_id = ?1 AND seq > ?2 ORDER BY seq";
    let mut statement = tx.sql.prepare_cached(sql)?;
    let rows = statement.query_map([run.0, seq], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The number of the last row.
pub fn last(tx: &Tx<'_>) -> Result<i64, LedgerError> {
    let sql = "SELECT coalesce(max(seq), (SELECT seq FROM audit_anchor)) FROM audit";
    Ok(tx.sql.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// An intact chain may still have lost its tail, or be another: `noted` must be in it.
pub fn with_head(tx: &Tx<'_>, verdict: Verdict, noted: &str) -> Result<Verdict, LedgerError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM audit WHERE hash = ?1)
               OR EXISTS (SELECT 1 FROM audit_anchor WHERE hash = ?1)";
    if tx.sql.query_row(sql, [noted], |row| row.get(0))? {
        return Ok(verdict);
    }
    let reason =
        "no row has the hash that was noted down; its tail was cut, or it is another audit".to_owned();
    Ok(Verdict::Broken { seq: last(tx)?, reason })
}

/// Checks the whole chain, as far as it is kept.
pub fn verify(tx: &Tx<'_>) -> Result<Verdict, LedgerError> {
    let (pruned, mut head) = anchor(tx)?;
    let cut = json!({ "through": pruned, "hash": head });
    let (mut seq, mut broken, mut told) = (pruned, None, pruned == 0 && head == GENESIS);
    for_each(tx, |row| {
        if broken.is_none() {
            broken = check(&row, seq + 1, &head)?;
        }
        told |= row.entry.kind == PRUNED && row.entry.detail == cut;
        seq += 1;
        head = row.hash;
        Ok(())
    })?;
    if broken.is_none() && !told {
        let reason = format!("nothing kept says that the rows up to {pruned} were pruned");
        broken = Some(Verdict::Broken { seq: pruned + 1, reason });
    }
    Ok(broken.unwrap_or(Verdict::Intact { rows: seq - pruned, head }))
}

/// Removes the rows up to and including `through`, and says so in the audit. Returns how many.
pub fn prune(tx: &Tx<'_>, through: i64) -> Result<usize, LedgerError> {
    let hash: Option<String> = tx
        .sql
        .prepare_cached("SELECT hash FROM audit WHERE seq = ?1")?
        .query_row([through], |row| row.get(0))
        .optional()?;
    let Some(hash) = hash else { return Ok(0) };
    let detail = json!({ "through": through, "hash": hash });
    let kind = PRUNED.to_owned();
    append(tx, Entry { at: 0, kind, run: None, index: None, actor: host(), digest: None, detail })?;
    tx.sql.execute("UPDATE audit_anchor SET seq = ?1, hash = ?2", rusqlite::params![through, hash])?;
    Ok(tx.sql.execute("DELETE FROM audit WHERE seq <= ?1", [through])?)
}

/// The latest row about what `step` would run that is of one of `kinds`.
pub fn latest_of_step(tx: &Tx<'_>, step: StepId, kinds: &[&str]) -> Result<Option<Row>, LedgerError> {
    let row = tx
        .sql
        .prepare_cached(
            "SELECT * FROM audit WHERE run_id = ?1 AND idx = ?2 AND kind IN (SELECT value FROM json_each(?3))
               AND digest IS NOT NULL ORDER BY seq DESC LIMIT 1",
        )?
        .query_row(rusqlite::params![step.run.0, step.index, serde_json::to_string(kinds)?], read)
        .optional()?;
    Ok(row)
}

/// The latest row of `kind` about `step` whose detail names `id` as `name`.
pub fn of_step_about(
    tx: &Tx<'_>,
    step: StepId,
    kind: &str,
    name: &str,
    id: i64,
) -> Result<Option<Row>, LedgerError> {
    let sql =
        "SELECT * FROM audit WHERE run_id = ?1 AND idx = ?2 AND kind = ?3 AND detail ->> ('$.' || ?4) = ?5
         ORDER BY seq DESC LIMIT 1";
    let params = rusqlite::params![step.run.0, step.index, kind, name, id];
    Ok(tx.sql.prepare_cached(sql)?.query_row(params, read).optional()?)
}

/// Whether the last thing decided about `step` was that `digest` may run.
pub fn proves(tx: &Tx<'_>, step: StepId, digest: &str) -> Result<bool, LedgerError> {
    let kinds = [Move::Approve, Move::Pass, Move::Rebind].map(Move::as_str);
    let Some(row) = latest_of_step(tx, step, &kinds)? else { return Ok(false) };
    Ok(row.entry.kind != Move::Rebind.as_str()
        && row.entry.digest.as_deref() == Some(digest)
        && follows(tx, &row)?)
}

/// Whether a row follows from the one before it.
pub fn follows(tx: &Tx<'_>, row: &Row) -> Result<bool, LedgerError> {
    let before: Option<String> = tx
        .sql
        .prepare_cached("SELECT hash FROM audit WHERE seq = ?1")?
        .query_row([row.seq - 1], |found| found.get(0))
        .optional()?;
    let before = match before {
        Some(before) => before,
        None => anchor(tx)?.1,
    };
    Ok(link(&before, row.seq, &row.entry)? == row.hash)
}

/// The place and hash after which the kept rows begin.
fn anchor(tx: &Tx<'_>) -> Result<(i64, String), LedgerError> {
    let sql = "SELECT seq, hash FROM audit_anchor";
    Ok(tx.sql.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

fn check(row: &Row, expected: i64, before: &str) -> Result<Option<Verdict>, LedgerError> {
    let reason = if row.seq != expected {
        format!("row {expected} is missing")
    } else if link(before, row.seq, &row.entry)? != row.hash {
        "its content or the row before it was changed".to_owned()
    } else {
        return Ok(None);
    };
    Ok(Some(Verdict::Broken { seq: expected, reason }))
}

fn link(before: &str, seq: i64, entry: &Entry) -> Result<String, LedgerError> {
    let mut hasher = Sha256::new();
    hasher.update(before);
    hasher.update(serde_json_canonicalizer::to_vec(&(seq, entry))?);
    Ok(HEXLOWER.encode(&hasher.finalize()))
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        seq: row.get("seq")?,
        hash: row.get("hash")?,
        entry: Entry {
            at: row.get("at")?,
            kind: row.get("kind")?,
            run: row.get::<_, Option<i64>>("run_id")?.map(RunId),
            index: row.get("idx")?,
            actor: Actor::from_text(row.get::<_, String>("actor")?),
            digest: row.get("digest")?,
            detail: json_column(row, "detail")?,
        },
    })
}
