//! One call of git: where, what it may open, and what it is told beside its arguments.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::{Git, Repository, text};
use crate::confine::{LAUNCH_TOOL, TOOL_PLAN, Tool};
use crate::environment::Environment;
use crate::place::Held;
use crate::worktree::WorktreeError;
use crate::worktree::running::{Ended, Printed, Says, ended, printed};

/// The most that git may print where all of it is wanted.
const MOST: usize = 16 << 20;

/// What makes git do nothing but what it was told, whatever is configured.
const QUIET: [(&str, &str); 37] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.untrackedCache", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.pager", "cat"),
    ("core.sshCommand", "false"),
    ("core.gitProxy", "none"),
    ("core.askPass", "false"),
    ("core.alternateRefsCommand", "false"),
    ("core.commitGraph", "false"),
    ("core.multiPackIndex", "false"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("core.quotePath", "false"),
    ("credential.helper", ""),
    ("protocol.allow", "never"),
    ("submodule.recurse", "false"),
    // A patch is to be one that is read again, and whole.
    ("diff.submodule", "short"),
    ("diff.ignoreSubmodules", "none"),
    ("diff.noPrefix", "false"),
    ("diff.mnemonicPrefix", "false"),
    ("diff.srcPrefix", "a/"),
    ("diff.dstPrefix", "b/"),
    ("diff.relative", "false"),
    ("diff.context", "3"),
    ("diff.orderFile", "/dev/null"),
    ("diff.suppressBlankEmpty", "false"),
    ("apply.ignoreWhitespace", "no"),
    ("fetch.recurseSubmodules", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("commit.gpgSign", "false"),
    ("tag.gpgSign", "false"),
    ("gpg.program", "false"),
    ("log.showSignature", "false"),
    ("advice.detachedHead", "false"),
    ("safe.bareRepository", "explicit"),
];

/// The same as variables, of which some have no setting.
const TOLD: [(&str, &str); 12] = [
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", "false"),
    ("SSH_ASKPASS", "false"),
    ("GIT_EDITOR", "true"),
    ("GIT_PAGER", "cat"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_ALLOW_PROTOCOL", "none"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_SSH_COMMAND", "false"),
    ("LC_ALL", "C"),
];

/// The names of settings in git's list. One that cannot be given back to git cannot be taken out of force.
fn names_of(listed: &[u8]) -> Result<Vec<&str>, WorktreeError> {
    let names = listed.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let reason = "a filter that is configured has a name that is not UTF-8; remove it".to_owned();
    let names: Result<_, _> = names.map(std::str::from_utf8).collect();
    names.map_err(|_| WorktreeError::Git { what: "looks for filters", reason })
}

/// The files with the person's settings for all repositories, the ones that these name aside.
pub(in crate::worktree) fn personal(environment: &Environment) -> Vec<PathBuf> {
    let home = environment.get("HOME").map(PathBuf::from);
    let at_home = home.iter().flat_map(|home| PERSONAL.iter().map(|name| home.join(name)));
    let config = environment.get("XDG_CONFIG_HOME").map(|config| Path::new(config).join("git"));
    let in_config =
        config.iter().flat_map(|git| ["config", "ignore", "attributes"].map(|name| git.join(name)));
    at_home.chain(in_config).collect()
}

/// The person's own settings for all repositories, below their home directory.
const PERSONAL: [&str; 4] =
    [".gitconfig", ".config/git/config", ".config/git/ignore", ".config/git/attributes"];

/// What may be done to a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worktree) enum Access {
    /// Nothing but reading.
    Read,
    /// Its objects and references may be written.
    Write,
    /// And the files of its working tree.
    Files,
}

/// Where git works.
#[derive(Debug, Clone, Copy)]
pub(in crate::worktree) enum At<'a> {
    /// In the working tree of a repository, of which git is to say itself what it is.
    Found(&'a Path, &'a Path, &'a Path),
    /// In a repository of the person's.
    Repository(&'a Repository, Access),
    /// In a task's tree, whose repository is its own and borrows the objects of this one.
    Tree(&'a Held, &'a Repository),
    /// Nowhere.
    Home,
}

/// What git is to do.
pub(in crate::worktree) struct Call<'a> {
    what: &'static str,
    arguments: Vec<&'a str>,
    most: usize,
    input: Option<File>,
    output: Option<File>,
    index: Option<&'a Path>,
    unfiltered: bool,
}

impl<'a> Call<'a> {
    pub(in crate::worktree) fn new(what: &'static str, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let arguments = arguments.into_iter().collect();
        Self { what, arguments, most: MOST, input: None, output: None, index: None, unfiltered: false }
    }

    /// What it reads.
    #[must_use]
    pub(in crate::worktree) fn input(mut self, input: File) -> Self {
        self.input = Some(input);
        self
    }

    /// Where its output goes.
    #[must_use]
    pub(in crate::worktree) fn output(mut self, output: File) -> Self {
        self.output = Some(output);
        self
    }

    /// What it takes for the index, in place of the repository's.
    #[must_use]
    pub(in crate::worktree) fn index(mut self, index: &'a Path) -> Self {
        self.index = Some(index);
        self
    }

    /// Without the filters that any configuration names: they are programs, which would not be started.
    #[must_use]
    pub(in crate::worktree) fn unfiltered(mut self) -> Self {
        self.unfiltered = true;
        self
    }
}

impl Git {
    /// Runs git; all that it printed.
    pub(in crate::worktree) async fn run(
        &self,
        at: At<'_>,
        call: Call<'_>,
    ) -> Result<Vec<u8>, WorktreeError> {
        let what = call.what;
        let printed = self.called(at, call).await?;
        if printed.cut {
            return Err(WorktreeError::Git {
                what,
                reason: format!("it printed more than {} MiB", MOST >> 20),
            });
        }
        Ok(printed.bytes)
    }

    /// The same where the first `most` bytes of what it prints are enough.
    pub(in crate::worktree) async fn start_of(
        &self,
        at: At<'_>,
        mut call: Call<'_>,
        most: usize,
    ) -> Result<Printed, WorktreeError> {
        call.most = most;
        self.called(at, call).await
    }

    async fn called(&self, at: At<'_>, call: Call<'_>) -> Result<Printed, WorktreeError> {
        let personal = self.personal.get_or_init(|| self.personal()).await;
        let filters = if call.unfiltered { self.filters(at, personal).await? } else { Vec::new() };
        self.started(at, call, personal, &filters).await
    }

    /// The settings that take each filter that is configured out of force.
    async fn filters(
        &self,
        at: At<'_>,
        personal: &[PathBuf],
    ) -> Result<Vec<(String, String)>, WorktreeError> {
        let names = [
            "config",
            "--includes",
            "--null",
            "--name-only",
            "--get-regexp",
            r"^filter\..+\.(clean|smudge|process|required)$",
        ];
        let listed = match self.started(at, Call::new("looks for filters", names), personal, &[]).await {
            Ok(listed) => listed.bytes,
            // There are none.
            Err(WorktreeError::Git { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = names_of(&listed)?;
        let off = |name: &str| {
            let value = if name.ends_with(".required") { "false" } else { "" };
            (name.to_owned(), value.to_owned())
        };
        Ok(names.into_iter().map(off).collect())
    }

    /// The files with the person's settings, and those that these name.
    async fn personal(&self) -> Vec<PathBuf> {
        let Some(home) = self.environment.get("HOME").map(PathBuf::from) else { return Vec::new() };
        let mut files = personal(&self.environment);
        let named = r"^(include\.path|includeif\..*\.path|core\.excludesfile)$";
        let call =
            Call::new("looks at your settings", ["config", "--global", "--null", "--get-regexp", named]);
        let listed = self.started(At::Home, call, &files, &[]).await.map(|listed| text(&listed.bytes));
        for entry in listed.unwrap_or_default().split('\0') {
            let Some((_, path)) = entry.split_once('\n') else { continue };
            files.push(home.join(path.strip_prefix("~/").unwrap_or(path)));
        }
        files
    }

    /// Whether every object that `commit` has and `base` lacks is what its id says: git does not look again at
    /// what it reads, and who can write the repository can put something else there.
    pub(in crate::worktree) async fn is_sound(
        &self,
        repository: &Repository,
        (base, commit): (&str, &str),
    ) -> Result<bool, WorktreeError> {
        let personal = self.personal.get_or_init(|| self.personal()).await;
        let without = format!("^{base}");
        let what = "looks at the objects";
        let call = Call::new(what, ["rev-list", "--verify-objects", "--quiet", commit, &without]);
        let at = At::Repository(repository, Access::Read);
        let (command, says) = self.command(at, call, personal, &[])?;
        // It only says so, and ends well.
        let Ended { said, status, .. } = ended(what, command, MOST, says).await?;
        Ok(status.success() && said.is_empty())
    }

    async fn started(
        &self,
        at: At<'_>,
        call: Call<'_>,
        personal: &[PathBuf],
        settings: &[(String, String)],
    ) -> Result<Printed, WorktreeError> {
        let (what, most) = (call.what, call.most);
        let (command, says) = self.command(at, call, personal, settings)?;
        printed(what, command, most, says).await
    }

    fn command(
        &self,
        at: At<'_>,
        call: Call<'_>,
        personal: &[PathBuf],
        settings: &[(String, String)],
    ) -> Result<(tokio::process::Command, Says), WorktreeError> {
        let (program, parts) = self.program()?;
        let walls = self.launcher.as_ref().map(|launcher| {
            let mut walls = Tool::of(program, parts.iter().cloned());
            walls.read.extend(personal.iter().cloned());
            at.open(&mut walls);
            (launcher, walls.plan())
        });
        #[expect(clippy::disallowed_methods, reason = "git is run here, for working trees")]
        let mut command =
            tokio::process::Command::new(walls.as_ref().map_or(program, |(launcher, _)| launcher.as_path()));
        command.env_clear().envs(self.environment.allowed(&[]).iter()).envs(TOLD);
        if let Some((_, plan)) = walls {
            command.arg(LAUNCH_TOOL).arg(program).env(TOOL_PLAN, plan);
        }
        at.go(&mut command);
        if let Some(index) = call.index {
            command.env("GIT_INDEX_FILE", index);
        }
        let settings = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).chain(QUIET);
        let mut count = 0;
        for (key, value) in settings {
            command
                .env(format!("GIT_CONFIG_KEY_{count}"), key)
                .env(format!("GIT_CONFIG_VALUE_{count}"), value);
            count += 1;
        }
        command.env("GIT_CONFIG_COUNT", count.to_string()).args(call.arguments);
        command.stdin(call.input.map_or_else(Stdio::null, Stdio::from)).stderr(Stdio::piped());
        command.stdout(call.output.map_or_else(Stdio::piped, Stdio::from));
        let says = if matches!(at, At::Tree(..)) { Says::Agent } else { Says::Person };
        Ok((command, says))
    }
}

impl Git {
    /// Git, and what else it starts of itself. Only absolute directories of `PATH` are searched: git is
    /// looked for once and started in a repository.
    pub(in crate::worktree) fn program(&self) -> Result<(&Path, &[PathBuf]), WorktreeError> {
        if let Some((program, parts)) = self.program.get() {
            return Ok((program, parts));
        }
        let path = std::env::join_paths(self.environment.search_path()).map_err(|_| WorktreeError::NoGit)?;
        let program = which::which_in("git", Some(path), "/").map_err(|_| WorktreeError::NoGit)?;
        #[expect(clippy::disallowed_methods, reason = "git is asked where its parts are")]
        let asked =
            std::process::Command::new(&program).arg("--exec-path").env_clear().current_dir("/").output()?;
        let path = asked.stdout.strip_suffix(b"\n").unwrap_or(&asked.stdout);
        let inner = PathBuf::from(OsStr::from_bytes(path)).join("git");
        let (program, parts) = self.program.get_or_init(|| (program, vec![inner]));
        Ok((program, parts))
    }
}

impl At<'_> {
    /// Opens what git needs there.
    fn open(self, walls: &mut Tool) {
        match self {
            Self::Home => {}
            Self::Found(top, own, common) => walls.read.extend([top, own, common].map(Path::to_owned)),
            Self::Repository(repository, access) => {
                walls.read.push(repository.top.clone());
                walls.read.extend(repository.objects.iter().cloned());
                let own = [repository.own.clone(), repository.common.clone()];
                match access {
                    Access::Read => walls.read.extend(own),
                    Access::Write => walls.write.extend(own),
                    Access::Files => {
                        walls.write.extend(own);
                        walls.write.push(repository.top.clone());
                    }
                }
            }
            Self::Tree(_, repository) => {
                walls.read.extend(repository.objects.iter().cloned());
                // Where it is started: a name could lead elsewhere by the time it is looked up.
                walls.write.push(".".into());
            }
        }
    }

    /// Has git start there, and take that for what it is and nothing else.
    fn go(self, command: &mut tokio::process::Command) {
        match self {
            Self::Home => command.current_dir("/").env("GIT_CEILING_DIRECTORIES", "/"),
            Self::Found(top, ..) => command.current_dir(top),
            Self::Repository(repository, _) => command
                .current_dir(&repository.top)
                .env("GIT_DIR", &repository.own)
                .env("GIT_WORK_TREE", &repository.top),
            Self::Tree(held, _) => {
                command.current_dir(held.path()).env("GIT_DIR", ".git").env("GIT_WORK_TREE", ".")
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_whose_name_cannot_be_given_back_fails_the_call() {
        for (listed, names) in [
            (&b""[..], Some(&[][..])),
            (b"filter.a.clean\0filter.b.smudge\0", Some(&["filter.a.clean", "filter.b.smudge"])),
            (b"filter.a.clean\0filter.\xff.clean\0", None),
        ] {
            assert_eq!(names_of(listed).ok().as_deref(), names);
        }
    }

    #[test]
    fn git_is_looked_for_in_absolute_directories_alone() {
        let root = tempfile::tempdir().unwrap();
        let git = root.path().join("git");
        std::fs::write(&git, "#!/bin/sh\necho /parts\n").unwrap();
        std::fs::set_permissions(&git, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let up = "../".repeat(64);
        let relative = format!("{up}{}", root.path().strip_prefix("/").unwrap().display());
        assert!(Path::new(&relative).join("git").is_file(), "it leads there");
        let found = |path: &str| {
            let git = Git::new(Environment::from_iter([("PATH", path)]), None);
            git.program().map(|(program, _)| program.to_owned()).ok()
        };
        assert_eq!(found(&root.path().display().to_string()), Some(git.clone()));
        for path in [relative.as_str(), "", ":", "."] {
            assert_eq!(found(path), None, "{path}");
        }
        assert_eq!(found(&format!("{relative}:{}", root.path().display())), Some(git));
    }
}
