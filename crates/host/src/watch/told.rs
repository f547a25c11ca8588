//! What the system tells: that something happened, and nothing else.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use notify::{Config, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// Told of one path, for as long as it lives.
pub(super) struct Teller {
    told: Arc<AtomicBool>,
    woken: Arc<Notify>,
    following: Following,
}

/// What it is told of now.
enum Following {
    /// Nothing was there at the last look.
    Nothing,
    /// This directory, which has this identity.
    Directory { place: Place, _watcher: RecommendedWatcher },
    /// A directory that the system does not tell of.
    Untold(Place),
}

/// A directory, and which one it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    path: PathBuf,
    identity: (u64, u64),
    /// With all below it.
    whole: bool,
}

impl Teller {
    /// Told of nothing yet; `woken` is notified of each thing that it is told.
    pub(super) fn new(woken: Arc<Notify>) -> Self {
        Self { told: Arc::default(), woken, following: Following::Nothing }
    }

    /// Whether the system tells of what is there.
    pub(super) fn is_told(&self) -> bool {
        !matches!(self.following, Following::Untold(_))
    }

    /// Whether it was told something since it was asked last.
    pub(super) fn has_told(&self) -> bool {
        self.told.swap(false, Ordering::SeqCst)
    }

    /// Is told of `path` as it is now; says whether that is another place than before. A file is replaced by another as
    /// often as it is written to, so it is the directory around it that is followed.
    pub(super) async fn follow(&mut self, path: &Path) -> bool {
        let place = Place::of(path);
        let known = match &self.following {
            Following::Nothing => None,
            Following::Directory { place, .. } | Following::Untold(place) => Some(place),
        };
        if known == place.as_ref() {
            return false;
        }
        let Some(place) = place else {
            self.following = Following::Nothing;
            return true;
        };
        // It goes through all that is there.
        let (told, woken, of) = (Arc::clone(&self.told), Arc::clone(&self.woken), place.clone());
        let following = tokio::task::spawn_blocking(move || Following::of(of, told, woken)).await;
        self.following = following.unwrap_or(Following::Untold(place));
        true
    }
}

impl Following {
    fn of(place: Place, told: Arc<AtomicBool>, woken: Arc<Notify>) -> Self {
        let tell = move |event: notify::Result<notify::Event>| {
            // Who only reads changes nothing, and each look reads.
            if event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                return;
            }
            told.store(true, Ordering::SeqCst);
            woken.notify_one();
        };
        let mode = if place.whole { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        // Links below lead to what is not watched.
        let config = Config::default().with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(tell, config).and_then(|mut watcher| {
            watcher.watch(&place.path, mode)?;
            Ok(watcher)
        });
        match watcher {
            Ok(watcher) => Self::Directory { place, _watcher: watcher },
            Err(error) => {
                tracing::warn!(
                    path = %place.path.display(), %error,
                    "the system tells nothing of these files (see fs.inotify in `sysctl`); they are looked at every few seconds"
                );
                Self::Untold(place)
            }
        }
    }
}

impl Place {
    /// The directory that `path` leads to, or the one around the file there; `None` where there is neither.
    fn of(path: &Path) -> Option<Self> {
        let real = path.canonicalize();
        let path = real.as_deref().unwrap_or(path);
        let about = std::fs::metadata(path).ok();
        let whole = about.as_ref().is_some_and(std::fs::Metadata::is_dir);
        let (path, about) =
            if whole { (path, about?) } else { (path.parent()?, std::fs::metadata(path.parent()?).ok()?) };
        Some(Self { path: path.to_owned(), identity: (about.dev(), about.ino()), whole })
    }
}
