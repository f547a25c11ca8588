//! Passwords and marks: random, printable, safe in a header and in a file name.

use data_encoding::HEXLOWER;

/// `N` random bytes from the operating system, in hexadecimal.
pub(crate) fn hex<const N: usize>() -> std::io::Result<String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(HEXLOWER.encode(&bytes))
}
