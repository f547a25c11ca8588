//! The port of a directory: the same one every time, on every build, while nobody else has it.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest, Sha256};

const LOWEST: u16 = 10_000;
/// Where Linux begins to hand out ports by itself; below it nobody takes ours by accident.
const EPHEMERAL: u16 = 32_768;
const END: u16 = 60_000;
const QUIET: u32 = 12;
const ALL: u32 = 16;

/// The ports to try for a canonical directory, in order: twelve below the ephemeral range, then
/// four anywhere in 10000–59999.
pub(super) fn candidates(directory: &Path) -> Vec<u16> {
    (0..ALL).map(|round| candidate(directory, round, if round < QUIET { EPHEMERAL } else { END })).collect()
}

fn candidate(directory: &Path, round: u32, end: u16) -> u16 {
    let digest = Sha256::new()
        .chain_update(directory.as_os_str().as_bytes())
        .chain_update([0])
        .chain_update(round.to_be_bytes())
        .finalize();
    let number = u16::from_be_bytes([digest[0], digest[1]]);
    LOWEST + number % (end - LOWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_the_same_ports_for_ever() {
        assert_eq!(candidates(Path::new("/code/app"))[..3], [22_794, 18_621, 23_485]);
    }

    #[test]
    fn ports_are_in_range_and_quiet_ones_come_first() {
        for n in 0..500 {
            let ports = candidates(Path::new(&format!("/code/{n}")));
            assert!(ports.iter().all(|port| (LOWEST..END).contains(port)));
            assert!(ports[..12].iter().all(|port| *port < EPHEMERAL));
        }
    }
}
