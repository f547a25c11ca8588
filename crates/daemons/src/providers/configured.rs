//! What the user's configuration of opencode says of model providers.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::daemon::lay_over;
use crate::environment::Environment;

/// The files, the later ones laid over the earlier ones, as opencode does.
pub(crate) const FILES: [&str; 3] = ["config.json", "opencode.json", "opencode.jsonc"];

/// Where providers and their settings stand, in 1.x and in 2.x.
const FORMS: [(&str, &str); 2] = [("provider", "options"), ("providers", "settings")];

/// What one provider is configured with. References to variables and files are still in it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Configured {
    pub(super) address: Option<String>,
    pub(super) key: Option<String>,
    pub(super) headers: Vec<(String, String)>,
}

/// The user's own configuration. What cannot be read counts as absent: opencode itself will say so.
pub(super) fn of_user(directory: &Path) -> Value {
    let mut all = Value::Object(Map::new());
    for name in FILES {
        let Ok(text) = std::fs::read_to_string(directory.join(name)) else { continue };
        if let Ok(config @ Value::Object(_)) = parse(&text) {
            lay_over(&mut all, &config);
        }
    }
    all
}

fn parse(text: &str) -> Result<Value, String> {
    let parsed = jsonc_parser::parse_to_serde_value::<Value>(text, &jsonc_parser::ParseOptions::default());
    parsed.map_err(|error| error.to_string())
}

/// The text of a file of settings without what may be a key of a provider.
pub(super) fn without_keys(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Ok(text.to_owned());
    }
    let mut config = parse(text)?;
    strip(&mut config);
    serde_json::to_string_pretty(&config).map_err(|error| error.to_string())
}

/// Takes out of a configuration what may be a key of a provider or of one of its models: `apiKey`, all
/// headers, and addresses with more in them than where something is.
pub(super) fn strip(config: &mut Value) {
    for (all, kind) in FORMS {
        let providers = config.get_mut(all).and_then(Value::as_object_mut).into_iter().flatten();
        for (_, provider) in providers {
            bare(provider, kind);
            let models = provider.get_mut("models").and_then(Value::as_object_mut).into_iter().flatten();
            models.for_each(|(_, model)| bare(model, kind));
        }
    }
}

fn bare(of: &mut Value, kind: &str) {
    let Some(of) = of.as_object_mut() else { return };
    of.remove("headers");
    if of.get("api").and_then(Value::as_str).is_some_and(|api| !is_plain(api)) {
        of.remove("api");
    }
    let Some(options) = of.get_mut(kind).and_then(Value::as_object_mut) else { return };
    options.remove("apiKey");
    options.remove("headers");
    if options.get("baseURL").is_some_and(|address| !address.as_str().is_some_and(is_plain)) {
        options.remove("baseURL");
    }
}

/// Whether an address says where something is and nothing else: no user, no query, no reference.
fn is_plain(address: &str) -> bool {
    let url = address.parse::<url::Url>();
    !address.contains('{')
        && url.is_ok_and(|url| {
            url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        })
}

/// The paths of the files that a text names by `{file:PATH}`.
pub(super) fn files(text: &str, environment: &Environment, base: &Path) -> Vec<PathBuf> {
    let references = text.split("{file:").skip(1);
    references.filter_map(|rest| Some(at(rest.split_once('}')?.0, environment, base))).collect()
}

/// The providers of a configuration of either generation, by name.
pub(super) fn providers(config: &Value) -> Vec<(String, Configured)> {
    let of_form = |(all, options): (&str, &'static str)| {
        let providers = config.get(all).and_then(Value::as_object).into_iter().flatten();
        providers.map(|(id, provider)| (id.clone(), one(provider, options))).collect::<Vec<_>>()
    };
    FORMS.into_iter().flat_map(of_form).collect()
}

fn one(provider: &Value, options: &str) -> Configured {
    let options = &provider[options];
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let headers = options["headers"].as_object().into_iter().flatten();
    Configured {
        address: text(&options["baseURL"]).or_else(|| text(&provider["api"])),
        key: text(&options["apiKey"]),
        headers: headers.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect(),
    }
}

/// `text` with what its references stand for, which are `{env:NAME}` and `{file:PATH}`, and the names of
/// those variables. What is not there is empty, as it is for opencode.
pub(super) fn resolved(text: &str, environment: &Environment, base: &Path) -> (String, Vec<String>) {
    let (mut result, mut names, mut rest) = (String::new(), Vec::new(), text);
    while let Some((before, reference)) = rest.split_once('{') {
        let Some((reference, after)) = reference.split_once('}') else { break };
        result.push_str(before);
        if let Some(name) = reference.strip_prefix("env:") {
            result.push_str(&environment.get(name).unwrap_or_default().to_string_lossy());
            names.push(name.to_owned());
        } else if let Some(path) = reference.strip_prefix("file:") {
            let text = std::fs::read_to_string(at(path, environment, base)).unwrap_or_default();
            result.push_str(text.trim());
        } else {
            result.push_str(&format!("{{{reference}}}"));
        }
        rest = after;
    }
    result.push_str(rest);
    (result, names)
}

fn at(path: &str, environment: &Environment, base: &Path) -> PathBuf {
    match (path.strip_prefix("~/"), environment.get("HOME")) {
        (Some(below), Some(home)) => Path::new(home).join(below),
        _ => base.join(path),
    }
}
