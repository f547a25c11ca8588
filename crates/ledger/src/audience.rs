//! The audience of a run: the chats that are told of it, and in which its cards may be decided.
//!
//! They are its origin, which is the chat that it was asked for in, and its followers, which are rows of their own.

use connector_gate::ids::RunId;
use serde_json::json;

use super::audit::{self, Entry};
use super::outbox::{self, Parcel};
use super::{LedgerError, Tx};

/// A chat that is told of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The surface.
    pub surface: String,
    /// The chat.
    pub chat: String,
}

impl Member {
    /// A chat of a surface.
    pub fn new(surface: &str, chat: &str) -> Self {
        Self { surface: surface.to_owned(), chat: chat.to_owned() }
    }

    /// Whether it is this chat.
    pub fn is(&self, surface: &str, chat: &str) -> bool {
        (self.surface.as_str(), self.chat.as_str()) == (surface, chat)
    }
}

/// Adds a follower. The chat that a run was asked for in follows it anyway.
pub fn join(tx: &Tx<'_>, run: RunId, follower: &Member) -> Result<(), LedgerError> {
    let sql = "INSERT INTO followers (run_id, surface, chat) SELECT id, ?2, ?3 FROM runs
         WHERE id = ?1 AND (surface, chat) <> (?2, ?3) ON CONFLICT DO NOTHING";
    tx.sql.prepare_cached(sql)?.execute(rusqlite::params![run.0, follower.surface, follower.chat])?;
    Ok(())
}

/// The audience of a run, its origin first.
pub fn of_run(tx: &Tx<'_>, run: RunId) -> Result<Vec<Member>, LedgerError> {
    let sql = "SELECT surface, chat, 0 AS place FROM runs WHERE id = ?1
         UNION ALL SELECT surface, chat, 1 FROM followers WHERE run_id = ?1 ORDER BY place, surface, chat";
    let mut statement = tx.sql.prepare_cached(sql)?;
    let rows = statement.query_map([run.0], member)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn member(row: &rusqlite::Row<'_>) -> rusqlite::Result<Member> {
    Ok(Member { surface: row.get("surface")?, chat: row.get("chat")? })
}

/// Whether a chat is of the audience of a run.
pub fn has(tx: &Tx<'_>, run: RunId, (surface, chat): (&str, &str)) -> Result<bool, LedgerError> {
    Ok(of_run(tx, run)?.iter().any(|member| member.is(surface, chat)))
}

/// Puts a parcel out to the whole audience of a run.
pub fn put(tx: &Tx<'_>, run: RunId, parcel: &Parcel) -> Result<(), LedgerError> {
    for member in of_run(tx, run)? {
        outbox::put(tx, &member.surface, &member.chat, parcel)?;
    }
    Ok(())
}

/// A follower of a run of which there is still something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Following {
    /// The run.
    pub run: RunId,
    /// The rule that it was made by.
    pub rule: String,
    /// The follower.
    pub member: Member,
}

/// The followers of runs that go on, or of which they are still to be told something.
pub fn following(tx: &Tx<'_>) -> Result<Vec<Following>, LedgerError> {
    let mut statement = tx.sql.prepare_cached(
        "SELECT runs.id, runs.rule, followers.surface, followers.chat FROM followers JOIN runs ON runs.id = run_id
         WHERE runs.state = 'active' OR EXISTS (
           SELECT 1 FROM outbox WHERE outbox.run_id = runs.id AND delivered_at IS NULL
             AND outbox.surface = followers.surface AND outbox.chat = followers.chat)
         ORDER BY runs.id, followers.surface, followers.chat",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Following { run: RunId(row.get(0)?), rule: row.get(1)?, member: member(row)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Takes a follower away: it is told nothing more of the run, and nothing of it is decided there.
pub fn leave(tx: &Tx<'_>, run: RunId, follower: &Member, reason: &str) -> Result<(), LedgerError> {
    let Member { surface, chat } = follower;
    let params = rusqlite::params![run.0, surface, chat];
    let sql = "DELETE FROM followers WHERE run_id = ?1 AND surface = ?2 AND chat = ?3";
    if tx.sql.prepare_cached(sql)?.execute(params)? == 0 {
        return Ok(());
    }
    let sql = "DELETE FROM outbox WHERE run_id = ?1 AND surface = ?2 AND chat = ?3 AND delivered_at IS NULL";
    tx.sql.prepare_cached(sql)?.execute(params)?;
    tracing::warn!(%run, surface, chat, reason, "a chat follows a run no longer");
    let detail = json!({ "surface": surface, "chat": chat, "reason": reason });
    let (kind, actor) = ("follower_left".to_owned(), audit::host());
    audit::append(tx, Entry { at: 0, kind, run: Some(run), index: None, actor, digest: None, detail })
}

/// Takes the followers of a run away that are not among `kept`.
pub fn keep(tx: &Tx<'_>, run: RunId, kept: &[Member], reason: &str) -> Result<(), LedgerError> {
    for follower in of_run(tx, run)?.iter().skip(1).filter(|follower| !kept.contains(follower)) {
        leave(tx, run, follower, reason)?;
    }
    Ok(())
}

/// A chat is another now: those that followed runs as `from` follow them as `to`, unless that one may not be told because it is
/// `refused`, and once where it did so already. The chat that a run was asked for in stays what it was.
pub fn move_followers(
    tx: &Tx<'_>,
    from: &Member,
    to: &Member,
    refused: Option<&str>,
) -> Result<(), LedgerError> {
    for Following { run, member, .. } in following(tx)?.into_iter().filter(|it| it.member == *from) {
        let reason = match refused {
            Some(reason) => reason,
            None if has(tx, run, (&to.surface, &to.chat))? => "it is told as another chat already",
            None => {
                let sql = "UPDATE followers SET chat = ?4 WHERE run_id = ?1 AND surface = ?2 AND chat = ?3";
                let params = rusqlite::params![run.0, member.surface, member.chat, to.chat];
                tx.sql.prepare_cached(sql)?.execute(params)?;
                continue;
            }
        };
        leave(tx, run, &member, reason)?;
    }
    Ok(())
}
