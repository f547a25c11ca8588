//! The operations: a table that both the routes and the document are made of.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, get, post};
use connector_engine::transcript::Line;
use connector_gate::decision::Tapped;
use connector_ledger::asks::AskRow;
use connector_ledger::audit;
use connector_ledger::runs::RunRow;
use connector_ledger::steps::StepRow;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::problem::{Code, Problem};
use super::{Api, follow, read, write};
use crate::cli::events::Outcome;
use crate::cli::{approvals, runs};

/// The longest body of a request that is read.
const BODY: usize = 1 << 19;

/// How a type describes itself.
pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// One operation.
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// Its name for programs that are made from the document.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    /// The parameters behind the `?`, as the fields of a type.
    pub(super) query: Option<Shape>,
    pub(super) body: Option<Shape>,
    pub(super) answers: Vec<Answers>,
    routes: MethodRouter<Api>,
}

/// The methods there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
}

/// What a request is answered with when all is well.
#[derive(Clone, Copy)]
pub(super) struct Answers {
    pub(super) status: u16,
    pub(super) about: &'static str,
    pub(super) shape: Shape,
    /// Whether it is one of them a line, as long as the run goes on.
    pub(super) lines: bool,
}

impl Method {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
        }
    }
}

impl Operation {
    fn new(
        (method, path, id): (Method, &'static str, &'static str),
        summary: &'static str,
        routes: MethodRouter<Api>,
    ) -> Self {
        Self { method, path, id, summary, query: None, body: None, answers: Vec::new(), routes }
    }

    fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(T::json_schema);
        self
    }

    fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(SchemaGenerator::subschema_for::<T>);
        self
    }

    fn answers<T: JsonSchema>(mut self, status: u16, about: &'static str) -> Self {
        self.answers.push(Answers {
            status,
            about,
            shape: SchemaGenerator::subschema_for::<T>,
            lines: false,
        });
        self
    }

    fn lines<T: JsonSchema>(mut self, about: &'static str) -> Self {
        let shape: Shape = SchemaGenerator::subschema_for::<T>;
        self.answers.push(Answers { status: 200, about, shape, lines: true });
        self
    }
}

/// All of them, in the order of the document.
pub(super) fn all() -> Vec<Operation> {
    use Method::{Get, Post};
    vec![
        Operation::new((Get, "/v1/health", "health"), "That the host runs, and who asks", get(read::health))
            .answers::<read::Health>(200, "It runs."),
        Operation::new(
            (Get, "/v1/events", "listEvents"),
            "The latest events, newest first",
            get(read::events),
        )
        .query::<read::Latest>()
        .answers::<Vec<Outcome>>(200, "As `events list --json` prints them."),
        Operation::new((Post, "/v1/events", "submitEvent"), "Submit a message", post(write::submit))
            .body::<write::Message>()
            .answers::<Outcome>(201, "It is stored; rules look at it at once.")
            .answers::<Outcome>(200, "It was there before: what came of it."),
        Operation::new((Get, "/v1/events/{event}", "showEvent"), "What came of an event", get(read::event))
            .query::<read::Wait>()
            .answers::<Outcome>(200, "As `events show --json` prints it."),
        Operation::new((Get, "/v1/runs", "listRuns"), "The latest runs, newest first", get(read::runs))
            .query::<read::Latest>()
            .answers::<Vec<RunRow>>(200, "As `runs list --json` prints them."),
        Operation::new((Get, "/v1/runs/{run}", "showRun"), "A run, whole", get(read::run))
            .answers::<runs::Whole>(200, "As `runs show --json` prints it."),
        Operation::new(
            (Get, "/v1/runs/{run}/events", "followRun"),
            "What happens to a run, as it happens",
            get(follow::events),
        )
        .query::<follow::Follow>()
        .lines::<audit::Row>("One JSON object a line, as `runs follow --json` prints them."),
        Operation::new(
            (Get, "/v1/runs/{run}/transcript", "showTranscript"),
            "What the agents of a run said and did",
            get(read::transcript),
        )
        .answers::<Vec<Line>>(200, "As far as it is kept, in the order of time."),
        Operation::new((Post, "/v1/runs/{run}/cancel", "cancelRun"), "Stop a run", post(write::cancel))
            .answers::<write::Cancelled>(200, "What became of it."),
        Operation::new((Get, "/v1/approvals", "listCards"), "What waits for a decision", get(read::cards))
            .query::<read::Cards>()
            .answers::<Vec<StepRow>>(200, "As `approvals wait --json` prints them."),
        Operation::new((Get, "/v1/approvals/{step}", "showCard"), "A card, whole", get(read::card))
            .answers::<approvals::Whole>(200, "As `approvals show --json` prints it."),
        Operation::new(
            (Post, "/v1/approvals/{step}/decision", "decideCard"),
            "Decide about the card that was read",
            post(write::decision),
        )
        .body::<write::Deciding>()
        .answers::<Tapped>(200, "It counts."),
        Operation::new((Get, "/v1/asks", "listAsks"), "What agents ask now", get(read::open_asks))
            .query::<read::Asks>()
            .answers::<Vec<AskRow>>(200, "As `approvals asks --json` prints them."),
        Operation::new((Get, "/v1/asks/{ask}", "showAsk"), "An ask", get(read::ask))
            .answers::<AskRow>(200, "It, and its answer if it has one."),
        Operation::new((Post, "/v1/asks/{ask}/answer", "answerAsk"), "Answer an ask", post(write::answer))
            .body::<write::Answering>()
            .answers::<write::Taken>(200, "The agent is told."),
    ]
}

/// The routes of all of them.
pub(super) fn router(api: Api) -> Router {
    let routes = all()
        .into_iter()
        .fold(Router::new(), |router, operation| router.route(operation.path, operation.routes));
    routes
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(Code::MethodNotAllowed, "see the Allow header, and `connector-host api openapi`")
        })
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(api)
}
