//! The host's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A daemon's way into its walls leads through this binary, before any thread is started.
    if let Some(code) = opencode_daemons::relaunch(std::env::args_os()) {
        return code;
    }
    // So does a connector's process, which goes on to serve that connector.
    match connector_sandbox::launch::within(std::env::args_os()) {
        Ok(None) => connector_host::cli::main(),
        Ok(Some(within)) => connector_host::isolation::serve(&within),
        Err(code) => code,
    }
}
