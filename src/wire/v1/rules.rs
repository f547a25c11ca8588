//! The rules that hold without a session's own: those of an agent, in which opencode
//! has put together its own, the user's and the agent's.

use serde::Deserialize;

use crate::permissions::WireRule;
use crate::wire::read::undecodable;
use crate::wire::{Below, Undecodable};

/// Reads `GET /agent` and `GET /config`, in this order.
pub(super) fn below(agents: &[u8], config: &[u8], agent: Option<&str>) -> Result<Below, Undecodable> {
    #[derive(Deserialize)]
    struct Agent {
        name: String,
        #[serde(default)]
        mode: Option<String>,
        #[serde(default)]
        hidden: Option<bool>,
        permission: Vec<WireRule>,
    }
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        default_agent: Option<String>,
    }
    let agents: Vec<Agent> = serde_json::from_slice(agents).map_err(undecodable("the list of agents"))?;
    let config: Config = serde_json::from_slice(config).map_err(undecodable("the configuration"))?;
    let begins = |it: &&Agent| it.mode.as_deref() != Some("subagent") && it.hidden != Some(true);
    let wanted = agent.or(config.default_agent.as_deref());
    let named = |name: &str| agents.iter().find(|it| it.name == name);
    let found = match wanted {
        Some(name) => named(name),
        None => named("build").filter(begins).or_else(|| agents.iter().find(begins)),
    };
    Ok(found.map_or(Below::NoAgent, |found| Below::Rules(found.permission.clone())))
}
