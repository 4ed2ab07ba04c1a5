//! The five fields of a crontab line, read as crontab(5) has them, into sets of bits. Every refusal names the field, what
//! it says, and what to write instead.

use super::{EXPRESSION, Wrong};
use crate::text;

/// Debian's cron reads no longer field than this (MAX_TEMPSTR); a longer expression is a mistake or an attack.
const LONGEST: usize = 1000;
const FIVE: &str = "five fields (minute, hour, day of month, month, day of week)";

/// What the fields allow. Bit n of a set stands for the number n; Sunday is 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Fields {
    pub minutes: u64,
    pub hours: u64,
    pub days: u64,
    pub months: u64,
    pub weekdays: u64,
    /// Day of month and day of week must both match. Without it one of the two is enough.
    pub both_days: bool,
    /// `*` stands first in minute or hour: cron(8) then follows the clock, also when it is set.
    pub wildcard: bool,
}

struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    /// The first one stands for `low`.
    names: &'static [&'static str],
    expected: &'static str,
}

const MINUTE: Field = Field { name: "minute", low: 0, high: 59, names: &[], expected: "0 to 59" };
const HOUR: Field = Field { name: "hour", low: 0, high: 23, names: &[], expected: "0 to 23" };
const DAY: Field = Field { name: "day of month", low: 1, high: 31, names: &[], expected: "1 to 31" };
const MONTH: Field = Field {
    name: "month",
    low: 1,
    high: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    expected: "1 to 12, or jan to dec",
};
const WEEKDAY: Field = Field {
    name: "day of week",
    low: 0,
    high: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    expected: "0 to 7 (0 and 7 are Sunday), or sun to sat",
};

const REBOOT: &str = "@reboot";
/// As crontab(5) explains them.
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// None for `@reboot`.
pub fn read(expression: &str) -> Result<Option<Fields>, Wrong> {
    refuse_foreign_text(expression)?;
    if !expression.starts_with('@') {
        return five(expression).map(Some);
    }
    let nickname = expression.to_ascii_lowercase();
    if nickname == REBOOT {
        return Ok(None);
    }
    match NICKNAMES.iter().find(|(name, _)| *name == nickname) {
        Some((_, fields)) => five(fields).map(Some),
        None => Err(unknown_nickname(expression, &nickname)),
    }
}

fn refuse_foreign_text(expression: &str) -> Result<(), Wrong> {
    if expression.len() > LONGEST {
        let expected = format!("at most {LONGEST} bytes; these are {}", expression.len());
        return Err(Wrong::new(EXPRESSION, &text::safe_cut(expression, 60), expected));
    }
    let foreign = expression.chars().find(|c| !(c.is_ascii_graphic() || matches!(c, ' ' | '\t')));
    foreign.map_or(Ok(()), |character| {
        let shown = text::safe(&character.to_string());
        let expected = format!("ASCII on one line: digits, names, `*` `,` `-` `/`, blanks and tabs, but not `{shown}`");
        Err(Wrong::new(EXPRESSION, expression, expected))
    })
}

fn unknown_nickname(found: &str, lower: &str) -> Wrong {
    let names: Vec<&str> = [REBOOT].into_iter().chain(NICKNAMES.iter().map(|(name, _)| *name)).collect();
    let expected = match (lower.split_once([' ', '\t']), text::nearest(lower, &names)) {
        (Some((first, _)), _) if names.contains(&first) => format!("`{first}` alone: nothing follows a nickname"),
        (_, Some(near)) => format!("one of {}; did you mean `{near}`?", names.join(" ")),
        (_, None) => format!("{FIVE}, or one of {}", names.join(" ")),
    };
    Wrong::new(EXPRESSION, found, expected)
}

fn five(expression: &str) -> Result<Fields, Wrong> {
    let words: Vec<&str> = expression.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
    let [minute, hour, day, month, weekday] = words.as_slice() else {
        return Err(wrong_count(expression, words.len()));
    };
    let sundays = set(&WEEKDAY, weekday)?;
    let fields = Fields {
        minutes: set(&MINUTE, minute)?,
        hours: set(&HOUR, hour)?,
        days: set(&DAY, day)?,
        months: set(&MONTH, month)?,
        weekdays: (sundays | sundays >> 7) & 0x7f,
        // crontab(5) says "restricted (don't start with *)", and means the first character: `*/2` is not restricted.
        both_days: day.starts_with('*') || weekday.starts_with('*'),
        wildcard: minute.starts_with('*') || hour.starts_with('*'),
    };
    refuse_never(&fields, day, month)?;
    Ok(fields)
}

fn wrong_count(expression: &str, count: usize) -> Wrong {
    let expected = match count {
        0 => format!("{FIVE}; it is empty"),
        6 | 7 => format!("{FIVE}; it has {count}: a crontab has no field for seconds, and none for years"),
        _ => format!("{FIVE}; it has {count}"),
    };
    Wrong::new(EXPRESSION, expression, expected)
}

/// 30 February and the like. crontab accepts them and is silent for ever.
fn refuse_never(fields: &Fields, day: &str, month: &str) -> Result<(), Wrong> {
    const LENGTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let lengths = (1..).zip(LENGTHS).filter(|(number, _)| fields.months >> number & 1 == 1).map(|(_, length)| length);
    let longest = lengths.max().unwrap_or(0);
    let comes = fields.days & ((1 << (longest + 1)) - 1) != 0;
    if comes || !fields.both_days {
        return Ok(());
    }
    let month = text::safe_cut(month, 40);
    let expected = format!("{longest} or less: no month of `{month}` has more days, so this never comes");
    Err(Wrong::new(DAY.name, day, expected))
}

fn set(field: &Field, list: &str) -> Result<u64, Wrong> {
    list.split(',').try_fold(0, |set, item| match item {
        "" => Err(Wrong::new(field.name, list, "a value on both sides of each comma; one is missing")),
        item => Ok(set | one(field, item)?),
    })
}

/// One item of a list: `*`, a value, or a range; a step on `*` or on a range.
fn one(field: &Field, item: &str) -> Result<u64, Wrong> {
    let (range, by) = match item.split_once('/') {
        Some((range, by)) => (range, Some(step(field, item, by)?)),
        None => (item, None),
    };
    let (first, last) = match range.split_once('-') {
        _ if range == "*" => (field.low, field.high),
        Some((first, last)) => (value(field, item, first)?, value(field, item, last)?),
        None => {
            let alone = value(field, item, range)?;
            if let Some(by) = by {
                let expected = format!("a step on `*` or on a range; write {alone}-{}/{by}", field.high);
                return Err(Wrong::new(field.name, item, expected));
            }
            (alone, alone)
        }
    };
    if first > last {
        return Err(backwards(field, item, first, last, by));
    }
    Ok(steps(first, last, by).fold(0, |set, number| set | 1 << number))
}

fn steps(first: u32, last: u32, by: Option<u32>) -> impl Iterator<Item = u32> {
    let by = usize::try_from(by.unwrap_or(1)).unwrap_or(usize::MAX);
    (first..=last).step_by(by.max(1))
}

fn step(field: &Field, item: &str, by: &str) -> Result<u32, Wrong> {
    match number(by) {
        Some(by) if by > 0 => Ok(by),
        _ => {
            let expected = format!("a step of 1 or more after `/`, such as */{}", if field.high > 12 { 5 } else { 2 });
            Err(Wrong::new(field.name, item, expected))
        }
    }
}

/// Digits and nothing else: no sign, no point. Numbers beyond all fields are `u32::MAX`.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}

fn value(field: &Field, item: &str, text: &str) -> Result<u32, Wrong> {
    if let Some(number) = number(text) {
        let fits = (field.low..=field.high).contains(&number);
        return if fits { Ok(number) } else { Err(Wrong::new(field.name, text, field.expected)) };
    }
    let name = (field.low..).zip(field.names).find(|(_, name)| text.eq_ignore_ascii_case(name));
    match name {
        Some((number, _)) => Ok(number),
        None => Err(Wrong::new(field.name, item, format!("{}{}", field.expected, hint(field, text)))),
    }
}

/// What else the writer may have had in mind: full names, and the letters of Quartz and Jenkins.
fn hint(field: &Field, text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    if let Some(name) = field.names.iter().find(|name| lower.starts_with(**name)) {
        return format!("; write the first three letters, `{name}`");
    }
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let foreign = match lower.as_str() {
        "" => return "; a number is missing".to_owned(),
        "?" => "`?` is not crontab; write `*`",
        _ if lower.starts_with('*') => "`*` stands alone or before a step, as in */5",
        "lw" => "`LW` is not crontab; there is no word for the last working day",
        _ if lower.contains('#') => "`#` is not crontab; there is no word for the nth weekday of a month",
        _ if lower.strip_suffix('l').is_some_and(digits) => "`L` is not crontab; there is no word for the last day",
        _ if lower.strip_suffix('w').is_some_and(digits) => {
            "`W` is not crontab; there is no word for the nearest working day"
        }
        _ if lower == "h" || lower.starts_with("h(") => "`H` is not crontab; choose a number yourself",
        _ => return String::new(),
    };
    format!("; {foreign}")
}

/// `22-2` ends before it begins. crontab refuses it; what was meant is two ranges.
fn backwards(field: &Field, item: &str, first: u32, last: u32, by: Option<u32>) -> Wrong {
    let count = if field.names.len() == 7 { 7 } else { field.high + 1 - field.low };
    let instead = match by {
        Some(by) => {
            let around = steps(first, last + count, Some(by)).map(|number| (number - field.low) % count + field.low);
            around.map(|number| number.to_string()).collect::<Vec<_>>().join(",")
        }
        // 7 is Sunday, so that a range to Sunday, or over it, has a way to be written upward.
        None if field.names.len() == 7 && last == 0 => range(first, 7),
        None if field.names.len() == 7 => format!("{},{}", range(first, 7), range(1, last)),
        None => format!("{},{}", range(first, field.high), range(field.low, last)),
    };
    let expected = format!("a range from low to high; to go round the end write {instead}");
    Wrong::new(field.name, item, expected)
}

fn range(first: u32, last: u32) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}
