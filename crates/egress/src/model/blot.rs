//! Takes keys out of what passes, wherever it is cut.

use aho_corasick::AhoCorasick;
use bytes::{Bytes, BytesMut};

use crate::plan::{Provider, Secret};

/// A shorter key is a word of its language: `none`, `ollama`.
const LEAST: usize = 8;
const BLOT: u8 = b'*';

/// Blots out the secrets of one provider in a stream of pieces, and changes no length. It holds back
/// what may be the start of one, and nothing else.
pub(super) struct Blotter {
    secrets: Vec<Vec<u8>>,
    finder: Option<AhoCorasick>,
    held: BytesMut,
}

impl Blotter {
    pub(super) fn over(provider: &Provider) -> Self {
        let secrets = provider.key.iter().chain(provider.headers.iter().map(|(_, value)| value));
        let secrets: Vec<Vec<u8>> =
            secrets.map(Secret::expose).filter(|text| text.len() >= LEAST).map(Into::into).collect();
        let finder = (!secrets.is_empty()).then(|| AhoCorasick::new(&secrets).ok()).flatten();
        Self { secrets, finder, held: BytesMut::new() }
    }

    /// Whether a secret is in `text`.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        self.finder.as_ref().is_some_and(|finder| finder.is_match(text))
    }

    /// What can go on of what was held and `piece`.
    pub(super) fn pass(&mut self, piece: Bytes) -> Bytes {
        let Some(finder) = &self.finder else { return piece };
        if self.held.is_empty() && !finder.is_match(&piece[..]) && self.starts_at_end(&piece) == 0 {
            return piece;
        }
        self.held.extend_from_slice(&piece);
        let found: Vec<_> = finder.find_iter(&self.held[..]).map(|found| found.range()).collect();
        for range in found {
            self.held[range].fill(BLOT);
        }
        let keep = self.starts_at_end(&self.held);
        self.held.split_to(self.held.len() - keep).freeze()
    }

    /// What is left when nothing follows.
    pub(super) fn rest(&mut self) -> Bytes {
        self.held.split().freeze()
    }

    /// How many of the last bytes may be the start of a secret.
    fn starts_at_end(&self, text: &[u8]) -> usize {
        let starts = |secret: &Vec<u8>| {
            let most = text.len().min(secret.len() - 1);
            (1..=most).rev().find(|length| text.ends_with(&secret[..*length])).unwrap_or(0)
        };
        self.secrets.iter().map(starts).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn blotter(key: &str) -> Blotter {
        Blotter::over(&Provider {
            name: "a".into(),
            segment: "a".into(),
            upstream: "http://127.0.0.1".parse().unwrap(),
            key: Some(key.into()),
            headers: vec![],
        })
    }

    proptest! {
        #[test]
        fn a_key_is_blotted_out_however_the_answer_is_cut(
            before in "[sk-]{0,12}", after in "[sk-]{0,12}", cuts in prop::collection::vec(1..9_usize, 1..20)
        ) {
            let whole = format!("{before}sk-sk-key{after}sk-sk-key");
            let mut blotter = blotter("sk-sk-key");
            let (mut text, mut rest, mut cuts) = (Vec::new(), whole.as_bytes(), cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                text.extend_from_slice(&blotter.pass(Bytes::copy_from_slice(piece)));
                rest = more;
            }
            text.extend_from_slice(&blotter.rest());
            prop_assert_eq!(String::from_utf8(text).unwrap(), whole.replace("sk-sk-key", "*********"));
        }
    }

    #[test]
    fn nothing_is_held_that_is_not_the_start_of_a_key() {
        let mut blotter = blotter("sk-1234567");
        let event = Bytes::from_static(b"data: {}\n\n");
        assert_eq!(blotter.pass(event.clone()).as_ptr(), event.as_ptr(), "not even copied");
        assert_eq!(blotter.pass(Bytes::from_static(b"risk")), "ri".as_bytes());
        assert_eq!(blotter.pass(Bytes::from_static(b"y")), "sky".as_bytes());
    }

    #[test]
    fn a_word_is_no_key() {
        let mut blotter = blotter("none");
        assert_eq!(blotter.pass(Bytes::from_static(b"there is none")), "there is none".as_bytes());
    }
}
