//! The names of what an agent may do: ours, which are those of 1.x, and 2.x's own.

/// `name` as 2.x calls it.
pub(in crate::wire) fn theirs(name: &str) -> &str {
    match name {
        "bash" => "shell",
        "task" => "subagent",
        "write" | "patch" => "edit",
        other => other,
    }
}

/// `name` as a person knows it from rules and cards.
pub(super) fn ours(name: &str) -> &str {
    match name {
        "shell" => "bash",
        "subagent" => "task",
        other => other,
    }
}
