//! Server-sent events, decoded from bytes.
//!
//! Chunks arrive cut anywhere: inside a character, a line end, a byte order
//! mark. [`Decoder::feed`] takes them as they come and hands out the data of each
//! event, still as bytes. An event is at most as long as the decoder's limit;
//! what is longer is skipped and counted, and takes no memory meanwhile. An event
//! that the stream's end cuts off is dropped, as the standard says.
//!
//! It never interprets the data, and keeps no `event:`, `id:` or `retry:`, which
//! the daemon does not send. Why this is no crate: `docs/decisions/`.

use memchr::memchr2;

/// A decoder for one connection.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    /// The line whose end has not been seen.
    line: Vec<u8>,
    /// The data of the event whose end has not been seen.
    data: Vec<u8>,
    has_data: bool,
    /// The event is longer than the limit: skip to its end.
    overlong: bool,
    after_cr: bool,
    /// How many bytes of a byte order mark may still come.
    bom: usize,
    skipped: u64,
}

const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];

impl Decoder {
    /// A decoder for events of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            overlong: false,
            after_cr: false,
            bom: BOM.len(),
            skipped: 0,
        }
    }

    /// How many events were longer than the limit.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Takes the next bytes and calls `on_event` with the data of each event
    /// that they complete.
    pub fn feed(&mut self, mut bytes: &[u8], mut on_event: impl FnMut(&[u8])) {
        while let Some(end) = memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            let second_half = bytes[end] == b'\n' && self.after_cr && end == 0;
            self.after_cr = bytes[end] == b'\r';
            bytes = rest;
            if second_half {
                continue;
            }
            if self.bom == 0 && self.line.is_empty() && !self.overlong && self.is_whole(line, rest) {
                on_event(data_of(line).unwrap_or_default());
                bytes = &rest[1..];
                continue;
            }
            self.keep(line);
            self.end_line(&mut on_event);
        }
        if !bytes.is_empty() {
            self.after_cr = false;
            self.keep(bytes);
        }
    }

    /// Whether `line` is all the data of an event that `rest` ends at once: the
    /// usual case, handed out without a copy.
    fn is_whole(&self, line: &[u8], rest: &[u8]) -> bool {
        !self.has_data
            && !self.after_cr
            && rest.first() == Some(&b'\n')
            && line.len() <= self.limit
            && data_of(line).is_some()
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.overlong {
            self.mark_line(bytes);
            return;
        }
        if self.line.len() + self.data.len() + bytes.len() > self.limit.saturating_add(16) {
            self.overlong = true;
            self.line = Vec::new();
            self.data = Vec::new();
            self.mark_line(bytes);
            return;
        }
        self.line.extend_from_slice(bytes);
        while self.bom > 0 && !self.line.is_empty() {
            let seen = self.line.len().min(BOM.len());
            if self.line[..seen] != BOM[..seen] {
                self.bom = 0;
            } else if seen == BOM.len() {
                self.line.drain(..seen);
                self.bom = 0;
            } else {
                break;
            }
        }
    }

    /// Of what is skipped, only whether a line is empty must be known.
    fn mark_line(&mut self, bytes: &[u8]) {
        if self.line.is_empty() && !bytes.is_empty() {
            self.line.push(b':');
        }
    }

    fn end_line(&mut self, on_event: &mut impl FnMut(&[u8])) {
        self.bom = 0;
        if self.line.is_empty() {
            self.end_event(on_event);
        } else if self.overlong {
            self.line.clear();
        } else {
            if let Some(data) = data_of(&self.line) {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(data);
                self.has_data = true;
            }
            self.line.clear();
        }
    }

    fn end_event(&mut self, on_event: &mut impl FnMut(&[u8])) {
        if self.overlong || self.data.len() > self.limit {
            self.skipped += 1;
        } else if self.has_data {
            on_event(&self.data);
        }
        self.overlong = false;
        self.has_data = false;
        if self.data.capacity() > 64 << 10 {
            self.data = Vec::new();
        } else {
            self.data.clear();
        }
    }
}

/// The value of a `data` line, without the one blank after the colon.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"data")?;
    match rest.split_first() {
        None => Some(rest),
        Some((b':', value)) => Some(value.strip_prefix(b" ").unwrap_or(value)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(limit: usize, chunks: &[&[u8]]) -> (Vec<String>, u64) {
        let (mut decoder, mut events) = (Decoder::new(limit), Vec::new());
        for chunk in chunks {
            decoder.feed(chunk, |data| events.push(String::from_utf8_lossy(data).into_owned()));
        }
        (events, decoder.skipped())
    }

    #[test]
    fn each_way_to_write_an_event_is_read() {
        for (text, expected) in [
            ("data: a\n\n", &["a"][..]),
            ("data:a\n\ndata: b\n\n", &["a", "b"]),
            ("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]),
            ("data: a\r\rdata: b\r\r", &["a", "b"]),
            ("data: a\r\n\rdata: b\n\r\n", &["a", "b"]),
            ("\u{feff}data: a\n\n", &["a"]),
            (": comment\n\ndata: a\n\n", &["a"]),
            ("event: x\nid: 1\nretry: 5\ndata: a\n\n", &["a"]),
            ("data: a\ndata: b\n\n", &["a\nb"]),
            ("data\n\n", &[""]),
            ("data:  a\n\n", &[" a"]),
            ("datax: a\n\n", &[]),
            ("data: cut off", &[]),
            ("data: cut off\n", &[]),
            ("\n\n\n", &[]),
        ] {
            assert_eq!(decode(100, &[text.as_bytes()]).0, expected, "{text:?}");
        }
    }

    #[test]
    fn an_event_that_is_too_long_is_skipped_and_its_neighbours_are_not() {
        let long = format!("data: a\n\ndata: {}\ndata: more\n\ndata: b\n\n", "x".repeat(5000));
        assert_eq!(decode(1000, &[long.as_bytes()]), (vec!["a".to_owned(), "b".to_owned()], 1));
        let pieces: Vec<&[u8]> = long.as_bytes().chunks(7).collect();
        assert_eq!(decode(1000, &pieces), (vec!["a".to_owned(), "b".to_owned()], 1));
    }

    #[test]
    fn the_rest_of_an_event_that_is_too_long_is_no_event_of_its_own() {
        let long = format!("data: {}\ndata: more\ndata: forged\n\ndata: b\n\n", "x".repeat(5000));
        for size in [1, 7, 4096, usize::MAX] {
            let pieces: Vec<&[u8]> = long.as_bytes().chunks(size).collect();
            assert_eq!(decode(1000, &pieces), (vec!["b".to_owned()], 1), "in pieces of {size}");
        }
    }

    #[test]
    fn a_long_event_takes_no_memory() {
        let mut decoder = Decoder::new(1000);
        for _ in 0..10_000 {
            decoder.feed(&[b'x'; 1024], |_| panic!("nothing is complete"));
        }
        assert!(decoder.line.capacity() + decoder.data.capacity() < 4096);
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_makes_no_difference(
            text in "(data: ?[a-zé]{0,9}(\r\n|\n|\r)|:x\n|(\r\n|\n|\r)|\u{feff}){0,20}",
            size in 1usize..9,
        ) {
            let whole = decode(20, &[text.as_bytes()]);
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            prop_assert_eq!(decode(20, &pieces), whole);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), size in 1usize..20) {
            let mut decoder = Decoder::new(50);
            for chunk in bytes.chunks(size) {
                decoder.feed(chunk, |data| assert!(data.len() <= 50));
            }
        }
    }
}
