//! The daemon's ids, validated once and safe in a path ever after.
//!
//! An id that came in as input goes into request paths. Only the daemon's own
//! alphabet is accepted, so no id can reach another endpoint (`x/share#`,
//! `../instance/dispose`, `ses_x?y`).

use std::fmt;

/// The daemon's ids have 30 characters; a generous cap keeps strangers out.
const MAX_LEN: usize = 128;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this kind: expected {}, at most {MAX_LEN} in all", form(.prefix))]
pub struct IdError {
    prefix: &'static str,
}

fn form(prefix: &str) -> String {
    match prefix {
        "" => "letters, digits, `_` and `-`".to_owned(),
        prefix => format!("`{prefix}` and then letters and digits"),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $vis:vis $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis struct $name(Box<str>);

        impl $name {
            /// Validates `text`.
            $vis fn parse(text: &str) -> Result<Self, IdError> {
                if valid(text, $prefix) { Ok(Self(text.into())) } else { Err(IdError { prefix: $prefix }) }
            }

        }

        impl AsRef<str> for $name {
            /// The id as the daemon writes it.
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A session: `ses_…`, or what another server than opencode's own calls one, in any form
    /// that is safe in a path.
    pub SessionId,
    ""
);
id!(
    /// A message, `msg_…`.
    pub MessageId,
    "msg_"
);
id!(
    /// A permission request, `per_…`.
    pub(crate) PermissionId,
    "per_"
);
id!(
    /// A set of questions, `que_…`.
    pub(crate) QuestionId,
    "que_"
);

id!(
    /// A form, `frm_…`.
    pub(crate) FormId,
    "frm_"
);

fn valid(text: &str, prefix: &str) -> bool {
    if prefix.is_empty() {
        return text.len() <= MAX_LEN
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    }
    text.len() <= MAX_LEN
        && text.strip_prefix(prefix).is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
}

/// The greatest stamp that an id can carry.
const STAMPS: u64 = 0xffff_ffff_ffff;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl SessionId {
    /// The id as the daemon writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl MessageId {
    /// The id as the daemon writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A new id in the daemon's own form, which sorts by time: 48 bits of
    /// `milliseconds * 0x1000 + count` in hexadecimal, then 14 random characters.
    ///
    /// `random` is uniform; how a caller obtains it is the caller's business.
    pub fn new(unix_millis: u64, count: u16, random: [u8; 14]) -> Self {
        let stamp = unix_millis.wrapping_mul(0x1000).wrapping_add(u64::from(count)) & STAMPS;
        Self::stamped(stamp, random)
    }
}

impl MessageId {
    /// The id that follows `newest` at once, or `None` if that has not the
    /// daemon's form.
    ///
    /// The daemon goes on until an answer sorts after the prompt, and its answers
    /// get their ids from its own clock. An id made of another clock that is ahead
    /// would let the agent run again and again, so no clock but the daemon's is
    /// ever asked.
    pub fn after(newest: &str, random: [u8; 14]) -> Option<Self> {
        let stamp = stamp(newest)?.checked_add(1).filter(|stamp| *stamp <= STAMPS)?;
        Some(Self::stamped(stamp, random))
    }

    fn stamped(stamp: u64, random: [u8; 14]) -> Self {
        let tail: String = random.iter().map(|b| char::from(BASE62[usize::from(*b) % 62])).collect();
        Self(format!("msg_{stamp:012x}{tail}").into())
    }
}

/// The time in an id of the daemon's own form, in its own unit.
pub(crate) fn stamp(id: &str) -> Option<u64> {
    let digits = id.get(4..16).filter(|it| it.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_daemon_pass() {
        for id in ["ses_e049af655ffe3ypj4ubai287QQ", "sess-1", "0b6f0a9e-8f5e-4f4e-9d51-0c8a5f3b7c11"] {
            assert!(SessionId::parse(id).is_ok(), "{id}");
        }
        assert!(MessageId::parse("msg_1fb6509c00019uS7yovDaLtQ0X").is_ok());
    }

    #[test]
    fn nothing_else_passes() {
        let long = format!("ses_{}", "a".repeat(1 << 20));
        for bad in [
            "",
            " ",
            "_ses",
            "-ses",
            "..",
            "x/share#",
            "../instance/dispose",
            "ses_x?y",
            "ses_x/y",
            "ses_x#",
            "ses_x%2f",
            "ses_\0",
            "ses_x\n",
            "ses_é",
            "ses_..",
            "ses_x.y",
            " ses_x",
            &long,
        ] {
            assert!(SessionId::parse(bad).is_err(), "{}", &bad[..bad.len().min(40)]);
            assert!(MessageId::parse(&bad.replacen("ses", "msg", 1)).is_err(), "{bad:.40}");
        }
    }

    #[test]
    fn the_daemons_own_ids_have_its_prefix() {
        for bad in ["msg_", "ses_a", "MSG_a", "msg_x-", "m1"] {
            assert!(MessageId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_new_id_has_the_form_the_daemon_gives_its_own() {
        // The daemon made this one at 1795219065281 ms.
        let ours = MessageId::new(1_795_219_065_280, 1, [7; 14]);
        assert_eq!(&ours.as_str()[..16], "msg_1fb6509c0001");
        assert_eq!(ours.as_str().len(), "msg_1fb6509c00019uS7yovDaLtQ0X".len());
        assert_eq!(MessageId::parse(ours.as_str()), Ok(ours));
    }

    #[test]
    fn the_next_id_sorts_after_the_newest_and_before_whatever_the_daemon_makes_later() {
        let newest = MessageId::new(2000, 5, [61; 14]);
        let next = MessageId::after(newest.as_str(), [0; 14]).unwrap();
        assert!(next > newest && next < MessageId::new(2001, 1, [0; 14]));
        for unparseable in ["", "msg_a", "msg_+00000000000", "msg_fffffffffffff0", "msg_ééééééé"] {
            assert_eq!(MessageId::after(unparseable, [0; 14]), None, "{unparseable}");
        }
    }

    #[test]
    fn later_ids_sort_later() {
        let at = |ms, count| MessageId::new(ms, count, [0; 14]);
        assert!(at(1000, 1) < at(1000, 2) && at(1000, 0xfff) < at(1001, 0));
    }
}
