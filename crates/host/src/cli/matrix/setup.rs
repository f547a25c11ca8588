//! `matrix setup`: a token or a password in, a room, `host.toml` and rules out, and a first card.

mod account;
mod meeting;

use std::time::Duration;

use connector_contract::chain;
use connector_files::AbsolutePath;
use connector_matrix::surface::NAME;
use connector_matrix::{Homeserver, LoginError, UserId};

use crate::cli::pairing::pair;
use crate::cli::setup::{Destination, Questions, SecretFile, Target, rules, say};
use crate::cli::terminal::Signals;
use crate::exit::{Exit, Failure};
use account::{Account, Credentials, Kept, Login, TOKEN, TOKEN_FILE};
use meeting::Meeting;

/// How long a call is tried that a server puts off.
const LIMIT: Duration = Duration::from_secs(45);

/// `matrix setup`
#[derive(Debug, clap::Args)]
#[command(after_help = SECRETS)]
pub(in crate::cli) struct Setup {
    #[command(flatten)]
    destination: Destination,
    /// The bot's user id, such as @bot:example.org, which is a user of its own
    #[arg(long, value_name = "ID")]
    user: Option<UserId>,
    /// Your own user id, such as @anna:example.org
    #[arg(long, value_name = "ID")]
    me: Option<UserId>,
    /// The homeserver, such as `https://matrix.example.org` [default: what the server in the bot's id says]
    #[arg(long, value_name = "URL")]
    homeserver: Option<String>,
}

const SECRETS: &str = "The bot's access token is read from the variable MATRIX_TOKEN, or its password, with which it is \
    logged in once, from MATRIX_PASSWORD; where neither is set, they are asked for.";

/// What is taken back when it comes to nothing.
#[derive(Default)]
struct Begun {
    /// While it goes on.
    login: Option<Login>,
    account: Option<Account>,
    meeting: Option<Meeting>,
    /// Whether the host has it by now: then it stays, whatever fails after that.
    is_written: bool,
}

impl Setup {
    pub(in crate::cli) async fn run(self) -> Result<Exit, Failure> {
        // Taken over, so that the terminal is left as it was found.
        let mut signals = Signals::listen()?;
        let mut begun = Begun::default();
        let done = tokio::select! {
            done = self.set_up(&mut begun) => done,
            _ = signals.next() => Err(Failure::failed("interrupted")),
        };
        if done.is_err() && !begun.is_written {
            tokio::select! {
                () = begun.take_back() => {}
                _ = signals.next() => return Err(Failure::failed("interrupted before all was taken back")),
            }
        }
        done
    }

    async fn set_up(&self, begun: &mut Begun) -> Result<Exit, Failure> {
        let target = self.destination.target(&[TOKEN_FILE])?;
        let mut questions = Questions::new();
        let (bot, me) = self.users(&mut questions).await?;
        let homeserver = self.homeserver(&bot).await?;
        let account = match Credentials::of(&mut questions).await? {
            Credentials::Token(token, kept) => Account::with_token(&homeserver, &bot, (token, kept)),
            Credentials::Password(password) => {
                let login = begun.login.insert(Login::begin(&homeserver, &bot, password));
                let account = login.account().await;
                begun.login = None;
                account?
            }
        };
        let account = begun.account.insert(account);
        account.check().await?;
        say(&format!("logged in as {bot}"))?;
        let meeting = begun.meeting.insert(Meeting::begin(account, &homeserver, &me).await?);
        meeting.open().await?;
        say(&format!(
            "invited {me} to a room without encryption; accept it, and write there this code: {}",
            meeting.code()
        ))?;
        let is_written = &mut begun.is_written;
        pair(meeting, |me| {
            write(&target, account, &homeserver, me)?;
            *is_written = true;
            say(&format!("wrote {}", target.file().display()))
        })
        .await?;
        say(&format!("start the host with: connector-host run -c {}", target.file().display()))?;
        Ok(Exit::Done)
    }

    /// The bot, and who is at the terminal.
    async fn users(&self, questions: &mut Questions) -> Result<(UserId, UserId), Failure> {
        let bot = match &self.user {
            Some(user) => user.clone(),
            None => {
                user(questions, "the bot's user id, such as @bot:example.org:", "name the bot with --user")
                    .await?
            }
        };
        let me = match &self.me {
            Some(me) => me.clone(),
            None => {
                user(questions, "your own user id, such as @anna:example.org:", "name yourself with --me")
                    .await?
            }
        };
        if bot == me {
            return Err(Failure::usage(format!(
                "{bot} cannot be both you and the bot; make a user for the bot"
            )));
        }
        Ok((bot, me))
    }

    /// The bot's homeserver, which answers as one.
    async fn homeserver(&self, bot: &UserId) -> Result<Homeserver, Failure> {
        let found = match &self.homeserver {
            Some(origin) => Homeserver::at(origin),
            None => Homeserver::of(bot).await,
        };
        let found = found.map_err(|error| match error {
            LoginError::Config(_) | LoginError::NotSaid { .. } => Failure::usage(chain(&error)),
            _ => Failure::failed(chain(&error)),
        })?;
        found.check().await.map_err(|error| Failure::failed(chain(&error)))?;
        say(&format!("the homeserver is at {}", found.origin()))?;
        Ok(found)
    }
}

async fn user(questions: &mut Questions, question: &str, instead: &str) -> Result<UserId, Failure> {
    let typed = questions.ask(question, instead).await?;
    typed.parse().map_err(|error| Failure::usage(chain(&error)))
}

impl Begun {
    /// Leaves the room that was made, and ends the session that was begun. What cannot be taken back is said.
    async fn take_back(mut self) {
        if let Some(login) = &mut self.login {
            match login.account().await {
                Ok(account) => self.account = Some(account),
                Err(failure) => tracing::error!("{}", failure.text),
            }
        }
        if let Some(meeting) = self.meeting {
            meeting.leave().await;
        }
        if let Some(account) = self.account {
            account.end().await;
        }
    }
}

/// Writes what lets `me` in.
fn write(target: &Target, account: &Account, homeserver: &Homeserver, me: &UserId) -> Result<(), Failure> {
    let rules = rules::of_messages(NAME);
    let secret = match account.kept {
        Kept::Variable => None,
        Kept::File => Some(SecretFile { name: TOKEN_FILE, secret: account.token.secret() }),
    };
    target.write(rules, secret, &host_toml(&target.workspace, account, homeserver, me))
}

fn host_toml(workspace: &AbsolutePath, account: &Account, homeserver: &Homeserver, me: &UserId) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let origin = homeserver.origin();
    let remote = if origin.is_loopback() { "" } else { "# It is on another machine.\nallow_remote = true\n" };
    let token = match account.kept {
        Kept::Variable => format!("env:{TOKEN}"),
        Kept::File => format!("file:{TOKEN_FILE}"),
    };
    format!(
        "rules = \"rules\"\n\n\
         [gate]\n# Whose reactions and replies count.\napprovers = [{approver}]\n\n\
         [workspaces.main]\ndirectory = {directory}\n\n\
         [connectors.connector-opencode]\nworkspace = \"main\"\n\n\
         [surfaces.matrix]\nhomeserver = {homeserver}\n{remote}user = {user}\naccess_token = {token}\n\
         # Whose messages come in, in a room of the two of you.\nallow_users = [{me}]\n",
        approver = quoted(&format!("{NAME}:{me}")),
        directory = quoted(&workspace.display().to_string()),
        homeserver = quoted(&origin.to_string()),
        user = quoted(account.user.as_str()),
        token = quoted(&token),
        me = quoted(me.as_str()),
    )
}
