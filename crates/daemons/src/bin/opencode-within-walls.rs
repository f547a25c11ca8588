//! The launcher alone, as the host contains it: confines itself and becomes the program named.

use std::process::ExitCode;

fn main() -> ExitCode {
    opencode_daemons::relaunch(std::env::args_os()).unwrap_or(ExitCode::from(2))
}
