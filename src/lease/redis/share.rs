//! Pure: who of the living runners is to look after which site.
//!
//! Rendezvous hashing (Thaler and Ravishankar, 1998): each site goes to the runner with the highest hash of both names,
//! so all runners come to the same result without talking, and a runner that comes or goes moves few sites. Nobody is given
//! more than his even part while another one has room, since with a handful of sites chance alone is not even.

use std::collections::{BTreeSet, HashMap};

use super::Member;
use crate::protocol::signature::sha256;

/// Site to runner id. A site that no runner can serve is nobody's.
pub fn shares(members: &[Member]) -> HashMap<String, String> {
    let sites: BTreeSet<&String> = members.iter().flat_map(|member| &member.sites).collect();
    let most = sites.len().div_ceil(members.len().max(1));
    let mut loads: HashMap<&str, usize> = HashMap::new();
    let mut shares = HashMap::new();
    for site in sites {
        let mut able: Vec<(String, &str)> = members
            .iter()
            .filter(|member| member.sites.contains(site))
            .map(|member| (sha256(format!("{} {site}", member.id).as_bytes()), member.id.as_str()))
            .collect();
        able.sort_unstable_by(|a, b| b.cmp(a));
        let with_room = able.iter().find(|(_, id)| loads.get(id).is_none_or(|load| *load < most));
        if let Some((_, id)) = with_room.or(able.first()) {
            *loads.entry(id).or_default() += 1;
            shares.insert(site.clone(), (*id).to_string());
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, sites: &[String]) -> Member {
        Member { id: id.into(), sites: sites.to_vec(), ..Member::default() }
    }

    fn sites(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("site-{number}")).collect()
    }

    fn loads(shares: &HashMap<String, String>) -> Vec<usize> {
        let mut loads: HashMap<&str, usize> = HashMap::new();
        shares.values().for_each(|id| *loads.entry(id).or_default() += 1);
        let mut loads: Vec<usize> = loads.into_values().collect();
        loads.sort_unstable();
        loads
    }

    #[test]
    fn living_runners_share_evenly_whatever_their_names() {
        for count in [1, 2, 7, 12, 100, 1000] {
            let all = sites(count);
            for runners in 1..=5 {
                let members: Vec<Member> = (0..runners).map(|n| member(&format!("runner-{n}"), &all)).collect();
                let shares = shares(&members);
                assert_eq!(shares.len(), count);
                let most = loads(&shares).last().copied().unwrap_or(0);
                assert!(most <= count.div_ceil(runners), "{count} sites, {runners} runners: {:?}", loads(&shares));
                let mut turned = members.clone();
                turned.reverse();
                assert_eq!(super::shares(&turned), shares, "the order of the list says nothing");
            }
        }
    }

    #[test]
    fn a_runner_that_comes_or_goes_moves_few_sites() {
        let all = sites(300);
        let three: Vec<Member> = ["a", "b", "c"].map(|id| member(id, &all)).to_vec();
        let (before, after) = (shares(&three[..2]), shares(&three));
        let moved = all.iter().filter(|site| before[*site] != after[*site]).count();
        assert!((100..=180).contains(&moved), "{moved} of 300 moved; 100 have to");
    }

    #[test]
    fn a_site_is_only_given_to_who_can_serve_it() {
        let members = [member("a", &sites(4)), member("b", &sites(1))];
        let shares = shares(&members);
        assert_eq!((shares.len(), shares["site-3"].as_str()), (4, "a"));
        assert!(super::shares(&[]).is_empty() && super::shares(&[member("a", &[])]).is_empty());
    }
}
