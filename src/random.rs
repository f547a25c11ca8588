//! The little randomness there is: ids that do not collide, pauses that do not align.

use std::time::Duration;

/// Random bytes. Without the system's randomness, which is unheard of, they are
/// the process's own hash seeds: still different at each call.
pub(crate) fn bytes() -> [u8; 14] {
    use std::hash::{BuildHasher as _, RandomState};
    let mut bytes = [0; 14];
    if getrandom::fill(&mut bytes).is_err() {
        let seed = RandomState::new();
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = seed.hash_one(index).to_le_bytes()[0];
        }
    }
    bytes
}

/// Between half of `pause` and all of it.
pub(crate) fn jitter(pause: Duration) -> Duration {
    pause / 2 + pause / 2 * u32::from(bytes()[0]) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jittered_pause_is_at_least_half_and_at_most_the_whole() {
        let pause = Duration::from_millis(200);
        for _ in 0..100 {
            assert!((pause / 2..=pause).contains(&jitter(pause)));
        }
    }
}
