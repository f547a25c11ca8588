//! What hangs on a message besides its words.

use frankenstein::types::Message;
use serde_json::Value;

/// A file of a message, as Telegram describes it. What it really is, its content says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// What it is, in a word for people.
    pub kind: &'static str,
    /// By which `getFile` finds it, where it could be handed on.
    pub file_id: Option<String>,
    /// Its name, without a path.
    pub name: String,
    /// Its size in bytes, if Telegram says.
    pub size: Option<u64>,
    /// What it has in common with those that were sent together with it, as messages of their own.
    pub album: Option<String>,
}

/// The file of a message; it has one at most.
pub(super) fn of(message: &Message) -> Option<Attachment> {
    let album = message.media_group_id.clone();
    let without = |kind| {
        let album = message.media_group_id.clone();
        Attachment { kind, file_id: None, name: kind.to_owned(), size: None, album }
    };
    // The largest is the last.
    if let Some(photo) = message.photo.as_ref().and_then(|sizes| sizes.last()) {
        let (file_id, name) = (Some(photo.file_id.clone()), "photo.jpg".to_owned());
        return Some(Attachment { kind: "photo", file_id, name, size: photo.file_size, album });
    }
    // An animation is a document too, for old clients.
    for (there, kind) in [
        (message.animation.is_some(), "animation"),
        (message.video.is_some(), "video"),
        (message.audio.is_some(), "audio file"),
        (message.voice.is_some(), "voice message"),
        (message.video_note.is_some(), "video message"),
    ] {
        if there {
            return Some(without(kind));
        }
    }
    let document = message.document.as_deref()?;
    Some(Attachment {
        kind: "document",
        file_id: Some(document.file_id.clone()),
        name: plain(document.file_name.as_deref().unwrap_or_default()),
        size: document.file_size,
        album,
    })
}

/// What a message is that has neither words nor a file, in a word for people; `None` for what
/// the chat itself tells, such as that something was pinned.
pub(super) fn other(message: &Value) -> Option<&'static str> {
    const OTHERS: [(&str, &str); 13] = [
        ("sticker", "sticker"),
        ("poll", "poll"),
        ("dice", "die"),
        ("game", "game"),
        ("venue", "place"),
        ("location", "place"),
        ("contact", "contact"),
        ("story", "story"),
        ("checklist", "checklist"),
        ("paid_media", "paid picture"),
        ("invoice", "invoice"),
        ("giveaway", "giveaway"),
        ("gift", "gift"),
    ];
    OTHERS.iter().find(|(key, _)| message.get(*key).is_some_and(|it| !it.is_null())).map(|(_, word)| *word)
}

/// The last part of a name, without what no file name has.
fn plain(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = last.chars().filter(|it| !it.is_control()).take(60).collect();
    if name.trim().is_empty() { "document".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_no_path() {
        for (given, name) in [
            ("a.txt", "a.txt"),
            ("../../etc/passwd", "passwd"),
            ("c:\\x\\y\n.log", "y.log"),
            ("", "document"),
        ] {
            assert_eq!(plain(given), name);
        }
        assert!(plain(&"ü".repeat(300)).len() <= 255);
    }
}
