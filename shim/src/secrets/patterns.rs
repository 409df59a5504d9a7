//! The texts that a log must not show, as an automaton (Aho and Corasick's): read byte by byte, it knows the longest
//! end of what it has read that a text begins with, and which texts end here.
//!
//! A text with several lines is looked for line by line: a line is what a log is made of. What is shorter than
//! [`REDACTED_BYTES_MIN`] is not looked for.
//!
//! One step costs the same however many texts there are and whatever the job writes (each byte read makes at most one
//! step forward, and each step back takes back one forward); a node takes 21 bytes.
//!
//! [`REDACTED_BYTES_MIN`]: davit_types::limits::REDACTED_BYTES_MIN

use davit_types::limits::REDACTED_BYTES_MIN;
use zeroize::Zeroizing;

/// A node: what was read of a text so far. 0 is nothing.
pub(super) type Node = u32;

/// See the module.
pub(crate) struct Patterns {
    /// The nodes behind the first byte.
    first: [Node; 256],
    /// The byte that leads to a node.
    byte: Zeroizing<Vec<u8>>,
    /// Its first child, and the next one of its parent's; 0 if there is none.
    child: Vec<Node>,
    sibling: Vec<Node>,
    /// The longest end of it, shorter than itself, that is a node too.
    shorter: Vec<Node>,
    /// Bytes of it.
    depth: Vec<u32>,
    /// Bytes of the longest text that ends with it; 0 if none does.
    ends: Vec<u32>,
}

impl Patterns {
    /// Of the lines of `texts`; `None` if none of them is long enough.
    pub(crate) fn of<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut patterns = Self {
            first: [0; 256],
            byte: Vec::new().into(),
            child: Vec::new(),
            sibling: Vec::new(),
            shorter: Vec::new(),
            depth: Vec::new(),
            ends: Vec::new(),
        };
        patterns.add(0, 0);
        for text in texts {
            let lines = text.split(|byte| *byte == b'\n');
            let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            for line in lines.filter(|line| line.len() >= REDACTED_BYTES_MIN) {
                patterns.insert(line);
            }
        }
        if patterns.byte.len() == 1 {
            return None;
        }
        patterns.link();
        Some(patterns)
    }

    /// What is read once `byte` follows `node`.
    pub(super) fn step(&self, mut node: Node, byte: u8) -> Node {
        if byte == b'\n' {
            return 0;
        }
        while node != 0 {
            let next = self.child_of(node, byte);
            if next != 0 {
                return next;
            }
            node = self.shorter[at(node)];
        }
        self.first[usize::from(byte)]
    }

    /// Whether a text begins with `byte`.
    pub(super) fn begins(&self, byte: u8) -> bool {
        self.first[usize::from(byte)] != 0
    }

    /// Bytes of what was read that may yet become a text.
    pub(super) fn depth(&self, node: Node) -> usize {
        at(self.depth[at(node)])
    }

    /// Bytes of the longest text that ends here, if one does.
    pub(super) fn end(&self, node: Node) -> Option<usize> {
        Some(at(self.ends[at(node)])).filter(|bytes| *bytes > 0)
    }

    fn add(&mut self, byte: u8, depth: u32) -> Node {
        let node = Node::try_from(self.byte.len()).expect("secrets are bounded far below 4 GiB");
        self.byte.push(byte);
        self.depth.push(depth);
        for links in [
            &mut self.child,
            &mut self.sibling,
            &mut self.shorter,
            &mut self.ends,
        ] {
            links.push(0);
        }
        node
    }

    fn insert(&mut self, text: &[u8]) {
        let mut node = 0;
        for &byte in text {
            let known = if node == 0 {
                self.first[usize::from(byte)]
            } else {
                self.child_of(node, byte)
            };
            node = if known == 0 {
                self.extend(node, byte)
            } else {
                known
            };
        }
        self.ends[at(node)] = self.depth[at(node)];
    }

    fn extend(&mut self, parent: Node, byte: u8) -> Node {
        let node = self.add(byte, self.depth[at(parent)] + 1);
        if parent == 0 {
            self.first[usize::from(byte)] = node;
        }
        self.sibling[at(node)] = self.child[at(parent)];
        self.child[at(parent)] = node;
        node
    }

    fn child_of(&self, parent: Node, byte: u8) -> Node {
        let mut child = self.child[at(parent)];
        while child != 0 && self.byte[at(child)] != byte {
            child = self.sibling[at(child)];
        }
        child
    }

    /// Finds `shorter` for all nodes, the shallow ones first.
    fn link(&mut self) {
        let mut level = self.children(0);
        while !level.is_empty() {
            let mut next = Vec::new();
            for parent in level {
                for node in self.children(parent) {
                    let shorter = self.step(self.shorter[at(parent)], self.byte[at(node)]);
                    self.shorter[at(node)] = shorter;
                    if self.ends[at(node)] == 0 {
                        self.ends[at(node)] = self.ends[at(shorter)];
                    }
                    next.push(node);
                }
            }
            level = next;
        }
    }

    fn children(&self, parent: Node) -> Vec<Node> {
        let next = |node: &Node| Some(self.sibling[at(*node)]).filter(|node| *node != 0);
        let first = Some(self.child[at(parent)]).filter(|node| *node != 0);
        std::iter::successors(first, next).collect()
    }
}

/// A node's place.
const fn at(node: Node) -> usize {
    node as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends of texts in `text`: where, and how many bytes.
    fn found(texts: &[&str], text: &str) -> Vec<(usize, usize)> {
        let patterns = Patterns::of(texts.iter().map(|text| text.as_bytes())).unwrap();
        let mut node = 0;
        let ends = text.bytes().enumerate().filter_map(|(place, byte)| {
            node = patterns.step(node, byte);
            patterns.end(node).map(|bytes| (place + 1, bytes))
        });
        ends.collect()
    }

    #[test]
    fn texts_within_texts_are_found() {
        let texts = ["abcd", "bcde", "xabcdey", "bcd9"];
        assert_eq!(found(&texts, "abcde"), [(4, 4), (5, 4)]);
        assert_eq!(found(&texts, "xabcdey"), [(5, 4), (6, 4), (7, 7)]);
        assert_eq!(found(&texts, "xabcd9"), [(5, 4), (6, 4)]);
        assert_eq!(found(&texts, "abc\nd bcd bcde"), [(14, 4)]);
    }

    #[test]
    fn texts_are_looked_for_by_line_and_short_ones_not_at_all() {
        let key = "first line\r\nab\nthird\n\n";
        assert_eq!(found(&[key], "first line\n"), [(10, 10)]);
        assert_eq!(found(&[key], "ab third"), [(8, 5)]);
        for nothing in ["", "abc", "abc\nabc\r\n\n"] {
            assert!(Patterns::of([nothing.as_bytes()]).is_none(), "{nothing:?}");
        }
    }
}
