//! What the fuzz targets do, for a moment, on every run: the recordings, damaged.

use connector_opencode::testing::{decode_events, read_answers};
use testkit::fake::Fixture;

/// A small generator of numbers that are the same on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below.max(1) as u64).unwrap()
    }

    /// One to four bytes changed, removed, or repeated.
    fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.roll(4) {
            let at = self.roll(bytes.len());
            match self.roll(4) {
                0 => bytes[at] = u8::try_from(self.roll(256)).unwrap(),
                1 => drop(bytes.remove(at)),
                2 => bytes.truncate(at.max(1)),
                _ => {
                    let copy = bytes[at..(at + self.roll(40)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
            if bytes.is_empty() {
                bytes.push(b'{');
            }
        }
        bytes
    }
}

#[test]
fn a_damaged_stream_is_read_as_far_as_it_goes_wherever_it_is_cut() {
    let mut dice = Dice(0x5eed);
    let mut cases = 0;
    for name in Fixture::names() {
        let stream = Fixture::recorded(name).stream();
        let (events, signals, bad) = decode_events(&stream, usize::MAX, 1 << 20);
        assert!(events > 10 && signals > 5 && bad == 0, "{name}: {events} {signals} {bad}");
        for _ in 0..60 {
            let damaged = dice.damage(&stream);
            let whole = decode_events(&damaged, usize::MAX, 4096);
            assert_eq!(decode_events(&damaged, 1 + dice.roll(64), 4096), whole, "{name}");
            assert_eq!(decode_events(&damaged, 1, 4096), whole, "{name}");
            cases += 1;
        }
    }
    println!("{cases} damaged streams");
}

#[test]
fn a_damaged_answer_is_refused_or_read_and_never_more() {
    let mut dice = Dice(0xdead);
    let mut accepted = 0;
    for name in Fixture::names() {
        let answer = Fixture::recorded(name).answer().to_string();
        for shape in [answer.clone(), format!("[{answer}]"), format!("{{\"ses_a\":{answer}}}")] {
            let strange = shape.starts_with("{\"ses_a");
            assert_eq!(read_answers(shape.as_bytes()) == 0, strange, "{name}: undamaged");
            for _ in 0..200 {
                let damaged = dice.damage(shape.as_bytes());
                let read = read_answers(&damaged);
                let json = serde_json::from_slice::<serde::de::IgnoredAny>(&damaged).is_ok();
                assert!(json || read == 0, "{name}: {}", String::from_utf8_lossy(&damaged));
                accepted += read;
            }
        }
    }
    assert!(accepted > 0, "some damage does not matter");
}
