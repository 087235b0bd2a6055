//! The traffic class of a frame: from its DSCP, its PCP, or the port that it came from; and what
//! the next switch is told of it.

use std::sync::Arc;

use crate::wire::{
    ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6},
    vlan::Tci,
};

/// A traffic class, 0 to 7 (802.1Q-2022, 8.6.6); a higher one is more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(u8);

impl Class {
    /// How many there are.
    pub const COUNT: usize = 8;
    /// The class of frames that nothing is said about: best effort is the second lowest, below it
    /// is background (802.1Q-2022, Table 8-5).
    pub const BEST_EFFORT: Self = Self(1);

    /// The class with this number; nothing past 7.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number < Self::COUNT as u8 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The class of the lowest three bits: of a number that [`Self::get`] gave, the class itself.
    #[must_use]
    #[inline]
    pub const fn of_bits(bits: u8) -> Self {
        Self(bits & (Self::COUNT as u8 - 1))
    }

    /// The number.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The number, for indexing tables.
    #[must_use]
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Default for Class {
    fn default() -> Self {
        Self::BEST_EFFORT
    }
}

/// How many values a DSCP has (RFC 2474, 3).
pub const DSCP_COUNT: usize = 64;

/// What code points mean, and what is written for a class.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClassMap {
    /// By PCP, its class.
    pub from_pcp: [Class; 8],
    /// By DSCP, its class.
    pub from_dscp: [Class; DSCP_COUNT],
    /// By class, the PCP that is written.
    pub to_pcp: [u8; Class::COUNT],
    /// By class, the DSCP that is written.
    pub to_dscp: [u8; Class::COUNT],
}

impl Default for ClassMap {
    /// What the standards say, where they say something.
    ///
    /// A PCP is its own number, but for best effort (0) and background (1), which change places
    /// (802.1Q-2022, Table 8-5). A DSCP is its first three bits, which the class selectors share
    /// with the former precedence (RFC 2474, 4.2.2), best effort not below 1; CS1 (RFC 3662) and
    /// LE (RFC 8622) are background. Written are CS1, best effort, AF21, AF31, AF41, EF, CS6 and
    /// CS7, each of which is read as that class.
    fn default() -> Self {
        const LE: u8 = 1;
        const CS1: u8 = 8;
        const PCPS: [u8; 8] = [1, 0, 2, 3, 4, 5, 6, 7];
        Self {
            from_pcp: PCPS.map(Class),
            from_dscp: std::array::from_fn(|dscp| match dscp as u8 {
                LE | CS1 => Class(0),
                dscp => Class((dscp >> 3).max(1)),
            }),
            to_pcp: PCPS,
            to_dscp: [CS1, 0, 18, 26, 34, 46, 48, 56],
        }
    }
}

/// What a port believes about the class of the frames that come from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassRules {
    /// The class of frames of which nothing else is believed.
    pub default: Class,
    /// What is asked, in this order; the first that the frame has decides.
    pub sources: [Option<ClassSource>; 2],
    /// What the answers mean.
    pub map: Arc<ClassMap>,
}

/// Where a frame says what class it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClassSource {
    /// The priority code point of its tag.
    Pcp,
    /// The differentiated services code point of its IPv4 or IPv6 header.
    Dscp,
}

impl ClassRules {
    /// Whether some frame may have another class than it would have without rules.
    #[must_use]
    pub fn say_something(&self) -> bool {
        self.default != Class::BEST_EFFORT || self.sources != [None; 2]
    }

    /// The class of a frame with this outer tag and EtherType, and these bytes behind them.
    #[must_use]
    #[inline]
    pub fn classify(&self, tag: Option<Tci>, ethertype: u16, payload: &[u8]) -> Class {
        let said = self.sources.iter().flatten().find_map(|source| {
            Some(match source {
                ClassSource::Pcp => self.map.from_pcp[usize::from(tag?.pcp())],
                ClassSource::Dscp => self.map.from_dscp[usize::from(dscp(ethertype, payload)?)],
            })
        });
        said.unwrap_or(self.default)
    }
}

/// The DSCP of a packet, if it is one.
#[inline]
fn dscp(ethertype: u16, payload: &[u8]) -> Option<u8> {
    let [first, second, ..] = *payload else {
        return None;
    };
    match (ethertype, first >> 4) {
        (ETHERTYPE_IPV4, 4) => Some(second >> 2),
        (ETHERTYPE_IPV6, 6) => Some((first << 4 | second >> 4) >> 2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sources: [Option<ClassSource>; 2], tci: Option<u16>, l3: (u16, &[u8]), class: u8) {
        let rules = ClassRules {
            default: Class(3),
            sources,
            map: Arc::default(),
        };
        let found = rules.classify(tci.map(Tci), l3.0, l3.1);
        assert_eq!(found.get(), class, "{sources:?} {tci:?} {l3:?}");
    }

    #[test]
    fn what_is_believed_in_which_order() {
        use ClassSource::{Dscp, Pcp};
        let ef4: (u16, &[u8]) = (ETHERTYPE_IPV4, &[0x45, 46 << 2 | 1]);
        let cs6: (u16, &[u8]) = (ETHERTYPE_IPV6, &[0x6c, 0x00]);
        let arp: (u16, &[u8]) = (0x0806, &[0x45, 0xff]);
        let tci = Some(0x8014);
        check([None, None], tci, ef4, 3);
        check([Some(Pcp), None], tci, ef4, 4);
        check([Some(Pcp), None], None, ef4, 3);
        check([Some(Dscp), None], tci, ef4, 5);
        check([Some(Dscp), None], tci, cs6, 6);
        check([Some(Dscp), None], tci, arp, 3);
        check([Some(Dscp), Some(Pcp)], tci, arp, 4);
        check([Some(Pcp), Some(Dscp)], tci, ef4, 4);
        check([Some(Pcp), Some(Dscp)], None, ef4, 5);
        // Lies and stumps are no packets.
        check([Some(Dscp), None], None, (ETHERTYPE_IPV4, &[0x65, 0xff]), 3);
        check([Some(Dscp), None], None, (ETHERTYPE_IPV6, &[0x60]), 3);
        check([Some(Dscp), None], None, (ETHERTYPE_IPV4, &[]), 3);
    }

    #[test]
    fn the_standards_maps() {
        let map = ClassMap::default();
        assert_eq!(map.from_pcp.map(Class::get), [1, 0, 2, 3, 4, 5, 6, 7]);
        for (dscps, class) in [
            (&[1, 8][..], 0),
            (&[0, 10, 12, 14], 1),
            (&[16, 18, 20, 22], 2),
            (&[24, 26, 28, 30], 3),
            (&[32, 34, 36, 38], 4),
            (&[40, 44, 46], 5),
            (&[48], 6),
            (&[56, 63], 7),
        ] {
            for dscp in dscps {
                assert_eq!(map.from_dscp[*dscp].get(), class, "DSCP {dscp}");
            }
        }
        for class in (0..8).filter_map(Class::new) {
            let (pcp, dscp) = (map.to_pcp[class.index()], map.to_dscp[class.index()]);
            assert_eq!(map.from_pcp[usize::from(pcp)], class);
            assert_eq!(map.from_dscp[usize::from(dscp)], class);
            assert_eq!(Class::of_bits(class.get()), class);
        }
        assert_eq!(Class::new(8), None);
    }
}
