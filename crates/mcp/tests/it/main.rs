//! Both ends of a pipe: a connector served and called, and peers that misbehave.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

mod calls;
mod end;
mod flood;
mod foreign;
mod greeting;
mod limits;
mod peer;
mod probe;
mod rubbish;
mod secret;
