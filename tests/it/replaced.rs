//! A daemon that another took the place of: on one origin, of either generation.

use std::time::Duration;

use connector_contract::ConnectorError;
use serde_json::json;
use testkit::fake::{Fake, Faults, Fixture, Generation};
use tokio::time::Instant;

use crate::support::Bench;

/// Starts one on `port`, once whoever had it is gone, or on any.
async fn start(port: u16, generation: Generation) -> Fake {
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        match Fake::start_on(port, Fixture::of(generation, "text"), Faults::default()).await {
            Ok(fake) => return fake,
            Err(error) if Instant::now() > limit => panic!("port {port}: {error}"),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

fn port(fake: &Fake) -> u16 {
    fake.base_url().rsplit(':').next().unwrap().parse().unwrap()
}

async fn bench(fake: &Fake) -> Bench {
    Bench::new(&fake.base_url(), json!({ "password": Generation::V2.password(), "directory": "/code/app" }))
        .await
}

#[tokio::test]
async fn each_turn_speaks_to_the_daemon_that_is_there() {
    let mut fake = start(0, Generation::V1).await;
    let (port, bench) = (port(&fake), bench(&fake).await);
    for generation in [Generation::V1, Generation::V2, Generation::V2, Generation::V1] {
        if fake.generation() != generation {
            drop(fake);
            fake = start(port, generation).await;
        }
        let result = bench.run("go").await.unwrap();
        assert_eq!(result.output["reply"], "Done: hello", "{generation:?}");
        let note = bench.notes.last().unwrap();
        assert_eq!(note.0["wire"], generation.wire());
    }
}

#[tokio::test]
async fn who_is_known_is_asked_alone() {
    for generation in Generation::ALL {
        let fake = start(0, generation).await;
        let bench = bench(&fake).await;
        bench.run("go").await.unwrap();
        let before = fake.requests().len();
        bench.run("go on").await.unwrap();
        let again = &fake.requests()[before..];
        let asked = again.iter().filter(|it| it.contains("/health") || it.contains("/api/info")).count();
        assert_eq!(asked, 1, "{again:?}");
    }
}

#[tokio::test]
async fn a_turn_of_the_other_generation_is_not_guessed_at() {
    for (before, after) in [(Generation::V1, Generation::V2), (Generation::V2, Generation::V1)] {
        let fake = start(0, before).await;
        let (port, mut bench) = (port(&fake), bench(&fake).await);
        bench.run("go").await.unwrap();
        drop(fake);
        let fake = start(port, after).await;
        bench.resume = bench.notes.last();
        let error = bench.run("go").await.unwrap_err();
        let ConnectorError::OutcomeUnknown { reason, reference } = error else { panic!("{error}") };
        assert!(reason.contains("1.x") && reason.contains("2.x"), "{reason}");
        assert!(reference.session_id.is_some());
        assert_eq!(fake.tasks(), 0);
        let asked = fake.requests();
        assert!(!asked.iter().any(|it| it.starts_with("POST")), "{asked:?}");
    }
}
