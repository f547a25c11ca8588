//! The fake daemon as a process of its own, for tests that kill the host.
//!
//! `fake-opencode --port-file FILE [--generation 1|2] [--fixture NAME] [--pace-ms N] [--password P]`:
//! writes its port into FILE once it listens, and ends when its standard input does.
//! `GET /fake/tasks` says how many distinct tasks it was asked to run.

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
