//! Grants as they stand in `host.toml`: written and taken out, with everything else
//! left as its owner wrote it.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use connector_contract::{Capability, chain};
use connector_files::AbsolutePath;
use connector_plugins::package::{PackageGrant, PluginName};
use toml_edit::{Array, DocumentMut, Item, Table, TableLike, Value};

use crate::config::HostConfig;
use crate::exit::Failure;

/// A `host.toml` that is about to change.
pub(super) struct GrantFile {
    path: AbsolutePath,
    document: DocumentMut,
}

impl GrantFile {
    /// Reads the file as it is now.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        // A link stays a link: what it leads to is replaced.
        let path = AbsolutePath::new(path.canonicalize()?)
            .ok_or_else(|| Failure::failed(format!("{} has no absolute path", path.display())))?;
        let document = std::fs::read_to_string(&path)?.parse()?;
        Ok(Self { path, document })
    }

    /// Writes the grant of one package over the one it had.
    pub(super) fn grant(mut self, name: &PluginName, grant: &PackageGrant) -> Result<(), Failure> {
        let of_package = self.package(name)?;
        let capabilities: Array = grant.capabilities.iter().map(Capability::to_string).collect();
        set(of_package, "grant", capabilities.into());
        set(of_package, "sha256", grant.sha256.to_string().into());
        set(of_package, "manifest_sha256", grant.manifest_sha256.to_string().into());
        self.write()
    }

    /// Takes the grant of one package out; `false` when there is none.
    pub(super) fn revoke(mut self, name: &PluginName) -> Result<bool, Failure> {
        let plugins = self.document.get_mut("plugins").and_then(Item::as_table_like_mut);
        if plugins.and_then(|plugins| plugins.remove(name.as_str())).is_none() {
            return Ok(false);
        }
        self.write()?;
        Ok(true)
    }

    fn package(&mut self, name: &PluginName) -> Result<&mut dyn TableLike, Failure> {
        let mut outer = Table::new();
        outer.set_implicit(true);
        let plugins = self.document.entry("plugins").or_insert(Item::Table(outer));
        plugins
            .as_table_like_mut()
            .and_then(|plugins| {
                plugins.entry(name.as_str()).or_insert(toml_edit::table()).as_table_like_mut()
            })
            .ok_or_else(|| Failure::usage("`plugins` is not a table"))
    }

    /// Replaces the file in one step, if a host would still take it.
    fn write(self) -> Result<(), Failure> {
        let text = self.document.to_string();
        HostConfig::parse(&self.path, &text).map_err(|error| {
            Failure::failed(format!("the changed file would not be valid: {}", chain(&error)))
        })?;
        let directory = self.path.parent();
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(text.as_bytes())?;
        let (old, new) = (std::fs::metadata(&self.path)?, file.as_file().metadata()?);
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            std::os::unix::fs::fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
        }
        file.as_file().set_permissions(old.permissions())?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }
}

/// Sets a value, and keeps the comment that stands behind the old one.
fn set(table: &mut dyn TableLike, key: &str, mut value: Value) {
    let Some(old) = table.get_mut(key).and_then(Item::as_value_mut) else {
        table.insert(key, Item::Value(value));
        return;
    };
    *value.decor_mut() = old.decor().clone();
    *old = value;
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use connector_plugins::package::Digest;

    use super::*;

    const FILE: &str = "# mine\nrules = \"rules\"   # here\n\n[connectors] # none yet\n";

    fn name(text: &str) -> PluginName {
        text.parse().unwrap()
    }

    fn grant(bytes: &[u8]) -> PackageGrant {
        PackageGrant {
            capabilities: vec!["NetworkOutbound(127.0.0.1:4096)".parse().unwrap()],
            sha256: Digest::of(bytes),
            manifest_sha256: Digest::of(b""),
            require_signature: false,
        }
    }

    fn host(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("host.toml");
        std::fs::write(&path, text).unwrap();
        (directory, path)
    }

    fn granted(path: &Path, package: &str) -> Option<PackageGrant> {
        HostConfig::load(&AbsolutePath::new(path).unwrap()).unwrap().plugins.remove(&name(package))
    }

    #[test]
    fn a_grant_is_added_and_taken_out_and_the_rest_stays() {
        let (_directory, path) = host(FILE);
        GrantFile::open(&path).unwrap().grant(&name("connector-x"), &grant(b"1")).unwrap();
        GrantFile::open(&path).unwrap().grant(&name("connector-y"), &grant(b"2")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(FILE), "{text}");
        assert!(
            text.contains("\n[plugins.connector-x]\ngrant = [\"NetworkOutbound(127.0.0.1:4096)\"]\n"),
            "{text}"
        );
        assert_eq!(granted(&path, "connector-x"), Some(grant(b"1")));
        assert_eq!(granted(&path, "connector-y"), Some(grant(b"2")));

        assert!(GrantFile::open(&path).unwrap().revoke(&name("connector-x")).unwrap());
        assert!(!GrantFile::open(&path).unwrap().revoke(&name("connector-x")).unwrap());
        assert!(GrantFile::open(&path).unwrap().revoke(&name("connector-y")).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), FILE);
    }

    #[test]
    fn a_grant_is_renewed_where_it_stands_with_its_comments() {
        let zero = "0".repeat(64);
        let (directory, path) = host(&format!(
            "rules = \"r\"\n[connectors]\n# signed ones only\n[plugins.connector-x] # x\nrequire_signature = true\n\
             grant = [] # nothing yet\nsha256 = \"{zero}\"\nmanifest_sha256 = \"{zero}\"\n[gate]\n# last\n"
        ));
        let link = directory.path().join("link.toml");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        GrantFile::open(&link).unwrap().grant(&name("connector-x"), &grant(b"1")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for kept in [
            "# signed ones only\n[plugins.connector-x] # x\nrequire_signature = true\n",
            "grant = [\"NetworkOutbound(127.0.0.1:4096)\"] # nothing yet\n",
            "\n[gate]\n# last\n",
        ] {
            assert!(text.contains(kept), "{text}");
        }
        assert_eq!(
            granted(&path, "connector-x"),
            Some(PackageGrant { require_signature: true, ..grant(b"1") })
        );
        assert!(link.is_symlink());
    }

    #[test]
    fn tables_of_other_shapes_take_a_grant_too() {
        let zero = "0".repeat(64);
        let inline = format!("{{ grant = [], sha256 = \"{zero}\", manifest_sha256 = \"{zero}\" }}");
        for text in [
            "rules = \"r\"\nconnectors = {}\nplugins = {}\n".to_owned(),
            format!("rules = \"r\"\nconnectors = {{}}\nplugins = {{ connector-x = {inline} }}\n"),
            format!("rules = \"r\"\nconnectors = {{}}\n[plugins]\nconnector-x = {inline}\n"),
            format!("rules = \"r\"\nconnectors = {{}}\nplugins.connector-x = {inline}\n"),
        ] {
            let (_directory, path) = host(&text);
            GrantFile::open(&path).unwrap().grant(&name("connector-x"), &grant(b"1")).unwrap();
            assert_eq!(granted(&path, "connector-x"), Some(grant(b"1")), "{text}");
        }
    }

    #[test]
    fn the_file_keeps_its_owner_and_permissions() {
        use std::os::unix::fs::PermissionsExt as _;
        let (directory, path) = host(FILE);
        // Who is not root can give nothing away, and owns it before and after.
        let _ = std::os::unix::fs::chown(&path, Some(1), Some(1));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let owner = || std::fs::metadata(&path).map(|it| (it.uid(), it.gid())).unwrap();
        let before = owner();
        GrantFile::open(&path).unwrap().grant(&name("connector-x"), &grant(b"1")).unwrap();
        assert_eq!(owner(), before);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
