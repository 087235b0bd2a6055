//! Random frames: mostly such as hit something, and all kinds that should not.

use super::{
    acl,
    rng::Rng,
    rules::{Address, Membership, Rules},
};

/// The last bytes of a frame that is long enough say which one it is.
const STAMP_SIZE: usize = 12;
const STAMP_MARK: u16 = 0x5a17;
/// Behind the header with three tags, so that no stamp is taken for a tag.
const STAMPED_SIZE: usize = 26 + STAMP_SIZE;

/// Which frame it is: the queue that it came in by, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub port: u16,
    pub queue: u16,
    pub number: u32,
}

/// The stamp of a frame, if it has one.
pub fn stamp_of(frame: &[u8]) -> Option<Stamp> {
    let at = frame.len().checked_sub(STAMP_SIZE)?;
    // Two of the tags may have been taken off.
    if frame.len() < STAMPED_SIZE - 8 {
        return None;
    }
    let bytes = &frame[at..];
    let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let marked = word(0) == STAMP_MARK && word(10) == STAMP_MARK;
    marked.then(|| Stamp {
        port: word(2),
        queue: word(4),
        number: u32::from(word(6)) << 16 | u32::from(word(8)),
    })
}

/// Writes the stamp of a frame that is long enough.
pub fn restamp(frame: &mut [u8], stamp: Stamp) {
    if frame.len() >= STAMPED_SIZE {
        let at = frame.len() - STAMP_SIZE;
        let Stamp {
            port,
            queue,
            number,
        } = stamp;
        let words = [
            STAMP_MARK,
            port,
            queue,
            (number >> 16) as u16,
            number as u16,
            STAMP_MARK,
        ];
        frame[at..].copy_from_slice(&words.map(u16::to_be_bytes).concat());
    }
}

/// Stations that a world has, and how it makes frames of them.
#[derive(Clone, Debug)]
pub struct Stations {
    pub macs: Vec<Address>,
    numbers: u32,
}

impl Stations {
    pub fn new(rng: &mut Rng) -> Self {
        let mac = |number: usize| {
            let odd_one = number == 0;
            if odd_one {
                [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]
            } else {
                [2, 0, 0, 0, 0, number as u8]
            }
        };
        let count = rng.range(4, 40);
        Self {
            macs: (0..count).map(mac).collect(),
            numbers: 0,
        }
    }

    /// The stations that mostly are behind a port.
    fn homes(&self, port: usize) -> Vec<Address> {
        let macs = self.macs.iter().enumerate();
        macs.filter(|(index, _)| (index + port).is_multiple_of(4))
            .map(|(_, mac)| *mac)
            .collect()
    }

    /// A frame for a queue of a port to receive.
    pub fn frame(&mut self, rng: &mut Rng, rules: &Rules, port: usize, queue: usize) -> Vec<u8> {
        let mut frame = Vec::with_capacity(128);
        frame.extend(self.destination(rng));
        frame.extend(self.source(rng, port));
        tags(rng, rules, port, &mut frame);
        let ethertype = rng.pick(&[[8, 0], [8, 6], [0x86, 0xdd], [0x91, 0], [0, 46]]);
        frame.extend(ethertype);
        let header = frame.len();
        let mut size = size(rng, header);
        if rng.chance(80) {
            frame.extend(acl::payload(rng, ethertype));
            // Mostly with room for the stamp behind it.
            if rng.chance(90) && size < frame.len() + STAMP_SIZE {
                size = frame.len() + STAMP_SIZE;
            }
        }
        let filler = rng.next() as u8;
        frame.resize(size.max(frame.len()), filler);
        self.numbers += 1;
        let (port, queue, number) = (port as u16, queue as u16, self.numbers);
        let stamp = Stamp {
            port,
            queue,
            number,
        };
        restamp(&mut frame, stamp);
        frame.truncate(size);
        frame
    }

    /// One more frame like another, as far as anybody but its receiver can see.
    pub fn another(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut frame = frame.to_vec();
        if let Some(stamp) = stamp_of(&frame) {
            self.numbers += 1;
            let number = self.numbers;
            restamp(&mut frame, Stamp { number, ..stamp });
        }
        frame
    }

    fn destination(&self, rng: &mut Rng) -> Address {
        match rng.weighted(&[60, 14, 8, 6, 5, 3, 2]) {
            0 => rng.pick(&self.macs),
            1 => [0xff; 6],
            2 => [0x33, 0x33, 0, 0, 0, rng.below(3) as u8],
            3 => [0x01, 0x80, 0xc2, 0, 0, rng.below(17) as u8],
            4 => [2, 9, 9, 9, 9, rng.below(256) as u8],
            5 => [1, 0, 0x5e, 0, 0, 1],
            _ => rng.pick(&[[0; 6], [1, 0x80, 0xc2, 0, 1, 0], [0, 0x80, 0xc2, 0, 0, 0]]),
        }
    }

    fn source(&self, rng: &mut Rng, port: usize) -> Address {
        match rng.weighted(&[65, 28, 3, 2, 2]) {
            0 => rng.choose(self.homes(port)).unwrap_or(self.macs[0]),
            1 => rng.pick(&self.macs),
            2 => rng.pick(&[[0; 6], [0xff; 6], [1, 0, 0x5e, 0, 0, 1], [3, 0, 0, 0, 0, 1]]),
            3 => [2, 8, 0, 0, rng.below(2) as u8, rng.below(256) as u8],
            _ => rng.pick(&[[2, 9, 9, 9, 9, 9], [0, 0, 0, 0, 0, 1]]),
        }
    }

    /// Frames that go to all.
    pub fn storm(&mut self, rng: &mut Rng, frames: &mut [Vec<u8>]) {
        let nobody = [2, 9, 9, 9, 9, 1];
        let destination = rng.pick(&[[0xff; 6], [0x33, 0x33, 0, 0, 0, 1], nobody]);
        for frame in frames.iter_mut().filter(|frame| frame.len() >= 6) {
            frame[..6].copy_from_slice(&destination);
        }
    }

    /// Frames from ever new sources.
    pub fn strangers(&mut self, rng: &mut Rng, frames: &mut [Vec<u8>]) {
        for frame in frames.iter_mut().filter(|frame| frame.len() >= 12) {
            frame[6..12].copy_from_slice(&[2, 7, 0, 0, 0, rng.below(64) as u8]);
        }
    }
}

/// The tags of a frame for a port: mostly right.
fn tags(rng: &mut Rng, rules: &Rules, port: usize, frame: &mut Vec<u8>) {
    let rules_of_port = rules.ports.get(&port);
    let tpid = rules_of_port.map_or(0x8100, |port| port.tpid);
    let tagged = match rules_of_port.map(|port| &port.membership) {
        Some(Membership::Trunk { native, .. }) => {
            rng.chance(if native.is_some() { 50 } else { 90 })
        }
        _ => rng.chance(15),
    };
    if !tagged {
        return;
    }
    let count = [1, 2, 3][rng.weighted(&[84, 14, 2])];
    for position in 0..count {
        let tpid = if rng.chance(93) {
            tpid
        } else {
            rng.pick(&[0x8100, 0x88a8])
        };
        let tpid = if position > 0 {
            rng.pick(&[0x8100, 0x88a8])
        } else {
            tpid
        };
        let vid = vid(rng, rules, port);
        let priority = if rng.chance(50) {
            0
        } else {
            (rng.below(16) as u16) << 12
        };
        frame.extend(u16::to_be_bytes(tpid));
        frame.extend((priority | vid).to_be_bytes());
    }
}

fn vid(rng: &mut Rng, rules: &Rules, port: usize) -> u16 {
    let own = match rules.ports.get(&port).map(|port| &port.membership) {
        Some(Membership::Trunk { native, tagged, .. }) => {
            let native = native.and_then(|network| rules.networks[&network].vid);
            let listed = tagged.iter().map(|(vid, _)| *vid);
            rng.choose(listed.chain(native))
        }
        Some(Membership::Access(network)) => rules.networks[network].vid,
        None => None,
    };
    let any = || rules.networks.values().filter_map(|network| network.vid);
    match rng.weighted(&[70, 12, 9, 4, 5]) {
        0 => own.unwrap_or(7),
        1 => rng.choose(any()).unwrap_or(1),
        2 => 0,
        3 => 4095,
        _ => rng.pick(&[1, 2, 20, 30, 300, 4093, 4094, 5]),
    }
}

/// The size of a frame whose header has so many bytes.
fn size(rng: &mut Rng, header: usize) -> usize {
    match rng.weighted(&[60, 20, 6, 6, 5, 2, 1]) {
        0 => rng.pick(&[60, 64, 60, 74]),
        1 => rng.range(header, 200),
        2 => rng.below(header + 6),
        3 => rng.pick(&[1500, 1513, 1514, 1515, 1517, 1518, 1519, 1522]),
        4 => rng.range(200, 1800),
        5 => rng.pick(&[1791, 1792, 1793, 2048, 9000, 9014, 9018, 9019]),
        _ => rng.pick(&[0, 9216, 9217, 9300, 9215, 12_000]),
    }
}
