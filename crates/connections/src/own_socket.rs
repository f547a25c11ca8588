//! A Unix socket that processes of its owner alone may speak to.
//!
//! Its file has mode 0600, and the system says of each connection whose process it is of (`SO_PEERCRED`): one of
//! another user is closed before a byte of it is read, also where the file's mode was opened.

use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use crate::Listener;

/// The longest path that a socket can have.
const LONGEST: usize = 107;

/// A Unix socket whose connections are all of its owner's processes. Dropping it removes its file.
#[derive(Debug)]
pub struct OwnSocket {
    listener: UnixListener,
    owner: u32,
    path: PathBuf,
}

/// Why nothing can listen at a path.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The system takes no such path for a socket.
    #[error("{} is too long for a socket's path, which may have {LONGEST} bytes", .0.display())]
    TooLong(PathBuf),
    /// Something else is there.
    #[error("{} is there and no socket; move it away", .0.display())]
    Occupied(PathBuf),
    /// The system refuses.
    #[error("no socket can be made at {}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl OwnSocket {
    /// Listens at `path`, in place of a socket that was left there: whoever calls this knows that nobody else
    /// listens there now.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let path = path.to_owned();
        if path.as_os_str().as_bytes().len() > LONGEST {
            return Err(SocketError::TooLong(path));
        }
        let bound = || {
            match std::fs::symlink_metadata(&path) {
                Ok(about) if !about.file_type().is_socket() => return Ok(None),
                Ok(_) => std::fs::remove_file(&path)?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            let listener = UnixListener::bind(&path)?;
            std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            Ok(Some(listener))
        };
        match bound() {
            Ok(Some(listener)) => {
                Ok(Self { listener, owner: rustix::process::geteuid().as_raw(), path: path.clone() })
            }
            Ok(None) => Err(SocketError::Occupied(path)),
            Err(source) => Err(SocketError::Io { path, source }),
        }
    }
}

impl Listener for OwnSocket {
    type Stream = UnixStream;

    async fn accept(&mut self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            match stream.peer_cred() {
                Ok(peer) if is_owner(self.owner, peer.uid()) => return Ok(stream),
                Ok(peer) => {
                    tracing::warn!(uid = peer.uid(), "another user's process was refused at the socket");
                }
                Err(error) => tracing::warn!(%error, "whose process connects cannot be told"),
            }
        }
    }
}

/// Whether a process of `peer` is heard: root's is not, who has other ways.
fn is_owner(owner: u32, peer: u32) -> bool {
    owner == peer
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_socket_is_its_owners_alone_takes_the_place_of_one_that_was_left_and_goes_with_its_listener() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s");
        let left = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mut socket = OwnSocket::bind(&path).unwrap();
        drop(left);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (mut client, server) =
            tokio::join!(async { UnixStream::connect(&path).await.unwrap() }, socket.accept());
        client.write_all(b"x").await.unwrap();
        assert_eq!(server.unwrap().read_u8().await.unwrap(), b'x');
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s");
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(OwnSocket::bind(&path), Err(SocketError::Occupied(_))));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(home.path().join("elsewhere"), &path).unwrap();
        assert!(matches!(OwnSocket::bind(&path), Err(SocketError::Occupied(_))));
        let long = home.path().join("s".repeat(LONGEST));
        assert!(matches!(OwnSocket::bind(&long), Err(SocketError::TooLong(_))));
    }

    #[tokio::test]
    async fn a_process_of_another_user_is_closed_unheard() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s");
        let mut socket = OwnSocket::bind(&path).unwrap();
        // As it is for whoever is not the owner: this process is another's then.
        socket.owner = socket.owner.wrapping_add(1);
        let mut client = UnixStream::connect(&path).await.unwrap();
        let mut byte = [0; 1];
        let heard = async {
            tokio::select! {
                taken = socket.accept() => panic!("it was taken: {taken:?}"),
                read = client.read(&mut byte) => read,
            }
        };
        let read = tokio::time::timeout(std::time::Duration::from_secs(20), heard).await.unwrap();
        assert!(read.map_or(true, |bytes| bytes == 0), "it is closed");
        for (owner, peer, is_heard) in
            [(1000, 1000, true), (1000, 1001, false), (1000, 0, false), (0, 0, true)]
        {
            assert_eq!(is_owner(owner, peer), is_heard, "{owner} {peer}");
        }
    }
}
