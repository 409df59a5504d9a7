//! Regions and sizes that a run may name, read once for as many runs as there are in a request.

use super::catalogue::{self, Region};
use super::check::Check;
use super::instance_types::{self, Offer};
use super::{Service, ServiceError};

/// Regions or sizes that are named to one who asks for another.
const NAMED_MAX: usize = 100;

/// What the operator offers.
pub(super) struct Places {
    regions: Vec<Region>,
    offers: Vec<Offer>,
}

impl Places {
    pub(super) async fn load(service: &Service) -> Result<Self, ServiceError> {
        Ok(Self {
            regions: catalogue::regions(service).await?,
            offers: instance_types::list(service).await?,
        })
    }

    /// What is wrong with the region and the type; the type's offer.
    pub(super) fn check(
        &self,
        check: &mut Check,
        region: &str,
        instance_type: &str,
    ) -> Option<Offer> {
        let regions = self.regions.iter().map(|known| known.slug.as_str());
        one_of(check, "region", region, regions);
        let offers = self.offers.iter();
        let slugs = offers.map(|known| known.instance_type.slug.as_str());
        one_of(check, "instance_type", instance_type, slugs);
        let mut offers = self.offers.iter();
        offers
            .find(|known| known.instance_type.slug == instance_type)
            .cloned()
    }
}

fn one_of<'a>(
    check: &mut Check,
    field: &str,
    asked: &str,
    mut known: impl Iterator<Item = &'a str> + Clone,
) {
    let all = known.clone();
    if !known.any(|slug| slug == asked) {
        let all: Vec<&str> = all.take(NAMED_MAX).collect();
        let problem = format!("is not offered here; choose one of: {}", all.join(", "));
        check.fail(field, asked, problem);
    }
}
