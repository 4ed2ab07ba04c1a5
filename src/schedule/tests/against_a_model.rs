//! The walk against a model of Debian's cron that was written without it: the model looks at every real minute, as the
//! daemon does, reads the wall clock, and asks the text of the line. It knows neither the crate `cron` nor our bit sets.
//!
//! Random lines, over the days around every change of the clock in the zones below, from 2024 to 2029.

use std::thread;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::super::Schedule;
use super::local;
use crate::fuzz::Random;

const ZONES: [&str; 16] = [
    "America/New_York",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/London",
    "America/Santiago",
    "Asia/Beirut",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "UTC",
    "Atlantic/Azores",
    "America/Scoresbysund",
    "America/Nuuk",
    "Pacific/Chatham",
    "Africa/Casablanca",
    "Antarctica/Troll",
];
const YEARS: std::ops::RangeInclusive<i16> = 2024..=2029;
const LINES_PER_WINDOW: u32 = 40;
const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;
/// How much of the time around a change is walked.
const BEFORE: i64 = 4 * DAY;
const AFTER: i64 = 6 * DAY;

/// A real minute, and what the wall shows.
struct Minute {
    unix_min: i64,
    /// Minutes as if the wall clock showed UTC.
    wall_min: i64,
    /// Minute, hour, day of month, month, day of week from Sunday.
    fields: [usize; 5],
}

fn minute(unix_min: i64, zone: &TimeZone) -> Minute {
    let wall = zone.to_datetime(Timestamp::from_second(unix_min * 60).unwrap());
    let number = |n: i8| usize::try_from(n).unwrap();
    let weekday = number(wall.weekday().to_sunday_zero_offset());
    let fields = [number(wall.minute()), number(wall.hour()), number(wall.day()), number(wall.month()), weekday];
    Minute { unix_min, wall_min: as_if_utc(wall), fields }
}

fn as_if_utc(wall: DateTime) -> i64 {
    TimeZone::UTC.to_timestamp(wall).unwrap().as_second().div_euclid(60)
}

fn wall_fields(wall_min: i64) -> [usize; 5] {
    minute(wall_min, &TimeZone::UTC).fields
}

/// A line, asked about one wall time. What its text says of each number is looked up once, in [`says`].
struct Line {
    fields: [Vec<bool>; 5],
    either_day: bool,
    wildcard: bool,
}

impl Line {
    fn new(text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        let star = |at: usize| words[at].starts_with('*');
        let field = |at: usize| {
            let (low, high) = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)][at];
            (0..=high).map(|number| number >= low && says(words[at], number, low, high)).collect::<Vec<bool>>()
        };
        let mut fields = [0, 1, 2, 3, 4].map(field);
        fields[4][0] |= fields[4][7];
        Self { fields, either_day: !star(2) && !star(4), wildcard: star(0) || star(1) }
    }

    fn matches(&self, wall: [usize; 5]) -> bool {
        let one = |at: usize| self.fields[at][wall[at]];
        one(0) && one(1) && one(3) && if self.either_day { one(2) || one(4) } else { one(2) && one(4) }
    }
}

fn says(list: &str, number: usize, low: usize, high: usize) -> bool {
    list.split(',').any(|item| {
        let (range, step) = item.split_once('/').map_or((item, 1), |(range, step)| (range, step.parse().unwrap()));
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (first.parse().unwrap(), last.parse().unwrap()),
            None if range == "*" => (low, high),
            None => (range.parse().unwrap(), range.parse().unwrap()),
        };
        first <= number && number <= last && (number - first).is_multiple_of(step)
    })
}

/// cron(8): a fixed line has been served up to the wall minute `served`. When the clock jumps ahead, what lies between is
/// made up for at once; when it is set back, nothing happens until it has come up to `served` again. A change of three
/// hours or more is believed. A line with a wildcard looks at the wall and at nothing else.
fn model(line: &Line, minutes: &[Minute]) -> Vec<i64> {
    let Some(first) = minutes.first() else { return Vec::new() };
    let mut served = first.wall_min - 1;
    let mut starts = Vec::new();
    for minute in minutes {
        let ahead = minute.wall_min - served;
        // From one minute to the next the wall goes one ahead; what is more or less is the change.
        let large = (ahead - 1).abs() >= 3 * HOUR;
        let start = if line.wildcard || large || ahead == 1 {
            line.matches(minute.fields)
        } else {
            (1..=ahead).any(|after| line.matches(wall_fields(served + after)))
        };
        if start {
            starts.push(minute.unix_min);
        }
        served = if large { minute.wall_min } else { served.max(minute.wall_min) };
    }
    starts
}

/// The middle of each window: the changes of the clock in a year, or two days like others where there are none.
fn middles(zone: &TimeZone, year: i16) -> Vec<i64> {
    let start = as_if_utc(jiff::civil::date(year, 1, 1).at(0, 0, 0, 0));
    let offset = |unix_min: i64| zone.to_offset(Timestamp::from_second(unix_min * 60).unwrap());
    let hours = (0..366 * 24).map(|hour| start + hour * HOUR);
    let mut found: Vec<i64> = hours.filter(|at| offset(*at) != offset(at + HOUR)).collect();
    if found.is_empty() {
        found = vec![start + 58 * DAY, start + 364 * DAY];
    }
    found
}

/// A line with a weakness for the hours in which clocks are set.
pub(super) fn random_line(random: &mut Random) -> String {
    let minute = random_field(random, 0, 59, &["*", "0", "30", "*/15", "*/7", "0,30", "0-29/10"]);
    let hour = random_field(random, 0, 23, &["*", "*", "0", "1", "2", "3", "1-3", "23", "0,23", "*/2", "22-23,0-2"]);
    let day = random_field(random, 1, 31, &["*", "*", "*", "*", "*/2", "1-31"]);
    let month = random_field(random, 1, 12, &["*", "*", "*", "*", "1-12", "3,4,9,10,11"]);
    let weekday = random_field(random, 0, 7, &["*", "*", "*", "*", "0", "7", "5-7", "*/2", "6,0"]);
    format!("{minute} {hour} {day} {month} {weekday}")
}

fn random_field(random: &mut Random, low: u64, high: u64, usual: &[&str]) -> String {
    if !random.one_in(3) {
        return (*random.pick(usual)).to_owned();
    }
    let mut items = Vec::new();
    for _ in 0..random.within(1, 3) {
        let first = random.within(low, high);
        let last = random.within(first, high);
        let step = random.within(1, 9);
        items.push(match random.within(0, 5) {
            0 => format!("*/{step}"),
            1 => format!("{first}-{last}/{step}"),
            2 => format!("{first}-{last}"),
            _ => first.to_string(),
        });
    }
    items.join(",")
}

#[derive(Default)]
struct Count {
    lines: u32,
    starts: usize,
    wrong: Vec<String>,
}

/// From a while before the change, all starts to the end of the window; at most so many that the walk stays cheap.
fn compare(text: &str, zone: &TimeZone, minutes: &[Minute], from: usize, count: &mut Count) {
    let schedule = match Schedule::parse(text, zone.clone()) {
        Ok(schedule) => schedule,
        Err(wrong) if wrong.expected.contains("never comes") => return,
        Err(wrong) => panic!("{text}: {wrong}"),
    };
    let expected = model(&Line::new(text), minutes);
    let from_min = minutes[from].unix_min;
    let end_min = minutes[minutes.len() - 1].unix_min;
    let expected: Vec<i64> = expected.into_iter().filter(|at| *at > from_min).take(150).collect();
    let (mut found, mut at_ms) = (Vec::new(), from_min * 60_000);
    while found.len() < 150 {
        let Some(fire) = schedule.next_after(at_ms).filter(|fire| fire.at_ms <= end_min * 60_000) else { break };
        assert!(fire.at_ms > at_ms, "{text} in {}: not after {}", schedule.zone_name(), local(at_ms, zone));
        at_ms = fire.at_ms;
        found.push(at_ms / 60_000);
    }
    count.lines += 1;
    count.starts += found.len();
    if found != expected {
        let same = found.iter().zip(&expected).take_while(|(a, b)| a == b).count();
        let show = |starts: &[i64]| starts.get(same).map_or("nothing".to_owned(), |at| local(at * 60_000, zone));
        let (a, b) = (show(&found), show(&expected));
        count.wrong.push(format!("`{text}` in {}: {a}, but cron has {b}", schedule.zone_name()));
    }
}

fn compare_zone(name: &str, years: std::ops::RangeInclusive<i16>, seed: u64) -> Count {
    let zone = super::zone(Some(name)).unwrap();
    let (mut random, mut count) = (Random(seed), Count::default());
    for middle in years.flat_map(|year| middles(&zone, year)) {
        let minutes: Vec<Minute> = (middle - BEFORE..middle + AFTER).map(|at| minute(at, &zone)).collect();
        let before_change = usize::try_from(BEFORE - 3 * HOUR).unwrap();
        for number in 0..LINES_PER_WINDOW {
            let text = random_line(&mut random);
            // Wherever one begins, also in the middle of a repeated hour, the same times come.
            let from = match number % 3 {
                0 => 0,
                1 => before_change + usize::try_from(random.within(0, 6 * 60)).unwrap(),
                _ => before_change,
            };
            compare(&text, &zone, &minutes, from, &mut count);
        }
    }
    count
}

fn report(counts: Vec<Count>) -> Count {
    let mut sum = Count::default();
    for count in counts {
        sum.lines += count.lines;
        sum.starts += count.starts;
        sum.wrong.extend(count.wrong);
    }
    println!("{} lines compared, {} starts, {} lines differ", sum.lines, sum.starts, sum.wrong.len());
    sum
}

#[test]
fn around_every_change_of_the_clock_the_walk_starts_what_cron_starts() {
    let threads: Vec<_> =
        (0..).zip(ZONES).map(|(seed, name)| thread::spawn(move || compare_zone(name, YEARS, seed))).collect();
    let sum = report(threads.into_iter().map(|thread| thread.join().unwrap()).collect());
    assert!(sum.wrong.is_empty(), "{} of {} lines:\n{}", sum.wrong.len(), sum.lines, sum.wrong.join("\n"));
    assert!(sum.lines > 5000 && sum.starts > 100_000, "{} lines, {} starts: too few to say", sum.lines, sum.starts);
}

/// Clocks were set in odder ways than they are now.
#[test]
fn so_it_does_where_days_were_left_out_and_quarters_of_hours_were_moved() {
    let odd = [
        ("Pacific/Apia", 2011),
        ("Asia/Pyongyang", 2015),
        ("Asia/Pyongyang", 2018),
        ("America/Caracas", 2007),
        ("America/Caracas", 2016),
        ("Antarctica/Casey", 2010),
        ("Antarctica/Casey", 2020),
        ("Asia/Kathmandu", 1986),
        ("Pacific/Kwajalein", 1993),
        ("Europe/Istanbul", 2016),
        ("Africa/Juba", 2021),
        ("America/Sao_Paulo", 2018),
    ];
    let counts = odd.map(|(name, year)| compare_zone(name, year..=year, 7));
    let sum = report(counts.into());
    assert!(sum.wrong.is_empty(), "{} of {} lines:\n{}", sum.wrong.len(), sum.lines, sum.wrong.join("\n"));
}
