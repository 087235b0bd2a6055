//! The kernel's own generator, where it is there: the same options, as the commands that it reads
//! (Documentation/networking/pktgen.rst).

use std::{
    fmt, fs,
    net::Ipv4Addr,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use bench_ebpf::frame::{DESTINATION_ADDRESS, DESTINATION_PORT, FIRST_SOURCE_PORT, SOURCE_ADDRESS};
use serde_json::{Value, json};
use shunt_tests::traffic::text_of;

use super::{Device, Length, Rate, Shape, Size, command::per_second, shape::IMIX};

/// Where pktgen is; that of the namespace which the calling thread is in.
const DIRECTORY: &str = "/proc/thread-self/net/pktgen";
/// Flows that differ in source port: the last port is 65 535, and the kernel's range is half open.
const MOST_BY_PORT: u64 = (u16::MAX - FIRST_SOURCE_PORT) as u64;
/// Flows that differ in IP source address: of 198.18.0.0/16.
const MOST_BY_ADDRESS: u64 = 65_000;
/// How long it may take to end after it was told to.
const END: Duration = Duration::from_secs(5);
/// Between two looks at whether it has.
const PAUSE: Duration = Duration::from_millis(5);

/// A run, as pktgen's device is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    core: usize,
    /// Until it is told to stop, if it does not stop by itself.
    time: Option<Duration>,
    /// What the device's file is told, line by line.
    commands: Vec<String>,
}

/// What it has done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sent {
    /// Frames that the device took.
    pub sent: u64,
    /// Frames that it did not take.
    pub errors: u64,
    /// How long it took.
    pub took: Duration,
}

impl Job {
    /// What pktgen has to be told for frames of a shape.
    ///
    /// # Errors
    /// Names what it cannot do.
    pub fn new(shape: &Shape, rate: Rate, length: Length, core: Option<usize>) -> Result<Self> {
        shape.check()?;
        let mut commands = vec!["clone_skb 0".to_owned()];
        let mut tell = |command: fmt::Arguments<'_>| commands.push(command.to_string());
        let time = match length {
            Length::Count(count) => {
                tell(format_args!("count {count}"));
                None
            }
            Length::Time(time) => {
                tell(format_args!("count 0"));
                Some(time)
            }
        };
        match rate {
            Rate::Full => tell(format_args!("delay 0")),
            Rate::PerSecond(rate) if (1.0..=1e9).contains(&rate) && rate.fract() == 0.0 => {
                tell(format_args!("ratep {rate}"));
            }
            Rate::PerSecond(rate) => bail!("pktgen takes whole frames a second, not {rate}"),
        }
        match shape.size {
            Size::Fixed(size) => tell(format_args!("pkt_size {size}")),
            Size::Imix => {
                tell(format_args!("pkt_size {}", IMIX[0]));
                tell(format_args!("imix_weights {}", imix()));
            }
        }
        if !shape.stamped {
            tell(format_args!("flag NO_TIMESTAMP"));
        }
        commands.extend(addresses(shape));
        commands.extend(flows(shape.flows)?);
        match shape.vids[..] {
            [] => {}
            [vid] => commands.push(format!("vlan_id {vid}")),
            [outer, inner, ..] => {
                commands.push(format!("vlan_id {inner}"));
                commands.push(format!("svlan_id {outer}"));
            }
        }
        Ok(Self {
            core: core.unwrap_or(0),
            time,
            commands,
        })
    }

    /// The files of pktgen's directory in the order in which they are told something, and what.
    pub fn writes(&self, device: &str) -> Vec<(String, String)> {
        let thread = format!("kpktgend_{}", self.core);
        let name = format!("{device}@{}", self.core);
        let mut writes = vec![
            (thread.clone(), "rem_device_all".to_owned()),
            (thread, format!("add_device {name}")),
        ];
        let commands = self.commands.iter();
        writes.extend(commands.map(|command| (name.clone(), command.clone())));
        writes
    }
}

/// The sizes of IMIX and how often each comes, which pktgen puts in an order of its own.
fn imix() -> String {
    let mut sizes = IMIX.to_vec();
    sizes.sort_unstable();
    sizes.dedup();
    let weight = |size: &usize| IMIX.iter().filter(|it| *it == size).count();
    let entries = sizes.iter().map(|size| format!("{size},{}", weight(size)));
    entries.collect::<Vec<_>>().join(" ")
}

fn addresses(shape: &Shape) -> [String; 4] {
    [
        format!("dst_mac {}", text_of(shape.destination)),
        format!("src_mac {}", text_of(shape.source)),
        format!("dst_mac_count {}", shape.destination_macs),
        format!("src_mac_count {}", shape.source_macs),
    ]
}

/// Addresses and ports. Ports and addresses would count up at the same time, so one of them
/// tells the flows.
fn flows(count: u64) -> Result<Vec<String>> {
    ensure!(
        count <= MOST_BY_ADDRESS,
        "pktgen makes at most {MOST_BY_ADDRESS} flows of this kind, not {count}"
    );
    let by_port = count <= MOST_BY_PORT;
    let last = SOURCE_ADDRESS + if by_port { 0 } else { count as u32 - 1 };
    // The kernel takes the port before the last as the highest.
    let end = u64::from(FIRST_SOURCE_PORT) + if by_port { count } else { 1 };
    Ok(vec![
        format!("dst {}", Ipv4Addr::from(DESTINATION_ADDRESS)),
        format!("src_min {}", Ipv4Addr::from(SOURCE_ADDRESS)),
        format!("src_max {}", Ipv4Addr::from(last)),
        format!("udp_src_min {FIRST_SOURCE_PORT}"),
        format!("udp_src_max {end}"),
        format!("udp_dst_min {DESTINATION_PORT}"),
        format!("udp_dst_max {DESTINATION_PORT}"),
    ])
}

/// Lets the kernel send, and waits until it has.
///
/// # Errors
/// Without pktgen in the kernel, or when it refuses a command.
pub fn run(device: &Device, job: &Job, stop: &AtomicBool) -> Result<Sent> {
    device.enter(|| {
        let control = PathBuf::from(DIRECTORY).join("pgctrl");
        ensure!(
            control.exists(),
            "the kernel has no pktgen: modprobe pktgen, if it was built with CONFIG_NET_PKTGEN"
        );
        for (file, command) in job.writes(device.name()) {
            write(&file, &command)?;
        }
        let result = start_and_stop(device, job, stop);
        let removed = write(&format!("kpktgend_{}", job.core), "rem_device_all");
        let sent = result?;
        removed.map(|()| sent)
    })?
}

/// The command to start returns when everything is sent, so another thread is needed to stop.
fn start_and_stop(device: &Device, job: &Job, stop: &AtomicBool) -> Result<Sent> {
    let begin = Instant::now();
    let own = device.clone();
    let running = thread::spawn(move || {
        own.move_thread()?;
        write("pgctrl", "start")
    });
    while !running.is_finished() {
        let is_over = job.time.is_some_and(|time| begin.elapsed() >= time);
        if is_over || stop.load(Relaxed) {
            write("pgctrl", "stop")?;
            break;
        }
        thread::sleep(PAUSE);
    }
    let ended = end_within(running, END);
    ended.with_context(|| format!("pktgen does not end within {END:?} of being told to"))??;
    let file = PathBuf::from(DIRECTORY).join(format!("{}@{}", device.name(), job.core));
    let text = fs::read_to_string(file).context("what pktgen has done")?;
    Sent::from_text(&text).with_context(|| format!("pktgen says: {text}"))
}

/// What a thread gives that ends in time; none, and it is left to itself, if it does not.
fn end_within<T>(thread: thread::JoinHandle<T>, limit: Duration) -> Option<T> {
    let begin = Instant::now();
    while !thread.is_finished() {
        if begin.elapsed() >= limit {
            return None;
        }
        thread::sleep(PAUSE);
    }
    match thread.join() {
        Ok(result) => Some(result),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn write(file: &str, command: &str) -> Result<()> {
    let path = PathBuf::from(DIRECTORY).join(file);
    fs::write(&path, format!("{command}\n"))
        .with_context(|| format!("pktgen refuses `{command}` for {file}"))
}

impl Sent {
    /// Reads what pktgen says of a device.
    fn from_text(text: &str) -> Option<Self> {
        let number = |name: &str| -> Option<u64> {
            let (_, rest) = text.split_once(name)?;
            rest.split_whitespace().next()?.parse().ok()
        };
        let result = text.split_once("Result: OK: ")?.1;
        let took = result.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Self {
            sent: number("pkts-sofar: ")?,
            errors: number("errors: ")?,
            took: Duration::from_micros(took.parse().ok()?),
        })
    }

    fn rate(&self) -> f64 {
        self.sent as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "made": self.sent + self.errors,
            "accepted": self.sent,
            "refused": self.errors,
            "took_s": self.took.as_secs_f64(),
            "made_per_s": self.rate(),
            "via": "pktgen",
        })
    }

    /// For people.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let (sent, seconds) = (self.sent, self.took.as_secs_f64());
        let rate = per_second(self.rate());
        vec![
            (
                "made",
                format!("{sent} frames in {seconds:.3} s: {rate}, by pktgen"),
            ),
            ("refused", format!("{} by the device", self.errors)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(shape: &Shape, rate: Rate, length: Length) -> String {
        let job = Job::new(shape, rate, length, Some(1)).expect("possible");
        let line = |(file, command): (String, String)| format!("{file}: {command}\n");
        job.writes("veA").into_iter().map(line).collect()
    }

    #[test]
    fn a_thread_that_does_not_end_is_not_waited_for() {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let endless = thread::spawn(move || ended.recv());
        assert_eq!(end_within(endless, Duration::from_millis(20)), None);
        // It would end now.
        drop(end);
        let quick = thread::spawn(|| 7);
        assert_eq!(end_within(quick, END), Some(7));
    }

    #[test]
    fn plain_frames() {
        let expected = "\
kpktgend_1: rem_device_all
kpktgend_1: add_device veA@1
veA@1: clone_skb 0
veA@1: count 1000
veA@1: delay 0
veA@1: pkt_size 60
veA@1: dst_mac 02:64:00:00:00:00
veA@1: src_mac 02:62:00:00:00:00
veA@1: dst_mac_count 1
veA@1: src_mac_count 1
veA@1: dst 198.19.0.1
veA@1: src_min 198.18.0.1
veA@1: src_max 198.18.0.1
veA@1: udp_src_min 49152
veA@1: udp_src_max 49153
veA@1: udp_dst_min 9
veA@1: udp_dst_max 9
";
        assert_eq!(
            commands(&Shape::new(60), Rate::Full, Length::Count(1000)),
            expected
        );
    }

    #[test]
    fn everything_that_can_be_asked_for() {
        let shape = Shape {
            size: Size::Imix,
            flows: 20_000,
            source_macs: 16,
            destination_macs: 32,
            stamped: false,
            ..Shape::new(60)
        };
        let rate = Rate::PerSecond(100_000.0);
        let text = commands(&shape, rate, Length::Time(Duration::from_secs(1)));
        for command in [
            "count 0",
            "ratep 100000",
            "imix_weights 60,7 590,4 1514,1",
            "flag NO_TIMESTAMP",
            "src_mac_count 16",
            "dst_mac_count 32",
            "src_max 198.18.78.32",
            "udp_src_max 49153",
        ] {
            assert!(
                text.contains(&format!("veA@1: {command}\n")),
                "{command}: {text}"
            );
        }
    }

    #[test]
    fn tags() {
        let tagged = |vids: &[u16]| Shape {
            vids: vids.to_vec(),
            ..Shape::new(100)
        };
        let text = commands(&tagged(&[20]), Rate::Full, Length::Count(1));
        assert!(
            text.contains("veA@1: vlan_id 20\n") && !text.contains("svlan_id"),
            "{text}"
        );
        let text = commands(&tagged(&[100, 20]), Rate::Full, Length::Count(1));
        assert!(
            text.ends_with("veA@1: vlan_id 20\nveA@1: svlan_id 100\n"),
            "{text}"
        );
    }

    #[test]
    fn what_it_cannot_do_is_named() {
        let many = Shape {
            flows: 100_000,
            ..Shape::new(60)
        };
        let error = Job::new(&many, Rate::Full, Length::Count(1), None).expect_err("too many");
        assert!(error.to_string().contains("at most 65000 flows"), "{error}");
        let rate = Rate::PerSecond(0.5);
        let error = Job::new(&Shape::new(60), rate, Length::Count(1), None).expect_err("slow");
        assert!(
            error.to_string().contains("whole frames a second"),
            "{error}"
        );
    }

    #[test]
    fn what_it_says_is_read() {
        let text = "Params: count 1000  min_pkt_size: 60  max_pkt_size: 60\n\
            Current:\n     pkts-sofar: 1000  errors: 7\n     started: 1us  stopped: 2us idle: 3us\n\
            Result: OK: 2156(c2104+d52) usec, 1000 (60byte,0frags)\n\
            \x20 463821pps 222Mb/sec (222634080bps) errors: 7\n";
        let expected = Sent {
            sent: 1000,
            errors: 7,
            took: Duration::from_micros(2156),
        };
        assert_eq!(Sent::from_text(text), Some(expected));
        assert_eq!(Sent::from_text("Result: Idle"), None);
    }
}
