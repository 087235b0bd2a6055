//! VLAN tags (IEEE 802.1Q-2022, clause 9).

use std::{fmt, num::NonZero};

/// Bytes of one tag: TPID and TCI.
pub const TAG_SIZE: usize = 4;

/// The byte of a tagged frame that has the priority code point and the drop eligible indicator.
pub const PCP_POSITION: usize = 14;
/// The bits of the priority code point there.
pub const PCP_MASK: u8 = 0xe0;
/// Where the lowest of them is.
pub const PCP_SHIFT: u32 = PCP_MASK.trailing_zeros();
/// The bit of the drop eligible indicator there.
pub const DEI_MASK: u8 = 0x10;

/// A VLAN identifier from 1 to 4094 (802.1Q-2022, Table 9-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vid(NonZero<u16>);

/// A number that is no VLAN identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVid {
    /// VID 0 marks a priority-tagged frame, not a VLAN.
    #[error("0 is not a VLAN: it marks frames that carry a priority only; use 1 to 4094")]
    Zero,
    /// VID 4095 is reserved for implementations.
    #[error("4095 is reserved by 802.1Q; use 1 to 4094")]
    Reserved,
    /// More than 12 bits.
    #[error("a VLAN has 12 bits; use 1 to 4094")]
    TooLarge,
}

impl Vid {
    /// The VLAN with this number.
    ///
    /// # Errors
    /// When the number is 0, 4095 or more.
    pub const fn new(number: u16) -> Result<Self, InvalidVid> {
        match number {
            0 => Err(InvalidVid::Zero),
            4095 => Err(InvalidVid::Reserved),
            4096.. => Err(InvalidVid::TooLarge),
            _ => Ok(Self(NonZero::new(number).unwrap())),
        }
    }

    /// The number, 1 to 4094.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for Vid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The tag protocol identifiers that a port can use (802.1Q-2022, Table 9-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u16)]
pub enum Tpid {
    /// Customer VLAN tag, 0x8100.
    #[default]
    Customer = 0x8100,
    /// Service VLAN tag, 0x88a8.
    Service = 0x88a8,
}

impl Tpid {
    /// The EtherType as it stands in a frame, read with its first byte lowest.
    #[must_use]
    #[inline]
    pub const fn to_wire(self) -> u16 {
        (self as u16).swap_bytes()
    }

    /// The other one.
    #[must_use]
    #[inline]
    pub const fn other(self) -> Self {
        match self {
            Self::Customer => Self::Service,
            Self::Service => Self::Customer,
        }
    }

    /// The tag protocol with this EtherType, if it is one.
    #[must_use]
    pub const fn from_ethertype(ethertype: u16) -> Option<Self> {
        Self::from_wire(ethertype.swap_bytes())
    }

    /// The tag protocol with the EtherType that stands so in a frame, read with its first byte
    /// lowest, if it is one.
    #[must_use]
    #[inline]
    pub const fn from_wire(ethertype: u16) -> Option<Self> {
        const CUSTOMER: u16 = Tpid::Customer.to_wire();
        const SERVICE: u16 = Tpid::Service.to_wire();
        match ethertype {
            CUSTOMER => Some(Self::Customer),
            SERVICE => Some(Self::Service),
            _ => None,
        }
    }
}

/// Tag control information: PCP (3 bits), DEI (1 bit), VID (12 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tci(pub u16);

impl Tci {
    /// The VID bits as they are, 0 and 4095 included.
    #[must_use]
    pub const fn vid_bits(self) -> u16 {
        self.0 & 0x0fff
    }

    /// Priority code point, 0 to 7.
    #[must_use]
    pub const fn pcp(self) -> u8 {
        (self.0 >> 13) as u8
    }

    /// Drop eligible indicator.
    #[must_use]
    pub const fn dei(self) -> bool {
        self.0 & 0x1000 != 0
    }

    /// The same PCP and DEI with another VID.
    #[must_use]
    pub const fn with_vid(self, vid: Vid) -> Self {
        Self(self.0 & 0xf000 | vid.get())
    }
}
