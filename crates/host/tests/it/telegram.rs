//! Telegram: the binary on a fake Bot API, with the real opencode daemon where it matters.

mod actions;
mod asks;
mod cards;
mod delivery;
mod desk;
mod files;
mod intake;
mod load;
mod picture;
mod polling;
mod review;
mod sends;
mod setup;
mod stage;
mod stop;
mod votes;
mod walk;
mod webhook;
mod words;
pub(crate) mod world;

pub(crate) use world::{ANNA, BEN, CHAT, GROUP};
