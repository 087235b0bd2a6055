//! Addresses that move too often, as the manual describes it: random limits, their text in a file,
//! and a map of who moved.

use std::{collections::HashMap, fmt::Write as _};

use super::{
    rng::Rng,
    rules::{Address, Rules},
    wrong::Wrong,
};

/// A network and an address in it.
type Station = (usize, Address);

/// An address that is listed: network, address, first port, moves, seconds of its quarantine left.
pub type Listed = (usize, Address, usize, u32, Option<u64>);

/// When an address moves too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub moves: u32,
    pub window_s: u32,
    pub quarantine_s: u32,
}

/// Gives rules other limits, or none: low and short ones, so that addresses come to know them.
pub fn decorate(rng: &mut Rng, rules: &mut Rules) {
    rules.flaps = rng.chance(80).then(|| Limits {
        moves: rng.pick(&[1, 1, 2, 3]),
        window_s: rng.pick(&[1, 5, 10, 60, 400]),
        quarantine_s: rng.pick(&[1, 3, 10, 60]),
    });
}

/// The keys of `[switch]`.
pub fn render(text: &mut String, limits: Option<Limits>) {
    if let Some(limits) = limits {
        let _ = write!(
            text,
            "flap_moves = {}\nflap_window_s = {}\nflap_quarantine_s = {}\n",
            limits.moves, limits.window_s, limits.quarantine_s
        );
    }
}

/// How long what is known of an address lasts.
#[derive(Clone, Copy, Debug)]
enum Lasts {
    /// The window began.
    Since(u64),
    /// It is quarantined.
    Until(u64),
}

/// An address that has moved.
#[derive(Clone, Copy, Debug)]
struct Mover {
    /// Where it was at first.
    home: usize,
    /// How often it left.
    moves: u32,
    lasts: Lasts,
}

impl Mover {
    /// When it is over.
    fn end(&self, limits: Limits) -> u64 {
        match self.lasts {
            Lasts::Since(start) => start + u64::from(limits.window_s),
            Lasts::Until(end) => end,
        }
    }
}

/// All addresses that have ever moved.
#[derive(Clone, Debug, Default)]
pub struct Flaps {
    movers: HashMap<Station, Mover>,
    /// How many were quarantined, and how many of them have moved again afterwards.
    pub quarantined: u64,
    pub recovered: u64,
}

impl Flaps {
    /// Whether an address has to stay behind another port than this one.
    pub fn holds(&self, station: Station, port: usize, now: u64, wrong: Option<Wrong>) -> bool {
        let Some(Mover { home, lasts, .. }) = self.movers.get(&station) else {
            return false;
        };
        let early = u64::from(wrong == Some(Wrong::QuarantineEndsEarly));
        matches!(lasts, Lasts::Until(end) if now + early < *end) && *home != port
    }

    /// An address moves; where it has to stay, if that is once too often.
    pub fn moves(
        &mut self,
        station: Station,
        (from, to): (usize, usize),
        now: u64,
        limits: Limits,
        wrong: Option<Wrong>,
    ) -> Result<(), usize> {
        let begun = Mover {
            home: from,
            moves: 1,
            lasts: Lasts::Since(now),
        };
        let mover = self
            .movers
            .entry(station)
            .or_insert(Mover { moves: 0, ..begun });
        if mover.home == to && wrong != Some(Wrong::GoingHomeCounts) {
            return Ok(());
        }
        let over = now >= mover.end(limits) && wrong != Some(Wrong::WindowIsEndless);
        if over {
            self.recovered += u64::from(matches!(mover.lasts, Lasts::Until(_)));
            *mover = begun;
            return Ok(());
        }
        mover.moves += 1;
        let slack = u32::from(wrong == Some(Wrong::QuarantinedLate));
        if mover.moves <= limits.moves + slack {
            return Ok(());
        }
        mover.lasts = Lasts::Until(now + u64::from(limits.quarantine_s));
        self.quarantined += 1;
        Err(match wrong {
            Some(Wrong::ThievesKeepAddresses) => from,
            _ => mover.home,
        })
    }

    /// Somebody has said where an address is.
    pub fn forget(&mut self, station: Station) {
        self.movers.remove(&station);
    }

    /// Keeps what is known of networks and first ports that are still there.
    pub fn retain(&mut self, stays: impl Fn(usize, usize) -> bool) {
        self.movers
            .retain(|(network, _), mover| stays(*network, mover.home));
    }

    /// Those that are not over.
    pub fn list(&self, now: u64, limits: Limits) -> Vec<Listed> {
        let lasting = self.movers.iter();
        let lasting = lasting.filter(|(_, mover)| now < mover.end(limits));
        let listed = |((network, mac), mover): (&Station, &Mover)| {
            let left = match mover.lasts {
                Lasts::Since(_) => None,
                Lasts::Until(end) => Some(end - now),
            };
            (*network, *mac, mover.home, mover.moves, left)
        };
        let mut all: Vec<Listed> = lasting.map(listed).collect();
        all.sort_unstable();
        all
    }
}
