//! Requests, as values.

use bytes::Bytes;
use connector_contract::Origin;
use connector_contract::ask::{PermissionReply, QuestionReply};
use http::{Method, Request};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use crate::ids::{PermissionId, QuestionId, SessionId};
use crate::permissions::WireRule;
use crate::wire::read::rejection;
use crate::wire::{Base, NewSession, Prompt};

/// What every request to one daemon carries.
#[derive(Clone)]
pub(crate) struct Requests {
    base: Base,
    directory: Option<String>,
}

impl Requests {
    pub(crate) fn new(origin: &Origin, password: Option<&SecretString>, directory: Option<&str>) -> Self {
        Self { base: Base::new(origin, password), directory: directory.map(str::to_owned) }
    }

    pub(crate) fn get(&self, path: &str) -> Request<Bytes> {
        self.build(Method::GET, path, &[], None)
    }

    pub(crate) fn get_with(&self, path: &str, pairs: &[(&str, &str)]) -> Request<Bytes> {
        self.build(Method::GET, path, pairs, None)
    }

    pub(crate) fn post(&self, path: &str, body: Option<&Value>) -> Request<Bytes> {
        self.build(Method::POST, path, &[], body)
    }

    pub(crate) fn create_session(&self, new: &NewSession<'_>) -> Request<Bytes> {
        let mut body = Map::new();
        if let Some(title) = new.title {
            body.insert("title".into(), json!(title));
        }
        if !new.rules.is_empty() {
            body.insert("permission".into(), json!(new.rules));
        }
        self.post("/session", Some(&Value::Object(body)))
    }

    pub(crate) fn set_rules(&self, session: &SessionId, rules: &[WireRule]) -> Request<Bytes> {
        let body = json!({ "permission": rules });
        self.build(Method::PATCH, &format!("/session/{session}"), &[], Some(&body))
    }

    pub(crate) fn prompt(&self, prompt: &Prompt) -> Request<Bytes> {
        let mut body = Map::new();
        body.insert("messageID".into(), json!(prompt.message.as_str()));
        if let Some(model) = &prompt.model {
            body.insert("model".into(), json!({ "providerID": model.provider, "modelID": model.model }));
        }
        if let Some(agent) = &prompt.agent {
            body.insert("agent".into(), json!(agent));
        }
        if let Some(system) = &prompt.system {
            body.insert("system".into(), json!(system));
        }
        let mut parts = vec![json!({ "type": "text", "text": prompt.text })];
        parts.extend(prompt.files.iter().map(
            |file| json!({ "type": "file", "mime": file.mime, "filename": file.name, "url": file.url() }),
        ));
        body.insert("parts".into(), Value::Array(parts));
        self.post(&format!("/session/{}/message", prompt.session), Some(&Value::Object(body)))
    }

    pub(crate) fn children(&self, session: &str) -> Request<Bytes> {
        let session = url::form_urlencoded::byte_serialize(session.as_bytes()).collect::<String>();
        self.get(&format!("/session/{session}/children"))
    }

    pub(crate) fn reply_permission(&self, id: &str, reply: &PermissionReply) -> Option<Request<Bytes>> {
        let id = PermissionId::parse(id).ok()?;
        let body = match reply {
            // What a person allows for longer is kept here, as it was shown: the daemon would keep a
            // pattern of its own making, for every later session of its directory.
            PermissionReply::Once | PermissionReply::Always => json!({ "reply": "once" }),
            PermissionReply::Reject { message } => {
                json!({ "reply": "reject", "message": rejection(message) })
            }
        };
        Some(self.post(&format!("/permission/{id}/reply"), Some(&body)))
    }

    pub(crate) fn reply_question(&self, id: &str, reply: &QuestionReply) -> Option<Request<Bytes>> {
        let id = QuestionId::parse(id).ok()?;
        Some(match reply {
            QuestionReply::Answers { answers } => {
                self.post(&format!("/question/{id}/reply"), Some(&json!({ "answers": answers })))
            }
            QuestionReply::Reject => self.post(&format!("/question/{id}/reject"), None),
        })
    }

    fn build(
        &self,
        method: Method,
        path: &str,
        pairs: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Request<Bytes> {
        let directory = self.directory.iter().map(|directory| ("directory", directory.as_str()));
        let pairs: Vec<_> = directory.chain(pairs.iter().copied()).collect();
        self.base.request(method, path, &pairs, body)
    }
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;
    use crate::files::Attached;
    use crate::ids::MessageId;

    fn requests(directory: Option<&str>) -> Requests {
        let origin: Origin = "http://127.0.0.1:4096".parse().unwrap();
        Requests::new(&origin, Some(&SecretString::from("s3cret")), directory)
    }

    fn prompt() -> Prompt {
        Prompt {
            session: SessionId::parse("ses_a").unwrap(),
            message: MessageId::parse("msg_b").unwrap(),
            text: "fix it".into(),
            files: Vec::new(),
            system: None,
            model: Some("openrouter/meta/llama".parse().unwrap()),
            agent: Some("build".into()),
        }
    }

    #[test]
    fn a_prompt_carries_our_message_id_and_the_model_as_an_object() {
        let request = requests(None).prompt(&prompt());
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "http://127.0.0.1:4096/session/ses_a/message");
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(
            body,
            json!({
                "messageID": "msg_b",
                "model": { "providerID": "openrouter", "modelID": "meta/llama" },
                "agent": "build",
                "parts": [{ "type": "text", "text": "fix it" }],
            })
        );
    }

    #[test]
    fn files_follow_the_text_as_parts_that_hold_their_content() {
        let file = Attached { name: "shot.png".into(), mime: "image/png".into(), data: "AAEC".into() };
        let request = requests(None).prompt(&Prompt { files: vec![file], ..prompt() });
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(
            body["parts"],
            json!([
                { "type": "text", "text": "fix it" },
                { "type": "file", "mime": "image/png", "filename": "shot.png", "url": "data:image/png;base64,AAEC" },
            ])
        );
    }

    #[test]
    fn the_directory_travels_encoded() {
        let request = requests(Some("/a b&c=ü")).get_with("/session/ses_a/message", &[("limit", "9")]);
        assert_eq!(
            request.uri(),
            "http://127.0.0.1:4096/session/ses_a/message?directory=%2Fa+b%26c%3D%C3%BC&limit=9"
        );
    }

    #[test]
    fn the_password_is_sent_and_never_shown() {
        let request = requests(None).get("/event");
        assert_eq!(request.headers()[AUTHORIZATION], "Basic b3BlbmNvZGU6czNjcmV0");
        let shown = format!("{request:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("b3BlbmNvZGU6czNjcmV0"), "{shown}");
    }

    #[test]
    fn answers_to_questions_are_lists_of_labels() {
        let reply = QuestionReply::Answers { answers: vec![vec!["A".into(), "B".into()], vec![]] };
        let request = requests(None).reply_question("que_1", &reply).unwrap();
        assert_eq!(request.body(), r#"{"answers":[["A","B"],[]]}"#);
        assert!(requests(None).reply_question("que_1/../x", &reply).is_none());
        assert!(requests(None).reply_permission("que_1", &PermissionReply::Once).is_none());
    }
}
