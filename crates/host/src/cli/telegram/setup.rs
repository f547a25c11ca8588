//! `telegram setup`: token in, `host.toml` and rules out, and a first message.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use connector_contract::chain;
use connector_telegram::api::GetMe;
use connector_telegram::frankenstein::methods::SendMessageParams;
use connector_telegram::poll::{Health, Poller};
use connector_telegram::{Api, Config, update};
use opencode_daemons::Environment;
use secrecy::SecretString;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::exit::{Exit, Failure};

/// The variable that `host.toml` names for the token.
const VARIABLE: &str = "TELEGRAM_BOT_TOKEN";

/// How long somebody has to write to the bot.
const PATIENCE: Duration = Duration::from_mins(5);

/// The rules that are written: `/fix`, and replies that go on; both also with files.
const RULES: [(&str, &str); 4] = [
    ("fix.toml", include_str!("../../../rules/telegram/fix.toml")),
    ("reply.toml", include_str!("../../../rules/telegram/reply.toml")),
    ("fix-files.toml", include_str!("../../../rules/telegram/fix-files.toml")),
    ("reply-files.toml", include_str!("../../../rules/telegram/reply-files.toml")),
];

/// `telegram setup`
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Setup {
    /// The repository the agent is to work on
    #[arg(long, value_name = "DIR", default_value = ".")]
    workspace: PathBuf,
    /// Where `host.toml` and the rules are written
    #[arg(long, value_name = "DIR", default_value = ".")]
    into: PathBuf,
    /// Another Bot API server
    #[arg(long, value_name = "URL", default_value = connector_telegram::config::API_BASE)]
    api_base: String,
}

impl Setup {
    pub(in crate::cli) async fn run(self) -> Result<Exit, Failure> {
        let target = self.into.join("host.toml");
        if target.exists() {
            let text = format!("{} is there already; it was left as it is", target.display());
            return Err(Failure::usage(text));
        }
        let workspace = crate::cli::chat::existing_directory(&self.workspace)?;
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let (token, given) = token(&mut lines).await?;
        let config = Config { bot_token: token, api_base: self.api_base.clone(), ..Config::default() };
        let api = config.check().and_then(|settings| settings.api());
        let api = api.map_err(|error| Failure::usage(chain(&error)))?;
        let me = api.call(&GetMe {}).await.map_err(|error| Failure::failed(chain(&error)))?;
        let name = me.username.unwrap_or_default();
        say(&format!("the bot is @{name}; write it a message now, such as: hello"))?;
        let (user, who) = first_writer(&api).await?;
        say(&format!("that was {who}, user id {user}"))?;
        std::fs::create_dir_all(self.into.join("rules"))?;
        write_new(&target, &host_toml(user, &workspace, &self.api_base))?;
        for (file, text) in RULES {
            let path = self.into.join("rules").join(file);
            if !path.exists() {
                write_new(&path, text)?;
            }
        }
        let hello = format!(
            "hello {who}. this is what host.toml allows: you write, you approve. \
             start the host, then write: /fix the failing test"
        );
        let message = SendMessageParams::builder().chat_id(user).text(hello).build();
        api.call(&message).await.map_err(|error| Failure::failed(chain(&error)))?;
        say(&format!("wrote {}, and sent you a message", target.display()))?;
        if !given {
            say(&format!("put the token into the environment as {VARIABLE}; it stands in no file"))?;
        }
        say(&format!("start the host with: connector-host run -c {}", target.display()))?;
        Ok(Exit::Done)
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
    say("write /newbot to @BotFather in Telegram, and paste the token it gives you:")?;
    let line = lines.next_line().await?.unwrap_or_default();
    Ok((line.trim().into(), false))
}

/// Waits for the first message of a person in private.
async fn first_writer(api: &Api) -> Result<(i64, String), Failure> {
    let mut poller = Poller::new(api.clone(), Duration::from_secs(25), Health::default());
    poller.take_over().await.map_err(|error| Failure::failed(chain(&error)))?;
    let wait = async {
        loop {
            let mut found = None;
            for raw in poller.next().await {
                if let Some(number) = update::number(&raw) {
                    poller.done(number);
                }
                found = found.or_else(|| writer(&raw));
            }
            if let Some(found) = found {
                poller.settle().await;
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .map_err(|_| Failure::failed("nobody wrote to the bot in five minutes; try again"))
}

fn writer(raw: &Value) -> Option<(i64, String)> {
    let message = raw.get("message")?;
    let (from, chat) = (message.get("from")?, message.get("chat")?);
    let private = chat.get("type")?.as_str()? == "private" && from.get("is_bot")?.as_bool() == Some(false);
    let name = from.get("first_name").and_then(Value::as_str).unwrap_or("you");
    private.then_some((from.get("id")?.as_i64()?, crate::text::one_line(name)))
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
