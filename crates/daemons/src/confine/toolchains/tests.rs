use std::os::unix::fs::symlink;

use super::*;

/// A home directory with these files; `a -> b` is a link.
fn home(files: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let home = root.path().join("home");
    for file in files {
        let (at, to) = file.split_once(" -> ").map_or((*file, None), |(at, to)| (at, Some(to)));
        let at = home.join(at);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        match to {
            Some(to) => symlink(to, at).unwrap(),
            None => std::fs::write(at, "x").unwrap(),
        }
    }
    root
}

/// Whether each of these can be read by one of the doors.
fn open(doors: &[PathBuf], home: &Path, file: &str) -> bool {
    let real = home.join(file).canonicalize().unwrap();
    doors.iter().filter_map(|door| door.canonicalize().ok()).any(|door| real.starts_with(door))
}

/// A layout: its files, what of them is on `PATH`, what must be open, and what must not.
type Layout =
    (&'static [&'static str], &'static [&'static str], &'static [&'static str], &'static [&'static str]);

const LAYOUTS: &[Layout] = &[
    // A release of Go beside others, as go itself puts them.
    (
        &[
            "sdk/go1.99/bin/go",
            "sdk/go1.99/pkg/tool/compile",
            "sdk/go1.99/src/fmt/print.go",
            "sdk/go1.99/VERSION",
            "sdk/notes",
        ],
        &["sdk/go1.99/bin"],
        &[
            "sdk/go1.99/bin/go",
            "sdk/go1.99/pkg/tool/compile",
            "sdk/go1.99/src/fmt/print.go",
            "sdk/go1.99/VERSION",
        ],
        &["sdk/notes"],
    ),
    // The same somewhere that nobody knows.
    (
        &[
            "apps/go/bin/go",
            "apps/go/pkg/tool/compile",
            "apps/go/src/fmt/print.go",
            "apps/go/go.env",
            "apps/other/secret",
        ],
        &["apps/go/bin"],
        &["apps/go/pkg/tool/compile", "apps/go/src/fmt/print.go", "apps/go/go.env"],
        &["apps/other/secret"],
    ),
    // fnm: a link of this terminal's to a version.
    (
        &[
            "run/multishell/1 -> ../../.local/share/fnm/node-versions/v22/installation",
            ".local/share/fnm/node-versions/v22/installation/bin/node",
            ".local/share/fnm/node-versions/v22/installation/bin/npm -> ../lib/node_modules/npm/bin/npm-cli.js",
            ".local/share/fnm/node-versions/v22/installation/lib/node_modules/npm/bin/npm-cli.js",
            ".local/share/fnm/node-versions/v22/installation/lib/node_modules/npm/lib/cli.js",
        ],
        &["run/multishell/1/bin"],
        &[
            "run/multishell/1/bin/npm",
            ".local/share/fnm/node-versions/v22/installation/lib/node_modules/npm/lib/cli.js",
        ],
        &[],
    ),
    // A version of Node in a place of one's own.
    (
        &[
            "tools/node/bin/node",
            "tools/node/bin/npx -> ../lib/node_modules/npm/bin/npx",
            "tools/node/lib/node_modules/npm/bin/npx",
            "tools/node/include/node.h",
            "tools/secret",
        ],
        &["tools/node/bin"],
        &["tools/node/bin/npx", "tools/node/include/node.h"],
        &["tools/secret"],
    ),
    (
        &[".nvm/versions/node/v22/bin/node", ".nvm/versions/node/v22/lib/x", ".nvm/nvm.sh"],
        &[".nvm/versions/node/v22/bin"],
        &[".nvm/versions/node/v22/lib/x", ".nvm/nvm.sh"],
        &[],
    ),
    (
        &[".volta/bin/node -> volta-shim", ".volta/bin/volta-shim", ".volta/tools/image/node/1/bin/node"],
        &[".volta/bin"],
        &[".volta/tools/image/node/1/bin/node"],
        &[],
    ),
    (
        &[".asdf/shims/ruby", ".asdf/installs/ruby/3/lib/x", ".tool-versions"],
        &[".asdf/shims"],
        &[".asdf/installs/ruby/3/lib/x", ".tool-versions"],
        &[],
    ),
    (
        &[".local/share/mise/shims/x", ".local/share/mise/installs/x/1/bin/x", ".config/mise/config.toml"],
        &[".local/share/mise/shims"],
        &[".local/share/mise/installs/x/1/bin/x"],
        &[".config/mise/config.toml"],
    ),
    (
        &[".pyenv/shims/python", ".pyenv/versions/3/lib/x"],
        &[".pyenv/shims"],
        &[".pyenv/versions/3/lib/x"],
        &[],
    ),
    (
        &[".rbenv/shims/ruby", ".rbenv/versions/3/lib/x", ".gem/ruby/3/gems/x", ".gem/credentials"],
        &[".rbenv/shims"],
        &[".rbenv/versions/3/lib/x", ".gem/ruby/3/gems/x"],
        &[".gem/credentials"],
    ),
    (
        &[
            ".sdkman/candidates/java/21/bin/java",
            ".sdkman/candidates/java/21/lib/x",
            ".sdkman/candidates/java/current -> 21",
        ],
        &[".sdkman/candidates/java/current/bin"],
        &[".sdkman/candidates/java/21/lib/x"],
        &[],
    ),
    (
        &[
            ".ghcup/bin/ghc -> ../ghc/9/bin/ghc",
            ".ghcup/ghc/9/bin/ghc",
            ".ghcup/ghc/9/lib/x",
            ".cabal/config",
            ".cabal/bin/x",
        ],
        &[".ghcup/bin", ".cabal/bin"],
        &[".ghcup/ghc/9/lib/x", ".cabal/bin/x"],
        &[".cabal/config"],
    ),
    (
        &[
            "miniconda3/bin/python",
            "miniconda3/lib/x",
            "miniconda3/envs/e/bin/python",
            "miniconda3/.condarc",
            ".condarc",
        ],
        &["miniconda3/bin", "miniconda3/envs/e/bin"],
        &["miniconda3/lib/x"],
        &["miniconda3/.condarc", ".condarc"],
    ),
    (
        &[
            ".cargo/bin/cargo",
            ".cargo/credentials.toml",
            ".cargo/config.toml",
            ".cargo/registry/src/x",
            ".rustup/toolchains/s/lib/x",
        ],
        &[".cargo/bin"],
        &[".cargo/bin/cargo", ".cargo/registry/src/x", ".rustup/toolchains/s/lib/x"],
        &[".cargo/credentials.toml", ".cargo/config.toml"],
    ),
    // A program that a link leads to, with what it is part of.
    (
        &[
            ".local/bin/ruff -> ../share/uv/tools/ruff/bin/ruff",
            ".local/share/uv/tools/ruff/bin/ruff",
            ".local/share/uv/tools/ruff/lib/x",
            ".local/share/uv/tools/ruff/pyvenv.cfg",
            ".local/share/uv/credentials/credentials.toml",
            ".local/share/keyrings/k",
        ],
        &[".local/bin"],
        &[".local/bin/ruff", ".local/share/uv/tools/ruff/lib/x", ".local/share/uv/tools/ruff/pyvenv.cfg"],
        &[".local/share/uv/credentials/credentials.toml", ".local/share/keyrings/k"],
    ),
    (
        &[".local/bin/zig -> ../../zig-1/zig", "zig-1/zig", "zig-1/lib/std", "zig-1/notes"],
        &[".local/bin"],
        &[".local/bin/zig", "zig-1/lib/std"],
        &["zig-1/notes"],
    ),
    (
        &[
            ".local/bin/mine -> ../../code/mine/run.sh",
            "code/mine/run.sh",
            "code/mine/.env",
            "code/mine/lib/x",
            "code/mine/share/x",
            "code/mine/etc/x",
            "code/mine/conf/x",
        ],
        &[".local/bin"],
        &[".local/bin/mine"],
        &["code/mine/.env", "code/mine/lib/x", "code/mine/share/x", "code/mine/etc/x", "code/mine/conf/x"],
    ),
    // A project with programs of its own: the one that is linked to.
    (
        &[
            ".local/bin/mine -> ../../code/mine/bin/mine",
            "code/mine/bin/mine",
            "code/mine/bin/other -> ../../notes",
            "code/mine/bin/plain",
            "code/mine/.git/config",
            "code/mine/lib/x",
            "code/notes",
        ],
        &[".local/bin"],
        &[".local/bin/mine"],
        &["code/mine/bin/plain", "code/notes", "code/mine/lib/x"],
    ),
    (
        &["code/mine/bin/mine", "code/mine/.git/config", "code/mine/lib/x", "code/mine/share/x"],
        &["code/mine/bin"],
        &["code/mine/bin/mine"],
        &["code/mine/lib/x", "code/mine/share/x"],
    ),
    // Settings beside programs are somebody's, but for those that Java runs with.
    (
        &["apps/server/bin/x", "apps/server/lib/x", "apps/server/etc/x", "apps/server/conf/x"],
        &["apps/server/bin"],
        &["apps/server/bin/x", "apps/server/lib/x"],
        &["apps/server/etc/x", "apps/server/conf/x"],
    ),
    (
        &["apps/jdk/bin/java", "apps/jdk/lib/modules", "apps/jdk/conf/security/java.security"],
        &["apps/jdk/bin"],
        &["apps/jdk/lib/modules", "apps/jdk/conf/security/java.security"],
        &[],
    ),
    // Nobody's installation: the directory of one's own programs is in that of one's own work.
    (&["bin/x", "lib/x", "share/x", "src/x"], &["bin"], &["bin/x"], &["lib/x", "share/x", "src/x"]),
    (
        &["code/bin/x", "code/src/secret", "code/other/secret"],
        &["code/bin"],
        &["code/bin/x"],
        &["code/src/secret", "code/other/secret"],
    ),
    // What holds credentials is not opened, whatever it is on.
    (
        &[".cargo/credentials.toml", ".cargo/x", ".aws/bin/x", ".config/gh/bin/x"],
        &[".cargo", ".aws/bin", ".config/gh/bin"],
        &[],
        &[".cargo/credentials.toml", ".cargo/x", ".aws/bin/x", ".config/gh/bin/x"],
    ),
    (
        &[".deno/bin/deno", ".bun/bin/bun", ".bun/install/global/x", ".bunfig.toml"],
        &[".deno/bin", ".bun/bin"],
        &[".deno/bin/deno", ".bun/install/global/x"],
        &[".bunfig.toml"],
    ),
    (
        &[".m2/repository/x", ".m2/settings.xml", ".gradle/caches/modules-2/x", ".gradle/gradle.properties"],
        &[],
        &[".m2/repository/x", ".gradle/caches/modules-2/x"],
        &[".m2/settings.xml", ".gradle/gradle.properties"],
    ),
    (
        &[".cache/node/corepack/v1/pnpm/9/bin/pnpm.cjs", ".cache/other"],
        &[],
        &[".cache/node/corepack/v1/pnpm/9/bin/pnpm.cjs"],
        &[".cache/other"],
    ),
];

#[test]
fn of_a_toolchain_what_lies_beside_and_behind_it_is_open_and_its_neighbours_are_not() {
    for (files, path, opened, closed) in LAYOUTS {
        let root = home(files);
        let home = root.path().join("home");
        let path = std::env::join_paths(path.iter().map(|below| home.join(below))).unwrap();
        let environment = Environment::from_iter([("HOME", home.clone().into_os_string()), ("PATH", path)]);
        let doors = doors(&environment, &[]);
        for file in *opened {
            assert!(open(&doors, &home, file), "{file} of {files:?}: {doors:?}");
        }
        for file in *closed {
            assert!(!open(&doors, &home, file), "{file} of {files:?}: {doors:?}");
        }
        assert!(!doors.iter().any(|door| leads_to(door, &home)), "{doors:?}");
    }
}

/// Where programs say in their own documentation that they keep a secret, whatever the tables of doors say.
const SECRET_FILES: &[&str] = &[
    ".ssh/id_ed25519",
    ".gnupg/private-keys-v1.d/x.key",
    ".aws/credentials",
    ".azure/msal_token_cache.json",
    ".kube/config",
    ".docker/config.json",
    ".netrc",
    ".pypirc",
    ".npmrc",
    ".yarnrc.yml",
    ".git-credentials",
    ".config/git/credentials",
    ".config/gh/hosts.yml",
    ".config/gcloud/credentials.db",
    ".cargo/credentials.toml",
    ".cargo/credentials",
    ".gem/credentials",
    ".local/share/gem/credentials",
    ".bundle/config",
    ".m2/settings.xml",
    ".m2/settings-security.xml",
    ".gradle/gradle.properties",
    ".composer/auth.json",
    ".config/composer/auth.json",
    ".nuget/NuGet/NuGet.Config",
    ".cabal/config",
    ".stack/config.yaml",
    ".condarc",
    "miniconda3/.condarc",
    ".conda/.condarc",
    ".local/share/uv/credentials/credentials.toml",
    ".local/share/keyrings/login.keyring",
    ".local/share/opencode/auth.json",
    ".config/opencode/opencode.json",
    ".config/pip/pip.conf",
    ".terraform.d/credentials.tfrc.json",
    ".vault-token",
    ".password-store/x.gpg",
    ".config/rclone/rclone.conf",
    ".bash_history",
    ".zsh_history",
    ".mozilla/firefox/x/logins.json",
];

#[test]
fn no_secret_file_that_programs_document_is_behind_a_door_of_a_home_with_every_toolchain() {
    let root = home(SECRET_FILES);
    let home = root.path().join("home");
    let environment = Environment::from_iter([
        ("HOME", home.clone().into_os_string()),
        ("PATH", std::env::join_paths([".local/bin", ".cargo/bin"].map(|below| home.join(below))).unwrap()),
    ]);
    for toolchain in TOOLCHAINS {
        let own = toolchain.root(&environment, &home);
        for part in toolchain.opened.iter().filter(|part| !part.is_empty()) {
            let _ = std::fs::create_dir_all(own.join(part.replace('*', "1")).join("bin"));
        }
    }
    let doors = doors(&environment, &[]);
    assert!(doors.iter().any(|door| door.ends_with(".cargo/bin")), "{doors:?}");
    for file in SECRET_FILES {
        assert!(!open(&doors, &home, file), "{file}: {doors:?}");
    }
}

#[test]
fn no_credential_is_behind_a_door_of_a_toolchain_that_has_all_of_its_parts() {
    for toolchain in TOOLCHAINS {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("home");
        let environment = Environment::from_iter([("HOME", home.clone())]);
        let own = toolchain.root(&environment, &home);
        for part in toolchain.opened {
            let part = own.join(part.replace('*', "1"));
            std::fs::create_dir_all(part.parent().unwrap()).unwrap();
            if toolchain.opened != ALL || !toolchain.name.contains("versions") {
                std::fs::create_dir_all(part.join("bin")).unwrap();
            }
        }
        for kept in toolchain
            .kept_out
            .iter()
            .map(|kept| own.join(kept))
            .chain(CREDENTIALS.map(|kept| home.join(kept)))
        {
            if !kept.exists() {
                std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
                std::fs::write(kept, "secret").unwrap();
            }
        }
        let doors = doors(&environment, &[]);
        let is_there = toolchain
            .opened
            .iter()
            .all(|part| doors.iter().any(|door| own.join(part.replace('*', "1")).starts_with(door)));
        assert!(is_there || toolchain.opened == ALL && !own.exists(), "{}: {doors:?}", toolchain.name);
        for secret in secrets(&environment, &home) {
            assert!(
                !doors.iter().any(|door| secret.starts_with(door.canonicalize().unwrap())),
                "{}: {}",
                toolchain.name,
                secret.display()
            );
        }
    }
}

#[test]
fn a_credential_in_the_usual_place_is_kept_out_though_a_variable_leads_elsewhere() {
    for toolchain in TOOLCHAINS.iter().filter(|toolchain| !toolchain.root.0.is_empty()) {
        let (variable, usual) = toolchain.root;
        for kept in toolchain.kept_out {
            let left = format!("{usual}/{kept}");
            let root = home(&[&left]);
            let home = root.path().join("home");
            let environment = Environment::from_iter([
                ("HOME", home.clone()),
                (variable, root.path().join("elsewhere")),
                ("PATH", home.join(usual)),
            ]);
            let doors = doors(&environment, &[]);
            assert!(!open(&doors, &home, &left), "{left}: {doors:?}");
        }
    }
}

#[test]
fn a_toolchain_is_where_its_variable_says() {
    let root = home(&["elsewhere/versions/3/lib/x", ".pyenv/versions/3/lib/x"]);
    let home = root.path().join("home");
    let environment =
        Environment::from_iter([("HOME", home.clone()), ("PYENV_ROOT", home.join("elsewhere"))]);
    let doors = doors(&environment, &[]);
    assert!(
        open(&doors, &home, "elsewhere/versions/3/lib/x") && !open(&doors, &home, ".pyenv/versions/3/lib/x")
    );
    // One that says that all of home is a toolchain opens nothing.
    let environment = Environment::from_iter([("HOME", home.clone()), ("PYENV_ROOT", home.clone())]);
    assert!(!super::doors(&environment, &[]).iter().any(|door| leads_to(door, &home)));
}

#[test]
fn no_link_that_an_agent_may_have_made_opens_anything() {
    // Files, and what must not be open of them: `code/app` and `state` are where agents write.
    let rows: &[(&[&str], &[&str])] = &[
        // Programs of a workspace, whose own links would be followed.
        (
            &[
                ".local/bin/mine -> ../../code/app/bin/mine",
                "code/app/bin/mine",
                "code/app/bin/planted -> ../../other/.env",
                "code/app/lib/x",
                "code/other/.env",
            ],
            &["code/other/.env", "code/app/bin/mine", "code/app/lib/x"],
        ),
        // The program itself was replaced by a link.
        (
            &[".local/bin/mine -> ../../code/app/run", "code/app/run -> ../other/.env", "code/other/.env"],
            &["code/other/.env"],
        ),
        (
            &[".local/bin/mine -> ../../code/app/now/run", "code/app/now -> ../other", "code/other/run"],
            &["code/other/run"],
        ),
        // Beside a directory of programs, and by a link that leads through one of a workspace.
        (
            &["apps/x/bin/x", "apps/x/lib -> ../../code/app/lib", "code/app/lib -> ../other", "code/other/y"],
            &["code/other/y"],
        ),
        (
            &[
                ".local/bin/a -> ../../links/a",
                "links/a -> ../code/app/a",
                "code/app/a -> ../../state/ledger.db",
                "state/ledger.db",
            ],
            &["state/ledger.db"],
        ),
        // The host's own.
        (&[".local/bin/key -> ../../state/control.key", "state/control.key"], &["state/control.key"]),
        // A whole directory of `PATH`, and a toolchain that is known by its place.
        (
            &["apps/y/bin -> ../../code/app/bin", "code/app/bin -> ../other/bin", "code/other/bin/z"],
            &["code/other/bin/z"],
        ),
        (&[".rbenv -> code/app/rbenv", "code/app/rbenv -> ../other", "code/other/z"], &["code/other/z"]),
    ];
    for (files, closed) in rows {
        let root = home(files);
        let home = root.path().join("home");
        let path = [".local/bin", "apps/x/bin", "apps/y/bin"].map(|below| home.join(below));
        let path = std::env::join_paths(path).unwrap();
        let environment = Environment::from_iter([("HOME", home.clone().into_os_string()), ("PATH", path)]);
        let planted = ["code/app", "state"].map(|below| home.join(below));
        let (doors, trusting) = (doors(&environment, &planted), super::doors(&environment, &[]));
        assert!(closed.iter().any(|file| open(&trusting, &home, file)), "it would be open: {files:?}");
        for file in *closed {
            assert!(!open(&doors, &home, file), "{file} of {files:?}: {doors:?}");
        }
    }
}
