//! Reads `multipart/form-data`: fields as texts, the file with its name.

use serde_json::{Map, Value};

/// The fields, and the file as `document_name` and `document_content`.
pub(super) fn read(content_type: &str, body: &[u8]) -> Option<Value> {
    let boundary = content_type.split("boundary=").nth(1)?;
    let text = String::from_utf8_lossy(body);
    let mut fields = Map::new();
    for part in text.split(&format!("--{boundary}")) {
        let Some((head, content)) = part.split_once("\r\n\r\n") else { continue };
        let content = content.strip_suffix("\r\n").unwrap_or(content);
        let name = quoted(head, " name=\"")?;
        if let Some(file) = quoted(head, "filename=\"") {
            fields.insert("document_name".into(), file.into());
            fields.insert("document_content".into(), content.into());
        } else {
            let value = match name {
                "chat_id" | "message_thread_id" | "reply_parameters" => serde_json::from_str(content).ok()?,
                _ => Value::String(content.to_owned()),
            };
            fields.insert(name.to_owned(), value);
        }
    }
    Some(Value::Object(fields))
}

fn quoted<'a>(head: &'a str, before: &str) -> Option<&'a str> {
    head.split(before).nth(1)?.split('"').next()
}
