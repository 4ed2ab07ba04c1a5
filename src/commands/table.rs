//! Tables that fit the terminal, a line a row; plain where nobody looks. What is too wide is cut, then goes below its row, and on
//! the narrowest of terminals each cell has a line of its own.

use std::io::IsTerminal;

use unicode_width::UnicodeWidthStr;

use crate::text;

/// What can be cut is not cut shorter, as long as there is another way.
const FEWEST: usize = 12;
/// And what could go below its row not that short.
const FEWEST_IN_ROW: usize = 40;
/// As few as a line of its own has for a cell.
const NARROWEST: usize = 8;
/// Of what is on lines of its own.
const MOST_LINES: usize = 4;

#[derive(Debug, Default)]
pub struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// May be cut.
    long: Vec<usize>,
    /// From here on cells may go below their row.
    below: Option<usize>,
    /// States and outcomes, which are coloured; what they say is in the word.
    words: Vec<usize>,
}

pub fn table(headings: &[&'static str]) -> Table {
    Table { heads: headings.to_vec(), ..Table::default() }
}

/// Cells hold what a site's code chose: escaped.
pub fn row(table: &mut Table, cells: &[String]) {
    table.rows.push(cells.iter().map(|cell| text::safe(cell)).collect());
}

/// For the terminal that there is, if any.
pub fn show(table: &Table) -> String {
    table.fit(width_of_terminal())
}

fn width_of_terminal() -> Option<usize> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let said = rustix::termios::tcgetwinsize(&out).ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
    said.or_else(|| std::env::var("COLUMNS").ok()?.parse().ok())
}

impl Table {
    pub fn long(mut self, columns: &[usize]) -> Self {
        self.long = columns.to_vec();
        self
    }

    pub fn below(mut self, from: usize) -> Self {
        self.below = Some(from);
        self
    }

    pub fn words(mut self, columns: &[usize]) -> Self {
        self.words = columns.to_vec();
        self
    }

    fn fit(&self, width: Option<usize>) -> String {
        let natural = self.widths();
        let all = self.heads.len();
        let Some(width) = width else { return self.lines(&natural, all, 0) };
        let below = self.below.unwrap_or(all);
        for upper in [all, below] {
            let widths = natural.iter().take(upper).copied().collect::<Vec<_>>();
            if let Some(widths) = self.cut(widths, width) {
                return self.lines(&widths, upper, width);
            }
        }
        self.blocks(width)
    }

    fn widths(&self) -> Vec<usize> {
        let of_column = |(at, head): (usize, &&str)| {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width());
            cells.chain([head.width()]).max().unwrap_or(0)
        };
        self.heads.iter().enumerate().map(of_column).collect()
    }

    /// The widest of what may be cut is cut first. None where all that is not enough.
    fn cut(&self, mut widths: Vec<usize>, width: usize) -> Option<Vec<usize>> {
        // A space on either side, of which the last is not printed.
        while widths.iter().map(|width| width + 2).sum::<usize>() > width + 1 {
            let fewest = |at: usize| if self.below.is_some_and(|below| at >= below) { FEWEST_IN_ROW } else { FEWEST };
            let may_be_cut = |(at, width): &(usize, &mut usize)| self.long.contains(at) && **width > fewest(*at);
            let (_, widest) = widths.iter_mut().enumerate().filter(may_be_cut).max_by_key(|(_, width)| **width)?;
            *widest -= 1;
        }
        Some(widths)
    }

    /// Rows with as many columns as there are widths; the others go below, as wide as `width`.
    fn lines(&self, widths: &[usize], upper: usize, width: usize) -> String {
        let mut out = String::new();
        let heads: Vec<String> = self.heads.iter().map(ToString::to_string).collect();
        for (number, row) in std::iter::once(&heads).chain(&self.rows).enumerate() {
            let mut line = String::new();
            for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
                let shown = cut_to(cell, *width);
                let pad = " ".repeat(width.saturating_sub(shown.width()) + 1);
                line += &format!(" {}{pad}", if number > 0 { self.coloured(at, shown) } else { shown });
            }
            out += line.trim_end();
            out.push('\n');
            let rest: Vec<&str> =
                row.iter().skip(upper).map(String::as_str).filter(|cell| !matches!(*cell, "" | "-")).collect();
            let room = width.saturating_sub(3).max(NARROWEST);
            let most = if number == 0 { 1 } else { MOST_LINES };
            for part in in_parts(&cut_to(&rest.join("  "), room * most), room) {
                out += &format!("   {part}\n");
            }
        }
        out
    }

    /// Each cell on lines of its own.
    fn blocks(&self, width: usize) -> String {
        let heads = self.heads.iter().map(|head| head.width()).max().unwrap_or(0).min(width / 2);
        let room = width.saturating_sub(heads + 2).max(NARROWEST);
        let mut out = String::new();
        for row in &self.rows {
            for (at, (head, cell)) in
                self.heads.iter().zip(row).enumerate().filter(|(_, (_, cell))| !matches!(cell.as_str(), "" | "-"))
            {
                let cell = cut_to(cell, room * MOST_LINES);
                for (number, part) in in_parts(&cell, room).into_iter().enumerate() {
                    let head = if number == 0 { cut_to(head, heads) } else { String::new() };
                    let pad = " ".repeat(heads.saturating_sub(head.width()) + 1);
                    out += &format!(" {head}{pad}{}\n", self.coloured(at, part));
                }
            }
            out.push('\n');
        }
        out
    }

    /// Where it is printed to no terminal, whoever prints leaves the colour out.
    fn coloured(&self, column: usize, word: String) -> String {
        let is_one_of = |words: &[&str]| words.iter().any(|one| word.starts_with(one));
        let colour = match () {
            () if !self.words.contains(&column) => return word,
            () if word.ends_with("held")
                || is_one_of(&[
                    "held",
                    "paused",
                    "standby",
                    "degraded",
                    "maintenance",
                    "busy",
                    "waiting",
                    "skipped",
                ]) =>
            {
                33
            }
            () if is_one_of(&[
                "failed",
                "timed_out",
                "interrupted",
                "misconfigured",
                "unreachable",
                "error",
                "no runner",
            ]) =>
            {
                31
            }
            () => return word,
        };
        format!("\u{1b}[{colour}m{word}\u{1b}[0m")
    }
}

/// With dots where something is missing.
fn cut_to(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_string();
    }
    let dots = if width > 3 { "..." } else { "" };
    let mut out = first(text, width - dots.len()).to_string();
    out += dots;
    out
}

/// The longest beginning that is no wider.
fn first(text: &str, width: usize) -> &str {
    let ends = text.char_indices().map(|(at, character)| at + character.len_utf8());
    let end = ends.take_while(|end| text.get(..*end).is_some_and(|part| part.width() <= width)).last().unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

fn in_parts(text: &str, width: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let part = first(rest, width);
        // One character wider than that has its line all the same.
        let end = if part.is_empty() { rest.chars().next().map_or(rest.len(), char::len_utf8) } else { part.len() };
        let (part, more) = rest.split_at(end);
        parts.push(part.to_string());
        rest = more;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs() -> Table {
        let mut table = table(&["SITE", "HOOK", "OUTCOME", "RUN", "WHY"]).long(&[1, 4]).below(3).words(&[2]);
        let cells = [
            "shop",
            "a_hook_with_a_name_that_is_rather_long",
            "interrupted, held",
            "01HF7YAT00ABCDEFGHJKMNPQRS",
            "killed",
        ];
        row(&mut table, &cells.map(String::from));
        row(&mut table, &["shop", "b", "failed", "01HF7YAT00ABCDEFGHJKMNPQRT", &"x".repeat(300)].map(String::from));
        table
    }

    fn plain(text: &str) -> String {
        let text = text.replace("\u{1b}[33m", "").replace("\u{1b}[31m", "");
        text.replace("\u{1b}[0m", "")
    }

    #[test]
    fn nothing_is_wider_than_the_terminal() {
        for width in [8, 20, 40, 60, 80, 120, 200] {
            let text = plain(&runs().fit(Some(width)));
            let widest = text.lines().map(UnicodeWidthStr::width).max().unwrap();
            assert!(widest <= width.max(NARROWEST + 7), "{width}: {widest}\n{text}");
            assert!(width < 40 || text.contains("01HF7YAT00ABCDEFGHJKMNPQRS"), "{width}: a run's id is whole\n{text}");
        }
        assert!(plain(&runs().fit(None)).contains(&"x".repeat(200)), "nobody looks, nothing is cut");
    }

    #[test]
    fn what_does_not_fit_goes_below_its_row() {
        let expected = " SITE  HOOK                                    OUTCOME\n   RUN  WHY\n \
             shop  a_hook_with_a_name_that_is_rather_long  interrupted, held\n   01HF7YAT00ABCDEFGHJKMNPQRS  killed\n \
             shop  b                                       failed\n   01HF7YAT00ABCDEFGHJKMNPQRT  ";
        let text = plain(&runs().fit(Some(70)));
        assert!(text.starts_with(expected) && text.ends_with("...\n"), "{text}");
        let text = plain(&runs().fit(Some(200)));
        assert_eq!(text.lines().count(), 3, "{text}");
    }

    #[test]
    fn the_narrowest_terminal_has_a_line_for_each_cell() {
        let text = plain(&runs().fit(Some(20)));
        assert!(text.starts_with(" SITE    shop\n HOOK    a_hook_with\n         _a_name_tha\n"), "{text}");
    }

    #[test]
    fn a_colour_goes_with_its_word_and_not_with_a_name() {
        let mut table = table(&["HOOK", "OUTCOME"]).words(&[1]);
        row(&mut table, &["failed".into(), "failed".into()]);
        row(&mut table, &["\u{1b}[31mx".into(), "ok".into()]);
        row(&mut table, &["y".into(), "interrupted, held".into()]);
        let expected = " HOOK       OUTCOME\n failed     \u{1b}[31mfailed\u{1b}[0m\n \\x1B[31mx  ok\n y          \u{1b}[33minterrupted, held\u{1b}[0m\n";
        assert_eq!(table.fit(Some(80)), expected);
    }
}
