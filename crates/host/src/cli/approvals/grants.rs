//! `approvals grants` and `approvals revoke`: what holds for a session.

use std::str::FromStr;

use connector_gate::clock::rfc3339;
use connector_gate::people::named;
use connector_ledger::grants::{self, Grant};
use connector_ledger::steps::allow;
use connector_surface::text::{folded, one_line};
use serde_json::json;

use super::super::{Common, caller};
use crate::exit::{Exit, Failure};

/// How wide a line of what was shown may be, so that a terminal wraps none to its edge.
const COLUMNS: usize = 68;

/// What `approvals revoke` takes: an allowance's number, or a grant's after a `g`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Standing {
    /// "Allow for this session" on a card.
    Allowance(i64),
    /// The same, said to an ask.
    Grant(i64),
}

impl FromStr for Standing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let grant = text.strip_prefix('g');
        let number = grant.unwrap_or(text).parse::<i64>().ok().filter(|number| *number >= 0);
        let number = number.ok_or(
            "it is a number from `approvals list --allowed`, or one with a `g` from `approvals grants`",
        )?;
        Ok(if grant.is_some() { Self::Grant(number) } else { Self::Allowance(number) })
    }
}

/// Prints the grants that hold, with everything they reach.
pub(super) async fn list(common: &Common) -> Result<Exit, Failure> {
    let open = common.existing_ledger()?.read(grants::open).await?;
    common.print(&open, |open| {
        if open.is_empty() {
            return "nothing is granted".to_owned();
        }
        open.iter().map(whole).collect::<Vec<_>>().join("\n\n")
    })?;
    Ok(Exit::Done)
}

fn whole(grant: &Grant) -> String {
    let by = named(&grant.granted_by, grant.person.as_deref());
    let mut text = format!(
        "g{:<6} {}  {} in {}  allowed on {} by {}  until {}",
        grant.id,
        one_line(&grant.permission),
        one_line(&grant.session_id),
        grant.connector,
        grant.step,
        one_line(&by),
        rfc3339(grant.expires_at)
    );
    for part in &grant.parts {
        text.push_str(&format!("\n        {}:", one_line(&part.name)));
        for line in folded(&part.text, COLUMNS) {
            text.push_str(&format!("\n        │ {line}"));
        }
    }
    text.push_str(&format!("\n        take it back with: approvals revoke g{}", grant.id));
    text
}

/// Takes back what was allowed for a session.
pub(super) async fn revoke(common: &Common, standing: Standing) -> Result<Exit, Failure> {
    let by = caller();
    let ledger = common.existing_ledger()?;
    let (known, revoked) = ledger
        .write(move |tx| {
            Ok(match standing {
                Standing::Allowance(id) => (allow::get(tx, id)?.is_some(), allow::revoke(tx, id, &by)?),
                Standing::Grant(id) => (grants::get(tx, id)?.is_some(), grants::revoke(tx, id, &by)?),
            })
        })
        .await?;
    let (kind, name, list) = match standing {
        Standing::Allowance(id) => ("allowance", id.to_string(), "approvals list --allowed"),
        Standing::Grant(id) => ("grant", format!("g{id}"), "approvals grants"),
    };
    if !known {
        return Err(Failure::usage(format!("there is no {kind} {name}; see `{list}`")));
    }
    let answer = match standing {
        Standing::Allowance(id) => json!({ "allowance": id, "revoked": revoked }),
        Standing::Grant(id) => json!({ "grant": id, "revoked": revoked }),
    };
    common.print(&answer, |_| {
        if revoked {
            format!("{kind} {name} is revoked; what runs goes on, what comes next asks again")
        } else {
            format!("{kind} {name} does not hold any more anyway")
        }
    })?;
    Ok(if revoked { Exit::Done } else { Exit::Failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_an_allowance_and_one_after_a_g_a_grant() {
        for (text, standing) in [("3", Standing::Allowance(3)), ("g12", Standing::Grant(12))] {
            assert_eq!(text.parse::<Standing>().unwrap(), standing);
        }
        for text in ["", "g", "x3", "g-1", "-1", "gg3", "3g"] {
            assert!(text.parse::<Standing>().is_err(), "{text}");
        }
    }
}
