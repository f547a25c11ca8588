//! The plugin in a process of its own, with the times that its name has.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use connector_contract::Manifest;
use connector_opencode::{MANIFEST, OpencodeFactory, Timing};
use connector_sandbox::launch;

mod times;

fn main() -> ExitCode {
    let within = match launch::within(std::env::args_os()) {
        Ok(Some(within)) => within,
        Ok(None) => return ExitCode::FAILURE,
        Err(code) => return code,
    };
    let mut timing = Timing::default();
    for (time, word) in times::times(&mut timing).into_iter().zip(within.name.split(' ')) {
        let Ok(millis) = word.parse() else { return ExitCode::FAILURE };
        *time = Duration::from_millis(millis);
    }
    let Ok(manifest) = Manifest::parse(MANIFEST) else { return ExitCode::FAILURE };
    match connector_plugins::serve(manifest, Arc::new(OpencodeFactory { timing })) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
