//! The bot's account: a token that is given, or one that a login with a password brings.

use connector_contract::chain;
use connector_matrix::api::persist;
use connector_matrix::login::Session;
use connector_matrix::{AccessToken, Api, ApiError, Homeserver, LoginError, UserId, login};
use opencode_daemons::Environment;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::LIMIT;
use crate::cli::setup::{Questions, say};
use crate::exit::Failure;

/// The variable with the bot's access token.
pub(super) const TOKEN: &str = "MATRIX_TOKEN";

/// The variable with the bot's password.
const PASSWORD: &str = "MATRIX_PASSWORD";

/// The file for a token that stands in no variable.
pub(super) const TOKEN_FILE: &str = "matrix.token";

/// Where the host will find the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// In the environment, where it was found.
    Variable,
    /// In a file of its own.
    File,
}

/// The bot, logged in.
pub(super) struct Account {
    pub(super) user: UserId,
    pub(super) token: AccessToken,
    pub(super) kept: Kept,
    pub(super) api: Api,
    /// Whether its session was begun here.
    is_new: bool,
}

/// How the bot shows who it is.
pub(super) enum Credentials {
    /// A token, and where the host will find it.
    Token(AccessToken, Kept),
    /// A password, for one login.
    Password(SecretString),
}

impl Credentials {
    /// What the environment has, or what is typed.
    pub(super) async fn of(questions: &mut Questions) -> Result<Self, Failure> {
        if let Some(token) = variable(TOKEN) {
            say(&format!("using the token in {TOKEN}, where the host will look for it too"))?;
            return Self::token(&token, Kept::Variable);
        }
        if let Some(password) = variable(PASSWORD) {
            say(&format!("logging in once with the password in {PASSWORD}"))?;
            return Ok(Self::Password(password));
        }
        let question = "paste an access token of the bot, or press Enter to log in once with its password \
             (neither is shown):";
        let instead = format!("set {TOKEN}, or {PASSWORD} for one login");
        let token = questions.ask_unseen(question, &instead).await?;
        if !token.expose_secret().trim().is_empty() {
            return Self::token(&token, Kept::File);
        }
        let question = "the bot's password (it is not shown, and is kept nowhere):";
        let password = questions.ask_unseen(question, &instead).await?;
        if password.expose_secret().is_empty() {
            return Err(Failure::usage(format!("neither a token nor a password was typed; {instead}")));
        }
        Ok(Self::Password(password))
    }

    fn token(token: &SecretString, kept: Kept) -> Result<Self, Failure> {
        let token = AccessToken::new(token.expose_secret().trim().into());
        Ok(Self::Token(token.map_err(|error| Failure::usage(chain(&error)))?, kept))
    }
}

/// A login that goes on to its end whatever becomes of whoever waits for it: the device that it makes is known then.
pub(super) struct Login {
    homeserver: Homeserver,
    user: UserId,
    ending: JoinHandle<Result<Session, LoginError>>,
}

impl Login {
    /// Logs `user` in, once.
    pub(super) fn begin(homeserver: &Homeserver, user: &UserId, password: SecretString) -> Self {
        let (homeserver, user) = (homeserver.clone(), user.clone());
        let (at, of) = (homeserver.clone(), user.clone());
        let ending = tokio::spawn(async move { at.login(&of, &password).await });
        Self { homeserver, user, ending }
    }

    /// The account that is logged in. Cancel safe.
    pub(super) async fn account(&mut self) -> Result<Account, Failure> {
        let session = (&mut self.ending).await.map_err(|error| Failure::failed(chain(&error)))?;
        let session = session.map_err(|error| match error {
            LoginError::Api(ApiError::Throttled { .. }) => {
                Failure::failed("the homeserver takes no more logins for a while; wait, and try again")
            }
            error if error.may_have_logged_in() => Failure::failed(format!(
                "{}; the bot may be logged in as the device {}: look at its devices, and log that one out",
                chain(&error),
                login::DEVICE
            )),
            error => Failure::failed(chain(&error)),
        })?;
        let api = self.homeserver.api(session.token.clone());
        Ok(Account { user: self.user.clone(), token: session.token, kept: Kept::File, api, is_new: true })
    }
}

impl Account {
    /// The account of a token that is given.
    pub(super) fn with_token(
        homeserver: &Homeserver,
        user: &UserId,
        (token, kept): (AccessToken, Kept),
    ) -> Self {
        let api = homeserver.api(token.clone());
        Self { user: user.clone(), token, kept, api, is_new: false }
    }

    /// Whether it is the bot's.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        let whose = self.api.whoami().await.map_err(|error| match error {
            ApiError::LoggedOut => {
                Failure::failed("the homeserver does not know this access token; log in again")
            }
            _ => Failure::failed(chain(&error)),
        })?;
        if whose == self.user {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "that is {whose} there, and not {}; name the one or the other",
            self.user
        )))
    }

    /// Ends the session, if it was begun here.
    pub(super) async fn end(self) {
        if !self.is_new {
            return;
        }
        let ending = persist(Instant::now() + LIMIT, || self.api.logout()).await;
        if let Err(given_up) = ending
            // The first try may have had its effect.
            && !matches!(given_up.error, ApiError::LoggedOut)
        {
            tracing::error!(
                "the bot is still logged in, as the device {}, which nothing uses: {}",
                login::DEVICE,
                chain(&given_up.error)
            );
        }
    }
}

fn variable(name: &str) -> Option<SecretString> {
    let environment = Environment::of_this_process();
    environment.get(name).and_then(|found| found.to_str()).filter(|found| !found.is_empty()).map(Into::into)
}
