//! The test kit's own promises: what is made is gone afterwards, and nothing gets out.

use std::fs;

use shunt_tests::netns::Namespace;

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
