//! What a package was granted, and whether that is what it asks for.

use connector_contract::{Capability, Manifest};
use serde::{Deserialize, Deserializer};

use super::signature::Signed;
use super::{Digest, Executable, Kind, Package, PluginName, SignatureFault, Trust};

/// What the operator granted one package: `[plugins.NAME]` of `host.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackageGrant {
    /// The powers it may have, as `NetworkOutbound(127.0.0.1:4096)`.
    #[serde(rename = "grant", deserialize_with = "capabilities")]
    #[schemars(with = "Vec<String>")]
    pub capabilities: Vec<Capability>,
    /// The SHA-256 of the executable that may have them.
    #[schemars(with = "String")]
    pub sha256: Digest,
    /// The SHA-256 of the manifest that was read when they were granted.
    #[schemars(with = "String")]
    pub manifest_sha256: Digest,
    /// Whether a trusted signature is wanted too.
    #[serde(default)]
    pub require_signature: bool,
}

/// The answer about one package. It may run when there is no refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Every reason against it.
    pub refusals: Vec<Refusal>,
    /// What does not stop it, and should be known.
    pub warnings: Vec<Warning>,
    /// Whose key signed the manifest, of those trusted.
    pub signer: Option<String>,
}

/// A reason not to run a package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No `[plugins.NAME]`.
    #[error("it was not granted anything")]
    NotGranted,
    /// It asks for more than it was granted.
    #[error("it asks for {}, which was not granted", list(.asked))]
    MoreThanGranted {
        /// What is not granted.
        asked: Vec<Capability>,
    },
    /// Another executable than the one that the grant is for.
    #[error("its executable is another than the one the grant is for (SHA-256 {found}, granted {granted})")]
    ExecutableDiffers {
        /// What the grant names.
        granted: Digest,
        /// What is there.
        found: Digest,
    },
    /// Another manifest than the one that the grant is for.
    #[error("its manifest is another than the one the grant is for (SHA-256 {found}, granted {granted})")]
    ManifestDiffers {
        /// What the grant names.
        granted: Digest,
        /// What is there.
        found: Digest,
    },
    /// A signature is required, and there is none.
    #[error("it is not signed, and a signature is required")]
    NotSigned,
    /// A signature is required, and no trusted key made this one.
    #[error("no trusted key made its signature: the key is another, or the manifest was changed")]
    UnknownSigner,
    /// What stands there as a signature is none; whether or not one is required.
    #[error("its signature is not valid: {0}")]
    BadSignature(SignatureFault),
    /// Another program would run it, which no digest covers and no wall lets through.
    #[error("its executable is a script for {}; only a program runs within walls", .interpreter.display())]
    Script {
        /// That program.
        interpreter: std::path::PathBuf,
    },
}

/// Something to know about a package that may run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// More was granted than it asks for.
    #[error("it was granted {}, and does not ask for it", list(.granted))]
    NotAskedFor {
        /// What it does not ask for. It does not get it either.
        granted: Vec<Capability>,
    },
    /// It is signed, by nobody known.
    #[error("it is signed, and no trusted key made the signature")]
    UnknownSigner,
}

/// A package that may run, and what it may do. Made by [`Package::admit`] alone.
#[derive(Debug)]
pub struct Granted {
    name: PluginName,
    manifest: Manifest,
    executable: Executable,
}

/// A package that may not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the package `{name}` is not run: {}", reasons(.refusals))]
pub struct Refused {
    /// Which.
    pub name: PluginName,
    /// Every reason.
    pub refusals: Vec<Refusal>,
}

impl Package {
    /// Whether it may run with `grant`, where signatures of `trust` count.
    pub fn verdict(&self, grant: Option<&PackageGrant>, trust: &Trust) -> Verdict {
        let (mut refusals, mut warnings) = (Vec::new(), Vec::new());
        match grant {
            None => refusals.push(Refusal::NotGranted),
            Some(grant) => self.compare(grant, &mut refusals, &mut warnings),
        }
        let signature = self.signature.as_ref().map(Option::as_ref);
        let signer = signature.ok().flatten().and_then(|signed: &Signed| signed.signer(trust));
        let required = trust.require_signature || grant.is_some_and(|grant| grant.require_signature);
        match (signature, signer) {
            (Err(fault), _) => refusals.push(Refusal::BadSignature(fault.clone())),
            (Ok(None), _) if required => refusals.push(Refusal::NotSigned),
            (Ok(Some(_)), None) if required => refusals.push(Refusal::UnknownSigner),
            (Ok(Some(_)), None) => warnings.push(Warning::UnknownSigner),
            (Ok(None), _) | (Ok(Some(_)), Some(_)) => {}
        }
        if let Kind::Script { interpreter } = self.executable.kind() {
            refusals.push(Refusal::Script { interpreter: interpreter.clone() });
        }
        Verdict { refusals, warnings, signer: signer.map(str::to_owned) }
    }

    /// Whether it has a signature, valid or not.
    pub fn is_signed(&self) -> bool {
        !matches!(self.signature, Ok(None))
    }

    /// The grant of all that it asks for, for exactly these files.
    pub fn full_grant(&self) -> PackageGrant {
        PackageGrant {
            capabilities: self.manifest.capabilities.clone(),
            sha256: self.executable.sha256(),
            manifest_sha256: self.manifest_sha256,
            require_signature: false,
        }
    }

    /// The package as what may run, if the [verdict](Self::verdict) has no refusal.
    pub fn admit(self, grant: Option<&PackageGrant>, trust: &Trust) -> Result<Granted, Refused> {
        let refusals = self.verdict(grant, trust).refusals;
        if refusals.is_empty() {
            Ok(Granted { name: self.name, manifest: self.manifest, executable: self.executable })
        } else {
            Err(Refused { name: self.name, refusals })
        }
    }

    fn compare(&self, grant: &PackageGrant, refusals: &mut Vec<Refusal>, warnings: &mut Vec<Warning>) {
        let asked = &self.manifest.capabilities;
        let more = missing_in(&grant.capabilities, asked);
        if !more.is_empty() {
            refusals.push(Refusal::MoreThanGranted { asked: more });
        }
        let idle = missing_in(asked, &grant.capabilities);
        if !idle.is_empty() {
            warnings.push(Warning::NotAskedFor { granted: idle });
        }
        let (granted, found) = (grant.sha256, self.executable.sha256());
        if granted != found {
            refusals.push(Refusal::ExecutableDiffers { granted, found });
        }
        let (granted, found) = (grant.manifest_sha256, self.manifest_sha256);
        if granted != found {
            refusals.push(Refusal::ManifestDiffers { granted, found });
        }
    }
}

impl Granted {
    /// What it is called.
    pub fn name(&self) -> &PluginName {
        &self.name
    }

    /// What it says about itself. What its process declares must equal this.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it may do: what it asks for, all of which was granted.
    pub fn capabilities(&self) -> &[Capability] {
        &self.manifest.capabilities
    }

    /// What to run: the file whose digest the grant names.
    pub fn executable(&self) -> &Executable {
        &self.executable
    }
}

impl Refusal {
    /// Its kind, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotGranted => "not_granted",
            Self::MoreThanGranted { .. } => "more_than_granted",
            Self::ExecutableDiffers { .. } => "executable_differs",
            Self::ManifestDiffers { .. } => "manifest_differs",
            Self::NotSigned => "not_signed",
            Self::UnknownSigner => "unknown_signer",
            Self::BadSignature(_) => "bad_signature",
            Self::Script { .. } => "script",
        }
    }
}

impl Warning {
    /// Its kind, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotAskedFor { .. } => "not_asked_for",
            Self::UnknownSigner => "unknown_signer",
        }
    }
}

fn missing_in(there: &[Capability], wanted: &[Capability]) -> Vec<Capability> {
    wanted.iter().filter(|one| !there.contains(one)).cloned().collect()
}

fn list(capabilities: &[Capability]) -> String {
    capabilities.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn reasons(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn capabilities<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Capability>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}
