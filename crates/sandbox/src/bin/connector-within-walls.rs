//! The launcher alone, as the host contains it. Its one built-in connector is `walls`, which tells
//! which of them hold and waits for the end of its input.

use std::io::Read as _;
use std::process::ExitCode;

use connector_sandbox::launch::within;

#[expect(clippy::print_stdout, reason = "the answer")]
fn main() -> ExitCode {
    let within = match within(std::env::args_os()) {
        Ok(Some(within)) if within.name == "walls" => within,
        Ok(_) => return ExitCode::from(2),
        Err(code) => return code,
    };
    println!("{}", within.held);
    let ended = std::io::stdin().read_to_end(&mut Vec::new());
    ended.map_or(ExitCode::FAILURE, |_| ExitCode::SUCCESS)
}
