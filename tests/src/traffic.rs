//! What guests send and receive: raw frames, streams of them, iperf3.
//!
//! What does not work panics, with the place in the test. Everything ends by a deadline.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    process::Stdio,
    thread,
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;

use crate::{daemon::wait_for, netns::Namespace, sys};

/// A MAC address, in transmission order.
pub type Mac = [u8; 6];

/// The group of all stations.
pub const BROADCAST: Mac = [0xff; 6];
/// A group that nobody listens to, and that bridges relay.
pub const GROUP: Mac = [0x01, 0x00, 0x5e, 0x00, 0x53, 0x48];
/// EtherType for local experiments (IEEE 802, Table 12-1): the one of all test frames.
pub const ETHERTYPE: u16 = 0x88b5;
/// The longest frame that can be received, with room for what must not be there.
const LONGEST: usize = 1 << 16;
/// Time that frames have to arrive.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(3);
/// Time after the last expected frame for those that must not arrive.
const QUIET: Duration = Duration::from_millis(25);

/// An address as people write it.
#[must_use]
pub fn text_of(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// A test frame: addresses, tags, EtherType 0x88b5 and a payload that is never the same twice in
/// a row. Its length is without FCS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    destination: Mac,
    source: Mac,
    tags: Vec<(u16, u16)>,
    payload_size: usize,
    seed: u64,
}

impl Frame {
    /// An untagged frame of 60 bytes, the minimum without FCS.
    #[must_use]
    pub fn new(destination: Mac, source: Mac) -> Self {
        Self {
            destination,
            source,
            tags: Vec::new(),
            payload_size: 46,
            seed: 0,
        }
    }

    /// With these tags, TPID and TCI, outermost first, in place of those that it had. The payload
    /// stays, so that a tag makes the frame 4 bytes longer.
    #[must_use]
    pub fn tags(mut self, tags: &[(u16, u16)]) -> Self {
        self.tags = tags.to_vec();
        self
    }

    /// With one customer tag: priority 0, not drop eligible.
    #[must_use]
    pub fn vid(self, vid: u16) -> Self {
        self.tags(&[(0x8100, vid)])
    }

    /// With a payload that makes it so many bytes long without tags.
    ///
    /// # Panics
    /// When that is less than the header.
    #[must_use]
    pub fn untagged_size(mut self, size: usize) -> Self {
        self.payload_size = size.checked_sub(14).expect("a whole header");
        self
    }

    /// With another payload: the first 8 bytes are this number, the rest follows from it.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The bytes as they are on the wire.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(22 + self.payload_size);
        bytes.extend(self.destination);
        bytes.extend(self.source);
        for (tpid, tci) in &self.tags {
            bytes.extend(tpid.to_be_bytes());
            bytes.extend(tci.to_be_bytes());
        }
        bytes.extend(ETHERTYPE.to_be_bytes());
        let pattern = (0u64..).map(|index| (self.seed * 7 + index * 13) as u8);
        let payload = self.seed.to_be_bytes().into_iter().chain(pattern);
        bytes.extend(payload.take(self.payload_size));
        bytes
    }

    /// The seed in the bytes of a test frame, whatever tags it has. None for other frames, and for
    /// those without room for one.
    #[must_use]
    pub fn seed_of(bytes: &[u8]) -> Option<u64> {
        let mut rest = bytes.get(12..)?;
        while let [0x81, 0x00, _, _, ..] | [0x88, 0xa8, _, _, ..] = rest {
            rest = &rest[4..];
        }
        let rest = rest.strip_prefix(&ETHERTYPE.to_be_bytes())?;
        rest.first_chunk().map(|seed| u64::from_be_bytes(*seed))
    }
}

/// A socket for raw frames on a device. It hears what comes in by the device, since it was opened,
/// and nothing of what goes out.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
}

impl Wire {
    /// A socket on a device of a namespace; to be used in any thread.
    #[must_use]
    #[track_caller]
    pub fn open(namespace: &Namespace, device: &str) -> Self {
        let ifindex = namespace.ifindex(device).expect("ifindex");
        let socket = namespace.enter(|| sys::packet_socket(ifindex));
        Self {
            socket: socket.expect("enter").expect("packet socket"),
        }
    }

    /// Sends a frame as it is. Waits a little when the kernel's buffers are full.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        if let Err(error) = self.try_send(frame) {
            panic!("send a frame of {} bytes: {error}", frame.len());
        }
    }

    /// Sends a frame as it is. Waits a little when the kernel's buffers are full.
    ///
    /// # Errors
    /// As [`sys::send`], for a second in case of full buffers.
    pub fn try_send(&self, frame: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            match sys::send(self.socket.as_fd(), frame) {
                Err(error) if is_full(&error) && Instant::now() < deadline => {
                    thread::sleep(Duration::from_micros(100));
                }
                result => return result,
            }
        }
    }

    /// Sends a frame if the kernel takes it at once.
    ///
    /// # Errors
    /// As [`sys::send`].
    pub fn offer(&self, frame: &[u8]) -> io::Result<()> {
        sys::send(self.socket.as_fd(), frame)
    }

    /// Makes a socket that hears untagged test frames and no others, whatever else comes in.
    #[must_use]
    #[track_caller]
    pub fn only_test_frames(self) -> Self {
        sys::hear_only(&self.socket, ETHERTYPE).expect("filter");
        self.clear();
        self
    }

    /// Sends frames in the order given, no faster than a veth and an AF_XDP ring take them when
    /// the receiver's core has other things to do.
    #[track_caller]
    pub fn send_all<F: AsRef<[u8]>>(&self, frames: impl IntoIterator<Item = F>) {
        for (number, frame) in frames.into_iter().enumerate() {
            if number % 32 == 31 {
                thread::sleep(Duration::from_millis(1));
            }
            self.send(frame.as_ref());
        }
    }

    /// Sends the same frames again and again, at an even rate in frames a second, for so long.
    /// Gives how many were sent: fewer than asked for when this core or the receiver is too slow,
    /// for a frame that the kernel does not take is not sent again.
    #[track_caller]
    pub fn stream<F: AsRef<[u8]>>(&self, frames: &[F], rate: u64, length: Duration) -> u64 {
        let start = Instant::now();
        let (mut tried, mut sent) = (0u64, 0);
        let mut frames = frames.iter().cycle();
        loop {
            let elapsed = start.elapsed();
            if elapsed >= length {
                return sent;
            }
            let due = (u128::from(rate) * elapsed.as_nanos() / 1_000_000_000) as u64;
            if tried >= due {
                thread::sleep(Duration::from_micros(200));
                continue;
            }
            // No longer than this without a look at the clock.
            let burst = (due - tried).min(64);
            tried += burst;
            for _ in 0..burst {
                let frame = frames.next().expect("some frames").as_ref();
                match sys::send(self.socket.as_fd(), frame) {
                    Ok(()) => sent += 1,
                    Err(error) if is_full(&error) => {}
                    Err(error) => panic!("send: {error}"),
                }
            }
        }
    }

    /// The next frame, as on the wire, with all its tags. None after so long.
    #[must_use]
    #[track_caller]
    pub fn receive(&self, timeout: Duration) -> Option<Vec<u8>> {
        let mut buffer = vec![0; LONGEST];
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(frame) = self.take(&mut buffer) {
                return Some(frame);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            sys::wait_readable(&[self.socket.as_fd()], left).expect("poll");
        }
    }

    /// The next frame if there is one, without waiting: for who cannot lose time by sleeping.
    #[must_use]
    #[track_caller]
    pub fn poll(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 2048];
        self.take(&mut buffer)
    }

    /// All frames, until so many are there or so long after.
    #[must_use]
    #[track_caller]
    pub fn receive_all(&self, count: usize, timeout: Duration) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut frames = Vec::new();
        while frames.len() < count {
            let Some(frame) = self.receive(left()) else {
                break;
            };
            frames.push(frame);
        }
        frames
    }

    /// The next frame that `is_right` likes; others are skipped. None after so long.
    #[must_use]
    #[track_caller]
    pub fn find(&self, timeout: Duration, is_right: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let frame = self.receive(left)?;
            if is_right(&frame) {
                return Some(frame);
            }
        }
    }

    /// Makes a socket that knows when the kernel had each frame, for
    /// [`find_stamped`](Self::find_stamped).
    #[must_use]
    #[track_caller]
    pub fn stamped(self) -> Self {
        sys::stamp(&self.socket).expect("time stamps");
        self
    }

    /// As [`find`](Self::find), with when the kernel had the frame.
    #[must_use]
    #[track_caller]
    pub fn find_stamped(
        &self,
        timeout: Duration,
        is_right: impl Fn(&[u8]) -> bool,
    ) -> Option<(Vec<u8>, SystemTime)> {
        let mut buffer = vec![0; LONGEST];
        let deadline = Instant::now() + timeout;
        loop {
            match self.take_stamped(&mut buffer) {
                Some((frame, stamp)) if is_right(&frame) => {
                    return Some((frame, stamp.expect("a stamp: see `stamped`")));
                }
                Some(_) => {}
                None => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    sys::wait_readable(&[self.socket.as_fd()], left).expect("poll");
                }
            }
        }
    }

    /// Forgets all frames that have come in so far.
    #[track_caller]
    pub fn clear(&self) {
        let mut buffer = vec![0; LONGEST];
        while self.take(&mut buffer).is_some() {}
    }

    /// How many frames have come in that this socket had no room for, since the last call.
    #[track_caller]
    pub fn missed(&self) -> u32 {
        let statistics = sys::packet_statistics(self.socket.as_fd());
        statistics.expect("packet statistics").1
    }

    /// Makes a socket that counts what comes in, and keeps as good as none of it.
    #[must_use]
    #[track_caller]
    pub fn only_count(self) -> Self {
        sys::keep_nothing(&self.socket).expect("receive buffer");
        self.count();
        self
    }

    /// How many frames have come in since the last call.
    #[track_caller]
    pub fn count(&self) -> u64 {
        let statistics = sys::packet_statistics(self.socket.as_fd());
        u64::from(statistics.expect("packet statistics").0)
    }

    /// A frame that has come in, with the outermost tag back where it was on the wire.
    #[track_caller]
    fn take(&self, buffer: &mut [u8]) -> Option<Vec<u8>> {
        self.take_stamped(buffer).map(|(frame, _)| frame)
    }

    /// The same, with when the kernel had it, if the socket asks.
    #[track_caller]
    fn take_stamped(&self, buffer: &mut [u8]) -> Option<(Vec<u8>, Option<SystemTime>)> {
        let received = match sys::receive(self.socket.as_fd(), buffer) {
            // Said once each time that the device goes down.
            Err(error) if error.kind() == io::ErrorKind::NetworkDown => None,
            result => result.expect("receive"),
        }?;
        let mut frame = buffer[..received.length].to_vec();
        if let Some((tpid, tci)) = received.tag {
            let tag = tpid.to_be_bytes().into_iter().chain(tci.to_be_bytes());
            frame.splice(12..12, tag);
        }
        Some((frame, received.stamp))
    }
}

/// The program behind a tap device, as a hypervisor is one.
#[derive(Debug)]
pub struct Tap {
    file: File,
}

impl Tap {
    /// Makes a tap device in a namespace and sets it up. It is deleted when this is dropped.
    #[must_use]
    #[track_caller]
    pub fn new(namespace: &Namespace, device: &str) -> Self {
        let file = namespace
            .enter(|| sys::tap(device))
            .expect("enter")
            .expect("tap");
        namespace
            .ip(&["link", "set", "dev", device, "up"])
            .expect("up");
        Self { file }
    }

    /// Sends a frame as it is.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        let sent = (&self.file).write(frame).expect("write to the tap");
        assert_eq!(sent, frame.len());
    }

    /// The next frame. None after so long.
    #[must_use]
    #[track_caller]
    pub fn receive(&self, timeout: Duration) -> Option<Vec<u8>> {
        let mut buffer = vec![0; LONGEST];
        if !sys::wait_readable(&[self.file.as_fd()], timeout).expect("poll")[0] {
            return None;
        }
        let length = (&self.file).read(&mut buffer).expect("read from the tap");
        buffer.truncate(length);
        Some(buffer)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR)
    )
}

/// Sends a frame by one of several wires, and checks what arrives at each: exactly the frames of
/// `expected`, pairs of a wire's position and a frame, byte by byte, and nothing anywhere else.
#[track_caller]
pub fn check_crossing(wires: &[&Wire], from: usize, frame: &[u8], expected: &[(usize, Vec<u8>)]) {
    wires[from].send(frame);
    let arrived = arrivals(wires, expected.len());
    let mut expected = expected.to_vec();
    expected.sort();
    assert!(
        arrived == expected,
        "sent by {from}:\n  {}\narrived:{}\nexpected:{}",
        hex(frame),
        listing(&arrived),
        listing(&expected)
    );
}

/// What arrives at several wires until so many frames have, and a moment longer: pairs of the
/// wire's position and the frame, in order.
#[must_use]
#[track_caller]
pub fn arrivals(wires: &[&Wire], count: usize) -> Vec<(usize, Vec<u8>)> {
    let mut buffer = vec![0; LONGEST];
    let sockets: Vec<_> = wires.iter().map(|wire| wire.socket.as_fd()).collect();
    let mut arrived = Vec::new();
    let mut deadline = Instant::now() + if count == 0 { QUIET } else { ARRIVAL_LIMIT };
    loop {
        let before = arrived.len();
        for (position, wire) in wires.iter().enumerate() {
            while let Some(frame) = wire.take(&mut buffer) {
                arrived.push((position, frame));
            }
        }
        if before < count && arrived.len() >= count {
            deadline = Instant::now() + QUIET;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            arrived.sort();
            return arrived;
        }
        sys::wait_readable(&sockets, left).expect("poll");
    }
}

fn listing(frames: &[(usize, Vec<u8>)]) -> String {
    let line = |(at, frame): &(usize, Vec<u8>)| format!("\n  {at}: {}", hex(frame));
    frames.iter().map(line).collect()
}

/// The beginning of a frame, and its length.
fn hex(frame: &[u8]) -> String {
    let bytes: Vec<_> = frame
        .iter()
        .take(40)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{} ({} bytes)", bytes.join(" "), frame.len())
}

/// Counts frames by the 8 bytes that [`Frame::seed`] has put into them.
#[must_use]
pub fn by_seed(frames: &[Vec<u8>]) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for seed in frames.iter().filter_map(|frame| Frame::seed_of(frame)) {
        *counts.entry(seed).or_default() += 1;
    }
    counts
}

/// Runs an iperf3 server in one namespace and a client in another, which gets `arguments` beside
/// the server's address; they must not make it run for longer than 20 s. Gives the client's
/// report: `["end"]["sum_received"]["bits_per_second"]` and so on.
///
/// # Panics
/// When one of them fails or reports an error.
#[must_use]
#[track_caller]
pub fn iperf3(server: &Namespace, address: &str, client: &Namespace, arguments: &[&str]) -> Value {
    let mut command = server.command("timeout");
    // `timeout` also ends what a test that was killed has left. One test, then it ends by itself.
    command.args(["30", "iperf3", "--server", "--one-off"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut serving = Ended(command.spawn().expect("spawn iperf3"));
    wait_for("iperf3 listens", || {
        let sockets = server.run("ss", &["-Hltn", "sport = :5201"]).expect("ss");
        (!sockets.trim().is_empty()).then_some(())
    });
    let mut command = client.command("timeout");
    command.args(["25", "iperf3", "--json", "--connect-timeout", "3000"]);
    command.args(["--client", address]).args(arguments);
    let output = command.output().expect("run iperf3");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "iperf3 from {} to {address}: {text}{}",
        client.name(),
        String::from_utf8_lossy(&output.stderr)
    );
    wait_for("iperf3's server ends", || {
        serving.0.try_wait().expect("wait")
    });
    serde_json::from_str(&text).expect("JSON")
}

/// A process that is ended when dropped.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // `timeout` passes this on to its child. It may have ended already.
        let _ = sys::signal(&self.0, sys::SIGTERM);
        let _ = self.0.wait();
    }
}
