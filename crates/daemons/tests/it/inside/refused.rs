//! A wall that was hit is said, to the agent in the command's output and to the host on record.

use std::io::Read as _;
use std::process::{Command, Stdio};

use serde_json::json;

use super::{Isolation, User, limited, named};
use crate::support::eventually;
use crate::walls::LAUNCHER;

/// A process that is ended with its test.
struct Ends(std::process::Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait().map(drop));
    }
}

#[tokio::test]
async fn a_command_to_which_nobody_listens_any_more_finds_out_as_it_would_outside() {
    let plan = json!({ "walls": { "read": ["/"], "write": [] }, "required": false, "unix_sockets": true });
    #[expect(clippy::disallowed_methods, reason = "what opencode starts, whose reader goes away")]
    let mut command = Command::new(LAUNCHER);
    command.args(["--run-command-within-walls", "/bin/sh", "-c", "yes"]);
    command.env("OPENCODE_DAEMONS_WALLS", plan.to_string()).stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = Ends(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut output = child.0.stdout.take().unwrap();
    output.read_exact(&mut [0; 4096]).unwrap();
    drop(output);
    eventually("its end, for nobody listens", || child.0.try_wait().unwrap().is_some()).await;
    let ended = child.0.wait().unwrap();
    assert_eq!(ended.code(), Some(141));
}

#[tokio::test]
async fn a_command_that_fails_on_a_closed_path_is_told_which_and_what_opens_it() {
    let user = User::new();
    user.has(".ssh/id", "the marker");
    user.has(".cargo/registry/x", "x");
    let commands = named([
        ("closed", "cat ~/.ssh/id"),
        ("by its output", "cat ~/.ssh/id 2>&1"),
        ("read-only", "echo x > ~/.cargo/registry/x"),
        ("outside of home", "mkdir /opt/made"),
        ("succeeds", "cat ~/.ssh/id || true"),
        ("not the walls'", "cat missing; cat /usr/missing"),
        ("open", "cat ~/code/app/missing"),
        ("goes on", "(sleep 0.3; echo late; echo later >&2) & echo now; exit 3"),
        ("much", "head -c 300000 /dev/zero | tr '\\0' x; echo err >&2; exit 5"),
        (
            "floods",
            "(yes & y=$!; while kill -0 $$ 2>/dev/null; do sleep 0.05; done; kill $y) & echo now; exit 3",
        ),
        ("nobody listens", "yes | head -n 1; exit ${PIPESTATUS[0]}"),
    ]);
    for isolation in [Isolation::None, Isolation::Worktree] {
        let ran = user.runs(&commands, (isolation, limited(vec![]))).await;
        let told = |name: &str| {
            ran[name].err.lines().filter(|line| line.starts_with("walls: ")).collect::<Vec<_>>().join("\n")
        };
        let opens = "of the workspace, in the host's configuration, opens it";
        let closed = format!("walls: ~/.ssh is not open to commands here; `read` or `write` {opens}");
        assert_eq!((told("closed"), told("by its output")), (closed.clone(), closed), "{isolation:?}");
        assert_eq!(told("read-only"), format!("walls: ~/.cargo may only be read here; `write` {opens}"));
        assert_eq!(
            told("outside of home"),
            format!("walls: /opt/made may only be read here; `write` {opens}")
        );
        for silent in ["succeeds", "not the walls'", "open", "goes on", "much"] {
            assert_eq!(told(silent), "", "{silent}: {:?}", ran[silent]);
        }
        let late = &ran["goes on"];
        assert_eq!((late.out.as_str(), late.err.as_str(), late.code), ("now\nlate\n", "later\n", 3));
        assert_eq!(
            (ran["much"].out.len(), ran["much"].err.as_str(), ran["much"].code),
            (300_000, "err\n", 5)
        );
        // It floods for as long as nobody has seen that the command ended.
        assert_eq!(ran["floods"].code, 3);
        assert_eq!(ran["nobody listens"].code, 141);
        let record = std::fs::read_to_string(user.root().join("state/w.daemon-tmp/refused")).unwrap();
        let tree = if isolation == Isolation::Worktree { "one" } else { "" };
        let mut all: Vec<_> = record.lines().map(|line| line.split_once('\t').unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, ["/opt/made", "~/.cargo", "~/.ssh", "~/.ssh"].map(|path| (tree, path)));
    }
}
