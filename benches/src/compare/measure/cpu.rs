//! Processor time: what a million frames take, and what nothing takes.
//!
//! Frames cost time in many names: the contender's, the sender's, `ksoftirqd`'s, and that of
//! whoever happened to run, or of nobody, where an interrupt did the work. So everything is counted
//! for which the cores were not idle, and what the sender alone takes is subtracted: it is measured
//! first, on a bed where its frames are dropped by a program at the first device. What else runs
//! on the machine is counted too.
//!
//! When idle, only the contender's threads count, by their `schedstat`, to the nanosecond.

use std::{
    os::fd::AsFd as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use shunt_tests::{sys, traffic::Frame};

use crate::{
    compare::{
        bed::{Bed, GUEST_CORE, GUEST_DEVICE},
        peers::{Peer, Running},
        process::{Away, ThreadTimes},
        signals,
    },
    traffic::{Device, Sink, SinkMode},
};

/// Frames a second that are offered to everybody: so many that a sender which sleeps between its
/// bursts can keep the rate.
pub const OFFERED_FPS: f64 = 100_000.0;
/// Frames of a burst; the sender sleeps until the next is due.
const BURST: u64 = 32;
/// What may be missing: the rate is meant to be one that all forward.
const MOST_LOST: f64 = 0.01;

/// What so many frames took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Processor time in ms for a million frames.
    pub ms_per_million: f64,
    /// Frames a second.
    pub offered_fps: f64,
}

/// What frames through a contender take, without what the [sender alone](sender_alone) takes.
///
/// # Errors
/// When frames are lost, or the kernel refuses.
pub fn per_million(bed: &Bed, alone: Run, length: Duration) -> Result<Cost> {
    let guest = &bed.guests[1].namespace;
    let mut sink = Sink::attach(
        &Device::open(Some(guest.name()), GUEST_DEVICE)?,
        SinkMode::Native,
    )?;
    let run = Run::take(bed, length)?;
    thread::sleep(Duration::from_millis(20));
    let seen = sink.take()?;
    let arrived = seen.frames + seen.foreign_frames;
    ensure!(
        arrived as f64 >= run.frames as f64 * (1.0 - MOST_LOST),
        "{arrived} of {} frames arrived",
        run.frames
    );
    Ok(Cost {
        ms_per_million: (run.ms_per_million() - alone.ms_per_million()).max(0.0),
        offered_fps: run.frames as f64 / run.took.as_secs_f64(),
    })
}

/// What the sender takes by itself. To be called before the contender runs: one that spins would
/// leave nothing of its core idle.
///
/// # Errors
/// When there is no bed for it, or the kernel refuses.
pub fn sender_alone(peer: Peer, length: Duration) -> Result<Run> {
    let bed = Bed::new(peer.plan(2))?;
    let near = Device::open(Some(bed.switch.name()), &bed.guests[0].near)?;
    let _sink = Sink::attach(&near, SinkMode::Native)?;
    Run::take(&bed, length)
}

/// Frames from a sender, and for how long cores were busy meanwhile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    frames: u64,
    took: Duration,
    busy: Duration,
}

impl Run {
    fn ms_per_million(&self) -> f64 {
        self.busy.as_secs_f64() * 1e3 / (self.frames as f64 / 1e6)
    }

    fn take(bed: &Bed, length: Duration) -> Result<Self> {
        let (from, to) = (&bed.guests[0], &bed.guests[1]);
        let ifindex = from.namespace.ifindex(GUEST_DEVICE)?;
        let frame = Frame::new(to.mac, from.mac).bytes();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        from.namespace.enter(|| {
            sys::pin_to_core(GUEST_CORE)?;
            let socket = sys::packet_socket(ifindex)?;
            let (begin, away) = (Instant::now(), Away::now()?);
            let mut frames = 0;
            while begin.elapsed() < length {
                signals::check()?;
                for _ in 0..BURST {
                    // A frame that is refused is lost; whoever counts what arrives will notice.
                    let _ = sys::send(socket.as_fd(), &frame);
                }
                frames += BURST;
                let due = Duration::from_secs_f64(frames as f64 / OFFERED_FPS);
                thread::sleep(due.saturating_sub(begin.elapsed()));
            }
            let (away, took) = (Away::now()?.since(away), begin.elapsed());
            let busy = away.busy(took, cores);
            Ok(Self { frames, took, busy })
        })?
    }
}

/// What a contender's threads take of one core while no frame comes, in per cent. None when it has
/// no threads: the kernel does nothing for a device that receives nothing.
///
/// # Errors
/// When it has ended.
pub fn idle_percent(running: &Running, length: Duration) -> Result<Option<f64>> {
    let pids = running.pids();
    if pids.is_empty() {
        return Ok(None);
    }
    // What has just been measured comes to rest.
    signals::sleep(Duration::from_millis(500))?;
    let (begin, before) = (Instant::now(), ThreadTimes::of(&pids)?);
    signals::sleep(length)?;
    let ran = ThreadTimes::of(&pids)?.since(&before);
    Ok(Some(
        100.0 * ran.as_secs_f64() / begin.elapsed().as_secs_f64(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_told_per_million_frames() {
        let run = Run {
            frames: 500_000,
            took: Duration::from_secs(5),
            busy: Duration::from_secs(1),
        };
        assert!((run.ms_per_million() - 2000.0).abs() < 1e-9);
    }
}
