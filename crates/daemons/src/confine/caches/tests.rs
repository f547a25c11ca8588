use std::os::unix::fs::symlink;

use super::*;

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn every_cache_is_below_the_workspaces_own_place_and_settings_are_copied_without_tokens() {
    let root = tempfile::tempdir().unwrap();
    let (home, tmp) = (root.path().join("home"), root.path().join("state/w.tmp"));
    write(&home.join(".npmrc"), "registry=https://me:pw@r.example/\n//r.example/:_authToken=hunter2\n");
    write(&home.join(".cargo/config.toml"), "[registries.own]\nindex = \"i\"\ntoken = \"hunter2\"\n");
    let caches = Caches::beside(&tmp, &Environment::from_iter([("HOME", &home)]));
    caches.prepare().unwrap();
    let variables = caches.variables();
    for (name, below) in VARIABLES {
        let place = root.path().join("state/w.caches").join(below);
        assert!(
            variables.contains(&(name.to_owned(), place.to_string_lossy().into_owned())) && place.is_dir(),
            "{name}"
        );
    }
    let npmrc = root.path().join("state/w.settings/npmrc");
    assert!(variables.contains(&("npm_config_userconfig".into(), npmrc.to_string_lossy().into_owned())));
    assert_eq!(std::fs::read_to_string(npmrc).unwrap(), "registry=https://r.example/\n");
    let cargo = caches.place.join("cargo/config.toml");
    assert_eq!(std::fs::read_to_string(&cargo).unwrap(), "[registries.own]\nindex = \"i\"\n");
    // What the user has no longer is not there either.
    std::fs::remove_dir_all(&home).unwrap();
    caches.prepare().unwrap();
    assert!(!cargo.exists() && !caches.settings.join("npmrc").exists());
}

#[test]
fn what_a_command_left_in_the_caches_leads_the_host_nowhere() {
    let root = tempfile::tempdir().unwrap();
    let (home, tmp, outside) =
        (root.path().join("home"), root.path().join("w.tmp"), root.path().join("outside"));
    write(&home.join(".cargo/config.toml"), "a = 1\n");
    write(&home.join(".cargo/registry/cache/i/x.crate"), "crate");
    write(&outside.join("config.toml"), "mine");
    let caches = Caches::beside(&tmp, &Environment::from_iter([("HOME", &home)]));
    std::fs::create_dir_all(&caches.place).unwrap();
    symlink(&outside, caches.place.join("cargo")).unwrap();
    caches.prepare().unwrap();
    std::fs::remove_file(caches.place.join("cargo/config.toml")).unwrap();
    symlink(outside.join("config.toml"), caches.place.join("cargo/config.toml")).unwrap();
    std::fs::remove_dir_all(caches.place.join("cargo/registry/cache")).unwrap();
    symlink(&outside, caches.place.join("cargo/registry/cache")).unwrap();
    caches.prepare().unwrap();
    assert_eq!(std::fs::read_to_string(outside.join("config.toml")).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(std::fs::read_to_string(caches.place.join("cargo/config.toml")).unwrap(), "a = 1\n");
    assert!(caches.place.join("cargo/registry/cache/i/x.crate").is_symlink());
}

#[test]
fn cargo_finds_what_the_user_has_of_crates_and_changes_nothing_of_it() {
    let root = tempfile::tempdir().unwrap();
    let (user, tmp) = (root.path().join("cargo"), root.path().join("w.tmp"));
    for file in [
        "cache/i/x-1.crate",
        "src/i/x-1/.cargo-ok",
        "index/i/config.json",
        "index/i/.cache/x/x",
        "index/i/.cargo-index-lock",
    ] {
        write(&user.join("registry").join(file), file);
    }
    let caches = Caches::beside(&tmp, &Environment::from_iter([("CARGO_HOME", &user), ("HOME", &user)]));
    caches.prepare().unwrap();
    caches.prepare().unwrap();
    let own = caches.place.join("cargo/registry");
    for link in ["cache/i/x-1.crate", "src/i/x-1", "index/i/.cache/x/x"] {
        assert!(own.join(link).is_symlink() && own.join(link).exists(), "{link}");
    }
    assert!(!own.join("index/i/config.json").is_symlink() && own.join("index/i/config.json").is_file());
    assert!(!own.join("index/i/.cargo-index-lock").exists());
}

#[test]
fn each_python_finds_what_the_user_has_and_nothing_that_earlier_commands_installed() {
    let root = tempfile::tempdir().unwrap();
    let home = root.path().join("home");
    for below in ["python3.11/site-packages/mine.py", "python3.9/no-packages", "node/site-packages/x"] {
        write(&home.join(".local/lib").join(below), "");
    }
    let caches = Caches::beside(&root.path().join("w.tmp"), &Environment::from_iter([("HOME", &home)]));
    let lib = caches.place.join("python/lib");
    write(&lib.join("python3.11/site-packages/usercustomize.py"), "left");
    write(&lib.join("python3.9/site-packages/left.pth"), "left");
    caches.prepare().unwrap();
    let packages = lib.join("python3.11/site-packages");
    let names = |of: &Path| -> Vec<_> {
        std::fs::read_dir(of).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!((names(&lib), names(&packages)), (vec!["python3.11".into()], vec!["of-the-user.pth".into()]));
    let users = home.join(".local/lib/python3.11/site-packages");
    let line = std::fs::read_to_string(packages.join("of-the-user.pth")).unwrap();
    assert_eq!(line.trim(), users.to_str().unwrap());
}

#[test]
fn javas_tools_are_told_of_the_cache_and_the_proxy_by_their_options() {
    let place = |tmp: &str| Caches::beside(Path::new(tmp), &Environment::from_iter([("HOME", "/home/me")]));
    let options = place("/s/w.tmp").java_options(Some(1023));
    assert_eq!(
        options[0].1.trim_start(),
        "-Dmaven.repo.local=/s/w.caches/maven -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=1023 \
         -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=1023"
    );
    assert_eq!(
        place("/a b/w.tmp").java_options(None),
        [("MAVEN_OPTS", String::new()), ("GRADLE_OPTS", String::new())]
    );
}

#[test]
fn settings_that_a_command_left_in_the_caches_are_gone_at_the_next_start() {
    let root = tempfile::tempdir().unwrap();
    let home = root.path().join("home");
    write(&home.join(".nuget/NuGet/NuGet.Config"), "<configuration/>");
    let caches = Caches::beside(&root.path().join("w.tmp"), &Environment::from_iter([("HOME", &home)]));
    caches.prepare().unwrap();
    let kept = ["cargo/registry/x", "gradle/caches/x", "composer/cache/x", "bundle/cache/x"];
    for file in SETTINGS.iter().chain(&kept) {
        let path = caches.place.join(file);
        let _ = std::fs::remove_dir_all(&path);
        write(&path.join("left"), "runs");
    }
    caches.prepare().unwrap();
    for file in SETTINGS {
        assert!(!caches.place.join(file).join("left").exists(), "{file}");
    }
    assert!(kept.iter().all(|file| caches.place.join(file).join("left").exists()), "fetched files stay");
    let nuget = caches.place.join("dotnet/.nuget/NuGet/NuGet.Config");
    assert_eq!(std::fs::read_to_string(nuget).unwrap(), "<configuration/>");
}

#[test]
fn caches_that_were_emptied_are_filled_again_beneath_the_walls_that_are_around_them() {
    use std::os::unix::fs::MetadataExt as _;

    let root = tempfile::tempdir().unwrap();
    let home = root.path().join("home");
    write(&home.join(".cargo/config.toml"), "a = 1\n");
    write(&home.join(".npmrc"), "fund=false\n");
    let caches = Caches::beside(&root.path().join("w.tmp"), &Environment::from_iter([("HOME", &home)]));
    caches.prepare().unwrap();
    let settings = std::fs::metadata(&caches.settings).unwrap().ino();
    for entry in std::fs::read_dir(&caches.place).unwrap() {
        std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    caches.fill().unwrap();
    assert_eq!(std::fs::read_to_string(caches.place.join("cargo/config.toml")).unwrap(), "a = 1\n");
    assert!(VARIABLES.iter().all(|(_, below)| caches.place.join(below).is_dir()));
    assert_eq!(std::fs::metadata(&caches.settings).unwrap().ino(), settings, "walls have a door to it");
}
