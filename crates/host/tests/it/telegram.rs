//! Telegram: the binary on a fake Bot API, with the real opencode daemon where it matters.

mod asks;
mod cards;
mod delivery;
mod desk;
mod files;
mod load;
mod picture;
mod sends;
mod setup;
mod walk;
mod webhook;
mod world;
