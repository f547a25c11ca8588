//! The two generations of opencode's API, and the places that tests name on each.

/// A generation of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Generation {
    /// 1.x: recorded from a real daemon.
    V1,
    /// 2.x: written from its public description.
    V2,
}

impl Generation {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V1, Self::V2];

    /// The version a fake of it says it is, unless told another.
    pub fn version(self) -> &'static str {
        match self {
            Self::V1 => "1.18.33",
            Self::V2 => "2.0.22",
        }
    }

    /// The password it wants, unless told another. A 2.x server always wants one.
    pub fn password(self) -> Option<&'static str> {
        match self {
            Self::V1 => None,
            Self::V2 => Some("two-needs-one"),
        }
    }

    /// Its name in a checkpoint.
    pub fn wire(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }

    /// Who it says it is.
    pub fn health(self) -> &'static str {
        match self {
            Self::V1 => "GET /global/health",
            Self::V2 => "GET /api/info",
        }
    }

    /// Where sessions are made.
    pub fn create(self) -> &'static str {
        match self {
            Self::V1 => "POST /session",
            Self::V2 => "POST /api/session",
        }
    }

    /// Where prompts go.
    pub fn prompt(self) -> &'static str {
        match self {
            Self::V1 => "POST /session/*/message",
            Self::V2 => "POST /api/session/*/prompt",
        }
    }

    /// Where a turn is ended.
    pub fn abort(self) -> &'static str {
        match self {
            Self::V1 => "POST /session/*/abort",
            Self::V2 => "POST /api/session/*/interrupt",
        }
    }

    /// Where permission requests are answered.
    pub fn permission_reply(self) -> &'static str {
        match self {
            Self::V1 => "POST /permission/*/reply",
            Self::V2 => "POST /api/session/*/permission/*/reply",
        }
    }

    /// Where questions are answered.
    pub fn question_reply(self) -> &'static str {
        match self {
            Self::V1 => "POST /question/*/reply",
            Self::V2 => "POST /api/session/*/form/*/reply",
        }
    }

    /// Where questions are turned down.
    pub fn question_reject(self) -> &'static str {
        match self {
            Self::V1 => "POST /question/*/reject",
            Self::V2 => "DELETE /api/session/*/form/*",
        }
    }

    /// Where rules are changed.
    pub fn rules(self) -> &'static str {
        match self {
            Self::V1 => "PATCH /session/*",
            Self::V2 => "PATCH /api/session/*",
        }
    }

    /// Where events come from.
    pub fn events(self) -> &'static str {
        match self {
            Self::V1 => "GET /event",
            Self::V2 => "GET /api/event",
        }
    }
}

/// Whether a request is one of those that `pattern` names: its line starts so,
/// and `*` is a part of a path, whatever it is.
pub(super) fn matches(pattern: &str, line: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return line.starts_with(pattern) };
    let Some(rest) = line.strip_prefix(before) else { return false };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    matches(after, &rest[end..])
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_is_one_part_of_a_path() {
        for (pattern, line) in [
            ("GET ", "GET /event"),
            ("POST /session/*/message", "POST /session/ses_a/message?directory=%2F"),
            ("POST /session/*/permission/*/reply", "POST /session/a/permission/b/reply"),
            ("PATCH /session/*", "PATCH /session/a?x=1"),
        ] {
            assert!(matches(pattern, line), "{pattern} {line}");
        }
        for (pattern, line) in [
            ("POST /session/*/message", "POST /session/a/abort"),
            ("POST /session/*/message", "POST /session/a/b/message"),
            ("POST /session/*/message", "GET /session/a/message"),
        ] {
            assert!(!matches(pattern, line), "{pattern} {line}");
        }
    }
}
