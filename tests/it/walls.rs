//! The plugin has one way out, and its manifest of dependencies shows it.

const CARGO: &str = include_str!("../../Cargo.toml");

#[test]
fn the_plugin_depends_on_nothing_that_opens_a_socket() {
    let manifest: toml::Table = CARGO.parse().unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap();
    for banned in
        ["reqwest", "hyper", "hyper-util", "ureq", "rustls", "axum", "rustix", "socket2", "opencode-daemons"]
    {
        assert!(!dependencies.contains_key(banned), "{banned} must not be a dependency of the plugin");
    }
    let ours: Vec<_> =
        dependencies.keys().filter(|name| CARGO.contains(&format!("\n{name} = {{ path"))).collect();
    assert_eq!(ours, ["connector-contract", "opencode-api"]);
}

#[test]
fn tokio_comes_without_its_sockets_processes_and_files() {
    let manifest: toml::Table = CARGO.parse().unwrap();
    for tokio in [&manifest["dependencies"]["tokio"], &manifest["workspace"]["dependencies"]["tokio"]] {
        let features = tokio.get("features").and_then(|it| it.as_array()).cloned().unwrap_or_default();
        for feature in features {
            let feature = feature.as_str().unwrap();
            assert!(["macros", "rt", "sync", "time"].contains(&feature), "{feature}");
        }
    }
}

#[test]
fn no_source_file_of_the_plugin_names_a_socket_a_process_or_a_file() {
    fn sources(directory: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { sources(&path, found) } else { found.push(path) }
        }
    }
    let mut files = Vec::new();
    sources(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut files);
    assert!(files.len() > 20, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for word in [
            "TcpStream",
            "UdpSocket",
            "UnixStream",
            "tokio::net",
            "tokio::process",
            "tokio::fs",
            "Grant::new",
            "OutboundHttp::new",
            "std::net",
            "std::process",
            "std::fs",
            "std::env",
            "reqwest",
        ] {
            assert!(!text.contains(word), "{} speaks of {word}", file.display());
        }
    }
}
