//! Every chore of the project: `cargo xtask <chore>`.
//!
//! It needs nothing but a stable toolchain to be built, because `setup` installs all the rest.

mod bench;
mod build;
mod demo;
mod fuzz;
mod setup;
mod test;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

/// Every chore of the project.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = true)]
enum Chore {
    /// Find or install what the eBPF build and the tests need
    Setup {
        /// And the switches that `cargo xtask bench compare` measures beside this one
        #[arg(long)]
        peers: bool,
    },
    /// Build the daemon and its client: target/release/shunt
    Build,
    /// Show the switch at work: hosts, guests and a tagged wire, in network namespaces (root)
    Demo(demo::Options),
    /// Measure the switch, beside what one would take instead: see `cargo xtask bench --help`
    Bench(bench::Options),
    /// Look for frames and files that break parsers and policy
    #[command(after_help = "Example:\n  cargo xtask fuzz parser --minutes 10")]
    Fuzz(fuzz::Options),
    /// Run everything that must pass (root)
    #[command(visible_alias = "ci")]
    Test,
    /// Check the rules that the compiler does not know
    Tidy(tidy::Options),
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is in the workspace");
    let result = match Chore::parse() {
        Chore::Setup { peers } => setup::run(root).and_then(|()| match peers {
            true => setup::peers(),
            false => Ok(()),
        }),
        Chore::Build => build::run(root),
        Chore::Demo(options) => demo::run(root, &options),
        Chore::Bench(options) => bench::run(root, &options),
        Chore::Fuzz(options) => fuzz::run(root, &options),
        Chore::Test => test::run(root),
        Chore::Tidy(options) => tidy::run(root, &options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
