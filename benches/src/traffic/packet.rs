//! The same frames by a packet socket, for those that are larger than a page.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use anyhow::{Context as _, Result, bail};
use bench_ebpf::{
    Fields, Plan, Progress,
    frame::{self, Words},
};

use super::{Device, Histogram, generator::Outcome, sys};

/// A socket at a device.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
}

/// The bytes of one frame.
struct Bytes<'a>(&'a mut [u8]);

impl Words for Bytes<'_> {
    fn put(&mut self, index: usize, value: u16) {
        self.0[2 * index..2 * index + 2].copy_from_slice(&value.to_be_bytes());
    }
}

impl PacketSocket {
    /// A socket at a device.
    ///
    /// # Errors
    /// Without root.
    pub fn open(device: &Device) -> Result<Self> {
        let socket = device.enter(|| sys::packet_sender(device.ifindex()))?;
        Ok(Self {
            socket: socket.context("no packet socket: it needs root, or CAP_NET_RAW")?,
        })
    }

    /// Sends until all is sent, the time is over, or `stop` is set.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than that the device has no room.
    pub fn send(&self, plan: &Plan, tag_count: usize, stop: &AtomicBool) -> Result<Outcome> {
        let mut buffers = vec![vec![0; plan.largest as usize]; plan.burst as usize];
        let mut progress = Progress {
            began_ns: sys::now_ns(),
            ..Progress::default()
        };
        let mut lateness = Histogram::default();
        loop {
            let elapsed = wait(&progress, stop);
            if progress.is_over(plan, elapsed) || stop.load(Relaxed) {
                return Ok(Outcome { progress, lateness });
            }
            let late = progress.begin_burst(plan, elapsed);
            if plan.interval > 0 {
                lateness.record(late);
            }
            let count = progress.left.min(plan.count - progress.sequence) as usize;
            let mut frames = Vec::with_capacity(count);
            for buffer in &mut buffers[..count] {
                frames.push(write(buffer, plan, tag_count, &mut progress));
            }
            self.burst(&frames)?;
        }
    }

    /// Sends the frames of a burst; one that the device has no room for is not sent again.
    fn burst(&self, mut frames: &[&[u8]]) -> Result<()> {
        while !frames.is_empty() {
            match sys::send(self.socket.as_fd(), frames) {
                Ok(sent) => frames = &frames[sent..],
                Err(error) => match error.raw_os_error() {
                    Some(libc::ENOBUFS | libc::EAGAIN) => frames = &frames[1..],
                    Some(libc::EINTR) => {}
                    Some(libc::EMSGSIZE) => {
                        let size = frames[0].len();
                        bail!("a frame of {size} bytes is larger than the MTU of the device allows")
                    }
                    _ => return Err(error).context("the device does not send"),
                },
            }
        }
        Ok(())
    }
}

/// Waits until the next burst is due. Gives the time since the beginning in ns.
fn wait(progress: &Progress, stop: &AtomicBool) -> u64 {
    let due = progress.due_ns();
    loop {
        let elapsed = sys::now_ns() - progress.began_ns;
        if elapsed >= due || stop.load(Relaxed) {
            return elapsed;
        }
        // A sleep ends late by some tens of microseconds: the rest is waited for awake.
        let left = due - elapsed;
        if left > 1_000_000 {
            std::thread::sleep(std::time::Duration::from_nanos(
                (left - 500_000).min(50_000_000),
            ));
        }
        std::hint::spin_loop();
    }
}

/// Writes the next frame of the plan.
fn write<'a>(
    buffer: &'a mut [u8],
    plan: &Plan,
    tag_count: usize,
    progress: &mut Progress,
) -> &'a [u8] {
    let mut fields: Fields = progress.next(plan);
    if plan.is_stamped != 0 {
        fields.time_ns = sys::now_ns();
    }
    let frame = &mut buffer[..fields.size.into()];
    match tag_count {
        0 => frame::write::<0>(&mut Bytes(frame), plan, &fields),
        1 => frame::write::<1>(&mut Bytes(frame), plan, &fields),
        _ => frame::write::<2>(&mut Bytes(frame), plan, &fields),
    }
    frame
}
