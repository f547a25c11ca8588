//! Each attempt is a row: what is tried, and which walls refuse it when they stand alone.

use connector_sandbox::Wall::{Calls, Files, Ports, Scope};
use connector_sandbox::{Wall, Walls, kernel};

use crate::support::{Outside, hostile, hostile_behind, try_behind};

/// What comes of an attempt where nothing stands in its way.
#[derive(PartialEq)]
enum Without {
    /// It works, on any machine.
    Works,
    /// It works, or fails for a reason that is not a wall's: a module that is not there, a sense
    /// that it does not make.
    Differs,
    /// Some machine or user refuses it with a wall's own words: nothing is shown by that.
    Depends,
}
use Without::{Depends, Differs, Works};

const EPERM: &str = "refused: Operation not permitted";
const EACCES: &str = "refused: Permission denied";

/// How a wall refuses.
fn words_of(wall: Wall) -> &'static str {
    match wall {
        Files | Ports => EACCES,
        Scope | Calls => EPERM,
    }
}

#[test]
fn this_kernel_holds_every_wall() {
    assert!(kernel().is_whole(), "the tests of the walls need Linux 6.12 or newer: {}", kernel());
}

#[expect(clippy::too_many_lines, reason = "a table, one line an attempt")]
#[test]
fn a_program_of_somebody_else_stays_within_its_walls() {
    let mut outside = Outside::new();
    let secret = outside.path("secret");
    let (made, link) = (outside.path("made"), outside.path("link"));
    let (stream, datagram) = (outside.path("stream.sock"), outside.path("datagram.sock"));
    let directory = outside.directory.path().to_str().unwrap().to_owned();
    let other = outside.other.local_addr().unwrap().port().to_string();
    let udp = outside.udp.local_addr().unwrap().port().to_string();
    let name = outside.abstract_name.clone();
    let this = std::process::id().to_string();

    #[rustfmt::skip]
    let rows: &[(&[&str], &[Wall], Without)] = &[
        // Files.
        (&["read", "/etc/passwd"], &[Files], Works),
        (&["read", &secret], &[Files], Works),
        (&["read", "/proc/PID/environ"], &[Files], Depends),
        (&["read", "/proc/PID/mem"], &[Files], Depends),
        (&["list", &directory], &[Files], Works),
        (&["write", &made], &[Files], Works),
        (&["write", &secret], &[Files], Works),
        (&["write", "/dev/null"], &[Files], Works),
        (&["truncate", &secret], &[Files, Calls], Works),
        (&["mkdir", &made], &[Files, Calls], Works),
        (&["unlink", &secret], &[Files, Calls], Works),
        (&["rename", &secret, &made], &[Files, Calls], Works),
        (&["symlink", &link], &[Files, Calls], Works),
        (&["chmod", &secret], &[Calls], Works),
        (&["touch", &secret], &[Calls], Works),
        // Programs and processes.
        (&["exec", "/bin/true"], &[Files], Works),
        (&["exec-anonymous", "/bin/true"], &[Calls], Differs),
        (&["fork"], &[Calls], Works),
        (&["fork-by-library"], &[Calls], Works),
        (&["namespace"], &[Calls], Depends),
        (&["mount"], &[Calls], Differs),
        // The network.
        (&["tcp", "127.0.0.1", &other], &[Ports], Works),
        (&["tcp", "127.0.0.2", &other], &[Ports], Differs),
        (&["tcp6", "::1", &other], &[Ports], Differs),
        (&["tcp", "192.0.2.1", "443"], &[Ports], Depends),
        (&["mptcp", "127.0.0.1", &other], &[Calls], Differs),
        (&["sctp", "127.0.0.1", &other], &[Calls], Differs),
        (&["fast-open", "127.0.0.1", &other], &[Calls], Differs),
        (&["fast-open-message", "127.0.0.1", &other], &[Calls], Differs),
        (&["fast-open-many", "127.0.0.1", &other], &[Calls], Differs),
        (&["udp", "127.0.0.1", &udp], &[Calls], Works),
        (&["dns"], &[Calls], Works),
        (&["unix", &stream], &[Calls], Works),
        (&["unix-abstract", &name], &[Scope, Calls], Works),
        (&["unix-pair-datagram", &datagram], &[Calls], Works),
        (&["unix-pair-stream", &stream], &[], Depends),
        (&["netlink"], &[Calls], Works),
        (&["packet"], &[Calls], Differs),
        (&["vsock"], &[Calls], Differs),
        (&["bind"], &[Ports, Calls], Works),
        (&["listen"], &[Calls], Works),
        // Other processes: the host is this one.
        (&["kill", "PID"], &[Scope, Calls], Works),
        (&["thread-kill", "PID"], &[Scope, Calls], Works),
        (&["queue-signal", "PID"], &[Scope, Calls], Works),
        (&["kill", &this], &[Scope, Calls], Depends),
        (&["signal-by-owner", &this], &[Calls], Depends),
        (&["ptrace", "PID"], &[Files, Ports, Scope, Calls], Depends),
        (&["read-memory", "PID"], &[Files, Ports, Scope, Calls], Depends),
        (&["pidfd", "PID"], &[Calls], Works),
        (&["limit-of", "PID"], &[Calls], Works),
        // More than its share.
        (&["raise-limit"], &[], Depends),
        (&["descriptors"], &[], Depends),
        (&["hog-private"], &[], Depends),
        (&["hog-shared"], &[Calls], Differs),
        (&["hog-growsdown"], &[Calls], Differs),
        (&["share-memory"], &[Calls], Works),
        (&["threads"], &[], Depends),
        (&["shm"], &[Calls], Works),
        (&["memfd"], &[Calls], Works),
        // The kernel's wide doors.
        (&["io-uring"], &[Calls], Depends),
        (&["bpf"], &[Calls], Differs),
        (&["userfaultfd"], &[Calls], Differs),
        (&["perf"], &[Calls], Depends),
        (&["keys"], &[Calls], Differs),
        (&["personality"], &[Calls], Works),
        (&["be-inspected"], &[Calls], Works),
        (&["terminal"], &[Calls], Differs),
    ];

    let mut walls = Walls::around_program([outside.granted.local_addr().unwrap().port()]);
    walls.limits.address_space = 1 << 30;
    // So that the test's own program can be started by its name behind the file wall.
    walls.execute.push(hostile().to_owned());
    let mut wrong = Vec::new();
    for (words, refused_by, without) in rows {
        // Behind no wall, this very process would be signalled.
        if !words.contains(&this.as_str()) {
            let answer = hostile_behind(&walls, &[], &at(words, &outside.pid()));
            let shows = match without {
                Works => works(&answer),
                Differs => ![EPERM, EACCES].contains(&answer.as_str()),
                Depends => true,
            };
            if !shows {
                wrong.push(format!("{words:?} shows nothing, where nothing stands in its way: {answer}"));
            }
            outside.restore(&[&made, &link]);
        }
        for wall in *refused_by {
            let answer = hostile_behind(&walls, &[*wall], &at(words, &outside.pid()));
            // Landlock keeps from inspecting others whatever its rules are about.
            let inspects = ["ptrace", "read-memory"].contains(&words[0]);
            if answer != if inspects { EPERM } else { words_of(*wall) } {
                wrong.push(format!("{wall} alone does not refuse {words:?}: {answer}"));
                outside.restore(&[&made, &link]);
            }
        }
        let answer = hostile_behind(&walls, &Wall::ALL, &at(words, &outside.pid()));
        let by_a_wall = refused_by.is_empty() || [EPERM, EACCES].contains(&answer.as_str());
        if !answer.starts_with("refused") || !by_a_wall {
            wrong.push(format!("every wall together does not refuse {words:?}: {answer}"));
        }
        outside.assert_unharmed(&format!("{words:?}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The words of an attempt, with the process that it is made at.
fn at(words: &[&str], pid: &str) -> Vec<String> {
    words.iter().map(|word| word.replace("PID", pid)).collect()
}

/// Whether an attempt succeeded: by its own word, or because it became a program that did.
fn works(answer: &str) -> bool {
    answer == "done" || answer == "exit status: 0"
}

#[test]
fn a_program_behind_its_walls_still_does_what_it_is_for() {
    let outside = Outside::new();
    let granted = outside.granted.local_addr().unwrap().port();
    let mut walls = Walls::around_program([granted]);
    walls.execute.push(hostile().to_owned());
    for words in [vec!["nothing"], vec!["tcp", "127.0.0.1", &granted.to_string()]] {
        assert_eq!(hostile_behind(&walls, &Wall::ALL, &words), "done", "{words:?}");
    }
}

#[test]
fn the_rest_of_a_process_can_name_no_path_and_start_nothing() {
    let outside = Outside::new();
    let secret = outside.path("secret");
    let directory = outside.directory.path().to_str().unwrap().to_owned();
    let other = outside.other.local_addr().unwrap().to_string();
    let granted = outside.granted.local_addr().unwrap();
    let walls = Walls::around_rest([granted.port()]);
    #[rustfmt::skip]
    let rows: &[(&[&str], &[Wall])] = &[
        (&["read", &secret], &[Files, Calls]),
        (&["look", &secret], &[Calls]),
        (&["link", "/proc/self/exe"], &[Calls]),
        (&["list", &directory], &[Files, Calls]),
        (&["spawn", "/bin/true"], &[Files, Calls]),
        (&["become", "/bin/true"], &[Files, Calls]),
        (&["thread"], &[Calls]),
        (&["connect", &other], &[Ports]),
        (&["delete", &secret], &[Files, Calls]),
    ];
    for (words, refused_by) in rows {
        for wall in *refused_by {
            let answer = try_behind(&walls, &[*wall], words);
            assert!(answer.starts_with("refused"), "{wall} alone does not refuse {words:?}: {answer}");
        }
        let answer = try_behind(&walls, &Wall::ALL, words);
        assert!(answer.starts_with("refused"), "{words:?}: {answer}");
        let answer = try_behind(&walls, &[], words);
        assert!(works(&answer), "{words:?} should work where nothing stands in its way: {answer}");
    }
    assert_eq!(try_behind(&walls, &Wall::ALL, &["connect", &granted.to_string()]), "done");
}

/// Said in `docs/threat-model.md`; a kernel that closes one of these makes this test fail, and the
/// document better.
#[test]
fn what_the_walls_leave_open() {
    let outside = Outside::new();
    let port = outside.granted.local_addr().unwrap().port();
    let elsewhere = std::net::TcpListener::bind(("127.0.0.2", port)).unwrap();
    let mut walls = Walls::around_program([port]);
    walls.execute.push(hostile().to_owned());
    let (text, secret) = (port.to_string(), outside.path("secret"));
    for words in [vec!["tcp", "127.0.0.2", &text], vec!["look", &secret]] {
        assert_eq!(hostile_behind(&walls, &Wall::ALL, &words), "done", "{words:?}");
    }
    drop(elsewhere);
}
