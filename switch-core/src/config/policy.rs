//! What frames have to pass, compiled: which list is attached where.

use crate::{
    acl::{
        guard::Guard,
        key::Field,
        list::{Hits, List},
        pack::Packed,
    },
    limits::{MAX_NETWORKS, MAX_PORTS, NetworkIndex, PortIndex},
    table::flow::FlowKey,
};

/// The position of a list in [`Policy::lists`], or none.
type Position = u16;
const NONE: Position = Position::MAX;

/// The lists of a port or network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    from_port: Position,
    to_port: Position,
}

impl Attached {
    /// None in either direction.
    pub const NONE: Self = Self {
        from_port: NONE,
        to_port: NONE,
    };

    /// These lists, by their positions.
    ///
    /// # Panics
    /// When there cannot be a list at such a position.
    #[must_use]
    pub fn new(from_port: Option<usize>, to_port: Option<usize>) -> Self {
        let position = |list: Option<usize>| {
            assert!(
                list.is_none_or(|list| list < usize::from(NONE)),
                "a list's position"
            );
            list.map_or(NONE, |list| list as Position)
        };
        Self {
            from_port: position(from_port),
            to_port: position(to_port),
        }
    }
}

/// Into the switch or out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Into the switch, from the port.
    FromPort,
    /// Out of the switch, to the port.
    ToPort,
}

impl Direction {
    /// The word in JSON and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromPort => "from_port",
            Self::ToPort => "to_port",
        }
    }
}

/// Where a frame passes lists, and under which configuration: the last word of a flow's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowPlace {
    /// Into the switch or out of it.
    pub direction: Direction,
    /// From or to this port.
    pub port: PortIndex,
    /// The network of the frame.
    pub network: NetworkIndex,
    generation: u64,
}

const PORT_BITS: u32 = 10;
const NETWORK_BITS: u32 = 12;
const GENERATION_SHIFT: u32 = PORT_BITS + NETWORK_BITS + 1;
const GENERATION_MASK: u64 = u64::MAX >> GENERATION_SHIFT;
/// Of a place's word, the bit that says that it is a way out.
pub(crate) const TO_PORT: u64 = 1 << (PORT_BITS + NETWORK_BITS);

const _: () = assert!(MAX_PORTS <= 1 << PORT_BITS && MAX_NETWORKS <= 1 << NETWORK_BITS);

impl FlowPlace {
    /// A place, under the configuration of this number.
    #[must_use]
    #[inline]
    pub const fn new(
        direction: Direction,
        port: PortIndex,
        network: NetworkIndex,
        generation: u64,
    ) -> Self {
        Self {
            direction,
            port,
            network,
            generation: generation & GENERATION_MASK,
        }
    }

    /// Whether it is under the configuration of this number.
    #[must_use]
    pub const fn is_of_generation(&self, generation: u64) -> bool {
        self.generation == generation & GENERATION_MASK
    }

    /// As a word of a flow's key.
    #[must_use]
    #[inline]
    pub const fn to_word(self) -> u64 {
        let direction = match self.direction {
            Direction::FromPort => 0,
            Direction::ToPort => TO_PORT,
        };
        self.port.get() as u64
            | (self.network.get() as u64) << PORT_BITS
            | direction
            | self.generation << GENERATION_SHIFT
    }

    /// The place of such a word.
    #[must_use]
    pub const fn of_word(word: u64) -> Self {
        let to_port = word & TO_PORT != 0;
        Self {
            direction: if to_port {
                Direction::ToPort
            } else {
                Direction::FromPort
            },
            port: PortIndex::new((word & ((1 << PORT_BITS) - 1)) as usize),
            network: NetworkIndex::new((word >> PORT_BITS & ((1 << NETWORK_BITS) - 1)) as usize),
            generation: word >> GENERATION_SHIFT,
        }
    }
}

/// All lists, and where they are attached. A switch without any has no policy at all.
#[derive(Debug, Default)]
pub struct Policy {
    /// In the order of the file.
    pub lists: Box<[List]>,
    ports: Box<[Attached]>,
    networks: Box<[Attached]>,
    /// By port, what it may say about itself; none: anything.
    guards: Box<[Option<Guard>]>,
    /// A list asks for TCP flags somewhere.
    asks_tcp_flags: bool,
}

/// The lists that a frame has to pass at one place, in their order.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'p> {
    /// The one to pass first.
    pub first: Option<&'p List>,
    /// The one to pass then.
    pub second: Option<&'p List>,
}

/// The key of a flow in the flow table, given the fields of a frame, the bits of them that the
/// outcome depends on, and the word of the place.
#[must_use]
#[inline(always)]
pub fn flow_key(fields: &Packed, mask: &Packed, place: u64) -> FlowKey {
    let [w0, w1, w2, w3, w4, w5, w6] = fields.masked(mask).0;
    [w0, w1, w2, w3, w4, w5, w6, place]
}

impl<'p> Pair<'p> {
    /// Whether there is nothing to pass.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.is_none() && self.second.is_none()
    }

    /// The bits of a key that the outcome depends on.
    #[must_use]
    #[inline]
    pub fn mask(&self) -> Packed {
        match (self.first, self.second) {
            (Some(first), Some(second)) => first.mask().union(second.mask()),
            (Some(only), None) | (None, Some(only)) => *only.mask(),
            (None, None) => Packed::default(),
        }
    }

    /// The list, if there is one only, as at nearly every place.
    #[must_use]
    #[inline(always)]
    pub fn only(&self) -> Option<&'p List> {
        match (self.first, self.second) {
            (Some(only), None) | (None, Some(only)) => Some(only),
            _ => None,
        }
    }

    /// The key of a flow in the flow table, given the fields of a frame and the word of the place.
    #[must_use]
    #[inline(always)]
    pub fn flow_key(&self, fields: &Packed, place: u64) -> FlowKey {
        match self.only() {
            // The mask need not be copied.
            Some(list) => flow_key(fields, list.mask(), place),
            None => flow_key(fields, &self.mask(), place),
        }
    }

    /// Whether a frame may pass all; adds the counters of the rules that it met.
    pub fn allows(&self, key: &Packed, hits: &mut Hits) -> bool {
        if let Some(first) = self.first
            && !first.allows(key, hits)
        {
            return false;
        }
        self.second.is_none_or(|second| second.allows(key, hits))
    }
}

impl Policy {
    /// These lists, attached to ports and networks by their indices, and these guards of ports.
    #[must_use]
    pub fn new(
        lists: Vec<List>,
        ports: Vec<Attached>,
        networks: Vec<Attached>,
        guards: Vec<Option<Guard>>,
    ) -> Self {
        let asks = |list: &List| list.mask().get(Field::TcpFlags) != 0;
        Self {
            asks_tcp_flags: lists.iter().any(asks),
            lists: lists.into(),
            ports: ports.into(),
            networks: networks.into(),
            guards: guards.into(),
        }
    }

    /// Whether a list asks for TCP flags somewhere.
    #[must_use]
    #[inline]
    pub fn asks_tcp_flags(&self) -> bool {
        self.asks_tcp_flags
    }

    /// What a port may say about itself; none: anything.
    #[must_use]
    #[inline]
    pub fn guard(&self, port: PortIndex) -> Option<&Guard> {
        self.guards.get(port.get())?.as_ref()
    }

    /// What a frame has to pass: from a port the port's list, then the network's; to a port the
    /// other way round.
    #[must_use]
    #[inline]
    pub fn pair(&self, direction: Direction, port: PortIndex, network: NetworkIndex) -> Pair<'_> {
        let of = |table: &[Attached], index| table.get(index).copied().unwrap_or(Attached::NONE);
        let (port, network) = (
            of(&self.ports, port.get()),
            of(&self.networks, network.get()),
        );
        let list = |position: Position| self.lists.get(usize::from(position));
        match direction {
            Direction::FromPort => Pair {
                first: list(port.from_port),
                second: list(network.from_port),
            },
            Direction::ToPort => Pair {
                first: list(network.to_port),
                second: list(port.to_port),
            },
        }
    }
}
