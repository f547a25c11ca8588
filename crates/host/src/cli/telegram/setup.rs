//! `telegram setup`: token in, `host.toml` and rules out, and a first card.

mod meeting;

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use connector_contract::chain;
use connector_files::AbsolutePath;
use connector_telegram::Config;
use connector_telegram::api::GetMe;
use opencode_daemons::Environment;
use secrecy::SecretString;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::cli::path;
use crate::cli::terminal::Signals;
use crate::exit::{Exit, Failure};
use crate::places::{Door, Places};
use meeting::Meeting;

/// The variable that `host.toml` names for the token.
const VARIABLE: &str = "TELEGRAM_BOT_TOKEN";

/// The rules that are written: `/fix`, and replies that go on; both also with files; and what is done with a
/// result.
const RULES: [(&str, &str); 9] = [
    ("fix.toml", include_str!("../../../rules/telegram/fix.toml")),
    ("reply.toml", include_str!("../../../rules/telegram/reply.toml")),
    ("fix-files.toml", include_str!("../../../rules/telegram/fix-files.toml")),
    ("reply-files.toml", include_str!("../../../rules/telegram/reply-files.toml")),
    ("apply.toml", include_str!("../../../rules/telegram/apply.toml")),
    ("commit.toml", include_str!("../../../rules/telegram/commit.toml")),
    ("discard.toml", include_str!("../../../rules/telegram/discard.toml")),
    ("undo.toml", include_str!("../../../rules/telegram/undo.toml")),
    ("push.toml", include_str!("../../../rules/telegram/push.toml")),
];

/// `telegram setup`
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Setup {
    /// The repository the agent is to work on
    #[arg(long, value_name = "DIR", default_value = ".", value_parser = path::absolute())]
    workspace: AbsolutePath,
    /// Where `host.toml` and the rules are written, outside the repository [default: your configuration directory]
    #[arg(long, value_name = "DIR", value_parser = path::absolute())]
    into: Option<AbsolutePath>,
    /// Another Bot API server
    #[arg(long, value_name = "URL", default_value = connector_telegram::config::API_BASE)]
    api_base: String,
}

impl Setup {
    pub(in crate::cli) async fn run(self) -> Result<Exit, Failure> {
        // Taken over, so that the terminal is left as it was found.
        let mut signals = Signals::listen()?;
        tokio::select! {
            done = self.set_up() => done,
            _ = signals.next() => Err(Failure::failed("interrupted")),
        }
    }

    async fn set_up(&self) -> Result<Exit, Failure> {
        let own = || {
            path::own_directory()
                .ok_or_else(|| Failure::usage("there is no home directory; name a place with --into"))
        };
        let into = self.into.clone().map_or_else(own, Ok)?;
        let target = into.join("host.toml");
        if target.exists() {
            let text = format!("{} is there already; it was left as it is", target.display());
            return Err(Failure::usage(text));
        }
        let workspace = crate::cli::chat::existing_directory(&self.workspace)?;
        let door =
            Door { what: "the repository".to_owned(), path: workspace.to_path_buf(), read_only: false };
        let places = Places::default().with("the configuration", target.to_path_buf());
        if let Some(misplaced) = places.misplaced(&[door]).first() {
            return Err(Failure::usage(format!("{misplaced}, with --into")));
        }
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let (token, given) = token(&mut lines).await?;
        let config = Config { bot_token: token, api_base: self.api_base.clone(), ..Config::default() };
        let api = config.check().and_then(|settings| settings.api());
        let api = api.map_err(|error| Failure::usage(chain(&error)))?;
        let me = api.call(&GetMe {}).await.map_err(|error| Failure::failed(chain(&error)))?;
        let name = me.username.unwrap_or_default();
        let mut meeting = Meeting::begin(api).await?;
        let code = meeting.code();
        say(&format!("the bot is @{name}; in Telegram, write it this code: {code}"))?;
        say(&format!("or open https://t.me/{name}?start={code} and press Start"))?;
        let person = meeting.person().await?;
        say(&format!("that was {}, user id {}", person.name, person.id))?;
        let card = meeting.card(&person).await?;
        say("sent you a card; tap its button")?;
        say(if meeting.tap(&person).await? {
            "the tap came"
        } else {
            "no tap came within a minute; it is not needed"
        })?;
        // Last of all: what failed before it keeps nobody from beginning again.
        self.write(&into, person.id, &workspace)?;
        say(&format!("wrote {}", target.display()))?;
        let text = format!(
            "✅ {}, user id {}: host.toml lets you write, and approve. \
             Start the host, then write: /fix the failing test",
            person.name, person.id
        );
        if let Err(error) = meeting.end(&person, &card, &text).await {
            say(&format!("the card was not changed, which does not matter: {}", chain(&error)))?;
        }
        if !given {
            say(&format!("put the token into the environment as {VARIABLE}; it stands in no file"))?;
        }
        say(&format!("start the host with: connector-host run -c {}", target.display()))?;
        Ok(Exit::Done)
    }

    /// Writes the rules that are not there yet, and then `host.toml`.
    fn write(&self, into: &AbsolutePath, user: i64, workspace: &Path) -> Result<(), Failure> {
        let rules = into.join("rules");
        std::fs::create_dir_all(&rules)?;
        for (file, text) in RULES {
            let path = rules.join(file);
            if !path.exists() {
                write_new(&path, text)?;
            }
        }
        write_new(&into.join("host.toml"), &host_toml(user, workspace, &self.api_base))
    }
}

type Lines = tokio::io::Lines<BufReader<tokio::io::Stdin>>;

/// The token, and whether it came from the environment.
async fn token(lines: &mut Lines) -> Result<(SecretString, bool), Failure> {
    let environment = Environment::of_this_process();
    if let Some(found) = environment.get(VARIABLE).and_then(|found| found.to_str()) {
        say(&format!("using the token in {VARIABLE}"))?;
        return Ok((found.trim().into(), true));
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("there is no terminal to ask at; set {VARIABLE}")));
    }
    say("write /newbot to @BotFather in Telegram, and paste the token it gives you (it is not shown):")?;
    #[cfg(unix)]
    let _unseen = crate::cli::terminal::Unseen::begin();
    let line = lines.next_line().await?.unwrap_or_default();
    Ok((line.trim().into(), false))
}

fn host_toml(user: i64, workspace: &Path, api_base: &str) -> String {
    let directory = toml::Value::String(workspace.display().to_string());
    let base = if api_base == connector_telegram::config::API_BASE {
        String::new()
    } else {
        format!("api_base = {}\n", toml::Value::String(api_base.to_owned()))
    };
    format!(
        "rules = \"rules\"\n\n\
         [gate]\n# Whose taps count.\napprovers = [\"telegram:{user}\"]\n\n\
         [workspaces.main]\ndirectory = {directory}\n\n\
         [connectors.connector-opencode]\nworkspace = \"main\"\n\n\
         [surfaces.telegram]\nbot_token = \"env:{VARIABLE}\"\n{base}# Whose messages come in.\nallow_users = [{user}]\n"
    )
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

fn say(text: &str) -> Result<(), Failure> {
    Ok(writeln!(anstream::stdout(), "{text}")?)
}
