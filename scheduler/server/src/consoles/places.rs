//! How many consoles there are: of a replica, a tenant, a host, a run. A place is held from before the host is asked until
//! the console is over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use davit_types::{RunId, Tenant};
use uuid::Uuid;

use super::error::{Bound, ConsoleError};
use super::{Asked, CONSOLES_MAX, HOST_CONSOLES_MAX, RUN_CONSOLES_MAX, TENANT_CONSOLES_MAX, held};

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    tenants: HashMap<Tenant, usize>,
    hosts: HashMap<Uuid, usize>,
    runs: HashMap<RunId, usize>,
}

/// Who has how many. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<Counts>>);

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    of: Places,
    asked: Asked,
}

impl Places {
    pub(super) fn count(&self) -> usize {
        held(&self.0).all
    }

    /// A place, if everybody whom it counts for has one left.
    pub(super) fn take(&self, asked: &Asked) -> Result<Place, ConsoleError> {
        let mut counts = held(&self.0);
        let of = |found: Option<&usize>| found.copied().unwrap_or_default();
        // What the caller can do something about is told first.
        for (what, count, max) in [
            (
                Bound::Run,
                of(counts.runs.get(&asked.key.run)),
                RUN_CONSOLES_MAX,
            ),
            (
                Bound::Tenant,
                of(counts.tenants.get(&asked.tenant)),
                TENANT_CONSOLES_MAX,
            ),
            (
                Bound::Host,
                of(counts.hosts.get(&asked.host)),
                HOST_CONSOLES_MAX,
            ),
            (Bound::Replica, counts.all, CONSOLES_MAX),
        ] {
            if count >= max {
                return Err(ConsoleError::Full { what, max });
            }
        }
        counts.all += 1;
        *counts.runs.entry(asked.key.run).or_default() += 1;
        *counts.tenants.entry(asked.tenant.clone()).or_default() += 1;
        *counts.hosts.entry(asked.host).or_default() += 1;
        drop(counts);
        Ok(Place {
            of: self.clone(),
            asked: asked.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = held(&self.of.0);
        counts.all -= 1;
        less(&mut counts.runs, &self.asked.key.run);
        less(&mut counts.tenants, &self.asked.tenant);
        less(&mut counts.hosts, &self.asked.host);
    }
}

/// One fewer; what has none has no entry.
fn less<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use davit_types::{Attempt, RunKey};

    use super::*;

    fn asked(tenant: &str, host: u128, run: RunId) -> Asked {
        Asked {
            tenant: tenant.parse().expect("a name"),
            key: RunKey {
                run,
                attempt: Attempt::FIRST,
            },
            host: Uuid::from_u128(host),
        }
    }

    fn refused(places: &Places, asked: &Asked) -> (Bound, usize) {
        match places.take(asked) {
            Err(ConsoleError::Full { what, max }) => (what, max),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_bound_holds_and_a_place_that_is_given_back_is_free() {
        let places = Places::default();
        let one = RunId::generate();
        let mut taken: Vec<Place> = (0..RUN_CONSOLES_MAX)
            .map(|_| places.take(&asked("acme", 0, one)).expect("room"))
            .collect();
        assert_eq!(
            refused(&places, &asked("acme", 0, one)),
            (Bound::Run, RUN_CONSOLES_MAX)
        );
        drop(taken.pop());
        taken.push(places.take(&asked("acme", 0, one)).expect("room again"));
        let mut until = |tenant: &str, hosts: u128, bound: Bound, max: usize| {
            for number in 0.. {
                let asked = asked(tenant, (number + 1) % hosts, RunId::generate());
                match places.take(&asked) {
                    Ok(place) => taken.push(place),
                    Err(_) => {
                        assert_eq!(refused(&places, &asked), (bound, max));
                        break;
                    }
                }
            }
        };
        until("acme", 1, Bound::Host, HOST_CONSOLES_MAX);
        until("acme", u128::MAX, Bound::Tenant, TENANT_CONSOLES_MAX);
        until("beta", u128::MAX, Bound::Tenant, TENANT_CONSOLES_MAX);
        until("gamma", u128::MAX, Bound::Tenant, TENANT_CONSOLES_MAX);
        until("delta", u128::MAX, Bound::Tenant, TENANT_CONSOLES_MAX);
        until("epsilon", u128::MAX, Bound::Replica, CONSOLES_MAX);
        assert_eq!(places.count(), CONSOLES_MAX);
        drop(taken);
        let counts = held(&places.0);
        assert_eq!(
            (
                counts.all,
                counts.runs.len(),
                counts.tenants.len(),
                counts.hosts.len()
            ),
            (0, 0, 0, 0)
        );
    }
}
