//! What is told of an error, in our words.
//!
//! An error that a daemon reports may be anybody's text: a provider's answer that repeats a key, or a
//! whole configuration file because of one comma. So none of it is told: only which known cause it
//! shows, with numbers, the kinds of opencode's own errors, and what it says is not found. The rest
//! is in the daemon's own record of the session, where its owner can look.

use super::read::shorten;

/// The longest path that is told.
const PATH: usize = 300;

/// Sentences of opencode's own that name what was asked for, and nothing else.
const NOT_FOUND: [&str; 7] = [
    "Model not found: ",
    "Model unavailable: ",
    "Agent not found: ",
    "Session not found: ",
    "Permission not found: ",
    "Permission request not found: ",
    "Form already settled: ",
];

/// Causes by what an error says in lower case, or by the status that the provider answered with. The first
/// that fits counts.
const CAUSES: [(&[&str], &[u64], &str); 12] = [
    (&["no-route", "modelnotfound"], &[], "the daemon does not know the model"),
    (&["check server logs"], &[], "the daemon does not say why; its own log may"),
    (
        &[
            "context length",
            "context_length",
            "context window",
            "maximum context",
            "prompt is too long",
            "too many tokens",
            "context overflow",
        ],
        &[413],
        "the conversation is too long for the model",
    ),
    (
        &["quota", "billing", "credit", "insufficient", "payment required"],
        &[402],
        "the account at the model's provider has no credit or quota left",
    ),
    (
        &["rate limit", "rate-limit", "rate_limit", "too many requests"],
        &[429],
        "the model's provider limits how much may be asked now",
    ),
    (
        &[
            "api key",
            "apikey",
            "api_key",
            "x-api-key",
            "unauthorized",
            "authentication",
            "credential",
            "token expired",
            "provider.auth",
            "providerauth",
        ],
        &[401, 403],
        "the model's provider refuses the key or login",
    ),
    (&["overloaded"], &[503, 529], "the model's provider is overloaded"),
    (
        &["content filter", "content_filter", "content policy", "safety system"],
        &[],
        "the model's provider refuses this content",
    ),
    (
        &[
            "econnrefused",
            "econnreset",
            "unable to connect",
            "fetch failed",
            "enotfound",
            "eai_again",
            "socket",
            "network",
            "timed out",
            "timeout",
            "certificate",
            "connection",
            "provider.transport",
        ],
        &[408, 504],
        "the model's provider cannot be reached",
    ),
    (
        &["no such model", "model_not_found", "does not exist"],
        &[404],
        "the model's provider does not know what it was asked for",
    ),
    (&["output length", "messageoutputlength"], &[], "the answer was longer than the model may give"),
    (
        &["structured output", "structuredoutput"],
        &[],
        "the model did not answer in the form that was asked for",
    ),
];

/// Why something failed: an error's `kind` by opencode's name for it, what it says, and the status that the
/// model's provider answered with.
pub(super) fn of(kind: &str, message: &str, status: Option<u64>) -> String {
    // A provider's words may begin like opencode's own.
    let is_opencodes = status.is_none() && kind != "APIError" && !kind.starts_with("provider.");
    let told = not_found(message).filter(|_| is_opencodes || kind == "provider.no-route");
    let told = told.or_else(|| configuration(kind, message, None));
    let told = told.unwrap_or_else(|| cause(kind, message, status).to_owned());
    let told = match status {
        Some(status) => format!("{told} (it answered {status})"),
        None => told,
    };
    match shown(kind) {
        Some(kind) => format!("{kind}: {told}"),
        None => told,
    }
}

/// What a refused request says: the tag is what it is refused as.
pub(super) fn of_answer(tag: &str, message: &str) -> String {
    match (shown(tag), not_found(message).or_else(|| configuration(tag, message, None))) {
        (Some(tag), Some(told)) => format!("{tag}: {told}"),
        (Some(tag), None) => tag.to_owned(),
        (None, told) => told.unwrap_or_else(|| cause(tag, message, None).to_owned()),
    }
}

/// What is said of a configuration that is not valid: its file and the place of the mistake.
pub(super) fn configuration(kind: &str, message: &str, file: Option<&str>) -> Option<String> {
    let of_syntax = kind.contains("ConfigJson") || message.contains("is not valid JSON");
    let of_content = kind.contains("ConfigInvalid") || message.contains("Configuration is invalid");
    if !of_syntax && !of_content {
        return None;
    }
    let is_one = |file: &&str| {
        let ends = [".json", ".jsonc", ".md"].iter().any(|end| file.ends_with(end));
        file.starts_with('/') && ends && file.len() <= PATH && !file.contains(char::is_control)
    };
    let file = file.filter(is_one).map(|file| format!(" {file}")).unwrap_or_default();
    let place = position(message).map(|(line, column)| format!(": line {line}, column {column}"));
    let what = if of_syntax { "is not valid" } else { "is not what opencode takes" };
    Some(format!("opencode's configuration{file} {what}{}", place.unwrap_or_default()))
}

/// Of an attempt that is made again.
pub(super) fn of_retry(message: &str) -> String {
    cause("", message, None).to_owned()
}

fn cause(kind: &str, message: &str, status: Option<u64>) -> &'static str {
    let said = format!("{kind} {message}").to_ascii_lowercase();
    let by_words = || CAUSES.iter().find(|(words, _, _)| words.iter().any(|word| said.contains(word)));
    let by_status = |status: u64| CAUSES.iter().find(|(_, statuses, _)| statuses.contains(&status));
    // A provider's status is plainer than its words, where it has one that means something.
    if let Some((_, _, sentence)) = status.and_then(by_status).or_else(by_words) {
        return sentence;
    }
    match status {
        Some(500..) => "the model's provider had an error of its own",
        Some(400..) => "the model's provider does not take the request",
        _ => "the reason is in the daemon's own record of the session",
    }
}

/// The kind, if it is the name of one: letters and what joins them. Those that say nothing are left out.
fn shown(kind: &str) -> Option<&str> {
    let of_a_name = |c: char| c.is_ascii_alphabetic() || matches!(c, '.' | '-' | '_');
    let said = !matches!(kind, "" | "unknown" | "UnknownError" | "APIError");
    (said && kind.len() <= 60 && kind.chars().all(of_a_name)).then_some(kind)
}

/// What is not found is what was asked for, or what else there is.
fn not_found(message: &str) -> Option<String> {
    let of_names = |c: char| c.is_ascii_alphanumeric() || "._-/:@+ \"',?()".contains(c);
    let says = NOT_FOUND.iter().any(|start| message.starts_with(start));
    (says && message.chars().all(of_names)).then(|| shorten(message, 300))
}

/// `line L, column C`, of the errors that follow the text itself where there is one.
fn position(message: &str) -> Option<(u32, u32)> {
    let lower = message.to_ascii_lowercase();
    let errors = lower.rfind("--- errors ---").map_or(lower.as_str(), |at| &lower[at..]);
    errors.match_indices("line ").find_map(|(at, word)| {
        let (line, rest) = number(&errors[at + word.len()..])?;
        let (column, _) = number(rest.strip_prefix(", column ")?)?;
        Some((line, column))
    })
}

fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "sk-live-7f3a9c2b1d8e4f60";

    #[test]
    fn whatever_an_error_says_a_known_cause_is_told_and_no_word_of_it() {
        for (kind, status, message, told) in [
            (
                "APIError",
                Some(401),
                "Incorrect API key provided: S",
                "refuses the key or login (it answered 401)",
            ),
            ("APIError", Some(400), "S", "does not take the request (it answered 400)"),
            ("APIError", Some(400), "prompt is too long: S", "the conversation is too long for the model"),
            ("APIError", Some(429), "S", "limits how much may be asked now"),
            ("APIError", Some(502), "S", "had an error of its own"),
            (
                "ProviderAuthError",
                None,
                "S",
                "ProviderAuthError: the model's provider refuses the key or login",
            ),
            ("provider.quota", None, "S", "provider.quota: the account"),
            ("UnknownError", None, "fetch failed: https://u:S@host", "cannot be reached"),
            ("UnknownError", None, "S", "the reason is in the daemon's own record of the session"),
            ("S", None, "S", "the reason is in"),
            ("UnknownError", None, "Model not found: a/b-1.2.", "Model not found: a/b-1.2."),
            (
                "UnknownError",
                None,
                "Agent not found: \"x\". Available agents: build, plan",
                "Available agents: build, plan",
            ),
            ("UnknownError", None, "Model not found: {S}", "the reason is in"),
            ("APIError", None, "Model not found: x for key S", "the reason is in"),
            (
                "UnknownError",
                Some(404),
                "Model not found: x for key S",
                "does not know what it was asked for",
            ),
            ("provider.invalid-request", None, "Model not found: x for key S", "the reason is in"),
            (
                "ConfigJsonError",
                None,
                "{\"k\":\"S\"}\n--- Errors ---\nX at line 2, column 20",
                "opencode's configuration is not valid: line 2, column 20",
            ),
        ] {
            let (kind, message) =
                (kind.replace('S', if kind == "S" { SECRET } else { "S" }), message.replace('S', SECRET));
            let shown = of(&kind, &message, status);
            assert!(shown.contains(told) && !shown.contains(SECRET), "{kind} {message}: {shown}");
        }
        assert_eq!(
            of_retry(&format!("Rate limit for {SECRET}")),
            "the model's provider limits how much may be asked now"
        );
    }

    #[test]
    fn a_configuration_is_told_by_a_path_that_is_one() {
        let told = |file| configuration("ConfigJsonError", "at line 2, column 20", Some(file)).unwrap();
        let path = "/home/me/.config/opencode/opencode.json";
        assert_eq!(told(path), format!("opencode's configuration {path} is not valid: line 2, column 20"));
        assert!(!told(SECRET).contains(SECRET));
        assert!(!told("/a\nb.json").contains('\n'));
    }
}
