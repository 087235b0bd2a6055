//! One contender, one turn: set up, looked at, measured, torn down.

use anyhow::{Context as _, Result};

use super::{
    bed::{Bed, Plan},
    measure::{
        check, cpu, learning,
        load::{Load, shape},
        round_trip::{PAUSES, quantile, round_trips},
        tcp,
    },
    notebook::{Key, Notebook, QUANTILES},
    peers::{Peer, Running},
    plan::{ETHERNET_HEADER, Pace, Subject},
    process::resident_mib,
    signals,
};
use crate::report::results::Learning;
use crate::traffic::Shape;

/// Flows by which the cost of flows is measured.
const FLOWS: [u64; 4] = [1, 64, 4096, 65_536];
/// Addresses by which the cost of addresses is measured, half of them at each end.
const MACS: [u64; 3] = [64, 4096, 65_536];
/// Ports by which the cost of ports is measured.
const PORTS: [usize; 3] = [2, 4, 8];
/// The frames of everything but throughput: 64 bytes with FCS.
const SMALLEST: usize = 60;

/// A contender's turn.
pub struct Visit<'a> {
    /// Who.
    pub peer: Peer,
    /// How long for each.
    pub pace: &'a Pace,
    /// Rates that are the same for all, once they are known.
    pub rates: &'a [f64],
    /// What is found.
    pub notebook: &'a mut Notebook,
    /// What did not work, in sentences.
    pub complaints: &'a mut Vec<String>,
    /// What the sender alone takes of the processors, once it is known.
    pub sender_alone: Option<cpu::Run>,
}

impl Visit<'_> {
    /// Measures these subjects. What one of them says does not keep the others from being measured.
    ///
    /// # Errors
    /// When it cannot be set up, when frames do not get through as they should, or when a signal
    /// asks for the end.
    pub fn run(&mut self, subjects: &[Subject]) -> Result<()> {
        let on_frames = |subject: &&Subject| {
            !matches!(
                subject,
                Subject::Tcp
                    | Subject::Learning
                    | Subject::Ports
                    | Subject::Policy
                    | Subject::Engine
            )
        };
        let plain: Vec<Subject> = subjects.iter().filter(on_frames).copied().collect();
        let tcp_plans = self.peer.tcp_plans();
        let wants_tcp = subjects.contains(&Subject::Tcp);
        let tcp_here = wants_tcp && tcp_plans.is_empty();
        if plain.contains(&Subject::Cpu) {
            let alone = cpu::sender_alone(self.peer, self.pace.cpu);
            self.sender_alone = Some(alone.context("the sender alone")?);
        }
        if !plain.is_empty() || tcp_here {
            self.on_bed(self.peer.plan(2), |visit, bed, running| {
                for subject in &plain {
                    visit.try_one(*subject, bed, running)?;
                }
                if tcp_here {
                    visit.try_one(Subject::Tcp, bed, running)?;
                }
                Ok(())
            })?;
        }
        for plan in tcp_plans.into_iter().filter(|_| wants_tcp) {
            self.on_bed(plan, |visit, bed, running| {
                visit.try_one(Subject::Tcp, bed, running)
            })?;
        }
        if subjects.contains(&Subject::Throughput) {
            self.jumbo()?;
        }
        if subjects.contains(&Subject::Ports) {
            self.by_ports()?;
        }
        if subjects.contains(&Subject::Learning) && self.peer.learns() {
            self.learning()?;
        }
        Ok(())
    }

    fn on_bed(
        &mut self,
        plan: Plan,
        measure: impl FnOnce(&mut Self, &Bed, &mut Running) -> Result<()>,
    ) -> Result<()> {
        let bed = Bed::new(plan)?;
        let mut running = self.peer.set_up(&bed).context("set up")?;
        check::check(&bed, self.peer.learns()).context("the look at the path")?;
        measure(self, &bed, &mut running)?;
        running.check().context("it has not lasted")?;
        if let Err(error) = running.tear_down() {
            self.complain("tear down", &error);
        }
        Ok(())
    }

    /// Measures one subject; what it says is noted, and only a signal or an end of the contender
    /// ends the visit.
    fn try_one(&mut self, subject: Subject, bed: &Bed, running: &mut Running) -> Result<()> {
        signals::check()?;
        let result = match subject {
            Subject::Throughput => self.throughput(bed, self.pace.sizes),
            Subject::Tcp => self.tcp(bed),
            Subject::RoundTrip => self.round_trip(bed),
            Subject::Idle => self.idle(running),
            Subject::Memory => self.memory(running),
            Subject::Flows => self.by_flows(bed),
            Subject::Macs => self.by_macs(bed),
            Subject::Loss => self.loss(bed),
            Subject::Latency => self.latency(bed),
            Subject::Cpu => self.cpu(bed),
            Subject::Learning | Subject::Ports | Subject::Policy | Subject::Engine => Ok(()),
        };
        signals::check()?;
        running.check()?;
        if let Err(error) = result {
            self.complain(&format!("{subject:?}"), &error);
        }
        Ok(())
    }

    fn complain(&mut self, what: &str, error: &anyhow::Error) {
        let sentence = format!("{}: {what}: {error:#}", self.peer.name());
        eprintln!("  {sentence}");
        self.complaints.push(sentence);
    }

    /// Throughput of frames that want another MTU, and so a bed of their own.
    fn jumbo(&mut self) -> Result<()> {
        let Some(size) = self.pace.jumbo else {
            return Ok(());
        };
        if let Some(reason) = self.peer.no_jumbo() {
            self.notebook.note_impossible(size, reason);
            return Ok(());
        }
        let plan = Plan {
            mtu: size - ETHERNET_HEADER,
            ..self.peer.plan(2)
        };
        let measured = self.on_bed(plan, |visit, bed, _| visit.throughput(bed, &[size]));
        if let Err(error) = measured {
            signals::check()?;
            self.complain("Throughput on devices with a large MTU", &error);
        }
        Ok(())
    }

    fn throughput(&mut self, bed: &Bed, sizes: &[usize]) -> Result<()> {
        for &size in sizes {
            let mut load = Load::new(bed, self.peer, &shape(size), 0, 1)?;
            // Once for flow tables to fill and for threads to wake up.
            load.offer(None, self.pace.trial / 2)?;
            let full = load.full(self.pace.trial)?;
            self.notebook
                .note(Key::Overload { size }, full.received_fps);
            self.notebook.note(Key::Offered { size }, full.offered_fps);
            // What arrives at full load may be less than what passes without loss, when the
            // overload itself costs something; it is never a third more.
            let highest = (1.3 * full.received_fps).min(full.offered_fps);
            let found = self.pace.search.run(highest, |rate| {
                Ok(load.offer(Some(rate), self.pace.trial)?.trial)
            })?;
            self.notebook.note(Key::ZeroLoss { size }, found);
        }
        Ok(())
    }

    fn full_load(&self, bed: &Bed, shape: &Shape) -> Result<f64> {
        self.fullest(&mut Load::new(bed, self.peer, shape, 0, 1)?)
    }

    fn fullest(&self, load: &mut Load) -> Result<f64> {
        // Once for flow tables to fill.
        load.offer(None, self.pace.trial / 2)?;
        Ok(load.full(self.pace.trial)?.received_fps)
    }

    fn by_flows(&mut self, bed: &Bed) -> Result<()> {
        for count in FLOWS {
            let shape = Shape {
                flows: count,
                ..shape(SMALLEST)
            };
            let fps = self.full_load(bed, &shape)?;
            self.notebook.note(Key::Flows { count }, fps);
        }
        Ok(())
    }

    fn by_macs(&mut self, bed: &Bed) -> Result<()> {
        for count in MACS {
            let shape = Shape {
                flows: count / 2,
                source_macs: count / 2,
                destination_macs: count / 2,
                ..shape(SMALLEST)
            };
            let fps = self.full_load(bed, &shape)?;
            self.notebook.note(Key::Macs { count }, fps);
        }
        Ok(())
    }

    fn by_ports(&mut self) -> Result<()> {
        for ports in PORTS {
            let in_pairs = !matches!(self.peer, Peer::XskRs | Peer::Redirect);
            if ports > 2 && !in_pairs {
                continue;
            }
            self.on_bed(self.peer.plan(ports), |visit, bed, _| {
                let mut load = Load::over_pairs(bed, visit.peer, &shape(SMALLEST))?;
                let fps = visit.fullest(&mut load)?;
                let count = ports as u64;
                visit.notebook.note(Key::Ports { count }, fps);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn loss(&mut self, bed: &Bed) -> Result<()> {
        let mut load = Load::new(bed, self.peer, &shape(SMALLEST), 0, 1)?;
        for &rate in self.rates {
            let trial = load.offer(Some(rate), self.pace.trial)?.trial;
            // Where the generator is at its end, the rate is what it did.
            let kept = (trial.offered_fps / rate - 1.0).abs() < 0.05;
            if kept {
                let key = Key::Loss {
                    size: SMALLEST,
                    offered_fps: rate as u64,
                };
                self.notebook.note(key, trial.loss());
            }
        }
        Ok(())
    }

    fn latency(&mut self, bed: &Bed) -> Result<()> {
        // The rates of the loss curve are parts of what the slowest contender does.
        let mut load = Load::new(bed, self.peer, &shape(SMALLEST), 0, 1)?;
        for rate in [LATENCY_PARTS[0], LATENCY_PARTS[1]].map(|part| part * self.rates[0]) {
            let seen = load.offer(Some(rate), self.pace.long_trial)?;
            let offered_fps = rate as u64;
            for permille in QUANTILES {
                let part = f64::from(permille) / 1000.0;
                let time = seen.latency.quantile_ns(part);
                let key = Key::Latency {
                    size: SMALLEST,
                    offered_fps,
                    permille,
                };
                self.notebook
                    .note(key, time.context("no frame has told its time")?);
            }
            let classes = seen.latency.classes();
            self.notebook
                .note_histogram(SMALLEST, offered_fps, &classes);
        }
        Ok(())
    }

    fn tcp(&mut self, bed: &Bed) -> Result<()> {
        let stream = tcp::stream(bed, self.pace.tcp)?;
        let offloads = bed.plan.offloads;
        self.notebook
            .note(Key::Tcp { offloads }, stream.received_bps);
        self.notebook
            .note(Key::Retransmissions { offloads }, stream.retransmissions);
        Ok(())
    }

    fn round_trip(&mut self, bed: &Bed) -> Result<()> {
        for pause in PAUSES {
            let times = round_trips(bed, pause, self.pace.round_trip)?;
            for permille in QUANTILES {
                let time = quantile(&times, f64::from(permille) / 1000.0);
                let time = time.context("no answer at all")?;
                let key = Key::RoundTrip {
                    pause_us: pause.as_micros() as u64,
                    permille,
                };
                self.notebook.note(key, time.as_nanos() as f64);
            }
        }
        Ok(())
    }

    fn idle(&mut self, running: &Running) -> Result<()> {
        if let Some(percent) = cpu::idle_percent(running, self.pace.idle)? {
            self.notebook.note(Key::Idle, percent);
        }
        Ok(())
    }

    fn memory(&mut self, running: &Running) -> Result<()> {
        let pids = running.pids();
        if !pids.is_empty() {
            self.notebook.note(Key::Memory, resident_mib(&pids)?);
        }
        Ok(())
    }

    fn cpu(&mut self, bed: &Bed) -> Result<()> {
        let alone = self.sender_alone.context("the sender alone is not known")?;
        let cost = cpu::per_million(bed, alone, self.pace.cpu)?;
        self.notebook.note(Key::CpuPerMillion, cost.ms_per_million);
        self.notebook.note(Key::CpuOffered, cost.offered_fps);
        Ok(())
    }

    fn learning(&mut self) -> Result<()> {
        let found = match learning::measure(self.peer) {
            Ok(found) => found,
            Err(error) => {
                signals::check()?;
                self.complain("Learning", &error);
                return Ok(());
            }
        };
        self.notebook.learning = Some(Learning {
            capacity: found.capacity,
            capacity_is_limit_of_search: found.is_limit,
            rate_per_s: found.rate_per_s,
        });
        Ok(())
    }
}

/// The loads under which times on the way are measured, as parts of what the slowest contender
/// forwards.
const LATENCY_PARTS: [f64; 2] = [0.5, 0.9];
/// The loads of the loss curve, as parts of the same.
const LOSS_PARTS: [f64; 9] = [1.0, 0.25, 0.5, 0.75, 1.25, 1.5, 1.75, 2.0, 3.0];

/// The rates that are the same for all: the first is what the slowest contender forwards.
#[must_use]
pub fn rates(slowest: f64) -> Vec<f64> {
    LOSS_PARTS.map(|part| part * slowest).to_vec()
}
