//! Connections that are passed on within a network namespace: from a listener of another one to the loopback
//! of this.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// How many connections are passed on at once by each listener; more wait to be accepted.
const CONNECTIONS: usize = 512;
/// How long to rest when no connection can be accepted.
const RESTS: Duration = Duration::from_millis(100);

/// Passes what comes to `listener` on to `port` of loopback, in a task. To be called within a runtime.
pub(super) fn spawn(listener: TcpListener, port: u16) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tokio::spawn(async move { accept(listener, port).await });
    Ok(())
}

async fn accept(listener: tokio::net::TcpListener, port: u16) -> Infallible {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // It is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return std::future::pending().await };
        let Ok((mut here, _)) = listener.accept().await else {
            tokio::time::sleep(RESTS).await;
            continue;
        };
        tokio::spawn(async move {
            let _permit = permit;
            #[expect(clippy::disallowed_methods, reason = "to the daemon, or from its commands to its proxy")]
            let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
            // What either side breaks off is its own affair; while nobody listens, the connection ends.
            if let Ok(mut there) = connected {
                let _ = here.set_nodelay(true).and_then(|()| there.set_nodelay(true));
                let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
            }
        });
    }
}
