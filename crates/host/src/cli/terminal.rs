//! The terminal as a source of input.

use std::io::BufRead as _;

use tokio::sync::mpsc;

use crate::chat::Input;

/// Lines of standard input and Ctrl-C, as they come. The lines end with the
/// input; Ctrl-C is passed on for as long as somebody listens.
pub(super) fn inputs() -> mpsc::Receiver<Input> {
    let (sender, receiver) = mpsc::channel(64);
    let lines = sender.downgrade();
    // A thread of its own: reading a terminal cannot be cancelled.
    std::thread::spawn(move || {
        let lines_in = std::io::stdin().lock();
        for line in lines_in.lines() {
            let Ok(line) = line else { break };
            let Some(sender) = lines.upgrade() else { break };
            if sender.blocking_send(Input::Line(line)).is_err() {
                break;
            }
        }
        if let Some(sender) = lines.upgrade() {
            let _ = sender.blocking_send(Input::End);
        }
    });
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if sender.send(Input::Interrupt).await.is_err() {
                break;
            }
        }
    });
    receiver
}
