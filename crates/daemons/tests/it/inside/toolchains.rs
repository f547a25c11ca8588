//! Toolchains in somebody's home directory, run by a command within walls.

use super::{Isolation, User, limited, named};

/// Writes what is at home, as version managers do.
fn toolchains(user: &User) {
    // A release of Go whose other parts are beside its programs.
    user.can("sdk/go1.99/bin/go", "#!/bin/sh\nexec \"$(dirname \"$0\")/../pkg/tool/compile\" \"$@\"\n");
    user.can("sdk/go1.99/pkg/tool/compile", "#!/bin/sh\necho go runs\n");
    // fnm's npm is a link to a module beside it.
    let version = ".local/share/fnm/node-versions/v22/installation";
    user.has(&format!("{version}/lib/node_modules/npm/lib/cli.js"), "console.log('npm of fnm')");
    user.can(
        &format!("{version}/lib/node_modules/npm/bin/npm-cli.js"),
        "#!/usr/bin/env node\nrequire('../lib/cli.js')\n",
    );
    std::fs::create_dir_all(user.home().join(version).join("bin")).unwrap();
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, user.home().join(at)).unwrap();
    link("../lib/node_modules/npm/bin/npm-cli.js", &format!("{version}/bin/npm"));
    std::fs::create_dir_all(user.home().join("run/multishells")).unwrap();
    link(&format!("../../{version}"), "run/multishells/1");
    // A program of uv's, in an environment of its own.
    user.can(
        ".local/share/uv/tools/ruff/bin/ruff",
        "#!/bin/sh\ncat \"$(dirname \"$(readlink -f \"$0\")\")/../lib/rules\"\n",
    );
    user.has(".local/share/uv/tools/ruff/lib/rules", "ruff runs\n");
    std::fs::create_dir_all(user.home().join(".local/bin")).unwrap();
    link("../share/uv/tools/ruff/bin/ruff", ".local/bin/ruff");
    // A shim that asks where its versions are.
    user.can(
        ".rbenv/shims/ruby",
        "#!/bin/sh\nexec \"${RBENV_ROOT:-$HOME/.rbenv}/versions/$(cat ~/.rbenv/version)/bin/ruby\" \"$@\"\n",
    );
    user.can(".rbenv/versions/3/bin/ruby", "#!/bin/sh\necho ruby runs\n");
    user.has(".rbenv/version", "3");
    for secret in [
        ".cargo/credentials.toml",
        ".npmrc",
        ".m2/settings.xml",
        ".netrc",
        ".pypirc",
        ".gem/credentials",
        ".config/gh/hosts.yml",
        ".local/share/uv/credentials/credentials.toml",
        ".ssh/id",
        "sdk/notes",
        ".config/mise/config.toml",
    ] {
        user.has(secret, "the marker");
    }
    user.has(".cargo/registry/src/x", "a crate");
}

#[tokio::test]
async fn what_is_on_path_runs_with_what_is_beside_and_behind_it_and_no_credential_is_read() {
    let user = User::new();
    toolchains(&user);
    let home = user.home();
    let directories = ["sdk/go1.99/bin", "run/multishells/1/bin", ".local/bin", ".rbenv/shims", ".cargo"]
        .map(|below| home.join(below));
    let system = std::env::split_paths("/usr/local/bin:/usr/bin:/bin").collect::<Vec<_>>();
    let path = std::env::join_paths(directories.iter().chain(&system)).unwrap().into_string().unwrap();
    let user = user.with("PATH", path);
    let secrets = "for file in ~/.cargo/credentials.toml ~/.npmrc ~/.m2/settings.xml ~/.netrc ~/.pypirc ~/.gem/credentials \
        ~/.config/gh/hosts.yml ~/.local/share/uv/credentials/credentials.toml ~/.ssh/id ~/sdk/notes ~/.config/mise/config.toml; do \
        grep -l 'the mark[e]r' $file 2>/dev/null; done; grep -rl 'the mark[e]r' ~ $TMPDIR $npm_config_cache/.. 2>/dev/null";
    let commands = named([
        ("go", "go build"),
        ("npm", "npm"),
        ("ruff", "ruff"),
        ("ruby", "ruby"),
        ("crate", "cat ~/.cargo/registry/src/x"),
        ("secrets", secrets),
        (
            "written",
            "for place in ~/sdk ~/sdk/go1.99/bin ~/.rbenv ~/.local/bin ~/.cargo/registry; do touch $place/x 2>/dev/null && echo $place; done",
        ),
    ]);
    let ran = user.runs(&commands, (Isolation::None, limited(vec![]))).await;
    for (command, expected) in [
        ("go", "go runs\n"),
        ("npm", "npm of fnm\n"),
        ("ruff", "ruff runs\n"),
        ("ruby", "ruby runs\n"),
        ("crate", "a crate"),
        ("secrets", ""),
        ("written", ""),
    ] {
        assert_eq!(ran[command].out, expected, "{command}: {:?}", ran[command]);
    }
}
