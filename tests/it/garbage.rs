//! What the fuzz targets do, for a moment, on every run: the recordings, damaged.

use std::path::PathBuf;

use connector_opencode::testing::{decode_events, decode_events_of_2, read_answers};
use serde_json::Value;
use testkit::fake::{Fixture, Generation};

/// How events are counted: pieces of which size, limited to how much.
type Count = fn(&[u8], usize, usize) -> (usize, usize, usize);

/// Every stream of events there is, as its daemon sends it.
fn streams() -> Vec<(String, Vec<u8>, Count)> {
    let recorded = |name| (format!("1.x {name}"), Fixture::recorded(name).stream(), decode_events as Count);
    let written = |name: &str| {
        let stream = std::fs::read(fixture(&format!("{name}.sse"))).unwrap();
        (format!("2.x {name}"), stream, decode_events_of_2 as Count)
    };
    Fixture::names().map(recorded).chain(Fixture::names_of(Generation::V2).map(written)).collect()
}

/// A file of the 2.x turns.
fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wire2").join(name)
}

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
    for (name, stream, decode) in streams() {
        let (events, signals, bad) = decode(&stream, usize::MAX, 1 << 20);
        assert!(events > 5 && signals > 2 && bad == 0, "{name}: {events} {signals} {bad}");
        for _ in 0..60 {
            let damaged = dice.damage(&stream);
            let whole = decode(&damaged, usize::MAX, 4096);
            assert_eq!(decode(&damaged, 1 + dice.roll(64), 4096), whole, "{name}");
            assert_eq!(decode(&damaged, 1, 4096), whole, "{name}");
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
    for (at, body) in answers_of_2() {
        for _ in 0..40 {
            let damaged = dice.damage(body.as_bytes());
            let read = read_answers(&damaged);
            let json = serde_json::from_slice::<serde::de::IgnoredAny>(&damaged).is_ok();
            assert!(json || read == 0, "{at}: {}", String::from_utf8_lossy(&damaged));
            accepted += read;
        }
    }
    assert!(accepted > 0, "some damage does not matter");
}

/// The answers of 2.x to what the plugin asks, less those that say only that it was done.
fn answers_of_2() -> Vec<(String, String)> {
    let mut answers = Vec::new();
    for name in Fixture::names_of(Generation::V2) {
        let text = std::fs::read_to_string(fixture(&format!("{name}.json"))).unwrap();
        let exchanges: Vec<Value> = serde_json::from_str(&text).unwrap();
        for exchange in exchanges {
            let request = exchange["request"].as_str().unwrap();
            let is_read = request.starts_with("GET ") && exchange["response"].is_object();
            if is_read && exchange["status"] == 200 {
                answers.push((format!("{name}: {request}"), exchange["response"].to_string()));
            }
        }
    }
    assert!(answers.len() > 40, "{}", answers.len());
    answers
}
