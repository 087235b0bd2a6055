//! Queues at egress: who goes first, how fast, what waits, and that nobody else pays for it.

use std::time::Duration;

use switch_core::{
    counters::DropReason::{NoFreeFrame, PortDown, QueueFull, QueueLate},
    limits::RECENT_DROPS,
    qos::queues::PortQueues,
};

use super::scene::{ALL, C, Scene, frame, station};

const SCENE: &str = r#"
[[scheduler]]
name = "wan"
rate = "8 Mbit/s"
burst = "10 kB"

[[scheduler.queue]]
classes = [5, 6, 7]
strict = true
limit = "20 kB"

[[scheduler.queue]]
limit = "30 kB"

[[scheduler]]
name = "plain"

[[scheduler.queue]]
limit = "1 MiB"

[[scheduler]]
name = "late"
rate = "800 kbit/s"
burst = "10 kB"

[[scheduler.queue]]
limit = "1 MiB"
drop = "codel"
target_ms = 5
interval_ms = 100

[[network]]
name = "web"
vlan = 20

[[port]]
name = "a"
device = "d0"
network = "web"
class_from = ["dscp"]

[[port]]
name = "b"
device = "d1"
trunk = ["web"]
class_from = ["pcp"]

[[port]]
name = "c"
device = "d2"
network = "web"
class = 7

[[port]]
name = "up"
device = "d3"
trunk = ["web"]
scheduler = "wan"

[[port]]
name = "dead"
device = "d4"
network = "web"
scheduler = "plain"

[[port]]
name = "slow"
device = "d5"
network = "web"
scheduler = "late"
"#;

/// A frame of a kilobyte as it leaves tagged; `number` tells it from others.
fn kilobyte(to: u8, tags: &[(u16, u16)], dscp: u8, number: u8) -> Vec<u8> {
    let mut frame = frame(station(to), station(1), tags);
    let payload = if tags.is_empty() { 14 } else { 18 };
    frame[payload] = 0x45;
    frame[payload + 1] = dscp << 2;
    frame.resize(if tags.is_empty() { 996 } else { 1000 }, number);
    frame
}

fn at_ms(scene: &mut Scene, ms: u64) {
    scene.engine.set_elapsed(Duration::from_millis(ms));
}

/// A switch that knows stations 9 at `up`, 8 at `dead` and 7 at `slow`.
fn scene() -> Scene {
    let mut scene = Scene::new(SCENE);
    at_ms(&mut scene, 1000);
    scene.send("up", &frame(ALL, station(9), &[(C, 20)]));
    scene.send("dead", &frame(ALL, station(8), &[]));
    scene.send("slow", &frame(ALL, station(7), &[]));
    at_ms(&mut scene, 2000);
    scene.settle();
    scene
}

fn queues(scene: &Scene, port: &str) -> std::sync::Arc<PortQueues> {
    let queues = scene.engine.rules().qos.queues(scene.port(port));
    std::sync::Arc::clone(queues.expect("queues"))
}

/// The numbers of frames that leave by a port.
fn numbers(frames: &[(String, Vec<u8>)], port: &str) -> Vec<u8> {
    let of_port = frames.iter().filter(|(name, _)| name == port);
    of_port
        .filter_map(|(_, frame)| frame.last().copied())
        .collect()
}

#[test]
fn the_urgent_go_first_and_all_go_at_the_rate() {
    let mut scene = scene();
    for number in 0..30 {
        scene.queue("a", &kilobyte(9, &[], 0, number));
    }
    let at_once = scene.settle();
    assert_eq!(
        numbers(&at_once, "up"),
        (0..10).collect::<Vec<_>>(),
        "a burst of 10 kB"
    );
    assert_eq!(queues(&scene, "up").counters()[1].waiting(), (20, 20_000));
    // By DSCP, by PCP, and by their port.
    scene.queue("a", &kilobyte(9, &[], 46, 100));
    scene.queue("b", &kilobyte(9, &[(C, 0xa014)], 0, 101));
    scene.queue("c", &kilobyte(9, &[], 0, 102));
    // A class that nobody believes on this port.
    scene.queue("b", &kilobyte(9, &[(C, 0x0014)], 46, 50));
    assert!(numbers(&scene.settle(), "up").is_empty());
    at_ms(&mut scene, 2005);
    let mut first = numbers(&scene.settle(), "up");
    first[..3].sort_unstable();
    assert_eq!(first, [100, 101, 102, 10, 11]);
    let mut rest = Vec::new();
    for ms in 2006..=2024 {
        at_ms(&mut scene, ms);
        let frames = numbers(&scene.settle(), "up");
        assert_eq!(frames.len(), 1, "a kilobyte each millisecond");
        rest.extend(frames);
    }
    assert_eq!(rest.last(), Some(&50));
    assert_eq!(rest.len(), 19);
    let queues = queues(&scene, "up");
    let [urgent, other] = queues.counters() else {
        panic!("two queues")
    };
    assert_eq!(
        (urgent.sent_frames.get(), other.sent_frames.get()),
        (3, 31 + 2)
    );
    assert_eq!((other.waiting(), other.full_frames.get()), ((0, 0), 0));
}

#[test]
fn a_full_queue_drops_and_leaves_the_other_alone() {
    let mut scene = scene();
    for number in 0..100 {
        scene.queue("a", &kilobyte(9, &[], 0, number));
    }
    scene.settle();
    // A burst of ten leaves, 30 kB wait.
    let dropped = scene.drops("up", QueueFull);
    assert!((58..=60).contains(&dropped), "{dropped}");
    let kept = scene.engine.recent_drops(scene.port("up"));
    assert!(kept.iter().all(|drop| drop.reason == QueueFull));
    assert_eq!(kept.len(), RECENT_DROPS);
    assert_eq!(
        queues(&scene, "up").counters()[1].full_frames.get(),
        dropped
    );
    scene.queue("a", &kilobyte(9, &[], 46, 200));
    scene.settle();
    assert_eq!(
        scene.drops("up", QueueFull),
        dropped,
        "the urgent queue has room"
    );
    assert_eq!(queues(&scene, "up").counters()[0].waiting().0, 1);
}

#[test]
fn a_port_that_takes_nothing_holds_up_nobody_and_takes_its_share_only() {
    let mut scene = scene();
    scene.set_room("dead", 0);
    for number in 0..3000_u32 {
        scene.queue("a", &kilobyte(8, &[], 0, number as u8));
        if number % 100 == 0 {
            scene.settle();
        }
    }
    scene.settle();
    let waiting = queues(&scene, "dead").counters()[0].waiting().0;
    // A quarter of 1024 chunks, for three ports with queues.
    assert_eq!(waiting, 85);
    assert!(scene.drops("dead", QueueFull) > 2500);
    for _ in 0..100 {
        scene.queue("b", &frame(ALL, station(2), &[(C, 20)]));
        let left = scene.settle();
        let reached: Vec<&str> = left.iter().map(|(port, _)| port.as_str()).collect();
        assert!(
            reached.contains(&"a") && reached.contains(&"c"),
            "{reached:?}"
        );
    }
    for port in ["a", "b", "c", "up"] {
        assert_eq!(scene.drops(port, NoFreeFrame), 0);
    }
    // It goes on where it stopped.
    scene.set_room("dead", usize::MAX);
    at_ms(&mut scene, 3000);
    assert!(numbers(&scene.settle(), "dead").len() > 85);
    assert!(scene.engine.stop().expect("stopped").is_complete());
}

#[test]
fn codel_drops_what_has_stood_for_too_long() {
    let mut scene = scene();
    let mut sent = 0;
    // Twice the rate of 100 kB a second, for five seconds.
    for ms in (0..5000).step_by(5) {
        at_ms(&mut scene, 3000 + ms);
        scene.queue("a", &kilobyte(7, &[], 0, 0));
        sent += numbers(&scene.settle(), "slow").len();
    }
    let late = scene.drops("slow", QueueLate);
    assert!(late > 20, "{late}");
    let kept = scene.engine.recent_drops(scene.port("slow"));
    assert!(kept.iter().any(|drop| drop.reason == QueueLate));
    assert!((500..=530).contains(&sent), "{sent}");
    let (waiting, _) = queues(&scene, "slow").counters()[0].waiting();
    let full = scene.drops("slow", QueueFull);
    assert_eq!(sent as u64 + late + waiting + full, 1000);
}

#[test]
fn a_reload_keeps_what_waits_where_the_queues_stay() {
    let mut scene = scene();
    for number in 0..30 {
        scene.queue("a", &kilobyte(9, &[], 0, number));
    }
    scene.settle();
    scene.reload(&SCENE.replace("target_ms = 5", "target_ms = 6"));
    assert_eq!(queues(&scene, "up").counters()[1].waiting().0, 20);
    scene.reload(&SCENE.replace("scheduler = \"wan\"", ""));
    assert_eq!(
        scene.drops("up", PortDown),
        20,
        "there are no queues any more"
    );
    assert_eq!(
        numbers(&scene.send("a", &kilobyte(9, &[], 0, 7)), "up"),
        [7]
    );
    scene.reload(SCENE);
    assert_eq!(
        numbers(&scene.send("a", &kilobyte(9, &[], 0, 8)), "up"),
        [8]
    );
    assert!(scene.engine.stop().expect("stopped").is_complete());
}

/// What waits goes on in the queue that has its class now, in the order in which it came and at the
/// new rate.
#[test]
fn a_reload_that_changes_the_queues_keeps_what_waits() {
    let mut scene = scene();
    for number in 0..20 {
        scene.queue("a", &kilobyte(9, &[], 0, number));
    }
    scene.settle();
    // A moment later one more goes, and then the port owes a millisecond.
    let at_us = |scene: &mut Scene, us| scene.engine.set_elapsed(Duration::from_micros(us));
    at_us(&mut scene, 2_000_001);
    assert_eq!(numbers(&scene.settle(), "up"), [10]);
    at_us(&mut scene, 2_000_002);
    // Urgent by its DSCP, class 5, and by its port, class 7.
    scene.queue("a", &kilobyte(9, &[], 46, 100));
    scene.queue("c", &kilobyte(9, &[], 0, 101));
    assert!(numbers(&scene.settle(), "up").is_empty());
    let waiting = |scene: &Scene| {
        let queues = queues(scene, "up");
        let waiting = queues.counters().iter().map(|queue| queue.waiting());
        waiting.collect::<Vec<_>>()
    };
    assert_eq!(waiting(&scene), [(2, 2_000), (9, 9_000)]);
    let changed = SCENE.replace("classes = [5, 6, 7]", "classes = [7]");
    let changed = changed.replace("rate = \"8 Mbit/s\"", "rate = \"16 Mbit/s\"");
    scene.reload(&changed);
    assert_eq!(waiting(&scene), [(1, 1_000), (10, 10_000)]);
    let sent = numbers(&scene.settle(), "up");
    assert!(sent.is_empty(), "it still owes that: {sent:?}");
    at_ms(&mut scene, 2001);
    assert_eq!(numbers(&scene.settle(), "up"), [101]);
    at_ms(&mut scene, 2002);
    assert_eq!(numbers(&scene.settle(), "up"), [11, 12]);
    at_ms(&mut scene, 3000);
    let rest: Vec<u8> = (13..20).chain([100]).collect();
    assert_eq!(numbers(&scene.settle(), "up"), rest);
    for reason in [PortDown, QueueFull] {
        assert_eq!(scene.drops("up", reason), 0);
    }
    assert!(scene.engine.stop().expect("stopped").is_complete());
}

#[test]
fn a_reload_that_leaves_less_room_drops_the_last() {
    let mut scene = scene();
    for number in 0..30 {
        scene.queue("a", &kilobyte(9, &[], 0, number));
    }
    scene.settle();
    scene.reload(&SCENE.replace("limit = \"30 kB\"", "limit = \"12 kB\""));
    assert_eq!(scene.drops("up", QueueFull), 8);
    let queues = queues(&scene, "up");
    let counters = &queues.counters()[1];
    assert_eq!(
        (counters.full_frames.get(), counters.queued_frames.get()),
        (8, 12)
    );
    at_ms(&mut scene, 4000);
    let left: Vec<u8> = (10..22).collect();
    let mut sent = numbers(&scene.settle(), "up");
    at_ms(&mut scene, 5000);
    sent.extend(numbers(&scene.settle(), "up"));
    assert_eq!(sent, left);
    assert!(scene.engine.stop().expect("stopped").is_complete());
}
