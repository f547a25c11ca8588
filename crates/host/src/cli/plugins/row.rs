//! One package, as programs and people see it.
//!
//! What a manifest says is its author's text: it is made visible before it is shown.

use connector_contract::{Capability, DataDisclosure, chain};
use connector_plugins::package::{Digest, Package, PackageError, PackageGrant, Refusal, Verdict, Warning};
use connector_surface::text::one_line;
use serde::Serialize;

/// A package and the verdict on it.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// The name of its directory.
    pub(super) package: String,
    /// Whether it may run: whether there is no refusal.
    granted: bool,
    /// Every reason why it may not run.
    pub(super) refusals: Vec<Reason>,
    /// What should be known all the same.
    warnings: Vec<Reason>,
    /// What was read; nothing when it could not be.
    #[serde(flatten)]
    contents: Option<Contents>,
}

/// A refusal or a warning.
#[derive(Debug, Serialize)]
pub(super) struct Reason {
    kind: &'static str,
    pub(super) text: String,
}

#[derive(Debug, Serialize)]
struct Contents {
    version: String,
    author: String,
    description: String,
    asks: Vec<String>,
    actions: Vec<Action>,
    data_disclosure: Vec<DataDisclosure>,
    signed: bool,
    signed_by: Option<String>,
    sha256: Digest,
    manifest_sha256: Digest,
}

#[derive(Debug, Serialize)]
struct Action {
    name: String,
    read_only: bool,
}

impl Row {
    /// A package that could be read.
    pub(super) fn new(package: &Package, verdict: Verdict) -> Self {
        let manifest = package.manifest();
        let action = |action: &connector_contract::ActionDecl| Action {
            name: action.name.clone(),
            read_only: action.read_only,
        };
        Self {
            package: package.name().to_string(),
            granted: verdict.refusals.is_empty(),
            refusals: verdict.refusals.iter().map(Reason::refusal).collect(),
            warnings: verdict.warnings.iter().map(Reason::warning).collect(),
            contents: Some(Contents {
                version: manifest.version.clone(),
                author: manifest.author.clone(),
                description: manifest.description.clone(),
                asks: manifest.capabilities.iter().map(Capability::to_string).collect(),
                actions: manifest.actions.iter().map(action).collect(),
                data_disclosure: manifest.data_disclosure.clone(),
                signed: package.is_signed(),
                signed_by: verdict.signer,
                sha256: package.executable().sha256(),
                manifest_sha256: package.manifest_sha256(),
            }),
        }
    }

    /// One that could not.
    pub(super) fn unusable(name: &str, error: &PackageError) -> Self {
        let reason = Reason { kind: "unusable", text: chain(error) };
        Self {
            package: name.to_owned(),
            granted: false,
            refusals: vec![reason],
            warnings: Vec::new(),
            contents: None,
        }
    }

    /// Whether nothing speaks against running it.
    pub(super) fn may_run(&self) -> bool {
        self.refusals.is_empty()
    }

    /// In words.
    pub(super) fn text(&self) -> String {
        self.lines(|_| "")
    }

    /// What somebody has to know to grant it, with what `before` did not grant yet.
    pub(super) fn question(&self, before: Option<&PackageGrant>) -> String {
        let had: Vec<String> =
            before.iter().flat_map(|grant| &grant.capabilities).map(Capability::to_string).collect();
        self.lines(
            |asked| {
                if before.is_some() && !had.iter().any(|had| had == asked) { "   (new)" } else { "" }
            },
        )
    }

    fn lines(&self, mark: impl Fn(&str) -> &'static str) -> String {
        let mut lines = vec![self.title()];
        let mut line = |key: &str, value: &str| lines.push(format!("    {key:<10}{}", one_line(value)));
        if let Some(contents) = &self.contents {
            contents.lines(&mark, &mut line);
        }
        for reason in &self.refusals {
            line("refused", &reason.text);
        }
        for reason in &self.warnings {
            line("mind", &reason.text);
        }
        lines.join("\n")
    }

    fn title(&self) -> String {
        let verdict = if self.may_run() { "may run" } else { "may not run" };
        let version = self.contents.as_ref().map(|it| format!(" {}", it.version)).unwrap_or_default();
        one_line(&format!("{}{version}  {verdict}", self.package))
    }
}

impl Contents {
    fn lines(&self, mark: impl Fn(&str) -> &'static str, line: &mut impl FnMut(&str, &str)) {
        line("is", &self.description);
        line("by", &self.author);
        match (&self.signed_by, self.signed) {
            (Some(signer), _) => line("signed by", signer),
            (None, true) => line("signed by", "nobody who is trusted here"),
            (None, false) => line("signed by", "nobody"),
        }
        if self.asks.is_empty() {
            line("asks for", "nothing");
        }
        for asked in &self.asks {
            line("asks for", &format!("{asked}{}", mark(asked)));
        }
        for action in &self.actions {
            let approval = if action.read_only { "runs without approval" } else { "asks for approval" };
            line("action", &format!("{}   {approval}", action.name));
        }
        for data in &self.data_disclosure {
            line("sends", &format!("{} to {}: {}", data.data_type, data.destination, data.purpose));
        }
        line("sha256", &format!("{} (executable)", self.sha256));
        line("sha256", &format!("{} (manifest)", self.manifest_sha256));
    }
}

impl Reason {
    fn refusal(refusal: &Refusal) -> Self {
        Self { kind: refusal.kind(), text: refusal.to_string() }
    }

    fn warning(warning: &Warning) -> Self {
        Self { kind: warning.kind(), text: warning.to_string() }
    }
}
