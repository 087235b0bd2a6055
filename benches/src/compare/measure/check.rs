//! A look at the path before it is measured: a few frames must arrive whole, and only where they
//! should. So a set-up that is broken is neither reported as fast nor as slow.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use shunt_tests::{
    sys,
    traffic::{ETHERTYPE, Frame, Mac},
};

use super::super::{
    bed::{Bed, GUEST_DEVICE},
    plan::ETHERNET_HEADER,
    signals,
};

/// Time for the first frame to get through, while addresses are learnt and flows are set up.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time for one frame to arrive.
const ARRIVAL: Duration = Duration::from_millis(100);
/// Bytes of the frames that must get through, without FCS.
const SIZES: [usize; 4] = [60, 64, 512, 1514];
/// The longest frame that is looked at, with room for what must not be there.
const LONGEST: usize = 1 << 14;

/// A raw socket on a guest's device, which hears test frames only.
#[derive(Debug)]
pub struct Socket {
    socket: OwnedFd,
}

impl Socket {
    /// On one of the guests of a bed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(bed: &Bed, guest: usize) -> Result<Self> {
        let namespace = &bed.guests[guest].namespace;
        let ifindex = namespace.ifindex(GUEST_DEVICE)?;
        let socket = namespace.enter(|| sys::packet_socket(ifindex))??;
        sys::hear_only(&socket, ETHERTYPE)?;
        let socket = Self { socket };
        // What came in before the filter.
        while socket.take()?.is_some() {}
        Ok(socket)
    }

    /// Sends a frame, and waits a little when the kernel's buffers are full.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            let Err(error) = sys::send(self.socket.as_fd(), frame) else {
                return Ok(());
            };
            let full = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS));
            if !full || Instant::now() >= deadline {
                return Err(error).context("send a frame");
            }
        }
    }

    /// Waits for the next frame.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn receive(&self, patience: Duration) -> Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            sys::wait_readable(&[self.socket.as_fd()], left)?;
        }
    }

    /// Keeps as good as no frame from now on, for [`count`](Self::count).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn only_count(&self) -> Result<()> {
        sys::keep_nothing(&self.socket)?;
        self.count()?;
        Ok(())
    }

    /// How many frames have come since the last call, kept or not.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn count(&self) -> Result<u64> {
        Ok(u64::from(sys::packet_statistics(self.socket.as_fd())?.0))
    }

    fn take(&self) -> Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; LONGEST];
        let received = sys::receive(self.socket.as_fd(), &mut buffer)?;
        Ok(received.map(|received| buffer[..received.length].to_vec()))
    }
}

/// Checks every pair of partners of a bed in both directions.
///
/// # Errors
/// When a frame does not arrive, or not as it was sent, or at somebody else.
pub fn check(bed: &Bed, learns: bool) -> Result<()> {
    let count = bed.guests.len();
    let sockets = (0..count).map(|guest| Socket::open(bed, guest));
    let sockets: Vec<Socket> = sockets.collect::<Result<_>>()?;
    let mut seed = 0;
    for first in (0..count - 1).step_by(2) {
        let pair = [first, first + 1];
        for (from, to) in [(pair[0], pair[1]), (pair[1], pair[0])] {
            let macs = (bed.guests[to].mac, bed.guests[from].mac);
            get_through(&sockets, from, to, macs, &mut seed)?;
        }
        for (from, to) in [(pair[0], pair[1]), (pair[1], pair[0])] {
            let macs = (bed.guests[to].mac, bed.guests[from].mac);
            for size in sizes(bed.plan.mtu) {
                cross_in_time(&sockets, from, to, learns, || {
                    seed += 1;
                    frame(macs, size, seed)
                })?;
            }
        }
    }
    Ok(())
}

/// The sizes that must get through, with the largest frame that the devices take.
fn sizes(mtu: usize) -> impl Iterator<Item = usize> {
    let largest = mtu + ETHERNET_HEADER;
    let is_new = !SIZES.contains(&largest);
    SIZES.into_iter().chain(is_new.then_some(largest))
}

/// One frame must cross, soon: a flow that was set up when an address was not known yet goes on to
/// flood until it is looked over again.
fn cross_in_time(
    sockets: &[Socket],
    from: usize,
    to: usize,
    learns: bool,
    mut frame: impl FnMut() -> Vec<u8>,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        signals::check()?;
        let result = cross(sockets, from, to, &frame(), learns);
        if result.is_ok() || Instant::now() > deadline {
            return result;
        }
        clear(sockets)?;
    }
}

/// Forgets what is late, and what was flooded.
fn clear(sockets: &[Socket]) -> Result<()> {
    for socket in sockets {
        while socket.receive(Duration::from_millis(5))?.is_some() {}
    }
    Ok(())
}

fn frame((destination, source): (Mac, Mac), size: usize, seed: u64) -> Vec<u8> {
    Frame::new(destination, source)
        .untagged_size(size)
        .seed(seed)
        .bytes()
}

/// Sends until one frame arrives, which teaches the switch where the sender is.
fn get_through(
    sockets: &[Socket],
    from: usize,
    to: usize,
    macs: (Mac, Mac),
    seed: &mut u64,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        signals::check()?;
        *seed += 1;
        sockets[from].send(&frame(macs, 60, *seed))?;
        if sockets[to].receive(ARRIVAL)?.is_some() {
            break;
        }
        if Instant::now() > deadline {
            bail!("no frame gets from guest {from} to guest {to}");
        }
    }
    clear(sockets)
}

/// One frame must arrive as it was sent, and nowhere else.
fn cross(sockets: &[Socket], from: usize, to: usize, frame: &[u8], learns: bool) -> Result<()> {
    sockets[from].send(frame)?;
    let arrived = sockets[to].receive(Duration::from_secs(1))?;
    let arrived = arrived.with_context(|| {
        format!(
            "a frame of {} bytes from guest {from} to {to} is lost",
            frame.len()
        )
    })?;
    ensure!(
        arrived == frame,
        "a frame of {} bytes from guest {from} to {to} was changed",
        frame.len()
    );
    for (other, socket) in sockets.iter().enumerate() {
        if other == to || !learns {
            continue;
        }
        let stray = socket.receive(Duration::from_millis(2))?;
        ensure!(
            stray.is_none(),
            "a frame from guest {from} to {to} was also seen by guest {other}"
        );
    }
    Ok(())
}
