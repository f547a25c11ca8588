//! Surfaces: where people meet the host.
//!
//! A [`Surface`] turns a platform's updates into messages, decisions and answers, which it reports to its [`Inbox`], and
//! [views](View) into messages of its platform. It decides nothing; it vouches for who acted. Nothing here knows a
//! row or a platform's word. The [log](log) is the surface of a host that has no other. What is shown is data that is
//! clean already; [`prose`] reads what somebody wrote in Markdown, and [`text`] makes anything else safe to show.

pub mod attachments;
pub mod flood;
pub mod inbox;
pub mod log;
pub mod prose;
mod surface;
pub mod text;
pub mod view;
pub mod words;

pub use connector_gate::decision::{Decision, Tapped};
pub use connector_gate::ids::StepId;
pub use connector_gate::policy::Actor;
pub use inbox::{Inbox, InboxError};
pub use surface::{DeliveryError, MAIN_CHAT, OpenAsk, Reported, Surface, SurfaceError, View, command};
