//! The tables of chapters: every number that was asked for has a cell, and a cell without a number
//! says why.

use super::human::{self, Unit};
use super::metrics::{self, Metric};
use super::plot_label;
use super::results::{Contender, Engine, Measured, Results};
use super::targets::{per_frame, policy_cell};

/// The cell of a number that could have been measured.
pub const NOT_MEASURED: &str = "not measured";
/// The cell of a number that there cannot be; a note says why.
pub const NOT_POSSIBLE: &str = "not possible";

/// A table with what there is to say about its cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Titles of the columns.
    pub titles: Vec<String>,
    /// Cells, row by row.
    pub rows: Vec<Vec<String>>,
    /// Sentences below it.
    pub notes: Vec<String>,
}

/// Frames a second by frame size. None when nobody was measured.
pub fn throughput(results: &Results) -> Option<Table> {
    let sizes = metrics::frame_sizes(results);
    let names = results.contenders.iter().map(plot_label);
    let mut table = Table {
        titles: ["frames", "rate"].map(str::to_owned).to_vec(),
        ..Table::default()
    };
    table.titles.extend(names);
    for &size in &sizes {
        let kinds = [
            ("without loss", metrics::zero_loss(results, size)),
            ("at full load", metrics::full_load(results, size)),
        ];
        for (kind, metric) in kinds {
            let mut row = vec![human::frame_size(size), kind.to_owned()];
            row.extend(rates(results, &metric, size));
            table.rows.push(row);
        }
    }
    table.notes = results.contenders.iter().flat_map(impossible).collect();
    (!sizes.is_empty()).then_some(table)
}

fn rates(results: &Results, metric: &Metric, size: usize) -> Vec<String> {
    let cells = metric.values.iter().zip(&results.contenders);
    let cell = |(value, contender): (&metrics::Value, &Contender)| match &value.measured {
        Some(measured) => metric.unit.format_range(measured),
        None if contender.cannot(size) => NOT_POSSIBLE.to_owned(),
        None => NOT_MEASURED.to_owned(),
    };
    cells.map(cell).collect()
}

/// What a contender cannot take, and why.
fn impossible(contender: &Contender) -> impl Iterator<Item = String> {
    contender.impossible.iter().map(|one| {
        let size = human::frame_size(one.frame_size);
        format!(
            "{}, {size}: {NOT_POSSIBLE}: {}.",
            contender.name, one.reason
        )
    })
}

/// What policy costs, by load. None when it was not measured.
pub fn policy(results: &Results) -> Option<Table> {
    let rows = results.policy.iter().map(|cost| {
        let [ratio, must] = policy_cell(cost);
        vec![
            human::frame_size(cost.frame_size),
            human::grouped(cost.flows),
            Unit::Rate.format_range(&cost.bare_fps),
            Unit::Rate.format_range(&cost.policed_fps),
            ratio,
            must,
        ]
    });
    let titles = ["frames", "flows", "shunt", "shunt-policy", "ratio", "must"];
    (!results.policy.is_empty()).then(|| Table {
        titles: titles.map(str::to_owned).to_vec(),
        rows: rows.collect(),
        notes: Vec::new(),
    })
}

/// Time for a frame of the engines without I/O, by number of flows. None when nobody was measured.
pub fn engines(results: &Results) -> Option<Table> {
    let all = results.engines.iter().flat_map(|engine| &engine.by_flows);
    let mut counts: Vec<u64> = all.map(|point| point.count).collect();
    counts.sort_unstable();
    counts.dedup();
    let names = results.engines.iter().map(|engine| engine.name.clone());
    let rows = counts.iter().map(|&count| {
        let cells = results.engines.iter().map(|engine| time(engine, count));
        [human::grouped(count)].into_iter().chain(cells).collect()
    });
    (!counts.is_empty()).then(|| Table {
        titles: ["flows".to_owned()].into_iter().chain(names).collect(),
        rows: rows.collect(),
        notes: Vec::new(),
    })
}

fn time(engine: &Engine, flows: u64) -> String {
    let point = engine.by_flows.iter().find(|point| point.count == flows);
    let time: Option<Measured> = point.and_then(|point| per_frame(&point.fps));
    time.map_or(NOT_MEASURED.to_owned(), |time| {
        Unit::Time.format_range(&time)
    })
}
