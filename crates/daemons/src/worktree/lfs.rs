//! Files of Git LFS in a task's tree, without git-lfs and without any filter: the host puts the content where the commit
//! has a pointer, and a pointer where the task left content.
//!
//! Content is the user's own, of `.git/lfs/objects` of the repository. A tree gets copies, of which the digest was looked
//! at. What a task leaves in files whose attributes say `filter=lfs` is stored there by its digest, and so is what its
//! own git-lfs stored in the tree, if a pointer on the branch names it; so `git lfs push` finds all of it.
//!
//! Never does: follow a link, run a program, ask a server, or take a name for the content.

mod budget;
mod pointer;
mod store;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, Stat, Timespec, Timestamps, fchmod, fstat, futimens, openat};

pub(super) use self::budget::Budget;
use self::pointer::{LONGEST, Pointer};
use self::store::{Draft, Store, digested, too_large};
use super::git::{Access, At, Call, Git, Repository};
use super::setup::{self, SetupError};
use super::stamp::stamped;
use super::{WorktreeError, is_id};
use crate::place::{self, Held};

/// What the index of a tree may be at most.
const INDEX: u64 = 1 << 30;

/// How much longer ago a file was written than its index, so that git takes the index's word.
const BEFORE: i64 = 2;

/// What came of the files of Git LFS in a tree.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// The files that the index has by pointers now, or is not to have.
    pub(super) paths: Vec<Vec<u8>>,
    /// Those that are too large to be kept.
    refused: Vec<Vec<u8>>,
    /// What is not kept, for the person to know.
    pub(super) notes: Vec<String>,
    /// Those files as they were when they were stored.
    stats: HashMap<Vec<u8>, Stat>,
}

/// Puts the content of files of Git LFS into a tree that git has filled with the pointers of its commit.
pub(super) async fn fill(git: &Git, repository: &Repository, tree: &Arc<Held>) -> Result<(), WorktreeError> {
    let list = ["ls-files", "-z", ":(top,attr:filter=lfs)"];
    let listed = git.run(At::Tree(tree, repository), Call::new("lists the files of Git LFS", list)).await?;
    if listed.is_empty() {
        return Ok(());
    }
    let (common, tree, width) = (repository.common.clone(), Arc::clone(tree), width(repository));
    let filling = tokio::task::spawn_blocking(move || {
        let store = Store::of(&common)?;
        let mut stats = HashMap::new();
        for path in parts(&listed) {
            if let Some(stat) = filled(&store, &tree, path_of(path))? {
                stats.insert(path.to_vec(), stat);
            }
        }
        Ok::<_, WorktreeError>(stamp(&tree, width, &stats)?)
    });
    filling.await.map_err(io::Error::other)?
}

/// Puts the content of one file in place of its pointer; nothing where there is none.
fn filled(store: &Store, tree: &Held, path: &Path) -> Result<Option<Stat>, SetupError> {
    let failed = |source| SetupError::Lfs { path: path.to_owned(), source };
    let Some((above, name, file)) = opened(tree, path).map_err(failed)? else { return Ok(None) };
    let stat = fstat(&file).map_err(|error| failed(error.into()))?;
    let Some(pointer) = pointer_in(&file).map_err(failed)? else { return Ok(None) };
    let missing = || SetupError::LfsMissing { path: path.to_owned(), oid: pointer.oid().to_owned() };
    let mut content = store.open(&pointer).ok_or_else(missing)?;
    let mut copy = || -> io::Result<Option<Stat>> {
        let draft = Draft::new(&above, Mode::RUSR | Mode::WUSR)?;
        let copied = if setup::cloned(&draft.file, &content) {
            digested(&mut &draft.file, &mut io::sink(), pointer.size)?
        } else {
            digested(&mut content, &mut &draft.file, pointer.size)?
        };
        if copied != pointer {
            return Ok(None);
        }
        fchmod(&draft.file, Mode::from_raw_mode(stat.st_mode))?;
        let written = fstat(&draft.file)?;
        let before = Timespec { tv_sec: written.st_mtime - BEFORE, tv_nsec: 0 };
        futimens(&draft.file, &Timestamps { last_access: before, last_modification: before })?;
        let file = draft.file.try_clone()?;
        draft.becomes(&above, name)?;
        // Its new name is a change to the file, too.
        Ok(Some(fstat(&file)?))
    };
    let damaged = || SetupError::LfsDamaged { path: path.to_owned(), oid: pointer.oid().to_owned() };
    copy().map_err(failed)?.ok_or_else(damaged).map(Some)
}

/// Stores what the task left in files of Git LFS, and has the index name them by pointers. `since` is the commit after which
/// they are looked at, and the index has again what that has for those that are too large.
pub(super) async fn record(
    git: &Git,
    repository: &Repository,
    tree: &Arc<Held>,
    (since, budget): (&str, &Budget),
) -> Result<Recorded, WorktreeError> {
    let at = At::Tree(tree, repository);
    let list = ["ls-files", "-z", "--modified", "--others", "--exclude-standard"];
    let changed = git.run(at, Call::new("lists the changed files", list).unfiltered()).await?;
    let list = ["diff-index", "--cached", "-z", "--no-renames", "--ignore-submodules=none", since, "--"];
    let staged = git.run(at, Call::new("lists the staged files", list)).await?;
    let staged = parts(&staged).skip(1).step_by(2);
    let names: BTreeSet<_> = parts(&changed).chain(staged).collect();
    let large = filtered(git, at, names).await?;
    if large.is_empty() {
        return Ok(Recorded::default());
    }
    let (common, held, budget) = (repository.common.clone(), Arc::clone(tree), budget.clone());
    let storing = tokio::task::spawn_blocking(move || stored(&Store::of(&common)?, &held, &large, &budget));
    let (stored, mut recorded) = storing.await.map_err(io::Error::other)??;
    recorded.paths.extend(stored.keys().cloned());
    let ids = blobs(git, at, stored.values().map(|(pointer, _)| pointer.to_string())).await?;
    let mut entries = tempfile::NamedTempFile::new()?;
    for ((path, (_, stat)), id) in stored.iter().zip(ids) {
        let mode = if stat.st_mode & Mode::XUSR.as_raw_mode() == 0 { "100644" } else { "100755" };
        write!(entries, "{mode} {id}\t")?;
        entries.write_all(path)?;
        entries.write_all(b"\0")?;
    }
    left_out(git, (repository, tree), since, &mut recorded, &mut entries).await?;
    let put = Call::new("takes the pointers", ["update-index", "-z", "--index-info"]);
    git.run(at, put.input(entries.reopen()?)).await?;
    recorded.stats = stored.into_iter().map(|(path, (_, stat))| (path, stat)).collect();
    Ok(recorded)
}

/// Has the index have what the commit `since` has for each file that was refused, whatever was staged or committed.
async fn left_out(
    git: &Git,
    (repository, tree): (&Repository, &Arc<Held>),
    since: &str,
    recorded: &mut Recorded,
    entries: &mut tempfile::NamedTempFile,
) -> Result<(), WorktreeError> {
    if recorded.refused.is_empty() {
        return Ok(());
    }
    let none = format!("0 {}", "0".repeat(2 * width(repository)));
    let at = At::Tree(tree, repository);
    let before = listed(git, at, since, &recorded.refused).await?;
    let now = listed(git, at, "HEAD", &recorded.refused).await?;
    for path in std::mem::take(&mut recorded.refused) {
        write!(entries, "{}\t", before.get(&path).unwrap_or(&none))?;
        entries.write_all(&path)?;
        entries.write_all(b"\0")?;
        let name = String::from_utf8_lossy(&path);
        let whole = if before.get(&path) == now.get(&path) {
            ""
        } else {
            ", and an earlier commit of the branch has it whole"
        };
        recorded.notes.push(format!(
            "{} is a file of Git LFS too large to be kept, so its change is left out{whole}",
            name.escape_debug()
        ));
        recorded.paths.push(path);
    }
    Ok(())
}

/// What a commit has at these paths, as the index takes it.
async fn listed(
    git: &Git,
    at: At<'_>,
    commit: &str,
    paths: &[Vec<u8>],
) -> Result<HashMap<Vec<u8>, String>, WorktreeError> {
    let list = tempfile::NamedTempFile::new()?;
    let all = Call::new("lists the files", ["ls-tree", "-r", "-z", "--full-tree", commit]);
    git.run(at, all.output(list.reopen()?)).await?;
    let (wanted, mut found) = (paths.iter().collect::<BTreeSet<_>>(), HashMap::new());
    for entry in BufReader::new(list.reopen()?).split(0) {
        let entry = entry?;
        let Some(tab) = entry.iter().position(|byte| *byte == b'\t') else { continue };
        let path = entry[tab + 1..].to_vec();
        let fields = String::from_utf8_lossy(&entry[..tab]);
        let mut fields = fields.split(' ');
        if let (Some(mode), Some(id)) = (fields.next(), fields.nth(1))
            && wanted.contains(&path)
        {
            found.insert(path, format!("{mode} {id}"));
        }
    }
    Ok(found)
}

/// Has git take what was recorded for unchanged, once it has written the index for the last time.
pub(super) async fn settle(
    repository: &Repository,
    tree: &Arc<Held>,
    recorded: Recorded,
) -> Result<Vec<String>, WorktreeError> {
    let (tree, width) = (Arc::clone(tree), width(repository));
    let stamping = tokio::task::spawn_blocking(move || stamp(&tree, width, &recorded.stats));
    stamping.await.map_err(io::Error::other)??;
    Ok(recorded.notes)
}

/// Those of some files that their attributes give to Git LFS.
async fn filtered(git: &Git, at: At<'_>, names: BTreeSet<&[u8]>) -> Result<Vec<Vec<u8>>, WorktreeError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut list = tempfile::NamedTempFile::new()?;
    for name in names {
        list.write_all(name)?;
        list.write_all(b"\0")?;
    }
    let asked = Call::new("looks at the attributes", ["check-attr", "--stdin", "-z", "filter"]);
    let said = git.run(at, asked.input(list.reopen()?)).await?;
    let said: Vec<_> = said.split(|byte| *byte == 0).collect();
    let is_large = |said: &&[&[u8]]| said[2] == b"lfs";
    Ok(said.chunks_exact(3).filter(is_large).map(|said| said[0].to_vec()).collect())
}

type Stored = BTreeMap<Vec<u8>, (Pointer, Stat)>;

/// Stores the content of these files of a tree. What is not there, no regular file or a pointer is left to git.
fn stored(
    store: &Store,
    tree: &Held,
    paths: &[Vec<u8>],
    budget: &Budget,
) -> Result<(Stored, Recorded), WorktreeError> {
    let (mut stored, mut recorded) = (Stored::new(), Recorded::default());
    for path in paths {
        let Some((_, _, mut file)) = opened(tree, path_of(path))? else { continue };
        let stat = fstat(&file).map_err(io::Error::from)?;
        if stat.st_size == 0 || pointer_in(&file)?.is_some() {
            continue;
        }
        file.rewind()?;
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        let kept =
            if budget.read(size) { store.keep(&mut file, (budget.left(), size)) } else { Err(too_large()) };
        match kept {
            Ok((pointer, new)) => {
                budget.store(new);
                stored.insert(path.clone(), (pointer, stat));
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => recorded.refused.push(path.clone()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok((stored, recorded))
}

/// The ids of blobs with these texts, which a tree has then.
async fn blobs(
    git: &Git,
    at: At<'_>,
    texts: impl Iterator<Item = String>,
) -> Result<Vec<String>, WorktreeError> {
    let mut commands = tempfile::NamedTempFile::new()?;
    for (mark, text) in (1..).zip(texts) {
        write!(commands, "blob\nmark :{mark}\ndata {}\n{text}get-mark :{mark}\n", text.len())?;
    }
    let import = Call::new("writes the pointers", ["fast-import", "--quiet"]).input(commands.reopen()?);
    let said = git.run(at, import).await?;
    Ok(String::from_utf8_lossy(&said).lines().filter(|line| is_id(line)).map(str::to_owned).collect())
}

/// Has the repository keep what its commits after `since` name by pointers, as far as the tree has it; what is nowhere
/// to be found is told.
pub(super) async fn take_over(
    git: &Git,
    repository: &Repository,
    tree: &Arc<Held>,
    (since, tip): (&str, &str),
    budget: &Budget,
) -> Result<Vec<String>, WorktreeError> {
    let read = At::Repository(repository, Access::Read);
    let (objects, small, texts) =
        (tempfile::NamedTempFile::new()?, tempfile::NamedTempFile::new()?, tempfile::NamedTempFile::new()?);
    let without = format!("^{since}");
    let list = Call::new("lists the objects", ["rev-list", "--objects", tip, &without]);
    git.run(read, list.output(objects.reopen()?)).await?;
    let format = "--batch-check=%(objectname) %(objecttype) %(objectsize) %(rest)";
    let sizes = Call::new("looks at the objects", ["cat-file", format]).input(objects.reopen()?);
    git.run(read, sizes.output(small.reopen()?)).await?;
    let list = tempfile::NamedTempFile::new()?;
    small_blobs(BufReader::new(small.reopen()?), &mut BufWriter::new(list.reopen()?))?;
    let format = "--batch=%(objectname) %(objecttype) %(objectsize) %(rest)";
    let contents = Call::new("reads the pointers", ["cat-file", format]).input(list.reopen()?);
    git.run(read, contents.output(texts.reopen()?)).await?;
    let (common, tree, budget) = (repository.common.clone(), Arc::clone(tree), budget.clone());
    let taking = tokio::task::spawn_blocking(move || {
        let (pointers, more) = pointers(BufReader::new(texts.reopen()?), POINTERS)?;
        let mut notes = taken(&common, &tree, &pointers, &budget)?;
        if more {
            notes.push(format!(
                "the branch names more than {POINTERS} contents of files of Git LFS, of which the rest was not looked for"
            ));
        }
        Ok::<_, WorktreeError>(notes)
    });
    taking.await.map_err(io::Error::other)?
}

/// How many contents a turn's commits may name that are looked for.
const POINTERS: usize = 20_000;

fn taken(
    common: &Path,
    tree: &Held,
    pointers: &BTreeMap<Pointer, String>,
    budget: &Budget,
) -> Result<Vec<String>, WorktreeError> {
    let (store, mut notes) = (Store::of(common)?, Vec::new());
    for (pointer, name) in pointers {
        if store.open(pointer).is_some() {
            continue;
        }
        let own = Store::of_tree(tree).ok().filter(|_| pointer.size <= budget.left());
        let kept = match own.and_then(|own| own.open(pointer)) {
            Some(mut file) => store.keep_as(pointer, &mut file)?,
            None => false,
        };
        if kept {
            budget.store(pointer.size);
        } else {
            notes.push(format!(
                "the branch names content of {} that is not here ({})",
                name.escape_debug(),
                pointer.oid()
            ));
        }
    }
    Ok(notes)
}

/// Of what `cat-file` says of objects, the ids and names of blobs that may be pointers, as it reads them again.
fn small_blobs(said: impl BufRead, list: &mut impl io::Write) -> io::Result<()> {
    for line in said.split(b'\n') {
        let line = line?;
        let mut words = line.splitn(4, |byte| *byte == b' ');
        if let (Some(id), Some(b"blob"), Some(size)) = (words.next(), words.next(), words.next())
            && number(size).is_some_and(|size| size <= LONGEST)
        {
            list.write_all(id)?;
            list.write_all(b" ")?;
            list.write_all(words.next().unwrap_or_default())?;
            list.write_all(b"\n")?;
        }
    }
    list.flush()
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The pointers among what `cat-file` printed of blobs, each with one of its names, and whether there are more than `most`.
fn pointers(mut printed: impl BufRead, most: usize) -> io::Result<(BTreeMap<Pointer, String>, bool)> {
    let (mut found, mut head) = (BTreeMap::new(), Vec::new());
    loop {
        head.clear();
        if printed.read_until(b'\n', &mut head)? == 0 {
            return Ok((found, false));
        }
        let line = head.strip_suffix(b"\n").unwrap_or(&head);
        let mut words = line.splitn(4, |byte| *byte == b' ').skip(2);
        // Such as one that is missing.
        let Some(size) = words.next().and_then(number).filter(|size| *size <= LONGEST) else { continue };
        let mut text = Vec::new();
        printed.by_ref().take(size + 1).read_to_end(&mut text)?;
        if let Some(pointer) = Pointer::parse(text.strip_suffix(b"\n").unwrap_or(&text)) {
            if found.len() == most && !found.contains_key(&pointer) {
                return Ok((found, true));
            }
            let name = words.next().unwrap_or_default();
            found.insert(pointer, String::from_utf8_lossy(name).into_owned());
        }
    }
}

/// Has the index of a tree take these files for unchanged since it was written. What is no index that can be told so is
/// left: git looks at the files then.
fn stamp(tree: &Held, width: usize, stats: &HashMap<Vec<u8>, Stat>) -> io::Result<()> {
    if stats.is_empty() {
        return Ok(());
    }
    let git = tree.below(Path::new(".git"))?;
    let index = setup::bytes(&git, Path::new("index"), INDEX)?;
    let Some(index) = stamped(&index, width, stats) else { return Ok(()) };
    place::write(&git, Path::new("index"), &index)?;
    // Of a file that is not older than the index git does not know whether it was written since.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let index = openat(&git, "index", flags, Mode::empty())?;
    let (last, written) = (stats.values().map(|stat| stat.st_mtime).max(), fstat(&index)?.st_mtime);
    let later = Timespec { tv_sec: written.max(last.unwrap_or_default() + 1), tv_nsec: 0 };
    Ok(futimens(&index, &Timestamps { last_access: later, last_modification: later })?)
}

/// How long the ids of a repository's objects are, in bytes.
fn width(repository: &Repository) -> usize {
    if repository.format == "sha256" { 32 } else { 20 }
}

/// The regular file at `path` in a tree, with the directory that it is in and its name there.
fn opened<'a>(tree: &Held, path: &'a Path) -> io::Result<Option<(OwnedFd, &'a Path, File)>> {
    let (above, name) = setup::split(path)?;
    let Ok(above) = tree.below(above) else { return Ok(None) };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = openat(&above, name, flags, Mode::empty()) else { return Ok(None) };
    let is_file = FileType::from_raw_mode(fstat(&file)?.st_mode) == FileType::RegularFile;
    Ok(is_file.then(|| (above, name, File::from(file))))
}

/// The pointer that a file is, if it is one.
fn pointer_in(file: &File) -> io::Result<Option<Pointer>> {
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    Ok(Pointer::parse(&bytes))
}

fn parts(listed: &[u8]) -> impl Iterator<Item = &[u8]> {
    listed.split(|byte| *byte == 0).filter(|name| !name.is_empty())
}

fn path_of(name: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_found_among_small_blobs_by_reading_and_not_more_than_are_wanted() {
        let pointer = |size: u64| Pointer::new("a".repeat(64), size);
        let mut said = String::from("i1 blob 100000 large\ni2 tree 20 \ni3 missing\n");
        let (mut wanted, mut printed) = (String::new(), String::from("i0 missing\n"));
        for size in 0..3 {
            let text = pointer(size).to_string();
            said += &format!("p{size} blob {} a {size}.bin\n", text.len());
            wanted += &format!("p{size} a {size}.bin\n");
            printed += &format!("p{size} blob {} a {size}.bin\n{text}\n", text.len());
            printed += "x blob 4 x\nx 9\n\n";
        }
        let mut list = Vec::new();
        small_blobs(said.as_bytes(), &mut list).unwrap();
        assert_eq!(String::from_utf8(list).unwrap(), wanted);
        let (found, more) = pointers(printed.as_bytes(), 3).unwrap();
        assert!(!more);
        let names: Vec<_> = found.iter().map(|(pointer, name)| (pointer.size, name.as_str())).collect();
        assert_eq!(names, [(0, "a 0.bin"), (1, "a 1.bin"), (2, "a 2.bin")]);
        let (found, more) = pointers(printed.as_bytes(), 2).unwrap();
        assert!(more && found.len() == 2);
    }
}
