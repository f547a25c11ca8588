//! The files that a partial clone never downloaded, fetched before a task's tree is written.
//!
//! The person's own git fetches them, with their credentials and outside all walls, as it [pushes](super::push): in a
//! repository that the host makes for this alone, which knows nothing of the workspace's, from the `remote` of the host's
//! configuration. What came is stored in the workspace's repository by git within walls, which looks at it.
//!
//! Never does: ask the remote that the clone itself names, or fetch anything but files of the commit that a task begins from.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::git::{Access, At, Call, Git, Repository};
use super::push::{self, Remote};
use super::running::{Ended, Says, ended};
use super::setup::SetupError;
use super::{WorktreeError, is_id};

/// The most that is read of what git prints.
const MOST: usize = 256 << 10;

/// No hooks, all in one pack, and every object looked at.
const SETTINGS: [&str; 9] = [
    "core.hooksPath=/dev/null",
    "core.alternateRefsCommand=false",
    "fetch.unpackLimit=1",
    "transfer.unpackLimit=1",
    "transfer.fsckObjects=true",
    "fetch.recurseSubmodules=no",
    "protocol.version=2",
    "gc.auto=0",
    "maintenance.auto=false",
];

/// Where the missing files come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) remote: &'a Remote,
    /// Which agents do not reach: drafts are made there, and git's words are kept there.
    pub(super) root: &'a Path,
}

/// Has the repository get the files of a commit that it lacks.
pub(super) async fn missing(
    git: &Git,
    repository: &Repository,
    commit: &str,
    from: Source<'_>,
) -> Result<(), WorktreeError> {
    let wanted = wanted(git, repository, commit).await?;
    if wanted.is_empty() {
        return Ok(());
    }
    let place = tempfile::tempdir_in(from.root)?;
    let own = push::make(place.path(), None, &repository.format)?;
    let mut list = tempfile::NamedTempFile::new_in(place.path())?;
    wanted.iter().try_for_each(|id| writeln!(list, "{id}"))?;
    let mut command = push::as_person(git, place.path(), &own, &SETTINGS)?;
    command.args([
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-recurse-submodules",
        "--stdin",
        "--",
    ]);
    command.arg(from.remote.as_str()).stdin(list.reopen()?);
    let log = from.root.join("fetch.log");
    let failed = || SetupError::Fetch { remote: from.remote.as_str().to_owned(), log: log.clone() };
    let Ended { printed, said, status } =
        ended("fetches", command, MOST, Says::Person).await.map_err(|_| failed())?;
    if let Err(error) = push::keep(&log, &printed.bytes, &said) {
        tracing::warn!(%error, log = %log.display(), "what a fetch printed cannot be kept");
    }
    if !status.success() {
        return Err(failed().into());
    }
    for pack in packs(&own)? {
        let index = Call::new("takes the fetched files", ["index-pack", "--stdin", "--strict"]);
        git.run(At::Repository(repository, Access::Write), index.input(File::open(pack)?)).await?;
    }
    Ok(())
}

/// The files that a commit has and its repository has not. Those outside of a sparse checkout's cone are among them: git
/// makes no new commit upon what is not there.
async fn wanted(git: &Git, repository: &Repository, commit: &str) -> Result<BTreeSet<String>, WorktreeError> {
    let at = At::Repository(repository, Access::Read);
    let (listed, checked) = (tempfile::NamedTempFile::new()?, tempfile::NamedTempFile::new()?);
    let list = Call::new("lists the files", ["ls-tree", "-r", "-z", "--full-tree", commit]);
    git.run(at, list.output(listed.reopen()?)).await?;
    let mut ids = tempfile::NamedTempFile::new()?;
    for id in blobs(&std::fs::read(listed.path())?) {
        writeln!(ids, "{id}")?;
    }
    let check = Call::new("looks for missing files", ["cat-file", "--batch-check"]).input(ids.reopen()?);
    git.run(at, check.output(checked.reopen()?)).await?;
    let checked = std::fs::read_to_string(checked.path())?;
    let missing = checked.lines().filter_map(|line| line.strip_suffix(" missing"));
    Ok(missing.filter(|id| is_id(id)).map(str::to_owned).collect())
}

/// The ids of files that `ls-tree -z` lists.
fn blobs(listed: &[u8]) -> impl Iterator<Item = &str> {
    listed.split(|byte| *byte == 0).filter_map(|entry| {
        let fields = std::str::from_utf8(entry.split(|byte| *byte == b'\t').next()?).ok()?;
        let mut fields = fields.split(' ').skip(1);
        (fields.next() == Some("blob")).then(|| fields.next()).flatten()
    })
}

fn packs(repository: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(repository.join("objects/pack"))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|it| it == "pack")).collect())
}
