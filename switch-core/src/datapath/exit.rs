//! How frames leave by a port: what holds for all those of one network.

use arrayvec::ArrayVec;

use super::Verdict;
use crate::{
    config::snapshot::{EgressTag, Snapshot},
    limits::{BURST, PortIndex},
    table::fdb::Location,
    wire::{
        ethernet::ETHERNET_HEADER_SIZE,
        parse::Tag,
        vlan::{TAG_SIZE, Tci},
    },
};

/// A port that is up, and what its frames have to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exit {
    pub(super) port: PortIndex,
    /// The tag that they carry; none where they leave untagged.
    pub(super) tag: Option<Tag>,
    /// Most bytes of a frame, with its tag.
    pub(super) max_size: u16,
    /// Policy has a say in what leaves by it.
    pub(super) has_policy: bool,
}

impl Exit {
    /// The way out by a port for the frames that it gives this tag; nothing while it is down.
    #[inline]
    pub(super) fn new(snapshot: &Snapshot, port: PortIndex, tag: EgressTag) -> Option<Self> {
        let link = snapshot.link_up(port)?;
        let tpid = snapshot.rules.port(port)?.tpid;
        let (tag, tag_size) = match tag {
            EgressTag::NotMember => return None,
            EgressTag::Untagged => (None, 0),
            EgressTag::Tagged(vid) => (Some(Tag::new(tpid, Tci(vid.get()))), TAG_SIZE),
        };
        let max_size = link
            .mtu
            .saturating_add((ETHERNET_HEADER_SIZE + tag_size) as u32);
        // No frame is longer than 16 bits can say.
        let max_size = u16::try_from(max_size).unwrap_or(u16::MAX);
        Some(Self {
            port,
            tag,
            max_size,
            has_policy: snapshot.rules.concerns(port).to_port,
        })
    }
}

/// The ways out that a burst has found so far: what would have to be looked up in four tables for
/// every frame holds for all frames of a burst that go to the same place.
pub(super) struct Exits {
    /// Each frame has found one at most.
    found: ArrayVec<Exit, BURST>,
    /// By a number that a location gives, the last of those that give the same one.
    by_location: [(Location, Verdict); 1 << REMEMBERED_BITS],
}

/// Eight are remembered.
const REMEMBERED_BITS: u32 = 3;

/// The position of a way out among those that the burst has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExitIndex(u16);

impl ExitIndex {
    #[inline]
    pub(super) fn new(number: u16) -> Self {
        Self(number)
    }

    #[inline]
    pub(super) fn get(self) -> u16 {
        self.0
    }
}

impl Exits {
    #[inline]
    pub(super) fn new() -> Self {
        Self {
            found: ArrayVec::new(),
            by_location: [(Location::NONE, Verdict::UNDECIDED); 1 << REMEMBERED_BITS],
        }
    }

    /// The verdict on frames for a location, if one has left so a moment ago.
    #[inline]
    pub(super) fn known(&self, location: Location) -> Option<Verdict> {
        let (last, verdict) = self.by_location[location.spread::<REMEMBERED_BITS>()];
        (last == location).then_some(verdict)
    }

    pub(super) fn remember(&mut self, location: Location, exit: Exit) -> Verdict {
        let verdict = Verdict::forward(ExitIndex(self.found.len() as u16));
        self.found.push(exit);
        self.by_location[location.spread::<REMEMBERED_BITS>()] = (location, verdict);
        verdict
    }

    /// A way out that was found.
    #[inline]
    pub(super) fn get(&self, index: ExitIndex) -> Exit {
        self.found[usize::from(index.0)]
    }
}
