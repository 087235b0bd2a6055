//! The forwarding database against its promises, one thread at a time and several at once.

#![cfg_attr(
    loom,
    allow(dead_code, unused_imports, reason = "loom runs its own tests only")
)]

use super::*;

fn port(number: usize) -> PortIndex {
    PortIndex::new(number)
}

fn network(number: usize) -> NetworkIndex {
    NetworkIndex::new(number)
}

/// A unicast address that is never null.
fn mac(number: u64) -> Mac {
    Mac::from_u64(number & 0xffff_ffff | 0x0200_0000_0000)
}

/// A stream of numbers that is the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        spread(self.0)
    }

    fn below(&mut self, end: u64) -> usize {
        (self.next() % end) as usize
    }
}

fn table(capacity: usize) -> Fdb {
    Fdb::new(capacity, [1, 2])
}

const NET: NetworkIndex = NetworkIndex::new(7);

/// Everything that is counted twice agrees. Only while nothing changes.
fn check_counts(fdb: &Fdb) {
    let mut ports = vec![0; MAX_PORTS];
    let mut networks = vec![0; MAX_NETWORKS];
    for (key, word) in fdb.slots().filter_map(Slot::entry) {
        assert_eq!(Key::new(word.network(), key.mac().into()), key);
        ports[word.port().get()] += u32::from(word.is_dynamic());
        networks[word.network().get()] += 1;
    }
    for (number, &count) in ports.iter().enumerate() {
        assert_eq!(fdb.port_count(port(number)), count, "port {number}");
    }
    for (number, &count) in networks.iter().enumerate() {
        assert_eq!(fdb.network_count(network(number)), count, "net {number}");
    }
    let events = fdb.events();
    let gone = events.aged + events.evicted + events.removed;
    let dynamic: u32 = ports.iter().sum();
    assert_eq!(events.learned - gone, u64::from(dynamic), "{events:?}");
}

#[cfg(not(loom))]
mod sequential;
#[cfg(not(loom))]
mod stress;

#[cfg(loom)]
mod loom;
