//! From a client's request to the one that the provider gets: a pure function.

use std::collections::BTreeMap;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::plan::{Provider, Secret};
use crate::server::without_hop_by_hop;

/// Where the protocols of providers have the key: `OpenAI`'s and most others', Anthropic's, Google's, Azure's.
const CREDENTIALS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("api-key"),
];
const BEARER: &[u8] = b"Bearer ";

/// Why a request goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("the token of this proxy is missing or wrong")]
    Token,
    #[error("no model provider is configured below this path")]
    Provider,
    #[error("the path leads out of the provider's own address")]
    Path,
    #[error("only GET and POST are passed on")]
    Method,
    #[error("it is no question to a model: only those are passed on")]
    Endpoint,
    #[error("the key that is configured for this provider is no header's value")]
    Key,
}

impl Refused {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Provider => StatusCode::NOT_FOUND,
            Self::Path => StatusCode::BAD_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Endpoint => StatusCode::FORBIDDEN,
            Self::Key => StatusCode::BAD_GATEWAY,
        }
    }
}

/// Whether a request shows the token.
pub(super) fn is_known(parts: &Parts, token: &Secret) -> bool {
    CREDENTIALS.iter().any(|name| parts.headers.get_all(name).iter().any(|value| shows(value, token)))
}

/// Which provider gets the request, at which address, with which headers.
pub(super) fn outgoing<'a>(
    parts: &Parts,
    token: &Secret,
    providers: &'a BTreeMap<String, Provider>,
) -> Result<(&'a Provider, Url, HeaderMap), Refused> {
    // Nobody without the token learns which providers there are.
    if !is_known(parts, token) {
        return Err(Refused::Token);
    }
    if !matches!(parts.method, Method::GET | Method::POST) {
        return Err(Refused::Method);
    }
    let path = parts.uri.path().strip_prefix('/').ok_or(Refused::Path)?;
    let (segment, rest) = path.split_once('/').unwrap_or((path, ""));
    let provider = providers.get(segment).ok_or(Refused::Provider)?;
    let url = below(&provider.upstream, rest, parts.uri.query()).ok_or(Refused::Path)?;
    if !asks_a_model(&parts.method, rest) {
        return Err(Refused::Endpoint);
    }
    Ok((provider, url, headers(parts, token, provider)?))
}

/// What a model is asked by, below a provider's address: of `OpenAI`'s protocols and those who speak them,
/// Anthropic's, Cohere's, and Vercel's gateway.
const QUESTIONS: [&str; 12] = [
    "chat/completions",
    "completions",
    "responses",
    "messages",
    "messages/count_tokens",
    "embeddings",
    "rerank",
    "chat",
    "embed",
    "language-model",
    "embedding-model",
    "api/chat",
];
/// What Google's models are asked by, after their name.
const METHODS: [&str; 5] =
    ["generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"];

/// Whether a request asks a model something, or which there are. With the same key a provider mints others,
/// and shows files, earlier answers and accounts.
fn asks_a_model(method: &Method, rest: &str) -> bool {
    let (first, after) = rest.split_once('/').unwrap_or((rest, ""));
    // Where an address ends before the version that the client adds.
    let rest = if is_version(first) { after } else { rest };
    if *method == Method::GET {
        return rest == "models";
    }
    let of_deployment = rest.strip_prefix("deployments/").and_then(|rest| rest.split_once('/'));
    let question = of_deployment.map_or(rest, |(_, question)| question);
    QUESTIONS.contains(&question) || is_of_google(rest)
}

/// `models/NAME:METHOD`.
fn is_of_google(rest: &str) -> bool {
    let named = ["models/", "tunedModels/"].iter().find_map(|all| rest.strip_prefix(all));
    named
        .and_then(|named| named.rsplit_once(':'))
        .is_some_and(|(name, method)| !name.is_empty() && !name.contains('/') && METHODS.contains(&method))
}

/// `v1`, `v1beta`.
fn is_version(part: &str) -> bool {
    part.strip_prefix('v').is_some_and(|rest| {
        rest.starts_with(|first: char| first.is_ascii_digit())
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

fn shows(value: &HeaderValue, token: &Secret) -> bool {
    token.is(value.as_bytes().strip_prefix(BEARER).unwrap_or(value.as_bytes()))
}

/// `rest` below `base`; nothing if it would lead out of it.
fn below(base: &Url, rest: &str, query: Option<&str>) -> Option<Url> {
    let mut above = base.path().to_owned();
    if !above.ends_with('/') {
        above.push('/');
    }
    // A parser of URLs resolves these, a server may once more: none is needed.
    let dots = |part: &str| {
        let part = part.to_ascii_lowercase().replace("%2e", ".");
        matches!(part.as_str(), "." | "..")
            || part.contains("%2f")
            || part.contains("%5c")
            || part.contains('\\')
    };
    if rest.split('/').any(dots) {
        return None;
    }
    let mut url = base.clone();
    url.set_path(&format!("{above}{rest}"));
    url.set_fragment(None);
    // What an operator wrote into the address, such as `?api-version=…`, stays.
    let query: Vec<&str> = base.query().into_iter().chain(query).filter(|query| !query.is_empty()).collect();
    url.set_query((!query.is_empty()).then(|| query.join("&")).as_deref());
    (url.origin() == base.origin() && url.path().starts_with(&above)).then_some(url)
}

fn headers(parts: &Parts, token: &Secret, provider: &Provider) -> Result<HeaderMap, Refused> {
    let mut headers = parts.headers.clone();
    without_hop_by_hop(&mut headers);
    // Answers must be readable in passing; the rest the client makes anew.
    for name in
        [header::HOST, header::CONTENT_LENGTH, header::ACCEPT_ENCODING, header::EXPECT, header::COOKIE]
    {
        headers.remove(name);
    }
    for name in CREDENTIALS {
        let Some(shown) = headers.remove(&name).filter(|shown| shows(shown, token)) else { continue };
        if let Some(key) = &provider.key {
            let bearer = if shown.as_bytes().starts_with(BEARER) { "Bearer " } else { "" };
            headers.insert(name, secret_value(&format!("{bearer}{}", key.expose()))?);
        }
    }
    for (name, value) in &provider.headers {
        let name = HeaderName::try_from(name).map_err(|_| Refused::Key)?;
        headers.insert(name, secret_value(value.expose())?);
    }
    Ok(headers)
}

fn secret_value(text: &str) -> Result<HeaderValue, Refused> {
    let mut value = HeaderValue::try_from(text).map_err(|_| Refused::Key)?;
    value.set_sensitive(true);
    Ok(value)
}

/// What of a request's body counts for the record.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Asked {
    /// The model: the body's, or that of Google's paths.
    pub(super) model: String,
    /// The body with a stream's usage asked for, where it was not.
    pub(super) with_usage: Option<Vec<u8>>,
}

/// A longer body is not taken apart: that takes many times its size.
const TAKEN_APART: usize = 8 << 20;

/// Reads a request's body.
pub(super) fn asked(url: &Url, body: &[u8]) -> Asked {
    if body.len() > TAKEN_APART {
        let model = serde_json::from_slice(body).map_or_else(|_| of_path(url), |Named { model }| model);
        return Asked { model, with_usage: None };
    }
    let mut body: Value = serde_json::from_slice(body).unwrap_or_default();
    let model = body["model"].as_str().map_or_else(|| of_path(url), str::to_owned);
    let tells = body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true));
    let streams = body["stream"] == true && url.path().ends_with("/chat/completions");
    let with_usage = (streams && !tells).then(|| {
        if !body["stream_options"].is_object() {
            body["stream_options"] = json!({});
        }
        body["stream_options"]["include_usage"] = json!(true);
        body.to_string().into_bytes()
    });
    Asked { model, with_usage }
}

#[derive(Deserialize)]
struct Named {
    model: String,
}

fn of_path(url: &Url) -> String {
    let mut parts = url.path().split('/').skip_while(|part| *part != "models").skip(1);
    let last = parts.next().unwrap_or("unknown");
    last.split(':').next().unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn providers() -> BTreeMap<String, Provider> {
        let one = |segment: &str, upstream: &str, key: Option<&str>| {
            let provider = Provider {
                name: segment.into(),
                segment: segment.into(),
                upstream: upstream.parse().unwrap(),
                key: key.map(Secret::from),
                headers: vec![],
            };
            (segment.to_owned(), provider)
        };
        let mut all = BTreeMap::from([
            one("a", "https://api.example/v1", Some("sk-real")),
            one("team", "https://gateway.example/team/v1/?version=2", Some("sk-real")),
            one("local", "http://127.0.0.1:11434/v1", None),
        ]);
        all.get_mut("team").unwrap().headers = vec![("x-team".into(), "sk-team".into())];
        all
    }

    fn asked(method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<(String, HeaderMap), Refused> {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let providers = providers();
        outgoing(&parts, &"token".into(), &providers).map(|(_, url, headers)| (url.to_string(), headers))
    }

    #[test]
    fn the_key_takes_the_tokens_place_in_each_protocols_header() {
        for (name, shown, sent) in [
            ("authorization", "Bearer token", "Bearer sk-real"),
            ("x-api-key", "token", "sk-real"),
            ("x-goog-api-key", "token", "sk-real"),
            ("api-key", "token", "sk-real"),
        ] {
            let (url, headers) =
                asked("POST", "/a/chat?x=1", &[(name, shown), ("accept", "text/event-stream")]).unwrap();
            assert_eq!(url, "https://api.example/v1/chat?x=1");
            assert_eq!(headers[name], sent);
            assert!(headers[name].is_sensitive());
            assert_eq!(headers.len(), 2, "{headers:?}");
        }
    }

    #[test]
    fn a_provider_without_a_key_gets_none_and_configured_headers_win() {
        let (_, headers) = asked("POST", "/local/chat", &[("authorization", "Bearer token")]).unwrap();
        assert!(headers.is_empty(), "{headers:?}");
        let (url, headers) =
            asked("POST", "/team/chat?a=b", &[("x-api-key", "token"), ("x-team", "mine")]).unwrap();
        assert_eq!(
            (url.as_str(), &headers["x-team"]),
            ("https://gateway.example/team/v1/chat?version=2&a=b", &"sk-team".parse().unwrap())
        );
    }

    #[test]
    fn what_belongs_to_the_connection_or_to_somebody_else_is_not_passed_on() {
        let given = [
            ("x-api-key", "token"),
            ("authorization", "Bearer other"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("proxy-authorization", "Basic x"),
            ("cookie", "a=b"),
            ("host", "127.0.0.1"),
            ("accept-encoding", "gzip"),
            ("anthropic-version", "2023-06-01"),
        ];
        let (_, headers) = asked("POST", "/a/messages", &given).unwrap();
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["anthropic-version", "x-api-key"]);
    }

    #[test]
    fn a_request_that_leads_elsewhere_is_refused() {
        let token = [("x-api-key", "token")];
        for (method, uri, headers, why) in [
            ("POST", "/a/chat", &[][..], Refused::Token),
            ("POST", "/a/chat", &[("x-api-key", "tokem")], Refused::Token),
            ("POST", "/a/chat", &[("x-api-key", "token2")], Refused::Token),
            ("POST", "/a/chat", &[("authorization", "Basic token")], Refused::Token),
            ("POST", "/a/chat", &[("x-other", "token")], Refused::Token),
            ("POST", "/none/chat", &token, Refused::Provider),
            ("POST", "/", &token, Refused::Provider),
            ("POST", "//api.example/chat", &token, Refused::Provider),
            ("DELETE", "/a/files/1", &token, Refused::Method),
            ("POST", "/a/../admin", &token, Refused::Path),
            ("POST", "/a/%2e%2e/admin", &token, Refused::Path),
            ("POST", "/a/x/.%2E/../admin", &token, Refused::Path),
            ("POST", "/team/..%2fadmin", &token, Refused::Path),
            ("POST", "/team/..%5cadmin", &token, Refused::Path),
        ] {
            assert_eq!(asked(method, uri, headers).unwrap_err(), why, "{method} {uri}");
        }
    }

    #[test]
    fn a_model_is_asked_and_nothing_else_of_a_provider() {
        let token = [("authorization", "Bearer token")];
        for (method, path) in [
            ("POST", "chat/completions"),
            ("POST", "v1/chat/completions"),
            ("POST", "chat/completions?api-version=1"),
            ("POST", "completions"),
            ("POST", "responses"),
            ("POST", "messages"),
            ("POST", "messages?beta=true"),
            ("POST", "v1/messages/count_tokens"),
            ("POST", "embeddings"),
            ("POST", "chat"),
            ("POST", "language-model"),
            ("POST", "deployments/gpt-5/chat/completions?api-version=1"),
            ("POST", "models/gemini-3:generateContent"),
            ("POST", "v1beta/models/gemini-3:streamGenerateContent?alt=sse"),
            ("POST", "models/gemini-3:countTokens"),
            ("GET", "models"),
            ("GET", "v1/models?limit=1000"),
        ] {
            assert!(asked(method, &format!("/a/{path}"), &token).is_ok(), "{method} {path}");
        }
        for (method, path) in [
            ("POST", "realtime/client_secrets"),
            ("POST", "realtime/sessions"),
            ("POST", "organization/admin_api_keys"),
            ("POST", "files"),
            ("GET", "files"),
            ("GET", "files/file-1/content"),
            ("POST", "batches"),
            ("GET", "responses/resp_1"),
            ("POST", "responses/resp_1/cancel"),
            ("GET", "chat/completions"),
            ("POST", "chat/completions/1"),
            ("POST", "fine_tuning/jobs"),
            ("POST", "assistants"),
            ("POST", "messages/batches"),
            ("GET", "messages"),
            ("POST", "models"),
            ("GET", "models/m"),
            ("POST", "models/gemini-3:batchGenerateContent"),
            ("POST", "models/a/b:generateContent"),
            ("POST", "models/:generateContent"),
            ("POST", "cachedContents"),
            ("POST", "deployments/gpt-5/files"),
            ("POST", "deployments/chat/completions/x"),
            ("GET", "key"),
            ("GET", "credits"),
            ("GET", "v1"),
            ("POST", "vx/chat/completions"),
            ("POST", "/evil.example/x"),
            ("POST", "@evil.example:80/x"),
            ("POST", ""),
        ] {
            assert_eq!(
                asked(method, &format!("/a/{path}"), &token).unwrap_err(),
                Refused::Endpoint,
                "{method} {path}"
            );
        }
    }

    #[test]
    fn the_model_is_the_bodys_or_the_paths_whatever_else_is_in_it() {
        let url = |path: &str| format!("https://x.example{path}").parse::<Url>().unwrap();
        for (path, body, name) in [
            ("/v1/chat", r#"{"messages":[],"model":"gpt-5","stream":true}"#, "gpt-5"),
            ("/v1/chat", r#"{"model":"gpt-5","model":"gpt-5-mini"}"#, "gpt-5-mini"),
            ("/v1beta/models/gemini-3:streamGenerateContent", "{}", "gemini-3"),
            ("/v1/models", "", "unknown"),
            ("/v1/chat", "not json", "unknown"),
            ("/v1/chat", "[]", "unknown"),
            ("/v1/chat", r#"{"model":1}"#, "unknown"),
        ] {
            assert_eq!(super::asked(&url(path), body.as_bytes()).model, name, "{path} {body}");
        }
    }

    #[test]
    fn a_long_body_tells_its_model_and_is_passed_on_as_it_is() {
        let body = format!(r#"{{"x":"{}","model":"m","stream":true}}"#, "x".repeat(TAKEN_APART));
        let url = "https://x.example/v1/chat/completions".parse().unwrap();
        assert_eq!(super::asked(&url, body.as_bytes()), Asked { model: "m".into(), with_usage: None });
    }

    #[test]
    fn a_stream_is_asked_for_its_usage_where_the_client_does_not() {
        for (path, body, told) in [
            ("/v1/chat/completions", r#"{"stream":true}"#, Some(json!({ "include_usage": true }))),
            (
                "/v1/chat/completions",
                r#"{"stream":true,"stream_options":{"include_usage":false,"x":1}}"#,
                Some(json!({ "include_usage": true, "x": 1 })),
            ),
            (
                "/v1/chat/completions",
                r#"{"stream":true,"stream_options":7}"#,
                Some(json!({ "include_usage": true })),
            ),
            ("/v1/chat/completions", r#"{"stream":true,"stream_options":{"include_usage":true}}"#, None),
            ("/v1/chat/completions", r#"{"stream":false}"#, None),
            ("/v1/messages", r#"{"stream":true}"#, None),
            ("/v1/chat/completions", "not json", None),
        ] {
            let url = format!("https://x.example{path}").parse().unwrap();
            let changed = super::asked(&url, body.as_bytes()).with_usage;
            let changed = changed.map(|body| serde_json::from_slice::<Value>(&body).unwrap());
            assert_eq!(changed.as_ref().map(|body| &body["stream_options"]), told.as_ref(), "{path} {body}");
            assert!(changed.is_none_or(|body| body["stream"] == true));
        }
    }
}
