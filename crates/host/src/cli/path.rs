//! Paths in arguments: absolute from the moment they are parsed.

use clap::builder::{OsStringValueParser, TypedValueParser};
use connector_files::{AbsolutePath, Base};
use opencode_daemons::Environment;

use crate::exit::Failure;

/// Takes a path, which starts at the working directory; `~` is the home directory, where the shell left it.
pub(super) fn absolute() -> impl TypedValueParser<Value = AbsolutePath> {
    OsStringValueParser::new().try_map(|given| {
        let base = base().map_err(|error| format!("the working directory is gone: {error}"))?;
        let resolved = if given.is_empty() { None } else { base.resolve(&given) };
        resolved.ok_or_else(|| "it is empty, or there is no home directory for its `~`".to_owned())
    })
}

/// `host.toml` in the working directory, if it is there, or else the one of this user.
pub(super) fn config(given: Option<&AbsolutePath>) -> Result<AbsolutePath, Failure> {
    if let Some(given) = given {
        return Ok(given.clone());
    }
    let here = base()?.resolve("host.toml");
    let own = own_directory().map(|own| own.join("host.toml")).filter(|own| own.is_file());
    let here = here.filter(|here| here.is_file() || own.is_none());
    here.or(own).ok_or_else(|| Failure::usage("there is no host.toml; name it with -c"))
}

/// Where this user's configuration of the host is.
pub(super) fn own_directory() -> Option<AbsolutePath> {
    use etcetera::BaseStrategy as _;
    let base = etcetera::choose_base_strategy().ok()?;
    AbsolutePath::new(base.config_dir().join("connector-host"))
}

fn base() -> std::io::Result<Base> {
    Base::of_arguments(Environment::of_this_process().get("HOME").map(Into::into))
}
