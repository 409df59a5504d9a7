//! What davit promises, and whether a report shows it.

use crate::report::Report;
use crate::sample::Quantity;

/// Percentiles may be this much worse than what is promised of medians.
const P95_SLACK: f64 = 1.5;

/// On which side of the bound is good.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// Less is better.
    AtMost(f64),
    /// More is better.
    AtLeast(f64),
}

/// One promise.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// Of the ratio of medians of that name, e.g. `cleaned: davit / ctr-runc`.
    Ratio(&'static str, Bound),
    /// The same, and of the ratio of 95th percentiles with half as much again.
    RatioAndP95(&'static str, Bound),
    /// Of davit's own median, in the quantity's unit.
    Own(Quantity, Bound),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    fn slackened(self) -> Self {
        match self {
            Self::AtMost(most) => Self::AtMost(most * P95_SLACK),
            Self::AtLeast(least) => Self::AtLeast(least / P95_SLACK),
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {most:.3}"),
            Self::AtLeast(least) => format!("≥ {least:.3}"),
        }
    }

    fn verdict(self, value: f64) -> &'static str {
        if self.holds(value) { "met" } else { "MISSED" }
    }
}

impl Target {
    /// Whether it is reached, in a line; `None` when it was not measured.
    pub(crate) fn verdict(&self, report: &Report) -> Option<String> {
        let line = |name: &str, bound: Bound, unit: &str, value: f64| {
            let (bound, verdict) = (bound.text(), bound.verdict(value));
            format!("target {name} {bound}{unit}: {value:.3}, {verdict}")
        };
        match *self {
            Self::Ratio(name, bound) => Some(line(name, bound, "", report.ratio(name)?)),
            Self::RatioAndP95(name, bound) => {
                let of_medians = line(name, bound, "", report.ratio(name)?);
                let (what, sides) = name.split_once(": ")?;
                let p95 = report.ratio(&format!("{what}_p95: {sides}"))?;
                let bound = bound.slackened();
                Some(format!(
                    "{of_medians}; p95 {}: {p95:.3}, {}",
                    bound.text(),
                    bound.verdict(p95)
                ))
            }
            Self::Own(quantity, bound) => {
                let unit = format!(" {}", quantity.unit);
                Some(line(
                    quantity.name,
                    bound,
                    &unit,
                    report.own(quantity)?.median,
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{CLEANED, report};

    const NAME: &str = "cleaned: davit / ctr-runc";

    fn verdict(target: Target) -> String {
        target.verdict(&report()).unwrap()
    }

    #[test]
    fn a_target_is_met_up_to_its_bound_on_either_side() {
        for (target, end) in [
            (Target::Ratio(NAME, Bound::AtMost(0.2)), "0.200, met"),
            (Target::Ratio(NAME, Bound::AtMost(0.19)), "0.200, MISSED"),
            (Target::Ratio(NAME, Bound::AtLeast(0.2)), "0.200, met"),
            (Target::Ratio(NAME, Bound::AtLeast(0.21)), "0.200, MISSED"),
            (Target::Own(CLEANED, Bound::AtMost(19.0)), "20.000, MISSED"),
        ] {
            let verdict = verdict(target);
            assert!(verdict.ends_with(end), "{verdict}");
        }
    }

    #[test]
    fn percentiles_have_half_as_much_again() {
        let met = verdict(Target::RatioAndP95(NAME, Bound::AtMost(0.2)));
        assert!(met.ends_with("p95 ≤ 0.300: 0.300, met"), "{met}");
        let missed = verdict(Target::RatioAndP95(NAME, Bound::AtMost(0.199)));
        assert!(missed.ends_with("MISSED"), "{missed}");
    }

    #[test]
    fn what_was_not_measured_has_no_verdict() {
        let other = Target::Ratio("cleaned: davit / docker", Bound::AtMost(1.0));
        assert_eq!(other.verdict(&report()), None);
    }
}
