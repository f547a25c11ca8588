//! Prints `connector.toml` as the types make it:
//! `cargo run --example manifest > connector.toml.new && mv connector.toml.new connector.toml`

use std::io::Write as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = toml::to_string(&connector_opencode::schema::manifest())?;
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
