//! The keys that leave a job to itself, found in what is typed.
//!
//! Written as Docker has them: `ctrl-<key>` or single characters, commas between; nothing at all turns them off.

use std::str::FromStr;

/// Keys in a row, at most.
const KEYS_MAX: usize = 16;

/// The keys, in the bytes that a raw terminal makes of them; none, where nothing detaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DetachKeys(Vec<u8>);

impl FromStr for DetachKeys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let keys: Result<Vec<u8>, String> = text.split(',').map(key).collect();
        let keys = keys?;
        match keys.len() {
            1..=KEYS_MAX => Ok(Self(keys)),
            count => Err(format!("{count} keys, at most {KEYS_MAX} allowed")),
        }
    }
}

fn key(text: &str) -> Result<u8, String> {
    if let [key] = text.as_bytes()
        && key.is_ascii()
    {
        return Ok(*key);
    }
    let lower = text.to_ascii_lowercase();
    let control = match lower.strip_prefix("ctrl-").map(str::as_bytes) {
        Some([key @ b'a'..=b'z']) => Some(key - b'a' + 1),
        Some([key @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]) => Some(key - b'@'),
        _ => None,
    };
    control.ok_or_else(|| {
        format!(
            "`{text}` is no key: one character, or ctrl- and one of a to z, @ [ \\ ] ^ _, with commas between keys; \"\" \
             turns it off"
        )
    })
}

/// Finds the keys, wherever what is typed is cut in pieces.
///
/// What may become the keys is kept back until it is known; if it does not, it goes on as it was typed.
#[derive(Debug)]
pub(crate) struct Matcher {
    keys: Vec<u8>,
    matched: usize,
}

impl Matcher {
    pub(crate) fn new(keys: DetachKeys) -> Self {
        Self {
            keys: keys.0,
            matched: 0,
        }
    }

    /// Appends to `out` what is for the job of `typed`; whether the keys were among it, after which nothing is.
    pub(crate) fn push(&mut self, typed: &[u8], out: &mut Vec<u8>) -> bool {
        if self.keys.is_empty() {
            out.extend_from_slice(typed);
            return false;
        }
        for &byte in typed {
            if self.keys[self.matched] == byte {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return true;
                }
                continue;
            }
            self.passed(byte, out);
        }
        false
    }

    /// `byte` is not the next key: the longest end of all that was kept back and of it goes on being kept.
    fn passed(&mut self, byte: u8, out: &mut Vec<u8>) {
        let mut kept = self.keys[..self.matched].to_vec();
        kept.push(byte);
        let begins = |at: &usize| self.keys.starts_with(&kept[*at..]);
        let at = (1..kept.len()).find(begins).unwrap_or(kept.len());
        out.extend_from_slice(&kept[..at]);
        self.matched = kept.len() - at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<u8> {
        text.parse::<DetachKeys>().unwrap().0
    }

    #[test]
    fn keys_are_written_as_docker_has_them() {
        assert_eq!(keys("ctrl-p,ctrl-q"), [16, 17]);
        assert_eq!(keys("a,B,ctrl-@"), [b'a', b'B', 0]);
        assert_eq!(keys("CTRL-A,ctrl-Z,ctrl-["), [1, 26, 27]);
        assert_eq!(keys("ctrl-\\,ctrl-],ctrl-^,ctrl-_"), [28, 29, 30, 31]);
        assert!(keys("").is_empty());
        for wrong in [
            "ctrl-",
            "ctrl-1",
            "ctrl-pp",
            "ab",
            "é",
            "a,",
            ",",
            "ctrl-p ctrl-q",
            "shift-a",
        ] {
            let said = wrong.parse::<DetachKeys>().unwrap_err();
            assert!(
                said.contains("no key") && said.contains("ctrl-"),
                "{wrong}: {said}"
            );
        }
        let many = vec!["a"; KEYS_MAX + 1].join(",");
        assert!(
            many.parse::<DetachKeys>()
                .unwrap_err()
                .contains("at most 16")
        );
    }

    /// What goes on, and whether it detached.
    fn typed(keys: &str, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut matcher = Matcher::new(keys.parse().unwrap());
        let mut out = Vec::new();
        let found = pieces.iter().any(|piece| matcher.push(piece, &mut out));
        (out, found)
    }

    #[test]
    fn the_keys_are_found_however_they_are_read_and_nothing_else_is_lost() {
        let usual = "ctrl-p,ctrl-q";
        assert_eq!(typed(usual, &[b"ls\x10\x11rest"]), (b"ls".to_vec(), true));
        assert_eq!(
            typed(usual, &[b"ls\x10", b"", b"\x11"]),
            (b"ls".to_vec(), true)
        );
        assert_eq!(
            typed(usual, &[b"\x10", b"x\x10\x10", b"\x11"]),
            (b"\x10x\x10".to_vec(), true)
        );
        assert_eq!(
            typed(usual, &[b"\x11\x10\x10a"]),
            (b"\x11\x10\x10a".to_vec(), false)
        );
        assert_eq!(typed(usual, &[b"\x10"]), (b"".to_vec(), false));
        // Kept back is what may still be their beginning.
        assert_eq!(typed("a,a,b", &[b"aa", b"ab"]), (b"a".to_vec(), true));
        assert_eq!(typed("a,b,a,c", &[b"abab", b"ac"]), (b"ab".to_vec(), true));
        assert_eq!(typed("", &[b"\x10\x11"]), (b"\x10\x11".to_vec(), false));
    }
}
