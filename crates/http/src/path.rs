//! Paths: put together from what a rule gives, and taken where all parsers read the same.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value};

/// The longest, in bytes, with its query.
const LONGEST: usize = 8 << 10;

/// All but what stands for itself anywhere in a path or a query.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What stands in a path or a query as it is.
const PLAIN: &str = "-._~!$&()*+,;=:@/%";

/// `path` with the values of `params` where it names them, and `query` behind it. What is approved is what is sent.
pub(crate) fn put_together(
    path: &str,
    params: &Map<String, Value>,
    query: &Map<String, Value>,
) -> Result<String, String> {
    let mut whole = filled(path, params)?;
    check(&whole)?;
    for (name, value) in query {
        whole.push(if whole.contains('?') { '&' } else { '?' });
        whole.push_str(&format!("{}={}", encoded(name), encoded(&text(value))));
    }
    if whole.len() > LONGEST {
        return Err(format!("`path` and `query` have {} bytes together, of {LONGEST} at most", whole.len()));
    }
    Ok(whole)
}

/// The path with each `{NAME}` filled in.
fn filled(path: &str, params: &Map<String, Value>) -> Result<String, String> {
    let (mut whole, mut rest, mut used) = (String::new(), path, 0);
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            return Err("`path` has a { without a }".to_owned());
        };
        let Some(value) = params.get(name) else {
            return Err(format!("`path` names {{{name}}}, which is not in `params`"));
        };
        if before.contains('?') || whole.contains('?') {
            return Err(format!("`path` has {{{name}}} in its query; put it into `query`"));
        }
        whole.push_str(before);
        let value = text(value);
        if value.is_empty() {
            return Err(format!("`params`: `{name}` is empty"));
        }
        whole.push_str(&encoded(&value));
        (rest, used) = (after, used + 1);
    }
    whole.push_str(rest);
    if used < params.len() {
        return Err("`params` has a name that `path` does not".to_owned());
    }
    Ok(whole)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Takes a path that no server resolves to another one.
fn check(path: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("`path` {what}"));
    if !path.starts_with('/') {
        return wrong("begins with /");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || PLAIN.contains(c) || c == '?';
    if let Some(odd) = path.chars().find(|c| !plain(*c)) {
        return wrong(&format!(
            "has {odd:?} in it; write what is no plain character as %XX, or put it into `params`"
        ));
    }
    let bytes = path.as_bytes();
    let whole = |at: usize| bytes[at + 1..].iter().take(2).filter(|it| it.is_ascii_hexdigit()).count() == 2;
    if path.match_indices('%').any(|(at, _)| !whole(at)) {
        return wrong("has a % without two hexadecimal digits");
    }
    for segment in path.split('?').next().unwrap_or_default().split('/') {
        // As servers read it that decode before they look, and those that cut what stands behind a semicolon.
        let read = percent_decode_str(segment).decode_utf8_lossy();
        let read = read.split(';').next().unwrap_or_default();
        if read == "." || read == ".." {
            return wrong("has `.` or `..` as a segment; write where that leads");
        }
        if let Some(odd) = read.chars().find(|c| matches!(c, '/' | '\\' | '%') || c.is_control()) {
            return wrong(&format!("has {odd:?} in a segment, which servers read in different ways"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn whole(path: &str, params: &Value, query: &Value) -> Result<String, String> {
        put_together(path, params.as_object().unwrap(), query.as_object().unwrap())
    }

    #[test]
    fn a_path_that_is_read_differently_is_refused() {
        let none = json!({});
        for path in
            ["/", "/a/b?c=d&e=%20f", "/a/b.c/..d/...", "/a//b", "/?q=../x", "/a:b@c", "/a;v=1/b", "/%c3%bc"]
        {
            assert_eq!(whole(path, &none, &none).as_deref(), Ok(path));
        }
        for path in [
            "",
            "a",
            "//\u{e9}",
            "/a b",
            "/a#b",
            "/a\\b",
            "/a/../b",
            "/a/./b",
            "/..",
            "/a/%2e%2E/b",
            "/.%2e",
            "/%zz",
            "/%2",
            "/a\n",
            "/a'b",
            "/?q='",
            "/a|b",
            "http://evil.example/",
            "/a/..%2fb",
            "/a/%2e%2e%2Fb",
            "/a/..%5cb",
            "/a/..;/b",
            "/a/.;x=1/b",
            "/a%00b",
            "/a%252fb",
            "/a%0d%0ab",
            "/{a}",
            "/{",
        ] {
            assert!(whole(path, &none, &none).is_err(), "{path}");
        }
        assert!(whole(&format!("/{}", "a".repeat(LONGEST)), &none, &none).is_err());
    }

    #[test]
    fn a_value_stays_where_the_rule_put_it() {
        for (value, sent) in [
            (json!("7"), "/issues/7/x?q=7"),
            (json!(7), "/issues/7/x?q=7"),
            (json!("a b&c=d?e#f"), "/issues/a%20b%26c%3Dd%3Fe%23f/x?q=a%20b%26c%3Dd%3Fe%23f"),
            (json!("\u{fc}"), "/issues/%C3%BC/x?q=%C3%BC"),
            (json!("{a}"), "/issues/%7Ba%7D/x?q=%7Ba%7D"),
        ] {
            let params = json!({ "id": value });
            assert_eq!(whole("/issues/{id}/x", &params, &json!({ "q": value })).as_deref(), Ok(sent));
        }
        for value in ["..", ".", "7/export", "..\\", "", "a\nb", "%2f", "..;a"] {
            assert!(whole("/issues/{id}", &json!({ "id": value }), &json!({})).is_err(), "{value:?}");
        }
        assert!(whole("/x", &json!({ "id": 1 }), &json!({})).is_err(), "a value that goes nowhere");
        assert!(whole("/x?q={id}", &json!({ "id": 1 }), &json!({})).is_err(), "a query has its own");
        assert_eq!(whole("/x?a=b", &json!({}), &json!({ "c": true })).as_deref(), Ok("/x?a=b&c=true"));
    }
}
