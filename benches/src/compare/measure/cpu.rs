//! Processor time: what a million frames take, and what nothing takes.
//!
//! The times are those of threads, which the kernel keeps to the nanosecond (`schedstat` in
//! `/proc`): of the contender's, of the sender's, in whose name the kernel does what it does for a
//! frame (softirq), and of the kernel's `ksoftirqd`. `/proc/stat` would be sampled 100 to 250
//! times a second only.

use std::{
    fs,
    os::fd::AsFd as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use shunt_tests::{sys, traffic::Frame};

use crate::{
    compare::{
        bed::{Bed, GUEST_CORE, GUEST_DEVICE},
        peers::{Peer, Running},
        process::thread_time,
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

/// What frames through a contender take, without the sender's own part: that is measured first, on
/// a bed where they are dropped at once.
///
/// # Errors
/// When frames are lost, or the kernel refuses.
pub fn per_million(bed: &Bed, peer: Peer, running: &Running, length: Duration) -> Result<Cost> {
    let alone = sender_alone(peer, length).context("the sender alone")?;
    let guest = &bed.guests[1].namespace;
    let mut sink = Sink::attach(
        &Device::open(Some(guest.name()), GUEST_DEVICE)?,
        SinkMode::Native,
    )?;
    let run = Run::take(bed, &running.pids(), length)?;
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

fn sender_alone(peer: Peer, length: Duration) -> Result<Run> {
    let bed = Bed::new(peer.plan(2))?;
    let near = Device::open(Some(bed.switch.name()), &bed.guests[0].near)?;
    let _sink = Sink::attach(&near, SinkMode::Native)?;
    Run::take(&bed, &[], length)
}

/// Frames from a sender, and the processor time that passed.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    frames: u64,
    took: Duration,
    busy: Duration,
}

impl Run {
    fn ms_per_million(&self) -> f64 {
        self.busy.as_secs_f64() * 1e3 / (self.frames as f64 / 1e6)
    }

    fn take(bed: &Bed, pids: &[u32], length: Duration) -> Result<Self> {
        let (from, to) = (&bed.guests[0], &bed.guests[1]);
        let ifindex = from.namespace.ifindex(GUEST_DEVICE)?;
        let frame = Frame::new(to.mac, from.mac).bytes();
        let mut pids = pids.to_vec();
        pids.extend(kernel_threads()?);
        from.namespace.enter(|| {
            sys::pin_to_core(GUEST_CORE)?;
            let socket = sys::packet_socket(ifindex)?;
            let begin = Instant::now();
            let (others, own) = (thread_time(&pids)?, own_time()?);
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
            let busy = thread_time(&pids)? - others + (own_time()? - own);
            Ok(Self {
                frames,
                took: begin.elapsed(),
                busy,
            })
        })?
    }
}

/// Time that the calling thread has run.
fn own_time() -> Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let running = text.split_whitespace().next().context("schedstat")?;
    Ok(Duration::from_nanos(running.parse()?))
}

/// The kernel's threads that do softirq work when there is too much of it.
fn kernel_threads() -> Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|it| it.parse().ok()) else {
            continue;
        };
        let command = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if command.starts_with("ksoftirqd/") {
            pids.push(pid);
        }
    }
    Ok(pids)
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
    let (begin, before) = (Instant::now(), thread_time(&pids)?);
    signals::sleep(length)?;
    let ran = thread_time(&pids)? - before;
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

    #[test]
    fn the_kernels_threads_are_found() {
        assert!(!kernel_threads().expect("processes").is_empty());
        // The kernel brings a thread's time up to date at a tick, or when the thread stops.
        let begin = Instant::now();
        while own_time().expect("time").is_zero() {
            assert!(begin.elapsed() < Duration::from_secs(5), "no time passes");
        }
    }
}
