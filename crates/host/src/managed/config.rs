//! `[opencode]`, `[workspaces]` and `[routing]` of `host.toml`. Unknown keys are errors.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use connector_files::AbsolutePath;
use opencode_daemons::PoolConfig;
use opencode_daemons::pool::{Confine, WorkspaceConfig};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Which model does what, as `provider/model`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Routing {
    /// For everything that nothing more special is said about.
    pub model: Option<String>,
    /// By kind of task.
    pub task_overrides: TaskOverrides,
}

/// Models by kind of task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TaskOverrides {
    /// Coding tasks, which is what opencode is given.
    pub coding: Option<String>,
}

impl Routing {
    /// The model of coding tasks in `workspace`: its own, else that of the kind of task, else the
    /// general one. Nothing leaves the choice to opencode.
    pub fn coding<'a>(&'a self, workspace: Option<&'a WorkspaceConfig>) -> Option<&'a str> {
        let own = workspace.and_then(|workspace| workspace.model.as_deref());
        own.or(self.task_overrides.coding.as_deref()).or(self.model.as_deref())
    }
}

/// Reads `[opencode]`, which may also be just the path of the binary.
pub fn opencode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PoolConfig, D::Error> {
    struct PathOrTable;
    impl<'de> Visitor<'de> for PathOrTable {
        type Value = PoolConfig;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table, or the path of the opencode binary")
        }

        fn visit_str<E: Error>(self, path: &str) -> Result<PoolConfig, E> {
            Ok(PoolConfig { path: Some(path.to_owned()), ..PoolConfig::default() })
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PoolConfig, A::Error> {
            let config = PoolConfig::deserialize(MapAccessDeserializer::new(map))?;
            if !config.workspaces.is_empty() {
                return Err(A::Error::custom("workspaces stand in [workspaces.NAME]"));
            }
            Ok(config)
        }
    }
    deserializer.deserialize_any(PathOrTable)
}

/// The pool for `workspaces`, where `~/` in `read` and `write` is `home`.
pub fn pool(
    common: &PoolConfig,
    workspaces: &BTreeMap<String, WorkspaceConfig>,
    home: Option<&Path>,
) -> PoolConfig {
    let mut pool = PoolConfig { workspaces: workspaces.clone(), ..common.clone() };
    let doors =
        pool.workspaces.values_mut().flat_map(|workspace| [&mut workspace.read, &mut workspace.write]);
    for door in doors.chain([&mut pool.read, &mut pool.write]).flatten() {
        if let (Some(home), Ok(below)) = (home, door.strip_prefix("~")) {
            *door = home.join(below);
        }
    }
    pool
}

/// What is asked for the walls of `workspace`.
pub fn confine(pool: &PoolConfig, workspace: &str) -> Confine {
    let own = pool.workspaces.get(workspace).and_then(|workspace| workspace.confine);
    own.unwrap_or(pool.confine)
}

/// A pool for one directory, under a name that no other directory has.
pub fn for_directory(directory: &AbsolutePath, workspace: WorkspaceConfig) -> (String, PoolConfig) {
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    let name: String = name.chars().map(plain).take(40).collect();
    let key = format!("{name}-{:016x}", stable_hash(directory));
    let workspace = WorkspaceConfig { directory: directory.clone(), ..workspace };
    let workspaces = BTreeMap::from([(key.clone(), workspace)]);
    (key, PoolConfig { max_servers: 1, workspaces, ..PoolConfig::default() })
}

/// The same on every machine and with every compiler.
fn stable_hash(path: &Path) -> u64 {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(path.as_os_str().as_encoded_bytes());
    digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default, deserialize_with = "opencode")]
        opencode: PoolConfig,
        #[serde(default)]
        workspaces: BTreeMap<String, WorkspaceConfig>,
        #[serde(default)]
        routing: Routing,
    }

    fn read(text: &str) -> Result<File, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn opencode_is_a_table_or_a_path() {
        assert_eq!(read("opencode = '/bin/o'").unwrap().opencode.path.as_deref(), Some("/bin/o"));
        let file = read("[opencode]\npath = 'env:O'\nmax_servers = 2\n[opencode.permissions]\nbash = 'ask'")
            .unwrap();
        assert_eq!((file.opencode.path.as_deref(), file.opencode.max_servers), (Some("env:O"), 2));
        assert_eq!(read("").unwrap().opencode.max_servers, 5);
    }

    #[test]
    fn unknown_keys_are_named() {
        for (text, key) in [
            ("[opencode]\nmax_server = 2", "max_server"),
            ("[opencode.workspaces.a]\ndirectory = '/a'", "[workspaces.NAME]"),
            ("[workspaces.a]\ndirectory = '/a'\ndir = 1", "dir"),
            ("[workspaces.a]\ndirectory = '/a'\nconfine = 'yes'", "yes"),
            ("[routing]\nmodels = 'a/b'", "models"),
            ("[routing.task_overrides]\nwriting = 'a/b'", "writing"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(key), "{text}: {error}");
        }
    }

    #[test]
    fn the_most_special_model_wins() {
        let text = "[routing]\nmodel = 'a/general'\n[workspaces.w]\ndirectory = '/w'\nmodel = 'a/own'\n[workspaces.v]\ndirectory = '/v'";
        let mut file = read(text).unwrap();
        let workspaces = file.workspaces.clone();
        assert_eq!(file.routing.coding(workspaces.get("w")), Some("a/own"));
        assert_eq!(file.routing.coding(workspaces.get("v")), Some("a/general"));
        file.routing.task_overrides.coding = Some("a/coding".into());
        assert_eq!(file.routing.coding(workspaces.get("v")), Some("a/coding"));
        assert_eq!(Routing::default().coding(workspaces.get("v")), None);
    }

    #[test]
    fn a_tilde_is_the_home_directory() {
        let file =
            read("[opencode]\nread = ['~/.npmrc']\n[workspaces.w]\ndirectory = '/w'\nwrite = ['~/x', '/y']")
                .unwrap();
        let pool = pool(&file.opencode, &file.workspaces, Some(Path::new("/home/me")));
        assert_eq!(pool.read, [std::path::PathBuf::from("/home/me/.npmrc")]);
        assert_eq!(pool.workspaces["w"].write, [std::path::PathBuf::from("/home/me/x"), "/y".into()]);
        pool.check().unwrap();
    }

    #[test]
    fn directories_of_one_name_have_names_of_their_own() {
        let at = |path| for_directory(&AbsolutePath::new(path).unwrap(), WorkspaceConfig::default());
        let name = |path| at(path).0;
        assert_ne!(name("/a/my app"), name("/b/my app"));
        assert!(name("/a/my app").starts_with("my-app-"));
        at("/").1.check().unwrap();
    }
}
