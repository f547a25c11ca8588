//! The view of a result: how a step ended, and what remains of it.

use connector_gate::ids::StepId;
use connector_gate::state::StepState;

use super::Verbatim;

/// The end of a step, or where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultView {
    /// The step.
    pub id: StepId,
    /// How it ended.
    pub state: StepState,
    /// The same in words, with the step's id.
    pub title: String,
    /// How long it took and what it cost, to stand right after the title; empty where nothing is known.
    pub figures: String,
    /// Why, where that needs words; it may be long, and have line breaks.
    pub reason: Option<String>,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// What the agent said, in Markdown.
    pub reply: Option<Verbatim>,
    /// What is to be known of the reply, such as that there is none.
    pub remark: Option<String>,
    /// What changed; nothing where a step changes no files.
    pub changes: Option<Changes>,
    /// Where its changes are, if on a branch of their own.
    pub branch: Option<Branch>,
    /// What the walls refused it, a line each.
    pub refused: Option<String>,
    /// The session, to go on with.
    pub session: Option<String>,
    /// Its changes as a unified diff.
    pub patch: Option<Verbatim>,
    /// The card's own secret, for surfaces whose buttons carry one.
    pub token: String,
}

/// The files that a step changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Those that the output names.
    pub files: Vec<ChangedFile>,
    /// How many more there are.
    pub left_out: u64,
    /// What is said where there is none: whether that is known.
    pub none: &'static str,
}

/// A file that a step changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedFile {
    /// `added`, `modified` or `deleted`; empty where that is not known.
    pub status: String,
    /// Its path.
    pub path: String,
    /// How many lines were added and deleted; nothing of a file without lines, or whose lines nobody
    /// counted.
    pub lines: Option<(u64, u64)>,
}

/// A branch with what a step changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Its name.
    pub name: String,
    /// The command that brings it in.
    pub apply: String,
    /// Whether a chat can say what becomes of it: its commits are known, and so is the session.
    pub has_choices: bool,
}
