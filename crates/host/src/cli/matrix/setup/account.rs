//! The bot's account: a token that is given, or one that a login with a password brings.

use connector_contract::chain;
use connector_matrix::{AccessToken, Api, ApiError, Homeserver, LoginError, UserId, login};
use opencode_daemons::Environment;
use secrecy::{ExposeSecret as _, SecretString};

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

impl Account {
    /// Logs the bot in, with what the environment has or what is typed.
    pub(super) async fn of(
        homeserver: &Homeserver,
        user: &UserId,
        questions: &mut Questions,
    ) -> Result<Self, Failure> {
        if let Some(token) = variable(TOKEN) {
            say(&format!("using the token in {TOKEN}"))?;
            return Self::with_token(homeserver, user, &token, Kept::Variable);
        }
        if let Some(password) = variable(PASSWORD) {
            say(&format!("logging in once with the password in {PASSWORD}"))?;
            return Self::with_password(homeserver, user, &password).await;
        }
        let question = "paste an access token of the bot, or press Enter to log in once with its password \
             (neither is shown):";
        let instead = format!("set {TOKEN}, or {PASSWORD} for one login");
        let token = questions.ask_unseen(question, &instead).await?;
        if !token.expose_secret().trim().is_empty() {
            return Self::with_token(homeserver, user, &token, Kept::File);
        }
        let question = "the bot's password (it is not shown, and is kept nowhere):";
        let password = questions.ask_unseen(question, &instead).await?;
        Self::with_password(homeserver, user, &password).await
    }

    fn with_token(
        homeserver: &Homeserver,
        user: &UserId,
        token: &SecretString,
        kept: Kept,
    ) -> Result<Self, Failure> {
        let token = AccessToken::new(token.expose_secret().trim().into());
        let token = token.map_err(|error| Failure::usage(chain(&error)))?;
        let api = homeserver.api(token.clone());
        Ok(Self { user: user.clone(), token, kept, api, is_new: false })
    }

    async fn with_password(
        homeserver: &Homeserver,
        user: &UserId,
        password: &SecretString,
    ) -> Result<Self, Failure> {
        let session = homeserver.login(user, password).await.map_err(|error| match error {
            LoginError::Api(ApiError::Throttled { .. }) => {
                Failure::failed("the homeserver takes no more logins for a while; wait, and try again")
            }
            _ => Failure::failed(chain(&error)),
        })?;
        say(&format!("logged in as {}, device {}", session.user, login::DEVICE))?;
        let api = homeserver.api(session.token.clone());
        Ok(Self { user: user.clone(), token: session.token, kept: Kept::File, api, is_new: true })
    }

    /// Whether it is the bot's.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        let whose = self.api.whoami().await.map_err(|error| match error {
            ApiError::LoggedOut => {
                Failure::failed("the homeserver does not know this access token; log in again")
            }
            _ => Failure::failed(chain(&error)),
        })?;
        if whose == self.user.as_str() {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "that is {whose} there, and not {}; name the one or the other",
            self.user
        )))
    }

    /// Ends the session, if it was begun here.
    pub(super) async fn end(self) {
        if self.is_new
            && let Err(error) = self.api.logout().await
        {
            let what = "the bot is still logged in, as a device that nothing uses";
            tracing::error!("{what}: {}", chain(&error));
        }
    }
}

fn variable(name: &str) -> Option<SecretString> {
    let environment = Environment::of_this_process();
    environment.get(name).and_then(|found| found.to_str()).filter(|found| !found.is_empty()).map(Into::into)
}
