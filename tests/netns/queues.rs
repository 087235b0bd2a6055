//! Several workers, and devices with several queues.

use std::collections::BTreeMap;

use etherparse::PacketBuilder;
use shunt_tests::{
    config::Config,
    traffic::{BROADCAST, Frame, Mac, arrivals, check_crossing, iperf3},
    world::{World, stack_count},
};

const FLOWS: u16 = 64;
const FRAMES_OF_A_FLOW: u32 = 50;

/// A UDP datagram of a flow. The kernel picks the sender's queue by addresses and ports.
fn datagram(source: Mac, destination: Mac, flow: u16, number: u32) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(source, destination)
        .ipv4([10, 81, 0, 1], [10, 81, 0, 2], 64)
        .udp(20_000 + flow, 9);
    let mut payload = [0; 64];
    payload[..2].copy_from_slice(&flow.to_be_bytes());
    payload[2..6].copy_from_slice(&number.to_be_bytes());
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &payload).expect("a datagram");
    bytes
}

/// The flow and the number of a datagram.
fn numbers(frame: &[u8]) -> Option<(u16, u32)> {
    // Ethernet, IPv4 and UDP headers are before it.
    let payload = frame.get(14 + 20 + 8..)?;
    let (flow, rest) = payload.split_first_chunk()?;
    Some((
        u16::from_be_bytes(*flow),
        u32::from_be_bytes(*rest.first_chunk()?),
    ))
}

#[test]
fn two_workers_share_the_queues_and_keep_each_flow_in_order() {
    let world = World::new("queues");
    let a = world.guest_with_queues("a", 4);
    // From two workers to a port with queues for both, and to one that only one of them serves.
    let (b, c) = (world.guest_with_queues("b", 4), world.guest("c"));
    let config = Config::workers(2)
        .private("lab")
        .access("a", "lab")
        .access("b", "lab");
    let mut daemon = world.start(&config.access("c", "lab"));
    for (name, queues) in [("a", 4), ("b", 4), ("c", 1)] {
        assert_eq!(daemon.port(name)["queues"], queues);
    }
    let detail = daemon.json(&["describe", "port", "a", "-o", "json"]);
    let owners = detail["workers"]
        .as_array()
        .expect("a worker for each queue");
    assert!(
        owners.contains(&0.into()) && owners.contains(&1.into()),
        "{detail}"
    );

    let (wire_a, wire_b, wire_c) = (a.wire(), b.wire(), c.wire());
    for (from, guest) in [(1, &b), (2, &c)] {
        let hello = Frame::new(BROADCAST, guest.mac).bytes();
        let others = [0, 1, 2].into_iter().filter(|at| *at != from);
        let expected: Vec<_> = others.map(|at| (at, hello.clone())).collect();
        check_crossing(&[&wire_a, &wire_b, &wire_c], from, &hello, &expected);
    }
    let before = worker_frames(&daemon.get("workers"));
    for (guest, wire) in [(&b, &wire_b), (&c, &wire_c)] {
        let frames = (0..FRAMES_OF_A_FLOW).flat_map(|number| {
            (0..FLOWS).map(move |flow| datagram(a.mac, guest.mac, flow, number))
        });
        wire_a.send_all(frames);
        let count = FRAMES_OF_A_FLOW as usize * usize::from(FLOWS);
        let arrived = wire.receive_all(count, std::time::Duration::from_secs(5));
        assert_eq!(arrived.len(), count, "drops at a: {:?}", daemon.drops("a"));
        check_order(&arrived);
    }
    // Nothing went astray.
    assert_eq!(arrivals(&[&wire_a, &wire_b, &wire_c], 0), []);
    let after = worker_frames(&daemon.get("workers"));
    let share: Vec<_> = after
        .iter()
        .zip(&before)
        .map(|(after, before)| after - before)
        .collect();
    let sent = 2 * u64::from(FRAMES_OF_A_FLOW) * u64::from(FLOWS);
    assert_eq!(share.iter().sum::<u64>(), sent, "{share:?}");
    assert!(
        share.iter().all(|frames| *frames > sent / 10),
        "one worker is idle: {share:?}"
    );
    daemon.stop();
}

fn worker_frames(workers: &[serde_json::Value]) -> Vec<u64> {
    assert_eq!(workers.len(), 2, "{workers:?}");
    let cores: Vec<_> = workers
        .iter()
        .map(|worker| worker["core"].as_u64())
        .collect();
    assert!(
        cores[0] != cores[1] && cores.iter().all(Option::is_some),
        "{workers:?}"
    );
    let frames = |worker: &serde_json::Value| worker["frames"].as_u64().expect("count");
    workers.iter().map(frames).collect()
}

#[track_caller]
fn check_order(frames: &[Vec<u8>]) {
    let mut next: BTreeMap<u16, u32> = BTreeMap::new();
    for frame in frames {
        let (flow, number) = numbers(frame).expect("a datagram of this test");
        let expected = next.entry(flow).or_default();
        assert_eq!(number, *expected, "flow {flow} is out of order");
        *expected += 1;
    }
    assert_eq!(next.len(), usize::from(FLOWS));
}

#[test]
fn several_tcp_streams_over_several_queues() {
    let world = World::new("queues-tcp");
    let guests = [
        world.guest_with_queues("a", 4),
        world.guest_with_queues("b", 2),
    ];
    for (guest, address) in guests.iter().zip(["10.82.0.1/24", "10.82.0.2/24"]) {
        guest.add_address(address);
    }
    let config = Config::workers(2)
        .private("lab")
        .access("a", "lab")
        .access("b", "lab");
    let mut daemon = world.start(&config);
    for arguments in [
        &["-t", "1", "-P", "6"][..],
        &["-t", "1", "-P", "6", "--reverse"],
    ] {
        let report = iperf3(
            &guests[1].namespace,
            "10.82.0.2",
            &guests[0].namespace,
            arguments,
        );
        let bps = report["end"]["sum_received"]["bits_per_second"]
            .as_f64()
            .expect("a result");
        println!("TCP {arguments:?}: {:.0} Mb/s", bps / 1e6);
        assert!(bps > 100e6, "{arguments:?}: {bps} bit/s");
    }
    for guest in &guests {
        assert_eq!(stack_count(&guest.namespace, "InCsumErrors"), 0);
    }
    daemon.stop();
}
