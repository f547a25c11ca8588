//! Rules, and the host they are for as far as its configuration describes it.

use std::path::Path;

use connector_contract::chain;
use connector_engine::followers;
use connector_gate::policy::GateConfig;
use connector_rules::{Diagnostics, LintPolicy, RuleSet, SourceFile};

use super::super::path;
use super::Sources;
use crate::build::registry::STANDARD;
use crate::build::{Plan, PlanError};
use crate::config::{HostConfig, Surfaces};
use crate::exit::Failure;
use crate::{assemble, catalog};

/// Rules and the host they are for.
pub(super) struct Known {
    /// The texts of the rules.
    pub(super) files: Vec<SourceFile>,
    /// The host.
    pub(super) plan: Plan,
    /// The gate.
    pub(super) gate: GateConfig,
    /// Its chats, where it is known.
    surfaces: Option<Surfaces>,
}

impl Known {
    /// What `sources` say, or else `host.toml`.
    pub(super) async fn load(sources: &Sources) -> Result<Self, Failure> {
        let config = sources.config.clone().or_else(|| {
            // Where there is none, rules can be looked at without.
            let usual = path::config(None).ok()?;
            usual.exists().then_some(usual)
        });
        let usage = |error: PlanError| Failure::usage(chain(&error));
        let Some(config) = config else {
            let Some(rules) = &sources.rules else {
                return Err(Failure::usage("say where the rules are: --rules DIR, or -c host.toml"));
            };
            let plan = Plan::without_config(&STANDARD).await.map_err(usage)?;
            return Self::with(rules, plan, GateConfig::default(), None);
        };
        let config = HostConfig::load(&config).map_err(|error| Failure::usage(chain(&error)))?;
        let plan = Plan::of(&config, &STANDARD).await.map_err(usage)?;
        let rules = sources.rules.as_ref().unwrap_or(&config.rules);
        Self::with(rules, plan, config.gate, Some(config.surfaces))
    }

    fn with(rules: &Path, plan: Plan, gate: GateConfig, surfaces: Option<Surfaces>) -> Result<Self, Failure> {
        let files = assemble::rule_files(rules).map_err(|error| Failure::usage(chain(&error)))?;
        Ok(Self { files, plan, gate, surfaces })
    }

    /// The rules, or what is wrong with them.
    pub(super) fn parse(&self) -> Result<RuleSet, Diagnostics> {
        RuleSet::parse(self.files.iter().cloned())
    }

    /// The rules; mistakes in them are a mistake of the caller.
    pub(super) fn rules(&self) -> Result<RuleSet, Failure> {
        self.parse().map_err(|wrong| {
            Failure::usage(format!("the rules have mistakes; see `rules lint`\n{}", wrong.render(false)))
        })
    }

    /// What the gate lets pass, and whom of those that `rules` name the host may not tell.
    pub(super) fn policy(&self, rules: &RuleSet) -> LintPolicy {
        let refused = self
            .surfaces
            .as_ref()
            .map(|surfaces| followers::refused(rules, |chat| STANDARD.admits(surfaces, chat)));
        LintPolicy {
            unusable: self.plan.unusable.clone(),
            refused_followers: refused.unwrap_or_default(),
            ..catalog::policy(&self.gate)
        }
    }
}
