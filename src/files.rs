//! Files that go to the agent beside the prompt.
//!
//! They travel inside the input, in base64: what was approved is what is sent,
//! and nothing is read from a disk or fetched here.

use connector_contract::ConnectorError;
use data_encoding::BASE64;
use schemars::JsonSchema;
use serde::Deserialize;

/// How many files one prompt may carry.
const MOST: usize = 10;

/// A file as an input holds it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenFile {
    /// Its name, without a path.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// Its type, such as `image/png`.
    #[schemars(extend("pattern" = "^[a-z0-9.+-]+/[a-z0-9.+-]+$"))]
    pub mime: String,
    /// Its content, in base64 with padding.
    pub data: String,
}

/// A checked file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) name: String,
    pub(crate) mime: String,
    /// Valid base64.
    pub(crate) data: String,
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {} bytes of base64)", self.name, self.mime, self.data.len())
    }
}

impl Attached {
    /// The content as a URL, which is how the daemon takes it.
    pub(crate) fn url(&self) -> String {
        format!("data:{};base64,{}", self.mime, self.data)
    }
}

/// Checks all files of one prompt; `limit` is how many bytes they may have together.
pub(crate) fn check(given: Vec<GivenFile>, limit: usize) -> Result<Vec<Attached>, ConnectorError> {
    if given.len() > MOST {
        return Err(invalid(&format!("there are {}; at most {MOST} go with a prompt", given.len())));
    }
    let mut bytes = 0;
    let mut files = Vec::with_capacity(given.len());
    for (index, GivenFile { name, mime, data }) in given.into_iter().enumerate() {
        let at = index + 1;
        if name.is_empty()
            || name.len() > 255
            || name.contains(['/', '\\'])
            || name.contains(char::is_control)
        {
            return Err(invalid(&format!("the name of file {at} is not a plain file name")));
        }
        if !is_mime(&mime) {
            return Err(invalid(&format!("`mime` of file {at} is not like `image/png`")));
        }
        let content = BASE64.decode(data.as_bytes());
        let content = content.map_err(|_| invalid(&format!("`data` of file {at} is not base64")))?;
        bytes += content.len();
        files.push(Attached { name, mime, data });
    }
    if bytes > limit {
        return Err(invalid(&format!("they have {bytes} bytes together; the limit is {limit}")));
    }
    Ok(files)
}

fn is_mime(text: &str) -> bool {
    let plain = |part: &str| {
        let one = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".+-".contains(&byte);
        !part.is_empty() && part.bytes().all(one)
    };
    text.len() <= 127 && text.split_once('/').is_some_and(|(kind, sub)| plain(kind) && plain(sub))
}

fn invalid(reason: &str) -> ConnectorError {
    ConnectorError::InvalidInput { reason: format!("`files`: {reason}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, mime: &str, data: &str) -> GivenFile {
        GivenFile { name: name.into(), mime: mime.into(), data: data.into() }
    }

    #[test]
    fn what_is_no_file_is_refused_by_its_place_and_never_quoted() {
        for (wrong, reason) in [
            (file("", "image/png", ""), "the name of file 1"),
            (file("../x", "image/png", ""), "the name of file 1"),
            (file("a\nb", "image/png", ""), "the name of file 1"),
            (file("a", "image", ""), "`mime` of file 1"),
            (file("a", "image/png;x=1", ""), "`mime` of file 1"),
            (file("a", "image/png", "c2VjcmV0*"), "`data` of file 1"),
            (file("a", "image/png", "c2VjcmV0cw"), "`data` of file 1"),
            (file("a", "image/png", "c2VjcmV0cw=="), "7 bytes together; the limit is 6"),
        ] {
            let error = check(vec![wrong], 6).unwrap_err().to_string();
            assert!(error.contains(reason) && !error.contains("c2VjcmV0"), "{error}");
        }
        assert!(check(vec![file("a", "image/png", ""); MOST + 1], 6).is_err());
    }

    #[test]
    fn a_file_is_a_url_that_holds_it() {
        let files = check(vec![file("shot.png", "image/png", "AAEC")], 3).unwrap();
        assert_eq!(files[0].url(), "data:image/png;base64,AAEC");
        assert!(!format!("{files:?}").contains("AAEC"));
    }
}
