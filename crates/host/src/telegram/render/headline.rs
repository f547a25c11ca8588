//! The end of a step: the headline that the card becomes, and what answers it.

use connector_gate::state::StepState;
use connector_surface::text::{one_line, shortened};
use connector_surface::view::{Branch, ChangedFile, Changes, ResultView, Verbatim};
use connector_telegram::text::{MESSAGE, Style, Styled};

use super::{Part, Rendered, parts};

/// How many changed files are listed.
const FILES: usize = 20;

/// How much of a reason stands under the headline, and how much answers it, in characters.
const HEADLINE: usize = 300;
const REASON: usize = 3_000;

/// The end of a step.
pub fn result(result: &ResultView) -> Rendered {
    let mut text = headline(result);
    if let Some(by) = &result.approved_by {
        text = text.plain(&format!("\napproved by {by}"));
    }
    if let Some(changes) = &result.changes {
        text = changed(text, changes);
    }
    if let Some(Branch { name, apply, .. }) = &result.branch {
        text = text.plain(&format!("\nbranch {name} · bring it in with ")).styled(Style::Code, apply);
    }
    if let Some(refused) = &result.refused {
        text = text.plain("\n").plain(refused);
    }
    let patch = result.patch.as_ref().map(Verbatim::as_str);
    let attachment = patch.map(|patch| (format!("step-{}.diff", result.id), patch.to_owned()));
    let text = text.split(MESSAGE).into_iter().next().unwrap_or_default();
    Rendered { text, body: body(result), attachment }
}

/// What answers the headline: the agent's words, or what went wrong.
fn body(result: &ResultView) -> Vec<Part> {
    let reply = result.reply.as_ref().map_or("", Verbatim::as_str);
    let mut body = match result.state {
        StepState::Succeeded | StepState::Failed => parts(reply),
        _ => Vec::new(),
    };
    if let Some(reason) = result.reason.as_ref().filter(|_| answers(result.state)) {
        add(&mut body, Styled::new().plain(&shortened(reason, REASON)));
    }
    if let Some(remark) = result.remark.as_ref().filter(|_| result.state == StepState::Succeeded) {
        add(&mut body, Styled::new().styled(Style::Italic, &format!("⚠ {remark}")));
    }
    body
}

fn changed(text: Styled, changes: &Changes) -> Styled {
    let Changes { files, left_out, none } = changes;
    let listed = |text: Styled, file| text.plain("\n").styled(Style::Code, &changed_file(file));
    let text = files.iter().take(FILES).fold(text, listed);
    match files.len().saturating_sub(FILES) as u64 + left_out {
        0 if files.is_empty() => text.plain("\n").plain(none),
        0 => text,
        more => text.plain(&format!("\n… and {more} more")),
    }
}

/// Adds a text to the last message, or in one of its own.
fn add(body: &mut Vec<Part>, text: Styled) {
    match body.last_mut() {
        Some(Part::Text(last)) if text.fits_behind(last, 2) => {
            *last = std::mem::take(last).plain("\n\n").then(&text);
        }
        _ => body.push(Part::Text(text)),
    }
}

fn headline(result: &ResultView) -> Styled {
    let sign = match result.state {
        StepState::Succeeded => "✅",
        StepState::Denied | StepState::Expired | StepState::Failed => "❌",
        StepState::Cancelled => "⏹",
        StepState::Unknown => "❔",
        StepState::Skipped => "◽",
        StepState::Resolved | StepState::Waiting => "⏸",
        StepState::Approved => "⏳",
        StepState::Dispatched => "▶",
    };
    let title = format!("{sign} {}", result.title);
    let mut text = Styled::new().styled(Style::Bold, &title).plain(&result.figures);
    if let Some(reason) = result.reason.as_ref().filter(|_| !answers(result.state)) {
        text = text.plain("\n").plain(&shortened(&one_line(reason), HEADLINE));
    }
    if result.session.is_some() {
        text = text.styled(Style::Italic, "\nreply to go on in this session");
    }
    text
}

/// Whether the reason answers the headline: where something went wrong, so that the phone rings.
fn answers(state: StepState) -> bool {
    matches!(state, StepState::Failed | StepState::Unknown)
}

fn changed_file(file: &ChangedFile) -> String {
    let mut line = format!("{} {}", file.status, shortened(&file.path, 120));
    if let Some((added, deleted)) = file.lines {
        line.push_str(&format!(" +{added} −{deleted}"));
    }
    line
}
