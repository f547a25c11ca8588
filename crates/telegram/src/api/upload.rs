//! A document from memory, as `multipart/form-data`.

use bytes::{Bytes, BytesMut};
use data_encoding::HEXLOWER;

use crate::chat::ChatKey;

/// A document to be sent. Telegram takes up to 50 MB.
#[derive(Debug, Clone)]
pub struct Document {
    /// Where to.
    pub chat: ChatKey,
    /// The message it answers.
    pub reply_to: Option<i32>,
    /// Its name; anything but letters, digits, `.`, `-` and `_` becomes `_`.
    pub name: String,
    /// A line below it, at most 1,024 UTF-16 units.
    pub caption: String,
    /// Its bytes.
    pub content: Bytes,
}

impl Document {
    /// The content type and the body.
    pub(super) fn encode(&self, silent: bool) -> (String, Bytes) {
        let boundary = boundary(&self.content);
        let mut body = BytesMut::new();
        let mut field = |name: &str, value: &str| {
            let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(value.as_bytes());
            body.extend_from_slice(b"\r\n");
        };
        field("chat_id", &self.chat.id.to_string());
        if let Some(topic) = self.chat.topic {
            field("message_thread_id", &topic.to_string());
        }
        if let Some(message) = self.reply_to {
            let reply = serde_json::json!({ "message_id": message, "allow_sending_without_reply": true });
            field("reply_parameters", &reply.to_string());
        }
        if silent {
            field("disable_notification", "true");
        }
        if !self.caption.is_empty() {
            field("caption", &self.caption);
        }
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"document\"; filename=\"{}\"\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\r\n",
            plain(&self.name)
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&self.content);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        (format!("multipart/form-data; boundary={boundary}"), body.freeze())
    }
}

/// A name that cannot end the header it stands in.
fn plain(name: &str) -> String {
    let fits = |character: char| character.is_ascii_alphanumeric() || ".-_".contains(character);
    name.chars().map(|character| if fits(character) { character } else { '_' }).collect()
}

/// Random, so that whoever wrote the content cannot end it early.
fn boundary(content: &[u8]) -> String {
    let mut bytes = [0_u8; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // Without randomness its length and address must do; the content is still only text.
        bytes[..8].copy_from_slice(&content.len().to_le_bytes());
    }
    format!("part-{}", HEXLOWER.encode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_one_part_whatever_it_holds() {
        let document = Document {
            chat: ChatKey { id: -5, topic: Some(7) },
            reply_to: Some(3),
            name: "a\"\r\nb.diff".to_owned(),
            caption: "2 files".to_owned(),
            content: Bytes::from_static(b"--part-0\r\n--part-0--\r\n"),
        };
        let (content_type, body) = document.encode(true);
        let boundary = content_type.split("boundary=").nth(1).unwrap();
        let text = std::str::from_utf8(&body).unwrap();
        assert_eq!(text.matches(&format!("--{boundary}")).count(), 7, "{text}");
        assert!(text.contains("filename=\"a___b.diff\""), "{text}");
        assert!(text.contains("name=\"message_thread_id\"\r\n\r\n7\r\n"), "{text}");
    }
}
