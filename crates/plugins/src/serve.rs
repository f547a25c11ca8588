//! The process's side: a connector on two pipes, behind walls.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use connector_contract::{ConnectorFactory, Manifest};
use connector_mcp::Server;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;

/// Serves `factory`'s connector on standard input and output until the host closes them. To be
/// called within walls, without a runtime: it makes one that starts no thread.
///
/// When standard input ends, the process does at once: a host that stops in order has stopped its
/// calls before, and one that crashed goes on with them when it is back.
pub fn serve(manifest: Manifest, factory: Arc<dyn ConnectorFactory>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        let reader = pipe::Receiver::from_owned_fd_unchecked(waitless(io::stdin().as_fd())?)?;
        let writer = pipe::Sender::from_owned_fd_unchecked(waitless(io::stdout().as_fd())?)?;
        let served = Server::new(manifest).with_factory(factory).serve(EndsWithHost(reader), writer).await;
        served.map_err(io::Error::other)
    })
}

/// A descriptor of the same pipe that does not block. That it is a pipe cannot be asked for here:
/// the question takes a call that could also name a path.
fn waitless(pipe: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let pipe = pipe.try_clone_to_owned()?;
    rustix::io::ioctl_fionbio(&pipe, true)?;
    Ok(pipe)
}

/// Standard input, whose end is the process's.
struct EndsWithHost(pipe::Receiver);

impl AsyncRead for EndsWithHost {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = std::task::ready!(Pin::new(&mut self.0).poll_read(context, buffer));
        if read.is_err() || (buffer.filled().len() == before && buffer.remaining() > 0) {
            std::process::exit(0);
        }
        Poll::Ready(read)
    }
}
