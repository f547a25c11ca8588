//! The rules that are written beside `host.toml`: `/fix`, replies that go on, and what is done with a result.

/// Those for messages.
const MESSAGES: [(&str, &str); 7] = [
    ("fix.toml", include_str!("../../../rules/telegram/fix.toml")),
    ("reply.toml", include_str!("../../../rules/telegram/reply.toml")),
    ("apply.toml", include_str!("../../../rules/telegram/apply.toml")),
    ("commit.toml", include_str!("../../../rules/telegram/commit.toml")),
    ("discard.toml", include_str!("../../../rules/telegram/discard.toml")),
    ("undo.toml", include_str!("../../../rules/telegram/undo.toml")),
    ("push.toml", include_str!("../../../rules/telegram/push.toml")),
];

/// Those for messages with files.
const FILES: [(&str, &str); 2] = [
    ("fix-files.toml", include_str!("../../../rules/telegram/fix-files.toml")),
    ("reply-files.toml", include_str!("../../../rules/telegram/reply-files.toml")),
];

/// The rules for messages of the chat that is called so, by their files.
pub(in crate::cli) fn of_messages(chat: &str) -> impl Iterator<Item = (&'static str, String)> {
    MESSAGES.into_iter().map(move |(file, text)| (file, of_chat(text, chat)))
}

/// The rules for its messages with files.
pub(in crate::cli) fn of_files(chat: &str) -> impl Iterator<Item = (&'static str, String)> {
    FILES.into_iter().map(move |(file, text)| (file, of_chat(text, chat)))
}

/// They are written for Telegram; what they read is called the same everywhere.
fn of_chat(text: &str, chat: &str) -> String {
    text.replace(crate::telegram::NAME, chat)
}
