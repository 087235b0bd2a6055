//! Meters against an oracle of whole numbers that rounds nothing, and against what the RFCs say.

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::{
    bucket::{Burst, Rate},
    meter::{Colour, Credits, Meter, MeterRates},
};

/// Tokens are counted in nanobits: a rate in bits a second adds exactly so many each nanosecond.
const BYTE: i128 = 8_000_000_000;

fn rate(bits_per_second: u64) -> Rate {
    Rate::new(bits_per_second).expect("a rate")
}

fn burst(bytes: u64) -> Burst {
    Burst::new(bytes).expect("a burst")
}

/// The RFCs' text with exact numbers.
struct Oracle {
    rates: MeterRates,
    aware: bool,
    first: i128,
    second: i128,
    now_ns: u64,
}

impl Oracle {
    fn new(rates: MeterRates, aware: bool) -> Self {
        let (first, second) = Self::depths(&rates);
        Self {
            rates,
            aware,
            first,
            second,
            now_ns: 0,
        }
    }

    fn depths(rates: &MeterRates) -> (i128, i128) {
        let depth = |burst: Burst| i128::from(burst.bytes()) * BYTE;
        match *rates {
            MeterRates::Plain { burst, .. } => (depth(burst), 0),
            MeterRates::SingleRate { cbs, ebs, .. } => (depth(cbs), depth(ebs)),
            MeterRates::TwoRate { cbs, pbs, .. } => (depth(cbs), depth(pbs)),
        }
    }

    fn fill(&mut self, now_ns: u64) {
        let time = i128::from(now_ns - self.now_ns);
        self.now_ns = now_ns;
        let come = |rate: Rate| i128::from(rate.bits_per_second()) * time;
        let (most, most_second) = Self::depths(&self.rates);
        match self.rates {
            MeterRates::Plain { rate, .. } => self.first += come(rate),
            MeterRates::SingleRate { cir, .. } => {
                self.first += come(cir);
                self.second = (self.second + (self.first - most).max(0)).min(most_second);
            }
            MeterRates::TwoRate { cir, pir, .. } => {
                self.first += come(cir);
                self.second = (self.second + come(pir)).min(most_second);
            }
        }
        self.first = self.first.min(most);
    }

    /// The colour of a frame, where `slack` more or fewer tokens are in each bucket.
    fn judge(&self, bytes: usize, came: Colour, slack: [i128; 2]) -> Colour {
        let came = if self.aware { came } else { Colour::Green };
        let cost = bytes as i128 * BYTE;
        let green = came == Colour::Green && self.first + slack[0] >= cost;
        let yellow = came != Colour::Red && self.second + slack[1] >= cost;
        match (&self.rates, green, yellow) {
            (MeterRates::Plain { .. } | MeterRates::SingleRate { .. }, true, _)
            | (MeterRates::TwoRate { .. }, true, true) => Colour::Green,
            (MeterRates::SingleRate { .. } | MeterRates::TwoRate { .. }, false, true) => {
                Colour::Yellow
            }
            _ => Colour::Red,
        }
    }

    /// Takes the tokens of a frame of this colour.
    fn pay(&mut self, bytes: usize, colour: Colour) {
        let cost = bytes as i128 * BYTE;
        let two_rates = matches!(self.rates, MeterRates::TwoRate { .. });
        if colour == Colour::Green {
            self.first -= cost;
        }
        if colour == Colour::Yellow || (colour == Colour::Green && two_rates) {
            self.second -= cost;
        }
    }

    fn measure(&mut self, now_ns: u64, bytes: usize, came: Colour) -> Colour {
        self.fill(now_ns);
        let colour = self.judge(bytes, came, [0, 0]);
        self.pay(bytes, colour);
        colour
    }
}

/// Extreme rates as likely as usual ones.
fn any_rate() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(8_000),
        Just(400_000_000_000),
        Just(Rate::MAX.bits_per_second()),
        (13_u32..39).prop_flat_map(|bits| (1_u64 << bits)..(2 << bits)),
        (1_u64..1000).prop_map(|step| 8_000 + step * 7),
    ]
}

fn any_burst() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(10_000),
        Just(1 << 30),
        (14_u32..29).prop_flat_map(|bits| (1_u64 << bits)..(2 << bits)),
    ]
}

fn any_rates() -> impl Strategy<Value = MeterRates> {
    (0..3, any_rate(), any_rate(), any_burst(), any_burst()).prop_map(
        |(kind, one, other, first, second)| match kind {
            0 => MeterRates::Plain {
                rate: rate(one),
                burst: burst(first),
            },
            1 => MeterRates::SingleRate {
                cir: rate(one),
                cbs: burst(first),
                ebs: burst(second),
            },
            _ => MeterRates::TwoRate {
                cir: rate(one.min(other)),
                cbs: burst(first),
                pir: rate(one.max(other)),
                pbs: burst(second),
            },
        },
    )
}

/// How frames come: with a load relative to the rate, and rests of up to 30 years between.
#[derive(Clone, Debug)]
struct Traffic {
    /// Frame sizes and colours.
    frames: Vec<(usize, u8)>,
    /// The load in percent of the first rate.
    load: u64,
    /// Nanoseconds of silence in the middle.
    rest_ns: u64,
}

fn any_traffic() -> impl Strategy<Value = Traffic> {
    let size = prop_oneof![Just(60_usize), Just(1514), Just(9216), 60_usize..9216];
    let frames = prop::collection::vec((size, 0_u8..3), 300..1500);
    let rest = prop_oneof![
        Just(0),
        0_u64..1_000_000_000,
        Just(86_400_000_000_000),
        Just(300 * 86_400_000_000_000),
    ];
    (frames, 1_u64..1000, rest).prop_map(|(frames, load, rest_ns)| Traffic {
        frames,
        load,
        rest_ns,
    })
}

fn first_rate(rates: &MeterRates) -> u64 {
    match rates {
        MeterRates::Plain { rate, .. } => rate.bits_per_second(),
        MeterRates::SingleRate { cir, .. } | MeterRates::TwoRate { cir, .. } => {
            cir.bits_per_second()
        }
    }
}

/// The times of the frames, in picoseconds, so that the load is right at any rate.
fn times(traffic: &Traffic, rate_bps: u64) -> Vec<u64> {
    let mut time_ps = 0_u128;
    let middle = traffic.frames.len() / 2;
    let next = |(index, (size, _)): (usize, &(usize, u8))| {
        let now = (time_ps / 1000) as u64;
        time_ps +=
            *size as u128 * 800_000_000_000_000 / (u128::from(rate_bps) * u128::from(traffic.load));
        if index == middle {
            time_ps += u128::from(traffic.rest_ns) * 1000;
        }
        now
    };
    traffic.frames.iter().enumerate().map(next).collect()
}

/// The oracle follows the meter's decisions, and each of them must be one that it would have made
/// with slightly more or fewer tokens: with 1/256 of the bursts, which a worker may have bought
/// ahead, and 1/100 000 of all that has come. So an error that adds up shows, however small.
fn compare(rates: MeterRates, aware: bool, traffic: &Traffic) -> Result<(), TestCaseError> {
    let (meter, credits) = (Meter::new(&rates, aware), Credits::default());
    let mut oracle = Oracle::new(rates, aware);
    let (first, second) = Oracle::depths(&rates);
    let ahead = (first + second) / 256 + BYTE;
    let mut come = 0_i128;
    for ((size, came), now_ns) in traffic
        .frames
        .iter()
        .zip(times(traffic, first_rate(&rates)))
    {
        let came = Colour::ALL[usize::from(*came)];
        oracle.fill(now_ns);
        come += *size as i128 * BYTE;
        let slack = ahead + come / 100_000;
        let colour = meter.measure(&credits, now_ns, *size, came);
        let right = [-slack, 0, slack].into_iter().flat_map(|one| {
            let oracle = &oracle;
            [-slack, 0, slack].map(|other| oracle.judge(*size, came, [one, other]))
        });
        let right: Vec<_> = right.collect();
        prop_assert!(
            right.contains(&colour),
            "{colour:?}, not {right:?}, at {now_ns} ns"
        );
        oracle.pay(*size, colour);
    }
    Ok(())
}

#[test]
fn meters_agree_with_the_oracle() {
    let mut runner = TestRunner::new(Config::with_cases(400));
    let strategy = (any_rates(), any::<bool>(), any_traffic());
    runner
        .run(&strategy, |(rates, aware, traffic)| {
            compare(rates, aware, &traffic)
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

/// What passes of endless traffic, in bytes, in so much time after the first burst, by workers that
/// take turns and whose clocks differ by up to a microsecond.
fn saturate(bits_per_second: u64, size: usize, workers: usize, seconds: f64) -> (f64, f64) {
    let rates = MeterRates::Plain {
        rate: rate(bits_per_second),
        burst: burst(100_000),
    };
    let meter = Meter::new(&rates, false);
    let credits: Vec<_> = (0..workers).map(|_| Credits::default()).collect();
    let mut passed = 0_u64;
    let frame_ns = size as f64 * 8e9 / bits_per_second as f64;
    // A quarter more frames than may pass.
    let count = (seconds * 1.25e9 / frame_ns) as u64;
    for index in 0..count {
        let now_ns = (index as f64 * frame_ns / 1.25) as u64;
        let worker = (index * 7 % 11) as usize % workers;
        let lagging = now_ns.saturating_sub(index * 131 % 1000);
        if meter.measure(&credits[worker], lagging, size, Colour::Green) == Colour::Green {
            passed += size as u64;
        }
    }
    let whole = count as f64 * frame_ns / 1.25 / 1e9 * bits_per_second as f64 / 8.0;
    (passed as f64, whole)
}

#[test]
fn the_rate_is_kept_to_one_percent_for_any_size_and_number_of_workers() {
    for bits_per_second in [
        8_000,
        1_000_000,
        999_999_937,
        10_000_000_000,
        400_000_000_000,
    ] {
        for size in [60, 61, 1514, 9216] {
            for workers in [1, 2, 7, 32] {
                // As long as 200 000 frames take.
                let seconds = 2e5 * size as f64 * 8.0 / bits_per_second as f64;
                let (passed, allowed) = saturate(bits_per_second, size, workers, seconds);
                let most = allowed * 1.001 + 100_000.0 * (1.0 + workers as f64 / 256.0);
                // Each worker may be left with the credit of almost a frame.
                let least = allowed * 0.999 - (workers * size) as f64;
                assert!(
                    (least..=most).contains(&passed),
                    "{bits_per_second} bit/s, {size} bytes, {workers} workers: {passed}, \
                     not {least} to {most}"
                );
            }
        }
    }
}

#[test]
fn no_fraction_is_lost_in_a_day_of_single_frames() {
    // A byte takes 24 ns and a third, and the visits are those of 86 400 seconds, ten a second.
    let rates = MeterRates::Plain {
        rate: rate(328_767_123),
        burst: burst(10_000),
    };
    let (meter, credits) = (Meter::new(&rates, false), Credits::default());
    let mut oracle = Oracle::new(rates, false);
    let (mut ours, mut theirs) = (0, 0);
    for step in 0..864_000_u64 {
        // Four small frames at a time, spread so that the bucket is always nearly empty.
        let now_ns = step * 5_840 + step % 7;
        for size in [60, 67, 73, 61] {
            ours +=
                u64::from(meter.measure(&credits, now_ns, size, Colour::Green) == Colour::Green);
            theirs += u64::from(oracle.measure(now_ns, size, Colour::Green) == Colour::Green);
        }
    }
    assert!(
        theirs < 4 * 864_000 - 10_000,
        "the bucket was the limit: {theirs}"
    );
    assert!(ours.abs_diff(theirs) < 10, "{ours} and {theirs}");
}

/// The colours of frames, as (milliseconds, bytes, the colour they come with, expected).
fn check(rates: MeterRates, aware: bool, frames: &[(u64, usize, Colour, Colour)]) {
    let (meter, credits) = (Meter::new(&rates, aware), Credits::default());
    let mut oracle = Oracle::new(rates, aware);
    for (index, (ms, size, came, expected)) in frames.iter().enumerate() {
        let now_ns = ms * 1_000_000;
        let colour = meter.measure(&credits, now_ns, *size, *came);
        assert_eq!(colour, *expected, "frame {index} of {rates:?}");
        assert_eq!(
            oracle.measure(now_ns, *size, *came),
            *expected,
            "the oracle at {index}"
        );
    }
}

// In these, 1 kB comes a millisecond.

#[test]
fn what_rfc_2697_says() {
    use Colour::{Green, Red, Yellow};
    let single = MeterRates::SingleRate {
        cir: rate(8_000_000),
        cbs: burst(10_000),
        ebs: burst(10_000),
    };
    let spent = [
        (0, 6000, Green, Green),
        (0, 6000, Green, Yellow),
        (0, 6000, Green, Red),
        (0, 4000, Green, Green),
        (0, 4000, Green, Yellow),
        (0, 100, Green, Red),
        // 5 kB have come, all of them to the committed bucket.
        (5, 6000, Green, Red),
        (5, 5000, Green, Green),
        // 15 kB have come: 10 fill the first bucket, 5 run over into the second.
        (20, 9000, Green, Green),
        (20, 5000, Green, Yellow),
        (20, 1000, Green, Green),
        (20, 1, Green, Red),
    ];
    check(single, false, &spent);
    check(
        single,
        true,
        &[
            (0, 6000, Yellow, Yellow),
            (0, 6000, Yellow, Red),
            (0, 6000, Green, Green),
            (0, 60, Red, Red),
            (0, 4000, Green, Green),
            (0, 4000, Green, Yellow),
        ],
    );
}

#[test]
fn what_rfc_2698_says() {
    use Colour::{Green, Red, Yellow};
    let two = MeterRates::TwoRate {
        cir: rate(8_000_000),
        cbs: burst(10_000),
        pir: rate(16_000_000),
        pbs: burst(20_000),
    };
    check(
        two,
        false,
        &[
            (0, 8000, Green, Green),
            (0, 8000, Green, Yellow),
            (0, 8000, Green, Red),
            (0, 2000, Green, Green),
            (0, 2000, Green, Yellow),
            (0, 60, Green, Red),
            // 4 kB to the peak bucket, 2 kB to the committed one.
            (2, 2000, Green, Green),
            (2, 2000, Green, Yellow),
            (2, 60, Green, Red),
        ],
    );
    check(
        two,
        true,
        &[
            (0, 8000, Yellow, Yellow),
            (0, 60, Red, Red),
            (0, 8000, Green, Green),
            (0, 5000, Green, Red),
            (0, 4000, Yellow, Yellow),
        ],
    );
}

#[test]
fn a_plain_bucket_is_green_or_red() {
    use Colour::{Green, Red, Yellow};
    let plain = MeterRates::Plain {
        rate: rate(8_000_000),
        burst: burst(10_000),
    };
    check(
        plain,
        true,
        &[
            (0, 60, Yellow, Red),
            (0, 10_000, Green, Green),
            (0, 1, Green, Red),
            (1, 1000, Green, Green),
            (1, 1, Green, Red),
        ],
    );
}

#[test]
fn a_clock_that_is_behind_gets_nothing_and_breaks_nothing() {
    let rates = MeterRates::Plain {
        rate: rate(8_000_000),
        burst: burst(10_000),
    };
    let (meter, credits) = (Meter::new(&rates, false), Credits::default());
    let at = |now_ns, size| meter.measure(&credits, now_ns, size, Colour::Green);
    assert_eq!(at(1_000_000_000, 10_000), Colour::Green);
    assert_eq!(at(999_000_000, 60), Colour::Red, "no tokens of the past");
    assert_eq!(at(1_001_000_000, 1000), Colour::Green);
}
