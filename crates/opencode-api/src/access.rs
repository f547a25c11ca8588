//! The right to enter a daemon.

use data_encoding::BASE64;
use http::header::{HeaderValue, InvalidHeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

use crate::Generation;

/// The variables with a daemon's password: of 1.x, and of 2.x.
pub const PASSWORD_VARIABLES: [&str; 2] =
    [Generation::One.password_variable(), Generation::Two.password_variable()];

/// The name that goes with the password, in both generations.
pub const USER: &str = "opencode";

/// The `Authorization` header of basic auth, marked as sensitive.
///
/// # Errors
///
/// None that any password brings about.
pub fn authorization(password: &SecretString) -> Result<HeaderValue, InvalidHeaderValue> {
    let pair = BASE64.encode(format!("{USER}:{}", password.expose_secret()).as_bytes());
    let mut value = HeaderValue::try_from(format!("Basic {pair}"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_a_sensitive_header() {
        let header = authorization(&SecretString::from("pw")).unwrap();
        assert_eq!(header, "Basic b3BlbmNvZGU6cHc=");
        assert!(header.is_sensitive() && !format!("{header:?}").contains("b3Bl"));
    }
}
