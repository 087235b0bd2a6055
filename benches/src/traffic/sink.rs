//! What arrives.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{HashMap, MapData, PerCpuArray, PerCpuValues},
    programs::{
        Xdp,
        xdp::{XdpLinkId, XdpMode},
    },
    util::nr_cpus,
};
use bench_ebpf::{COUNTS, Count, EXTREMES, Extreme, histogram::CLASSES};

use super::{Device, Histogram, live::OBJECT};

/// How a sink gets its frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SinkMode {
    /// In the driver: the fastest, and it gives a veth the NAPI that its far end needs.
    #[default]
    Native,
    /// In the kernel's stack: any device.
    Generic,
    /// In the driver, and addresses and flows are told apart, which costs some hundred ns a frame.
    Telling,
}

/// Counts and drops everything that a device receives, until it is dropped itself.
pub struct Sink {
    /// Holds the program, and with it the link.
    ebpf: Ebpf,
    counts: PerCpuArray<MapData, [u64; COUNTS]>,
    extremes: PerCpuArray<MapData, [u64; EXTREMES]>,
    latencies: PerCpuArray<MapData, [u64; CLASSES]>,
    /// What was there at the last look.
    taken: ([u64; COUNTS], Histogram),
}

/// How many different addresses and flows there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Distinct {
    /// Source addresses.
    pub sources: u64,
    /// Destination addresses.
    pub destinations: u64,
    /// Flows by IP source address and UDP ports.
    pub flows: u64,
}

/// What has come since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Frames of a generator: of ours, or of the kernel's pktgen.
    pub frames: u64,
    /// Bytes of those, without FCS.
    pub bytes: u64,
    /// Frames of anybody else.
    pub foreign_frames: u64,
    /// Bytes of those, without FCS.
    pub foreign_bytes: u64,
    /// Frames that came after one with a higher number by the same CPU.
    pub reordered: u64,
    /// Frames with one tag.
    pub single_tagged: u64,
    /// Frames with two tags.
    pub double_tagged: u64,
    /// The highest number of a frame, + 1: as many were sent at least, by one generator.
    pub next_sequence: u64,
    /// Size of the smallest frame, without FCS. `None` when none came.
    pub smallest: Option<u64>,
    /// Size of the largest frame, without FCS.
    pub largest: Option<u64>,
    /// The VID of the last tagged frame's outer tag.
    pub outer_vid: Option<u16>,
    /// The VID of the last tagged frame's inner tag.
    pub inner_vid: Option<u16>,
    /// How long frames were on their way, of those that say when they were made.
    pub latency: Histogram,
}

impl Received {
    /// Frames that are missing among those that were sent, as far as their numbers tell.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.next_sequence.saturating_sub(self.frames)
    }

    /// Adds what came later.
    pub fn add(&mut self, later: &Self) {
        self.frames += later.frames;
        self.bytes += later.bytes;
        self.foreign_frames += later.foreign_frames;
        self.foreign_bytes += later.foreign_bytes;
        self.reordered += later.reordered;
        self.single_tagged += later.single_tagged;
        self.double_tagged += later.double_tagged;
        self.next_sequence = self.next_sequence.max(later.next_sequence);
        self.smallest = [self.smallest, later.smallest].into_iter().flatten().min();
        self.largest = self.largest.max(later.largest);
        self.outer_vid = later.outer_vid.or(self.outer_vid);
        self.inner_vid = later.inner_vid.or(self.inner_vid);
        self.latency.add(&later.latency);
    }
}

impl Sink {
    /// Begins to count and drop what a device receives.
    ///
    /// # Errors
    /// When the kernel refuses: without root, when there is a program already, or when the driver
    /// has no XDP.
    pub fn attach(device: &Device, mode: SinkMode) -> Result<Self> {
        let (names, xdp_mode): (&[&str], _) = match mode {
            SinkMode::Native => (&["shunt_sink_sg", "shunt_sink"], XdpMode::Driver),
            SinkMode::Generic => (&["shunt_sink_sg", "shunt_sink"], XdpMode::Skb),
            SinkMode::Telling => (&["shunt_sink_tell"], XdpMode::Driver),
        };
        let mut ebpf = Ebpf::load(OBJECT).context(
            "the kernel takes no eBPF maps from here: it needs root, or CAP_BPF and CAP_NET_ADMIN",
        )?;
        let mut result = Ok(());
        for name in names {
            let attached = device.enter(|| attach(&mut ebpf, name, device.ifindex(), xdp_mode))?;
            result = attached.map(drop);
            if result.is_ok() {
                break;
            }
        }
        result.with_context(|| format!("no sink at {}", device.place()))?;
        let mut map = |name: &str| ebpf.take_map(name).with_context(|| format!("map {name}"));
        Ok(Self {
            counts: PerCpuArray::try_from(map("COUNTS")?)?,
            extremes: PerCpuArray::try_from(map("EXTREMES")?)?,
            latencies: PerCpuArray::try_from(map("LATENCIES")?)?,
            ebpf,
            taken: ([0; COUNTS], Histogram::default()),
        })
    }

    /// What has come since this was last called, or since the sink is there. A frame that comes
    /// during the call is in this or in the next one's, but its extremes may be lost.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn take(&mut self) -> Result<Received> {
        let mut counts = [0; COUNTS];
        for of_cpu in self.counts.get(&0, 0)?.iter() {
            for (sum, count) in counts.iter_mut().zip(of_cpu) {
                *sum += count;
            }
        }
        let mut latency = Histogram::default();
        for of_cpu in self.latencies.get(&0, 0)?.iter() {
            latency.add(&Histogram::of(of_cpu));
        }
        let extremes = self.take_extremes()?;
        let (counts_before, latency_before) = &self.taken;
        let count = |which: Count| counts[which as usize] - counts_before[which as usize];
        let extreme = |which: Extreme| extremes[which as usize];
        let vid = |which| extreme(which).checked_sub(1).map(|vid| vid as u16);
        let has_frames = extreme(Extreme::Largest) > 0;
        let received = Received {
            frames: count(Count::Frames),
            bytes: count(Count::Bytes),
            foreign_frames: count(Count::ForeignFrames),
            foreign_bytes: count(Count::ForeignBytes),
            reordered: count(Count::Reordered),
            single_tagged: count(Count::SingleTagged),
            double_tagged: count(Count::DoubleTagged),
            next_sequence: extreme(Extreme::NextSequence),
            smallest: has_frames.then(|| 65_536 - extreme(Extreme::Smallest)),
            largest: has_frames.then(|| extreme(Extreme::Largest)),
            outer_vid: vid(Extreme::OuterVid),
            inner_vid: vid(Extreme::InnerVid),
            latency: latency.since(latency_before),
        };
        self.taken = (counts, latency);
        Ok(received)
    }

    /// The highest of each extreme, which are 0 afterwards.
    fn take_extremes(&mut self) -> Result<[u64; EXTREMES]> {
        let mut highest = [0; EXTREMES];
        for of_cpu in self.extremes.get(&0, 0)?.iter() {
            for (high, value) in highest.iter_mut().zip(of_cpu) {
                *high = (*high).max(*value);
            }
        }
        let cpus = nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
        let zeros = PerCpuValues::try_from(vec![[0; EXTREMES]; cpus])?;
        self.extremes.set(0, zeros, 0)?;
        Ok(highest)
    }

    /// How many different addresses and flows have come since the sink is there: a million of each
    /// at most, and none but with [`SinkMode::Telling`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn distinct(&self) -> Result<Distinct> {
        Ok(Distinct {
            sources: self.entries("SOURCES")?,
            destinations: self.entries("DESTINATIONS")?,
            flows: self.entries("FLOWS")?,
        })
    }

    fn entries(&self, name: &str) -> Result<u64> {
        let map = self.ebpf.map(name).with_context(|| format!("map {name}"))?;
        let map: HashMap<_, u64, u8> = HashMap::try_from(map)?;
        let mut entries = 0;
        for key in map.keys() {
            key?;
            entries += 1;
        }
        Ok(entries)
    }
}

/// Loads a program and attaches it to a device of the calling thread's namespace.
fn attach(ebpf: &mut Ebpf, name: &str, ifindex: u32, mode: XdpMode) -> Result<XdpLinkId> {
    let program: &mut Xdp = ebpf.program_mut(name).context("the program")?.try_into()?;
    program
        .load()
        .context("the kernel refuses the sink's program")?;
    let link = program.attach_to_if_index(ifindex, mode);
    link.context("has it a program already, or its driver no XDP (then: --generic)?")
}
