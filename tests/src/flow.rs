//! A steady flow of numbered frames between two guests, to see whether something else disturbs it.
//!
//! What does not work panics, with the place in the test.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    traffic::{Frame, Wire, by_seed},
    world::Guest,
};

/// Time that the last frames have to arrive.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(2);
/// How long the receiver waits before it looks whether it shall end.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A flow from one guest to another that goes on until it is stopped.
///
/// The daemon should be [put first](crate::process::put_before_other_sessions): others than the
/// switch can also make it lose frames, by taking its cores for longer than its rings hold.
#[derive(Debug)]
pub struct Flow {
    name: String,
    progress: Arc<Progress>,
    sender: Option<JoinHandle<()>>,
    receiver: Option<JoinHandle<Vec<Vec<u8>>>>,
}

/// How far a flow is.
#[derive(Debug)]
struct Progress {
    stop: AtomicBool,
    /// Frames that were sent in all; [`ON_THE_WAY`] while the sender runs.
    sent: AtomicU64,
}

/// The sender has not ended.
const ON_THE_WAY: u64 = u64::MAX;

/// What became of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Frames that the sender's device took.
    pub sent: u64,
    /// Different ones of them that arrived.
    pub received: u64,
    /// The numbers of some that did not, in order.
    pub lost: Vec<u64>,
    /// Frames that arrived more than once.
    pub duplicates: u64,
    /// Frames that arrived after one with a higher number.
    pub late: u64,
}

impl Flow {
    /// Starts to send so many frames of 60 bytes a second.
    #[must_use]
    #[track_caller]
    pub fn start(from: &Guest, to: &Guest, rate: u64) -> Self {
        let progress = Arc::new(Progress {
            stop: AtomicBool::new(false),
            sent: AtomicU64::new(ON_THE_WAY),
        });
        // The receiver first: it hears what comes after its socket was opened.
        let wire = to.wire().only_test_frames();
        let shared = Arc::clone(&progress);
        let addresses = [to.mac, from.mac].concat();
        let receiver = thread::spawn(move || receive(&wire, &addresses, &shared));
        let (wire, shared) = (from.wire(), Arc::clone(&progress));
        let frame = Frame::new(to.mac, from.mac);
        let sender = thread::spawn(move || send(&wire, &frame, rate, &shared));
        Self {
            name: format!("{} -> {}", from.near, to.near),
            progress,
            sender: Some(sender),
            receiver: Some(receiver),
        }
    }

    /// Ends the flow, waits for its last frames, and tells what became of them.
    #[must_use]
    #[track_caller]
    pub fn stop(mut self) -> Report {
        let sender = self.sender.take().expect("it is running");
        self.progress.stop.store(true, Relaxed);
        sender.join().expect("the sender has failed");
        let sent = self.progress.sent.load(Relaxed);
        let receiver = self.receiver.take().expect("it is running");
        let frames = receiver.join().expect("the receiver has failed");
        let seeds: Vec<_> = frames.iter().filter_map(|it| Frame::seed_of(it)).collect();
        let counts = by_seed(&frames);
        let lost = (0..sent).filter(|number| !counts.contains_key(number));
        Report {
            sent,
            received: counts.len() as u64,
            lost: lost.take(20).collect(),
            duplicates: (frames.len() - counts.len()) as u64,
            late: seeds.windows(2).filter(|pair| pair[1] < pair[0]).count() as u64,
        }
    }

    /// Ends the flow, of which every frame must have arrived once and in order.
    #[track_caller]
    pub fn stop_whole(self) -> Report {
        let name = self.name.clone();
        let report = self.stop();
        let is_whole = report.received == report.sent && report.sent > 0;
        assert!(
            is_whole && report.duplicates == 0 && report.late == 0,
            "{name}: {report:?}"
        );
        report
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.progress.stop.store(true, Relaxed);
        // What they have to say is no matter when the test has failed already.
        let _ = self.sender.take().map(JoinHandle::join);
        let _ = self.receiver.take().map(JoinHandle::join);
    }
}

fn send(wire: &Wire, frame: &Frame, rate: u64, progress: &Progress) {
    let start = Instant::now();
    let mut sent = 0;
    while !progress.stop.load(Relaxed) {
        let due = (u128::from(rate) * start.elapsed().as_nanos() / 1_000_000_000) as u64;
        // After a pause the backlog goes out in pieces that a veth takes even when the core that
        // has to empty it is busy.
        let numbers = sent..due.min(sent + 16);
        sent = numbers.end.max(sent);
        for number in numbers {
            wire.send(&frame.clone().seed(number).bytes());
        }
        thread::sleep(Duration::from_millis(1));
    }
    progress.sent.store(sent, Relaxed);
}

fn receive(wire: &Wire, addresses: &[u8], progress: &Progress) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut ended = None;
    loop {
        let frame = wire.receive(LOOK_INTERVAL);
        // Others may send to the same guest, and this one to others.
        frames.extend(frame.filter(|frame| frame.starts_with(addresses)));
        let sent = progress.sent.load(Relaxed);
        if sent == ON_THE_WAY {
            // A sender that has failed is noticed when it is joined.
            if !progress.stop.load(Relaxed) {
                continue;
            }
        } else if frames.len() as u64 >= sent {
            break;
        }
        if ended.get_or_insert_with(Instant::now).elapsed() > ARRIVAL_LIMIT {
            break;
        }
    }
    assert_eq!(wire.missed(), 0, "the receiver itself was too slow");
    frames
}
