//! What the project wants to reach, and how far it is: ratios of numbers from one run.

use super::human::{self, Unit};
use super::instructions;
use super::metrics::{self, Metric};
use super::ratio::Ratio;
use super::results::{Engine, Measured, PolicyCost, Results};

/// How a target stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What we aim at is reached.
    Aim,
    /// What must be is reached.
    Must,
    /// Neither.
    Missed,
    /// A number is missing that the target is about.
    NotMeasured,
}

impl Verdict {
    /// The word in the table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Aim => "aim",
            Self::Must => "must",
            Self::Missed => "MISSED",
            Self::NotMeasured => "not measured",
        }
    }
}

/// Where a number has to be.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// No lower than must, aim.
    AtLeast(f64, f64),
    /// No higher than must, aim.
    AtMost(f64, f64),
    /// Lower than must, and no higher than aim.
    Below(f64, f64),
}

impl Bound {
    fn verdict(self, value: f64) -> Verdict {
        let (must, aim) = match self {
            Self::AtLeast(must, aim) => (value >= must, value >= aim),
            Self::AtMost(must, aim) => (value <= must, value <= aim),
            Self::Below(must, aim) => (value < must, value <= aim),
        };
        match (must, aim) {
            (true, true) => Verdict::Aim,
            (true, false) => Verdict::Must,
            (false, _) => Verdict::Missed,
        }
    }

    fn ends(self) -> [f64; 2] {
        match self {
            Self::AtLeast(must, aim) | Self::AtMost(must, aim) | Self::Below(must, aim) => {
                [must, aim]
            }
        }
    }

    fn sign(self) -> [&'static str; 2] {
        match self {
            Self::AtLeast(..) => ["≥", "≥"],
            Self::AtMost(..) => ["≤", "≤"],
            Self::Below(..) => ["<", "≤"],
        }
    }
}

/// A row of the table of targets.
#[derive(Clone, Debug)]
pub struct Target {
    /// What is compared.
    pub what: String,
    /// This project's number.
    pub ours: String,
    /// The other number.
    pub peer: String,
    /// The one over the other, or the number itself where the target is about that.
    pub ratio: String,
    /// What must be.
    pub must: String,
    /// What we aim at.
    pub aim: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What a reader should know about it: what is missing, or that the turns do not tell.
    pub note: String,
}

/// Our contender whose worker never sleeps.
const POLLING: &str = "shunt-poll";

/// One side of a target, or what is missing for it.
type Side = Result<Measured, String>;

/// All targets, in the order in which the project names them.
pub fn targets(results: &Results) -> Vec<Target> {
    let mut targets = vec![
        engines(results, 64, Bound::AtLeast(2.0, 3.0)),
        engines(results, 10_000, Bound::AtLeast(3.0, 5.0)),
        instructions(results),
        cost(
            results,
            "1 million flows",
            1_000_000..=1_048_576,
            |engine| &engine.by_flows,
        ),
        cost(results, "65 536 addresses", 65_536..=65_536, |engine| {
            &engine.by_macs
        }),
        smallest_frames(results, "xsk-rs", Bound::AtLeast(0.95, 1.0)),
        smallest_frames(results, "ovs-afxdp", Bound::AtLeast(1.05, 1.15)),
        beside(
            results,
            &metrics::tcp(results),
            "ovs-afxdp",
            Bound::AtLeast(1.0, 1.3),
        ),
    ];
    let mut pauses = metrics::pauses(results);
    if pauses.is_empty() {
        pauses.push(0);
    }
    for quantile in &metrics::TRIP_QUANTILES[..2] {
        for pause_us in &pauses {
            let trip = metrics::round_trip(results, *pause_us, *quantile);
            let bound = Bound::AtMost(1.0, 0.8);
            targets.push(beside(results, &trip, "ovs-afxdp", bound));
            // The same with a worker that, as the peer's, never sleeps.
            if trip.values.iter().any(|value| value.name == POLLING) {
                let (ours, title) = (POLLING, format!("{}, {POLLING}", trip.title));
                targets.push(against(results, (ours, title), &trip, "ovs-afxdp", bound));
            }
        }
    }
    targets.push(idle(results));
    targets.extend(policy(results));
    targets
}

/// Two numbers and the ratio of them.
fn compare(what: String, unit: Unit, (ours, peer): (Side, Side), bound: Bound) -> Target {
    let cell = |side: &Side| {
        side.as_ref()
            .map_or("–".to_owned(), |it| unit.format_range(it))
    };
    let [must, aim] = [0, 1].map(|end| format!("{} {}", bound.sign()[end], bound.ends()[end]));
    let (shown, verdict, note) = match (&ours, &peer) {
        (Ok(above), Ok(below)) => judge(Ratio::new(above, below), bound),
        _ => {
            let sides = [&ours, &peer].into_iter().cloned();
            let mut missing: Vec<String> = sides.filter_map(Side::err).collect();
            missing.dedup();
            ("–".to_owned(), Verdict::NotMeasured, missing.join("; "))
        }
    };
    Target {
        what,
        ours: cell(&ours),
        peer: cell(&peer),
        ratio: shown,
        must,
        aim,
        verdict,
        note,
    }
}

fn judge(ratio: Option<Ratio>, bound: Bound) -> (String, Verdict, String) {
    let Some(ratio) = ratio else {
        let note = "the other number is 0, so there is no ratio";
        return ("–".to_owned(), Verdict::NotMeasured, note.to_owned());
    };
    let verdict = bound.verdict(ratio.value);
    let [worst, best] = [ratio.min, ratio.max].map(|end| bound.verdict(end));
    let note = if !ratio.spread_is_known {
        "one turn: the spread is not known"
    } else if worst != verdict || best != verdict {
        "the turns spread over the bound"
    } else {
        ""
    };
    (ratio.format_range(&bound.ends()), verdict, note.to_owned())
}

/// A number that has a bound itself. `sign` is what stands behind it.
fn single(what: &str, value: Side, (unit, sign): (Unit, &str), bound: Bound) -> Target {
    let [must, aim] =
        [0, 1].map(|end| format!("{} {}{sign}", bound.sign()[end], bound.ends()[end]));
    let mut target = Target {
        what: what.to_owned(),
        ours: "–".to_owned(),
        peer: String::new(),
        ratio: String::new(),
        must,
        aim,
        verdict: Verdict::NotMeasured,
        note: String::new(),
    };
    // A number is a ratio to 1, and is written with the same care for the bounds.
    let judged = value.map(|value| (value, Ratio::new(&value, &Measured::exactly(1.0))));
    match judged {
        Err(missing) => target.note = missing,
        Ok((value, ratio)) => {
            let middle = ratio.map_or(String::new(), |it| it.format(&bound.ends()));
            target.ours = format!("{middle}{sign} {}", unit.range(&value))
                .trim_end()
                .to_owned();
            (_, target.verdict, target.note) = judge(ratio, bound);
        }
    }
    target
}

fn engine<'a>(results: &'a Results, name: &str) -> Result<&'a Engine, String> {
    let missing = || absence(results, name, "was not measured without I/O");
    results.engine(name).ok_or_else(missing)
}

/// Why a contender has no number: what the run has said about it, or `otherwise`.
fn absence(results: &Results, name: &str, otherwise: &str) -> String {
    match results.missing.iter().find(|missing| missing.name == name) {
        Some(missing) => format!("{name}: {}", missing.reason),
        None => format!("{name} {otherwise}"),
    }
}

fn engines(results: &Results, flows: u64, bound: Bound) -> Target {
    let side = |name: &str| {
        let points = &engine(results, name)?.by_flows;
        let point = points.iter().find(|point| point.count == flows);
        let missing = || format!("{name} has no number for {} flows", human::grouped(flows));
        point.map(|point| point.fps).ok_or_else(missing)
    };
    let what = format!(
        "engine without I/O, {} flows, against ovs-dpdk",
        human::grouped(flows)
    );
    compare(what, Unit::Rate, (side("shunt"), side("ovs-dpdk")), bound)
}

fn instructions(results: &Results) -> Target {
    let worst = instructions::worst(&results.instructions);
    let value = worst.map(|(_, number)| Measured::once(number));
    let mut target = single(
        "instructions a frame in forward(), learning and VLAN, 64 flows",
        value.ok_or_else(|| "the instructions were not counted".to_owned()),
        (Unit::Count, ""),
        Bound::AtMost(150.0, 90.0),
    );
    if let Some((case, _)) = worst {
        target.note = format!("the worst case, {case}");
    }
    target
}

/// The engine's time for a frame when it has much to remember, against 64.
fn cost(
    results: &Results,
    much: &str,
    counts: std::ops::RangeInclusive<u64>,
    points: fn(&Engine) -> &Vec<super::results::Point>,
) -> Target {
    let side = |counts: std::ops::RangeInclusive<u64>| {
        let points = points(engine(results, "shunt")?);
        let point = points.iter().find(|point| counts.contains(&point.count));
        let missing = || {
            format!(
                "shunt's engine has no number for {}",
                human::grouped(*counts.end())
            )
        };
        point
            .and_then(|point| per_frame(&point.fps))
            .ok_or_else(missing)
    };
    let what = format!("time a frame, {much} against 64");
    compare(
        what,
        Unit::Time,
        (side(counts), side(64..=64)),
        Bound::AtMost(3.0, 2.0),
    )
}

/// Nanoseconds a frame from frames a second; nothing when no frame came in a turn.
pub fn per_frame(fps: &Measured) -> Option<Measured> {
    let time = Measured {
        median: 1e9 / fps.median,
        min: 1e9 / fps.max,
        max: 1e9 / fps.min,
        turns: fps.turns,
    };
    (fps.min > 0.0).then_some(time)
}

fn smallest_frames(results: &Results, peer: &str, bound: Bound) -> Target {
    // Those of 64 bytes have 60 without FCS.
    let sizes = metrics::frame_sizes(results);
    let size = sizes.into_iter().find(|size| (1..=64).contains(size));
    let metric = metrics::full_load(results, size.unwrap_or(60));
    let mut target = beside(results, &metric, peer, bound);
    target.what = format!("AF_XDP path, {}", target.what);
    target
}

/// Ours against one peer in a number that both may have.
fn beside(results: &Results, metric: &Metric, peer: &str, bound: Bound) -> Target {
    let ours = results.ours().map_or("shunt", |ours| ours.name.as_str());
    against(results, (ours, metric.title.clone()), metric, peer, bound)
}

/// One of ours, under a title, against one peer.
fn against(
    results: &Results,
    (ours, title): (&str, String),
    metric: &Metric,
    peer: &str,
    bound: Bound,
) -> Target {
    let side = |name: &str| {
        let value = metric.values.iter().find(|value| value.name == name);
        let measured = value.and_then(|value| value.measured);
        measured.ok_or_else(|| absence(results, name, "has no such number"))
    };
    let what = format!("{title}, against {peer}");
    compare(what, metric.unit, (side(ours), side(peer)), bound)
}

/// With policy, of what the bare switch forwards.
const WITH_POLICY: Bound = Bound::AtLeast(0.97, 1.0);

/// The switch with policy against the bare one, by load; a row without numbers if there are none.
fn policy(results: &Results) -> Vec<Target> {
    let target = |cost: &PolicyCost| {
        let sides = (Ok(cost.policed_fps), Ok(cost.bare_fps));
        let size = human::frame_size(cost.frame_size);
        let what = format!(
            "AF_XDP path with policy, {size}, {} flows, against without",
            human::grouped(cost.flows)
        );
        let mut target = compare(what, Unit::Rate, sides, WITH_POLICY);
        // Rounds tell more than the ends of all rounds together.
        (target.ratio, target.verdict, target.note) = judge(ratio_of(cost), WITH_POLICY);
        target
    };
    if results.policy.is_empty() {
        let missing = || Err("shunt-policy was not measured".to_owned());
        let what = "AF_XDP path with policy, against without".to_owned();
        return vec![compare(
            what,
            Unit::Rate,
            (missing(), missing()),
            WITH_POLICY,
        )];
    }
    results.policy.iter().map(target).collect()
}

fn ratio_of(cost: &PolicyCost) -> Option<Ratio> {
    Ratio::new(&cost.ratio, &Measured::exactly(1.0))
}

/// The ratio of a switch with policy to the bare one, and what must be.
pub fn policy_cell(cost: &PolicyCost) -> [String; 2] {
    let ends = WITH_POLICY.ends();
    let ratio = ratio_of(cost).map_or("–".to_owned(), |it| it.format_range(&ends));
    [ratio, format!("{} {}", WITH_POLICY.sign()[0], ends[0])]
}

fn idle(results: &Results) -> Target {
    let ours = metrics::idle(results).ours().copied();
    let missing = || "shunt's time when idle was not measured".to_owned();
    single(
        "CPU when idle, of one core",
        ours.ok_or_else(missing),
        (Unit::Percent, " %"),
        Bound::Below(1.0, 0.1),
    )
}
