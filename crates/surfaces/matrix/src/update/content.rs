//! What a message says.

use super::event::Event;

/// The words of a message, and what is said about a file that it is; nothing, if it is of a kind that means nothing
/// here. A command begins with a slash, as everywhere: clients keep `/` for themselves unless they are told to send it,
/// so `!` does as well.
pub(super) fn said(event: &Event) -> Option<String> {
    let body = event.text("body")?;
    let said = match event.text("msgtype")? {
        "m.text" | "m.emote" => body,
        // Where a file's name stands by itself, the body is what is said about it.
        "m.file" | "m.image" | "m.audio" | "m.video"
            if event.text("filename").is_some_and(|it| it != body) =>
        {
            body
        }
        _ => return None,
    };
    let said = if event.answers().is_some() { without_quote(said) } else { said };
    let said = match command(said) {
        Some(rest) => format!("/{rest}"),
        None => said.to_owned(),
    };
    Some(said).filter(|said| !said.trim().is_empty())
}

/// What a message says that begins with a quote of the one it answers, as clients made them until
/// version 1.13 of the specification: lines with `> `, the first with a user's id, then a blank one.
fn without_quote(body: &str) -> &str {
    if !["> <@", "> * <@"].iter().any(|mark| body.starts_with(mark)) {
        return body;
    }
    let mut rest = body;
    while rest.starts_with("> ") || rest.starts_with(">\n") {
        match rest.split_once('\n') {
            Some((_, after)) => rest = after,
            None => return "",
        }
    }
    rest.strip_prefix('\n').unwrap_or(rest)
}

/// What follows the mark of a command.
fn command(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('!')?;
    let name = rest.split(char::is_whitespace).next().unwrap_or_default();
    let is_name = !name.is_empty() && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_');
    is_name.then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_of_the_answered_message_is_left_out_and_one_of_the_writers_own_stays() {
        for (body, said) in [
            ("> <@anna:x> one\n> two\n\nyes\n> my own", "yes\n> my own"),
            ("> * <@anna:x> waves\n\nyes", "yes"),
            ("> <@anna:x> one\n>\n> two\n\n\nyes", "\nyes"),
            ("> <@anna:x> all of it", ""),
            ("> my own\n\nyes", "> my own\n\nyes"),
            ("yes", "yes"),
        ] {
            assert_eq!(without_quote(body), said, "{body:?}");
        }
    }

    #[test]
    fn a_command_begins_with_either_mark() {
        for (text, rest) in [
            ("!fix it", Some("fix it")),
            ("!fix\nit", Some("fix\nit")),
            ("/fix it", None),
            ("fix", None),
            ("!", None),
            ("! fix", None),
            ("!!", None),
        ] {
            assert_eq!(command(text), rest, "{text}");
        }
    }
}
