//! The report as one Markdown file.

use std::fmt::Write as _;

use super::cells;
use super::metrics;
use super::plot_label;
use super::results::{Results, Setting};
use super::sections::Section;
use super::targets;

/// The first line, by which an older report of ours is known.
pub const MARKER: &str = "<!-- written by `shunt-bench report`: change the results, not this -->";

const ABOUT: &str = "\
shunt beside what one would take instead, measured in turns in one run by `cargo xtask bench
compare`. **Ratios count, absolute numbers do not**: frames cross veth pairs, so AF_XDP works in
copy mode and the kernel's share of each frame is larger than with a NIC; the generator and the
switch have one core each, and share two; and no NIC took part, so nothing is said here about
drivers, DMA, receive side scaling or zero copy. What was not measured is said to be so, never 0.

Numbers are the middle one of the turns, with the smallest and the largest in brackets or as
whiskers. Where the turns of two contenders overlap, they are level: the run cannot tell them apart.
*Floor* is a forwarder that does nothing but move frames between AF_XDP sockets, where they lie: in
copy mode, one that first copies them into memory which the cache has can be faster. *Limit* is what
the kernel's bare redirect reaches. Neither is a switch. In tables that compare contenders, the
ratio is their number over ours.
";

/// The text of the report.
pub fn report(results: &Results, sections: &[Section]) -> String {
    let mut text = format!("{MARKER}\n\n# What shunt costs, beside its peers\n\n{ABOUT}\n");
    text += "## Targets\n\nWhat the project wants to reach. `MISSED` is less than must be.\n\n";
    let rows = targets::targets(results);
    table(
        &mut text,
        &cells::TARGETS.map(str::to_owned),
        rows.iter().map(|one| cells::target(one).to_vec()),
    );
    text += "\n## Contenders\n\n";
    contenders(&mut text, results);
    for section in sections {
        let _ = write!(text, "\n## {}\n\n{}\n", section.title, section.text);
        if section.figures.is_empty() && section.table.is_none() {
            text += "\nNot measured in this run.\n";
        }
        for figure in &section.figures {
            let (title, file) = (inline(&figure.title), &figure.file);
            let _ = write!(
                text,
                "\n{}\n\n![{title}]({file})\n",
                inline(&figure.reading)
            );
        }
        if let Some(numbers) = &section.table {
            text.push('\n');
            table(&mut text, &numbers.titles, numbers.rows.iter().cloned());
            let notes = numbers.notes.iter().map(|note| inline(note));
            notes.for_each(|note| text += &format!("\n- {note}"));
            if !numbers.notes.is_empty() {
                text.push('\n');
            }
        }
    }
    text += "\n## Setting\n\n";
    setting(&mut text, &results.setting);
    text += AGAIN;
    text
}

const AGAIN: &str = "
The numbers of this report are in [results.json](results.json);
`cargo xtask bench report results.json --out DIR` writes it again from them.
";

fn contenders(text: &mut String, results: &Results) {
    for contender in &results.contenders {
        let (name, description) = (plot_label(contender), &contender.description);
        let _ = writeln!(text, "- **{}**: {}", inline(&name), inline(description));
    }
    for engine in &results.engines {
        let (name, description) = (inline(&engine.name), inline(&engine.description));
        let _ = writeln!(text, "- **{name}**, without I/O: {description}");
    }
    for missing in &results.missing {
        let _ = writeln!(text, "- {}", inline(&cells::missing(missing)));
    }
    let metrics = metrics::main_numbers(results);
    if metrics.is_empty() {
        *text += "No contender was measured with I/O.\n";
        return;
    }
    let titles = results.contenders.iter().map(plot_label);
    let titles: Vec<String> = [String::new()].into_iter().chain(titles).collect();
    let rows = metrics.iter().map(|metric| {
        let cells = metric.values.iter().map(|value| {
            let cell = cells::value(metric, value);
            let parts: Vec<String> = cell.into_iter().filter(|part| !part.is_empty()).collect();
            parts.join("<br>")
        });
        [metric.title.clone()].into_iter().chain(cells).collect()
    });
    *text += "\n";
    table(text, &titles, rows);
    let _ = write!(text, "\n{}\n", cells::LEGEND);
}

fn table(text: &mut String, titles: &[String], rows: impl Iterator<Item = Vec<String>>) {
    let mut line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell_text(cell)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    };
    line(titles);
    line(&vec!["---".to_owned(); titles.len()]);
    rows.for_each(|row| line(&row));
}

/// What was made by others must not become a mark of Markdown, nor end a line.
fn inline(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut safe = String::new();
    for character in one_line.chars() {
        if "\\`*_[]<>|".contains(character) {
            safe.push('\\');
        }
        safe.push(character);
    }
    safe
}

/// As above, but for what was written here, where `<br>` is meant.
fn cell_text(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

fn setting(text: &mut String, setting: &Setting) {
    let mut row = |what: &str, value: &str| {
        let value = if value.trim().is_empty() {
            "not recorded"
        } else {
            value
        };
        let _ = writeln!(text, "| {what} | {} |", inline(value));
    };
    row("what", "value");
    row("---", "---");
    row("date", &setting.date);
    row("commit", &setting.commit);
    row("command", &setting.command);
    let cores = format!("{}, {} cores", setting.cpu, setting.cores);
    row("processor", if setting.cores > 0 { &cores } else { "" });
    let memory = format!("{} MiB", setting.memory_mib);
    row("memory", if setting.memory_mib > 0 { &memory } else { "" });
    row("kernel", &setting.kernel);
    row("pinning", &setting.pinning);
    for (name, version) in &setting.versions {
        row(&inline(name), version);
    }
    if setting.disturbance.is_empty() {
        row("disturbance", "none was seen");
    }
    for disturbance in &setting.disturbance {
        row("disturbance", disturbance);
    }
}
