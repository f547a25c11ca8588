//! What a server says of its own errors, and who hears it.

use std::fmt;
use std::sync::Arc;

use crate::problem::{Problem, shortened};

type Keep = dyn Fn(&str) -> String + Send + Sync;

/// Who hears a server's own words about an error. They may hold anything, its secrets included.
#[derive(Clone, Default)]
pub enum Words {
    /// Whoever hears of the error, shortened: for a server whose words are ours.
    #[default]
    Told,
    /// Who this gives them to; it answers what the others are told in their place.
    Withheld(Arc<Keep>),
}

impl Words {
    /// What an error says.
    pub(crate) fn of(&self, said: &str) -> String {
        match self {
            Self::Told => shortened(said),
            Self::Withheld(keep) => keep(said),
        }
    }

    /// The same for an error as data.
    pub(crate) fn in_problem(&self, problem: Problem) -> Problem {
        match self {
            Self::Told => problem,
            Self::Withheld(_) => Problem { reason: self.of(&problem.reason), ..problem },
        }
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Told => "Told",
            Self::Withheld(_) => "Withheld",
        })
    }
}
