//! The terminal as a source of input.

use std::io::BufRead as _;

use tokio::sync::mpsc;

use crate::chat::Input;

/// Lines of standard input and signals, as they come. The lines end with the
/// input; signals are passed on for as long as somebody listens.
///
/// From this call on, signals no longer end the process by themselves: call it
/// before anything is started that must be ended in order.
pub(super) fn inputs() -> std::io::Result<mpsc::Receiver<Input>> {
    let (sender, receiver) = mpsc::channel(64);
    let lines = sender.downgrade();
    let mut signals = Signals::listen()?;
    // A thread of its own: reading a terminal cannot be cancelled.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
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
    tokio::spawn(async move { while sender.send(signals.next().await).await.is_ok() {} });
    Ok(receiver)
}

/// Standard input's terminal, which shows nothing of what is typed until this is dropped.
#[cfg(unix)]
pub(super) struct Unseen(rustix::termios::Termios);

#[cfg(unix)]
impl Unseen {
    /// `None` where there is no terminal that can be told so.
    pub(super) fn begin() -> Option<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO);
        unseen.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(std::io::stdin(), OptionalActions::Now, &unseen).ok()?;
        Some(Self(before))
    }
}

#[cfg(unix)]
impl Drop for Unseen {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, &self.0);
    }
}

/// The signals by which people and systems end a program.
#[cfg(unix)]
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

/// The signal by which a service is told to read its files again.
#[cfg(unix)]
pub(super) struct Hangups(tokio::signal::unix::Signal);

#[cfg(unix)]
impl Hangups {
    /// The next one. Cancel safe.
    pub(super) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Elsewhere there is none.
#[cfg(not(unix))]
pub(super) struct Hangups;

#[cfg(not(unix))]
impl Hangups {
    pub(super) async fn next(&mut self) {
        std::future::pending::<()>().await;
    }
}

#[cfg(unix)]
impl Signals {
    /// Takes them over from the system's defaults.
    pub(super) fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The same without that of a terminal that goes, which means something else to a service.
    pub(super) fn of_service(self) -> (Ends, Hangups) {
        (Ends { interrupt: self.interrupt, terminate: self.terminate }, Hangups(self.hangup))
    }

    /// The next one. Cancel safe.
    pub(super) async fn next(&mut self) -> Input {
        tokio::select! {
            _ = self.interrupt.recv() => Input::Interrupt,
            _ = self.terminate.recv() => Input::Terminate,
            _ = self.hangup.recv() => Input::Terminate,
        }
    }
}

/// The signals by which a service is ended.
#[cfg(unix)]
pub(super) struct Ends {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Ends {
    /// The next one. Cancel safe.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Elsewhere, Ctrl-C is all there is.
#[cfg(not(unix))]
pub(super) struct Signals;

/// Elsewhere, Ctrl-C is all there is.
#[cfg(not(unix))]
pub(super) struct Ends(Signals);

#[cfg(not(unix))]
impl Ends {
    pub(super) async fn next(&mut self) {
        self.0.next().await;
    }
}

#[cfg(not(unix))]
impl Signals {
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    pub(super) fn of_service(self) -> (Ends, Hangups) {
        (Ends(self), Hangups)
    }

    pub(super) async fn next(&mut self) -> Input {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Input::Interrupt
    }
}
