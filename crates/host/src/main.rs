//! The host's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A daemon's way into its walls leads through this binary, before any thread is started.
    if let Some(code) = opencode_daemons::confine::relaunch(std::env::args_os()) {
        return code;
    }
    connector_host::cli::main()
}
