//! What every request to one daemon carries, whatever its generation.

use bytes::Bytes;
use connector_contract::Origin;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request};
use secrecy::SecretString;
use serde_json::Value;

/// The origin, and the right to enter.
#[derive(Clone)]
pub(crate) struct Base {
    origin: Origin,
    authorization: Option<HeaderValue>,
}

impl Base {
    pub(crate) fn new(origin: &Origin, password: Option<&SecretString>) -> Self {
        let authorization = password.and_then(|it| opencode_api::authorization(it).ok());
        Self { origin: origin.clone(), authorization }
    }

    /// `path` is made of constants and validated ids; `pairs` may hold anything.
    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        pairs: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Request<Bytes> {
        let mut uri = format!("{}{path}", self.origin);
        if !pairs.is_empty() {
            uri.push('?');
            uri.push_str(&url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish());
        }
        let mut request = Request::new(body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string())));
        *request.method_mut() = method;
        // Origins, validated ids and encoded queries are always a URI; an empty
        // one reaches nothing.
        *request.uri_mut() = uri.parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(value) = &self.authorization {
            headers.insert(AUTHORIZATION, value.clone());
        }
        request
    }
}
