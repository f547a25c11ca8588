//! What a process does once it is in new namespaces: whose it is, what it keeps, and its loopback.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::{getegid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, configure_capability_in_ambient_set, set_capabilities,
};

/// Who a process is outside.
pub(super) struct Owner {
    user: u32,
    group: u32,
}

impl Owner {
    /// Of this process, to be asked before it enters a user namespace.
    pub(super) fn of_this_process() -> Self {
        Self { user: geteuid().as_raw(), group: getegid().as_raw() }
    }

    /// Is the same within, and nobody else is anybody there. `proc` is where processes are listed.
    pub(super) fn map(&self, proc: &str) -> io::Result<()> {
        let own = Path::new(proc).join("self");
        std::fs::write(own.join("setgroups"), "deny")?;
        std::fs::write(own.join("uid_map"), format!("{0} {0} 1\n", self.user))?;
        std::fs::write(own.join("gid_map"), format!("{0} {0} 1\n", self.group))
    }
}

/// Leaves nobody in this user namespace a further one, in which more of the kernel could be asked for, but for the
/// one of the `commands`, if they are to have it. Where a container has the setting closed, it stays as it is.
pub(super) fn limit_further_ones(commands: bool) {
    let _ = std::fs::write("/proc/sys/user/max_user_namespaces", if commands { "1" } else { "0" });
}

/// Keeps the right to mount within the user namespace for the next program, which an ordinary user's loses.
pub(super) fn keep_right_to_mount() -> io::Result<()> {
    let sets = capabilities(None)?;
    let inheritable = CapabilitySet::SYS_ADMIN;
    set_capabilities(None, CapabilitySets { inheritable, ..sets })?;
    Ok(configure_capability_in_ambient_set(CapabilitySet::SYS_ADMIN, true)?)
}

/// Takes the loopback of a new network namespace up.
pub(super) fn loopback_up() -> io::Result<()> {
    // Without a protocol it is the one of routes and interfaces.
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::net::send(&socket, &set_up(1), SendFlags::empty())?;
    let mut answer = [0; 64];
    let (_, length) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    match error_of(answer.get(..length).unwrap_or_default()) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::Error::other("the kernel does not say whether loopback is up")),
    }
}

/// The request to take the interface of this number up, to be acknowledged (rtnetlink(7)).
fn set_up(interface: i32) -> [u8; 32] {
    const NEW_LINK: u16 = 16;
    const REQUEST_AND_ACK: u16 = 0x1 | 0x4;
    const UP: u32 = 1;
    let mut message = [0; 32];
    // Its length, kind and flags; then the interface, and which of its flags is set and changed.
    message[0..4].copy_from_slice(&32_u32.to_ne_bytes());
    message[4..6].copy_from_slice(&NEW_LINK.to_ne_bytes());
    message[6..8].copy_from_slice(&REQUEST_AND_ACK.to_ne_bytes());
    message[20..24].copy_from_slice(&interface.to_ne_bytes());
    message[24..28].copy_from_slice(&UP.to_ne_bytes());
    message[28..32].copy_from_slice(&UP.to_ne_bytes());
    message
}

/// The error in an acknowledgement, which is zero when all is well.
fn error_of(answer: &[u8]) -> Option<i32> {
    const ERROR: u16 = 2;
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let error = i32::from_ne_bytes(answer.get(16..20)?.try_into().ok()?);
    (kind == ERROR).then_some(error)
}

/// Listeners on the loopback of this network namespace.
pub(super) fn listeners(ports: &[u16]) -> io::Result<Vec<TcpListener>> {
    ports.iter().map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_told_from_an_error_and_from_anything_else() {
        let answer = |kind: u16, error: i32| {
            let mut answer = vec![0; 36];
            answer[4..6].copy_from_slice(&kind.to_ne_bytes());
            answer[16..20].copy_from_slice(&error.to_ne_bytes());
            answer
        };
        assert_eq!(error_of(&answer(2, 0)), Some(0));
        assert_eq!(error_of(&answer(2, -1)), Some(-1));
        assert_eq!(error_of(&answer(16, 0)), None);
        assert_eq!(error_of(&answer(2, 0)[..10]), None);
    }
}
