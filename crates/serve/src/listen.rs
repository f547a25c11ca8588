//! Where clients of HTTP connect, and the token that they carry.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::TcpListener;
use std::path::Path;

use connector_mcp::{BearerToken, TokenError};

use crate::Failure;
use crate::arguments::Arguments;
use crate::settings::HTTP_TOKEN;

/// A socket that listens, and who may speak to it.
pub(crate) struct Listening {
    pub(crate) listener: TcpListener,
    pub(crate) token: BearerToken,
}

/// Listens where the arguments say; nowhere if they do not.
pub(crate) fn listen(
    arguments: &Arguments,
    environment: &BTreeMap<OsString, OsString>,
) -> Result<Option<Listening>, Failure> {
    let Some(address) = arguments.http else { return Ok(None) };
    let token = token(arguments.http_token_file.as_deref(), environment)?;
    let open = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok::<_, std::io::Error>(listener)
    };
    let listener = open().map_err(|error| Failure::Failed(format!("--http {address}: {error}")))?;
    Ok(Some(Listening { listener, token }))
}

fn token(file: Option<&Path>, environment: &BTreeMap<OsString, OsString>) -> Result<BearerToken, Failure> {
    let wrong = |place: String| move |error: TokenError| Failure::Usage(format!("{place}: {error}"));
    if let Some(file) = file {
        let place = format!("--http-token-file {}", file.display());
        return BearerToken::from_file(file).map_err(wrong(place));
    }
    let Some(value) = environment.get(&OsString::from(HTTP_TOKEN)) else {
        return Err(Failure::Usage(format!(
            "--http takes a token that clients carry: a file that nobody else may read, with --http-token-file, or \
             {HTTP_TOKEN}; `openssl rand -hex 32` prints one"
        )));
    };
    BearerToken::parse(value.to_str().unwrap_or_default()).map_err(wrong(HTTP_TOKEN.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_none_is_named_by_its_place_and_not_quoted() {
        let error = token(None, &BTreeMap::new()).err().unwrap().to_string();
        assert!(error.contains("--http-token-file") && error.contains(HTTP_TOKEN), "{error}");
        let given = |text: &str| token(None, &BTreeMap::from([(HTTP_TOKEN.into(), text.into())]));
        let error = given("hunter2").err().unwrap().to_string();
        assert!(error.contains(HTTP_TOKEN) && !error.contains("hunter2"), "{error}");
        assert!(given("0123456789abcdef0123456789abcdef").is_ok());
        let error = token(Some(Path::new("/nowhere/token")), &BTreeMap::new()).err().unwrap().to_string();
        assert!(error.contains("--http-token-file /nowhere/token"), "{error}");
    }
}
