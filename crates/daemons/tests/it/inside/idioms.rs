//! What commands of a shell print, and how they end, within walls and without.

use super::{Isolation, User, limited, named};

/// A row: what it shows, and the script.
const IDIOMS: &[(&str, &str)] = &[
    ("braces make many words", "mkdir -p proj/{src,test}; ls proj; echo {1..5} {a..e..2} x{,y}"),
    ("a tab is a separator", r#"printf 'a\tb\n' | { IFS=$'\t' read -r x y; echo "x=$x y=$y"; }"#),
    ("double brackets", r#"[[ 1 == 1 && abc =~ ^a(.)c$ ]] && echo "${BASH_REMATCH[1]}""#),
    ("pipefail", "set -o pipefail; false | true; echo $?"),
    ("source", "echo 'x=1' > lib.sh; source ./lib.sh; echo $x"),
    ("arrays", r#"a=(one "two words"); a+=(three); echo "${#a[@]}" "${a[1]}" "${a[@]:1}""#),
    ("associative arrays", r#"declare -A m=([k]=v); echo "${m[k]}" "${!m[@]}""#),
    ("substituted processes", "diff <(echo a) <(echo b)"),
    ("a string as input", r#"cat <<< "here $((6 * 7))""#),
    ("a document with tabs as input", "cat <<-'END'\n\tindented $x\n\tEND"),
    (
        "parts and replacements of a variable",
        r#"v=banana; echo "${v//a/o}" "${v^^}" "${v:1:3}" "${v%an*}" "${none:-else}""#,
    ),
    ("arithmetic", "(( 3 > 2 )) && echo yes; let n=1+1; echo $n $((2**10)) $((16#ff))"),
    (
        "functions and local variables",
        "function f { local x=1; echo $x$1; }; x=0; f 2; echo $x; return_of() { return 5; }; return_of; echo $?",
    ),
    ("counting loops", "for ((i = 0; i < 3; i++)); do echo $i; done"),
    (
        "deep patterns",
        "shopt -s globstar nullglob; mkdir -p d/e; touch d/e/f.txt d/g.txt; echo **/*.txt *.none; shopt -s extglob; echo d/!(*.txt)",
    ),
    ("echo with escapes", r"echo -e 'a\tb\n'; echo -n x; echo 'a\tb'"),
    ("lines into an array", r#"mapfile -t l < <(printf '1\n2\n'); echo "${#l[@]}""#),
    ("quoting for a shell", r#"printf '%q %s\n' "a b" c; printf -v out '%03d' 7; echo $out"#),
    ("an exit status", "exit 7"),
    ("no such command", "no-such-command-here"),
    ("no such file", "cat missing/file"),
    ("an unset variable", r#"set -euo pipefail; echo before; echo "$UNSET"; echo after"#),
    ("a command that fails ends the script", "set -e; echo before; false; echo after"),
    ("a mistake in the script", "if true; then echo"),
    ("a name and arguments", r#"sh -c 'exit 3'; echo $?; bash -c 'echo "$0" $# "$@"' a b c; echo "$0""#),
    ("a trap at the end", "trap 'echo bye' EXIT; echo hi; exit 4"),
    ("a signal that ends it", "kill -TERM $$; sleep 5"),
    ("a signal that ends a part", "{ bash -c 'kill -KILL $$'; } 2> /dev/null; echo $?"),
    ("a limit of time", "timeout 0.2 sleep 5; echo $?"),
    ("jobs in the background", "sleep 0.1 & wait $!; echo $?; (exit 3) & wait $!; echo $?; jobs"),
    ("limits and masks", "umask; ulimit -c; ulimit -s; ( umask 077; touch private; stat -c %a private )"),
    ("the shell again", r#"$SHELL -c 'echo nested {1,2}'; basename "$SHELL""#),
    ("an empty environment", "env -i bash -c 'echo $-; echo {1,2}'"),
    (
        "descriptors",
        "exec 3> three; echo x >&3; exec 3>&-; cat three; echo err >&2; { echo a; echo b >&2; } 2>&1 | sort",
    ),
    ("the status of each part of a pipe", r#"(exit 4) | true | (exit 2); echo "${PIPESTATUS[@]}""#),
    ("a pipe with a name", "mkfifo pipe; (echo through > pipe &); cat pipe"),
    ("no terminal", "test -t 0 || echo none; wc -c; tty; stty 2>&1 | head -c 5"),
    (
        "standard files by name",
        "echo x | cat /dev/stdin; echo y | tee /dev/null; echo z 2> /dev/null > /dev/fd/1 | cat",
    ),
    (
        "many at once",
        "printf '%s\\n' a b c | xargs -P 2 -I{} sh -c 'echo {}' | sort; find d proj -name '*.txt' -exec echo {} +",
    ),
    (
        "temporary files",
        r#"t=$(mktemp); echo x > "$t"; cat "$t"; [[ $t == "$TMPDIR"/* || $t == /tmp/* ]]; echo $?; d=$(mktemp -d); rmdir "$d""#,
    ),
    ("who and where", "id -un; whoami; cd /; pwd; cd ~- ; pwd; echo ~"),
    ("time and place", "TZ=UTC date -d @0 +%H:%M; LC_ALL=C sort <<< $'b\\nB\\na'; printf '%(%Y)T\\n' 0"),
    (
        "other interpreters",
        "python3 -c 'import sys; print(1 + 1); sys.exit(3)'; echo $?; node -p '1 + 1'; perl -e 'print 2'; awk 'BEGIN { print 3 }'",
    ),
    (
        "a repository",
        "git init -q r; cd r; echo x > f; git add f; git status --short; git -c user.name=a -c user.email=a@b commit -qm x; git log --format=%s",
    ),
];

#[tokio::test]
async fn a_command_means_inside_what_it_means_outside() {
    let commands = named(IDIOMS.iter().copied());
    let plain = |ran: &super::Ran, user: &User| {
        let text =
            format!("{:?}", (&ran.out, &ran.err, ran.code)).replace(user.home().to_str().unwrap(), "HOME");
        // The same shell, by the name by which it was found.
        text.replace("/usr/bin/bash", "/bin/bash")
    };
    let user = User::new();
    let ran = user.runs_outside(&commands, "/bin/bash").await;
    let outside = |what: &str| plain(&ran[what], &user);
    for (isolation, shell) in [(Isolation::None, "/bin/bash"), (Isolation::Worktree, "/usr/bin/fish")] {
        let user = User::new().with("SHELL", shell);
        let ran = user.runs(&commands, (isolation, limited(vec![]))).await;
        let inside = |what: &str| plain(&ran[what], &user);
        let others: Vec<_> = commands
            .keys()
            .filter(|what| inside(what) != outside(what))
            .map(|what| (what, inside(what), outside(what)))
            .collect();
        assert!(others.is_empty(), "{isolation:?}: {others:#?}");
    }
}
