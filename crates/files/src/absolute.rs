//! Paths that mean the same from every working directory.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An absolute path. Made where a path is parsed, and nowhere else.
///
/// Its `Deserialize` takes relative paths and `~` within [`Base::reading`] alone; without a base a
/// relative path is an error, so that none is taken for what it is not.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AbsolutePath(PathBuf);

/// What relative paths and `~` start from.
#[derive(Debug, Clone)]
pub struct Base {
    directory: AbsolutePath,
    home: Option<PathBuf>,
}

thread_local! {
    static BASE: RefCell<Option<Base>> = const { RefCell::new(None) };
}

impl AbsolutePath {
    /// The path itself, if it is absolute.
    pub fn new(path: impl Into<PathBuf>) -> Option<Self> {
        let path = path.into();
        path.is_absolute().then(|| Self(tidy(&path)))
    }

    /// The path below this one; an absolute one replaces it.
    #[must_use]
    pub fn join(&self, path: impl AsRef<Path>) -> Self {
        Self(tidy(&self.0.join(path)))
    }

    /// The directory it is in; the root is in itself.
    #[must_use]
    pub fn parent(&self) -> Self {
        Self(self.0.parent().unwrap_or(&self.0).to_owned())
    }

    /// What `path` means within [`Base::reading`]: for settings that are left out. Below the root elsewhere.
    pub fn of_base(path: impl AsRef<OsStr>) -> Self {
        let resolved = BASE.with_borrow(|base| base.as_ref().and_then(|base| base.resolve(&path)));
        resolved.unwrap_or_else(|| Self::default().join(Path::new(path.as_ref())))
    }

    /// As a path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// As a path that can be changed.
    pub fn into_path_buf(self) -> PathBuf {
        self.0
    }
}

impl Base {
    /// Relative paths start at `directory`, and `~` is `home`.
    pub fn new(directory: AbsolutePath, home: Option<PathBuf>) -> Self {
        Self { directory, home: home.filter(|home| home.is_absolute()) }
    }

    /// Relative paths start at the working directory, as they do in arguments.
    pub fn of_arguments(home: Option<PathBuf>) -> std::io::Result<Self> {
        let directory = std::env::current_dir()?;
        let directory = AbsolutePath::new(directory).ok_or(std::io::ErrorKind::NotFound)?;
        Ok(Self::new(directory, home))
    }

    /// What `path` means here; nothing if it starts with `~` and there is no home directory.
    pub fn resolve(&self, path: impl AsRef<OsStr>) -> Option<AbsolutePath> {
        let path = Path::new(path.as_ref());
        match path.strip_prefix("~") {
            Ok(below) => Some(AbsolutePath(tidy(&self.home.as_ref()?.join(below)))),
            Err(_) => Some(self.directory.join(path)),
        }
    }

    /// Runs `read`, in which deserialized paths start from here.
    pub fn reading<T>(&self, read: impl FnOnce() -> T) -> T {
        let _restored = Restored(BASE.replace(Some(self.clone())));
        read()
    }
}

/// Puts the base back that was there before, also when a reader panics.
struct Restored(Option<Base>);

impl Drop for Restored {
    fn drop(&mut self) {
        BASE.set(self.0.take());
    }
}

/// Without `.` and doubled slashes. `..` stays: what it means depends on links.
fn tidy(path: &Path) -> PathBuf {
    path.components().collect()
}

/// The root, for settings that are filled in one by one.
impl Default for AbsolutePath {
    fn default() -> Self {
        Self(PathBuf::from("/"))
    }
}

impl Deref for AbsolutePath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for AbsolutePath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<OsStr> for AbsolutePath {
    fn as_ref(&self) -> &OsStr {
        self.0.as_os_str()
    }
}

impl From<AbsolutePath> for PathBuf {
    fn from(path: AbsolutePath) -> Self {
        path.0
    }
}

impl fmt::Debug for AbsolutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl schemars::JsonSchema for AbsolutePath {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Path".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }

    fn inline_schema() -> bool {
        true
    }
}

impl Serialize for AbsolutePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AbsolutePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = PathBuf::deserialize(deserializer)?;
        if path.as_os_str().is_empty() {
            return Err(D::Error::custom("a path is empty"));
        }
        let resolved = BASE.with_borrow(|base| match base {
            Some(base) => base.resolve(&path).ok_or("there is no home directory for a path with `~`"),
            None => Self::new(&path).ok_or("a path must be absolute here"),
        });
        resolved.map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Base {
        Base::new(AbsolutePath::new("/etc/host").unwrap(), Some("/home/me".into()))
    }

    #[test]
    fn a_path_means_what_it_says_from_its_base_alone() {
        for (given, meant) in [
            ("ws", "/etc/host/ws"),
            ("./ws//a/.", "/etc/host/ws/a"),
            ("../ws", "/etc/host/../ws"),
            (".", "/etc/host"),
            ("/ws", "/ws"),
            ("~", "/home/me"),
            ("~/ws", "/home/me/ws"),
            ("~other/ws", "/etc/host/~other/ws"),
            ("a/~", "/etc/host/a/~"),
        ] {
            assert_eq!(base().resolve(given).unwrap().as_path(), Path::new(meant), "{given}");
            let read: AbsolutePath =
                base().reading(|| serde_json::from_value(serde_json::json!(given))).unwrap();
            assert_eq!(read.as_path(), Path::new(meant), "{given}");
        }
    }

    #[test]
    fn a_relative_path_without_a_base_and_a_home_that_is_none_are_errors() {
        let read = |text: &str| serde_json::from_value::<AbsolutePath>(serde_json::json!(text));
        assert_eq!(read("/ws").unwrap().as_path(), Path::new("/ws"));
        for text in ["ws", "~/ws", "", "./ws"] {
            assert!(read(text).is_err(), "{text}");
        }
        let homeless = Base::new(AbsolutePath::default(), Some("relative".into()));
        assert_eq!(homeless.resolve("~/ws"), None);
        assert!(homeless.reading(|| read("~/ws")).is_err());
        assert!(base().reading(|| read("")).is_err());
    }

    #[test]
    fn a_base_holds_for_its_reading_and_no_longer() {
        let read = || serde_json::from_value::<AbsolutePath>(serde_json::json!("ws"));
        let inner = Base::new(AbsolutePath::new("/inner").unwrap(), None);
        base().reading(|| {
            assert_eq!(inner.reading(read).unwrap().as_path(), Path::new("/inner/ws"));
            assert_eq!(read().unwrap().as_path(), Path::new("/etc/host/ws"));
        });
        assert!(std::panic::catch_unwind(|| base().reading(|| panic!("while reading"))).is_err());
        assert!(read().is_err());
    }
}
