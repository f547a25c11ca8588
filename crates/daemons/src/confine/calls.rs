//! The system calls that lead to sockets with a path: Landlock judges those from Linux 7.1 on only.
//!
//! No filter sees where a call connects to, since the address is behind a pointer; so no such socket
//! is made at all. Connected pairs stay, by which programs talk to what they start. Pairs of
//! datagram sockets do not, for they can be sent from to any address; nor does `io_uring`, which
//! makes sockets behind the filter's back.

use std::collections::BTreeMap;
use std::error::Error;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// The part of a socket's type that is not flags.
const KIND: u64 = 0xf;
/// The number of a call in the x32 ABI of `x86_64`, whose calls come in the same name.
const X32: libc::c_long = 0x4000_0000;

/// Whether there is a filter for this machine.
pub(super) fn known() -> bool {
    architecture().is_ok() && std::path::Path::new("/proc/sys/kernel/seccomp/actions_avail").exists()
}

/// Makes no sockets with a path from now on, in this thread and what it starts. Those that are
/// asked for fail with `EACCES`.
pub(super) fn refuse_sockets() -> Result<(), Box<dyn Error + Send + Sync>> {
    let refused = SeccompAction::Errno(libc::EACCES.unsigned_abs());
    let filter = SeccompFilter::new(rules()?, SeccompAction::Allow, refused, architecture()?)?;
    Ok(apply_filter(&BpfProgram::try_from(filter)?)?)
}

fn architecture() -> Result<TargetArch, BackendError> {
    std::env::consts::ARCH.try_into()
}

fn rules() -> Result<BTreeMap<libc::c_long, Vec<SeccompRule>>, BackendError> {
    let argument = |index, operator, value: libc::c_int| {
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, u64::from(value.unsigned_abs()))
    };
    let family = || argument(0, SeccompCmpOp::Eq, libc::AF_UNIX);
    let pair_of = |kind| SeccompRule::new(vec![family()?, argument(1, SeccompCmpOp::MaskedEq(KIND), kind)?]);
    let calls = [
        (libc::SYS_socket, vec![SeccompRule::new(vec![family()?])?]),
        // The kernel takes a raw one for one of datagrams.
        (libc::SYS_socketpair, vec![pair_of(libc::SOCK_DGRAM)?, pair_of(libc::SOCK_RAW)?]),
        (libc::SYS_io_uring_setup, Vec::new()),
    ];
    let again = |(call, rules): &(libc::c_long, Vec<SeccompRule>)| (call | X32, rules.clone());
    let x32: Vec<_> = calls.iter().filter(|_| cfg!(target_arch = "x86_64")).map(again).collect();
    Ok(calls.into_iter().chain(x32).collect())
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "what is refused and what is not is tried")]
    fn sockets_with_a_path_are_refused_and_pairs_and_tcp_are_not() {
        let place = tempfile::tempdir().unwrap();
        let (socket, datagrams) = (place.path().join("stream"), place.path().join("datagrams"));
        let (_listening, _receiving) =
            (UnixListener::bind(&socket).unwrap(), UnixDatagram::bind(&datagrams).unwrap());
        let tries = || {
            let bound = place.path().join(format!("{:?}", std::thread::current().id()));
            [
                UnixStream::connect(&socket).map(drop),
                UnixListener::bind(bound).map(drop),
                UnixDatagram::unbound().and_then(|own| own.send_to(b"x", &datagrams)).map(drop),
                UnixDatagram::pair().and_then(|(own, _)| own.send_to(b"x", &datagrams)).map(drop),
            ]
        };
        assert!(tries().iter().all(Result::is_ok), "all of it works without the filter");
        // The filter is the thread's, and ends with it.
        std::thread::scope(|scope| {
            let filtered = scope.spawn(|| {
                refuse_sockets().unwrap();
                for refused in tries() {
                    assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
                }
                let (mut one, mut other) = UnixStream::pair().unwrap();
                one.write_all(b"x").unwrap();
                other.read_exact(&mut [0]).unwrap();
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            });
            filtered.join().unwrap();
        });
    }
}
