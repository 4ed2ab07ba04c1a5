//! Whose workers a run takes: sites that share a php-fpm address share its workers, and all that go through WP-CLI share this
//! machine's memory.

use std::collections::HashMap;

use crate::config::{Address, Site, Trigger, WpCronPhp};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    FastCgi(Address),
    WpCli,
}

impl Place {
    /// None: a web server in between has limits of its own.
    pub fn of(site: &Site) -> Option<Self> {
        match &site.trigger {
            Trigger::FastCgi(address) => Some(Self::FastCgi(address.clone())),
            Trigger::WpCli(_) | Trigger::WpCronPhp(WpCronPhp::WpCli(_)) => Some(Self::WpCli),
            Trigger::Http(_) | Trigger::WpCronPhp(WpCronPhp::Http(_)) => None,
        }
    }
}

#[derive(Debug, Default)]
struct Pool {
    most: usize,
    running: usize,
}

#[derive(Debug, Default)]
pub struct Places {
    pools: HashMap<Place, Pool>,
}

impl Places {
    pub(super) fn close_all(&mut self) {
        self.pools.retain(|_, pool| pool.running > 0);
        for pool in self.pools.values_mut() {
            pool.most = 0;
        }
    }

    /// The largest of what the sites that share it ask for.
    pub(super) fn allow(&mut self, place: Place, most: usize) {
        let pool = self.pools.entry(place).or_default();
        pool.most = pool.most.max(most);
    }

    pub fn is_free(&self, place: Option<&Place>) -> bool {
        let pool = place.and_then(|place| self.pools.get(place));
        pool.is_none_or(|pool| pool.running < pool.most)
    }

    /// A job leaves the last one to sites, where there are several.
    pub fn is_free_for_job(&self, place: Option<&Place>) -> bool {
        let pool = place.and_then(|place| self.pools.get(place));
        pool.is_none_or(|pool| pool.running < pool.most.saturating_sub(1).max(1))
    }

    pub fn take(&mut self, place: Option<&Place>) {
        if let Some(pool) = place.and_then(|place| self.pools.get_mut(place)) {
            pool.running += 1;
        }
    }

    pub fn give_back(&mut self, place: Option<&Place>) {
        if let Some(pool) = place.and_then(|place| self.pools.get_mut(place)) {
            pool.running = pool.running.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_shrinks_keeps_what_runs_and_lets_nothing_new_in() {
        let place = Place::WpCli;
        let mut places = Places::default();
        places.allow(place.clone(), 2);
        places.take(Some(&place));
        places.take(Some(&place));
        assert!(!places.is_free(Some(&place)));
        places.close_all();
        places.allow(place.clone(), 1);
        places.give_back(Some(&place));
        assert!(!places.is_free(Some(&place)), "one still runs");
        places.give_back(Some(&place));
        assert!(places.is_free(Some(&place)) && places.is_free(None));
        assert!(places.is_free_for_job(Some(&place)), "the only one is anybody's");
        places.allow(place.clone(), 2);
        places.take(Some(&place));
        assert!(places.is_free(Some(&place)) && !places.is_free_for_job(Some(&place)));
    }
}
