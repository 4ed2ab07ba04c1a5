//! Tables that fit the terminal; plain where nobody looks.

use comfy_table::{ContentArrangement, Table, presets};

use crate::text;

pub fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(headings);
    table
}

/// Cells hold what a site's code chose: escaped.
pub fn row(table: &mut Table, cells: &[String]) {
    table.add_row(cells.iter().map(|cell| text::safe(cell)));
}

pub fn show(table: &Table) -> String {
    let mut out = String::new();
    for line in table.to_string().lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
