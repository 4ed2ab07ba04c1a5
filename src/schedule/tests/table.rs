//! Worked out by hand from crontab(5). The base is a Wednesday.

use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use super::super::{Schedule, zone};
use super::against_a_model::random_line;
use super::{local, ms, schedule};
use crate::fuzz;

const BASE: &str = "2026-03-04T10:07:30Z";

#[test]
fn next_times_are_those_of_crontab() {
    let table = [
        ("* * * * *", "2026-03-04T10:08"),
        ("*/5 * * * *", "2026-03-04T10:10"),
        ("*/7 * * * *", "2026-03-04T10:14"),
        ("0-59/7 * * * *", "2026-03-04T10:14"),
        ("*/2,9 * * * *", "2026-03-04T10:08"),
        ("*/100 * * * *", "2026-03-04T11:00"),
        ("0 * * * *", "2026-03-04T11:00"),
        ("7 * * * *", "2026-03-04T11:07"),
        ("8 10 * * *", "2026-03-04T10:08"),
        ("7 10 * * *", "2026-03-05T10:07"),
        ("* 11 * * *", "2026-03-04T11:00"),
        ("30 2 * * *", "2026-03-05T02:30"),
        ("0 0 * * *", "2026-03-05T00:00"),
        ("05 08 * * *", "2026-03-05T08:05"),
        ("0-10 10 * * *", "2026-03-04T10:08"),
        ("0-10/5 10 * * *", "2026-03-04T10:10"),
        ("5,10,15 10 * * *", "2026-03-04T10:10"),
        ("10,5,10 10 4 3 *", "2026-03-04T10:10"),
        ("0 22-23 * * *", "2026-03-04T22:00"),
        ("0 22-23,0-2 * * *", "2026-03-04T22:00"),
        ("  15\t11  * *\t* ", "2026-03-04T11:15"),
        // Sunday is 0 and 7, Monday is 1.
        ("0 0 * * 0", "2026-03-08T00:00"),
        ("0 0 * * 7", "2026-03-08T00:00"),
        ("0 0 * * sun", "2026-03-08T00:00"),
        ("0 0 * * 1", "2026-03-09T00:00"),
        ("0 0 * * 6", "2026-03-07T00:00"),
        ("0 0 * * 5-7", "2026-03-06T00:00"),
        ("0 0 * * 0-7", "2026-03-05T00:00"),
        ("0 9 * * MON-FRI", "2026-03-05T09:00"),
        ("0 9 * * 6,0", "2026-03-07T09:00"),
        ("0 12 * * 1-5/2", "2026-03-04T12:00"),
        ("0 12 * * 1-7/3", "2026-03-05T12:00"),
        ("0 12 * * */2", "2026-03-05T12:00"),
        ("0 12 * * */7", "2026-03-08T12:00"),
        // Both days given: one of them is enough.
        ("30 4 1,15 * 5", "2026-03-06T04:30"),
        ("0 0 13 * 5", "2026-03-06T00:00"),
        ("0 0 1-7 * mon", "2026-03-05T00:00"),
        ("0 0 30 2 1", "2027-02-01T00:00"),
        ("0 0 31 2,4,6,9,11 fri", "2026-04-03T00:00"),
        // One of them begins with `*`: both must match.
        ("0 12 */2 * 1", "2026-03-09T12:00"),
        ("0 0 */2 * 5", "2026-03-13T00:00"),
        ("0 0 14 * */5", "2026-06-14T00:00"),
        ("0 0 *,13 * 5", "2026-03-06T00:00"),
        ("0 0 29 2 */7", "2032-02-29T00:00"),
        // Months.
        ("0 0 1 * *", "2026-04-01T00:00"),
        ("0 0 31 * *", "2026-03-31T00:00"),
        ("0 0 30,31 2,4 *", "2026-04-30T00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("0 0 1 1 *", "2027-01-01T00:00"),
        ("0 0 1 jan *", "2027-01-01T00:00"),
        ("0 0 1 JAN,Jul *", "2026-07-01T00:00"),
        ("0 0 1 mar-may *", "2026-04-01T00:00"),
        ("0 0 1 */3 *", "2026-04-01T00:00"),
        ("0 0 1 2-12/5 *", "2026-07-01T00:00"),
        ("59 23 31 12 *", "2026-12-31T23:59"),
        // Nicknames.
        ("@yearly", "2027-01-01T00:00"),
        ("@annually", "2027-01-01T00:00"),
        ("@monthly", "2026-04-01T00:00"),
        ("@weekly", "2026-03-08T00:00"),
        ("@daily", "2026-03-05T00:00"),
        ("@midnight", "2026-03-05T00:00"),
        ("@hourly", "2026-03-04T11:00"),
        ("@DaiLy", "2026-03-05T00:00"),
    ];
    for (expression, expected) in table {
        let fire = schedule(expression, "UTC").next_after(ms(BASE)).unwrap();
        assert_eq!(local(fire.at_ms, &TimeZone::UTC), format!("{expected}:00+00:00"), "{expression}");
        assert_eq!(fire.why, None, "{expression}");
    }
}

#[test]
fn what_crontab_does_not_know_is_refused_with_field_value_and_fix() {
    let table = [
        ("61 * * * *", "the field minute is \"61\"; expected 0 to 59"),
        ("60 * * * *", "the field minute is \"60\"; expected 0 to 59"),
        ("0,75 * * * *", "the field minute is \"75\"; expected 0 to 59"),
        ("99999999999999999999 * * * *", "expected 0 to 59"),
        ("0 24 * * *", "the field hour is \"24\"; expected 0 to 23"),
        ("0 0 0 * *", "the field day of month is \"0\"; expected 1 to 31"),
        ("0 0 32 * *", "the field day of month is \"32\"; expected 1 to 31"),
        ("0 0 1 13 *", "the field month is \"13\"; expected 1 to 12, or jan to dec"),
        ("0 0 1 0 *", "the field month is \"0\""),
        ("0 0 * * 8", "the field day of week is \"8\"; expected 0 to 7 (0 and 7 are Sunday), or sun to sat"),
        ("*/0 * * * *", "the field minute is \"*/0\"; expected a step of 1 or more after `/`, such as */5"),
        ("*/ * * * *", "expected a step of 1 or more"),
        ("*/-5 * * * *", "expected a step of 1 or more"),
        ("*/2/3 * * * *", "expected a step of 1 or more"),
        (
            "5-1 * * * *",
            "the field minute is \"5-1\"; expected a range from low to high; to go round the end write 5-59,0-1",
        ),
        ("0 22-2 * * *", "write 22-23,0-2"),
        ("0 22-2/2 * * *", "write 22,0,2"),
        ("0 0 28-3 * *", "write 28-31,1-3"),
        ("0 0 31-1 * *", "write 31,1"),
        ("0 0 1 nov-feb *", "write 11-12,1-2"),
        (
            "0 0 * * fri-mon",
            "the field day of week is \"fri-mon\"; expected a range from low to high; to go round the end write 5-7,1",
        ),
        ("0 0 * * sat-sun", "write 6-7"),
        ("0 0 * * 6-2/2", "write 6,1"),
        ("5/15 * * * *", "the field minute is \"5/15\"; expected a step on `*` or on a range; write 5-59/15"),
        ("* * *", "the expression is \"* * *\"; expected five fields"),
        ("* * *", "; it has 3"),
        ("", "it is empty"),
        ("5", "; it has 1"),
        ("0 0 0 * * *", "; it has 6: a crontab has no field for seconds, and none for years"),
        ("0 0 0 * * * 2026", "; it has 7: a crontab has no field for seconds"),
        ("@never", "@midnight"),
        ("@dayly", "did you mean `@daily`?"),
        ("@daily 5", "`@daily` alone"),
        ("@every 5m", "five fields"),
        ("@", "@reboot @yearly @annually @monthly @weekly @daily @midnight @hourly"),
        ("0 0 * * monday", "the field day of week is \"monday\"; expected 0 to 7"),
        ("0 0 * * monday", "write the first three letters, `mon`"),
        ("0 0 * * tues", "`tue`"),
        ("0 0 1 January *", "`jan`"),
        ("0 0 1 mon *", "expected 1 to 12, or jan to dec"),
        ("jan * * * *", "the field minute is \"jan\"; expected 0 to 59"),
        ("1,,2 * * * *", "the field minute is \"1,,2\"; expected a value on both sides of each comma"),
        (", * * * *", "a value on both sides"),
        ("1, * * * *", "a value on both sides"),
        ("? * * * *", "`?` is not crontab; write `*`"),
        ("0 0 ? * 1", "the field day of month is \"?\"; expected 1 to 31; `?` is not crontab; write `*`"),
        ("0 0 L * *", "`L` is not crontab"),
        ("0 0 * * 5L", "`L` is not crontab"),
        ("0 0 15W * *", "`W` is not crontab"),
        ("0 0 LW * *", "`LW` is not crontab"),
        ("0 0 * * 1#2", "`#` is not crontab"),
        ("H * * * *", "`H` is not crontab; choose a number yourself"),
        ("H/15 * * * *", "`H` is not crontab"),
        ("*5 * * * *", "`*` stands alone or before a step"),
        ("-5 * * * *", "a number is missing"),
        ("5- * * * *", "a number is missing"),
        ("1-2-3 * * * *", "the field minute is \"1-2-3\""),
        ("+5 * * * *", "the field minute is \"+5\""),
        ("1.5 * * * *", "the field minute is \"1.5\""),
        ("0~9 * * * *", "the field minute is \"0~9\""),
        ("\u{661} * * * *", "expected ASCII"),
        ("* * * * *\n* * * * *", "but not `\\n`"),
        ("* * * * \u{0}", "but not `\\x00`"),
        ("*\u{a0}* * * *", "expected ASCII"),
    ];
    for (expression, part) in table {
        let wrong = Schedule::parse(expression, TimeZone::UTC).expect_err(expression).to_string();
        assert!(wrong.contains(part), "{expression}: {wrong}");
    }
}

#[test]
fn what_never_comes_is_refused() {
    for expression in ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "* * 31 feb *", "0 0 30-31 2 */2", "0 0 31 4 *,1"] {
        let wrong = Schedule::parse(expression, TimeZone::UTC).expect_err(expression);
        assert_eq!(wrong.field, "day of month", "{expression}");
        assert!(wrong.to_string().contains("this never comes"), "{wrong}");
    }
}

#[test]
fn reboot_comes_at_no_time() {
    let reboot = schedule("@REBOOT", "UTC");
    assert!(reboot.is_reboot() && reboot.next_after(ms(BASE)).is_none());
    assert!(!schedule("@daily", "UTC").is_reboot());
}

#[test]
fn after_means_strictly_after() {
    let noon = schedule("0 12 * * *", "UTC");
    let at = ms("2026-03-04T12:00:00Z");
    for (after, expected) in [(at - 1, at), (at, at + 86_400_000), (at + 1, at + 86_400_000), (at - 1000, at)] {
        assert_eq!(noon.next_after(after).unwrap().at_ms, expected);
    }
}

#[test]
fn the_ends_of_time_are_no_place_to_panic() {
    for expression in ["* * * * *", "0 0 29 2 *", "@yearly"] {
        for name in ["UTC", "America/New_York", "Pacific/Apia"] {
            let schedule = schedule(expression, name);
            for after in [i64::MIN, i64::MIN / 1000, -1, 0, ms("2100-12-31T23:59:00Z"), i64::MAX / 1000, i64::MAX] {
                let fire = schedule.next_after(after);
                assert!(fire.is_none_or(|fire| fire.at_ms > after), "{expression} {name} {after}");
            }
            assert!(schedule.next_after(ms("2101-01-02T00:00:00Z")).is_none());
        }
    }
}

#[test]
fn a_wrong_zone_gets_the_nearest_three() {
    for (name, near) in [
        ("Berlin", "Europe/Berlin"),
        ("America/NewYork", "America/New_York"),
        ("Europe/Kiew", "Europe/Kiev"),
        ("Asia/Katmandoo", "Asia/Katmandu"),
        ("Mars/X", "an IANA name such as Europe/Berlin; the nearest are "),
        ("", "the nearest are "),
        ("../../etc/passwd", "the nearest are "),
    ] {
        let wrong = zone(Some(name)).expect_err(name);
        assert!(wrong.expected.contains(near) && wrong.expected.matches(", ").count() == 2, "{name}: {wrong}");
    }
    assert!(zone(Some("\u{1b}[31m")).expect_err("a colour").to_string().starts_with("the time zone is \"\\x1B[31m\""));
    assert!(zone(Some(&"x".repeat(1_000_000))).expect_err("long").to_string().len() < 400);
    assert_eq!(schedule("@daily", "europe/berlin").zone_name(), "Europe/Berlin");
    assert!(zone(None).is_ok());
}

#[test]
fn hostile_text_is_refused_quickly_and_without_a_panic() {
    const ALPHABET: &[u8] = b"0123456789**//--,,  \t@?LW#Hjanfebsumodily~.+:\n\xc3";
    let (mut read, mut slowest) = (0, Duration::ZERO);
    fuzz::each(100_000, |random| {
        let length = if random.one_in(100) { 1200 } else { random.within(0, 24) };
        let bytes: Vec<u8> = (0..length).map(|_| *random.pick(ALPHABET)).collect();
        let text = String::from_utf8_lossy(&bytes);
        // Every third one has the right number of fields.
        let text =
            if random.one_in(3) { format!("{} * * * *", text.replace([' ', '\t'], "")) } else { text.into_owned() };
        let start = Instant::now();
        if let Ok(schedule) = Schedule::parse(&text, TimeZone::UTC) {
            read += 1;
            let _ = schedule.next_after(ms(BASE));
        }
        slowest = slowest.max(start.elapsed());
    });
    assert!(read > 100, "only {read} of the strings were expressions");
    assert!(slowest < Duration::from_secs(1), "the slowest took {slowest:?}");
    for long in ["1,".repeat(1_000_000), "* ".repeat(1_000_000), format!("{} * * * *", "9".repeat(900))] {
        assert!(Schedule::parse(&long, TimeZone::UTC).expect_err("long").to_string().len() < 400);
    }
}

#[test]
fn from_any_moment_what_can_be_read_comes_later_and_soon() {
    const ZONES: [&str; 6] =
        ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", "Australia/Lord_Howe", "Africa/Casablanca"];
    let zones = ZONES.map(|name| zone(Some(name)).unwrap());
    let (mut asked, mut slowest) = (0, Duration::ZERO);
    fuzz::each(3000, |random| {
        let mut bytes = random_line(random).into_bytes();
        if random.one_in(2) {
            random.damage(&mut bytes);
        }
        let text = String::from_utf8_lossy(&bytes);
        let start = Instant::now();
        if let Ok(schedule) = Schedule::parse(&text, random.pick(&zones).clone()) {
            let years = i64::try_from(random.within(0, 135)).unwrap() - 5;
            let mut at_ms = years * 31_556_952_000 + i64::try_from(random.within(0, 31_556_952_000)).unwrap();
            for _ in 0..4 {
                let Some(fire) = schedule.next_after(at_ms) else { break };
                asked += 1;
                assert!(fire.at_ms > at_ms, "{text} after {at_ms}: {fire:?}");
                at_ms = fire.at_ms;
            }
        }
        slowest = slowest.max(start.elapsed());
    });
    assert!(asked > 1000, "only {asked} times came");
    assert!(slowest < Duration::from_secs(1), "the slowest took {slowest:?}");
}
