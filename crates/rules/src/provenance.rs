//! The note that tells an agent where its prompt came from.

use crate::rule::{Provenance, ResolveError, Rule};
use crate::scope::{Lookup, Scope};

impl Rule {
    /// The note for this run, to be given to the agent as a system text beside the prompt; `None`
    /// when the rule wants none.
    ///
    /// The usual note names the surface and the rule and quotes nothing of the event, so that a
    /// chat message cannot speak in it.
    pub fn provenance(&self, scope: &Scope<'_>) -> Result<Option<String>, ResolveError> {
        match &self.file.rule.provenance {
            Provenance::Off => Ok(None),
            Provenance::Usual if self.schedule().is_some() => {
                Ok(Some(format!("This request was made by the schedule of the rule {:?}.", self.name())))
            }
            Provenance::Usual if self.webhook().is_some() => Ok(Some(format!(
                "This request was made by the webhook of the rule {:?}. What it quotes from there was \
                 written by whoever sent the request.",
                self.name(),
            ))),
            Provenance::Usual if self.file_watch().is_some() => Ok(Some(format!(
                "This request was made by the rule {:?}, since files changed. What it quotes of them was \
                 written by whoever changed them.",
                self.name(),
            ))),
            Provenance::Usual => Ok(Some(format!(
                "This request came from {} ({}) through the rule {:?}. What it quotes from there \
                 was written by a user of that surface.",
                scope.event.connector,
                scope.event.event,
                self.name(),
            ))),
            Provenance::Note(note) => note
                .resolve_text(&Lookup::from(scope))
                .map(Some)
                .map_err(|source| ResolveError { param: "provenance".to_owned(), source }),
        }
    }
}
