//! Frames at a rate, or as fast as one core can.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{self, RecvTimeoutError::Timeout},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bench_ebpf::{FRACTION_BITS, Plan, Progress};

use switch_core::port::core::put_current_thread_first;

use super::{
    Device, Histogram, Shape,
    device::Transmitted,
    live::{self, LiveFrames},
    packet::PacketSocket,
    sys,
};

/// How long the frames of one burst take at the rate: a burst costs the kernel some hundred
/// nanoseconds beside its frames, and a receiver's ring notices no shorter one.
const BURST_NS: f64 = 16_000.0;
/// Most frames of a burst.
const LONGEST_BURST: u32 = 64;
/// How late a burst may be and the next ones still catch up: so long, or for slow rates as long as
/// so many bursts.
const MOST_LATE_NS: f64 = 200_000.0;
const MOST_LATE_BURSTS: f64 = 8.0;
/// How long the device's counts may take to tell of the last frames.
const SETTLING: Duration = Duration::from_millis(200);
/// Longest time between two looks at whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// So many frames a second, evenly.
    PerSecond(f64),
    /// As fast as one core can.
    Full,
}

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Until so many frames are made.
    Count(u64),
    /// For so long.
    Time(Duration),
}

/// How frames get to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// XDP live frames: some millions a second, one page at most. A veth takes them only if its
    /// far end has an XDP program, or `gro on`.
    LiveFrames,
    /// A packet socket that passes the queueing discipline by: slower, any size.
    PacketSocket,
}

impl Via {
    /// In a few words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::LiveFrames => "XDP live frames",
            Self::PacketSocket => "packet socket",
        }
    }
}

/// What a run has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Frames that were made.
    pub made: u64,
    /// Those that the device took, by its own count, which is of everybody's frames.
    pub accepted: u64,
    /// Those that it did not take, for the far end had no room or was not ready.
    pub refused: u64,
    /// From the first frame to the end of the last one's turn.
    pub took: Duration,
    /// How much later than due bursts were; empty at full rate.
    pub lateness: Histogram,
    /// Part of the time that the generator could not send in and has not caught up with: at a rate
    /// that one core can make, something else had the core.
    pub given_up: Duration,
    /// Frames of a burst.
    pub burst: u32,
    /// How they got to the device.
    pub via: Via,
}

impl Sent {
    /// Frames that were made in a second.
    #[must_use]
    pub fn made_per_second(&self) -> f64 {
        self.made as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

/// A source of frames at a device, or at several which take turns.
pub struct Generator {
    /// At least one.
    devices: Vec<Device>,
    shape: Shape,
    means: Means,
}

enum Means {
    Live(Box<LiveFrames>),
    Packet(PacketSocket),
}

/// What is left of a run's progress once it is over.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub progress: Progress,
    pub lateness: Histogram,
}

impl Generator {
    /// A source of frames of a shape: live frames if they are not too large for them.
    ///
    /// # Errors
    /// When there can be no such frames, or the kernel refuses the program.
    pub fn new(device: &Device, shape: &Shape) -> Result<Self> {
        let largest = shape.size.turns().iter().max();
        let via = match largest {
            Some(size) if *size > live::LARGEST => Via::PacketSocket,
            _ => Via::LiveFrames,
        };
        Self::via(device, shape, via)
    }

    /// A source of frames that get to the device in a certain way.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn via(device: &Device, shape: &Shape, via: Via) -> Result<Self> {
        shape.check()?;
        let devices = vec![device.clone()];
        let means = match via {
            Via::LiveFrames => Means::Live(Box::new(LiveFrames::load(shape, &devices)?)),
            Via::PacketSocket => Means::Packet(PacketSocket::open(device)?),
        };
        let shape = shape.clone();
        Ok(Self {
            devices,
            shape,
            means,
        })
    }

    /// A source of live frames that some devices send in turns: frame number n goes by device n
    /// modulo their count, as its addresses go.
    ///
    /// # Errors
    /// As [`new`](Self::new), and without a device.
    pub fn in_turns(devices: &[Device], shape: &Shape) -> Result<Self> {
        shape.check()?;
        ensure!(!devices.is_empty(), "no device to send by");
        Ok(Self {
            means: Means::Live(Box::new(LiveFrames::load(shape, devices)?)),
            devices: devices.to_vec(),
            shape: shape.clone(),
        })
    }

    /// Sends until the run is over, in a thread of its own which goes before others, on a core if
    /// one is named.
    ///
    /// # Errors
    /// When the kernel refuses, or the device has taken no frame at all.
    pub fn run(&mut self, rate: Rate, length: Length, core: Option<usize>) -> Result<Sent> {
        self.run_unless(rate, length, core, &AtomicBool::new(false))
    }

    /// As [`run`](Self::run), but stops early when `stop` is set.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_unless(
        &mut self,
        rate: Rate,
        length: Length,
        core: Option<usize>,
        stop: &AtomicBool,
    ) -> Result<Sent> {
        let plan = self.plan(rate, length)?;
        let inside = || {
            if let Some(core) = core {
                let cores = thread::available_parallelism().map_or(0, usize::from);
                shunt_tests::sys::pin_to_core(core)
                    .with_context(|| format!("no core {core}, of {cores}"))?;
            }
            // Without the right to, it runs among the others: its lateness tells.
            let _ = put_current_thread_first();
            let before = transmitted(&self.devices)?;
            let outcome = match &mut self.means {
                Means::Live(live) => watch(live, &plan, stop)?,
                Means::Packet(socket) => socket.send(&plan, self.shape.vids.len(), stop)?,
            };
            let after = settle(&self.devices, before, outcome.progress.sequence)?;
            anyhow::Ok((outcome, after))
        };
        let device = self.devices[0].clone();
        let (outcome, after) = device.enter(inside)??;
        self.sent(&plan, outcome, after)
    }

    fn plan(&self, rate: Rate, length: Length) -> Result<Plan> {
        let mut plan = self.shape.plan();
        plan.device_count = self.devices.len() as u32;
        (plan.count, plan.length_ns) = match length {
            Length::Count(count) => (count, u64::MAX),
            Length::Time(time) => (u64::MAX, time.as_nanos() as u64),
        };
        (plan.burst, plan.interval) = match rate {
            Rate::Full => (LONGEST_BURST, 0),
            Rate::PerSecond(rate) => {
                let fits = (0.1..=100e6).contains(&rate);
                ensure!(
                    fits,
                    "a rate is 0.1 to 100 million frames a second, not {rate}"
                );
                let burst = (rate * BURST_NS / 1e9) as u32;
                let burst = burst.clamp(1, LONGEST_BURST);
                let interval = f64::from(burst) * 1e9 / rate;
                let most_late = (interval * MOST_LATE_BURSTS).clamp(MOST_LATE_NS, 1e9);
                plan.most_late_ns = most_late as u32;
                (burst, (interval * f64::from(1 << FRACTION_BITS)) as u64)
            }
        };
        Ok(plan)
    }

    fn sent(&self, plan: &Plan, outcome: Outcome, transmitted: Transmitted) -> Result<Sent> {
        let Outcome { progress, lateness } = outcome;
        let made = progress.sequence;
        // Others may have sent by the device, too.
        let accepted = transmitted.frames.min(made);
        ensure!(
            made == 0 || accepted > 0,
            "{} has taken none of {made} frames ({} dropped). {}",
            self.places(),
            transmitted.dropped,
            self.hint()
        );
        let took_ns = match plan.interval {
            // All bursts but the last have passed by then.
            0 => {
                let bursts = (made as f64 / f64::from(plan.burst)).max(1.0);
                (progress.last_ns as f64 * bursts / (bursts - 1.0).max(1.0)) as u64
            }
            interval => progress.last_ns + (interval >> FRACTION_BITS),
        };
        Ok(Sent {
            made,
            accepted,
            refused: made - accepted,
            took: Duration::from_nanos(took_ns),
            lateness,
            given_up: Duration::from_nanos(progress.given_up_ns),
            burst: plan.burst,
            via: match self.means {
                Means::Live(_) => Via::LiveFrames,
                Means::Packet(_) => Via::PacketSocket,
            },
        })
    }

    /// Where the devices are, for people.
    fn places(&self) -> String {
        let places: Vec<String> = self.devices.iter().map(Device::place).collect();
        places.join(", ")
    }

    /// What to look at when no frame goes out.
    fn hint(&self) -> &'static str {
        match self.means {
            Means::Live(_) => {
                "A veth takes redirected frames only while its far end is up and has an XDP \
                 program, or has generic receive offload: ethtool -K FAR gro on. Another device \
                 needs a driver with ndo_xdp_xmit. A packet socket does without: --via packet."
            }
            Means::Packet(_) => "Are both ends up, and is the MTU large enough?",
        }
    }
}

/// Runs live frames in this thread, and stops them from another one when that must be.
fn watch(live: &mut LiveFrames, plan: &Plan, stop: &AtomicBool) -> Result<Outcome> {
    sys::prepare_to_be_interrupted().context("cannot handle SIGUSR1")?;
    live.prepare(plan)?;
    let live = &*live;
    let thread = sys::thread_number();
    thread::scope(|scope| {
        let (running, is_running) = mpsc::channel::<()>();
        scope.spawn(move || {
            let begin = Instant::now();
            let mut pause = LOOK.min(expected(plan));
            while is_running.recv_timeout(pause) == Err(Timeout) {
                if live.has_ended() || stop.load(Relaxed) {
                    sys::interrupt(thread);
                    pause = Duration::from_millis(2);
                } else {
                    let left = expected(plan).saturating_sub(begin.elapsed());
                    pause = left.clamp(Duration::from_millis(1), LOOK);
                }
            }
        });
        let result = live.run(plan, stop);
        drop(running);
        result
    })?;
    live.outcome()
}

/// How long a run should take; the longest time there is if it cannot be known.
fn expected(plan: &Plan) -> Duration {
    let bursts = plan.count.div_ceil(u64::from(plan.burst));
    let by_count = match plan.interval {
        0 => None,
        interval => bursts.checked_mul(interval).map(|it| it >> FRACTION_BITS),
    };
    Duration::from_nanos(plan.length_ns.min(by_count.unwrap_or(u64::MAX)))
}

/// What all devices have sent so far.
fn transmitted(devices: &[Device]) -> Result<Transmitted> {
    let mut sum = Transmitted::default();
    for device in devices {
        let one = device.enter(|| device.transmitted())??;
        sum.frames = sum.frames.wrapping_add(one.frames);
        sum.dropped = sum.dropped.wrapping_add(one.dropped);
    }
    Ok(sum)
}

/// What the devices have sent of so many frames, once their counts have come to rest.
fn settle(devices: &[Device], before: Transmitted, made: u64) -> Result<Transmitted> {
    let begin = Instant::now();
    loop {
        let now = transmitted(devices)?;
        let since = Transmitted {
            frames: now.frames.wrapping_sub(before.frames),
            dropped: now.dropped.wrapping_sub(before.dropped),
        };
        if since.frames + since.dropped >= made || begin.elapsed() > SETTLING {
            return Ok(since);
        }
        thread::sleep(Duration::from_millis(2));
    }
}
