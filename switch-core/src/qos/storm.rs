//! Storm control: how many frames of a kind that goes to all ports one port may send.

use super::{
    bucket::{Burst, Rate},
    meter::{Colour, MeterRates},
    policer::{Action, Metered, Policer, PolicerRules},
};
use crate::limits::WorkerIndex;

/// Why a frame goes to all ports of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// To the broadcast address.
    Broadcast,
    /// To another group address.
    Multicast,
    /// To a station that nobody knows where it is.
    UnknownUnicast,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Broadcast, Self::Multicast, Self::UnknownUnicast];

    /// The word in JSON and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::Multicast => "multicast",
            Self::UnknownUnicast => "unknown_unicast",
        }
    }
}

/// How much may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StormRate {
    /// Frames, however long.
    Frames(FrameRate),
    /// Bits.
    Bits(Rate),
}

/// Frames a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameRate(u32);

/// What a frame counts as where frames are counted. So the lowest rate, one frame a second, is not
/// below the lowest of a bucket, and the highest not above the highest.
const FRAME_BYTES: usize = 1024;

impl FrameRate {
    /// The highest rate, far above what a port can do.
    pub const MAX: Self = Self(100_000_000);
    /// What `security = "strict"` allows of each kind: a guest that looks for its neighbours, and
    /// joins groups, needs some tens of frames a second.
    pub const STRICT: Self = Self(1000);

    /// So many frames a second; nothing where that is out of range.
    #[must_use]
    pub const fn new(frames_per_second: u32) -> Option<Self> {
        if frames_per_second == 0 || frames_per_second > Self::MAX.0 {
            None
        } else {
            Some(Self(frames_per_second))
        }
    }

    /// Frames a second.
    #[must_use]
    pub const fn per_second(self) -> u32 {
        self.0
    }

    fn as_bits(self) -> u64 {
        self.0 as u64 * FRAME_BYTES as u64 * 8
    }
}

const _: () = assert!(FRAME_BYTES as u64 * 8 >= Rate::MIN.bits_per_second());
const _: () =
    assert!(FrameRate::MAX.0 as u64 * FRAME_BYTES as u64 * 8 <= Rate::MAX.bits_per_second());

/// Fewest frames, and bytes, that may come at once.
const LEAST_BURST: u64 = 64 << 10;

impl StormRate {
    /// What may come at once: what the rate allows in 100 ms, 64 frames or 64 KiB at least.
    fn meter(self) -> MeterRates {
        let bits = match self {
            Self::Frames(rate) => rate.as_bits(),
            Self::Bits(rate) => rate.bits_per_second(),
        };
        let burst = (bits / 80).clamp(LEAST_BURST, Burst::MAX.bytes());
        MeterRates::Plain {
            rate: Rate::new(bits).unwrap_or(Rate::MAX),
            burst: Burst::new(burst).unwrap_or(Burst::MAX),
        }
    }
}

/// The rates of a port, by kind; none: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StormRates {
    /// Of frames to all.
    pub broadcast: Option<StormRate>,
    /// Of frames to groups.
    pub multicast: Option<StormRate>,
    /// Of frames to nobody knows where.
    pub unknown_unicast: Option<StormRate>,
}

impl StormRates {
    /// The rate of a kind.
    #[must_use]
    pub const fn get(&self, kind: Kind) -> Option<StormRate> {
        match kind {
            Kind::Broadcast => self.broadcast,
            Kind::Multicast => self.multicast,
            Kind::UnknownUnicast => self.unknown_unicast,
        }
    }
}

/// Storm control at work at one port, shared by all workers as policers are.
#[derive(Debug)]
pub struct Storm {
    rates: StormRates,
    /// By kind.
    policers: [Option<Box<Policer>>; Kind::ALL.len()],
}

impl Storm {
    /// One that has seen nothing; nothing at all where nothing is limited.
    #[must_use]
    pub fn new(rates: StormRates) -> Option<Self> {
        let policer = |kind: Kind| {
            rates.get(kind).map(|rate| {
                Box::new(Policer::new(PolicerRules {
                    name: kind.name().into(),
                    rates: rate.meter(),
                    colour_aware: false,
                    yellow: Action::Pass,
                    red: Action::Drop,
                }))
            })
        };
        (rates != StormRates::default()).then(|| Self {
            rates,
            policers: Kind::ALL.map(policer),
        })
    }

    /// Another one with the same in its buckets, that has counted nothing.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let policer = |policer: &Option<Box<Policer>>| {
            let policer = policer.as_ref();
            policer.map(|policer| Box::new(policer.duplicate()))
        };
        Self {
            rates: self.rates,
            policers: self.policers.each_ref().map(policer),
        }
    }

    /// The rates.
    #[must_use]
    pub const fn rates(&self) -> &StormRates {
        &self.rates
    }

    /// Whether a frame may go to all, for the worker that has it; it is counted.
    pub fn admits(&self, kind: Kind, worker: WorkerIndex, now_ns: u64, bytes: usize) -> bool {
        let Some(policer) = &self.policers[kind as usize] else {
            return true;
        };
        let bytes = match self.rates.get(kind) {
            Some(StormRate::Frames(_)) => FRAME_BYTES,
            _ => bytes,
        };
        let measured = policer.police(worker, now_ns, bytes, Colour::Green);
        measured.is_ok()
    }

    /// Frames of a kind that passed, and that did not. Where frames are counted, not bytes, the
    /// bytes mean nothing.
    #[must_use]
    pub fn counted(&self, kind: Kind) -> [u64; 2] {
        let policer = self.policers[kind as usize].as_ref();
        let frames = |colour| {
            let Metered { frames, .. } = policer.map(|p| p.metered(colour)).unwrap_or_default();
            frames
        };
        [frames(Colour::Green), frames(Colour::Red)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storm(rate: StormRate) -> Storm {
        Storm::new(StormRates {
            multicast: Some(rate),
            ..StormRates::default()
        })
        .expect("something is limited")
    }

    fn pass(storm: &Storm, now_ns: u64, bytes: usize, count: usize) -> usize {
        let worker = |index: usize| WorkerIndex::new(index % 3);
        let admitted = |index: &usize| storm.admits(Kind::Multicast, worker(*index), now_ns, bytes);
        (0..count).filter(admitted).count()
    }

    #[test]
    fn frames_are_counted_whatever_their_size() {
        let check = |rate: u32, burst: usize| {
            for bytes in [60, 9000] {
                let storm = storm(StormRate::Frames(FrameRate::new(rate).expect("a rate")));
                assert_eq!(pass(&storm, 0, bytes, 2 * burst), burst, "{rate}");
                // A tenth of a second later.
                let come = (rate as usize / 10).min(burst);
                assert_eq!(pass(&storm, 100_000_000, bytes, 2 * burst), come, "{rate}");
                let dropped = 3 * burst - come;
                assert_eq!(
                    storm.counted(Kind::Multicast),
                    [(burst + come) as u64, dropped as u64]
                );
                assert!(storm.admits(Kind::Broadcast, WorkerIndex::new(0), 0, bytes));
            }
        };
        check(1, 64);
        check(100, 64);
        check(1000, 100);
        check(10_000, 1000);
    }

    #[test]
    fn bits_are_counted_by_size() {
        let storm = storm(StormRate::Bits(Rate::new(8_000_000).expect("a rate")));
        assert_eq!(pass(&storm, 0, 1000, 200), 100);
        assert_eq!(pass(&storm, 10_000_000, 500, 200), 20);
    }

    #[test]
    fn nothing_is_limited() {
        assert!(Storm::new(StormRates::default()).is_none());
        assert_eq!(FrameRate::new(0), None);
        assert_eq!(FrameRate::new(100_000_001), None);
    }
}
