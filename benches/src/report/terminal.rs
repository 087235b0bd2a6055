//! The tables in the terminal.

use comfy_table::{
    CellAlignment, ContentArrangement, Table as Grid, presets::UTF8_HORIZONTAL_ONLY,
};

use super::cells;
use super::metrics;
use super::plot_label;
use super::results::Results;
use super::tables::{self, Table};
use super::targets;

/// The contenders beside each other, who is missing, and the targets.
pub fn tables(results: &Results) -> String {
    let mut text = contenders(results);
    for missing in &results.missing {
        text += &format!("{}\n", cells::missing(missing));
    }
    let chapters = [
        ("", tables::throughput(results)),
        ("What policy costs\n", tables::policy(results)),
        ("", tables::engines(results)),
    ];
    for (title, chapter) in chapters {
        let chapter = chapter.map(|chapter| numbers(&chapter));
        text += &chapter.map_or(String::new(), |chapter| format!("\n{title}{chapter}"));
    }
    text + "\n" + &targets(results)
}

fn contenders(results: &Results) -> String {
    let metrics = metrics::main_numbers(results);
    if metrics.is_empty() {
        return "No contender was measured with I/O.\n".to_owned();
    }
    let mut table = empty();
    let names = results.contenders.iter().map(plot_label);
    table.set_header([String::new()].into_iter().chain(names));
    for metric in &metrics {
        let cells = metric
            .values
            .iter()
            .map(|value| parts(cells::value(metric, value)));
        table.add_row([metric.title.clone()].into_iter().chain(cells));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{}{}\n", trimmed(&table), cells::LEGEND)
}

/// One below the other.
fn parts(cell: [String; 3]) -> String {
    let parts: Vec<String> = cell.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}

/// The numbers of a chapter, and what there is to say about them.
fn numbers(chapter: &Table) -> String {
    let mut table = empty();
    table.set_header(&chapter.titles);
    for row in &chapter.rows {
        // The range of a number goes below it.
        table.add_row(row.iter().map(|cell| cell.replacen(" (", "\n(", 1)));
    }
    let notes = chapter.notes.iter().map(|note| format!("{note}\n"));
    trimmed(&table) + &notes.collect::<String>()
}

fn targets(results: &Results) -> String {
    let mut table = empty();
    table.set_header(cells::TARGETS);
    for target in targets::targets(results) {
        // The range of a number goes below it: so there is room for words.
        let cells = cells::target(&target).map(|cell| cell.replacen(" (", "\n(", 1));
        table.add_row(cells);
    }
    trimmed(&table)
}

/// Columns of the tables, also where the output is a file: what half of a wide screen shows.
const WIDTH: u16 = 128;

fn empty() -> Grid {
    let mut table = Grid::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(WIDTH);
    table
}

/// The lines without the blanks at their ends.
fn trimmed(table: &Grid) -> String {
    table
        .lines()
        .fold(String::new(), |text, line| text + line.trim_end() + "\n")
}
