//! Peers side by side: set up, measured in turns, torn down.
//!
//! Contenders alternate within one run, in an order that rotates, so that whatever the machine
//! does meanwhile it does to all of them; the median of the turns is kept, with the ends. Each turn
//! has a bed of its own ([`bed`]) and begins with a look at the path ([`measure::check`]).

mod bed;
mod engines;
mod hugepages;
mod machine;
mod measure;
mod notebook;
mod peers;
mod plan;
mod policy;
mod process;
mod signals;
mod visit;
pub mod xsk;

use std::{collections::BTreeMap, fs, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};
use shunt_tests::sys;

use crate::report::{
    self,
    results::{Missing, Results},
};
use measure::tcp;
use notebook::{Key, Notebook};
use peers::{Peer, ovs_dpdk};
use plan::{Pace, Subject, order};
use visit::Visit;

/// What `shunt-bench compare` is told.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// About 3 minutes: frames of 64 bytes, TCP, round trips, engines
    #[arg(long)]
    quick: bool,
    /// Only these: shunt, shunt-2, shunt-poll, shunt-policy, bridge, ovs-afxdp, testpmd, xsk-rs,
    /// redirect, ovs-dpdk
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = name)]
    only: Vec<String>,
    /// Only these measurements
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    measure: Vec<Subject>,
    /// How often each is measured
    #[arg(long, value_name = "N")]
    turns: Option<usize>,
    /// Where report and results are written
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
    /// Shortest times, to test the command itself
    #[arg(long, hide = true)]
    tiny: bool,
}

fn name(name: &str) -> Result<String, String> {
    let known = Peer::ALL.map(Peer::name);
    match known.contains(&name) || name == ovs_dpdk::NAME {
        true => Ok(name.to_owned()),
        false => Err(format!("one of {}, {}", known.join(", "), ovs_dpdk::NAME)),
    }
}

/// Measures every contender that is installed, and writes the report.
///
/// # Errors
/// When the machine cannot be set up for it, and when a signal asks for the end; everything that
/// was made is gone then, too.
pub fn run(options: &Options) -> Result<()> {
    ensure!(
        sys::is_root(),
        "this makes network namespaces and loads eBPF programs, and needs root; run: sudo \
         --preserve-env=HOME env \"PATH=$PATH\" cargo xtask bench compare"
    );
    signals::catch().context("catch signals")?;
    bed::check_tools()?;
    hugepages::restore_after_a_kill();
    let mut run = Run::new(options)?;
    let watch = machine::Watch::begin();
    run.contenders()?;
    if run.wants(Subject::Policy) {
        run.policy()?;
    }
    if run.wants(Subject::Engine) {
        run.engines()?;
    }
    run.results.setting.disturbance.extend(watch.end());
    run.write()
}

/// A run, as far as it has come.
struct Run<'a> {
    options: &'a Options,
    pace: Pace,
    turns: usize,
    begin: Instant,
    contenders: Vec<Peer>,
    notebooks: BTreeMap<Peer, Notebook>,
    results: Results,
}

impl<'a> Run<'a> {
    fn new(options: &'a Options) -> Result<Self> {
        let pace = match (options.tiny, options.quick) {
            (true, _) => Pace::TINY,
            (_, true) => Pace::QUICK,
            _ => Pace::FULL,
        };
        let turns = options.turns.unwrap_or(pace.turns);
        ensure!(turns > 0, "--turns must be at least 1");
        let mut run = Self {
            options,
            pace,
            turns,
            begin: Instant::now(),
            contenders: Vec::new(),
            notebooks: BTreeMap::new(),
            results: Results::default(),
        };
        for peer in Peer::ALL {
            if !run.takes_part(peer.name()) {
                continue;
            }
            match peer.missing() {
                None => run.contenders.push(peer),
                Some(missing) => run.leave_out(missing),
            }
        }
        run.results.setting = machine::setting(&run.contenders);
        Ok(run)
    }

    fn takes_part(&self, name: &str) -> bool {
        self.options.only.is_empty() || self.options.only.iter().any(|it| it == name)
    }

    fn wants(&self, subject: Subject) -> bool {
        match (self.options.measure.is_empty(), self.options.quick) {
            (false, _) => self.options.measure.contains(&subject),
            (true, true) => Subject::QUICK.contains(&subject),
            (true, false) => true,
        }
    }

    fn leave_out(&mut self, missing: Missing) {
        let Missing {
            name,
            reason,
            remedy,
        } = &missing;
        eprintln!("{name} is left out: {reason}; {remedy}");
        self.results.missing.push(missing);
    }

    /// All turns of all contenders: first what each can do, then what all do under one load, then
    /// what is measured once.
    fn contenders(&mut self) -> Result<()> {
        use Subject::{
            Cpu, Flows, Idle, Latency, Learning, Loss, Macs, Memory, Ports, RoundTrip, Tcp,
            Throughput,
        };
        let alone = [Throughput, Flows, Macs, RoundTrip, Tcp, Idle, Memory];
        let together = [Loss, Latency, Cpu];
        let once = [Ports, Learning];
        if let Some(missing) = peers::missing("TCP", tcp::NEEDS) {
            self.leave_out(missing);
        }
        self.phase(&alone, self.turns, &[])?;
        let rates = self.slowest().map(visit::rates).unwrap_or_default();
        if rates.is_empty() && together.iter().any(|it| self.wants(*it)) {
            eprintln!("loss and latency need the throughput of 64-byte frames: left out");
        }
        let together = match rates.is_empty() {
            true => &together[2..],
            false => &together[..],
        };
        self.phase(together, self.turns.min(2), &rates)?;
        self.phase(&once, 1, &[])
    }

    /// What the slowest contender forwards of the smallest frames. Where the machine disturbs the
    /// search for loss too much, half of what passes at full load is taken to be free of it.
    fn slowest(&self) -> Option<f64> {
        let size = *self.pace.sizes.first()?;
        let rate = |notebook: &Notebook| {
            let zero_loss = notebook.measured(Key::ZeroLoss { size })?.median;
            let overload = notebook.measured(Key::Overload { size })?.median;
            Some(zero_loss.max(overload / 2.0))
        };
        let rates = self.notebooks.values().filter_map(rate);
        rates.min_by(f64::total_cmp)
    }

    fn phase(&mut self, subjects: &[Subject], turns: usize, rates: &[f64]) -> Result<()> {
        let subjects: Vec<Subject> = subjects
            .iter()
            .copied()
            .filter(|it| self.wants(*it))
            .collect();
        if subjects.is_empty() {
            return Ok(());
        }
        for turn in 0..turns {
            if turn > 0 && self.begin.elapsed() > self.pace.limit {
                let sentence =
                    format!("{subjects:?}: only {turn} of {turns} turns, for lack of time");
                eprintln!("{sentence}");
                self.results.setting.disturbance.push(sentence);
                break;
            }
            for peer in order(&self.contenders, turn) {
                let of_peer = subjects.iter().copied();
                let of_peer: Vec<Subject> = of_peer.filter(|it| peer.takes_part_in(*it)).collect();
                if !of_peer.is_empty() {
                    self.visit(peer, &of_peer, turn, turns, rates)?;
                }
            }
        }
        Ok(())
    }

    fn visit(
        &mut self,
        peer: Peer,
        subjects: &[Subject],
        turn: usize,
        turns: usize,
        rates: &[f64],
    ) -> Result<()> {
        let seconds = self.begin.elapsed().as_secs();
        eprintln!(
            "[{:2}:{:02}] turn {} of {turns}: {}: {}",
            seconds / 60,
            seconds % 60,
            turn + 1,
            peer.name(),
            subjects
                .iter()
                .map(|it| format!("{it:?}"))
                .collect::<Vec<_>>()
                .join(", ")
                .to_lowercase()
        );
        let mut complaints = Vec::new();
        let mut visit = Visit {
            peer,
            pace: &self.pace,
            rates,
            notebook: self.notebooks.entry(peer).or_default(),
            complaints: &mut complaints,
            sender_alone: None,
        };
        let result = visit.run(subjects);
        self.results.setting.disturbance.append(&mut complaints);
        let Err(error) = result else {
            return Ok(());
        };
        signals::check()?;
        let sentence = format!("{}: {error:#}", peer.name());
        if self.notebooks[&peer].is_empty() {
            self.contenders.retain(|it| *it != peer);
            self.notebooks.remove(&peer);
            self.leave_out(Missing {
                name: peer.name().to_owned(),
                reason: format!("{error:#}"),
                remedy: "see the reason".to_owned(),
            });
        } else {
            self.disturb(sentence);
        }
        Ok(())
    }

    /// Notes what a reader should know who looks for a number that is not there.
    fn disturb(&mut self, sentence: String) {
        eprintln!("  {sentence}");
        self.results.setting.disturbance.push(sentence);
    }

    fn write(mut self) -> Result<()> {
        for peer in &self.contenders {
            if let Some(notebook) = self.notebooks.get(peer)
                && !notebook.is_empty()
            {
                self.results.contenders.push(notebook.contender(*peer));
            }
        }
        let Results {
            contenders,
            engines,
            policy,
            ..
        } = &self.results;
        if contenders.is_empty() && engines.is_empty() && policy.is_empty() {
            bail!("nobody was measured");
        }
        let out = &self.options.out;
        fs::create_dir_all(out).with_context(|| out.display().to_string())?;
        print!("{}", report::table(&self.results));
        report::write(&self.results, out)
    }
}
