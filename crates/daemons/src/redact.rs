//! What a process printed, as it may be shown and kept: without secrets, terminal escapes and control characters.

use connector_files::Redactor;

const LINE: usize = 400;

/// One printed line.
pub(crate) fn line(redactor: &Redactor, line: &str) -> String {
    let plain = anstream::adapter::strip_str(line).to_string();
    let text: String =
        plain.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect();
    let text = redactor.text(&text);
    match text.char_indices().nth(LINE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_escapes_and_control_characters_are_taken_out() {
        let mut redactor = Redactor::default();
        redactor.add_password("opencode", "s3cr3t-pass");
        assert_eq!(
            line(&redactor, "\u{1b}[91mError\u{1b}[0m: s3cr3t-pass\u{7} b3BlbmNvZGU6czNjcjN0LXBhc3M="),
            "Error: [redacted] [redacted]"
        );
    }

    #[test]
    fn long_lines_are_cut_at_a_character() {
        let line = line(&Redactor::default(), &"é".repeat(1000));
        assert_eq!(line.chars().count(), LINE + 1);
    }
}
