//! The walls as a value, and the one way to put them up.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::held::{Held, Wall};

/// What a plugin process can still do. The default is: nothing but its pipes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Walls {
    /// The TCP ports it may connect to, at any address.
    #[serde(default)]
    pub tcp_connect: Vec<u16>,
    /// Files and directories it may read, with everything below.
    #[serde(default)]
    pub read: Vec<PathBuf>,
    /// Files it may execute, besides its own anonymous one: the loader.
    #[serde(default)]
    pub execute: Vec<PathBuf>,
    /// What the program needs of the kernel.
    #[serde(default)]
    pub body: Body,
    /// How much of it.
    #[serde(default)]
    pub limits: Limits,
}

/// What runs within the walls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// The rest of this process. It is loaded and running: it may start no thread, make no memory
    /// executable, and name no path unless there is one that it may read.
    #[default]
    Rest,
    /// As [`Rest`](Self::Rest), with threads.
    Threads,
    /// As [`Threads`](Self::Threads), and it takes connections where it listened before. It can listen
    /// nowhere else.
    Server,
    /// A program that this process becomes: it loads its libraries, and it may start threads.
    Program,
}

/// Limits of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of address space, whatever is mapped there. A runtime that reserves much more than it
    /// uses (V8, Go) needs much more; it costs nothing until it is used, and then it is memory.
    pub address_space: u64,
    /// Bytes of memory it can write to. All of it is private: none can be shared.
    pub memory: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// How long a file may become that was open before the walls went up: none can be opened after.
    /// Writing beyond it ends the process.
    #[serde(default)]
    pub file: u64,
    /// Tasks of this user, its own included, beyond which it starts no thread. Not held for root.
    pub tasks: u64,
}

const MIB: u64 = 1 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self { address_space: 1024 * MIB, memory: 256 * MIB, descriptors: 64, file: 0, tasks: 8192 }
    }
}

/// Where the system keeps what programs are loaded from.
const LIBRARIES: [&str; 7] =
    ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/etc/localtime"];
/// Devices that runtimes read.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/urandom", "/dev/zero"];
/// Loaders: what the kernel starts in a program's stead, so that it can find its libraries.
const LOADERS: [&str; 5] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-linux-riscv64-lp64d.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

impl Walls {
    /// Walls for the rest of this process: its pipes, and TCP to these ports.
    pub fn around_rest(tcp_connect: impl Into<Vec<u16>>) -> Self {
        Self { tcp_connect: tcp_connect.into(), ..Self::default() }
    }

    /// Walls for a program of somebody else's: its pipes, the libraries it is loaded from, and TCP
    /// to these ports. Room for runtimes that reserve address space by the gigabyte.
    pub fn around_program(tcp_connect: impl Into<Vec<u16>>) -> Self {
        let limits = Limits {
            address_space: 64 * 1024 * MIB,
            memory: 1024 * MIB,
            descriptors: 256,
            file: 0,
            tasks: 8192,
        };
        Self {
            tcp_connect: tcp_connect.into(),
            read: LIBRARIES.into_iter().chain(DEVICES).map(PathBuf::from).collect(),
            execute: LOADERS.map(PathBuf::from).into(),
            body: Body::Program,
            limits,
        }
    }

    /// Puts the walls up around this process, for good: there is no way to take them down.
    ///
    /// Says which of them hold; those that the kernel does not know do not. To be called before
    /// anything is read and before other threads are started: Landlock holds for the thread that
    /// calls and what it starts, the rest holds for all.
    pub fn put_up(&self) -> Result<Held, WallsError> {
        self.put_up_these(&Wall::ALL)
    }

    /// As [`put_up`](Self::put_up), with some of the walls only: to see what each is worth alone.
    #[cfg_attr(not(target_os = "linux"), expect(clippy::unused_self, reason = "no walls are known here"))]
    pub fn put_up_these(&self, these: &[Wall]) -> Result<Held, WallsError> {
        #[cfg(target_os = "linux")]
        let walls = crate::linux::put_up(self, these)?;
        #[cfg(not(target_os = "linux"))]
        let walls = Default::default();
        #[cfg(not(target_os = "linux"))]
        let _ = these;
        Ok(Held { walls })
    }
}

/// Why there are no walls where the kernel could hold them. The process must not go on.
#[derive(Debug, thiserror::Error)]
pub enum WallsError {
    /// A limit, the capabilities, or another property of the process.
    #[error("{what} cannot be set")]
    Process {
        /// What.
        what: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Landlock refuses its rules.
    #[error("the file and network rules cannot be set")]
    Rules(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The filter of system calls.
    #[error("the filter of system calls cannot be set")]
    Calls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Walls are required that this system does not have.
    #[error("walls are required that this kernel cannot hold; {0}")]
    Missing(Held),
}
