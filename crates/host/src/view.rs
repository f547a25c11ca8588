//! Views made of rows.
//!
//! What a [view](connector_surface::view) says is decided here once, from a row alone. Nothing but this reads the keys of a
//! step's input, target and output for a surface.

mod card;
mod figures;
mod refused;
mod result;

use serde_json::Value;

pub use card::{card, prompt_line};
pub use result::result;

/// A value as people read it: a text without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests;
