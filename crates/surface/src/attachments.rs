//! Files in a step's input, as people are told of them.
//!
//! Their content is in the input, and the digest of an approval covers it. A
//! screen shows what identifies it: name, type, size and the head of its SHA-256.

use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// How much of a file's SHA-256 is shown, in hexadecimal digits.
const SHORT: usize = 12;

/// The input key under which connectors take files.
const KEY: &str = "files";

/// One line for each file, if `key` and `value` are files of an input.
pub fn described(key: &str, value: &Value) -> Option<Vec<String>> {
    let files = value.as_array().filter(|files| key == KEY && !files.is_empty())?;
    files.iter().map(one).collect()
}

/// `input` with each file's content replaced by what identifies it.
pub fn without_content(input: &Value) -> Value {
    let mut shown = input.clone();
    if let Some(files) = shown.get_mut(KEY)
        && let Some(lines) = described(KEY, files)
    {
        *files = json!(lines);
    }
    shown
}

fn one(file: &Value) -> Option<String> {
    let text = |name: &str| file.get(name).and_then(Value::as_str);
    let content = BASE64.decode(text("data")?.as_bytes()).ok()?;
    let digest = HEXLOWER.encode(&Sha256::digest(&content));
    let digest = digest.get(..SHORT).unwrap_or_default();
    Some(format!("{} · {} · {} · sha256 {digest}", text("name")?, text("mime")?, size(content.len())))
}

/// A size in words.
pub fn size(bytes: usize) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{}.{} KiB", bytes / 1_024, bytes % 1_024 * 10 / 1_024),
        _ => format!("{}.{} MiB", bytes / 1_048_576, bytes % 1_048_576 * 10 / 1_048_576),
    }
}

/// What a file's content says that it is, among what agents can read; declared types are not believed.
pub fn recognised(content: &[u8]) -> Option<&'static str> {
    let starts = |magic: &[u8]| content.starts_with(magic);
    if starts(b"\x89PNG\r\n\x1a\n") {
        return Some("image/png");
    }
    if starts(b"\xff\xd8\xff") {
        return Some("image/jpeg");
    }
    if starts(b"GIF87a") || starts(b"GIF89a") {
        return Some("image/gif");
    }
    if starts(b"RIFF") && content.get(8..12) == Some(b"WEBP") {
        return Some("image/webp");
    }
    if starts(b"%PDF-") {
        return Some("application/pdf");
    }
    let text = std::str::from_utf8(content).ok()?;
    (!text.is_empty() && !text.contains('\0')).then_some("text/plain")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_by_what_its_content_is() {
        for (content, kind) in [
            (&b"\x89PNG\r\n\x1a\nrest"[..], Some("image/png")),
            (b"\xff\xd8\xff\xe0", Some("image/jpeg")),
            (b"GIF89a..", Some("image/gif")),
            (b"RIFF\0\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"RIFF\0\0\0\0WAVEfmt ", None),
            (b"%PDF-1.7", Some("application/pdf")),
            ("fn main() {} // ü".as_bytes(), Some("text/plain")),
            (b"MZ\0\0", None),
            (b"\xff\xfe", None),
            (b"", None),
        ] {
            assert_eq!(recognised(content), kind, "{content:?}");
        }
    }

    #[test]
    fn what_identifies_a_file_is_shown_and_its_content_is_not() {
        let input =
            json!({ "prompt": "p", "files": [{ "name": "a.txt", "mime": "text/plain", "data": "YWJj" }] });
        let line = "a.txt · text/plain · 3 B · sha256 ba7816bf8f01";
        assert_eq!(described("files", &input["files"]), Some(vec![line.to_owned()]));
        assert_eq!(without_content(&input), json!({ "prompt": "p", "files": [line] }));
        // What is no file is shown as it is.
        let other = json!({ "files": [{ "name": "a", "data": "*" }] });
        assert_eq!(without_content(&other), other);
        assert_eq!(described("other", &input["files"]), None);
    }

    #[test]
    fn sizes_are_in_words() {
        for (bytes, words) in [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (3 << 20, "3.0 MiB")] {
            assert_eq!(size(bytes), words);
        }
    }
}
