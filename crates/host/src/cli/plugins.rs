//! `plugins`: what the packages beside the configuration ask for, and granting it.
//!
//! None of these commands runs a package. `grant` and `revoke` change
//! `host.toml`, and nothing else does.

mod file;
mod row;

use std::io::{IsTerminal as _, Write as _};

use clap::Subcommand;
use connector_contract::chain;
use connector_files::AbsolutePath;
use connector_plugins::package::{Package, PackageGrant, PluginName};

use super::{Common, path};
use crate::config::HostConfig;
use crate::exit::{Exit, Failure};
use file::GrantFile;
use row::Row;

/// `plugins`
#[derive(Debug, Subcommand)]
pub(super) enum Plugins {
    /// Show each package: what it asks for, who signed it, and whether it may run
    List {
        #[command(flatten)]
        host: Host,
    },
    /// Check packages against their grants, and fail if one of them may not run
    Verify {
        /// The package; all of them when absent
        name: Option<PluginName>,
        #[command(flatten)]
        host: Host,
    },
    /// Grant a package what it asks for, for exactly the files that are there now
    Grant {
        /// The package
        name: PluginName,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        host: Host,
    },
    /// Take back what a package was granted
    Revoke {
        /// The package
        name: PluginName,
        #[command(flatten)]
        host: Host,
    },
}

/// Which host the packages are for.
#[derive(Debug, clap::Args)]
pub(super) struct Host {
    /// The configuration [default: host.toml here, or else in your configuration directory]
    #[arg(short, long, value_name = "FILE", value_parser = path::absolute())]
    config: Option<AbsolutePath>,
}

impl Plugins {
    pub(super) fn run(self, common: &Common) -> Result<Exit, Failure> {
        match self {
            Self::List { host } => {
                let config = host.load()?;
                show(common, &config, &rows(&config)?)?;
                Ok(Exit::Done)
            }
            Self::Verify { name, host } => verify(common, &host.load()?, name.as_ref()),
            Self::Grant { name, yes, host } => grant(common, &host, &name, yes),
            Self::Revoke { name, host } => revoke(common, &host, &name),
        }
    }
}

impl Host {
    fn file(&self) -> Result<AbsolutePath, Failure> {
        path::config(self.config.as_ref())
    }

    fn load(&self) -> Result<HostConfig, Failure> {
        HostConfig::load(&self.file()?).map_err(|error| Failure::usage(chain(&error)))
    }
}

/// A row for each package, and for each grant without one; by name.
fn rows(config: &HostConfig) -> Result<Vec<Row>, Failure> {
    let mut rows: Vec<Row> = Package::all(&config.plugins_dir)?
        .into_iter()
        .map(|found| match found.package {
            Ok(package) => judged(config, &package),
            Err(error) => Row::unusable(&found.name.to_string_lossy(), &error),
        })
        .collect();
    for name in config.plugins.keys() {
        if !rows.iter().any(|row| row.package == name.as_str()) {
            rows.push(one(config, name));
        }
    }
    rows.sort_by(|a, b| a.package.cmp(&b.package));
    Ok(rows)
}

fn one(config: &HostConfig, name: &PluginName) -> Row {
    match Package::open(&config.plugins_dir, name) {
        Ok(package) => judged(config, &package),
        Err(error) => Row::unusable(name.as_str(), &error),
    }
}

fn judged(config: &HostConfig, package: &Package) -> Row {
    let grant = config.plugins.get(package.name());
    Row::new(package, package.verdict(grant, &config.plugin_trust))
}

fn show(common: &Common, config: &HostConfig, rows: &[Row]) -> Result<(), Failure> {
    common.print(&rows, |rows| match rows.len() {
        0 => format!("there is no package in {}", config.plugins_dir.display()),
        _ => rows.iter().map(Row::text).collect::<Vec<_>>().join("\n\n"),
    })
}

fn verify(common: &Common, config: &HostConfig, name: Option<&PluginName>) -> Result<Exit, Failure> {
    let rows = match name {
        Some(name) => vec![one(config, name)],
        None => rows(config)?,
    };
    show(common, config, &rows)?;
    Ok(if rows.iter().all(Row::may_run) { Exit::Done } else { Exit::Failed })
}

fn grant(common: &Common, host: &Host, name: &PluginName, yes: bool) -> Result<Exit, Failure> {
    if !yes && !std::io::stdin().is_terminal() {
        let text = "a grant is a person's decision, and there is no terminal to ask at; \
            look at `plugins list`, and then say --yes";
        return Err(Failure::usage(text));
    }
    let config = host.load()?;
    let package = Package::open(&config.plugins_dir, name).map_err(|error| Failure::failed(chain(&error)))?;
    let before = config.plugins.get(name);
    let require_signature = before.is_some_and(|grant| grant.require_signature);
    let grant = PackageGrant { require_signature, ..package.full_grant() };
    // What a grant cannot mend is said before anything is asked.
    let row = Row::new(&package, package.verdict(Some(&grant), &config.plugin_trust));
    if !row.may_run() {
        let reasons: Vec<&str> = row.refusals.iter().map(|reason| reason.text.as_str()).collect();
        return Err(Failure::failed(format!("{name} cannot be granted: {}", reasons.join("; "))));
    }
    if !yes && !confirmed(&row.question(before))? {
        return Err(Failure::failed(format!("nothing was granted to {name}")));
    }
    let file = host.file()?;
    GrantFile::open(&file)?.grant(name, &grant)?;
    common.print(&row, |row| {
        format!("{}\nwritten to {}; a host takes it at its next start", row.text(), file.display())
    })?;
    Ok(Exit::Done)
}

/// Shows `question` on standard error and reads one line. Anything but a yes is a no.
fn confirmed(question: &str) -> Result<bool, Failure> {
    let mut out = anstream::stderr();
    write!(out, "{question}\ngrant it this? [y/N] ")?;
    out.flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "yes"))
}

fn revoke(common: &Common, host: &Host, name: &PluginName) -> Result<Exit, Failure> {
    host.load()?;
    if !GrantFile::open(&host.file()?)?.revoke(name)? {
        return Err(Failure::usage(format!("{name} was not granted anything; see `plugins list`")));
    }
    let answer = serde_json::json!({ "package": name, "revoked": true });
    common.print(&answer, |_| {
        format!("{name} has no grant any more; a host that runs keeps to it until it is started again")
    })?;
    Ok(Exit::Done)
}
