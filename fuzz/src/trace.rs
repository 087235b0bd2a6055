//! What `shunt trace` reads: it is taken or refused, and the frames that come of it can be shown.

use std::sync::LazyLock;

use switch_core::{
    config::{Config, parse},
    limits::MAX_FRAME_SIZE,
    wire::ethernet::Mac,
};

use crate::{
    api::trace::TraceRequest,
    frame::{
        build::{Known, build},
        hex, pcap, text,
    },
};

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let text = r#"
[[network]]
name = "web"
vlan = 20

[[port]]
name = "a"
device = "d0"
network = "web"
security = "strict"
allowed_macs = "02:00:00:00:00:01"
allowed_addresses = ["10.0.0.0/24", "fd00::1"]

[[port]]
name = "up"
device = "d1"
tpid = "0x88a8"
trunk = ["web"]
"#;
    parse("trace.toml", text).unwrap_or_else(|report| panic!("{report}"))
});

/// The first byte says what the rest is.
pub fn run(input: &[u8]) {
    let Some((kind, input)) = input.split_first() else {
        return;
    };
    match kind % 3 {
        0 => digits(&String::from_utf8_lossy(input)),
        1 => {
            if let Ok(frames) = pcap::frames(input) {
                let bytes: usize = frames.iter().map(Vec::len).sum();
                assert!(bytes <= input.len() && frames.len() <= pcap::MOST_FRAMES);
                frames.iter().for_each(|frame| show(frame));
            }
        }
        _ => request(input),
    }
}

fn digits(text: &str) {
    if let Ok(bytes) = hex::decode(text) {
        assert_eq!(hex::decode(&hex::encode(&bytes)), Ok(bytes.clone()));
        show(&bytes);
    }
}

fn request(json: &[u8]) {
    let Ok(request) = serde_json::from_slice::<TraceRequest>(json) else {
        return;
    };
    let again = serde_json::to_vec(&request).expect("it can be written");
    assert_eq!(
        serde_json::from_slice::<TraceRequest>(&again).ok(),
        Some(request.clone())
    );
    request.frames.iter().for_each(|text| digits(text));
    let known = Known {
        config: &CONFIG,
        learnt: &|_| Some(Mac([2, 0, 0, 0, 0, 9])),
    };
    let fields = request.fields.unwrap_or_default();
    if let Ok(frame) = build(&fields, &request.from, &known) {
        assert!(frame.len() >= 60);
        show(&frame);
    }
}

/// A line, and the bytes, without what would move a terminal's cursor.
fn show(frame: &[u8]) {
    let line = text::line(frame, frame.len());
    assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
    let view = text::view(frame);
    assert_eq!((view.bytes, view.text), (frame.len(), line));
    assert_eq!(view.hex, hex::encode(frame));
    assert!(frame.len() <= MAX_FRAME_SIZE || !view.hex.is_empty());
}
