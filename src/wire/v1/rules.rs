//! The rules that hold without a session's own: those of an agent, in which opencode
//! has put together its own, the user's and the agent's.

use serde::Deserialize;
use serde_json::Value;

use crate::model::ModelRef;
use crate::permissions::WireRule;
use crate::wire::read::undecodable;
use crate::wire::{Below, Undecodable};

#[derive(Deserialize)]
struct Agent {
    name: String,
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    hidden: Option<bool>,
    permission: Vec<WireRule>,
    #[serde(default)]
    model: Option<Value>,
}

/// Reads `GET /agent` and `GET /config`, in this order.
pub(super) fn below(agents: &[u8], config: &[u8], agent: Option<&str>) -> Result<Below, Undecodable> {
    Ok(found(agents, config, agent)?.map_or(Below::NoAgent, |found| Below::Rules(found.permission)))
}

/// The model of its own that the agent has, of the same answers.
pub(super) fn agent_model(agents: &[u8], config: &[u8], agent: Option<&str>) -> Option<ModelRef> {
    let model = found(agents, config, agent).ok()??.model?;
    let half = |key: &str| model.get(key)?.as_str();
    format!("{}/{}", half("providerID")?, half("modelID")?).parse().ok()
}

fn found(agents: &[u8], config: &[u8], agent: Option<&str>) -> Result<Option<Agent>, Undecodable> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        default_agent: Option<String>,
    }
    let agents: Vec<Agent> = serde_json::from_slice(agents).map_err(undecodable("the list of agents"))?;
    let config: Config = serde_json::from_slice(config).map_err(undecodable("the configuration"))?;
    let begins = |it: &Agent| it.mode.as_deref() != Some("subagent") && it.hidden != Some(true);
    let at = if let Some(name) = agent.or(config.default_agent.as_deref()) {
        agents.iter().position(|it| it.name == name)
    } else {
        let build = agents.iter().position(|it| it.name == "build" && begins(it));
        build.or_else(|| agents.iter().position(begins))
    };
    Ok(at.and_then(|at| agents.into_iter().nth(at)))
}
