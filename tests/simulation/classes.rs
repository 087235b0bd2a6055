//! Traffic classes, marks and queues as a person would describe them: random ones, their text in a
//! file, and what they mean for a frame, written from the manual and RFC 1624 alone.

use std::fmt::Write as _;

use super::{
    acl::Acts,
    rng::Rng,
    rules::{Port, Rules},
    wrong::Wrong,
};

/// Where a frame says what class it is, and where it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Pcp,
    Dscp,
}

impl Place {
    fn word(self) -> &'static str {
        match self {
            Self::Pcp => "\"pcp\"",
            Self::Dscp => "\"dscp\"",
        }
    }
}

/// What a port says of classes.
#[derive(Clone, Debug)]
pub struct Classes {
    pub class: u8,
    pub from: Vec<Place>,
    pub map: Option<usize>,
    pub mark: Vec<Place>,
    pub scheduler: Option<usize>,
}

impl Default for Classes {
    fn default() -> Self {
        Self {
            class: 1,
            from: Vec::new(),
            map: None,
            mark: Vec::new(),
            scheduler: None,
        }
    }
}

/// A class map: what differs from the standards.
#[derive(Clone, Debug)]
pub struct Map {
    from_pcp: Option<[u8; 8]>,
    from_dscp: Vec<(u8, u8)>,
    to_pcp: Option<[u8; 8]>,
    to_dscp: Option<[u8; 8]>,
}

/// A scheduler, by the classes of its queues; the last one has what is left.
pub type Scheduler = Vec<Vec<u8>>;

/// Gives rules other maps and schedulers, and ports other classes.
pub fn decorate(rng: &mut Rng, rules: &mut Rules) {
    let eight = |rng: &mut Rng, most: usize| {
        rng.chance(70)
            .then(|| std::array::from_fn(|_| rng.range(0, most) as u8))
    };
    let map = |rng: &mut Rng| {
        let mut from_dscp = vec![(46, rng.below(8) as u8), (0, rng.below(8) as u8)];
        from_dscp.truncate(rng.below(3));
        Map {
            from_pcp: eight(rng, 7),
            from_dscp,
            to_pcp: eight(rng, 7),
            to_dscp: eight(rng, 63),
        }
    };
    rules.class_maps = (0..rng.below(3)).map(|_| map(rng)).collect();
    rules.schedulers = [vec![vec![]], vec![vec![7, 6], vec![0], vec![]]].into();
    let (maps, mut waiting) = (rules.class_maps.len(), 0);
    for port in rules.ports.values_mut() {
        let (from, mark) = (places(rng), places(rng));
        let named = !from.is_empty() || !mark.is_empty();
        port.classes = Classes {
            class: rng.pick(&[0, 1, 1, 5, 7]),
            map: rng.choose(0..maps).filter(|_| named && rng.chance(60)),
            from,
            mark,
            // No more than the region has chunks for.
            scheduler: rng.choose(0..2).filter(|_| waiting < 2 && rng.chance(40)),
        };
        waiting += usize::from(port.classes.scheduler.is_some());
    }
}

fn places(rng: &mut Rng) -> Vec<Place> {
    match rng.weighted(&[4, 2, 2, 1, 1]) {
        0 => vec![],
        1 => vec![Place::Pcp],
        2 => vec![Place::Dscp],
        3 => vec![Place::Pcp, Place::Dscp],
        _ => vec![Place::Dscp, Place::Pcp],
    }
}

/// Maps and schedulers as a file says them.
pub fn render(text: &mut String, rules: &Rules) {
    for (index, map) in rules.class_maps.iter().enumerate() {
        let _ = write!(text, "[[class_map]]\nname = \"map{index}\"\n");
        let lists = [
            ("from_pcp", map.from_pcp),
            ("to_pcp", map.to_pcp),
            ("to_dscp", map.to_dscp),
        ];
        for (key, list) in lists {
            if let Some(list) = list {
                let _ = writeln!(text, "{key} = {list:?}");
            }
        }
        for (dscp, class) in &map.from_dscp {
            let _ = write!(
                text,
                "[[class_map.from_dscp]]\ndscp = {dscp}\nclass = {class}\n"
            );
        }
    }
    for (index, queues) in rules.schedulers.iter().enumerate() {
        let _ = write!(text, "[[scheduler]]\nname = \"queues{index}\"\n");
        for classes in queues {
            text.push_str("[[scheduler.queue]]\nlimit = \"1 GiB\"\n");
            if !classes.is_empty() {
                let _ = writeln!(text, "classes = {classes:?}\nstrict = true");
            }
        }
    }
}

/// The keys of a port.
pub fn render_port(text: &mut String, port: &Port) {
    let classes = &port.classes;
    let _ = writeln!(text, "class = {}", classes.class);
    for (key, places) in [("class_from", &classes.from), ("mark", &classes.mark)] {
        if !places.is_empty() {
            let words: Vec<_> = places.iter().map(|place| place.word()).collect();
            let _ = writeln!(text, "{key} = [{}]", words.join(", "));
        }
    }
    if let Some(map) = classes.map {
        let _ = writeln!(text, "class_map = \"map{map}\"");
    }
    if let Some(scheduler) = classes.scheduler {
        let _ = writeln!(text, "scheduler = \"queues{scheduler}\"");
    }
}

/// The position of the IP header behind the tag, if there is one, and whether it is IPv6.
fn packet(frame: &[u8], tagged: bool) -> Option<(usize, bool)> {
    let at = if tagged { 18 } else { 14 };
    let first = *frame.get(at)? >> 4;
    frame.get(at + 1)?;
    match (frame[at - 2], frame[at - 1], first) {
        (0x08, 0x00, 4) => Some((at, false)),
        (0x86, 0xdd, 6) => Some((at, true)),
        _ => None,
    }
}

fn dscp(frame: &[u8], tagged: bool) -> Option<u8> {
    let (at, ipv6) = packet(frame, tagged)?;
    Some(if ipv6 {
        frame[at] % 16 * 4 + frame[at + 1] / 64
    } else {
        frame[at + 1] / 4
    })
}

/// The class of a frame that a port receives.
pub fn class_of(rules: &Rules, port: &Port, frame: &[u8], wrong: Option<Wrong>) -> u8 {
    let classes = &port.classes;
    if wrong == Some(Wrong::NothingIsBelieved) {
        return classes.class;
    }
    let map = classes.map.map(|map| &rules.class_maps[map]);
    let map = map.filter(|_| wrong != Some(Wrong::MapsIgnored));
    let tagged = matches!(frame[12..14], [0x81, 0x00] | [0x88, 0xa8]);
    let mut places = classes.from.clone();
    if wrong == Some(Wrong::LastPlaceDecides) {
        places.reverse();
    }
    for place in places {
        match place {
            Place::Pcp if tagged => {
                let pcp = frame[14] / 32;
                let standard = match pcp {
                    0 => 1,
                    1 => 0,
                    other => other,
                };
                let mapped = map.and_then(|map| map.from_pcp);
                return mapped.map_or(standard, |list| list[usize::from(pcp)]);
            }
            Place::Pcp => {}
            Place::Dscp => {
                let Some(dscp) = dscp(frame, tagged) else {
                    continue;
                };
                let mapped = map.and_then(|map| map.from_dscp.iter().find(|(it, _)| *it == dscp));
                return match (mapped, dscp) {
                    (Some((_, class)), _) => *class,
                    (None, 1 | 8) => 0,
                    (None, 0..8) => 1,
                    (None, dscp) => dscp / 8,
                };
            }
        }
    }
    classes.class
}

/// Writes what rules or, where they say nothing, the port write into a frame of a class.
pub fn mark(
    rules: &Rules,
    port: &Port,
    class: u8,
    acts: Acts,
    frame: &mut [u8],
    wrong: Option<Wrong>,
) {
    let classes = &port.classes;
    let map = classes.map.map(|map| &rules.class_maps[map]);
    let map = map.filter(|_| wrong != Some(Wrong::MapsIgnored));
    let class = usize::from(class);
    let tagged = matches!(frame[12..14], [0x81, 0x00] | [0x88, 0xa8]);
    let of_port = |place, list: Option<[u8; 8]>, standard: [u8; 8]| {
        let writes = classes.mark.contains(&place);
        writes.then(|| list.unwrap_or(standard)[class])
    };
    let list = map.and_then(|map| map.to_pcp);
    let pcp = of_port(Place::Pcp, list, [1, 0, 2, 3, 4, 5, 6, 7]);
    if let Some(pcp) = acts.pcp.or(pcp).filter(|_| tagged) {
        frame[14] = pcp << 5 | frame[14] & 0x1f;
    }
    let Some((at, ipv6)) = packet(frame, tagged) else {
        return;
    };
    let whole = frame.len() >= at + if ipv6 { 40 } else { 20 };
    let list = map.and_then(|map| map.to_dscp);
    let dscp = of_port(Place::Dscp, list, [8, 0, 18, 26, 34, 46, 48, 56]);
    let Some(dscp) = acts.dscp.or(dscp).filter(|_| whole) else {
        return;
    };
    if ipv6 {
        frame[at] = 0x60 + dscp / 4;
        frame[at + 1] = dscp % 4 * 64 + frame[at + 1] % 64;
        return;
    }
    let word = |frame: &[u8], at: usize| u64::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    let before = word(frame, at);
    frame[at + 1] = dscp * 4 + frame[at + 1] % 4;
    if wrong == Some(Wrong::ChecksumForgotten) {
        return;
    }
    // RFC 1624, equation 3: HC' = ~(~HC + ~m + m'), with the carries added at the low end.
    let (checksum, after) = (word(frame, at + 10), word(frame, at));
    let mut sum = (0xffff - checksum) + (0xffff - before) + after;
    while sum > 0xffff {
        sum = sum % 0x10000 + sum / 0x10000;
    }
    frame[at + 10..at + 12].copy_from_slice(&(0xffff - sum as u16).to_be_bytes());
}

/// The queue that a frame of a class waits in.
pub fn queue_of(rules: &Rules, port: &Port, class: u8) -> usize {
    let Some(scheduler) = port.classes.scheduler else {
        return 0;
    };
    let queues = &rules.schedulers[scheduler];
    let has = |queue: &Vec<u8>| queue.contains(&class);
    queues.iter().position(has).unwrap_or(queues.len() - 1)
}
