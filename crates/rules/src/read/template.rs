//! Templates and fields, checked against what a rule can see where they stand.

use super::table::{Located, in_words, suggest};
use super::{Sink, springtale};
use crate::diagnostic::Code;
use crate::file_watch::FILE_WATCH_FIELDS;
use crate::path::{Path, PathError, Root, StepRef};
use crate::rule::Trigger;
use crate::schedule::SCHEDULE_FIELDS;
use crate::source::Span;
use crate::template::{Filter, ParseError, ParseErrorKind, Template, parse};
use crate::webhook::WEBHOOK_FIELDS;

/// What a reference may reach at some place of a rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visible<'a> {
    /// Whether there is a run yet.
    pub(super) run: bool,
    /// What fires the rule, if that could be read.
    pub(super) trigger: Option<&'a Trigger>,
    /// The names of the rule's steps, in order.
    pub(super) steps: &'a [Option<String>],
    /// Which of them run an action of a connector.
    pub(super) connectors: &'a [bool],
    /// How many of them can have run.
    pub(super) earlier: usize,
    /// The place of the step whose failure is being seen to, counted from 0.
    pub(super) failed: Option<usize>,
    /// Named steps of the same `on_error` that can have run.
    pub(super) handlers: &'a [String],
    /// Whether one of the steps of the same `on_error` before this one runs an action of a connector.
    pub(super) handled: bool,
}

impl Visible<'_> {
    /// `path` in our words, with a word of Springtale's noted.
    fn ours(&self, path: Path, place: impl FnOnce() -> Span, sink: &Sink<'_>) -> Option<Path> {
        if !matches!(path.root, Root::Theirs(_)) {
            return Some(path);
        }
        let (written, place) = (path.to_string(), place());
        if self.handled {
            let message =
                format!("`{written}` would be that of a step of this `on_error`, which has no place");
            let help = "give that step a `name`, and refer to it, as in `${step.NAME.output}`";
            sink.error_with(Code::UnresolvableReference, place, message, help);
            return None;
        }
        let Some(path) = path.ours(self.last_connector()) else {
            let message =
                format!("`{written}` has no value: no step before this one runs a connector's action");
            let help =
                "write a `RunConnector` step before it, or refer to what is there, as in `${trigger.text}`";
            sink.error_with(Code::UnresolvableReference, place, message, help);
            return None;
        };
        sink.alias(place, &written, &format!("`{path}`"));
        Some(path)
    }

    /// The place, counted from 1, of the last step that can have run a connector's action.
    fn last_connector(&self) -> Option<usize> {
        let ran = |index: &usize| self.connectors.get(*index) == Some(&true) && self.failed != Some(*index);
        (0..self.earlier).rev().find(ran).map(|index| index + 1)
    }

    /// Why `path` can never have a value here, and what to do.
    fn refuses(&self, path: &Path) -> Option<(String, Option<String>)> {
        match &path.root {
            Root::Run if !self.run => {
                Some((format!("`{path}` does not exist before the rule has fired"), None))
            }
            Root::Step(_) if !self.run => Some((
                format!("`{path}` does not exist before the rule has fired"),
                Some("put the condition into the `when` of a later step".to_owned()),
            )),
            Root::Step(step) => self.refuses_step(path, step),
            Root::Trigger => match self.trigger {
                Some(Trigger::Cron(_)) => refuses_unknown(path, "a schedule's event", &SCHEDULE_FIELDS),
                Some(Trigger::FileWatch(_)) => {
                    refuses_unknown(path, "a changed file's event", &FILE_WATCH_FIELDS)
                }
                Some(Trigger::Webhook { .. }) => refuses_of_webhook(path),
                Some(Trigger::ConnectorEvent { .. }) | None => refuses_reply(path),
            },
            _ => None,
        }
    }

    fn refuses_step(&self, path: &Path, step: &StepRef) -> Option<(String, Option<String>)> {
        let root = &path.root;
        let index = match step {
            StepRef::Number(number) if *number > self.steps.len() => {
                let count = self.steps.len();
                let plural = if count == 1 { "" } else { "s" };
                let message = format!("there is no `{root}`: the rule has {count} step{plural}");
                return Some((message, None));
            }
            StepRef::Number(number) => number - 1,
            StepRef::Name(name) if self.handlers.contains(name) => return None,
            StepRef::Name(name) => {
                let known = || self.steps.iter().flatten().map(String::as_str);
                let place = self.steps.iter().position(|one| one.as_ref() == Some(name));
                let Some(index) = place else {
                    let names: Vec<_> = known().collect();
                    let help = suggest(name, known()).or_else(|| {
                        (!names.is_empty()).then(|| format!("its steps are {}", in_words(&names)))
                    });
                    return Some((format!("no step of this rule is named `{name}`"), help));
                };
                index
            }
        };
        if self.failed == Some(index) && path.keys.first().is_some_and(|key| key == "output") {
            let message = format!("`{root}` has failed when this runs, and has no output");
            let help = format!("it has `{root}.error`");
            return Some((message, Some(help)));
        }
        (index >= self.earlier).then(|| {
            let message = if index == self.earlier {
                format!("`{root}` is this step itself")
            } else {
                format!("`{root}` comes after this step")
            };
            let help = "a step sees the outcomes of the steps before it".to_owned();
            (message, Some(help))
        })
    }
}

/// The fields of an event that the host makes are known; of those, `files` alone has more below it.
fn refuses_unknown(path: &Path, event: &str, fields: &[&str]) -> Option<(String, Option<String>)> {
    let (first, below) = path.keys.split_first()?;
    let known = fields.contains(&first.as_str()) && (below.is_empty() || first == "files");
    (!known).then(|| (format!("{event} has no `{path}`"), Some(format!("it has {}", in_words(fields)))))
}

/// A webhook answers no message of ours; the rest is the sender's, but for what is under `webhook`.
fn refuses_of_webhook(path: &Path) -> Option<(String, Option<String>)> {
    match &path.keys[..] {
        [first, ..] if first == "reply" => {
            let help = "refer to what the body says, as in `${trigger.action}`".to_owned();
            Some((format!("a webhook answers no message, so it has no `{path}`"), Some(help)))
        }
        [first, second, rest @ ..] if first == "webhook" => {
            let known = WEBHOOK_FIELDS.contains(&second.as_str()) && (rest.is_empty() || second == "headers");
            (!known).then(|| {
                let help = format!("it has {}", in_words(&WEBHOOK_FIELDS));
                (format!("`trigger.webhook` has no `{}`", path.keys[1..].join(".")), Some(help))
            })
        }
        _ => None,
    }
}

/// The fields of `trigger.reply` are ours and known.
fn refuses_reply(path: &Path) -> Option<(String, Option<String>)> {
    let [first, rest @ ..] = &path.keys[..] else {
        return None;
    };
    let fields = ["session_id", "run_id", "workspace", "branch", "base", "commit"];
    let fits = match rest {
        [] => true,
        [field] => fields.contains(&field.as_str()),
        _ => false,
    };
    (first == "reply" && !fits).then(|| {
        let help = format!("it has {}", in_words(&fields));
        (format!("a reply has no `{}`", rest.join(".")), Some(help))
    })
}

/// Reads a template.
pub(super) fn read(text: Located<String>, visible: &Visible<'_>, sink: &Sink<'_>) -> Option<Template> {
    let Located { value, span } = text;
    let (mut template, ranges) = match parse(&value) {
        Ok(parsed) => parsed,
        Err(error) => {
            report(&error, &value, &span, sink);
            return None;
        }
    };
    let mut fits = true;
    for (reference, range) in template.references_mut().zip(ranges) {
        let place = || locate(&value, range.clone(), &span, sink);
        let Some(path) = visible.ours(reference.path.clone(), place, sink) else {
            fits = false;
            continue;
        };
        reference.path = path;
        if let Some((message, help)) = visible.refuses(&reference.path) {
            let place = locate(&value, range, &span, sink);
            sink.report(crate::Severity::Error, Code::UnresolvableReference, place, message, |bare| {
                bare.maybe_help(help)
            });
            fits = false;
        }
    }
    fits.then_some(template)
}

/// Reads the field of a condition.
pub(super) fn read_field(text: Located<String>, visible: &Visible<'_>, sink: &Sink<'_>) -> Option<Path> {
    let Located { value, span } = text;
    if value.contains("${") {
        let message = "a field is a reference without `${` and `}`";
        sink.error(Code::InvalidValue, span, message);
        return None;
    }
    let (path, relative) = match Path::parse_field(&value) {
        Ok(parsed) => parsed,
        Err(error) => {
            sink.error(path_code(&error), span, error.to_string());
            return None;
        }
    };
    let path = visible.ours(path, || span.clone(), sink)?;
    if let Some((message, help)) = visible.refuses(&path) {
        sink.report(crate::Severity::Error, Code::UnresolvableReference, span, message, |bare| {
            bare.maybe_help(help)
        });
        return None;
    }
    if relative {
        sink.alias(span, &value, &format!("`{path}`"));
    }
    Some(path)
}

fn report(error: &ParseError, value: &str, span: &Span, sink: &Sink<'_>) {
    let place = locate(value, error.range.clone(), span, sink);
    let help = match &error.kind {
        ParseErrorKind::Unclosed => Some("end it with `}`; a literal `${` is `$${`".to_owned()),
        ParseErrorKind::Path(PathError::Root(word)) => {
            let roots = ["trigger", "event", "run", "rule", "now", "step1", "step"];
            let known = "references start at `trigger`, `event`, `run`, `rule`, `now`, `step1` or \
                         `step.NAME`; a literal `${` is `$${`";
            let instead = springtale::instead_of_root(word).map(str::to_owned);
            Some(instead.or_else(|| suggest(word, roots.into_iter())).unwrap_or_else(|| known.to_owned()))
        }
        ParseErrorKind::Filter(word) => Some(
            suggest(word, Filter::NAMES.into_iter())
                .unwrap_or_else(|| format!("the filters are {}", in_words(&Filter::NAMES))),
        ),
        ParseErrorKind::Argument(filter) => Some(format!("write `{filter}(\"…\")`")),
        _ => None,
    };
    let code = match &error.kind {
        ParseErrorKind::Path(error) => path_code(error),
        _ => Code::Template,
    };
    sink.report(crate::Severity::Error, code, place, error.kind.to_string(), |bare| bare.maybe_help(help));
}

fn path_code(error: &PathError) -> Code {
    match error {
        PathError::Root(_) | PathError::Key { .. } => Code::UnresolvableReference,
        _ => Code::Template,
    }
}

/// The place in the file of a range of a text that stands there in quotes.
///
/// Exact where the file has the range's text as it is; with escapes in it, the whole text.
fn locate(value: &str, range: std::ops::Range<usize>, span: &Span, sink: &Sink<'_>) -> Span {
    let Some(raw) = sink.source.text.get(span.clone()) else {
        return span.clone();
    };
    let wanted = &value[range.clone()];
    let before = value[..range.start].matches(wanted).count();
    match raw.match_indices(wanted).nth(before) {
        Some((at, _)) if !wanted.is_empty() => {
            let start = span.start + at;
            start..start + wanted.len()
        }
        _ => span.clone(),
    }
}
