//! From a bot's password to a host that answers, on a real Synapse.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::response::Html;
use http::Method;
use rustix::process::Signal;
use rustix::termios::{LocalModes, tcgetattr};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::model::{Script, ScriptedModel};
use testkit::real::LOOPBACK_ALONE;
use testkit::synapse::{Options, User as Person};
use testkit::{Synapse, scratch};
use tokio::time::Instant;

use crate::terminal::{Terminal, User, opencode, pseudo_terminal};

/// How long anything may take that waits for a daemon.
const LIMIT: Duration = Duration::from_mins(2);

/// What is not a password or a token of anybody, and must not be seen either.
const WRONG: &str = "WRONG-WORD-nobody-may-ever-see";

/// Somebody at a terminal who is about to set a bot up.
struct Desk {
    bot: Person,
    anna: Person,
    user: User,
    into: PathBuf,
}

impl Desk {
    async fn new(server: &Synapse) -> Self {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let bot = server.register(&format!("set{number}")).await.unwrap();
        let anna = server.register(&format!("up{number}")).await.unwrap();
        let user = User::new().with_variable("CONNECTOR_HOST_LOG", "trace");
        let user = LOOPBACK_ALONE.iter().fold(user, |user, (name, value)| user.with_variable(name, value));
        let directory = user.home.path().join("app");
        scratch::repository(&directory, &[("hello.txt", "hello\n")]).unwrap();
        let into = user.home.path().join("bot");
        Self { bot, anna, user, into }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.user = self.user.with_variable(name, value);
        self
    }

    /// The arguments, some of them other ones.
    fn arguments(&self, others: &[(&str, &str)]) -> Vec<String> {
        let mut words = vec!["matrix".to_owned(), "setup".to_owned()];
        let directory = |path: &Path| path.display().to_string();
        for (name, usual) in [
            ("--into", directory(&self.into)),
            ("--workspace", directory(&self.user.home.path().join("app"))),
            ("--homeserver", self.bot.base().to_owned()),
            ("--user", self.bot.id.clone()),
            ("--me", self.anna.id.clone()),
        ] {
            let other = others.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
            let value = other.unwrap_or(usual);
            // What is named without a value is left out.
            if !value.is_empty() {
                words.extend([name.to_owned(), value]);
            }
        }
        words
    }

    fn start(&self) -> Terminal {
        let arguments = self.arguments(&[]);
        self.user.start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// How setting up ends with some other arguments.
    fn ends(&self, others: &[(&str, &str)]) -> (i32, String) {
        let arguments = self.arguments(others);
        let ended = self.user.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        (ended.code(), ended.text())
    }

    /// The room that Anna is invited to, and has accepted.
    async fn accepted(&self) -> String {
        let room = self.invited().await;
        self.anna.post(&room, "join", &json!({})).await.unwrap();
        room
    }

    async fn invited(&self) -> String {
        eventually("Anna is invited", async || {
            let answer = self.anna.call(Method::GET, "/_matrix/client/v3/sync", None).await.unwrap();
            Some(answer["rooms"]["invite"].as_object()?.keys().next()?.clone())
        })
        .await
    }

    /// The devices of the bot, by their names.
    async fn devices(&self) -> Vec<Value> {
        let answer = self.bot.call(Method::GET, "/_matrix/client/v3/devices", None).await.unwrap();
        answer["devices"].as_array().unwrap().iter().map(|it| it["display_name"].clone()).collect()
    }

    fn written(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(self.into.join(file)).ok()
    }

    /// The event of a message that was said in a room, once it is there.
    async fn sees(&self, room: &str, text: &str) -> Value {
        let has = |it: &Value| it["content"]["body"].as_str().is_some_and(|body| body.contains(text));
        eventually(text, async || self.anna.messages(room).await.unwrap().into_iter().rev().find(has)).await
    }

    async fn react(&self, room: &str, text: &str) {
        let event = self.sees(room, text).await;
        self.anna.react(room, event["event_id"].as_str().unwrap(), "✅").await.unwrap();
    }
}

/// Waits for what `look` finds.
async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let until = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "never: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The code that the terminal shows.
fn code(setup: &mut Terminal) -> String {
    let line = setup.expect("write there this code: ");
    line.rsplit_once(' ').unwrap().1.to_owned()
}

fn shows(person: &OwnedFd) -> bool {
    tcgetattr(person).unwrap().local_modes.contains(LocalModes::ECHO)
}

/// Types what must not be seen, as soon as it is asked for.
fn type_unseen(setup: &mut Terminal, person: &OwnedFd, asked: &str, line: &str) {
    setup.expect(asked);
    rustix::io::write(person, format!("{line}\n").as_bytes()).unwrap();
}

/// The card in the documentation says what a real one says.
fn is_documented(card: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/matrix.md");
    let documentation = std::fs::read_to_string(path).unwrap();
    let shown = documentation.split("```text\n").find(|it| it.starts_with('⏸')).unwrap();
    let shown = shown.split("```").next().unwrap();
    // What a field says is another each time.
    let fields = |text: &str| -> Vec<String> {
        let field = |line: &str| line.split_once(": ").map_or(line, |(field, _)| field).to_owned();
        text.trim().lines().map(field).collect()
    };
    assert_eq!(fields(shown), fields(card), "{card}");
}

#[tokio::test]
async fn a_password_becomes_a_host_that_answers_whoever_said_the_code() {
    let script = Script::saying("All of it is done.");
    let model = ScriptedModel::start(script).unwrap();
    let mut desk = Desk::new(Synapse::shared().await).await.with("MATRIX_PASSWORD", Person::PASSWORD);
    desk.user = desk.user.with_opencode_config(&model.config());
    let mut setup = desk.start();
    let code = code(&mut setup);
    let room = desk.accepted().await;
    for wrong in ["aaaaaaaa".to_owned(), format!("aaaaaaaa {code}"), format!("it is {code}")] {
        desk.anna.say(&room, &wrong).await.unwrap();
    }
    desk.anna.say(&room, &code.to_uppercase()).await.unwrap();
    setup.expect(&format!("that was {}", desk.anna.id));
    assert!(desk.written("host.toml").is_none(), "nothing is written before it is known to work");
    desk.react(&room, "This is what a card looks like").await;
    setup.expect("the reaction came");
    let (ended, seen) = setup.finish();
    let seen = seen.join("\n");
    assert_eq!(ended, 0, "{seen}");
    let card = desk.sees(&room, "!fix the failing test").await;
    assert_eq!(card["content"]["m.relates_to"]["rel_type"], "m.replace");
    let said = desk.anna.messages(&room).await.unwrap();
    assert_eq!(said.iter().filter(|it| it["sender"] == desk.bot.id.as_str()).count(), 3, "{said:#?}");
    let path = format!("/_matrix/client/v3/rooms/{}/state/m.room.encryption/", room.replace('!', "%21"));
    assert!(desk.anna.call(Method::GET, &path, None).await.is_err(), "the room is not encrypted");

    let written = desk.written("host.toml").unwrap();
    for part in [
        format!("approvers = [\"matrix:{}\"]", desk.anna.id),
        format!("allow_users = [\"{}\"]", desk.anna.id),
        "access_token = \"file:matrix.token\"".to_owned(),
    ] {
        assert!(written.contains(&part), "{part}: {written}");
    }
    let mode = std::fs::metadata(desk.into.join("matrix.token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let token = desk.written("matrix.token").unwrap().trim().to_owned();
    assert_ne!(token, desk.bot.token.expose_secret(), "it is a device of its own");
    assert_eq!(desk.devices().await.iter().filter(|it| *it == "connector-host").count(), 1);
    for secret in [&token, Person::PASSWORD] {
        assert!(seen.contains("TRACE") && !seen.contains(secret) && !written.contains(secret));
    }
    let rules = desk.into.join("rules").display().to_string();
    let tested = desk.user.run(&["rules", "test", "--rules", &rules]);
    assert!(tested.code() == 0 && tested.text().contains(" passed, 0 failed"), "{}", tested.text());

    // Where the one command ends, the other begins.
    let config = desk.into.join("host.toml");
    std::fs::write(&config, format!("opencode = \"{}\"\n{written}", opencode().await)).unwrap();
    let config = config.display().to_string();
    let doctor = desk.user.run(&["doctor", "-c", &config]).text();
    assert!(doctor.contains(&format!("{} is logged in, and in 1 room", desk.bot.id)), "{doctor}");
    let mut host = desk.user.start(&["run", "-c", &config]);
    host.expect("matrix is connected");
    desk.anna.say(&room, "!fix it").await.unwrap();
    let card = desk.sees(&room, "approval needed").await;
    is_documented(card["content"]["body"].as_str().unwrap());
    desk.react(&room, "approval needed").await;
    desk.sees(&room, "All of it is done.").await;
    host.signal(Signal::TERM);
    let (ended, seen) = host.finish();
    assert_eq!(ended, 0, "{}", seen.join("\n"));
    for file in std::fs::read_dir(desk.user.state()).unwrap().flatten().filter(|it| it.path().is_file()) {
        let content = std::fs::read(file.path()).unwrap();
        let found = content.windows(token.len()).any(|window| window == token.as_bytes());
        assert!(!found, "{}", file.path().display());
    }
    assert!(!seen.concat().contains(&token));
    let (ended, said) = desk.ends(&[]);
    assert!(ended == 2 && said.contains("is there already"), "{said}");
}

#[tokio::test]
async fn the_code_counts_from_whom_the_room_is_for_alone_and_a_no_lets_nobody_in() {
    let server = Synapse::shared().await;
    let desk = Desk::new(server).await.with("MATRIX_PASSWORD", Person::PASSWORD);
    let name = desk.anna.id.trim_start_matches('@').split(':').next().unwrap();
    let eve = server.register(&format!("eve-of-{name}")).await.unwrap();
    let mut setup = desk.start();
    let code = code(&mut setup);
    let room = desk.accepted().await;
    // By Anna in another room of the two, and in the right one by somebody else, who then is gone.
    let other = desk.anna.direct(&desk.bot.id).await.unwrap();
    desk.bot.post(&other, "join", &json!({})).await.unwrap();
    desk.anna.say(&other, &code).await.unwrap();
    desk.bot.post(&room, "invite", &json!({ "user_id": eve.id })).await.unwrap();
    eve.post(&room, "join", &json!({})).await.unwrap();
    eve.say(&room, &code).await.unwrap();
    eve.post(&room, "leave", &json!({})).await.unwrap();
    let card = "This is what a card looks like";
    for _ in 0..20 {
        let said = desk.anna.messages(&room).await.unwrap();
        let is_card = |it: &Value| it["content"]["body"].as_str().is_some_and(|it| it.contains(card));
        assert!(!said.iter().any(is_card), "{said:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    desk.anna.say(&room, &code).await.unwrap();
    setup.expect(&format!("that was {}", desk.anna.id));
    let card = desk.sees(&room, card).await;
    desk.anna.react(&room, card["event_id"].as_str().unwrap(), "❌").await.unwrap();
    setup.expect("that was a no");
    assert_eq!(setup.finish().0, 1);
    assert!(!desk.into.exists(), "who refuses is not let in");
}

/// How the bot's secret comes to be known.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Given {
    TokenInVariable,
    PasswordInVariable,
    TokenTyped,
    PasswordTyped,
}

#[tokio::test]
async fn no_secret_is_shown_however_it_is_given_and_an_interrupted_setup_leaves_nothing() {
    let server = Synapse::shared().await;
    for given in [Given::TokenInVariable, Given::PasswordInVariable, Given::TokenTyped, Given::PasswordTyped]
    {
        let mut desk = Desk::new(server).await;
        let token = desk.bot.token.expose_secret().to_owned();
        desk = match given {
            Given::TokenInVariable => desk.with("MATRIX_TOKEN", &token),
            Given::PasswordInVariable => desk.with("MATRIX_PASSWORD", Person::PASSWORD),
            Given::TokenTyped | Given::PasswordTyped => desk,
        };
        let before = desk.devices().await.len();
        let (person, input) = pseudo_terminal();
        let kept = input.try_clone().unwrap();
        let arguments = desk.arguments(&[]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut setup = desk.user.start_typing_at(&arguments, input);
        match given {
            Given::TokenTyped => type_unseen(&mut setup, &person, "paste an access token", &token),
            Given::PasswordTyped => {
                type_unseen(&mut setup, &person, "paste an access token", "");
                type_unseen(&mut setup, &person, "the bot's password", Person::PASSWORD);
            }
            Given::TokenInVariable | Given::PasswordInVariable => {}
        }
        code(&mut setup);
        let by_password = matches!(given, Given::PasswordInVariable | Given::PasswordTyped);
        assert_eq!(desk.devices().await.len(), before + usize::from(by_password), "{given:?}");
        let line = std::fs::read(format!("/proc/{}/cmdline", setup.pid())).unwrap();
        let line = String::from_utf8_lossy(&line).into_owned();
        setup.signal(Signal::INT);
        let (ended, seen) = setup.finish();
        let seen = format!("{line}\n{}", seen.join("\n"));
        assert_eq!(ended, 1, "{given:?}: {seen}");
        assert!(seen.contains("TRACE") && seen.contains("interrupted"), "{given:?}: {seen}");
        for secret in [token.as_str(), Person::PASSWORD] {
            assert!(!seen.contains(secret), "{given:?}");
        }
        assert!(shows(&person), "{given:?}: the terminal is as it was");
        drop(kept);
        let mut echoed = [0; 512];
        let length = rustix::io::read(&person, &mut echoed).unwrap_or(0);
        let echoed = String::from_utf8_lossy(&echoed[..length]).into_owned();
        assert!(!echoed.contains(&token) && !echoed.contains(Person::PASSWORD), "{given:?}");
        assert!(!desk.into.exists(), "{given:?}: nothing is written");
        assert_eq!(desk.devices().await.len(), before, "{given:?}: the session is ended");
        let joined = desk.bot.call(Method::GET, "/_matrix/client/v3/joined_rooms", None).await.unwrap();
        assert_eq!(joined["joined_rooms"], json!([]), "{given:?}: the room is left");
    }
}

/// A server that answers everything with this.
async fn page(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address.to_string()
}

/// A port at which nothing listens.
fn nothing() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// The variable that is given, the arguments that are other ones, the exit code, and what is said.
type Mistake<'a> = ((&'a str, &'a str), &'a [(&'a str, &'a str)], i32, &'a [&'a str]);

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_typed_wrong_is_said_as_what_it_is_and_nothing_is_written() {
    let server = Synapse::shared().await;
    let site = page(Router::new().fallback(async || Html("<h1>It works!</h1>"))).await;
    let told = json!({ "m.homeserver": { "base_url": format!("{}/", server.base_url()) } });
    let well_known = page(Router::new().fallback(async move || axum::Json(told.clone()))).await;
    let other = server.register("another-bot").await.unwrap();
    let (nowhere, site_url) = (nothing(), format!("http://{site}"));
    let (closed, of_nobody, of_site, found) = (
        format!("http://{nowhere}"),
        format!("@bot:{nowhere}"),
        format!("@bot:{site}"),
        format!("@bot:{well_known}"),
    );
    let (at, password) = (server.base_url(), ("MATRIX_PASSWORD", Person::PASSWORD));
    let stranger = ("MATRIX_TOKEN", other.token.expose_secret());
    let whose = format!("that is {} there, and not", other.id);
    let table: &[Mistake<'_>] = &[
        (("MATRIX_PASSWORD", WRONG), &[], 1, &["lets nobody in as", "the password is another"]),
        (password, &[("--user", "@bot:elsewhere.example")], 1, &["in as @bot:elsewhere.example"]),
        (password, &[("--user", "@nobody:synapse.test")], 1, &["@nobody:synapse.test is no user there"]),
        (password, &[("--user", "bot")], 2, &["`bot` is no user id of Matrix", "@anna:example.org"]),
        (password, &[("--homeserver", &closed)], 1, &["there is no homeserver at", &nowhere]),
        (password, &[("--homeserver", &site_url)], 1, &[&site, "is no homeserver of Matrix"]),
        (password, &[("--homeserver", "http://matrix.example.org")], 2, &["use https"]),
        (password, &[("--homeserver", "matrix.example.org")], 2, &["write http:// or https://"]),
        (password, &[("--homeserver", ""), ("--user", &of_nobody)], 2, &["does not say", "--homeserver"]),
        (password, &[("--homeserver", ""), ("--user", &of_site)], 2, &["does not say", "--homeserver"]),
        (password, &[("--homeserver", ""), ("--user", &found)], 1, &[&at, "lets nobody in as"]),
        (password, &[("--me", "@nobody:synapse.test")], 1, &["knows no user @nobody:synapse.test"]),
        (password, &[("--me", "@anna:elsewhere.example")], 1, &["@anna:elsewhere.example in it"]),
        (password, &[("--me", "")], 2, &["no terminal", "--me"]),
        (password, &[("--user", "")], 2, &["no terminal", "--user"]),
        (("MATRIX_TOKEN", WRONG), &[], 1, &["does not know this access token"]),
        (("MATRIX_TOKEN", "two words"), &[], 2, &["the access token is not one"]),
        (stranger, &[], 1, &[&whose]),
        (("NOTHING", ""), &[], 2, &["no terminal", "MATRIX_TOKEN", "MATRIX_PASSWORD"]),
    ];
    for ((name, value), others, ends, says) in table {
        let desk = Desk::new(server).await.with(name, value);
        let (ended, said) = desk.ends(others);
        assert_eq!(ended, *ends, "{others:?}: {said}");
        let last = said.lines().filter(|line| line.contains("error: ")).collect::<Vec<_>>().join("\n");
        for part in *says {
            assert!(said.contains(part), "{others:?}: {part:?} is not in {last}");
        }
        assert!(value.is_empty() || !said.contains(value), "{others:?}: {said}");
        assert!(!desk.into.exists(), "{others:?}");
        assert_eq!(desk.devices().await.len(), 1, "{others:?}: no session is left");
    }
    let desk = Desk::new(server).await.with("MATRIX_TOKEN", stranger.1);
    let own = desk.bot.id.clone();
    let (ended, said) = desk.ends(&[("--me", &own)]);
    assert!(ended == 2 && said.contains("make a user for the bot"), "{said}");
}

#[tokio::test]
async fn what_is_there_already_is_left_as_it_was() {
    let server = Synapse::shared().await;
    for file in ["host.toml", "matrix.token"] {
        let desk = Desk::new(server).await.with("MATRIX_PASSWORD", Person::PASSWORD);
        std::fs::create_dir(&desk.into).unwrap();
        std::fs::write(desk.into.join(file), "mine").unwrap();
        let (ended, said) = desk.ends(&[]);
        assert!(ended == 2 && said.contains(&format!("{file} is there already")), "{said}");
        assert_eq!(desk.written(file).as_deref(), Some("mine"));
        assert_eq!(desk.devices().await.len(), 1, "nobody is logged in for nothing");
    }
}

#[tokio::test]
async fn a_room_that_is_or_becomes_encrypted_is_said_to_be_and_left() {
    let server = Synapse::with(Options { encrypts_rooms: true, ..Options::default() }).await.unwrap();
    let desk = Desk::new(&server).await.with("MATRIX_PASSWORD", Person::PASSWORD);
    let (ended, said) = desk.ends(&[]);
    assert!(ended == 1 && said.contains("the homeserver encrypts every room"), "{said}");
    drop(server);

    let desk = Desk::new(Synapse::shared().await).await.with("MATRIX_PASSWORD", Person::PASSWORD);
    let mut setup = desk.start();
    code(&mut setup);
    let room = desk.accepted().await;
    // From a client of the bot's own: nobody else may in its room.
    let encrypting = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    assert!(desk.anna.set_state(&room, "m.room.encryption", &encrypting).await.is_err());
    desk.bot.set_state(&room, "m.room.encryption", &encrypting).await.unwrap();
    setup.expect("the room was encrypted");
    assert_eq!(setup.finish().0, 1);
    assert!(!desk.into.exists());
    let members = desk.anna.members(&room).await.unwrap();
    assert!(!members.contains(&desk.bot.id), "{members:?}");
}
