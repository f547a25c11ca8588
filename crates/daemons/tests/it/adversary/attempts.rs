//! The attempts, one a row: what is tried, the wall that refuses it, and the command.

use super::{Outside, Wall};
use Wall::{Calls, Files, Network, Processes, Shared, Tree};

/// One row.
pub(crate) struct Attempt {
    pub(crate) what: String,
    pub(crate) wall: Wall,
    pub(crate) script: String,
}

fn row(what: &str, wall: Wall, script: impl Into<String>) -> Attempt {
    Attempt { what: what.to_owned(), wall, script: script.into() }
}

/// What people keep in their home directory and nobody else is to read.
pub(super) const KEPT_AT_HOME: [(&str, &str); 22] = [
    ("ssh's key", ".ssh/id"),
    ("the shell's history", ".bash_history"),
    ("git's stored credentials", ".git-credentials"),
    ("keys of a cloud", ".aws/credentials"),
    ("the way into a cluster", ".kube/config"),
    ("npm's token", ".npmrc"),
    ("cargo's token", ".cargo/credentials.toml"),
    ("logins of other machines", ".netrc"),
    ("a store of passwords", ".password-store/site.gpg"),
    ("a browser's cookies", ".mozilla/firefox/cookies.sqlite"),
    ("GnuPG's keys", ".gnupg/private-keys-v1.d/key"),
    ("docker's logins", ".docker/config.json"),
    ("notes", "notes.txt"),
    ("another project's .env", "project/.env"),
    ("cargo's settings, which may have a token", ".cargo/config.toml"),
    ("maven's settings", ".m2/settings.xml"),
    ("gradle's properties", ".gradle/gradle.properties"),
    ("the login at Python's index", ".pypirc"),
    ("uv's logins", ".local/share/uv/credentials/credentials.toml"),
    ("gem's login", ".gem/credentials"),
    ("composer's logins", ".config/composer/auth.json"),
    ("the login at a forge", ".config/gh/hosts.yml"),
];

/// Where what is written there would be run, or obeyed, later and outside.
pub(super) const OBEYED_AT_HOME: [(&str, &str); 18] = [
    ("ssh's authorised keys", ".ssh/authorized_keys"),
    ("ssh's settings", ".ssh/config"),
    ("the shell's start", ".bashrc"),
    ("the login's start", ".profile"),
    ("git's settings", ".gitconfig"),
    ("a unit of the session manager", ".config/systemd/user/own.service"),
    ("a program that starts with the session", ".config/autostart/own.desktop"),
    ("a program on the way of PATH", ".local/bin/ls"),
    ("a toolchain", ".cargo/bin/cargo"),
    ("npm's settings", ".npmrc"),
    ("opencode's configuration", ".config/opencode/opencode.json"),
    ("a hook of another repository", "project/.git/hooks/post-checkout"),
    ("npm's cache", ".npm/_cacache/x"),
    ("pip's cache", ".cache/pip/x"),
    ("a version of Node", ".nvm/versions/node/v1/bin/node"),
    ("go's downloads", "go/pkg/mod/x"),
    ("maven's repository", ".m2/repository/x"),
    ("a crate of cargo's", ".cargo/registry/src/i/x/lib.rs"),
];

/// In the order in which they are tried: what destroys comes last.
pub(super) fn all(outside: &Outside) -> Vec<Attempt> {
    let mut all = at_home(outside);
    all.extend(files(outside));
    all.extend(by_detours(outside));
    all.extend(tree(outside));
    all.extend(processes(outside));
    all.extend(shared(outside));
    all.extend(network(outside));
    all.extend(last(outside));
    all
}

fn at_home(outside: &Outside) -> Vec<Attempt> {
    let home = outside.path("home");
    let home = home.display();
    let kept =
        KEPT_AT_HOME.iter().map(|(what, below)| (format!("read {what}"), format!("cat {home}/{below}")));
    let obeyed = OBEYED_AT_HOME
        .iter()
        .map(|(what, below)| (format!("write {what}"), format!("echo x >> {home}/{below}")));
    let by_cache = (
        "write a crate of the user's by way of the workspace's own cache".to_owned(),
        "echo x >> $CARGO_HOME/registry/src/i/x/lib.rs".to_owned(),
    );
    kept.chain(obeyed).chain([by_cache]).map(|(what, script)| Attempt { what, wall: Files, script }).collect()
}

fn files(outside: &Outside) -> Vec<Attempt> {
    let out = outside.root.path().display();
    vec![
        row("read a file", Files, format!("cat {out}/marker")),
        row("list a directory", Files, format!("ls {out}/")),
        row("find a file by its name", Files, format!("find {out} -name marker | grep -q .")),
        row("find a file by a pattern", Files, format!("cat {out}/mark*")),
        row("read the host's key", Files, format!("cat {out}/state/daemons/control.key")),
        row("read another daemon's password", Files, format!("cat {out}/state/daemons/other.json")),
        row("read the host's ledger", Files, format!("cat {out}/state/ledger.db")),
        row("change a rule of the host", Files, format!("echo x >> {out}/rules/rule.toml")),
        row("leave another rule", Files, format!("echo x > {out}/rules/own.toml")),
        row("write a file", Files, format!("echo x > {out}/made")),
        row("append to a file", Files, format!("echo x >> {out}/appended")),
        row("empty a file", Files, format!(": > {out}/emptied")),
        row("make a directory", Files, format!("mkdir {out}/dir")),
        row("make a link outside", Files, format!("ln -s marker {out}/planted")),
        row("make a pipe outside", Files, format!("mkfifo {out}/pipe")),
        row("link a file in", Files, format!("ln {out}/marker hard")),
        row("move a file in", Files, format!("mv {out}/movable moved-in")),
        row("move a file out", Files, format!("echo x > own && mv own {out}/moved-out")),
        row("rename what is outside", Files, format!("mv {out}/named {out}/renamed")),
        row("remove a directory", Files, format!("rmdir {out}/empty")),
        row("run a program from outside", Files, format!("{out}/program")),
        row("read a script from outside", Files, format!(". {out}/program")),
        row("load a module from outside", Files, format!("node -e 'require(\"{out}/module.js\")'")),
        row("lock a file", Files, format!("flock -n {out}/marker true")),
        row("copy a directory", Files, format!("cp -r {out}/home/project copied && cat copied/.env")),
        row("pack a directory", Files, format!("tar cf - {out}/home/project | tar tf - | grep -q .env")),
    ]
}

fn by_detours(outside: &Outside) -> Vec<Attempt> {
    let out = outside.root.path().display();
    let git = "GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 git -c safe.directory='*'";
    vec![
        row("read through a link", Files, format!("ln -sf {out}/marker link1 && cat link1")),
        row("read through a link to a directory", Files, format!("ln -sfn {out} link2 && cat link2/marker")),
        row("write through a link", Files, format!("ln -sf {out}/made2 link3 && echo x > link3")),
        row("read by way of one's own root", Files, format!("cat /proc/self/root{out}/marker")),
        row("read by way of a thread's root", Files, format!("cat /proc/thread-self/root{out}/marker")),
        row(
            "read by way of one's own directory",
            Files,
            format!("cat /proc/self/cwd/{}{out}/marker", "../".repeat(20)),
        ),
        row("read by going up", Files, format!("cat {}{out}/marker", "../".repeat(20))),
        row("read by an address of a file", Files, format!("curl -sf file://{out}/marker")),
        row("read by a device", Files, format!("dd if={out}/marker of=dd-out status=none")),
        row("read by another program's eyes", Files, format!("perl -e 'open F, \"{out}/marker\" or exit 1'")),
        row("clone a repository", Files, format!("{git} clone -q {out}/home/project cloned")),
        row(
            "borrow the objects of a repository",
            Files,
            format!(
                "{git} init -q borrows && echo {out}/home/project/.git/objects > borrows/.git/objects/info/alternates && \
             {git} -C borrows cat-file -e $(cat {out}/project-commit)"
            ),
        ),
        row("ask another repository", Files, format!("{git} -C {out}/home/project log -1")),
        row(
            "have git run in another repository's name",
            Files,
            format!("{git} --git-dir {out}/home/project/.git --work-tree . status"),
        ),
        row("watch a directory", Tree, format!("node -e 'require(\"fs\").watch(\"{out}/rules\").close()'")),
    ]
}

fn tree(outside: &Outside) -> Vec<Attempt> {
    let out = outside.root.path().display();
    vec![
        row("see that a file is there", Tree, format!("test -e {out}/marker")),
        row("see how long a file is", Tree, format!("stat -c %s {out}/marker")),
        row("see where a link leads", Tree, format!("readlink {out}/points")),
        row("go into a directory", Tree, format!("cd {out}/rules")),
        row("ask for the file system of a place", Tree, format!("stat -f {out}/marker")),
        row("change a mode", Tree, format!("chmod 666 {out}/mode")),
        row("change the mode of the user's home", Tree, format!("chmod 777 {out}/home")),
        row("change the mode of ssh's key", Tree, format!("chmod 644 {out}/home/.ssh/id")),
        row("change the mode of the host's state", Tree, format!("chmod 777 {out}/state")),
        row("change the mode of the host's ledger", Tree, format!("chmod 666 {out}/state/ledger.db")),
        row("change a mode by a link", Tree, format!("ln -sf {out}/mode link4 && chmod 667 link4")),
        row("change a mode by one's own root", Tree, format!("chmod 660 /proc/self/root{out}/mode")),
        row("change a group", Tree, format!("chgrp $(id -g) {out}/mode")),
        row("change times", Tree, format!("test -e {out}/times && touch -c -d 2001-01-01 {out}/times")),
        row("change the times of a link", Tree, format!("test -L {out}/points && touch -h -c {out}/points")),
        row("change the mode of a program that it may run", Tree, "chmod u+x \"$TOOL\""),
        row("change the times of a program that it may run", Tree, "touch -c -d 2001-01-01 \"$TOOL\""),
        row("change the group of a program that it may run", Tree, "chgrp $(id -g) \"$TOOL\""),
    ]
}

fn processes(outside: &Outside) -> Vec<Attempt> {
    let (out, pid) = (outside.root.path().display(), outside.bystander.id());
    vec![
        row("see a process", Processes, format!("test -e /proc/{pid}")),
        row("find a process among all", Processes, format!("ls /proc | grep -qx {pid}")),
        row("read a process's arguments", Processes, format!("grep -q . /proc/{pid}/cmdline")),
        row("read a process's state", Processes, format!("grep -q Name /proc/{pid}/status")),
        row("see a process's threads", Processes, format!("ls /proc/{pid}/task/{pid}/")),
        row("see what a process may use", Processes, format!("grep -q . /proc/{pid}/limits")),
        row("read a process's environment", Files, format!("cat /proc/{pid}/environ")),
        row("read a process's map of memory", Files, format!("grep -q . /proc/{pid}/maps")),
        row("see a process's files", Processes, format!("ls /proc/{pid}/fd/")),
        row("see a process's program", Files, format!("readlink /proc/{pid}/exe")),
        row("see a process's namespaces", Files, format!("readlink /proc/{pid}/ns/net")),
        row("reach a file through a process", Files, format!("cat /proc/{pid}/root{out}/marker")),
        row("enter a process's directory", Files, format!("ls /proc/{pid}/cwd/")),
        row("make a process the first to be killed", Files, format!("echo 500 > /proc/{pid}/oom_score_adj")),
        row(
            "hold a process by a descriptor",
            Processes,
            format!("perl -e 'exit(syscall(434, {pid}, 0) < 0)'"),
        ),
        row(
            "signal a process by a descriptor",
            Files,
            format!(
                "perl -e 'my $f = syscall(434, {pid}, 0); exit($f < 0 || syscall(424, $f, 0, 0, 0) < 0)'"
            ),
        ),
        row("change a process's limits", Calls, format!("prlimit --pid {pid} --core=0")),
        row("change a process's priority", Calls, format!("renice -n 3 -p {pid}")),
        row("change a process's turn at the disk", Calls, format!("ionice -c 3 -p {pid}")),
        row("change how a process is scheduled", Processes, format!("chrt -b -p 0 {pid}")),
        row("change where a process runs", Processes, format!("taskset -p 1 {pid}")),
        row("look whether a process can be signalled", Files, format!("kill -0 {pid}")),
        row("stop a process", Files, format!("kill -STOP {pid} && kill -CONT {pid}")),
        row("make a user namespace", Tree, format!("unshare -U true || test -e {out}/marker")),
    ]
}

fn shared(outside: &Outside) -> Vec<Attempt> {
    let (shared, [segment, semaphores, queue]) = (outside.shared.path().display(), &outside.system_v);
    let abstract_name = &outside.abstract_name;
    // Of exactly this length.
    let abstract_socket = format!(
        "perl -MSocket -e 'socket(my $s, PF_UNIX, SOCK_STREAM, 0) or exit 1; \
         exit(!connect($s, pack(\"S\", AF_UNIX) . \"\\0{abstract_name}\"))'"
    );
    vec![
        row("see memory of System V", Shared, format!("ipcs -m | grep -w {segment}")),
        row("see semaphores of System V", Shared, format!("ipcs -s | grep -w {semaphores}")),
        row("see a queue of System V", Shared, format!("ipcs -q | grep -w {queue}")),
        row("learn of a segment who made it", Shared, format!("ipcs -m -i {segment} | grep -q uid")),
        row("read shared memory", Files, format!("cat {shared}/memory")),
        row("list shared memory", Files, format!("ls {shared}/")),
        row("write to shared memory", Files, format!("echo x >> {shared}/memory")),
        row("connect to a socket with a path", Calls, connect(&format!("{shared}/socket"))),
        row("connect to a socket without a path", Calls, abstract_socket),
        row("see sockets without a path", Network, format!("grep -q {abstract_name} /proc/net/unix")),
    ]
}

/// Connects to a socket of this machine.
fn connect(to: &str) -> String {
    format!(
        "node -e 'require(\"net\").connect(\"{to}\").on(\"connect\", () => process.exit(0))\
         .on(\"error\", () => process.exit(1))'"
    )
}

fn network(outside: &Outside) -> Vec<Attempt> {
    let (port, datagrams) = (outside.port, outside.datagrams);
    // By the proxy where there is one, which is to judge every way to write an address.
    let curl = "curl -sf -m 10 -o /dev/null ${HTTP_PROXY:+--proxy $HTTP_PROXY --noproxy -}";
    let asked = [
        ("an address", "127.0.0.1"),
        ("a name", "localhost"),
        ("a name in capitals", "LOCALHOST"),
        ("a short address", "127.1"),
        ("an address that is one number", "2130706433"),
        ("an address in another notation", "0x7f000001"),
        ("an address of octal digits", "0177.0.0.1"),
        ("the address of no address", "0.0.0.0"),
        ("an address of another version", "[::ffff:127.0.0.1]"),
    ];
    let mut rows: Vec<_> = asked
        .iter()
        .map(|(what, host)| {
            row(
                &format!("ask a server of this machine by {what}"),
                Network,
                format!("{curl} http://{host}:{port}/"),
            )
        })
        .collect();
    let udp = format!(
        "node -e 'const s = require(\"dgram\").createSocket(\"udp4\"); s.on(\"message\", () => process.exit(0)); \
         s.send(\"x\", {datagrams}, \"127.0.0.1\"); setTimeout(() => process.exit(1), 3000)'"
    );
    rows.extend([
        row("ask it through a tunnel", Network, format!("{curl} -p http://127.0.0.1:{port}/")),
        row("ask it through a tunnel to a name", Network, format!("{curl} -p http://localhost:{port}/")),
        row("ask it past every proxy", Network, format!("curl -sf -m 10 -o /dev/null --noproxy '*' http://127.0.0.1:{port}/")),
        row("connect to it from a shell", Network, format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}'")),
        row("connect to it from a program", Network, format!(
            "node -e 'require(\"net\").connect({port}, \"127.0.0.1\").on(\"connect\", () => process.exit(0))\
             .on(\"error\", () => process.exit(1))'"
        )),
        row("send it a datagram", Network, udp),
        row("see the machine's network", Network, "test $(grep -c : /proc/net/dev) -gt 1"),
        row("see who listens on this machine", Network, format!("grep -qi :{port:04x} /proc/net/tcp")),
        row("see who waits for datagrams", Network, format!("grep -qi :{datagrams:04x} /proc/net/udp")),
    ]);
    rows
}

fn last(outside: &Outside) -> Vec<Attempt> {
    let (out, pid) = (outside.root.path().display(), outside.bystander.id());
    let [segment, semaphores, queue] = &outside.system_v;
    vec![
        row("remove memory of System V", Calls, format!("ipcrm -m {segment}")),
        row("remove semaphores of System V", Calls, format!("ipcrm -s {semaphores}")),
        row("remove a queue of System V", Calls, format!("ipcrm -q {queue}")),
        row(
            "delete a file",
            Files,
            format!("test -e {out}/doomed && rm -f {out}/doomed && test ! -e {out}/doomed"),
        ),
        row(
            "delete all of a directory",
            Files,
            format!(
                "test -e {out}/home/project && rm -rf {out}/home/project && test ! -e {out}/home/project"
            ),
        ),
        row("end a process", Files, format!("kill -9 {pid}")),
    ]
}
