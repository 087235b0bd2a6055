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

#[cfg(test)]
mod tests {
    use bench_ebpf::frame::{Received, Seen, read, smallest};
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;
    use crate::traffic::{IMIX, Shape, Size};

    /// A frame that was received.
    struct Arrived<'a>(&'a [u8]);

    impl Received for Arrived<'_> {
        fn get(&self, index: usize) -> Option<u16> {
            let bytes = self.0.get(2 * index..2 * index + 2)?;
            Some(u16::from_be_bytes([bytes[0], bytes[1]]))
        }
    }

    /// The next frames of a plan, as they go to the socket.
    fn frames(shape: &Shape, count: usize) -> Vec<Vec<u8>> {
        let plan = shape.plan();
        let mut progress = Progress::default();
        let mut buffer = vec![0; plan.largest as usize];
        let mut next = || write(&mut buffer, &plan, shape.vids.len(), &mut progress).to_vec();
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn frames_are_valid_udp_over_ipv4() {
        for vids in [vec![], vec![20], vec![100, 30]] {
            let shape = Shape {
                size: Size::Fixed(smallest(vids.len()) + 40),
                flows: 20_000,
                vids,
                ..Shape::new(60)
            };
            for (number, frame) in frames(&shape, 20_000).iter().enumerate() {
                let packet = SlicedPacket::from_ethernet(frame).expect("a valid frame");
                let vids: Vec<u16> = packet.vlan_ids().iter().map(|vid| vid.value()).collect();
                assert_eq!(vids, shape.vids);
                let Some(NetSlice::Ipv4(ip)) = packet.net else {
                    panic!("no IPv4: {frame:02x?}");
                };
                let header = ip.header().to_header();
                assert_eq!(header.header_checksum, header.calc_header_checksum());
                let behind_tags = frame.len() - 14 - 4 * shape.vids.len();
                assert_eq!(usize::from(header.total_len), behind_tags);
                let Some(TransportSlice::Udp(udp)) = packet.transport else {
                    panic!("no UDP: {frame:02x?}");
                };
                assert_eq!(usize::from(udp.length()), behind_tags - 20);
                assert_eq!(udp.checksum(), 0, "none");
                let flow = (number / 16_384, number % 16_384);
                assert_eq!(usize::from(header.source[3]), flow.0 + 1);
                assert_eq!(usize::from(udp.source_port()), 49_152 + flow.1);
            }
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for vids in [vec![], vec![20], vec![100, 30]] {
            let tag_count = vids.len();
            let shape = Shape {
                size: Size::Fixed(smallest(tag_count)),
                vids,
                ..Shape::new(60)
            };
            for (number, frame) in frames(&shape, 10).iter().enumerate() {
                let before = sys::now_ns();
                let seen = read(&Arrived(frame)).expect("one of ours");
                assert!((1..=before).contains(&seen.time_ns));
                let expected = Seen {
                    tag_count,
                    sequence: number as u64,
                    time_ns: seen.time_ns,
                };
                assert_eq!(seen, expected);
                for length in 0..frame.len() {
                    assert_eq!(
                        read(&Arrived(&frame[..length])),
                        None,
                        "cut to {length} bytes"
                    );
                }
            }
        }
        let foreign = [0x5a_u8; 60];
        assert_eq!(read(&Arrived(&foreign)), None);
    }

    #[test]
    fn addresses_and_sizes_take_turns() {
        let shape = Shape {
            size: Size::Imix,
            source: [2, 0, 0, 0, 0, 254],
            source_macs: 3,
            destination_macs: 5,
            stamped: false,
            ..Shape::new(60)
        };
        let sources = [
            [2, 0, 0, 0, 0, 254],
            [2, 0, 0, 0, 0, 255],
            [2, 0, 0, 0, 1, 0],
        ];
        for (number, frame) in frames(&shape, 60).iter().enumerate() {
            assert_eq!(frame.len(), IMIX[number % 12]);
            assert_eq!(frame[6..12], sources[number % 3]);
            let mut destination = shape.destination;
            destination[5] += (number % 5) as u8;
            assert_eq!(frame[..6], destination);
        }
    }

    #[test]
    fn a_late_burst_is_caught_up_with_only_for_so_long() {
        let plan = Plan {
            interval: 10_000 << bench_ebpf::FRACTION_BITS,
            burst: 4,
            most_late_ns: 50_000,
            ..Plan::default()
        };
        let mut progress = Progress::default();
        assert_eq!(progress.begin_burst(&plan, 0), 0);
        assert_eq!((progress.due_ns(), progress.left), (10_000, 4));
        // A little late: the next one is due as if nothing had been.
        assert_eq!(progress.begin_burst(&plan, 45_000), 35_000);
        assert_eq!((progress.due_ns(), progress.given_up_ns), (20_000, 0));
        // Too late: the time is lost.
        assert_eq!(progress.begin_burst(&plan, 100_000), 80_000);
        assert_eq!((progress.due_ns(), progress.given_up_ns), (110_000, 80_000));
    }
}
