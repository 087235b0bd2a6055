//! The test kit's own promises: what is made is gone afterwards, and nothing gets out.

use std::{fs, time::Duration};

use shunt_tests::{
    netns::Namespace,
    traffic::{BROADCAST, Frame, Wire, by_seed, check_crossing},
};

#[test]
fn a_veth_pair_carries_frames_and_goes_with_its_namespaces() {
    let left = Namespace::new("left").expect("namespace");
    let right = Namespace::new("right").expect("namespace");
    left.veth("ve0", &right, "ve1", 2).expect("veth");
    left.ip(&["addr", "add", "10.1.0.1/24", "dev", "ve0"])
        .expect("address");
    right
        .ip(&["addr", "add", "10.1.0.2/24", "dev", "ve1"])
        .expect("address");
    left.run("ping", &["-c1", "-W2", "10.1.0.2"]).expect("ping");
    assert!(left.ifindex("ve0").expect("ifindex") > 0);

    let (left_path, right_path) = (left.path(), right.path());
    assert!(left_path.exists() && right_path.exists());
    drop((left, right));
    assert!(!left_path.exists() && !right_path.exists());
}

#[test]
fn a_closure_runs_inside_and_its_caller_stays_outside() {
    let namespace = Namespace::new("inside").expect("namespace");
    let own = || fs::read_link("/proc/thread-self/ns/net").expect("own namespace");
    let outside = own();
    let inside = namespace.enter(own).expect("enter");
    assert_ne!(inside, outside);
    assert_eq!(own(), outside);
}

/// Two namespaces with a veth between them, and a raw socket at each end.
fn wires() -> (Namespace, Namespace, [Wire; 2]) {
    let left = Namespace::new("left").expect("namespace");
    let right = Namespace::new("right").expect("namespace");
    left.veth("ve0", &right, "ve1", 1).expect("veth");
    let wires = [Wire::open(&left, "ve0"), Wire::open(&right, "ve1")];
    (left, right, wires)
}

#[test]
fn frames_arrive_as_they_were_sent_with_all_tags() {
    let (_left, _right, wires) = wires();
    let wires = [&wires[0], &wires[1]];
    let frame = Frame::new(BROADCAST, [2, 0, 0, 0, 0, 1]).seed(7);
    for frame in [
        frame.clone(),
        frame.clone().vid(20),
        frame.clone().tags(&[(0x8100, 0xb000)]),
        frame.clone().tags(&[(0x88a8, 0x3fff), (0x8100, 0x0001)]),
        frame.clone().untagged_size(1514),
        frame.clone().untagged_size(1514).vid(20),
        frame.clone().untagged_size(14),
    ] {
        let bytes = frame.bytes();
        check_crossing(&wires, 0, &bytes, &[(1, bytes.clone())]);
        check_crossing(&wires, 1, &bytes, &[(0, bytes.clone())]);
    }
    assert_eq!(Frame::seed_of(&frame.bytes()), Some(7));
    assert_eq!(Frame::seed_of(&frame.vid(20).bytes()), Some(7));
    let too_long = Frame::new(BROADCAST, BROADCAST).untagged_size(1519);
    let error = wires[0].try_send(&too_long.bytes()).expect_err("too long");
    assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
}

#[test]
#[should_panic(expected = "arrived:")]
fn a_frame_that_must_not_arrive_is_noticed() {
    let (_left, _right, wires) = wires();
    let frame = Frame::new(BROADCAST, [2, 0, 0, 0, 0, 1]).bytes();
    check_crossing(&[&wires[0], &wires[1]], 0, &frame, &[]);
}

#[test]
fn a_stream_has_its_rate_and_length() {
    let (_left, _right, [left, right]) = wires();
    let frames = [1, 2].map(|seed| Frame::new(BROADCAST, BROADCAST).seed(seed).bytes());
    let sent = left.stream(&frames, 20_000, Duration::from_millis(250));
    let received = right.receive_all(6000, Duration::from_millis(100));
    assert!((4000..=5000).contains(&sent), "{sent}");
    assert_eq!(received.len() as u64, sent);
    assert_eq!(right.missed(), 0);
    let counts = by_seed(&received);
    assert!(counts[&1].abs_diff(counts[&2]) <= 1, "{counts:?}");
}
