//! The port at which requests from outside come in and fire rules.
//!
//! A request is looked at from its cheapest side: path, method, who may send it at all, kind, its token or what its body
//! is to be checked by; then that is read up to a limit, checked, and stored as an event whose id is the delivery's. It
//! is answered once it is stored: 201, or 200 where it was there before. Any other answer is a problem in JSON, and
//! nothing is stored but where it took too long. It listens on loopback for a reverse proxy that speaks TLS to the world.
//!
//! What it never does: run anything, say in a log what a request says, or read the body of one without a signature or the
//! token where there is to be one.

mod serve;
mod take;

use std::collections::HashMap;
use std::net::TcpListener as StdListener;

use connector_contract::chain;
use connector_rules::RuleSet;
use opencode_daemons::Environment;
use secrecy::SecretString;
use tokio::net::TcpListener;

use crate::config::WebhooksConfig;
use crate::exit::Failure;
use crate::webhook::Hook;

pub(super) use serve::Serving;

/// A port that is listened at, and the webhooks that are heard there.
pub(super) struct Port {
    listener: TcpListener,
    hooks: HashMap<String, Hook>,
}

impl Port {
    /// The port that `config` asks for. One that cannot be had, and a webhook without its secret, is an error.
    pub(super) fn open(config: &WebhooksConfig, environment: &Environment) -> Result<Option<Self>, Failure> {
        let hooks = Hook::all(config, environment).map_err(|error| Failure::usage(chain(&error)))?;
        let Some(address) = config.listen else { return Ok(None) };
        let bound = || {
            let listener = StdListener::bind(address.0)?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listener = bound()
            .map_err(|error| Failure::failed(format!("[webhooks] listen = {}: {error}", address.0)))?;
        let hooks = hooks.into_iter().map(|hook| (hook.path.as_str().to_owned(), hook)).collect();
        Ok(Some(Self { listener, hooks }))
    }

    /// The port, where it is bound.
    pub(super) fn number(&self) -> std::io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// What its webhooks are checked by.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &SecretString> {
        self.hooks.values().filter_map(Hook::secret)
    }
}

/// The rules that wait for a webhook in vain, and webhooks that are heard nowhere, in words.
pub(super) fn in_vain(config: &WebhooksConfig, rules: &RuleSet) -> Vec<String> {
    let waiting = rules.rules().iter().filter(|rule| rule.enabled());
    let waiting = waiting.filter_map(|rule| rule.webhook().map(|path| (rule, path)));
    let of_rule = |(rule, path): (&std::sync::Arc<connector_rules::Rule>, &connector_rules::HookPath)| {
        let lacks = match (config.paths.contains_key(path), config.listen) {
            (true, Some(_)) => return None,
            (false, _) => {
                format!("there is no [webhooks.paths.\"{path}\"] that says how a request is checked")
            }
            (true, None) => "[webhooks] has no `listen`".to_owned(),
        };
        let name = rule.name();
        Some(format!("the rule {name} waits for requests to {path} that nothing takes: {lacks}"))
    };
    let unheard = (config.listen.is_none() && !config.paths.is_empty())
        .then(|| "[webhooks] has `paths` and no `listen`: no request is taken".to_owned());
    waiting.filter_map(of_rule).chain(unheard).collect()
}

#[cfg(test)]
mod tests {
    use connector_rules::SourceFile;

    use super::*;

    #[test]
    fn a_rule_that_waits_in_vain_is_told_of_with_what_is_missing() {
        let rules = |path: &str, enabled: bool| {
            let text = format!(
                "[rule]\nname = \"r\"\nenabled = {enabled}\n[trigger]\ntype = \"Webhook\"\npath = \"{path}\"\n\
                 [[actions]]\ntype = \"Reply\"\ntext = \"x\"\n"
            );
            RuleSet::parse([SourceFile::new("r.toml", text)]).unwrap()
        };
        let (listen, path) = ("listen = \"127.0.0.1:0\"\n", "[paths.\"/ci\"]\nverify = \"none\"\n");
        for (config, rules, words) in [
            (format!("{listen}{path}"), rules("/ci", true), vec![]),
            (String::new(), rules("/ci", false), vec![]),
            (String::new(), rules("/ci", true), vec!["[webhooks.paths.\"/ci\"]"]),
            (format!("{listen}{path}"), rules("/cd", true), vec!["[webhooks.paths.\"/cd\"]"]),
            (path.to_owned(), rules("/ci", true), vec!["no `listen`", "no request is taken"]),
        ] {
            let told = in_vain(&toml::from_str(&config).unwrap(), &rules);
            assert_eq!(told.len(), words.len(), "{config}: {told:?}");
            assert!(told.iter().zip(words).all(|(told, words)| told.contains(words)), "{config}: {told:?}");
        }
    }
}
