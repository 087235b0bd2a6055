//! RFC 2889 about addresses: how many are known at once (5.7), and how fast they are learnt (5.8).
//!
//! Three ports, as the RFC has them: frames with new source addresses go in by the *learning* port,
//! then one frame to each of those addresses goes in by the *test* port. What comes out of the
//! *monitor* port has been flooded: its address was not known.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use shunt_tests::{
    sys,
    traffic::{Frame, Mac},
};

use super::{check::Socket, search::largest};
use crate::compare::{
    bed::{Bed, GUEST_CORE},
    peers::{Peer, Running},
    signals,
};

/// Addresses that are looked for at most.
pub const MOST: u64 = 262_144;
/// Frames a second that no contender loses.
const CALM_FPS: f64 = 60_000.0;
/// Addresses of a trial of the rate: well below all capacities.
const RATE_ADDRESSES: u64 = 4096;
/// New addresses a second that are tried, the highest first; sockets send no faster.
const RATES: [f64; 6] = [400e3, 300e3, 200e3, 100e3, 50e3, 10e3];
/// Part of the addresses that a trial may lose on the way to or from the switch before it is not
/// one of learning.
const MOST_LOST: f64 = 0.001;
/// Time for the last frames.
const ARRIVAL: Duration = Duration::from_millis(100);

const LEARNING: usize = 0;
const TEST: usize = 1;
const MONITOR: usize = 2;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Addresses that are known at once.
    pub capacity: u64,
    /// Whether the search ended at [`MOST`].
    pub is_limit: bool,
    /// New addresses a second that are all learnt; none if the slowest rate is too fast.
    pub rate_per_s: Option<f64>,
}

/// One trial.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Outcome {
    /// Frames that came out of the monitor port.
    flooded: u64,
    /// Frames that came out of the learning port.
    arrived: u64,
    addresses: u64,
    /// New addresses a second, as they were sent.
    rate: f64,
}

impl Outcome {
    fn is_learnt(&self) -> bool {
        // A frame that was flooded also arrives; what does not was lost for another reason.
        self.flooded == 0 && self.arrived >= self.addresses - self.most_lost()
    }

    fn most_lost(&self) -> u64 {
        (self.addresses as f64 * MOST_LOST) as u64
    }
}

/// Measures one contender; each trial has a bed of its own, so that no table holds anything yet.
///
/// # Errors
/// When it cannot be set up.
pub fn measure(peer: Peer) -> Result<Found> {
    let (capacity, is_limit) = largest(MOST, |addresses| {
        Ok(on_new_bed(peer, addresses, CALM_FPS)?.is_learnt())
    })?;
    let mut rate_per_s = None;
    for rate in RATES {
        let outcome = on_new_bed(peer, RATE_ADDRESSES, rate)?;
        if outcome.is_learnt() {
            rate_per_s = Some(outcome.rate);
            break;
        }
    }
    Ok(Found {
        capacity,
        is_limit,
        rate_per_s,
    })
}

fn on_new_bed(peer: Peer, addresses: u64, rate: f64) -> Result<Outcome> {
    let bed = Bed::new(peer.plan(3))?;
    let mut running = peer.set_up(&bed)?;
    let outcome = trial(&bed, &mut running, addresses, rate)?;
    running.tear_down()?;
    Ok(outcome)
}

fn trial(bed: &Bed, running: &mut Running, addresses: u64, rate: f64) -> Result<Outcome> {
    let open = |guest| Socket::open(bed, guest);
    let [learning, test, monitor] = [open(LEARNING)?, open(TEST)?, open(MONITOR)?];
    let test_mac = bed.guests[TEST].mac;
    // The test port's own address is learnt first, so that nothing of the rest is flooded.
    warm_up(&learning, &test, bed)?;
    for socket in [&learning, &monitor] {
        socket.only_count()?;
    }
    let to_switch = |number| Frame::new(test_mac, address(number));
    let sent_in = bed.guests[LEARNING]
        .namespace
        .enter(|| send_all(&learning, addresses, rate, to_switch))??;
    signals::sleep(ARRIVAL)?;
    learning.count()?;
    monitor.count()?;
    let from_switch = |number| Frame::new(address(number), test_mac);
    bed.guests[TEST]
        .namespace
        .enter(|| send_all(&test, addresses, CALM_FPS, from_switch))??;
    signals::sleep(ARRIVAL)?;
    running.check()?;
    Ok(Outcome {
        flooded: monitor.count()?,
        arrived: learning.count()?,
        addresses,
        rate: addresses as f64 / sent_in.as_secs_f64(),
    })
}

fn warm_up(learning: &Socket, test: &Socket, bed: &Bed) -> Result<()> {
    let frame = Frame::new([0xff; 6], bed.guests[TEST].mac).bytes();
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        signals::check()?;
        test.send(&frame)?;
        if learning.receive(Duration::from_millis(100))?.is_some() {
            return Ok(());
        }
    }
    Err(anyhow::anyhow!("no frame gets through"))
}

/// Sends one frame for each number at an even rate; gives how long that took.
fn send_all(
    socket: &Socket,
    count: u64,
    rate: f64,
    frame: impl Fn(u64) -> Frame,
) -> Result<Duration> {
    sys::pin_to_core(GUEST_CORE).context("pin")?;
    let begin = Instant::now();
    for number in 0..count {
        let bytes = frame(number).bytes();
        let due = Duration::from_secs_f64(number as f64 / rate);
        if number.is_multiple_of(64) {
            signals::check()?;
        }
        while begin.elapsed() < due {
            std::hint::spin_loop();
        }
        socket.send(&bytes)?;
    }
    Ok(begin.elapsed())
}

/// An address of nobody else, spread as a vendor's are: counted up.
fn address(number: u64) -> Mac {
    let [.., a, b, c, d] = number.to_be_bytes();
    [0x02, 0x4c, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_not_learning_and_neither_is_loss() {
        let good = Outcome {
            flooded: 0,
            arrived: 10_000,
            addresses: 10_000,
            rate: 1.0,
        };
        assert!(good.is_learnt());
        let a_few_lost = Outcome {
            arrived: 9_990,
            ..good
        };
        assert!(a_few_lost.is_learnt());
        let lost = Outcome {
            arrived: 9_989,
            ..good
        };
        let flooded = Outcome { flooded: 1, ..good };
        assert!(!lost.is_learnt() && !flooded.is_learnt());
    }
}
