//! What Springtale writes and the grammar here does not: what it means, or what to write instead.

use toml::Spanned;
use toml::de::DeValue;

use super::Sink;
use super::table::{Item, Keys};
use crate::diagnostic::Code;

/// How deep a `Chain` may stand in another.
const MAX_CHAIN_DEPTH: usize = 4;

/// What to use in place of a trigger that is not here.
pub(super) fn instead_of_trigger(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "SystemEvent" => {
            "no start and no stop fires a rule; use `Cron`, or let the service call `connector-host send` \
             in an `ExecStartPost=`"
        }
        _ => return None,
    })
}

/// What to use in place of a step that is not here.
pub(super) fn instead_of_action(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "RunShell" | "WriteFile" => {
            "only a connector's action can do that: ask an agent to, with `RunConnector`"
        }
        "AiComplete" => {
            "no step speaks to a model by itself; ask an agent, with `RunConnector` and the action \
             `run_task`, and refer to its `output.reply`"
        }
        "Extract" => {
            "refer to the field itself, as in `${step1.output.title}`; what a connector gives as one text \
             has no fields"
        }
        "Transform" => "use the filters of a reference, as in `${trigger.text | trim}`",
        _ => return None,
    })
}

/// What to use in place of a word at which a reference starts.
pub(super) fn instead_of_root(word: &str) -> Option<&'static str> {
    Some(match word {
        "last_ai_output" => "ask an agent in a step of its own, and refer to it: `${step1.output.reply}`",
        "last_extract_output" | "last_shell_output" | "last_dedupe_output" => {
            "there is no step that gives this; refer to a step's output, as in `${step1.output.title}`"
        }
        "input" | "memory" => "what a recipe was filled in with is written out in the rule",
        _ => return None,
    })
}

/// The steps of a list, with those of each `Chain` in its place; `None` when a `Chain` has a mistake.
pub(super) fn flatten<'t>(items: &'t [Spanned<DeValue<'t>>], sink: &Sink<'_>) -> Option<Vec<Item<'t>>> {
    let mut flat = Vec::new();
    flatten_into(&mut flat, items.iter(), sink, 0)?;
    Some(flat)
}

fn flatten_into<'t>(
    flat: &mut Vec<Item<'t>>,
    items: impl Iterator<Item = Item<'t>>,
    sink: &Sink<'_>,
    depth: usize,
) -> Option<()> {
    let mut fine = Some(());
    for item in items {
        if !is_chain(item) {
            flat.push(item);
        } else if read_chain(flat, item, sink, depth + 1).is_none() {
            fine = None;
        }
    }
    fine
}

fn read_chain<'t>(flat: &mut Vec<Item<'t>>, item: Item<'t>, sink: &Sink<'_>, depth: usize) -> Option<()> {
    let mut keys = Keys::of(item, "a `Chain`", sink)?;
    let kind = keys.required_text("type")?;
    let steps = keys.list("steps");
    if steps.is_none() {
        keys.missing("steps");
    }
    keys.finish();
    let steps = steps?;
    if depth > MAX_CHAIN_DEPTH || steps.is_empty() {
        let message = match depth {
            0..=MAX_CHAIN_DEPTH => "a `Chain` has at least one step".to_owned(),
            _ => format!("chains nest at most {MAX_CHAIN_DEPTH} deep"),
        };
        let help = "write its steps as `[[actions]]`, one after another";
        sink.error_with(Code::InvalidValue, kind.span, message, help);
        return None;
    }
    sink.alias(kind.span, "Chain", "its steps as `[[actions]]`, one after another");
    flatten_into(flat, steps.into_iter(), sink, depth)
}

/// The same without a word about mistakes, which are told where the steps are read.
pub(super) fn unchained<'t>(items: &'t [Spanned<DeValue<'t>>]) -> Vec<Item<'t>> {
    fn into<'t>(flat: &mut Vec<Item<'t>>, items: &'t [Spanned<DeValue<'t>>], depth: usize) {
        for item in items {
            let steps = item.get_ref().get("steps").and_then(|steps| steps.get_ref().as_array());
            match steps.filter(|_| is_chain(item) && depth <= MAX_CHAIN_DEPTH) {
                Some(steps) => into(flat, steps, depth + 1),
                None => flat.push(item),
            }
        }
    }
    let mut flat = Vec::new();
    into(&mut flat, items, 0);
    flat
}

fn is_chain(item: Item<'_>) -> bool {
    word(item, "type") == Some("Chain")
}

/// The text under `key`, if there is one.
pub(super) fn word<'t>(item: Item<'t>, key: &str) -> Option<&'t str> {
    item.get_ref().get(key)?.get_ref().as_str()
}

/// The step at place `wanted` of a list that was read without a mistake, counted from 0 and
/// through every `Chain`.
pub(crate) fn step_at<'t>(items: &'t [Spanned<DeValue<'t>>], wanted: usize) -> Option<Item<'t>> {
    fn walk<'t>(items: &'t [Spanned<DeValue<'t>>], left: &mut usize) -> Option<Item<'t>> {
        for item in items {
            if is_chain(item) {
                let steps = item.get_ref().get("steps").and_then(|steps| steps.get_ref().as_array());
                if let Some(found) = steps.and_then(|steps| walk(steps, left)) {
                    return Some(found);
                }
            } else if *left == 0 {
                return Some(item);
            } else {
                *left -= 1;
            }
        }
        None
    }
    let mut left = wanted;
    walk(items, &mut left)
}
