//! Small git repositories to work in.

use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Writes `files` into a new directory and commits them to a new git repository there.
pub fn repository(directory: &Path, files: &[(&str, &str)]) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for (name, text) in files {
        let path = directory.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    git(directory, &["init", "--quiet", "--initial-branch=main"])?;
    git(directory, &["add", "--all"])?;
    git(directory, &["commit", "--quiet", "--allow-empty", "--message=Start"])?;
    Ok(())
}

/// Runs git in a directory, with a fixed author and without the user's configuration.
pub fn git(directory: &Path, arguments: &[&str]) -> io::Result<String> {
    #[expect(clippy::disallowed_methods, reason = "scratch repositories are made with git itself")]
    let mut command = Command::new("git");
    command
        .args(["-c", "user.name=Scratch", "-c", "user.email=scratch@localhost", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env_remove("GIT_DIR")
        .env_remove("GIT_INDEX_FILE")
        .env_remove("GIT_WORK_TREE");
    succeeded(&command.stdin(Stdio::null()).output()?)
}

fn succeeded(output: &Output) -> io::Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
