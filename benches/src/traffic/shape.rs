//! What frames are like: sizes, addresses, flows, tags.

use anyhow::{Result, ensure};
use bench_ebpf::{
    MAX_SIZES, Plan,
    frame::{self, C_TAG, S_TAG},
};
use shunt_tests::traffic::Mac;

/// Bytes of the FCS, which sizes in the library leave out and standards count.
pub const FCS_SIZE: usize = 4;

/// Sizes of the simple IMIX without FCS, in the order in which they are sent: 7 of 64, 4 of 594
/// and 1 of 1518 bytes on the wire.
pub const IMIX: [usize; MAX_SIZES] = [60, 590, 60, 60, 590, 60, 60, 590, 60, 1514, 590, 60];

/// The largest frame that can be sent, without FCS: an MTU of 9 000 and a tag.
pub const LARGEST: usize = 9_018;

/// How large frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// All the same, in bytes without FCS.
    Fixed(usize),
    /// [`IMIX`].
    Imix,
}

impl Size {
    /// The sizes that take turns.
    #[must_use]
    pub fn turns(&self) -> &[usize] {
        match self {
            Self::Fixed(size) => std::slice::from_ref(size),
            Self::Imix => &IMIX,
        }
    }

    /// The mean in bytes without FCS.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.turns().iter().sum::<usize>() as f64 / self.turns().len() as f64
    }
}

/// What the frames of a generator are like. They are UDP over IPv4; frame number n belongs to flow
/// n modulo `flows`, and has source address n modulo `source_macs` and destination address n
/// modulo `destination_macs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How large.
    pub size: Size,
    /// UDP flows, which differ in source port, and beyond 16 384 also in IP source address.
    pub flows: u64,
    /// The first source address; the others count up.
    pub source: Mac,
    /// How many source addresses.
    pub source_macs: u64,
    /// The first destination address; the others count up.
    pub destination: Mac,
    /// How many destination addresses.
    pub destination_macs: u64,
    /// VIDs of the tags, the outermost first: none, a C-tag, or an S-tag and a C-tag.
    pub vids: Vec<u16>,
    /// Whether each frame says when it was made. Reading the clock costs the generator a little.
    pub stamped: bool,
}

impl Shape {
    /// Untagged frames of so many bytes without FCS, in one flow between two addresses of our own,
    /// with the time in them.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self {
            size: Size::Fixed(size),
            flows: 1,
            source: [0x02, 0x62, 0, 0, 0, 0],
            source_macs: 1,
            destination: [0x02, 0x64, 0, 0, 0, 0],
            destination_macs: 1,
            vids: Vec::new(),
            stamped: true,
        }
    }

    /// What the receivers of these frames would send for a switch to learn them: one frame from
    /// each destination address, to the first source address.
    #[must_use]
    pub fn announcement(&self) -> Self {
        Self {
            size: Size::Fixed(frame::smallest(self.vids.len())),
            flows: 1,
            source: self.destination,
            source_macs: self.destination_macs,
            destination: self.source,
            destination_macs: 1,
            vids: self.vids.clone(),
            stamped: false,
        }
    }

    /// The tags, the outermost first.
    fn tags(&self) -> [[u16; 2]; 2] {
        match self.vids[..] {
            [] => [[0; 2]; 2],
            [vid] => [[C_TAG, vid], [0; 2]],
            [outer, inner, ..] => [[S_TAG, outer], [C_TAG, inner]],
        }
    }

    /// Checks that such frames can be made.
    ///
    /// # Errors
    /// Says what is wrong, with sizes including FCS.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.vids.len() <= 2,
            "at most two tags, not {}",
            self.vids.len()
        );
        ensure!(
            self.vids.iter().all(|vid| *vid < 4095),
            "a VID is at most 4094: {:?}",
            self.vids
        );
        let smallest = frame::smallest(self.vids.len());
        for size in self.size.turns() {
            ensure!(
                (smallest..=LARGEST).contains(size),
                "frames of {} bytes with FCS: with {} tags and what is measured in them they have \
                 {} to {}",
                size + FCS_SIZE,
                self.vids.len(),
                smallest + FCS_SIZE,
                LARGEST + FCS_SIZE
            );
        }
        let addresses = [
            ("source", self.source, self.source_macs),
            ("destination", self.destination, self.destination_macs),
        ];
        for (which, first, count) in addresses {
            ensure!(count >= 1, "at least one {which} address");
            let last = number_of(first).checked_add(count - 1);
            ensure!(
                last.is_some_and(|last| last >> 40 == number_of(first) >> 40),
                "{count} {which} addresses from {first:02x?} on do not fit behind their first byte"
            );
        }
        ensure!(
            self.source[0] & 1 == 0,
            "a source address is no group's: {:02x?}",
            self.source
        );
        let most_flows = frame::FLOWS_OF_ADDRESS << 16;
        ensure!(
            (1..=most_flows).contains(&self.flows),
            "1 to {most_flows} flows, not {}",
            self.flows
        );
        Ok(())
    }

    /// The plan of a run, for the caller to add when it ends and how fast it is.
    pub(crate) fn plan(&self) -> Plan {
        let mut sizes = [0; MAX_SIZES];
        let turns = self.size.turns();
        for (to, size) in sizes.iter_mut().zip(turns) {
            *to = *size as u16;
        }
        Plan {
            source: number_of(self.source),
            destination: number_of(self.destination),
            source_count: self.source_macs,
            destination_count: self.destination_macs,
            flow_count: self.flows,
            tags: self.tags(),
            sizes,
            size_count: turns.len() as u32,
            largest: turns.iter().max().map_or(0, |size| *size as u32),
            burst: 1,
            device_count: 1,
            is_stamped: self.stamped.into(),
            ..Plan::default()
        }
    }
}

/// An address as a number, its first byte highest.
fn number_of(mac: Mac) -> u64 {
    mac.iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
