//! On what terms a task would run: looked up, and nothing is begun.

use connector_contract::{ActionResult, ConnectorError};

use super::Call;
use crate::config::SavedRules;
use crate::link::LinkError;
use crate::output::Description;
use crate::permissions::tighten::decide;
use crate::permissions::{Action, WireRule};

impl Call<'_> {
    pub(super) async fn describe(mut self) -> Result<ActionResult, ConnectorError> {
        let stop = self.stop();
        match stop.unless(self.looked_up()).await {
            Ok(description) => {
                let output = serde_json::to_value(description?).unwrap_or_default();
                Ok(ActionResult { success: true, output, message: String::new() })
            }
            Err(cause) => Err(super::not_begun(cause)),
        }
    }

    async fn looked_up(&mut self) -> Result<Description, ConnectorError> {
        let peer = self.recognise().await?;
        self.turn_to(peer);
        self.check_configured()?;
        let dialect = self.link.dialect.clone();
        let agent = self.task.agent.as_deref();
        // A cold daemon knows its agents when it tells their rules.
        let below = self.below(agent).await?;
        let [agents, config] = dialect.below();
        let told = async { Ok([self.link.fetch(agents).await?, self.link.fetch(config).await?]) };
        let told: [bytes::Bytes; 2] = told.await.map_err(|error: LinkError| self.not_started(error))?;
        let own = dialect.read_agent_model(&told, agent);
        let model_of_agent = self.task.model.is_none() && own.is_some();
        let model = self.task.model.clone().or(own).or_else(|| dialect.read_default_model(&told[1]));
        let saved = self.passing_here(agent).await?;
        let refuses = self.shared.settings.saved_rules(&self.ctx.provenance) == SavedRules::Refuse;
        Ok(Description {
            generation: dialect.generation().to_owned(),
            model: model.map(|model| model.to_string()),
            model_of_agent,
            runs_code: dialect.never().iter().any(|kind| decide(&below, kind, "*") != Action::Deny),
            refused: refuses && saved.as_ref().is_some_and(|saved| !saved.is_empty()),
            saved,
        })
    }

    /// What was granted for good in the project of the directory and would pass in a new session; `None`
    /// where that is not told.
    async fn passing_here(&self, agent: Option<&str>) -> Result<Option<Vec<String>>, ConnectorError> {
        let dialect = &self.link.dialect;
        let Some(project) = dialect.project() else { return Ok(None) };
        let project = match self.link.fetch(project).await {
            Ok(body) => dialect.read_project(&body),
            Err(LinkError::Status { .. }) => None,
            Err(error) => return Err(self.not_started(error)),
        };
        let Some(request) = project.and_then(|project| dialect.saved(&project)) else { return Ok(None) };
        let saved = self.link.fetch(request).await.and_then(|body| Ok(dialect.read_saved(&body)?));
        let saved: Vec<WireRule> = saved.map_err(|error| self.not_started(error))?;
        let powers = self.powers(agent).await?;
        Ok(Some(powers.passing(&powers.missing(&[]), &saved)))
    }
}
