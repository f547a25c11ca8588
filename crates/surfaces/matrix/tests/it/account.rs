//! Whose token it is, and being logged out.

use std::sync::Arc;

use connector_matrix::{AccessToken, Api, ApiError, Config, Matrix};
use connector_surface::{Inbox, Surface as _};
use http::Method;
use serde_json::json;
use testkit::Synapse;
use tokio_util::sync::CancellationToken;

use crate::support::{bot, config_of, http, origin};
use crate::surface::Engine;

#[tokio::test]
async fn whose_token_it_is_not_and_one_that_was_logged_out_are_said_and_end_the_surface() {
    let synapse = Synapse::shared().await;
    let (bot, other) = (bot(synapse).await, bot(synapse).await);
    assert_eq!(bot.api.whoami().await.unwrap().as_str(), bot.user.id);
    let run = async |user: &str| {
        let config = Config {
            homeserver: synapse.base_url(),
            user: user.to_owned(),
            ..config_of(&bot.user, &[], &[])
        };
        let matrix = Matrix::new(config.check().unwrap(), "connector-matrix").unwrap();
        let inbox = Inbox::new(Arc::new(Engine::default()), "matrix");
        let error = matrix.run(inbox, CancellationToken::new()).await.unwrap_err().to_string();
        matrix.finish().await;
        error
    };
    let error = run(&other.user.id).await;
    assert!(error.contains(&bot.user.id) && error.contains(&other.user.id), "{error}");

    bot.user.call(Method::POST, "/_matrix/client/v3/logout", Some(&json!({}))).await.unwrap();

    assert!(matches!(bot.api.whoami().await, Err(ApiError::LoggedOut)));
    assert!(run(&bot.user.id).await.contains("log in again"));
}

#[tokio::test]
async fn a_token_that_is_none_of_the_servers_is_refused() {
    let synapse = Synapse::shared().await;
    let origin = origin(synapse);
    let api = Api::new(http(&origin), origin, AccessToken::new("syt_not_a_token".into()).unwrap());
    assert!(matches!(api.whoami().await, Err(ApiError::LoggedOut)));
}
