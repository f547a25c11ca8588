//! `telegram setup`: token in, `host.toml` and rules out, and a first card.

mod meeting;

use std::path::Path;

use connector_contract::chain;
use connector_telegram::Config;
use connector_telegram::api::GetMe;
use opencode_daemons::Environment;
use secrecy::{ExposeSecret as _, SecretString};

use crate::cli::pairing::pair;
use crate::cli::setup::{Destination, Questions, rules, say};
use crate::cli::terminal::Signals;
use crate::exit::{Exit, Failure};
use crate::telegram::NAME;
use meeting::Meeting;

/// The variable that `host.toml` names for the token.
const VARIABLE: &str = "TELEGRAM_BOT_TOKEN";

/// `telegram setup`
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Setup {
    #[command(flatten)]
    destination: Destination,
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
        let target = self.destination.target(&[])?;
        let (token, given) = token(&mut Questions::new()).await?;
        let config = Config { bot_token: token, api_base: self.api_base.clone(), ..Config::default() };
        let api = config.check().and_then(|settings| settings.api());
        let api = api.map_err(|error| Failure::usage(chain(&error)))?;
        let me = api.call(&GetMe {}).await.map_err(|error| Failure::failed(chain(&error)))?;
        let name = me.username.unwrap_or_default();
        let mut meeting = Meeting::begin(api).await?;
        let code = meeting.code();
        say(&format!("the bot is @{name}; in Telegram, write it this code: {code}"))?;
        say(&format!("or open https://t.me/{name}?start={code} and press Start"))?;
        pair(&mut meeting, |person| {
            let rules = rules::of_messages(NAME).chain(rules::of_files(NAME));
            target.write(rules, None, &host_toml(person.id, &target.workspace, &self.api_base))?;
            say(&format!("wrote {}", target.file().display()))
        })
        .await?;
        if !given {
            say(&format!("put the token into the environment as {VARIABLE}; it stands in no file"))?;
        }
        say(&format!("start the host with: connector-host run -c {}", target.file().display()))?;
        Ok(Exit::Done)
    }
}

/// The token, and whether it came from the environment.
async fn token(questions: &mut Questions) -> Result<(SecretString, bool), Failure> {
    let environment = Environment::of_this_process();
    if let Some(found) = environment.get(VARIABLE).and_then(|found| found.to_str()) {
        say(&format!("using the token in {VARIABLE}"))?;
        return Ok((found.trim().into(), true));
    }
    let question =
        "write /newbot to @BotFather in Telegram, and paste the token it gives you (it is not shown):";
    let line = questions.ask_unseen(question, &format!("set {VARIABLE}")).await?;
    Ok((line.expose_secret().trim().into(), false))
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
