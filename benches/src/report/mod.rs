//! What a run has found, as a table in the terminal and as Markdown with plots.
//!
//! [`results`] is what measuring and reporting have in common. Everything else goes from there
//! to text: `metrics` picks numbers, `ratio` says how two stand to each other, `targets` and
//! `readings` judge, `sections` says which plots there are, `plot` draws them, `terminal` and
//! `markdown` write. The same results give the same bytes.

mod cells;
mod check;
mod human;
mod instructions;
mod markdown;
mod metrics;
mod plot;
mod ratio;
mod readings;
pub mod results;
mod sections;
mod tables;
mod targets;
mod terminal;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Error, Result};

use results::{Contender, Results};

/// The report's file in its directory.
const REPORT: &str = "README.md";
/// The file of the results beside it.
const RESULTS: &str = "results.json";
/// The file of results of which no report could be made.
const REFUSED: &str = "results.refused.json";

/// What `shunt-bench report` is told.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The results of a run, as `compare` has written them
    results: PathBuf,
    /// Write README.md, its plots and the results into this directory, too
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Shows the tables of a run that has been measured before, and writes its report where asked.
///
/// # Errors
/// When the results cannot be read or cannot have been measured, or when the report cannot be
/// written.
pub fn run(options: &Options) -> Result<()> {
    let path = options.results.display();
    let text = fs::read_to_string(&options.results).with_context(|| path.to_string())?;
    let results: Results =
        serde_json::from_str(&text).with_context(|| format!("{path}: not results of a run"))?;
    check::check(&results).with_context(|| path.to_string())?;
    print!("{}", table(&results));
    if let Some(directory) = &options.out {
        write(&results, directory)?;
        println!("\nwritten: {}", directory.join(REPORT).display());
    }
    Ok(())
}

/// The tables for the terminal: contenders beside each other, and the targets.
pub fn table(results: &Results) -> String {
    terminal::tables(&complete(results))
}

/// The results, with the instructions of this tree unless they have their own.
fn complete(results: &Results) -> Results {
    let mut results = results.clone();
    if results.instructions.is_empty() {
        results.instructions = instructions::kept();
    }
    results
}

/// Writes `README.md`, its plots and `results.json`. Plots of an older report that this one does
/// not have are removed.
///
/// # Errors
/// When results cannot have been measured: they are kept beside the report, which is not
/// written. When files cannot be written.
pub fn write(results: &Results, directory: &Path) -> Result<()> {
    if let Err(error) = check::check(results) {
        return Err(keep_refused(results, directory, error));
    }
    let results = &complete(results);
    let sections = sections::sections(results);
    let report = markdown::report(results, &sections);
    let json = serde_json::to_string_pretty(results).context("results as JSON")? + "\n";
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    for plot in old_plots(directory) {
        fs::remove_file(&plot).with_context(|| plot.display().to_string())?;
    }
    let put = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())
    };
    for figure in sections.iter().flat_map(|section| &section.figures) {
        put(&figure.file, &figure.svg)?;
    }
    put(RESULTS, &json)?;
    put(REPORT, &report)
}

/// A long run must not be lost for one wrong number: it can be put right by hand.
fn keep_refused(results: &Results, directory: &Path, error: Error) -> Error {
    let path = directory.join(REFUSED);
    let kept = serde_json::to_string_pretty(results)
        .map_err(Error::from)
        .and_then(|json| Ok(fs::create_dir_all(directory).and_then(|()| fs::write(&path, json))?));
    match kept {
        Ok(()) => error.context(format!("no report; the results are in {}", path.display())),
        Err(lost) => error.context(format!("no report; and the results are lost: {lost}")),
    }
}

/// The plots that a report of ours in the directory shows: nothing else there is ours to remove.
fn old_plots(directory: &Path) -> Vec<PathBuf> {
    let report = fs::read_to_string(directory.join(REPORT)).unwrap_or_default();
    if !report.starts_with(markdown::MARKER) {
        return Vec::new();
    }
    let names = report
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let plots = names.filter(|name| name.ends_with(".svg") && !name.contains('/'));
    let paths = plots.map(|name| directory.join(name));
    paths.filter(|path| path.exists()).collect()
}

/// A contender's name, with what it is for when it is no switch.
fn plot_label(contender: &Contender) -> String {
    match readings::kind(contender.kind) {
        Some(word) => format!("{} ({word})", contender.name),
        None => contender.name.clone(),
    }
}
