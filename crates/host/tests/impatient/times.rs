//! The plugin's times as words of a command line.

use std::time::Duration;

use connector_opencode::Timing;

/// All of them, in order.
pub(crate) fn times(timing: &mut Timing) -> [&mut Duration; 11] {
    let Timing {
        request,
        stream_open,
        stream_silence,
        reconnect_min,
        reconnect_max,
        poll_calm,
        poll_min,
        poll_max,
        reason,
        give_up,
        stop,
    } = timing;
    [
        request,
        stream_open,
        stream_silence,
        reconnect_min,
        reconnect_max,
        poll_calm,
        poll_min,
        poll_max,
        reason,
        give_up,
        stop,
    ]
}
