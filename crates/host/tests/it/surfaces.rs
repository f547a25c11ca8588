//! Surfaces of one engine: what one of them does, the others and the host do not suffer from.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use connector_engine::Engine;
use connector_gate::clock::Clock;
use connector_host::assemble::{self, Parts};
use connector_surface::{DeliveryError, Inbox, Surface, SurfaceError, View};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::database;

const GRACE: Duration = Duration::from_secs(5);

/// What a surface does when it is run or finished.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Does {
    /// What it should.
    Well,
    Fails,
    BreaksDown,
    GoesOn,
}

struct Odd {
    name: &'static str,
    does: Does,
    /// Held as long as it is at work.
    work: Arc<tokio::sync::Mutex<()>>,
}

impl Odd {
    fn new(name: &'static str, does: Does) -> Arc<Self> {
        Arc::new(Self { name, does, work: Arc::default() })
    }

    async fn work(&self, well: impl Future<Output = ()>) -> Result<(), SurfaceError> {
        let _at_work = self.work.lock().await;
        match self.does {
            Does::Well => well.await,
            Does::Fails => return Err(SurfaceError { reason: "it has no token".to_owned() }),
            Does::BreaksDown => panic!("it breaks down, as it is meant to"),
            Does::GoesOn => std::future::pending().await,
        }
        Ok(())
    }

    fn is_at_work(&self) -> bool {
        self.work.try_lock().is_err()
    }
}

#[async_trait]
impl Surface for Odd {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn run(&self, _inbox: Inbox, stop: CancellationToken) -> Result<(), SurfaceError> {
        self.work(stop.cancelled()).await
    }

    async fn finish(&self) {
        self.work(async {}).await.unwrap();
    }

    async fn deliver(&self, _chat: &str, _number: i64, _notice: View) -> Result<String, DeliveryError> {
        Ok(String::new())
    }
}

/// What was told of surfaces that failed.
type Told = Arc<Mutex<Vec<String>>>;

fn telling(told: &Told) -> impl Fn(&str, &SurfaceError) + use<> {
    let told = Arc::clone(told);
    move |name, error| told.lock().unwrap().push(format!("{name}: {error}"))
}

fn engine(state: &Path, surfaces: [&Arc<Odd>; 2]) -> Engine {
    let surfaces = surfaces.map(|surface| Arc::clone(surface) as Arc<dyn Surface>).into();
    assemble::engine(state, Clock::System, Parts { surfaces, ..Parts::default() }).unwrap()
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waited = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_mins(1), waited).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test(start_paused = true)]
async fn a_surface_that_fails_is_told_of_by_name_and_the_other_goes_on_until_the_stop() {
    for (does, reason) in [
        (Does::Fails, "it has no token"),
        (Does::BreaksDown, "it breaks down, as it is meant to"),
        (Does::GoesOn, "it did not stop in time"),
    ] {
        let state = tempfile::tempdir().unwrap();
        let (well, odd) = (Odd::new("well", Does::Well), Odd::new("odd", does));
        let (engine, told, stop) =
            (engine(state.path(), [&well, &odd]), Told::default(), CancellationToken::new());
        let passes = tokio::spawn({
            let engine = engine.clone();
            async move { engine.run().await }
        });
        let running = tokio::spawn({
            let (engine, stop, failed) = (engine.clone(), stop.clone(), telling(&told));
            async move { engine.run_surfaces((&stop, GRACE), failed).await }
        });
        if does == Does::GoesOn {
            until("it is run", || odd.is_at_work()).await;
        } else {
            until("it is told of", || !told.lock().unwrap().is_empty()).await;
        }
        assert!(well.is_at_work(), "{does:?}");
        stop.cancel();
        running.await.unwrap();
        assert!(!well.is_at_work(), "{does:?}");
        until("nothing of it goes on", || !odd.is_at_work()).await;
        engine.stop(GRACE).await;
        passes.await.unwrap().unwrap();
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("odd: ") && told[0].contains(reason), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_surface_that_does_not_finish_is_told_of_by_name_and_holds_nobody_up() {
    for (does, reason) in
        [(Does::BreaksDown, "it breaks down, as it is meant to"), (Does::GoesOn, "it did not stop in time")]
    {
        let state = tempfile::tempdir().unwrap();
        let (well, odd) = (Odd::new("well", Does::Well), Odd::new("odd", does));
        let told = Told::default();
        engine(state.path(), [&well, &odd]).finish_surfaces(GRACE, telling(&told)).await;
        until("nothing of it goes on", || !odd.is_at_work()).await;
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("odd: ") && told[0].contains(reason), "{told:?}");
    }
}

#[tokio::test]
async fn a_host_whose_ledger_cannot_be_used_ends_by_itself() {
    let state = tempfile::tempdir().unwrap();
    let (one, other) = (Odd::new("one", Does::Well), Odd::new("other", Does::Well));
    let (engine, told) = (engine(state.path(), [&one, &other]), Told::default());
    database::edit(engine.ledger().path(), "DROP TABLE outbox");
    let never = CancellationToken::new();
    let served = timeout(Duration::from_mins(1), engine.serve((&never, GRACE), telling(&told))).await;
    let error = served.expect("it ends").unwrap_err();
    assert_eq!(error.to_string(), "the ledger failed");
    assert!(!one.is_at_work() && !other.is_at_work());
    assert_eq!(*told.lock().unwrap(), [""; 0]);
}

#[tokio::test]
async fn what_a_surface_reports_is_stored_in_its_own_name() {
    let state = tempfile::tempdir().unwrap();
    let engine = assemble::engine(state.path(), Clock::System, Parts::default()).unwrap();
    let lines = engine.inbox("lines");
    assert!(lines.message(("main", "me"), "1", "/note  buy milk ").await.unwrap());
    assert!(!lines.message(("main", "me"), "1", "/note  buy milk ").await.unwrap(), "it was there");
    let stored = "SELECT concat_ws('|', surface, connector, requester, payload ->> 'command', payload ->> 'args') FROM events";
    let stored: String = database::value(engine.ledger().path(), stored);
    assert_eq!(stored, "lines|lines|lines:me|note|buy milk");
}
