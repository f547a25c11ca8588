//! Open descriptors that go from one process to another, over a pair of connected sockets.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// How many go at once.
pub const MOST: usize = 64;
/// A longer line is none.
const LONGEST: usize = 4096;

/// The processes that receive start others only once they have made sure what those inherit.
#[cfg(target_os = "linux")]
const RECEIVES: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const RECEIVES: RecvFlags = RecvFlags::empty();

/// Sends `bytes`, of which there is at least one, and these descriptors with the first of them.
pub fn send(to: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors to be handed over"));
    }
    let sent = sendmsg(to, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    let mut to = to;
    to.write_all(&bytes[sent..])
}

/// Receives what was sent up to the end of a line, which it has, and the descriptors that came with its
/// first byte. Nothing of what comes after it is read.
pub fn receive_line(from: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let got = recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RECEIVES)?;
    if got.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            descriptors.extend(some);
        }
    }
    let (mut line, mut from) = (vec![byte[0]], from);
    while line.last().is_some_and(|last| *last != b'\n') && line.len() < LONGEST {
        from.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok((line, descriptors))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_listener_arrives_with_its_line_and_what_follows_is_left() {
        let (one, other) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        send(&one, b"hello\n", &[listener.as_fd()]).unwrap();
        send(&one, b"rest\n", &[]).unwrap();
        let (line, mut got) = receive_line(&other).unwrap();
        assert_eq!((line.as_slice(), got.len()), (&b"hello\n"[..], 1));
        let got = TcpListener::from(got.remove(0));
        assert_eq!(got.local_addr().unwrap(), listener.local_addr().unwrap());
        assert_eq!(receive_line(&other).unwrap().0, b"rest\n");
        drop(one);
        assert_eq!(receive_line(&other).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
