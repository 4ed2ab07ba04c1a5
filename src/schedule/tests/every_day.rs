//! What an owner wants of a daily line: one run on every day that the calendar of the zone has.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, date};

use super::{schedule, zone};

const ZONES: [&str; 40] = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/Johannesburg",
    "Africa/Lagos",
    "America/Asuncion",
    "America/Bogota",
    "America/Chicago",
    "America/Denver",
    "America/Halifax",
    "America/Havana",
    "America/Los_Angeles",
    "America/Mexico_City",
    "America/Miquelon",
    "America/New_York",
    "America/Nuuk",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/Scoresbysund",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Jerusalem",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Shanghai",
    "Asia/Tokyo",
    "Atlantic/Azores",
    "Australia/Adelaide",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Europe/Berlin",
    "Europe/Chisinau",
    "Europe/Lisbon",
    "Europe/London",
    "Pacific/Apia",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Easter",
    "UTC",
];

/// The days of 2026 to 2028 in which the clock of this zone shows `at`, or would have had it not been set.
fn runs_by_day(name: &str, hour: i8, minute: i8) -> BTreeMap<Date, u32> {
    let (schedule, zone) = (schedule(&format!("{minute} {hour} * * *"), name), zone(Some(name)).unwrap());
    let at = |day: Date| zone.to_timestamp(day.at(0, 0, 0, 0)).unwrap().as_millisecond();
    let (mut at_ms, end_ms) = (at(date(2026, 1, 1)) - 1, at(date(2029, 1, 1)));
    let mut runs = BTreeMap::new();
    while let Some(fire) = schedule.next_after(at_ms).filter(|fire| fire.at_ms < end_ms) {
        at_ms = fire.at_ms;
        let shown: DateTime = zone.to_datetime(Timestamp::from_millisecond(at_ms).unwrap());
        // A run that was moved over midnight belongs to the day whose time it stands for.
        let stands_for = fire.why.map_or(shown, |why| why.first);
        assert_eq!((stands_for.hour(), stands_for.minute()), (hour, minute), "{name}: {shown}");
        *runs.entry(stands_for.date()).or_insert(0) += 1;
    }
    runs
}

#[test]
fn a_fixed_time_comes_exactly_once_every_day_in_forty_zones() {
    let (mut days, mut wrong) = (0, Vec::new());
    for name in ZONES {
        for (hour, minute) in [(2, 30), (0, 15), (23, 45)] {
            let runs = runs_by_day(name, hour, minute);
            let all = date(2026, 1, 1).series(jiff::Span::new().days(1)).take_while(|day| *day < date(2029, 1, 1));
            for day in all {
                days += 1;
                let count = runs.get(&day).copied().unwrap_or(0);
                if count != 1 {
                    wrong.push(format!("{name} {hour}:{minute} on {day}: {count} runs"));
                }
            }
        }
    }
    println!("{} zones, {days} days, {} of them without exactly one run", ZONES.len(), wrong.len());
    assert_eq!(days, 40 * 3 * 1096);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
