//! Open vSwitch on DPDK without I/O: frames from a capture in memory, to a port that drops them.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use shunt_tests::netns::Namespace;

use super::{
    super::bed::{GUEST_CORE, SWITCH_CORE},
    ovs::{BRIDGE, Daemons, MAC_TABLE_SIZE, core_mask},
};
use crate::compare::{hugepages::HugePages, signals};

/// As results and options name it.
pub const NAME: &str = "ovs-dpdk";
pub const DESCRIPTION: &str = "Open vSwitch on DPDK, netdev bridge with learning (action NORMAL), \
    one PMD thread on core 1; reads its frames from a capture in memory (net_pcap, infinite_rx, \
    which copies each into a buffer) and sends to net_null; 512 huge pages of 2 MiB; each flow has \
    an address pair, IPv4 addresses and UDP ports of its own, all destinations are known";

const PROGRAM: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
pub const NEEDS: &[(&str, &str)] = &[
    (PROGRAM, "openvswitch-switch-dpdk"),
    ("ovs-vsctl", "openvswitch-switch"),
    ("ovsdb-server", "openvswitch-common"),
];

/// Huge pages of 2 MiB.
const PAGES: u64 = 512;
/// The most flows whose frames fit into the buffers.
pub const MOST_FLOWS: usize = 65_536;
/// Time for all flows to be set up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long is looked whether they are.
const LOOK: Duration = Duration::from_millis(300);
/// Time for caches and predictors to fill, after the flows are there.
const WARM_UP: Duration = Duration::from_millis(500);

/// The whole set-up, for one capture.
#[derive(Debug)]
pub struct OvsDpdk {
    daemons: Daemons,
    /// After the daemons.
    _pages: HugePages,
    _namespace: Namespace,
}

/// What it did in some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Frames a second, by the counter of the port that they leave by.
    pub fps: f64,
    /// Cycles a frame of the forwarding thread, as it says itself.
    pub cycles: f64,
}

impl OvsDpdk {
    /// Starts it on frames of so many flows.
    ///
    /// # Errors
    /// When huge pages or a daemon fail.
    pub fn start(flows: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let capture = folder.path().join("flows.pcap");
        write_capture(&capture, flows)?;
        let pages = HugePages::reserve(PAGES)?;
        let namespace = Namespace::new("dpdk")?;
        let settings = [
            format!("other_config:pmd-cpu-mask={}", core_mask(SWITCH_CORE)),
            format!("other_config:dpdk-lcore-mask={}", core_mask(GUEST_CORE)),
            "other_config:dpdk-init=true".to_owned(),
            "other_config:dpdk-socket-mem=768".to_owned(),
            format!(
                "other_config:dpdk-hugepage-dir={}",
                pages.folder().display()
            ),
            "other_config:dpdk-extra=--no-pci --no-telemetry --file-prefix=bench".to_owned(),
        ];
        // Not below /run, where it would leave things behind.
        let directory = folder.path().to_owned();
        let environment = [("RUNTIME_DIRECTORY", directory.as_path())];
        let daemons = Daemons::start(&namespace, PROGRAM, folder, &settings, &environment)?;
        let source = format!("net_pcap0,rx_pcap={},infinite_rx=1", capture.display());
        add_bridge(&daemons)?;
        learn_destinations(&daemons, flows)?;
        // Frames come from here on, when all destinations are known.
        add_source(&daemons, &source)?;
        let ovs = Self {
            daemons,
            _pages: pages,
            _namespace: namespace,
        };
        signals::wait_for("all flows are in the caches", PATIENCE, || {
            let stats = ovs.stats_of(LOOK)?;
            let is_warm = stats.received > 0 && stats.missed * 1000 < stats.received;
            Ok(is_warm.then_some(()))
        })?;
        signals::sleep(WARM_UP)?;
        Ok(ovs)
    }

    /// What the forwarding thread does in so long.
    fn stats_of(&self, length: Duration) -> Result<PmdStats> {
        self.daemons.appctl(&["dpif-netdev/pmd-stats-clear"])?;
        signals::sleep(length)?;
        let text = self.daemons.appctl(&["dpif-netdev/pmd-stats-show"])?;
        PmdStats::parse(&text).with_context(|| format!("statistics in {text}"))
    }

    /// Lets it run for so long, and says how fast it was.
    ///
    /// # Errors
    /// When frames are dropped or flooded, so that the number would not be one of switching.
    pub fn measure(&self, length: Duration) -> Result<Rate> {
        let counts = || -> Result<(u64, u64)> {
            let text = self.daemons.appctl(&["dpctl/show", "-s"])?;
            parse_counts(&text).with_context(|| format!("counts in {text}"))
        };
        let before = counts()?;
        let begin = Instant::now();
        let stats = self.stats_of(length)?;
        let after = counts()?;
        let elapsed = begin.elapsed();
        let sent = after.0 - before.0;
        let elsewhere = after.1 - before.1;
        ensure!(
            elsewhere * 1000 < sent,
            "{elsewhere} of {sent} frames were flooded: the flows are not what was meant"
        );
        ensure!(
            stats.missed * 100 < stats.received,
            "{} of {} frames had no flow: the caches are not what was measured",
            stats.missed,
            stats.received
        );
        Ok(Rate {
            fps: sent as f64 / elapsed.as_secs_f64(),
            cycles: stats.cycles_per_frame,
        })
    }

    /// Stops it where it is, so that its core is free.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn pause(&self) -> Result<()> {
        self.daemons.switch().pause()
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn resume(&self) -> Result<()> {
        self.daemons.switch().resume()
    }

    /// Ends it.
    ///
    /// # Errors
    /// When a daemon had to be killed.
    pub fn tear_down(self) -> Result<()> {
        self.daemons.stop()
    }
}

fn add_bridge(daemons: &Daemons) -> Result<()> {
    let mac_table = format!("other_config:{MAC_TABLE_SIZE}");
    let sink = "options:dpdk-devargs=net_null0,no-rx=1";
    let mut add = vec!["add-br", BRIDGE, "--", "set", "bridge", BRIDGE];
    add.extend(["datapath_type=netdev", &mac_table]);
    add.extend(["--", "add-port", BRIDGE, "dst"]);
    add.extend(["--", "set", "interface", "dst", "type=dpdk", sink]);
    daemons.vsctl(&add)?;
    daemons.check_interfaces(["dst"].into_iter())
}

fn add_source(daemons: &Daemons, source: &str) -> Result<()> {
    let source = format!("options:dpdk-devargs={source}");
    let mut add = vec!["add-port", BRIDGE, "src", "--"];
    add.extend(["set", "interface", "src", "type=dpdk", &source]);
    daemons.vsctl(&add)?;
    daemons.check_interfaces(["src"].into_iter())
}

/// Puts every destination into the bridge's table, so that nothing is flooded.
fn learn_destinations(daemons: &Daemons, flows: usize) -> Result<()> {
    let mut control = Control::connect(&daemons.control())?;
    for flow in 0..flows {
        let [.., a, b, c] = (flow as u32).to_be_bytes();
        let mac = format!("02:00:01:{a:02x}:{b:02x}:{c:02x}");
        control.call("fdb/add", &[BRIDGE, "dst", "0", &mac])?;
    }
    Ok(())
}

/// A capture with one frame of 60 bytes for each flow, with addresses and ports of its own in
/// every header that a flow cache hashes.
fn write_capture(path: &Path, flows: usize) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    // Magic, version 2.4, time zone, accuracy, longest frame, Ethernet.
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1] {
        file.write_all(&u32::to_le_bytes(word))?;
    }
    for flow in 0..flows {
        let frame = frame(flow as u32);
        let length = frame.len() as u32;
        for word in [0, 0, length, length] {
            file.write_all(&u32::to_le_bytes(word))?;
        }
        file.write_all(&frame)?;
    }
    file.flush()?;
    ensure!(fs::metadata(path)?.len() == 24 + 76 * flows as u64);
    Ok(())
}

/// UDP in IPv4 from station to station; 60 bytes, the shortest without FCS.
fn frame(flow: u32) -> Vec<u8> {
    let [_, a, b, c] = flow.to_be_bytes();
    let mut frame = vec![2, 0, 1, a, b, c, 2, 0, 0, a, b, c, 0x08, 0x00];
    let mut header = [
        0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, a, b, c, 11, a, b, c,
    ];
    let checksum = internet_checksum(&header).to_be_bytes();
    header[10..12].copy_from_slice(&checksum);
    frame.extend(header);
    let port = (1024 + flow % 50_000) as u16;
    frame.extend(port.to_be_bytes());
    frame.extend([0x1f, 0x90, 0, 26, 0, 0]);
    frame.resize(60, 0);
    frame
}

/// RFC 1071.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|it| u32::from(it[0]) << 8 | u32::from(it[1]));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// The control socket, for questions by the thousand: JSON-RPC, as ovs-appctl(8) speaks it.
struct Control {
    stream: BufReader<UnixStream>,
    next: u64,
}

impl Control {
    fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path).with_context(|| path.display().to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self {
            stream: BufReader::new(stream),
            next: 0,
        })
    }

    fn call(&mut self, method: &str, parameters: &[&str]) -> Result<()> {
        signals::check()?;
        let question = json!({"id": self.next, "method": method, "params": parameters});
        self.next += 1;
        self.stream
            .get_mut()
            .write_all(question.to_string().as_bytes())?;
        // Answers come without a line's end: one object, whose last byte is a closing brace.
        let mut answer = Vec::new();
        loop {
            self.stream.fill_buf()?;
            let size = self.stream.buffer().len();
            ensure!(size > 0, "{method}: the switch has closed its socket");
            let mut part = vec![0; size];
            self.stream.read_exact(&mut part)?;
            answer.extend(part);
            let Ok(value) = serde_json::from_slice::<Value>(&answer) else {
                continue;
            };
            let error = &value["error"];
            ensure!(error.is_null(), "{method} {parameters:?}: {error}");
            return Ok(());
        }
    }
}

/// What `dpif-netdev/pmd-stats-show` says of the forwarding threads.
#[derive(Clone, Copy, Debug, PartialEq)]
struct PmdStats {
    received: u64,
    /// Frames that no flow cache knew.
    missed: u64,
    cycles_per_frame: f64,
}

impl PmdStats {
    /// Reads the part of the first PMD thread.
    fn parse(text: &str) -> Option<Self> {
        let part = text
            .split("pmd thread")
            .nth(1)?
            .split("main thread")
            .next()?;
        let value = |name: &str| {
            let line = part.lines().find_map(|it| it.trim().strip_prefix(name))?;
            line.split_whitespace().next().map(str::to_owned)
        };
        let count = |name: &str| value(name)?.parse::<u64>().ok();
        let received = count("packets received:")?;
        let missed = count("miss with success upcall:")? + count("miss with failed upcall:")?;
        let cycles = value("avg cycles per packet:")?.parse().ok()?;
        Some(Self {
            received,
            missed,
            cycles_per_frame: cycles,
        })
    }
}

/// From `dpctl/show -s`: frames that left by the port `dst`, and by all others.
fn parse_counts(text: &str) -> Option<(u64, u64)> {
    let (mut wanted, mut elsewhere) = (None, 0);
    let mut port = "";
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("port ") {
            port = rest.split_once(": ")?.1.split(' ').next()?;
        }
        let Some(rest) = line.strip_prefix("TX packets:") else {
            continue;
        };
        let count = |text: &str| text.split(' ').next()?.parse::<u64>().ok();
        let dropped = rest.split_once("dropped:").and_then(|(_, it)| count(it));
        match port {
            "dst" => wanted = count(rest),
            _ => elsewhere += count(rest)? + dropped.unwrap_or(0),
        }
    }
    Some((wanted?, elsewhere))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Open vSwitch 3.1.0 has printed them.
    const PMD_STATS: &str = "\
pmd thread numa_id 0 core_id 1:
  packets received: 7367328
  packet recirculations: 0
  avg. datapath passes per packet: 1.00
  phwol hits: 0
  emc hits: 212216
  megaflow hits: 7155080
  miss with success upcall: 5
  miss with failed upcall: 12
  avg. packets per output batch: 32.00
  idle cycles: 0 (0.00%)
  processing cycles: 5281405162 (100.00%)
  avg cycles per packet: 716.87 (5281405162/7367328)
  avg processing cycles per packet: 716.87 (5281405162/7367328)
main thread:
  packets received: 0
";
    const COUNTS: &str = "\
netdev@ovs-netdev:
  lookups: hit:1 missed:2 lost:0
  port 0: ovs-netdev (tap)
    RX packets:0 errors:0 dropped:0 overruns:0 frame:0
    TX packets:0 errors:0 dropped:0 aborted:0 carrier:0
    collisions:0
    RX bytes:0  TX bytes:0
  port 1: br0 (tap)
    RX packets:0 errors:0 dropped:0 overruns:0 frame:0
    TX packets:3 errors:0 dropped:7864384 aborted:0 carrier:0
  port 2: dst (dpdk: configured_rx_queues=1, mtu=1500)
    RX packets:0 errors:0 dropped:0 overruns:? frame:?
    TX packets:7864480 errors:0 dropped:0 aborted:? carrier:?
  port 3: src (dpdk: configured_rx_queues=1, mtu=1500)
    RX packets:7867968 errors:0 dropped:0 overruns:? frame:?
    TX packets:0 errors:0 dropped:0 aborted:? carrier:?
";

    #[test]
    fn what_open_vswitch_prints_is_understood() {
        let expected = PmdStats {
            received: 7_367_328,
            missed: 17,
            cycles_per_frame: 716.87,
        };
        assert_eq!(PmdStats::parse(PMD_STATS), Some(expected));
        assert_eq!(
            PmdStats::parse("main thread:\n  packets received: 0\n"),
            None
        );
        assert_eq!(parse_counts(COUNTS), Some((7_864_480, 7_864_387)));
        assert_eq!(parse_counts(""), None);
    }

    #[test]
    fn each_flow_has_a_valid_header_of_its_own() {
        let first = frame(0);
        assert_eq!(first.len(), 60);
        for flow in [0, 1, 255, 256, 65_535] {
            let frame = frame(flow);
            assert_eq!(internet_checksum(&frame[14..34]), 0);
            assert!(flow == 0 || (frame[..12] != first[..12] && frame[26..] != first[26..]));
        }
    }
}
