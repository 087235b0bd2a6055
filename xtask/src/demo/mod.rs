//! `cargo xtask demo`: two hosts with guests, each with a switch, and a cable between them.
//!
//! Everything is in network namespaces whose names contain this process's id. They are removed by
//! a process of their own, the sweeper, as soon as its standard input ends: so also when the
//! demo is interrupted or killed.

mod scene;
mod stage;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use stage::Stage;

use crate::{build, setup};

/// What to do.
#[derive(Debug, Default, clap::Args)]
pub struct Options {
    /// Leave everything standing, and say how to look around.
    #[arg(long)]
    keep: bool,
    /// Remove what earlier demos have left standing.
    #[arg(long, conflicts_with = "keep")]
    stop: bool,
    /// Remove the demo with this name once standard input ends.
    #[arg(long, hide = true)]
    sweep: Option<String>,
}

/// Builds `shunt` and plays the demo with it.
///
/// # Errors
/// When something cannot be set up, or an expectation is not met.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    if let Some(name) = &options.sweep {
        return stage::sweep_at_end_of_input(name);
    }
    if options.stop {
        return stage::stop_kept();
    }
    if !crate::test::is_root() {
        bail!(
            "the demo makes network namespaces and needs root. Run:\n    \
             sudo --preserve-env=HOME env \"PATH=$PATH\" cargo xtask demo"
        );
    }
    setup::run(root)?;
    build::run(root)?;
    let shunt = crate::test::target_dir(root)?.join("release/shunt");
    let stage = Stage::new(shunt)?;
    let sweeper = start_sweeper(stage.name())?;
    let result = scene::play(&stage);
    if let Err(error) = &result {
        println!("\nFAILED: {error:#}");
        stage.print_logs();
    }
    let keep = options.keep && result.is_ok();
    if keep {
        scene::look_around(&stage);
    }
    stop_sweeper(sweeper, keep)?;
    match result {
        Ok(failed) if failed > 0 => bail!("{failed} expectations were not met"),
        Ok(_) => Ok(()),
        Err(error) => Err(error.context("the demo did not get to its end")),
    }
}

/// Starts the process that removes everything. Its own group keeps Ctrl-C away from it.
fn start_sweeper(name: &str) -> Result<Child> {
    use std::os::unix::process::CommandExt;
    Command::new(std::env::current_exe()?)
        .args(["demo", "--sweep", name])
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("the sweeper does not start")
}

fn stop_sweeper(mut sweeper: Child, keep: bool) -> Result<()> {
    use std::io::Write;
    let mut input = sweeper.stdin.take().context("the sweeper has no input")?;
    if keep {
        input.write_all(stage::KEEP)?;
    }
    drop(input);
    if !sweeper.wait()?.success() {
        bail!("something is left: `ip netns` shows it, `cargo xtask demo --stop` tries again");
    }
    Ok(())
}
