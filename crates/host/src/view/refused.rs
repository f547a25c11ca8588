//! What the walls refused a step, and what opens it.

use std::collections::BTreeSet;

use connector_contract::facts::Facts;
use connector_surface::text::one_line;

/// What the walls refused while a step ran, of the network and of paths, a line each; nothing when it was nothing.
pub(super) fn refused(facts: Facts<'_>) -> Option<String> {
    let shown = |all: Vec<&str>| all.into_iter().map(one_line).collect::<Vec<_>>();
    let (hosts, paths) = (shown(facts.network_refused()), shown(facts.paths_refused()));
    let of_network = (!hosts.is_empty())
        .then(|| format!("network: refused {} · `hosts` of the workspace opens it", hosts.join(", ")));
    let told: Vec<_> = of_network.into_iter().chain(refused_paths(&paths)).collect();
    (!told.is_empty()).then(|| told.join("\n"))
}

/// How many refused paths are named.
const PATHS_NAMED: usize = 3;

fn refused_paths(paths: &[String]) -> Option<String> {
    let distinct: BTreeSet<_> = paths.iter().map(String::as_str).collect();
    let more = if distinct.len() > PATHS_NAMED { " …" } else { "" };
    let named = distinct.into_iter().take(PATHS_NAMED).collect::<Vec<_>>().join(", ");
    let refusals = match paths.len() {
        0 => return None,
        1 => "a closed path".to_owned(),
        many => format!("closed paths {many} times"),
    };
    Some(format!(
        "walls: the output named {refusals} ({named}{more}) · `read` or `write` of the workspace opens them"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_walls_refused_is_told_a_line_each() {
        for (output, told) in [
            (serde_json::json!({}), None),
            (serde_json::json!({ "network_refused": [], "paths_refused": [] }), None),
            (
                serde_json::json!({ "paths_refused": ["~/.npm"] }),
                Some(
                    "walls: the output named a closed path (~/.npm) · `read` or `write` of the workspace opens them",
                ),
            ),
            (
                serde_json::json!({ "network_refused": ["h:443"], "paths_refused": ["~/.npm", "~/.npm", "/a\nb", "~/c", "~/d"] }),
                Some(
                    "network: refused h:443 · `hosts` of the workspace opens it\n\
                     walls: the output named closed paths 5 times (/a\\nb, ~/.npm, ~/c …) · `read` or `write` of the workspace opens them",
                ),
            ),
        ] {
            assert_eq!(refused(Facts::of(&output)).as_deref(), told);
        }
    }
}
