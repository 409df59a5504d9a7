//! Values as people write them: `90s`, `500ms`, `0.5`.

use std::str::FromStr;

/// A share of CPU in thousandths, written as a decimal number of cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// Thousandths of a core.
    pub(crate) millis: u32,
}

impl FromStr for Cpu {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || format!("`{text}` is no number of cores with at most three decimals, e.g. 0.5 or 2");
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        if decimals.len() > 3
            || !(whole.bytes().chain(decimals.bytes())).all(|b| b.is_ascii_digit())
        {
            return Err(wrong());
        }
        let whole: u32 = whole.parse().map_err(|_| wrong())?;
        let thousandths: u32 = format!("{decimals:0<3}").parse().map_err(|_| wrong())?;
        let millis = whole
            .checked_mul(1000)
            .and_then(|n| n.checked_add(thousandths));
        millis.map(|millis| Self { millis }).ok_or_else(wrong)
    }
}

/// Milliseconds of a time such as `500ms`, `10s`, `5m`, `2h`, `1d`, or a bare number of seconds.
pub(super) fn milliseconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no time; write e.g. 500ms, 90s, 5m, 2h, or seconds");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

/// Whole seconds of such a time.
pub(super) fn whole_seconds(text: &str) -> Result<u64, String> {
    let milliseconds = milliseconds(text)?;
    if milliseconds.is_multiple_of(1_000) {
        Ok(milliseconds / 1_000)
    } else {
        Err(format!("`{text}` is not a whole number of seconds"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_have_at_most_three_decimals() {
        for (text, millis) in [
            ("0.5", 500),
            ("2", 2000),
            ("1.25", 1250),
            ("0.010", 10),
            ("3.", 3000),
        ] {
            assert_eq!(text.parse(), Ok(Cpu { millis }), "{text}");
        }
        for text in ["", ".", "-1", "0.0001", "1e3", "half", "99999999"] {
            assert!(text.parse::<Cpu>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(milliseconds("500ms"), Ok(500));
        assert_eq!(milliseconds("90"), Ok(90_000));
        assert_eq!(whole_seconds("2h"), Ok(7200));
        assert!(
            whole_seconds("1500ms")
                .unwrap_err()
                .contains("whole number")
        );
        for text in [
            "",
            "s",
            "1.5s",
            "5 minutes",
            "-1s",
            "99999999999999999999s",
            "99999999999999999d",
        ] {
            assert!(milliseconds(text).is_err(), "{text}");
        }
    }
}
