//! The TOML as a person writes it. Every problem is kept with its place, so that all are told at once; what the parser's
//! own `deny_unknown_fields` would say is said here, since it stops at the first.

use std::cell::RefCell;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Level, Problem, conceal, excerpt};
use super::units;
use crate::text;

/// What was found wrong so far.
#[derive(Debug, Default)]
pub struct Problems {
    found: RefCell<Vec<Problem>>,
}

impl Problems {
    pub fn add(&self, level: Level, span: Range<usize>, message: impl Into<String>, expected: impl Into<String>) {
        let message = conceal(&message.into());
        self.found.borrow_mut().push(Problem { level, span, message, expected: expected.into() });
    }

    pub fn into_sorted(self) -> Vec<Problem> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|problem| problem.span.start);
        found
    }
}

/// One table of the file. It notes which keys it was asked for; the others are unknown.
pub struct Table<'a> {
    name: &'static str,
    is_one_of_many: bool,
    table: Option<&'a DeTable<'a>>,
    pub span: Range<usize>,
    problems: &'a Problems,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    pub fn root(table: &'a Spanned<DeTable<'a>>, problems: &'a Problems) -> Self {
        Self::new("", false, Some(table.get_ref()), 0..0, problems)
    }

    fn new(
        name: &'static str,
        is_one_of_many: bool,
        table: Option<&'a DeTable<'a>>,
        span: Range<usize>,
        problems: &'a Problems,
    ) -> Self {
        Self { name, is_one_of_many, table, span, problems, known: RefCell::default() }
    }

    fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.borrow_mut().push(key);
        self.table?.get(key)
    }

    /// Is the key written? Does not make it a known one.
    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    pub fn is_table(&self, key: &str) -> bool {
        self.table.and_then(|table| table.get(key)).is_some_and(|value| value.get_ref().as_table().is_some())
    }

    /// A text as it is written, unchecked.
    pub fn plain_text(&self, key: &str) -> Option<String> {
        self.table?.get(key)?.get_ref().as_str().map(str::to_string)
    }

    /// Where the key's value stands; the table where it is not written.
    pub fn span_of(&self, key: &str) -> Range<usize> {
        self.table.and_then(|table| table.get(key)).map_or(self.span.clone(), Spanned::span)
    }

    /// Read by `convert`, which says None where the value is not of its kind.
    fn read<T>(
        &self,
        key: &'static str,
        expected: &str,
        convert: impl Fn(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<Spanned<T>> {
        let value = self.get(key)?;
        let read = convert(value.get_ref());
        if read.is_none() {
            self.wrong(key, value.span(), &shown(value.get_ref()), expected);
        }
        read.map(|read| Spanned::new(value.span(), read))
    }

    /// A value of the right kind that cannot be used.
    pub fn wrong(&self, key: &str, span: Range<usize>, found: &str, expected: &str) {
        self.problems.add(Level::Error, span, format!("`{key}` is {found}"), expected);
    }

    pub fn refuse(&self, span: Range<usize>, message: impl Into<String>, expected: impl Into<String>) {
        self.problems.add(Level::Error, span, message, expected);
    }

    pub fn warn(&self, span: Range<usize>, message: impl Into<String>, expected: impl Into<String>) {
        self.problems.add(Level::Warning, span, message, expected);
    }

    /// A key that must be there. One that is there and wrong has been told already.
    pub fn missing(&self, key: &str, expected: &str) {
        if self.has(key) {
            return;
        }
        let place = if self.is_one_of_many { format!("[[{}]]", self.name) } else { format!("[{}]", self.name) };
        self.refuse(self.span.clone(), format!("`{key}` is missing from {place}"), expected);
    }

    pub fn text(&self, key: &'static str, expected: &str) -> Option<Spanned<String>> {
        self.read(key, expected, |value| value.as_str().map(str::to_string)).filter(|text| {
            let is_clean = !text.get_ref().is_empty() && !text.get_ref().contains(char::is_control);
            if !is_clean {
                self.wrong(key, text.span(), &format!("\"{}\"", excerpt(text.get_ref())), expected);
            }
            is_clean
        })
    }

    /// A list of words, none of them empty, and at least one.
    pub fn texts(&self, key: &'static str, expected: &str) -> Option<Spanned<Vec<String>>> {
        self.read(key, expected, |value| {
            let is_word = |word: &&str| !word.is_empty() && !word.contains(char::is_control);
            let word = |item: &Spanned<DeValue<'_>>| item.get_ref().as_str().filter(is_word).map(str::to_string);
            let words: Option<Vec<String>> = value.as_array()?.iter().map(word).collect();
            words.filter(|words| !words.is_empty())
        })
    }

    /// A table of texts, in the order of its names.
    pub fn pairs(&self, key: &'static str, expected: &str) -> Vec<(String, String)> {
        let read = self.read(key, expected, |value| {
            let pair = |(name, item): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                let text = item.get_ref().as_str().filter(|text| !text.contains('\0'))?;
                Some((AsRef::<str>::as_ref(name.get_ref()).to_string(), text.to_string()))
            };
            value.as_table()?.iter().map(pair).collect::<Option<Vec<(String, String)>>>()
        });
        read.map(Spanned::into_inner).unwrap_or_default()
    }

    pub fn whole(&self, key: &'static str, range: Range<usize>) -> Option<usize> {
        let expected = format!("a whole number, {} to {}", range.start, range.end - 1);
        let read = self.read(key, &expected, |value| {
            let integer = value.as_integer()?;
            let number = usize::from_str_radix(integer.as_str(), integer.radix()).ok()?;
            range.contains(&number).then_some(number)
        });
        read.map(Spanned::into_inner)
    }

    pub fn flag(&self, key: &'static str) -> Option<bool> {
        self.read(key, "true or false", DeValue::as_bool).map(Spanned::into_inner)
    }

    pub fn duration(&self, key: &'static str, range: Range<Duration>) -> Option<Duration> {
        let limits = format!("{} to {}", written(range.start), written(range.end));
        let expected = format!("a duration such as \"30s\", \"10m\", \"1h 30m\" or \"1d\", {limits}");
        let read = self.read(key, &expected, |value| {
            units::duration(value.as_str()?).filter(|duration| *duration >= range.start && *duration <= range.end)
        });
        read.map(Spanned::into_inner)
    }

    pub fn size(&self, key: &'static str, least: u64) -> Option<u64> {
        let expected = format!("a size such as \"200MB\", at least {} MB", least / 1_000_000);
        let read = self.read(key, &expected, |value| units::size(value.as_str()?).filter(|size| *size >= least));
        read.map(Spanned::into_inner)
    }

    /// A table that may be left out: then it has no keys.
    pub fn table(&self, key: &'static str) -> Table<'a> {
        let read = self.read(key, &format!("a table: [{key}]"), DeValue::as_table);
        let span = read.as_ref().map_or(0..0, Spanned::span);
        Table::new(key, false, read.map(Spanned::into_inner), span, self.problems)
    }

    pub fn tables(&self, key: &'static str) -> Vec<Table<'a>> {
        let expected = format!("tables, each headed by [[{key}]]");
        let Some(array) = self.read(key, &expected, DeValue::as_array) else { return Vec::new() };
        let mut tables = Vec::new();
        for item in array.get_ref().iter() {
            match item.get_ref().as_table() {
                Some(table) => tables.push(Table::new(key, true, Some(table), item.span(), self.problems)),
                None => self.wrong(key, item.span(), &shown(item.get_ref()), &expected),
            }
        }
        tables
    }

    /// Tells the keys that nobody asked for. To be called last.
    pub fn finish(&self) {
        let known = self.known.borrow();
        for key in self.table.into_iter().flat_map(|table| table.keys()) {
            let word: &str = key.get_ref();
            if known.contains(&word) {
                continue;
            }
            let expected = match text::nearest(word, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("one of {}", known.join(", ")),
            };
            let place = if self.name.is_empty() { String::new() } else { format!(" in [{}]", self.name) };
            let message = format!("unknown key `{}`{place}", excerpt(word));
            self.problems.add(Level::Error, key.span(), message, expected);
        }
    }
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(value) => format!("the text \"{}\"", excerpt(value)),
        DeValue::Integer(value) => format!("the number {}", value.as_str()),
        DeValue::Boolean(value) => value.to_string(),
        other => format!("of type {}", other.type_str()),
    }
}

fn written(duration: Duration) -> String {
    match duration.as_secs() {
        0 => "0s".to_string(),
        seconds if seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        seconds if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}
