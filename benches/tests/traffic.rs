//! Generator and sink, at the two ends of a veth pair: every frame is made, sent and counted as it
//! was asked for.

use std::time::Duration;

use shunt_benches::traffic::{
    Device, Distinct, Generator, IMIX, Length, Rate, Received, Sent, Shape, Sink, SinkMode, Size,
    Via,
};
use shunt_tests::{
    attempts::attempts,
    config::Config,
    daemon::{Daemon, wait_for},
    netns::Namespace,
    quiet,
    world::{GUEST_DEVICE, World},
};

/// The core of the generator.
const CORE: usize = 0;

/// Two namespaces, and a device in each, which are the ends of a wire.
struct Wire {
    near: Device,
    far: Device,
    _namespaces: [Namespace; 2],
}

impl Wire {
    fn new(mtu: u32) -> Self {
        let near = Namespace::new("gen").expect("namespace");
        let far = Namespace::new("sink").expect("namespace");
        near.veth("near", &far, "far", 1).expect("veth");
        let mtu = mtu.to_string();
        near.ip(&["link", "set", "near", "mtu", &mtu]).expect("MTU");
        far.ip(&["link", "set", "far", "mtu", &mtu]).expect("MTU");
        Self {
            near: Device::open(Some(near.name()), "near").expect("near"),
            far: Device::open(Some(far.name()), "far").expect("far"),
            _namespaces: [near, far],
        }
    }

    /// Sends frames of a shape and gives what was sent and what came.
    fn run(&self, shape: &Shape, mode: SinkMode, rate: Rate, length: Length) -> Outcome {
        let mut sink = Sink::attach(&self.far, mode).expect("sink");
        let mut generator = Generator::new(&self.near, shape).expect("generator");
        let sent = generator.run(rate, length, Some(CORE)).expect("run");
        std::thread::sleep(Duration::from_millis(20));
        Outcome {
            sent,
            received: sink.take().expect("take"),
            distinct: sink.distinct().expect("distinct"),
        }
    }
}

#[derive(Debug)]
struct Outcome {
    sent: Sent,
    received: Received,
    distinct: Distinct,
}

/// A rate that the machine makes while it does other things.
const GENTLE: Rate = Rate::PerSecond(20_000.0);

#[test]
fn every_frame_of_every_size_is_counted() {
    let _hold = quiet::share();
    let wire = Wire::new(9000);
    for size in [60, 64, 590, 1514, 3392, 3393, 9014] {
        let shape = Shape::new(size);
        let outcome = wire.run(&shape, SinkMode::Native, GENTLE, Length::Count(1000));
        let Outcome { sent, received, .. } = outcome;
        let is_live = sent.via == Via::LiveFrames;
        assert_eq!(is_live, size <= 3392, "{size}");
        assert_eq!((sent.made, sent.accepted, sent.refused), (1000, 1000, 0));
        assert_eq!(received.frames, 1000, "{size}");
        assert_eq!(received.bytes, 1000 * size as u64, "{size}");
        assert_eq!(received.smallest, Some(size as u64));
        assert_eq!(received.largest, Some(size as u64));
        assert_eq!((received.reordered, received.missing()), (0, 0), "{size}");
        assert_eq!(received.foreign_frames, 0, "{size}");
        assert_eq!(received.latency.count(), 1000, "{size}");
    }
}

#[test]
fn devices_in_several_namespaces_take_turns() {
    let _hold = quiet::share();
    let wires = [Wire::new(1500), Wire::new(1500), Wire::new(1500)];
    let mut sinks = Vec::new();
    for wire in &wires {
        sinks.push(Sink::attach(&wire.far, SinkMode::Telling).expect("sink"));
    }
    let shape = Shape {
        source_macs: 3,
        destination_macs: 3,
        ..Shape::new(60)
    };
    let near = wires.each_ref().map(|wire| wire.near.clone());
    let mut generator = Generator::in_turns(&near, &shape).expect("generator");
    let sent = generator
        .run(GENTLE, Length::Count(3000), Some(CORE))
        .expect("run");
    assert_eq!((sent.made, sent.accepted, sent.refused), (3000, 3000, 0));
    std::thread::sleep(Duration::from_millis(20));
    for sink in &mut sinks {
        assert_eq!(sink.take().expect("take").frames, 1000);
        // An address stays with its device, or a switch would see it move with each frame.
        let distinct = sink.distinct().expect("distinct");
        assert_eq!((distinct.sources, distinct.destinations), (1, 1));
    }
    assert!(Generator::in_turns(&[], &shape).is_err());
}

#[test]
fn imix_has_its_sizes_in_their_parts() {
    let _hold = quiet::share();
    let wire = Wire::new(1500);
    let shape = Shape {
        size: Size::Imix,
        ..Shape::new(60)
    };
    let Outcome { sent, received, .. } =
        wire.run(&shape, SinkMode::Native, GENTLE, Length::Count(1200));
    assert_eq!((sent.accepted, received.frames), (1200, 1200));
    assert_eq!(received.bytes, 100 * IMIX.iter().sum::<usize>() as u64);
    assert_eq!(received.smallest, Some(60));
    assert_eq!(received.largest, Some(1514));
}

#[test]
fn addresses_flows_and_tags_are_as_asked_for() {
    let _hold = quiet::share();
    let wire = Wire::new(9000);
    let cases: [(usize, &[u16]); 4] = [(60, &[]), (64, &[20]), (68, &[100, 30]), (4000, &[7, 8])];
    for (size, vids) in cases {
        let shape = Shape {
            flows: 40_000,
            source_macs: 50,
            destination_macs: 3,
            vids: vids.to_vec(),
            stamped: false,
            ..Shape::new(size)
        };
        let outcome = wire.run(&shape, SinkMode::Telling, GENTLE, Length::Count(40_000));
        let Outcome {
            sent,
            received,
            distinct,
        } = outcome;
        assert_eq!(
            (sent.accepted, received.frames),
            (40_000, 40_000),
            "{vids:?}"
        );
        let expected = Distinct {
            sources: 50,
            destinations: 3,
            flows: 40_000,
        };
        assert_eq!(distinct, expected, "{vids:?}");
        let tagged = |count: usize| if vids.len() == count { 40_000 } else { 0 };
        assert_eq!(received.single_tagged, tagged(1), "{vids:?}");
        assert_eq!(received.double_tagged, tagged(2), "{vids:?}");
        let seen = [received.outer_vid, received.inner_vid];
        assert_eq!(seen.into_iter().flatten().collect::<Vec<_>>(), vids);
        assert_eq!(received.latency.count(), 0, "unstamped");
    }
}

#[test]
fn the_rate_is_kept() {
    attempts(|| {
        let _hold = quiet::alone();
        let wire = Wire::new(1500);
        for rate in [1_000.0, 50_000.0, 400_000.0] {
            let length = Length::Time(Duration::from_millis(500));
            let outcome = wire.run(
                &Shape::new(60),
                SinkMode::Native,
                Rate::PerSecond(rate),
                length,
            );
            let Outcome { sent, received, .. } = outcome;
            assert_eq!(sent.accepted, received.frames, "{rate}");
            // What something else had the core for is told, and is no error of the pace. That it
            // was most of the time is one.
            let paced = (sent.took - sent.given_up).as_secs_f64();
            let error = sent.made as f64 / paced / rate - 1.0;
            assert!(error.abs() < 0.02, "{rate} asked for, {error:+.4}");
            assert!(sent.given_up < sent.took.mul_f64(0.7), "{sent:?}");
            let latency = received.latency.quantile_ns(0.5).expect("some frames");
            assert!(
                (100.0..1e6).contains(&latency),
                "{latency} ns from end to end"
            );
        }
    });
}

#[test]
fn a_far_end_that_takes_nothing_is_named() {
    let _hold = quiet::share();
    let wire = Wire::new(1500);
    let mut generator = Generator::new(&wire.near, &Shape::new(60)).expect("generator");
    let error = generator
        .run(GENTLE, Length::Count(100), None)
        .expect_err("nobody takes them");
    let error = format!("{error:#}");
    assert!(error.contains("has taken none of 100 frames"), "{error}");
    assert!(error.contains("gro on"), "{error}");
}

/// Waits until so many frames have arrived at the sink, or the daemon says why not.
fn wait_explained(daemon: &Daemon, sink: &mut Sink, received: &mut Received, count: u64) {
    wait_for("every frame is explained", || {
        received.add(&sink.take().expect("take"));
        let drops = ["a", "b"].map(|port| daemon.drops(port));
        // The generator has not counted those as accepted.
        let own = drops
            .iter()
            .flatten()
            .filter(|(reason, _)| *reason != "far_tx_dropped");
        let dropped: u64 = own.map(|(_, count)| count).sum();
        (received.frames + dropped == count).then_some(())
    });
}

#[test]
fn counts_add_up_through_the_switch() {
    const COUNT: u64 = 20_000;
    attempts(|| {
        let world = World::alone("traffic");
        let guests = ["a", "b"].map(|name| world.guest(name));
        let config = Config::workers(1)
            .private("lab")
            .access("a", "lab")
            .access("b", "lab");
        let mut daemon = world.start(&config);
        let [near, far] = guests
            .each_ref()
            .map(|guest| Device::open(Some(guest.namespace.name()), GUEST_DEVICE).expect("device"));
        let shape = Shape {
            flows: 16,
            source_macs: 4,
            destination_macs: 8,
            ..Shape::new(60)
        };
        let mut sink = Sink::attach(&far, SinkMode::Native).expect("sink");
        let announcement = shape.announcement();
        let mut announcer = Generator::via(&far, &announcement, Via::PacketSocket).expect("socket");
        let announced = announcer
            .run(GENTLE, Length::Count(8), None)
            .expect("announce");
        assert_eq!(announced.accepted, 8);
        let learnt = || daemon.get("fdb").len();
        wait_for("all destinations are learnt", || {
            (learnt() >= 8).then_some(())
        });

        let mut generator = Generator::new(&near, &shape).expect("generator");
        let sent = generator
            .run(GENTLE, Length::Count(COUNT), Some(CORE))
            .expect("run");
        assert_eq!((sent.made, sent.refused), (COUNT, 0));
        let mut received = Received::default();
        wait_explained(&daemon, &mut sink, &mut received, COUNT);
        assert_eq!(daemon.port("a")["rx_frames"].as_u64(), Some(COUNT));
        assert_eq!(received.foreign_frames, 0);
        assert_eq!(
            daemon.port("b")["rx_frames"].as_u64(),
            Some(8),
            "announcements"
        );
        let latency = received.latency.quantile_ns(0.5).expect("some frames");
        assert!(
            (1_000.0..1e8).contains(&latency),
            "{latency} ns through the switch"
        );

        // More than it can take: what is refused is said by the generator, what is dropped by the
        // switch, and nothing is missing.
        let length = Length::Time(Duration::from_millis(300));
        let flood = generator.run(Rate::Full, length, Some(CORE)).expect("run");
        assert_eq!(flood.made, flood.accepted + flood.refused);
        wait_explained(&daemon, &mut sink, &mut received, COUNT + flood.accepted);
        assert!(received.frames > COUNT, "some of it arrives");
        daemon.stop();
    });
}
