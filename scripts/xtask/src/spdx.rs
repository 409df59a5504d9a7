//! Licence expressions (SPDX annex D, and the old `MIT/Apache-2.0`): does a set of allowed licences
//! satisfy one?

/// Whether `expression` can be satisfied with licences that `allowed` accepts. `X WITH Y` is asked as
/// one licence. `None` if it is no expression.
pub(crate) fn satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut parser = Parser {
        words: spaced.split_ascii_whitespace().collect(),
        at: 0,
        allowed,
    };
    let value = parser.any()?;
    (parser.at == parser.words.len()).then_some(value)
}

struct Parser<'a> {
    words: Vec<&'a str>,
    at: usize,
    allowed: &'a dyn Fn(&str) -> bool,
}

impl<'a> Parser<'a> {
    /// `a OR b`: the loosest.
    fn any(&mut self) -> Option<bool> {
        let mut value = self.all()?;
        while self.take("OR") {
            value |= self.all()?;
        }
        Some(value)
    }

    fn all(&mut self) -> Option<bool> {
        let mut value = self.one()?;
        while self.take("AND") {
            value &= self.one()?;
        }
        Some(value)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let value = self.any()?;
            return self.take(")").then_some(value);
        }
        let licence = self.word()?;
        if self.take("WITH") {
            let exception = self.word()?;
            return Some((self.allowed)(&format!("{licence} WITH {exception}")));
        }
        Some((self.allowed)(licence))
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.words.get(self.at) == Some(&word);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self) -> Option<&'a str> {
        let word = *self.words.get(self.at)?;
        let reserved = ["(", ")", "AND", "OR", "WITH"].contains(&word);
        self.at += 1;
        (!reserved).then_some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_mit_and_zlib(expression: &str) -> Option<bool> {
        satisfied(expression, &|licence| ["MIT", "Zlib"].contains(&licence))
    }

    #[test]
    fn or_needs_one_and_needs_all() {
        assert_eq!(with_mit_and_zlib("MIT OR GPL-3.0"), Some(true));
        assert_eq!(with_mit_and_zlib("GPL-3.0/MIT"), Some(true));
        assert_eq!(with_mit_and_zlib("MIT AND GPL-3.0"), Some(false));
        assert_eq!(with_mit_and_zlib("(MIT OR GPL-3.0) AND Zlib"), Some(true));
        assert_eq!(with_mit_and_zlib("GPL-3.0 OR MIT AND Zlib"), Some(true));
        assert_eq!(with_mit_and_zlib("(GPL-3.0 OR MIT) AND ISC"), Some(false));
    }

    #[test]
    fn an_exception_makes_another_licence() {
        assert_eq!(with_mit_and_zlib("MIT WITH LLVM-exception"), Some(false));
    }

    #[test]
    fn what_is_no_expression_is_told_apart() {
        for text in ["", "MIT OR", "(MIT", "MIT Zlib", "AND", "MIT)"] {
            assert_eq!(with_mit_and_zlib(text), None, "{text}");
        }
    }
}
