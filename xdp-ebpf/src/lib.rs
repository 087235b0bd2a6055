//! What the eBPF programs and user space share: outcomes, keys, limits, and the decision itself.
//!
//! The decision is plain Rust, generic over how a frame's bytes are read, so that the very code
//! which the kernel runs is also run by the ordinary tests.
#![no_std]

/// Sockets that one device's program can steer to: the entries of the map `SOCKETS`.
pub const MAX_QUEUES: u32 = 64;

/// Most entries of the map `HOST_ADDRESSES`: a handful of groups on each of thousands of VLANs.
pub const MAX_HOST_ADDRESSES: u32 = 32_768;

/// How the names of all our programs begin, as the kernel shows them: it tells a program that an
/// earlier run of ours has left from a foreign one.
pub const PROGRAM_PREFIX: &str = "shunt_";

/// What kind of port a program serves; each has a program of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A guest's interface: every frame belongs to the engine.
    Guest,
    /// A NIC that the host may use as well: frames for the host still reach the kernel.
    Uplink,
}

macro_rules! outcomes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// What became of a frame. Every frame that a program sees has exactly one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Outcome {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Outcome {
            /// All outcomes, in the order of their counters in the map `OUTCOMES`.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name in counters and JSON, snake_case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What happened, for people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+).trim_ascii(),)+ }
            }
        }
    };
}

outcomes! {
    /// Handed to the engine's AF_XDP socket of the queue that the frame came in by.
    ToEngine = "to_engine",
    /// To one of the host's own addresses: left to the kernel alone.
    ToHost = "to_host",
    /// To a group that the host listens to: left to the kernel, and read by the engine as a copy.
    Copied = "copied",
    /// Dropped, because a guest's queue has no socket (yet).
    NoSocketDropped = "no_socket_dropped",
    /// Left to the kernel, because an uplink's queue has no socket (yet).
    NoSocketPassed = "no_socket_passed",
}

/// What the kernel shall do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// To the socket of the frame's queue; what happens without one depends on the role.
    Engine,
    /// To the host's stack alone.
    Host,
    /// To the host's stack, from which the engine gets its copy by a packet socket.
    HostAndEngine,
}

impl Role {
    /// The outcome of a frame that the engine should get, on a queue without a socket.
    ///
    /// A guest's frame has nowhere else to go. On an uplink the host may depend on it.
    #[must_use]
    #[inline(always)]
    pub const fn without_socket(self) -> Outcome {
        match self {
            Self::Guest => Outcome::NoSocketDropped,
            Self::Uplink => Outcome::NoSocketPassed,
        }
    }
}

/// An address that the host receives on an uplink.
///
/// A unicast address is entered with `vid` 0 and counts on every VLAN. A group address is entered
/// for each VLAN that the host has joined it on; 0 is the untagged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostAddress {
    /// The VID of the frame's outer tag, 0 to 4095; 0 also for an untagged frame.
    pub vid: u16,
    /// The destination address, in transmission order.
    pub mac: [u8; 6],
}

impl HostAddress {
    /// The key in the map `HOST_ADDRESSES`: the VID in the upper 16 bits, the address below, its
    /// first byte highest.
    #[must_use]
    #[inline(always)]
    pub const fn key(self) -> u64 {
        let [a, b, c, d, e, f] = self.mac;
        (self.vid as u64) << 48 | u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The address with this key.
    #[must_use]
    pub const fn from_key(key: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = key.to_be_bytes();
        Self {
            vid: (key >> 48) as u16,
            mac: [a, b, c, d, e, f],
        }
    }
}

/// A frame's bytes, wherever they are.
pub trait Bytes {
    /// `N` bytes from `offset` on; none when the frame ends before.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

impl Bytes for [u8] {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}

/// TPID of a customer VLAN tag (802.1Q-2022, Table 9-1).
const TPID_CUSTOMER: u16 = 0x8100;
/// TPID of a service VLAN tag.
const TPID_SERVICE: u16 = 0x88a8;

/// Decides over one frame of an uplink; `is_host_address` looks a key of [`HostAddress`] up.
///
/// A frame that ends too early to be decided over is the engine's, which counts it as truncated.
#[inline(always)]
pub fn decide<F: Bytes + ?Sized>(frame: &F, is_host_address: impl Fn(u64) -> bool) -> Decision {
    let Some(mac) = frame.read::<6>(0) else {
        return Decision::Engine;
    };
    let is_group = mac[0] & 1 != 0;
    let vid = if is_group { outer_vid(frame) } else { Some(0) };
    let Some(vid) = vid else {
        return Decision::Engine;
    };
    match (is_host_address(HostAddress { vid, mac }.key()), is_group) {
        (false, _) => Decision::Engine,
        (true, false) => Decision::Host,
        (true, true) => Decision::HostAndEngine,
    }
}

/// The VID of the outermost tag, 0 when there is none; nothing when the frame ends before.
#[inline(always)]
fn outer_vid<F: Bytes + ?Sized>(frame: &F) -> Option<u16> {
    match u16::from_be_bytes(frame.read(12)?) {
        TPID_CUSTOMER | TPID_SERVICE => Some(u16::from_be_bytes(frame.read(14)?) & 0x0fff),
        _ => Some(0),
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::{vec, vec::Vec};

    const HOST: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
    const OTHER: [u8; 6] = [0x02, 0, 0, 0, 0, 2];
    const BROADCAST: [u8; 6] = [0xff; 6];
    const GROUP: [u8; 6] = [0x01, 0, 0x5e, 0, 0, 1];

    fn frame(destination: [u8; 6], rest: &[u8]) -> Vec<u8> {
        let mut frame = destination.to_vec();
        frame.extend(OTHER);
        frame.extend(rest);
        frame
    }

    #[test]
    fn decisions() {
        let known = [
            HostAddress { vid: 0, mac: HOST },
            HostAddress {
                vid: 0,
                mac: BROADCAST,
            },
            HostAddress {
                vid: 20,
                mac: BROADCAST,
            },
            HostAddress {
                vid: 20,
                mac: GROUP,
            },
        ]
        .map(HostAddress::key);
        let check = |destination, rest: &[u8], expected| {
            let frame = frame(destination, rest);
            let decision = decide(&frame[..], |key| known.contains(&key));
            assert_eq!(decision, expected, "{frame:02x?}");
        };
        let untagged: &[u8] = &[0x08, 0x00, 0, 0];
        let tagged_20: &[u8] = &[0x81, 0x00, 0xb0, 20, 8, 0];
        let service_20: &[u8] = &[0x88, 0xa8, 0, 20, 8, 0];
        let tagged_21: &[u8] = &[0x81, 0x00, 0, 21, 8, 0];
        let priority: &[u8] = &[0x81, 0x00, 0xe0, 0, 8, 0];
        for rest in [untagged, tagged_20, service_20, tagged_21, priority] {
            check(HOST, rest, Decision::Host);
            check(OTHER, rest, Decision::Engine);
        }
        for rest in [untagged, tagged_20, service_20, priority] {
            check(BROADCAST, rest, Decision::HostAndEngine);
        }
        check(BROADCAST, tagged_21, Decision::Engine);
        check(GROUP, untagged, Decision::Engine);
        check(GROUP, tagged_20, Decision::HostAndEngine);
    }

    #[test]
    fn truncated_frames_are_the_engines() {
        let everything = |_| true;
        for size in 0..6 {
            assert_eq!(decide(&vec![0; size][..], everything), Decision::Engine);
        }
        for size in 6..14 {
            assert_eq!(decide(&vec![0xff; size][..], everything), Decision::Engine);
        }
        let tagged = frame(BROADCAST, &[0x81, 0x00, 0, 20]);
        assert_eq!(decide(&tagged[..15], everything), Decision::Engine);
        assert_eq!(decide(&tagged[..16], everything), Decision::HostAndEngine);
    }

    #[test]
    fn keys_name_one_address_each() {
        let address = HostAddress {
            vid: 4094,
            mac: [0x52, 0x54, 0, 0x12, 0x34, 0xab],
        };
        assert_eq!(address.key(), 0x0ffe_5254_0012_34ab);
        assert_eq!(HostAddress::from_key(address.key()), address);
    }

    #[test]
    fn outcomes_are_numbered_as_listed() {
        for (index, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, index);
        }
    }
}
