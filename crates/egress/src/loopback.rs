//! Ports of this machine's loopback that were named: what is accepted goes to the port as it is.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// How many connections each port holds at once; more wait to be accepted.
const CONNECTIONS: usize = 256;
/// How long to rest when no connection can be accepted.
const RESTS: Duration = Duration::from_millis(100);

/// Accepts on each listener and connects to the port of loopback that it stands for. Never returns without
/// an error.
pub(crate) async fn pass_on(ports: Vec<u16>, listeners: Vec<TcpListener>) -> io::Result<Infallible> {
    let mut serving = Vec::new();
    for (port, listener) in ports.into_iter().zip(listeners) {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        serving.push(Box::pin(accept(port, listener)));
    }
    if serving.is_empty() {
        return std::future::pending().await;
    }
    futures_util::future::select_all(serving).await.0
}

async fn accept(port: u16, listener: tokio::net::TcpListener) -> io::Result<Infallible> {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return Err(io::Error::other("no connection is taken any more"));
        };
        let Ok((mut here, _)) = listener.accept().await else {
            tokio::time::sleep(RESTS).await;
            continue;
        };
        tokio::spawn(async move {
            let _permit = permit;
            #[expect(clippy::disallowed_methods, reason = "the way out to ports that are named")]
            let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
            // What either side breaks off is its own affair.
            if let Ok(mut there) = connected {
                let _ = there.set_nodelay(true).and_then(|()| here.set_nodelay(true));
                let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
            }
        });
    }
}
