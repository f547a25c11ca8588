//! One call of git: where, what it may open, and what it is told beside its arguments.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use super::{Git, Repository, text};
use crate::confine::{LAUNCH_TOOL, TOOL_PLAN, Tool};
use crate::place::Held;
use crate::worktree::WorktreeError;
use crate::worktree::running::{Printed, Says, printed};

/// The most that git may print where all of it is wanted.
const MOST: usize = 16 << 20;

/// What makes git do nothing but what it was told, whatever is configured.
const QUIET: [(&str, &str); 24] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.untrackedCache", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.pager", "cat"),
    ("core.sshCommand", "false"),
    ("core.gitProxy", "none"),
    ("core.askPass", "false"),
    ("core.alternateRefsCommand", "false"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("core.quotePath", "false"),
    ("credential.helper", ""),
    ("protocol.allow", "never"),
    ("submodule.recurse", "false"),
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
    unfiltered: bool,
}

impl<'a> Call<'a> {
    pub(in crate::worktree) fn new(what: &'static str, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let arguments = arguments.into_iter().collect();
        Self { what, arguments, most: MOST, input: None, output: None, unfiltered: false }
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
        let names = listed.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
        let off = |name: &str| {
            let value = if name.ends_with(".required") { "false" } else { "" };
            (name.to_owned(), value.to_owned())
        };
        Ok(names.filter(|name| !name.is_empty()).map(off).collect())
    }

    /// The files with the person's settings, and those that these name.
    async fn personal(&self) -> Vec<PathBuf> {
        let Some(home) = self.environment.get("HOME").map(PathBuf::from) else { return Vec::new() };
        let mut files: Vec<_> = PERSONAL.iter().map(|name| home.join(name)).collect();
        if let Some(config) = self.environment.get("XDG_CONFIG_HOME") {
            files.extend(
                ["config", "ignore", "attributes"].map(|name| Path::new(config).join("git").join(name)),
            );
        }
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

    async fn started(
        &self,
        at: At<'_>,
        call: Call<'_>,
        personal: &[PathBuf],
        settings: &[(String, String)],
    ) -> Result<Printed, WorktreeError> {
        let (program, parts) = program()?;
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
        printed(call.what, command, call.most, says).await
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

/// Git, and what else it starts of itself.
fn program() -> Result<(&'static Path, &'static [PathBuf]), WorktreeError> {
    static FOUND: OnceLock<(PathBuf, Vec<PathBuf>)> = OnceLock::new();
    if let Some((program, parts)) = FOUND.get() {
        return Ok((program, parts));
    }
    let program = which::which("git").map_err(|_| WorktreeError::NoGit)?;
    #[expect(clippy::disallowed_methods, reason = "git is asked where its parts are")]
    let asked = std::process::Command::new(&program).arg("--exec-path").env_clear().output()?;
    let path = asked.stdout.strip_suffix(b"\n").unwrap_or(&asked.stdout);
    let inner = PathBuf::from(OsStr::from_bytes(path)).join("git");
    let (program, parts) = FOUND.get_or_init(|| (program, vec![inner]));
    Ok((program, parts))
}
