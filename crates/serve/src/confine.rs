//! The walls around this process, for when nobody else put any up.

use connector_sandbox::{Body, Limits, Walls};

use crate::Failure;
use crate::arguments;

/// Confines this process to its open descriptors and TCP to `port`. To be called
/// while it has one thread, and before anything is read from a client.
/// With `takes_connections`, those at the sockets that it listens at by now.
pub(crate) fn put_up(walls: arguments::Walls, port: u16, takes_connections: bool) -> Result<(), Failure> {
    if walls == arguments::Walls::Off {
        tracing::warn!("no walls around this process: only its own client keeps it to the daemon's origin");
        return Ok(());
    }
    // A log or an output that is a file is written on; another cannot be opened.
    let descriptors = if takes_connections { 512 } else { Limits::default().descriptors };
    let limits = Limits { file: u64::MAX, descriptors, ..Limits::default() };
    // Standard input and output are read and written by threads.
    let body = if takes_connections { Body::Server } else { Body::Threads };
    let around = Walls { body, limits, ..Walls::around_rest([port]) };
    let held = around
        .put_up()
        .map_err(|error| Failure::Failed(format!("walls: {}", connector_contract::chain(&error))))?;
    if held.is_whole() {
        tracing::info!(port, "walls are up");
        return Ok(());
    }
    if walls == arguments::Walls::Require {
        return Err(Failure::Failed(format!("walls are required, and not all of them hold; {held}")));
    }
    tracing::warn!(port, %held, "walls are up, not all of them");
    Ok(())
}
