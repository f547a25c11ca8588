//! What a workspace holds on the disk: looked at beside everything else, since that may take long.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::confine::Confinement;
use crate::daemon::{Home, Spec};
use crate::disk;
use crate::place::Held;
use crate::resource_limits::{Excess, ResourceLimits};

/// How long after one look the next one begins.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The temporary files, the caches and the own data of one daemon and its agent's commands.
pub(super) struct Room {
    most: Option<u64>,
    places: Vec<PathBuf>,
    /// Where the commands have what can be removed: temporary files, and what package managers fetched.
    temporary: Vec<PathBuf>,
    /// Which caches have something in them from the start.
    confinement: Option<Confinement>,
    look: Option<JoinHandle<u64>>,
    next: Instant,
    /// How many looks in a row found too much.
    overrun: u32,
}

/// How many looks may find too much, one after the other: what goes on then is not the commands' doing.
const OVERRUNS: u32 = 5;

impl Room {
    pub(super) fn of(spec: &Spec, resource_limits: ResourceLimits) -> Self {
        let own = match &spec.home {
            Home::Own(own) | Home::Isolated(own) => Some(own.clone()),
            Home::User => None,
        };
        let of_commands = spec.confinement.iter().flat_map(|confinement| {
            [Some(confinement.tmp.clone()), confinement.caches().map(Path::to_owned)]
        });
        let temporary: Vec<_> = of_commands.flatten().collect();
        let of_daemon = spec.confinement.as_ref().map(Confinement::tmp_of_daemon);
        Self {
            most: resource_limits.disk_mb,
            places: own.into_iter().chain(temporary.clone()).chain(of_daemon).collect(),
            temporary,
            confinement: spec.confinement.clone(),
            look: None,
            next: Instant::now(),
            overrun: 0,
        }
    }

    /// Whether it stays too much, whatever is ended and removed.
    pub(super) fn is_lasting(&self) -> bool {
        self.overrun >= OVERRUNS
    }

    /// What the last finished look found too much of; begins another when it is time.
    pub(super) async fn exceeded(&mut self) -> Option<Excess> {
        let most = self.most?;
        if let Some(done) = self.look.take_if(|look| look.is_finished()) {
            self.next = Instant::now() + LOOK_EVERY;
            let held = done.await.unwrap_or_default();
            let too_much = held > most << 20;
            self.overrun = if too_much { self.overrun + 1 } else { 0 };
            return too_much.then_some(Excess::Disk { most });
        }
        if self.look.is_none() && Instant::now() >= self.next {
            let places = self.places.clone();
            self.look = Some(tokio::task::spawn_blocking(move || disk::held(&places, most << 20)));
        }
        None
    }

    /// Removes the temporary files and the caches of commands, none of which runs any more; says whether there were any. Fails where
    /// what belongs in the caches cannot be put there again: without it a package manager asks a registry that is not
    /// the user's.
    pub(super) async fn make(&self) -> io::Result<bool> {
        let (temporary, confinement) = (self.temporary.clone(), self.confinement.clone());
        let empty = move || {
            let any = temporary.iter().filter(|place| emptied(place)).count() > 0;
            confinement.map_or(Ok(()), |confinement| confinement.fill_caches()).map(|()| any)
        };
        tokio::task::spawn_blocking(empty).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

/// The directory itself stays: walls are around it.
fn emptied(directory: &Path) -> bool {
    let (Ok(held), Ok(entries)) = (Held::over(directory), std::fs::read_dir(directory)) else { return false };
    let mut any = false;
    for entry in entries.flatten() {
        any |= held.clear(Path::new(&entry.file_name())).is_ok();
    }
    any
}
