//! How patient the connector is. The defaults suit a daemon on this machine.

use std::time::Duration;

/// Waits and intervals. None of them bounds the turn itself: that is its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// For one short request and its answer; the first in a directory is slow.
    pub request: Duration,
    /// For the event stream to open before the prompt is sent without it.
    pub stream_open: Duration,
    /// Silence after which the event stream is dead, in bytes and not in events: three
    /// heartbeats of 2.x, where they are comments, and four of 1.x.
    pub stream_silence: Duration,
    /// Between attempts to open the event stream: from this, doubling, …
    pub reconnect_min: Duration,
    /// … to this.
    pub reconnect_max: Duration,
    /// Between looks at the daemon's state while everything else is well.
    pub poll_calm: Duration,
    /// Between looks while something is amiss: from this, doubling, …
    pub poll_min: Duration,
    /// … to this.
    pub poll_max: Duration,
    /// For the reason of an error that the daemon hides.
    pub reason: Duration,
    /// For the daemon to come back before the outcome is unknown.
    pub give_up: Duration,
    /// For a stop to be confirmed.
    pub stop: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(30),
            stream_open: Duration::from_secs(3),
            stream_silence: Duration::from_secs(45),
            reconnect_min: Duration::from_millis(100),
            reconnect_max: Duration::from_secs(5),
            poll_calm: Duration::from_secs(15),
            poll_min: Duration::from_millis(100),
            poll_max: Duration::from_secs(3),
            reason: Duration::from_secs(2),
            give_up: Duration::from_mins(1),
            stop: Duration::from_secs(10),
        }
    }
}
