//! The fake daemon as a process of its own, for tests that kill the host.
//!
//! `fake-opencode --port-file FILE [--generation 1|2] [--fixture NAME] [--pace-ms N] [--password P]`:
//! writes its port into FILE once it listens, and ends when its standard input does.
//! `GET /fake/tasks` says how many distinct tasks it was asked to run.
//!
//! With `--says VERSION` it says it is that version, of that version's generation, and goes on as
//! opencode's own command line does: `--version`, or `serve --port N` with the password in
//! the variable that the version reads, until it is ended.

use std::time::Duration;

use testkit::fake::{Fake, Faults, Fixture, Generation};
use tokio::io::AsyncReadExt as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut faults = Faults::default();
    let (mut port_file, mut fixture) = (None, "text".to_owned());
    let mut generation = Generation::V1;
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} wants a value"))?;
        match flag.as_str() {
            "--says" => return opencode(value, args).await,
            "--port-file" => port_file = Some(value),
            "--fixture" => fixture = value,
            "--generation" if value == "1" => generation = Generation::V1,
            "--generation" if value == "2" => generation = Generation::V2,
            "--pace-ms" => faults.pace = Duration::from_millis(value.parse()?),
            "--password" => faults.password = Some(value),
            other => return Err(format!("unknown flag {other}").into()),
        }
    }
    let port_file = port_file.ok_or("--port-file is missing")?;
    let fake = Fake::start(Fixture::of(generation, &fixture), faults).await?;
    let url = fake.base_url();
    let port = url.rsplit(':').next().unwrap_or_default();
    // Renamed into place: whoever waits for the file finds it whole.
    let partial = format!("{port_file}.partial");
    std::fs::write(&partial, port)?;
    std::fs::rename(&partial, &port_file)?;
    let mut rest = Vec::new();
    tokio::io::stdin().read_to_end(&mut rest).await?;
    Ok(())
}

/// Does as the command line of opencode `version` would.
async fn opencode(
    version: String,
    mut args: impl Iterator<Item = String>,
) -> Result<(), Box<dyn std::error::Error>> {
    let (generation, variable) = match version.as_str() {
        it if it.starts_with("1.") => (Generation::V1, "OPENCODE_SERVER_PASSWORD"),
        _ => (Generation::V2, "OPENCODE_PASSWORD"),
    };
    if args.next().as_deref() != Some("serve") {
        #[expect(clippy::print_stdout, reason = "it is asked for its version")]
        {
            println!("{version}");
        }
        return Ok(());
    }
    let port = args.skip_while(|arg| arg != "--port").nth(1).ok_or("--port is missing")?.parse()?;
    #[expect(clippy::disallowed_methods, reason = "opencode reads its password there")]
    let password = std::env::var(variable).ok();
    let faults = Faults { version: Some(version), password, ..Faults::default() };
    let _fake = Fake::start_on(port, Fixture::of(generation, "text"), faults).await?;
    std::future::pending().await
}
