//! The end of a step: the headline that the card becomes, and what answers it.

use connector_telegram::text::{MESSAGE, Style, Styled};
use serde_json::Value;

use super::{Part, Rendered, parts};
use crate::gate::state::StepState;
use crate::ledger::steps::StepRow;
use crate::surface::{figures, no_files, refused};
use crate::text::{one_line, shortened, visible};

/// How many changed files are listed.
const FILES: usize = 20;

/// The end of a step.
pub fn result(row: &StepRow) -> Rendered {
    let output = row.output.as_ref();
    let text_of = |name: &str| output.and_then(|output| output.get(name)).and_then(Value::as_str);
    let mut text = headline(row);
    if let Some(by) = &row.decided_by
        && row.state != StepState::Denied
    {
        text = text.plain(&format!("\napproved by {}", one_line(&row.people.named(by))));
    }
    let files = output.and_then(|output| output.get("files")).and_then(Value::as_array);
    if let Some(files) = files {
        for file in files.iter().take(FILES) {
            text = text.plain("\n").styled(Style::Code, &changed_file(file));
        }
        let left_out = output.and_then(|output| output.get("files_left_out")).and_then(Value::as_u64);
        match files.len().saturating_sub(FILES) as u64 + left_out.unwrap_or(0) {
            0 if files.is_empty() => text = text.plain("\n").plain(no_files(output)),
            0 => {}
            more => text = text.plain(&format!("\n… and {more} more")),
        }
    }
    if let Some(branch) = text_of("branch") {
        let apply = format!("connector-host runs apply {}", row.id.run);
        text = text.plain(&format!("\nbranch {} · bring it in with ", one_line(branch)));
        text = text.styled(Style::Code, &apply);
    }
    if let Some(refused) = output.and_then(refused) {
        text = text.plain("\n").plain(&refused);
    }
    let reply = text_of("reply").map(str::trim).unwrap_or_default();
    let mut body =
        if matches!(row.state, StepState::Succeeded | StepState::Failed) { parts(reply) } else { Vec::new() };
    if matches!(row.state, StepState::Failed | StepState::Unknown)
        && let Some(reason) = &row.reason
    {
        add(&mut body, Styled::new().plain(&visible(&shortened(reason, 3_000))));
    }
    let remark = text_of("remark").filter(|_| row.state == StepState::Succeeded).map(str::to_owned);
    let silent = row.state == StepState::Succeeded && reply.is_empty() && text_of("reply").is_some();
    if let Some(remark) = remark.or_else(|| silent.then(|| "the agent said nothing".to_owned())) {
        add(&mut body, Styled::new().styled(Style::Italic, &format!("⚠ {}", one_line(&remark))));
    }
    let patch = text_of("patch").filter(|patch| !patch.is_empty());
    let attachment = patch.map(|patch| (format!("step-{}.diff", row.id), patch.to_owned()));
    let text = text.split(MESSAGE).into_iter().next().unwrap_or_default();
    Rendered { text, body, attachment }
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

fn headline(row: &StepRow) -> Styled {
    let id = row.id;
    let (title, figures) = match row.state {
        StepState::Succeeded => (format!("✅ {id} done"), figures(row)),
        StepState::Denied | StepState::Expired => (format!("❌ {id} was not run"), String::new()),
        StepState::Cancelled => (format!("⏹ {id} stopped"), String::new()),
        StepState::Unknown => (format!("❔ {id}: nobody knows what became of it"), String::new()),
        StepState::Failed => (format!("❌ {id} failed"), String::new()),
        StepState::Skipped => (format!("◽ {id} was left out"), String::new()),
        StepState::Resolved | StepState::Waiting => (format!("⏸ {id} waits for a decision"), String::new()),
        StepState::Approved => (format!("⏳ {id} waits for its turn"), String::new()),
        StepState::Dispatched => (format!("▶ {id} runs"), String::new()),
    };
    let mut text = Styled::new().styled(Style::Bold, &title).plain(&figures);
    // Where something went wrong the reason answers the headline, so that the phone rings.
    let answers = matches!(row.state, StepState::Failed | StepState::Unknown);
    if let Some(reason) = row.reason.as_ref().filter(|_| !answers) {
        text = text.plain("\n").plain(&shortened(&one_line(reason), 300));
    }
    if row.session_id.is_some() {
        text = text.styled(Style::Italic, "\nreply to go on in this session");
    }
    text
}

fn changed_file(file: &Value) -> String {
    let text = |name: &str| file.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| file.get(name).and_then(Value::as_u64);
    let path = shortened(&one_line(text("path")), 120);
    let mut line = format!("{} {path}", one_line(text("status")));
    if let (Some(added), Some(deleted)) = (number("additions"), number("deletions")) {
        line.push_str(&format!(" +{added} −{deleted}"));
    }
    line
}
