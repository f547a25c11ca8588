//! The command line. It carries no secret: other users can list processes.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Serves agentic coding through a running `opencode serve` as MCP tools, over
/// standard input and output. An MCP host starts it; there is nothing to type.
/// With `--http` it serves many MCP clients of this machine instead.
#[derive(Debug, Clone, Parser)]
#[command(name = "connector-opencode", version, max_term_width = 100, after_help = SETTINGS)]
pub(crate) struct Arguments {
    /// Read settings from this TOML file; the environment overrides it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Read the daemon's password from this open file descriptor, up to its end
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(3..))]
    pub(crate) password_fd: Option<u32>,
    /// Whether the kernel confines this process to the daemon's port before it serves
    #[arg(long, value_enum, value_name = "WHETHER", default_value = "auto")]
    pub(crate) walls: Walls,
    /// Serve HTTP at this port of this machine, such as 4400 or 127.0.0.1:4400, in place of standard input and output
    #[arg(long, value_name = "ADDRESS", value_parser = connector_mcp::loopback)]
    pub(crate) http: Option<SocketAddr>,
    /// Read the token that clients of `--http` carry from this file, which nobody else may read; without it, the
    /// token is in the variable `CONNECTOR_OPENCODE_HTTP_TOKEN`
    #[arg(long, value_name = "FILE", requires = "http")]
    pub(crate) http_token_file: Option<PathBuf>,
    /// What to log on standard error, such as `debug`
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub(crate) log: String,
}

/// Whether there are walls around this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Walls {
    /// Where the kernel can; what it cannot hold is said
    Auto,
    /// Or it does not serve
    Require,
    /// None
    Off,
}

/// The settings that most people need; a test compares it with what is read.
const SETTINGS: &str = "\
Settings, as keys of the file or as variables of the environment:
  base_url       CONNECTOR_OPENCODE_BASE_URL       the daemon [default: http://127.0.0.1:4096]
  password       CONNECTOR_OPENCODE_PASSWORD       its OPENCODE_PASSWORD (2.x) or
                                                   OPENCODE_SERVER_PASSWORD (1.x); these serve too
  model          CONNECTOR_OPENCODE_MODEL          provider/model [default: the daemon's]
  agent          CONNECTOR_OPENCODE_AGENT          the daemon's agent [default: its own]
  directory      CONNECTOR_OPENCODE_DIRECTORY      where the agent works [default: the daemon's]
  asks           CONNECTOR_OPENCODE_ASKS           relay, reject or allow [default: relay]
  deadline_secs  CONNECTOR_OPENCODE_DEADLINE_SECS  how long one task may take [default: 3600]
docs/mcp.md has them all.

Exit codes: 0 the client closed the connection, 1 it could not be served, 2 called wrongly.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_settings_that_there_are() {
        for line in SETTINGS.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
            let mut words = line.split_whitespace();
            let (key, variable) = (words.next().unwrap(), words.next().unwrap());
            let setting = crate::settings::KEYS.iter().find(|(name, _)| *name == key).unwrap();
            assert_eq!(variable, crate::settings::variable(setting.0));
        }
    }

    #[test]
    fn no_argument_takes_a_secret() {
        use clap::CommandFactory as _;
        let command = Arguments::command();
        let names: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        assert_eq!(names, ["config", "password-fd", "walls", "http", "http-token-file", "log"]);
    }
}
