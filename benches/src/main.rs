//! `shunt-bench`: traffic, and the comparison with peers. `cargo xtask bench` builds and runs it.

use std::process::ExitCode;

use clap::Parser;
use shunt_benches::{compare, engine, report, traffic};

/// Measures the switch, beside what one would take instead.
#[derive(Parser)]
#[command(
    bin_name = "cargo xtask bench",
    disable_help_subcommand = true,
    after_help = "cargo xtask bench instructions counts instead: see its --help."
)]
enum Command {
    /// Send frames out of a device, at a rate or as fast as one core can
    Gen(traffic::GenOptions),
    /// Receive frames on a device; say how many came, how late, and what is missing
    Sink(traffic::SinkOptions),
    /// Run the engine without I/O on one core and say what a frame costs
    Engine(engine::Options),
    /// Measure the switch and its peers side by side (root)
    Compare(compare::Options),
    /// The floor of the comparison: forward between two devices and do nothing else
    #[command(name = compare::xsk::SUBCOMMAND, hide = true)]
    PeerXsk(compare::xsk::Options),
    /// Show the tables of results that were measured before, or write their report
    Report(report::Options),
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Gen(options) => traffic::generate(&options),
        Command::Sink(options) => traffic::sink(&options),
        Command::Engine(options) => engine::run(&options),
        Command::Compare(options) => compare::run(&options),
        Command::PeerXsk(options) => compare::xsk::run(&options),
        Command::Report(options) => report::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
