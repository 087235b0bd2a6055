//! What a contender looks like, the same in every plot.

use crate::report::readings;
use crate::report::results::Kind;

/// Marks of points; each contender has its own, so that no reader depends on colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A filled circle.
    Circle,
    /// A filled square.
    Square,
    /// A filled triangle.
    Triangle,
    /// A filled square on its corner.
    Diamond,
    /// A circle with a white inside.
    Ring,
    /// A square with a white inside.
    Frame,
}

/// Colour and mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// As `#rrggbb`.
    pub colour: &'static str,
    /// Of points.
    pub mark: Mark,
}

/// The palette of Okabe and Ito, which people with any kind of colour blindness can tell apart,
/// without its yellow, which is too light on white.
const KNOWN: [(&str, Look); 9] = [
    ("shunt", look("#d55e00", Mark::Circle)),
    ("shunt-2", look("#e69f00", Mark::Ring)),
    ("shunt-poll", look("#e69f00", Mark::Diamond)),
    ("bridge", look("#0072b2", Mark::Square)),
    ("ovs-afxdp", look("#009e73", Mark::Triangle)),
    ("ovs-dpdk", look("#009e73", Mark::Triangle)),
    ("testpmd", look("#cc79a7", Mark::Diamond)),
    ("xsk-rs", look("#56b4e9", Mark::Ring)),
    ("redirect", look("#555555", Mark::Frame)),
];

/// For names that are not known.
const OTHERS: [Look; 2] = [
    look("#7f4f24", Mark::Diamond),
    look("#000000", Mark::Square),
];

const fn look(colour: &'static str, mark: Mark) -> Look {
    Look { colour, mark }
}

/// The look of a contender: by its name alone, so that who else takes part does not matter.
pub fn of(name: &str) -> Look {
    let known = KNOWN.iter().find(|(known, _)| *known == name);
    let sum: usize = name.bytes().map(usize::from).sum();
    known.map_or(OTHERS[sum % OTHERS.len()], |(_, look)| *look)
}

/// The name as plots show it.
pub fn label(name: &str, kind: Kind) -> String {
    match readings::kind(kind) {
        Some(word) => format!("{name} ({word})"),
        None => name.to_owned(),
    }
}
