//! The token that clients carry, and the address where they connect.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use subtle::ConstantTimeEq as _;

/// The shortest token: nobody guesses it.
const SHORTEST: usize = 24;
/// The longest.
const LONGEST: usize = 512;

/// More of a file is no token.
const FILE: u64 = 1024;

/// The secret that a client carries. It is in no log, error or debug output.
#[derive(Clone)]
pub struct BearerToken(String);

/// Why a text is no token. It is not quoted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It could be guessed, or is no token at all.
    #[error("a token has {SHORTEST} to {LONGEST} characters; `openssl rand -hex 32` prints one")]
    Length,
    /// It cannot be sent in a header.
    #[error("a token is made of ASCII letters, digits and signs, without spaces")]
    Characters,
    /// Others may read its file.
    #[error("others may read it; make it yours alone with chmod 600")]
    Shared,
    /// Its file cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

impl BearerToken {
    /// A token, without the line's end that a file has.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim_end_matches(['\r', '\n']);
        if !(SHORTEST..=LONGEST).contains(&text.len()) {
            return Err(TokenError::Length);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Characters);
        }
        Ok(Self(text.to_owned()))
    }

    /// The token in a file that nobody else may read.
    pub fn from_file(path: &Path) -> Result<Self, TokenError> {
        Self::parse(&secret_file(path)?)
    }

    /// What a client carries, for whoever keeps it out of what is shown.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether a header's value carries it. How long that takes says nothing of how much of it is right.
    pub(crate) fn is_in(&self, value: &[u8]) -> bool {
        let Some((scheme, token)) = value.split_at_checked(7) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(token.ct_eq(self.0.as_bytes()))
    }
}

/// The first kilobyte of a file that nobody else may read.
pub fn secret_file(path: &Path) -> Result<String, TokenError> {
    let unreadable = |error: std::io::Error| TokenError::Unreadable(error.to_string());
    // Of a pipe, nobody would wait for its other end.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: File =
        rustix::fs::open(path, flags, Mode::empty()).map_err(|error| unreadable(error.into()))?.into();
    let metadata = file.metadata().map_err(unreadable)?;
    let own = [0, rustix::process::geteuid().as_raw()].contains(&metadata.uid());
    if !metadata.is_file() || !own || metadata.mode() & 0o077 != 0 {
        return Err(TokenError::Shared);
    }
    let mut text = String::new();
    file.take(FILE).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(…)")
    }
}

/// A port of this machine, as an argument names it: there is no way to offer it to others.
pub fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address = match text.parse::<u16>() {
        Ok(port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        Err(_) => {
            text.parse().map_err(|_| "expected a port, or an address such as 127.0.0.1:4400".to_owned())?
        }
    };
    if !address.ip().is_loopback() {
        return Err("it is served on this machine only: 127.0.0.1 or [::1]".to_owned());
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn only_this_machines_own_addresses_are_served() {
        for (text, address) in
            [("4400", "127.0.0.1:4400"), ("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:4400", "[::1]:4400")]
        {
            assert_eq!(loopback(text).unwrap().to_string(), address);
        }
        for text in ["0.0.0.0:4400", "[::]:4400", "192.168.1.2:4400", "localhost:4400", ":4400", "70000", ""]
        {
            assert!(loopback(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_is_read_from_a_file_of_ones_own_and_from_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
        for (mode, readable) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let read = BearerToken::from_file(&file);
            assert_eq!(read.is_ok(), readable, "{mode:o}");
            assert!(readable || read.unwrap_err() == TokenError::Shared);
        }
        assert!(matches!(
            BearerToken::from_file(directory.path()),
            Err(TokenError::Shared | TokenError::Unreadable(_))
        ));
    }

    #[test]
    fn a_token_is_long_and_shows_itself_nowhere() {
        let token = BearerToken::parse(&format!("{TOKEN}\n")).unwrap();
        assert!(!format!("{token:?}").contains(TOKEN));
        for (text, error) in [
            ("", TokenError::Length),
            ("short", TokenError::Length),
            (&*"x".repeat(513), TokenError::Length),
            ("0123456789 abcdef0123456789", TokenError::Characters),
            ("0123456789äbcdef0123456789", TokenError::Characters),
        ] {
            let seen = BearerToken::parse(text).unwrap_err();
            assert_eq!(seen, error, "{text}");
            assert!(text.is_empty() || !seen.to_string().contains(text));
        }
    }
}
