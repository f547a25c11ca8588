//! Views made of rows.
//!
//! What a [view](connector_surface::view) says is decided here once, from a row alone. Nothing but this reads the keys of a
//! step's input, target and output for a surface.

mod card;
mod figures;
mod refused;
mod result;
mod standing;

use connector_gate::clock::Millis;
use connector_gate::policy::Actor;
use connector_ledger::steps::StepRow;
use connector_surface::view::{CardView, ResultView, Standing};
use serde_json::Value;

use connector_engine::Views;

pub use card::card;
pub use result::result;
pub use standing::standing;

/// The views that an engine of this host shows.
pub(crate) struct ViewsOfHost;

impl Views for ViewsOfHost {
    fn card(&self, row: &StepRow, now: Millis) -> CardView {
        card(row, now)
    }

    fn result(&self, row: &StepRow) -> ResultView {
        result(row)
    }

    fn standing(&self, row: &StepRow, approved_by: &[Actor], now: Millis) -> Standing {
        standing(row, approved_by, now)
    }
}

/// A value as people read it: a text without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests;
