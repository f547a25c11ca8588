//! Sending what came of a task to a branch of a remote, at the person's word.
//!
//! It is the person's own git that does it, with their credentials and outside all walls: so it works in a
//! repository that the host makes for this alone, which borrows the objects of the workspace's and has none of
//! its settings, hooks, references or remotes. The address is the host's configuration's, never the
//! repository's, which an agent may have written.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::git::{Access, At, Call, Git};
use super::running::{Ended, Says, ended};
use super::{WorktreeError, is_id};
use crate::environment::Environment;
use crate::place;

/// The most that is read of what git prints.
const MOST: usize = 256 << 10;

/// An address of a remote that the person may be led to: no helper that is a program of its own, and no secret,
/// which every user of the machine could read in the list of processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote(String);

/// Why an address is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// It is of no kind that is known.
    #[error("a remote is an https:// or ssh:// address, USER@HOST:PATH, or an absolute path")]
    Kind,
    /// It holds a password or a token, or could.
    #[error(
        "a remote's address holds no password, token or name (only ssh takes a name): it is shown on cards; leave them to git's \
         credential helper or an ssh key"
    )]
    Secret,
    /// An agent may write there.
    #[error("{} is in reach of agents, whose hooks would run as you; push elsewhere", .0.display())]
    Within(PathBuf),
}

impl Remote {
    /// Reads an address.
    pub fn parse(address: &str) -> Result<Self, RemoteError> {
        let is_plain = |text: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && !text.chars().any(|it| it.is_whitespace() || it.is_control())
        };
        if !is_plain(address) {
            return Err(RemoteError::Kind);
        }
        if address.contains(['?', '#']) {
            return Err(RemoteError::Secret);
        }
        if let Some((scheme, rest)) = address.split_once("://") {
            let authority = rest.split('/').next().unwrap_or_default();
            let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
            return match scheme {
                "https" if !user.is_empty() => Err(RemoteError::Secret),
                "ssh" if user.contains(':') => Err(RemoteError::Secret),
                "https" | "ssh" if is_plain(host) && !user.starts_with('-') => Ok(Self(address.to_owned())),
                _ => Err(RemoteError::Kind),
            };
        }
        if address.starts_with('/') {
            return Ok(Self(address.to_owned()));
        }
        let Some((host, path)) = address.split_once(':') else { return Err(RemoteError::Kind) };
        let is_host =
            !host.contains('/') && is_plain(host) && is_plain(host.rsplit('@').next().unwrap_or(""));
        match (is_host && !path.is_empty() && !path.starts_with(':'), path.contains('@')) {
            (true, false) => Ok(Self(address.to_owned())),
            (true, true) => Err(RemoteError::Secret),
            (false, _) => Err(RemoteError::Kind),
        }
    }

    /// The directory that it is, if it is one of this machine. Pushing there runs the hooks that it has.
    pub fn path(&self) -> Option<&Path> {
        Some(Path::new(&self.0)).filter(|path| path.is_absolute())
    }

    /// The address, which is no secret.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What was done at the remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// The branch is new there.
    Created,
    /// The branch was there, and moved on.
    Updated,
    /// The branch was there already.
    Unchanged,
}

/// Why nothing was changed at the remote.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The name is none of a branch.
    #[error("`{0}` is no name of a branch")]
    Name(String),
    /// The commit is gone.
    #[error("the workspace's repository has no commit {0} any more")]
    Gone(String),
    /// The branch has what this does not build upon.
    #[error(
        "{branch} of {remote} has commits that this does not build upon; history is never overwritten: choose another branch"
    )]
    Diverged {
        /// The remote's address.
        remote: String,
        /// The branch.
        branch: String,
    },
    /// The task's history is not one of plain steps from where it began.
    #[error(
        "what the task left is no plain line of commits from {0}: it has merges, or begins elsewhere; look at its branch"
    )]
    Crooked(String),
    /// The remote does not take it.
    #[error("{remote} does not take {branch}: a hook or rule there refuses it, or cannot; what it says is in {}", log.display())]
    Declined {
        /// The remote's address.
        remote: String,
        /// The branch.
        branch: String,
        /// Where its words are.
        log: PathBuf,
    },
    /// Git has no credentials for it.
    #[error(
        "git has no credentials for {remote}, or they are refused; push once by hand so that your credential helper or \
         ssh agent has them. what it says is in {}", log.display()
    )]
    Credentials {
        /// The remote's address.
        remote: String,
        /// Where git's words are.
        log: PathBuf,
    },
    /// It is not there.
    #[error("{remote} cannot be reached or trusted, or is no repository; what git says is in {}", log.display())]
    Unreachable {
        /// The remote's address.
        remote: String,
        /// Where git's words are.
        log: PathBuf,
    },
    /// Git failed otherwise. Whether the remote was changed is not known.
    #[error("git could not push to {remote}; what it says is in {}", log.display())]
    Unknown {
        /// The remote's address.
        remote: String,
        /// Where git's words are.
        log: PathBuf,
    },
    /// Git or the system failed, before anything was sent.
    #[error(transparent)]
    Failed(#[from] WorktreeError),
}

impl From<io::Error> for PushError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Where a commit goes.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// The remote.
    pub remote: &'a Remote,
    /// The branch there.
    pub branch: &'a str,
    /// The file that only its owner reads, which git's and the remote's words go to.
    pub log: &'a Path,
}

/// Makes a branch of the remote point at `commit` of the repository around `workspace`, which `base` leads to by
/// plain steps, if that is new there or builds upon what is there. Dropped, git ends, and whether the remote has
/// it is not known.
pub async fn push(
    workspace: &Path,
    (base, commit): (&str, &str),
    to: Destination<'_>,
    environment: Environment,
    launcher: Option<PathBuf>,
) -> Result<Pushed, PushError> {
    let git = Git::new(environment, launcher);
    if !is_branch(to.branch) {
        return Err(PushError::Name(to.branch.to_owned()));
    }
    let repository = git.repository(workspace).await?;
    for wanted in [base, commit] {
        if !is_id(wanted) || !git.has_commit(&repository, wanted).await {
            return Err(PushError::Gone(wanted.to_owned()));
        }
    }
    let read = At::Repository(&repository, Access::Read);
    let line = ["rev-list", "--parents", "--topo-order", commit, &format!("^{base}")];
    let line = git.run(read, Call::new("looks at the commits", line)).await?;
    if !is_line(&String::from_utf8_lossy(&line), base, commit) {
        return Err(PushError::Crooked(base.to_owned()));
    }
    // Beside the log: no agent reaches it.
    let place = tempfile::tempdir_in(to.log.parent().unwrap_or_else(|| Path::new("/")))?;
    let own = make(place.path(), Some(&repository.common), &repository.format)?;
    let mut command = as_person(&git, place.path(), &own, &SETTINGS)?;
    command.args(["push", "--porcelain", "--no-verify", "--no-signed", "--no-follow-tags", "--"]);
    command.arg(to.remote.as_str()).arg(format!("{commit}:refs/heads/{}", to.branch));
    let (remote, log) = (to.remote.as_str().to_owned(), to.log.to_owned());
    let ended = ended("pushes", command, MOST, Says::Person).await;
    // It may have sent something before that.
    let Ended { printed, said, status } = ended.map_err(|_| PushError::Unknown { remote, log })?;
    if let Err(error) = keep(to.log, &printed.bytes, &said) {
        tracing::warn!(%error, log = %to.log.display(), "what a push printed cannot be kept");
    }
    judge(&String::from_utf8_lossy(&printed.bytes), &String::from_utf8_lossy(&said), status.success(), to)
}

/// Whether `listed`, of a commit and its parents a line, newest first, is one line of commits from `commit` down to
/// `base`: what a person was shown of it is the difference of both, and a merge would send more.
pub(super) fn is_line(listed: &str, base: &str, commit: &str) -> bool {
    let mut next = commit;
    for line in listed.lines() {
        let mut ids = line.split(' ');
        if ids.next() != Some(next) {
            return false;
        }
        let (Some(parent), None) = (ids.next(), ids.next()) else { return false };
        next = parent;
    }
    commit != base && next == base
}

/// What git finds the person's credentials by, and the way out. Nothing else of the host's environment is of
/// its concern, tokens of chats and keys of models least of all.
const PASSED: [&str; 17] = [
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_RUNTIME_DIR",
    "GNUPGHOME",
    "KRB5CCNAME",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "GIT_SSL_CAINFO",
];

/// What git is told besides: to ask nobody anything, and to use no other transport, whatever the person's settings
/// allow.
const OURS: [(&str, &str); 8] = [
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", "false"),
    ("SSH_ASKPASS", "false"),
    ("SSH_ASKPASS_REQUIRE", "force"),
    ("GIT_ALLOW_PROTOCOL", "https:ssh:file"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("LC_ALL", "C"),
];

/// No hooks, and nothing that is kept beside the borrowed objects to tell of them: who wrote a commit-graph said
/// in it what builds upon what.
const SETTINGS: [&str; 7] = [
    "core.hooksPath=/dev/null",
    "core.commitGraph=false",
    "core.multiPackIndex=false",
    "pack.useBitmaps=false",
    "push.recurseSubmodules=no",
    "gc.auto=0",
    "maintenance.auto=false",
];

/// The person's own git in a repository of the host's, with their credentials, their settings but for these, and no walls.
pub(super) fn as_person(
    git: &Git,
    place: &Path,
    own: &Path,
    settings: &[&str],
) -> Result<Command, WorktreeError> {
    let (program, _) = git.program()?;
    #[expect(clippy::disallowed_methods, reason = "git is run here, with the person's own credentials")]
    let mut command = Command::new(program);
    let names = PASSED.map(str::to_owned);
    command.env_clear().envs(git.environment().allowed(&names).iter()).envs(OURS);
    command.current_dir(place).arg("--git-dir").arg(own);
    for setting in settings {
        command.args(["-c", setting]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// A bare repository without anything but the objects that it borrows.
pub(super) fn make(place: &Path, lender: Option<&Path>, format: &str) -> io::Result<PathBuf> {
    let own = place.join("repository");
    for directory in ["", "refs", "objects", "objects/info"] {
        DirBuilder::new().mode(0o700).create(own.join(directory))?;
    }
    let (version, extension) = match format {
        "sha1" => ("0", String::new()),
        other => ("1", format!("[extensions]\n\tobjectFormat = {other}\n")),
    };
    std::fs::write(own.join("HEAD"), "ref: refs/heads/none\n")?;
    let config = format!("[core]\n\trepositoryFormatVersion = {version}\n\tbare = true\n{extension}");
    std::fs::write(own.join("config"), config)?;
    let Some(common) = lender else { return Ok(own) };
    let mut objects = place::bytes_of(&common.join("objects"));
    objects.push(b'\n');
    std::fs::write(own.join("objects/info/alternates"), objects)?;
    if let Some(shallow) = place::read(common, "shallow".as_ref())?
        && shallow.lines().all(is_id)
    {
        std::fs::write(own.join("shallow"), shallow)?;
    }
    Ok(own)
}

/// Git's last words, for the person who owns the machine alone.
pub(super) fn keep(log: &Path, printed: &[u8], said: &[u8]) -> io::Result<()> {
    let directory = log.parent().unwrap_or_else(|| Path::new("/"));
    let file = tempfile::Builder::new().permissions(Permissions::from_mode(0o600)).tempfile_in(directory)?;
    std::fs::write(file.path(), [printed, said].concat())?;
    file.persist(log).map(drop).map_err(|error| error.error)
}

/// Git's own rules of a reference's name (`git check-ref-format`), and no more than people type.
fn is_branch(name: &str) -> bool {
    let is_part = |part: &str| {
        let is_lock = part.to_ascii_lowercase().ends_with(".lock");
        !part.is_empty() && !part.starts_with('.') && !part.ends_with('.') && !is_lock
    };
    let is_known = |it: char| it.is_alphanumeric() || matches!(it, '/' | '-' | '_' | '.' | '+' | '#' | '=');
    name.len() <= 200
        && !name.starts_with('-')
        && !name.contains("..")
        && name.chars().all(is_known)
        && name.split('/').all(is_part)
}

/// What git says where a push fails before anything is sent, in lower case.
const CREDENTIALS: [&str; 5] = [
    "authentication failed",
    "could not read username",
    "could not read password",
    "permission denied (",
    "terminal prompts disabled",
];
const UNREACHABLE: [&str; 8] = [
    "could not resolve",
    "unable to access",
    "connect to host",
    "host key verification failed",
    "does not appear to be a git repository",
    "repository not found",
    "not found",
    "could not read from remote",
];
/// What it says where something was sent already.
const SENT: [&str; 3] = ["rpc failed", "hung up unexpectedly", "writing objects"];

/// What came of a push, by the line that `--porcelain` prints of each reference: a flag, a tab, the references, a
/// tab, and why.
fn judge(printed: &str, said: &str, success: bool, to: Destination<'_>) -> Result<Pushed, PushError> {
    let Destination { remote, branch, log } = to;
    let (remote, branch, log) = (remote.as_str().to_owned(), branch.to_owned(), log.to_owned());
    let line = printed.lines().find_map(|line| {
        let mut fields = line.splitn(3, '\t');
        let (flag, _, why) = (fields.next()?, fields.next()?, fields.next()?);
        (flag.len() == 1).then_some((flag, why))
    });
    match line {
        Some(("*", _)) if success => return Ok(Pushed::Created),
        Some((" ", _)) if success => return Ok(Pushed::Updated),
        Some(("=", _)) if success => return Ok(Pushed::Unchanged),
        Some(("!", why)) if why.starts_with("[rejected]") => {
            return Err(PushError::Diverged { remote, branch });
        }
        Some(("!", why)) if why.starts_with("[remote rejected]") => {
            return Err(PushError::Declined { remote, branch, log });
        }
        _ => {}
    }
    // What the remote says itself is no cause.
    let own = said.lines().filter(|line| !line.starts_with("remote:")).collect::<Vec<_>>();
    let said = own.join("\n").to_ascii_lowercase();
    let any = |words: &[&str]| words.iter().any(|words| said.contains(words));
    Err(if line.is_some() || any(&SENT) {
        PushError::Unknown { remote, log }
    } else if any(&CREDENTIALS) {
        PushError::Credentials { remote, log }
    } else if any(&UNREACHABLE) {
        PushError::Unreachable { remote, log }
    } else {
        PushError::Unknown { remote, log }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_a_known_kind_and_has_no_password() {
        for good in [
            "https://forge.example/me/app.git",
            "ssh://git@forge.example:22/app.git",
            "git@forge.example:me/app.git",
            "forge:app.git",
            "/srv/git/app.git",
        ] {
            assert_eq!(Remote::parse(good).unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("https://me:hunter2@forge.example/app", RemoteError::Secret),
            ("ssh://me:hunter2@forge.example/app", RemoteError::Secret),
            ("https://hunter2@forge.example/app", RemoteError::Secret),
            ("https://forge.example/app?token=hunter2", RemoteError::Secret),
            ("me:hunter2@forge.example:app", RemoteError::Secret),
            ("ext::sh -c id", RemoteError::Kind),
            ("ext::sh", RemoteError::Kind),
            ("http://forge.example/app", RemoteError::Kind),
            ("file:///srv/app", RemoteError::Kind),
            ("ssh://-oProxyCommand=id/app", RemoteError::Kind),
            ("-oProxyCommand=id:app", RemoteError::Kind),
            ("git@-oProxyCommand=id:app", RemoteError::Kind),
            ("--upload-pack=id", RemoteError::Kind),
            ("../app", RemoteError::Kind),
            ("origin", RemoteError::Kind),
            ("", RemoteError::Kind),
            ("/srv/a b", RemoteError::Kind),
        ] {
            assert_eq!(Remote::parse(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn a_branch_has_a_name_that_git_takes_and_that_is_no_option() {
        for good in ["opencode/fix-1", "main", "a_b.c", "grün"] {
            assert!(is_branch(good), "{good}");
        }
        for bad in [
            "", "-f", "a..b", "a b", "/a", "a/", "a//b", ".a", "a.lock", "a:b", "+main:x", "a~1", "a^", "a?",
            "a\\b", "@{x}",
        ] {
            assert!(!is_branch(bad), "{bad}");
        }
    }

    #[test]
    fn what_git_prints_of_a_push_is_told_by_its_cause() {
        let (remote, log) = (Remote::parse("/srv/app.git").unwrap(), PathBuf::from("/state/push.log"));
        let to = Destination { remote: &remote, branch: "fix", log: &log };
        let told = |printed: &str, said: &str, success| match judge(printed, said, success, to) {
            Ok(pushed) => format!("{pushed:?}"),
            Err(error) => error.to_string(),
        };
        for (printed, said, success, words) in [
            ("To /srv/app.git\n*\tab:refs/heads/fix\t[new branch]\nDone\n", "", true, "Created"),
            ("To x\n \tab:refs/heads/fix\t1..2\nDone\n", "", true, "Updated"),
            ("To x\n=\tab:refs/heads/fix\t[up to date]\nDone\n", "", true, "Unchanged"),
            ("To x\n!\tab:refs/heads/fix\t[rejected] (fetch first)\n", "hunter2", false, "never overwritten"),
            ("To x\n!\tab:refs/heads/fix\t[rejected] (non-fast-forward)\n", "", false, "never overwritten"),
            (
                "To x\n!\tab:refs/heads/fix\t[remote rejected] (pre-receive hook declined)\n",
                "hunter2",
                false,
                "a hook",
            ),
            ("", "fatal: Authentication failed for 'https://x:hunter2@y'", false, "credentials"),
            (
                "",
                "git@y: Permission denied (publickey).\nfatal: Could not read from remote",
                false,
                "credentials",
            ),
            ("", "fatal: '/srv/app.git' does not appear to be a git repository", false, "cannot be reached"),
            ("", "ssh: Could not resolve hostname hunter2", false, "cannot be reached"),
            ("", "fatal: hunter2", false, "could not push"),
            ("To x\n*\tab:refs/heads/fix\t[new branch]\n", "", false, "could not push"),
        ] {
            let told = told(printed, said, success);
            assert!(told.contains(words) && !told.contains("hunter2"), "{printed}{said}: {told}");
        }
    }
}
