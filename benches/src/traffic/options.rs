//! `shunt-bench gen` and `shunt-bench sink`, as they are typed.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use shunt_tests::traffic::Mac;

use super::{
    Length, Rate, Shape, SinkMode, Size, Via,
    shape::{FCS_SIZE, LARGEST},
};

const GEN_HELP: &str = "\
Examples:
  # As many minimum frames as one core makes, for 10 seconds
  cargo xtask bench gen --netns left --device guest0 --dst 02:53:48:00:00:02

  # Exactly 100 000 frames a second of the simple IMIX in 64 flows, tagged, from core 0
  cargo xtask bench gen --netns left --device guest0 --dst 02:53:48:00:00:02 \\
      --rate 100k --size imix --flows 64 --vlan 20 --core 0

  # Let a switch learn where 1000 addresses are: at the device where they shall arrive
  cargo xtask bench gen --netns right --device guest0 --dst-macs 1000 --announce

A size is that of the whole frame with its FCS of 4 bytes, as RFC 2544 has it: 64 to 9022. IMIX
is 7 frames of 64, 4 of 594 and 1 of 1518 bytes. Frames of more than 3396 bytes do not fit into
the page of a live frame and go by a packet socket, which is slower; the output says which.";

/// What `shunt-bench gen` is told.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = GEN_HELP)]
pub struct GenOptions {
    /// Device to send by
    #[arg(long)]
    pub(super) device: String,
    /// Its network namespace, as `ip netns` calls it; this one if none is named
    #[arg(long, value_name = "NAME")]
    pub(super) netns: Option<String>,
    /// Frames a second, e.g. 100k or 1.5M; or `full`: as fast as one core can
    #[arg(long, default_value = "full", value_parser = rate)]
    pub(super) rate: Rate,
    /// Bytes of a frame with FCS, 64 to 9022; or `imix`
    #[arg(long, default_value = "64", value_parser = size)]
    pub(super) size: Size,
    /// UDP flows that take turns
    #[arg(long, default_value = "1", value_name = "N", value_parser = number)]
    pub(super) flows: u64,
    /// Source addresses that take turns, counting up from --src
    #[arg(long, default_value = "1", value_name = "N", value_parser = number)]
    pub(super) src_macs: u64,
    /// Destination addresses that take turns, counting up from --dst
    #[arg(long, default_value = "1", value_name = "N", value_parser = number)]
    pub(super) dst_macs: u64,
    /// First source address
    #[arg(long, value_name = "MAC", default_value = "02:62:00:00:00:00", value_parser = mac)]
    pub(super) src: Mac,
    /// First destination address
    #[arg(long, value_name = "MAC", default_value = "02:64:00:00:00:00", value_parser = mac)]
    pub(super) dst: Mac,
    /// VID of a tag (802.1Q), or of two: an S-tag outside, a C-tag inside
    #[arg(long, value_name = "VID[,VID]", value_delimiter = ',')]
    pub(super) vlan: Vec<u16>,
    /// Frames to send, e.g. 10M
    #[arg(long, value_name = "N", value_parser = number)]
    pub(super) count: Option<u64>,
    /// Time to send for, instead; 10 if neither is said
    #[arg(long, value_name = "SECONDS", conflicts_with = "count")]
    pub(super) seconds: Option<f64>,
    /// Core to run on; any if none is named
    #[arg(long)]
    pub(super) core: Option<usize>,
    /// How frames get to the device; XDP live frames if they fit
    #[arg(long, value_name = "WAY")]
    pub(super) via: Option<Way>,
    /// Do not write the time into frames: up to twice as fast, and no latency
    #[arg(long)]
    pub(super) no_stamp: bool,
    /// Send one frame from each of the destination addresses, and nothing to them
    #[arg(long)]
    pub(super) announce: bool,
    /// Let the kernel's pktgen do it
    #[arg(long, conflicts_with_all = ["via", "announce"])]
    pub(super) pktgen: bool,
    /// Send by this device even if the default route goes by it
    #[arg(long)]
    pub(super) yes_this_device: bool,
    /// How to say what was sent
    #[arg(long, short, default_value = "table")]
    pub(super) output: Output,
}

const SINK_HELP: &str = "\
Examples:
  # Until Ctrl-C
  cargo xtask bench sink --netns right --device guest0

  # For 10 seconds, one line of JSON for each and one for all
  cargo xtask bench sink --netns right --device guest0 --seconds 10 -o json

It drops everything that the device receives, what is not a generator's too, and counts the
latter as foreign. Sizes and bytes are with FCS. A generator on the same machine writes the time
into its frames, and the sink says how long they were on their way; from another machine, or from
pktgen, it cannot know.";

/// What `shunt-bench sink` is told.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = SINK_HELP)]
pub struct SinkOptions {
    /// Device to receive at
    #[arg(long)]
    pub(super) device: String,
    /// Its network namespace, as `ip netns` calls it; this one if none is named
    #[arg(long, value_name = "NAME")]
    pub(super) netns: Option<String>,
    /// Time to receive for; until Ctrl-C if not said
    #[arg(long, value_name = "SECONDS")]
    pub(super) seconds: Option<f64>,
    /// End when so many frames of generators have come
    #[arg(long, value_name = "N", value_parser = number)]
    pub(super) count: Option<u64>,
    /// Receive in the kernel's stack, for drivers without XDP
    #[arg(long, conflicts_with = "tell")]
    pub(super) generic: bool,
    /// Tell apart addresses and flows, and say how many there were; slower
    #[arg(long)]
    pub(super) tell: bool,
    /// Receive at this device even if the default route goes by it
    #[arg(long)]
    pub(super) yes_this_device: bool,
    /// How to say what came
    #[arg(long, short, default_value = "table")]
    pub(super) output: Output,
}

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    Table,
    /// For programs: an object a line
    Json,
}

/// How frames get to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Way {
    /// XDP live frames
    Xdp,
    /// A packet socket
    Packet,
}

impl From<Way> for Via {
    fn from(way: Way) -> Self {
        match way {
            Way::Xdp => Self::LiveFrames,
            Way::Packet => Self::PacketSocket,
        }
    }
}

impl GenOptions {
    /// What frames shall be like.
    pub(super) fn shape(&self) -> Result<Shape> {
        let shape = Shape {
            size: self.size,
            flows: self.flows,
            source: self.src,
            source_macs: self.src_macs,
            destination: self.dst,
            destination_macs: self.dst_macs,
            vids: self.vlan.clone(),
            stamped: !self.no_stamp,
        };
        let shape = match self.announce {
            true => shape.announcement(),
            false => shape,
        };
        shape.check().map(|()| shape)
    }

    pub(super) fn length(&self) -> Result<Length> {
        match (self.count, self.seconds) {
            (Some(count), _) => Ok(Length::Count(count)),
            (None, _) if self.announce => Ok(Length::Count(self.dst_macs)),
            (None, seconds) => time(seconds.unwrap_or(10.0)).map(Length::Time),
        }
    }
}

impl SinkOptions {
    pub(super) fn mode(&self) -> SinkMode {
        match (self.generic, self.tell) {
            (true, _) => SinkMode::Generic,
            (false, true) => SinkMode::Telling,
            (false, false) => SinkMode::Native,
        }
    }
}

/// A time in seconds.
pub(super) fn time(seconds: f64) -> Result<Duration> {
    let fits = (0.001..=86_400.0).contains(&seconds);
    ensure!(fits, "0.001 seconds to a day, not {seconds}");
    Ok(Duration::from_secs_f64(seconds))
}

/// A number that may end in k or M.
fn scaled(text: &str) -> Result<f64> {
    let (digits, factor) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1e3),
        None => match text.strip_suffix('M') {
            Some(digits) => (digits, 1e6),
            None => (text, 1.0),
        },
    };
    let number: f64 = digits
        .parse()
        .with_context(|| format!("`{text}` is no number such as 1500, 100k or 1.5M"))?;
    Ok(number * factor)
}

fn number(text: &str) -> Result<u64> {
    let number = scaled(text)?;
    ensure!(
        (1.0..1e15).contains(&number) && number.fract() == 0.0,
        "`{text}` is no whole number from 1 on"
    );
    Ok(number as u64)
}

fn rate(text: &str) -> Result<Rate> {
    match text {
        "full" => Ok(Rate::Full),
        _ => Ok(Rate::PerSecond(scaled(text)?)),
    }
}

/// A size that is typed with FCS.
fn size(text: &str) -> Result<Size> {
    if text == "imix" {
        return Ok(Size::Imix);
    }
    let size: usize = text
        .parse()
        .with_context(|| format!("`{text}` is neither a number of bytes nor imix"))?;
    match size.checked_sub(FCS_SIZE) {
        Some(size @ 60..=LARGEST) => Ok(Size::Fixed(size)),
        _ => bail!(
            "frames have 64 to {} bytes with FCS, not {size}",
            LARGEST + FCS_SIZE
        ),
    }
}

fn mac(text: &str) -> Result<Mac> {
    let bytes: Result<Vec<u8>, _> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect();
    bytes
        .ok()
        .and_then(|bytes| Mac::try_from(bytes).ok())
        .with_context(|| format!("`{text}` is no address such as 02:53:48:00:00:01"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        options: GenOptions,
    }

    fn typed(words: &str) -> Result<GenOptions, String> {
        let words = words.split_whitespace();
        let typed = Typed::try_parse_from(["gen", "--device", "veA"].into_iter().chain(words));
        typed
            .map(|typed| typed.options)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn options_become_a_shape() {
        let options = typed(
            "--size 1518 --flows 10k --src-macs 3 --dst-macs 4 --dst 02:00:00:00:00:09 --vlan 7,8 \
             --no-stamp --rate 1.5M --count 2M",
        )
        .expect("understood");
        let expected = Shape {
            flows: 10_000,
            source_macs: 3,
            destination: [2, 0, 0, 0, 0, 9],
            destination_macs: 4,
            vids: vec![7, 8],
            stamped: false,
            ..Shape::new(1514)
        };
        assert_eq!(options.shape().expect("possible"), expected);
        assert_eq!(options.rate, Rate::PerSecond(1.5e6));
        assert_eq!(
            options.length().expect("possible"),
            Length::Count(2_000_000)
        );
    }

    #[test]
    fn an_announcement_is_a_frame_from_each_destination() {
        let options = typed("--dst-macs 1000 --flows 8 --size imix --announce").expect("typed");
        let shape = options.shape().expect("possible");
        assert_eq!(shape.source, options.dst);
        assert_eq!((shape.source_macs, shape.destination_macs), (1000, 1));
        assert_eq!(options.length().expect("possible"), Length::Count(1000));
    }

    #[test]
    fn what_cannot_be_is_refused_and_explained() {
        for (words, explanation) in [
            ("--rate much", "no number such as"),
            ("--size 63", "64 to 9022 bytes with FCS"),
            ("--size 9023", "64 to 9022 bytes with FCS"),
            ("--size big", "neither a number of bytes nor imix"),
            ("--flows 0", "no whole number from 1 on"),
            ("--count 1.5", "no whole number from 1 on"),
            ("--dst 1:2:3", "no address such as"),
            ("--count 1 --seconds 1", "cannot be used with"),
            ("--pktgen --announce", "cannot be used with"),
            ("--vlan 20", "68 to 9022"),
            ("--size 68 --vlan 20,30", "72 to 9022"),
            ("--size 100 --vlan 4095", "a VID is at most 4094"),
            ("--size 100 --vlan 1,2,3", "at most two tags"),
            ("--src 03:00:00:00:00:01", "no group's"),
            ("--seconds 0", "0.001 seconds to a day"),
        ] {
            let result = typed(words).and_then(|options| {
                let possible = options.shape().and_then(|_| options.length());
                possible.map_err(|error| format!("{error:#}"))
            });
            let error = result.expect_err(words);
            assert!(error.contains(explanation), "{words}: {error}");
        }
    }
}
