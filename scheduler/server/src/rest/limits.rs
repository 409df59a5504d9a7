//! How often a token may ask: so many requests a second on average, so many at once (GCRA).
//!
//! Each replica counts for itself. Only valid tokens are counted, so there are no more counters than tokens; counters
//! that are back at their beginning are forgotten when there are many.

use std::num::NonZeroU32;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use uuid::Uuid;

use super::RestSettings;
use super::problem::Problem;

/// Counters above which the idle ones are forgotten.
const COUNTERS_MAX: usize = 10_000;

type Limiter = RateLimiter<Uuid, HashMapStateStore<Uuid>, DefaultClock, StateInformationMiddleware>;

pub(super) struct RateLimits {
    limiter: Limiter,
    clock: DefaultClock,
    burst: u32,
    per_second: u32,
}

/// What is left to a token.
pub(super) struct Allowance {
    limit: u32,
    remaining: u32,
    reset_seconds: u32,
}

impl RateLimits {
    pub(super) fn new(settings: &RestSettings) -> Self {
        let at_least_one = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let per_second = at_least_one(settings.requests_per_second);
        let burst = at_least_one(settings.requests_burst);
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Self {
            limiter: RateLimiter::hashmap(quota).with_middleware(),
            clock: DefaultClock::default(),
            burst: burst.get(),
            per_second: per_second.get(),
        }
    }

    /// Counts a request of a token.
    pub(super) fn take(&self, token: Uuid) -> Result<Allowance, Problem> {
        if self.limiter.len() > COUNTERS_MAX {
            self.limiter.retain_recent();
        }
        match self.limiter.check_key(&token) {
            Ok(snapshot) => {
                let remaining = snapshot.remaining_burst_capacity().min(self.burst);
                Ok(Allowance {
                    limit: self.burst,
                    remaining,
                    reset_seconds: (self.burst - remaining).div_ceil(self.per_second),
                })
            }
            Err(not_until) => {
                let wait = not_until.wait_time_from(self.clock.now());
                Err(Problem::limited(wait.as_secs() + 1))
            }
        }
    }
}

impl Allowance {
    /// Writes it into a response.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        for (name, value) in [
            ("ratelimit-limit", self.limit),
            ("ratelimit-remaining", self.remaining),
            ("ratelimit-reset", self.reset_seconds),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
    }
}
