//! The rules that hold without a session's own, what the configuration names, and what
//! was granted for good.
//!
//! A location that is cold tells first no agents, and then those of opencode without
//! the configuration: an agent counts once it has what the configuration says.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::answers::{RawModel, rule, unwrap};
use crate::model::ModelRef;
use crate::permissions::{Action, WireRule};
use crate::wire::read::undecodable;
use crate::wire::{Below, Undecodable};

/// One document of the configuration, as far as it matters here.
#[derive(Default, Deserialize)]
struct Document {
    #[serde(default)]
    model: Option<Value>,
    #[serde(default)]
    default_agent: Option<Value>,
    #[serde(default)]
    permissions: Vec<Value>,
    #[serde(default)]
    agents: Map<String, Value>,
}

fn documents(body: &[u8]) -> Result<Vec<Document>, Undecodable> {
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        info: Option<Document>,
    }
    let wrapped = unwrap::<Vec<Entry>>(body, "the configuration");
    let plain = || serde_json::from_slice(body).map_err(undecodable("the configuration"));
    let entries: Vec<Entry> = wrapped.or_else(|_| plain())?;
    Ok(entries.into_iter().filter_map(|entry| entry.info).collect())
}

/// The model that the configuration names: later documents win.
pub(super) fn configured_model(body: &[u8]) -> Option<ModelRef> {
    #[derive(Deserialize)]
    struct Pair {
        #[serde(rename = "providerID")]
        provider: String,
        model: String,
    }
    let model = documents(body).ok()?.into_iter().rev().find_map(|document| document.model)?;
    if let Value::String(text) = &model {
        return text.parse().ok();
    }
    let pair = serde_json::from_value::<Pair>(model.clone());
    match pair {
        Ok(Pair { provider, model }) => format!("{provider}/{model}").parse().ok(),
        Err(_) => serde_json::from_value::<RawModel>(model).ok()?.read(),
    }
}

#[derive(Deserialize)]
struct Agent {
    id: String,
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    hidden: bool,
    #[serde(default)]
    permissions: Vec<Value>,
    #[serde(default)]
    model: Option<Value>,
}

impl Agent {
    fn begins(&self) -> bool {
        self.mode.as_deref() != Some("subagent") && !self.hidden
    }
}

const AGENTS: &str = "the list of agents";

/// The agent of that name, or the one that is used when none is named.
fn found<'a>(agents: &'a [Agent], documents: &[Document], agent: Option<&str>) -> Option<&'a Agent> {
    let default = documents.iter().rev().find_map(|it| it.default_agent.as_ref()?.as_str());
    let named = |name: &str| agents.iter().find(|it| it.id == name);
    match agent.or(default) {
        Some(name) => named(name),
        None => named("build").filter(|it| it.begins()).or_else(|| agents.iter().find(|it| it.begins())),
    }
}

/// The model of its own that the agent has, of the answers that [`below`] reads.
pub(super) fn agent_model(agents: &[u8], config: &[u8], agent: Option<&str>) -> Option<ModelRef> {
    let agents: Vec<Agent> = unwrap(agents, AGENTS).ok()?;
    let model = found(&agents, &documents(config).ok()?, agent)?.model.clone()?;
    serde_json::from_value::<RawModel>(model).ok()?.read()
}

/// The project of `GET /api/location`.
pub(super) fn project(body: &[u8]) -> Option<String> {
    let location: Value = serde_json::from_slice(body).ok()?;
    Some(location.get("project")?.get("id")?.as_str()?.to_owned())
}

/// Reads `GET /api/agent` and `GET /api/config`, in this order.
pub(super) fn below(agents: &[u8], config: &[u8], agent: Option<&str>) -> Result<Below, Undecodable> {
    let agents: Vec<Agent> = unwrap(agents, AGENTS)?;
    let documents = documents(config)?;
    if agents.is_empty() {
        return Ok(Below::NotYet);
    }
    let Some(found) = found(&agents, &documents, agent) else { return Ok(Below::NoAgent) };
    let unreadable = || Undecodable { what: AGENTS, why: "a rule is of another shape".to_owned() };
    let read = |rules: &[Value]| rules.iter().map(|it| rule(it.clone())).collect::<Option<Vec<_>>>();
    let rules = read(&found.permissions).ok_or_else(unreadable)?;
    for document in &documents {
        let own = document.agents.get(&found.id).and_then(|it| it.get("permissions")?.as_array());
        for told in [Some(&document.permissions), own].into_iter().flatten() {
            if !has(&rules, &read(told).ok_or_else(unreadable)?) {
                return Ok(Below::NotYet);
            }
        }
    }
    Ok(Below::Rules(rules))
}

/// Whether `rules` has all of `some`, in their order.
fn has(rules: &[WireRule], some: &[WireRule]) -> bool {
    let mut rest = rules.iter();
    some.iter().all(|wanted| rest.any(|it| same(it, wanted)))
}

/// A home directory is written out in what an agent has.
fn same(held: &WireRule, told: &WireRule) -> bool {
    let home = ["~", "$HOME"].into_iter().find_map(|home| told.pattern.strip_prefix(home));
    let pattern = match home {
        Some(below) => held.pattern.ends_with(below),
        None => held.pattern == told.pattern,
    };
    pattern && held.permission == told.permission && held.action == told.action
}

/// What somebody granted for good.
pub(super) fn saved(body: &[u8]) -> Result<Vec<WireRule>, Undecodable> {
    #[derive(Deserialize)]
    struct Raw {
        action: String,
        resource: String,
    }
    let raw: Vec<Raw> = unwrap(body, "the list of saved permissions")?;
    let grant = |it: Raw| WireRule { permission: it.action, pattern: it.resource, action: Action::Allow };
    Ok(raw.into_iter().map(grant).collect())
}
