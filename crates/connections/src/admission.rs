//! Whether a request may be read at all.

use std::fmt;
use std::net::SocketAddr;

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, StatusCode, Uri};

use crate::token::BearerToken;

/// Which requests are read: those to this port by one of its names, from no page, with the token.
#[derive(Debug)]
pub struct Admission {
    authorities: Vec<String>,
    token: BearerToken,
}

/// Why a request is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It was sent to another name, which led here.
    Host,
    /// A page in a browser sent it.
    Origin,
    /// It does not carry the token.
    Token,
}

impl Refusal {
    /// The status that answers it.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Host | Self::Origin => StatusCode::FORBIDDEN,
            Self::Token => StatusCode::UNAUTHORIZED,
        }
    }

    /// What the one who sent it is told.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "this server answers to 127.0.0.1 and localhost at its own port",
            Self::Origin => "this server answers no page in a browser",
            Self::Token => "the request carries no bearer token, or another",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Admission {
    /// The admission to a server that listens at `address`.
    pub fn new(address: SocketAddr, token: BearerToken) -> Self {
        let port = address.port();
        let names = ["127.0.0.1", "localhost", "[::1]"];
        let mut authorities: Vec<String> = names.iter().map(|name| format!("{name}:{port}")).collect();
        if port == 80 {
            authorities.extend(names.map(str::to_owned));
        }
        Self { authorities, token }
    }

    /// By which names it answers.
    pub fn authorities(&self) -> &[String] {
        &self.authorities
    }

    /// Whether a request may be read.
    pub fn admits(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let ours = |name: &str| self.authorities.iter().any(|it| it.eq_ignore_ascii_case(name));
        let host = only(headers, &HOST).and_then(|value| std::str::from_utf8(value).ok());
        if !host.is_some_and(ours) || uri.authority().is_some_and(|it| !ours(it.as_str())) {
            return Err(Refusal::Host);
        }
        if headers.contains_key(ORIGIN) {
            return Err(Refusal::Origin);
        }
        match only(headers, &AUTHORIZATION) {
            Some(value) if self.token.is_in(value) => Ok(()),
            _ => Err(Refusal::Token),
        }
    }
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then(|| first.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn judged(uri: &str, headers: &[(&str, &str)]) -> Result<(), Refusal> {
        let address = "127.0.0.1:4400".parse().unwrap();
        let admission = Admission::new(address, BearerToken::parse(TOKEN).unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        admission.admits(&uri.parse().unwrap(), &map)
    }

    #[test]
    fn a_request_to_this_port_with_the_token_is_read() {
        let bearer = format!("Bearer {TOKEN}");
        for host in ["127.0.0.1:4400", "localhost:4400", "LOCALHOST:4400", "[::1]:4400"] {
            assert_eq!(judged("/mcp", &[("host", host), ("authorization", &bearer)]), Ok(()), "{host}");
        }
        let other_case = format!("bearer {TOKEN}");
        assert_eq!(judged("/mcp", &[("host", "localhost:4400"), ("authorization", &other_case)]), Ok(()));
    }

    #[test]
    fn a_name_that_was_bound_to_this_machine_is_not_answered_whatever_it_carries() {
        let bearer = format!("Bearer {TOKEN}");
        for host in [
            "evil.example:4400",
            "localhost.evil.example:4400",
            "127.0.0.1.evil.example:4400",
            "evil.example@127.0.0.1:4400",
            "127.0.0.1",
            "127.0.0.1:80",
            "127.0.0.1:44000",
            "127.0.0.2:4400",
            "0.0.0.0:4400",
            "2130706433:4400",
            "",
        ] {
            let seen = judged("/mcp", &[("host", host), ("authorization", &bearer)]);
            assert_eq!(seen, Err(Refusal::Host), "{host}");
        }
        assert_eq!(judged("/mcp", &[("authorization", &bearer)]), Err(Refusal::Host), "no host at all");
        let twice = [("host", "127.0.0.1:4400"), ("host", "evil.example:4400"), ("authorization", &bearer)];
        assert_eq!(judged("/mcp", &twice), Err(Refusal::Host));
        let absolute = [("host", "127.0.0.1:4400"), ("authorization", bearer.as_str())];
        assert_eq!(judged("http://evil.example:4400/mcp", &absolute), Err(Refusal::Host));
    }

    #[test]
    fn no_page_is_answered_not_even_one_of_this_machine() {
        let bearer = format!("Bearer {TOKEN}");
        for origin in ["http://evil.example", "null", "http://localhost:4400", "http://127.0.0.1:4400", ""] {
            let seen =
                judged("/mcp", &[("host", "127.0.0.1:4400"), ("origin", origin), ("authorization", &bearer)]);
            assert_eq!(seen, Err(Refusal::Origin), "{origin}");
        }
    }

    #[test]
    fn without_the_very_token_nothing_is_read() {
        let short = &TOKEN[..31];
        for value in [
            String::new(),
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            TOKEN.to_owned(),
            format!("Basic {TOKEN}"),
            format!("Bearer {short}"),
            format!("Bearer {TOKEN}0"),
            format!("Bearer  {TOKEN}"),
            format!("Bearer {}", TOKEN.to_uppercase()),
        ] {
            let seen = judged("/mcp", &[("host", "127.0.0.1:4400"), ("authorization", &value)]);
            assert_eq!(seen, Err(Refusal::Token), "{value}");
        }
        assert_eq!(judged("/mcp", &[("host", "127.0.0.1:4400")]), Err(Refusal::Token));
        let query = format!("/mcp?token={TOKEN}&access_token={TOKEN}");
        assert_eq!(judged(&query, &[("host", "127.0.0.1:4400")]), Err(Refusal::Token));
        let bearer = format!("Bearer {TOKEN}");
        let twice = [("host", "127.0.0.1:4400"), ("authorization", "Bearer x"), ("authorization", &bearer)];
        assert_eq!(judged("/mcp", &twice), Err(Refusal::Token));
    }
}
