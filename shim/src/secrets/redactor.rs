//! One stream without its secrets: every byte that is part of one is left out, and a mark stands in its place.
//!
//! ```text
//!  pipe ─► push ─► window: what may yet become a secret ─► out ─► LineSplitter
//! ```
//!
//! Secrets that overlap or touch share a mark. A byte waits only as long as it may be a secret's beginning, however long
//! that is: a job that writes half of one, and sleeps, has not shown half of it. A newline ends that.

use std::collections::VecDeque;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Patterns;
use super::patterns::Node;

/// What stands in the place of a secret.
const MARK: &[u8] = b"[redacted]";

/// See the module.
pub(crate) struct Redactor {
    patterns: Arc<Patterns>,
    node: Node,
    /// Bytes that have not gone out.
    window: Zeroizing<Vec<u8>>,
    /// Those of them that are parts of secrets: beginnings and ends in ascending order, apart from each other.
    hidden: VecDeque<(usize, usize)>,
    /// What went out last was a mark.
    marked: bool,
}

impl Redactor {
    /// At the beginning of a stream.
    pub(crate) fn new(patterns: Arc<Patterns>) -> Self {
        Self {
            patterns,
            node: 0,
            window: Vec::new().into(),
            hidden: VecDeque::new(),
            marked: false,
        }
    }

    /// Takes the next bytes of the stream; appends to `out` what is decided.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut next = self.window.len();
        self.window.extend_from_slice(bytes);
        while next < self.window.len() {
            if self.node == 0 {
                // Most of what a job writes begins no secret.
                let rest = self.window[next..].iter();
                match rest.copied().position(|byte| self.patterns.begins(byte)) {
                    Some(skipped) => next += skipped,
                    None => break,
                }
            }
            self.node = self.patterns.step(self.node, self.window[next]);
            next += 1;
            if let Some(bytes) = self.patterns.end(self.node) {
                self.hide(next - bytes, next);
            }
        }
        let decided = self.window.len() - self.patterns.depth(self.node);
        self.put_out(decided, out);
    }

    /// The stream is over: nothing becomes a secret any more.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        self.node = 0;
        self.put_out(self.window.len(), out);
    }

    fn hide(&mut self, mut begin: usize, end: usize) {
        while let Some(last) = self.hidden.back().filter(|last| last.1 >= begin) {
            begin = begin.min(last.0);
            self.hidden.pop_back();
        }
        self.hidden.push_back((begin, end));
    }

    fn put_out(&mut self, decided: usize, out: &mut Vec<u8>) {
        let mut place = 0;
        while let Some((begin, end)) = self.hidden.pop_front() {
            if begin >= decided {
                self.hidden.push_front((begin, end));
                break;
            }
            self.show(place, begin, out);
            if !self.marked {
                out.extend_from_slice(MARK);
                self.marked = true;
            }
            place = end.min(decided);
            if end > decided {
                self.hidden.push_front((decided, end));
                break;
            }
        }
        self.show(place, decided, out);
        self.window.drain(..decided);
        for (begin, end) in &mut self.hidden {
            (*begin, *end) = (*begin - decided, *end - decided);
        }
    }

    fn show(&mut self, begin: usize, end: usize, out: &mut Vec<u8>) {
        if begin < end {
            out.extend_from_slice(&self.window[begin..end]);
            self.marked = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_rundir::log::LineSplitter;
    use davit_types::limits::REDACTED_BYTES_MIN;
    use proptest::prelude::*;

    fn redactor(secrets: &[Vec<u8>]) -> Option<Redactor> {
        Patterns::of(secrets.iter().map(Vec::as_slice)).map(|all| Redactor::new(Arc::new(all)))
    }

    /// What is left of `text`, pushed in pieces that end at `cuts`.
    fn redacted(secrets: &[Vec<u8>], text: &[u8], cuts: &[usize]) -> Vec<u8> {
        let Some(mut redactor) = redactor(secrets) else {
            return text.to_vec();
        };
        let mut out = Vec::new();
        let mut begin = 0;
        for cut in cuts.iter().copied().chain([text.len()]) {
            let end = cut.clamp(begin, text.len());
            redactor.push(&text[begin..end], &mut out);
            begin = end;
        }
        redactor.finish(&mut out);
        out
    }

    fn plain(secrets: &[&str], text: &str) -> String {
        let secrets: Vec<_> = secrets.iter().map(|s| s.as_bytes().to_vec()).collect();
        String::from_utf8(redacted(&secrets, text.as_bytes(), &[])).unwrap()
    }

    #[test]
    fn a_mark_stands_for_what_overlaps_or_touches() {
        assert_eq!(plain(&["hush"], "say hush!"), "say [redacted]!");
        assert_eq!(plain(&["hush"], "hushhush hush"), "[redacted] [redacted]");
        assert_eq!(plain(&["abcd", "cdef"], "-abcdef-"), "-[redacted]-");
        assert_eq!(plain(&["abcd", "xabcdyyy"], "xabcdyy"), "x[redacted]yy");
        assert_eq!(plain(&["abc"], "abc"), "abc", "too short");
        assert_eq!(plain(&["one line\ntwo lines"], "one line"), "[redacted]");
    }

    #[test]
    fn what_may_become_a_secret_waits_and_nothing_else_does() {
        let mut redactor = redactor(&[b"hush-hush".to_vec()]).unwrap();
        let mut out = Vec::new();
        redactor.push(b"password: hu", &mut out);
        assert_eq!(out, b"password: ");
        redactor.push(b"sh-hus", &mut out);
        assert_eq!(out, b"password: ");
        redactor.push(b"h\n", &mut out);
        assert_eq!(out, b"password: [redacted]\n");
        redactor.push(b"hus\n", &mut out);
        assert_eq!(out, b"password: [redacted]\nhus\n");
    }

    /// The same, by looking at the whole of it.
    fn model(secrets: &[Vec<u8>], text: &[u8]) -> Vec<u8> {
        let mut hidden = vec![false; text.len()];
        let lines = secrets.iter().flat_map(|s| s.split(|byte| *byte == b'\n'));
        for line in lines.filter(|line| line.len() >= REDACTED_BYTES_MIN) {
            for begin in 0..text.len() {
                if text[begin..].starts_with(line) {
                    hidden[begin..begin + line.len()].fill(true);
                }
            }
        }
        let mut out = Vec::new();
        for (place, byte) in text.iter().enumerate() {
            match (hidden[place], place > 0 && hidden[place - 1]) {
                (false, _) => out.push(*byte),
                (true, false) => out.extend_from_slice(MARK),
                (true, true) => {}
            }
        }
        out
    }

    /// Few letters, so that secrets are met, in whole and in part; none is the mark's.
    fn letters(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        let letter = prop_oneof![8 => Just(b'x'), 8 => Just(b'y'), 1 => Just(b'\n')];
        proptest::collection::vec(letter, len)
    }

    fn holds(text: &[u8], secret: &[u8]) -> bool {
        text.windows(secret.len()).any(|window| window == secret)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn no_secret_is_left_and_nothing_else_is_missing(
            secrets in proptest::collection::vec(letters(0..12), 0..5),
            text in letters(0..120),
            mut cuts in proptest::collection::vec(0..120_usize, 0..20),
        ) {
            cuts.sort_unstable();
            let out = redacted(&secrets, &text, &cuts);
            prop_assert_eq!(&out, &model(&secrets, &text));
            for line in secrets.iter().flat_map(|s| s.split(|byte| *byte == b'\n')) {
                prop_assert!(line.len() < REDACTED_BYTES_MIN || !holds(&out, line));
            }
        }

        #[test]
        fn a_text_without_secrets_is_as_it_was(
            secret in "[s-z]{4,40}",
            text in "[a-r\n]{0,300}",
            cut in 0..300_usize,
        ) {
            let out = redacted(&[secret.into_bytes()], text.as_bytes(), &[cut]);
            prop_assert_eq!(out, text.into_bytes());
        }

        /// As the log has it: records are pieces of 16 KiB at most, and a piece's end hides nothing.
        #[test]
        fn no_records_joined_show_a_secret(
            secret in "[a-z]{4,300}",
            before in 16_000..16_500_usize,
            pieces in proptest::collection::vec(1..9_000_usize, 1..6),
        ) {
            let text = [&b"-".repeat(before)[..], secret.as_bytes(), b"\n"].concat();
            let mut redactor = redactor(&[secret.clone().into_bytes()]).unwrap();
            let (mut splitter, mut joined) = (LineSplitter::new(), Vec::new());
            let mut rest = &text[..];
            for piece in pieces.into_iter().chain([text.len()]) {
                let (now, later) = rest.split_at(piece.min(rest.len()));
                let mut out = Vec::new();
                redactor.push(now, &mut out);
                splitter.push(&out, |line, _, _| joined.extend_from_slice(line));
                // A prompt is logged as it is.
                splitter.flush(|line, _, _| joined.extend_from_slice(line));
                rest = later;
            }
            prop_assert!(!holds(&joined, secret.as_bytes()));
            prop_assert_eq!(joined.len(), before + MARK.len());
        }
    }
}
