//! What the programs of the generator and the sink share with user space: the plan of a run, the
//! order of frames, how a frame is written and read, and the classes of a histogram.
//!
//! It is plain Rust, generic over how a frame's bytes are reached, so that ordinary tests run the
//! very code that the kernel runs, and a packet socket sends the very same frames.
//!
//! A frame is reached in words of 16 bits: its start is aligned to 8 bytes, and everything before
//! the payload's end is at an even offset, so each word is one aligned access.
#![no_std]

pub mod frame;
pub mod histogram;

/// Sizes that take turns: the 12 frames of IMIX.
pub const MAX_SIZES: usize = 12;

/// Devices that take turns.
pub const MAX_DEVICES: u32 = 16;

/// Nanoseconds are counted in units of 1 / 2^16 where rounding would add up.
pub const FRACTION_BITS: u32 = 16;

/// What a run of the generator shall send. User space writes it before the run.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// First source address, its first byte highest; the others count up.
    pub source: u64,
    /// First destination address.
    pub destination: u64,
    /// How many source addresses take turns, at least 1.
    pub source_count: u64,
    /// How many destination addresses take turns, at least 1.
    pub destination_count: u64,
    /// How many UDP flows take turns, at least 1.
    pub flow_count: u64,
    /// Frames after which the run ends.
    pub count: u64,
    /// Nanoseconds after which the run ends.
    pub length_ns: u64,
    /// From one burst's beginning to the next, in 1 / 2^16 ns; 0 is as fast as possible.
    pub interval: u64,
    /// TPID and TCI of each tag, the outermost first.
    pub tags: [[u16; 2]; 2],
    /// Bytes of the frames that take turns, without FCS.
    pub sizes: [u16; MAX_SIZES],
    /// How many of `sizes` there are, at least 1.
    pub size_count: u32,
    /// The largest of `sizes`: what the kernel has made the frames like.
    pub largest: u32,
    /// Frames of a burst, at least 1.
    pub burst: u32,
    /// Whether each frame carries the time; 0 or 1.
    pub is_stamped: u32,
    /// How many devices the frames are sent by in turns, at least 1.
    pub device_count: u32,
    /// A burst that is later than this is not caught up with: what would have been sent in the
    /// meantime is left out, and counted. Otherwise each pause of the machine would end in a flood
    /// that nobody asked for.
    pub most_late_ns: u32,
}

/// How far a run is. All zero before it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Frames that were made; the next one's number.
    pub sequence: u64,
    /// The next frame's source address.
    pub source: u64,
    /// The next frame's destination address.
    pub destination: u64,
    /// The next frame's flow.
    pub flow: u64,
    /// The next frame's position in [`Plan::sizes`].
    pub size: u64,
    /// The next frame's device.
    pub device: u64,
    /// When the run began, in ns of the monotonic clock; 0 before.
    pub began_ns: u64,
    /// When the last burst began, in ns after that.
    pub last_ns: u64,
    /// When the next burst is due, in 1 / 2^16 ns after the beginning.
    pub due: u64,
    /// Frames that this burst still has.
    pub left: u64,
    /// Turns of the kernel's batch that pass unused, so that it begins with the burst again.
    pub skipped: u64,
    /// Time that was lost and not caught up with.
    pub given_up_ns: u64,
    /// Not 0 once everything is sent, or the time is over.
    pub has_ended: u64,
}

/// What one frame is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Source address.
    pub source: u64,
    /// Destination address.
    pub destination: u64,
    /// Number of the UDP flow, from 0.
    pub flow: u64,
    /// The frame's number, from 0.
    pub sequence: u64,
    /// When it was made, in ns; 0 when it does not say.
    pub time_ns: u64,
    /// Bytes without FCS.
    pub size: u16,
    /// Number of the device that sends it, from 0.
    pub device: u32,
}

impl Progress {
    /// The next frame, without its time.
    #[inline(always)]
    pub fn next(&mut self, plan: &Plan) -> Fields {
        let size = plan.sizes.get(self.size as usize).copied();
        let fields = Fields {
            source: plan.source.wrapping_add(self.source),
            destination: plan.destination.wrapping_add(self.destination),
            flow: self.flow,
            sequence: self.sequence,
            time_ns: 0,
            size: size.unwrap_or(0),
            device: self.device as u32,
        };
        step(&mut self.source, plan.source_count);
        step(&mut self.destination, plan.destination_count);
        step(&mut self.flow, plan.flow_count);
        step(&mut self.size, plan.size_count as u64);
        step(&mut self.device, plan.device_count as u64);
        self.sequence += 1;
        fields
    }

    /// Whether nothing more shall be sent, so long after the beginning.
    #[inline(always)]
    pub fn is_over(&self, plan: &Plan, elapsed_ns: u64) -> bool {
        self.sequence >= plan.count || elapsed_ns >= plan.length_ns
    }

    /// When the next burst is due, in ns after the beginning.
    #[inline(always)]
    #[must_use]
    pub fn due_ns(&self) -> u64 {
        self.due >> FRACTION_BITS
    }

    /// Begins a burst. Gives how late it is in ns.
    #[inline(always)]
    pub fn begin_burst(&mut self, plan: &Plan, elapsed_ns: u64) -> u64 {
        let late_ns = elapsed_ns.saturating_sub(self.due_ns());
        if plan.interval > 0 && late_ns > plan.most_late_ns as u64 {
            self.given_up_ns += late_ns;
            self.due = elapsed_ns << FRACTION_BITS;
        }
        self.due += plan.interval;
        self.last_ns = elapsed_ns;
        self.left = plan.burst as u64;
        late_ns
    }
}

/// The next of `count` positions. A comparison, for a division costs as much as all the rest.
#[inline(always)]
fn step(position: &mut u64, count: u64) {
    *position += 1;
    if *position >= count {
        *position = 0;
    }
}

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $variant:ident,)+) => {
        /// What the sink counts, by CPU.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Count {
            $($(#[doc = $doc])+ $variant,)+
        }

        /// How many counts there are.
        pub const COUNTS: usize = [$(Count::$variant,)+].len();
    };
}

counts! {
    /// Frames of a generator of ours, or of the kernel's pktgen.
    Frames,
    /// Bytes of those, without FCS.
    Bytes,
    /// Frames of anybody else.
    ForeignFrames,
    /// Bytes of those.
    ForeignBytes,
    /// Frames that came after one with a higher number.
    Reordered,
    /// Frames with one tag.
    SingleTagged,
    /// Frames with two tags.
    DoubleTagged,
}

/// What the sink knows beside counts, by CPU. User space sets it to 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Extreme {
    /// The highest number of a frame, + 1.
    NextSequence,
    /// Size of the largest frame.
    Largest,
    /// 65 536 less the size of the smallest frame.
    Smallest,
    /// 1 + the VID of the last tagged frame's outer tag.
    OuterVid,
    /// 1 + the VID of the last tagged frame's inner tag.
    InnerVid,
}

/// How many extremes there are.
pub const EXTREMES: usize = Extreme::InnerVid as usize + 1;

/// A number that is lower by more than this belongs to a new run, not to a late frame.
pub const RESTART: u64 = 1 << 20;

/// Distinct addresses or flows that the sink can tell apart, each.
pub const MAX_DISTINCT: u32 = 1 << 20;
