//! Surfaces: where people meet the host.
//!
//! A [`Surface`] turns a platform's updates into messages, decisions and answers, which it reports to its [`Inbox`], and
//! [views](View) into messages of its platform. It decides nothing; it vouches for who acted. What is shown is data that is
//! clean already; [`prose`] reads what somebody wrote in Markdown, and [`text`] makes anything else safe to show.

pub mod inbox;
pub mod prose;
mod surface;
pub mod text;
pub mod view;
pub mod words;

pub use inbox::{Inbox, InboxError};
pub use surface::{DeliveryError, OpenAsk, Reported, Surface, SurfaceError, View, command};
