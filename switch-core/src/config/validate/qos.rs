//! Checks of `[[policer]]` and of what names them.

use std::collections::HashMap;

use serde_spanned::Spanned;

use super::{Seen, check_count, listed, missing, unique_name};
use crate::{
    config::{
        model,
        reader::Field,
        report::{Code, Problem, Problems, printable},
        shape::POLICER,
        valid::{Name, Policed, Policer},
    },
    limits,
    qos::{
        bucket::{Burst, Rate},
        meter::MeterRates,
        policer::Action,
    },
};

/// The policers of a file by their names.
#[derive(Debug, Default)]
pub(super) struct Policers<'m> {
    pub(super) valid: Vec<Policer>,
    /// The names that are written, of policers right and wrong, in the order of the file.
    names: Vec<&'m str>,
    /// None in place of one with errors.
    known: HashMap<&'m str, Option<Name>>,
}

/// All policers.
pub(super) fn policers<'m>(written: &'m [model::Policer], problems: &mut Problems) -> Policers<'m> {
    check_count(
        "policer",
        written.iter().map(|policer| &policer.span),
        limits::MAX_POLICERS,
        problems,
    );
    let (mut policers, mut names) = (Policers::default(), Seen::default());
    for policer in written {
        let name = unique_name(&POLICER, &policer.span, &policer.name, &mut names, problems);
        let valid = check(policer, problems);
        if let Some(name) = name {
            policers.names.push(name);
            let valid_name = valid.as_ref().map(|policer| policer.name.clone());
            policers.known.insert(name, valid_name);
        }
        policers.valid.extend(valid);
    }
    policers
}

impl Policers<'_> {
    /// What a port or network names.
    pub(super) fn policed(&self, written: &model::Policed, problems: &mut Problems) -> Policed {
        let mut resolve = |field: &Field<String>| self.resolve(field.spanned()?, problems);
        Policed {
            from_port: resolve(&written.from_port),
            to_port: resolve(&written.to_port),
        }
    }

    /// The policer of this name.
    pub(super) fn resolve(&self, text: &Spanned<String>, problems: &mut Problems) -> Option<Name> {
        let known = self.known.get(text.get_ref().as_str());
        if known.is_none() {
            let message = format!("there is no policer `{}`", printable(text.get_ref()));
            let mut help = problems.did_you_mean(text.get_ref(), self.names.iter().copied());
            help.push_str(&listed("policer", &self.names));
            problems.push(Problem::new(Code::UnknownName, text.span(), message).help(help));
        }
        known?.clone()
    }
}

fn check(policer: &model::Policer, problems: &mut Problems) -> Option<Policer> {
    if !policer.rate.is_written() {
        missing(&POLICER, &policer.span, "rate", None, problems);
    }
    let rates = rates(policer, problems);
    let plain = !policer.excess_burst.is_written() && !policer.peak_rate.is_written();
    if plain && let Some(violate) = policer.violate.span() {
        let message = "`violate`, and this policer knows no other frames above its rate";
        let help = "use `exceed`; or add `excess_burst` or `peak_rate`, which make two levels";
        problems.push(Problem::new(Code::Conflict, violate, message).help(help));
    }
    let exceed = policer.exceed.get().copied();
    let (yellow, red) = if plain {
        (Action::Pass, exceed.unwrap_or(Action::Drop))
    } else {
        let violate = policer.violate.get().copied();
        (
            exceed.unwrap_or(Action::Mark),
            violate.unwrap_or(Action::Drop),
        )
    };
    Some(Policer {
        name: policer.name.get()?.clone(),
        rates: rates?,
        colour_aware: policer.colour_aware.get().copied().unwrap_or_default(),
        yellow,
        red,
    })
}

fn rates(policer: &model::Policer, problems: &mut Problems) -> Option<MeterRates> {
    let peak_keys = [
        ("peak_rate", policer.peak_rate.span()),
        ("peak_burst", policer.peak_burst.span()),
    ];
    if let Some(excess) = policer.excess_burst.span()
        && let Some((key, peak)) = peak_keys
            .iter()
            .find_map(|(key, span)| Some((key, span.clone()?)))
    {
        let message = format!("a policer has either `excess_burst` or `{key}`");
        let help = "`excess_burst` makes one of a single rate (RFC 2697), `peak_rate` one of two \
                    rates (RFC 2698)";
        let problem = Problem::new(Code::Conflict, peak, message).help(help);
        problems.push(problem.also(excess, "this makes it one of a single rate"));
        return None;
    }
    if let Some(burst) = policer.peak_burst.span()
        && !policer.peak_rate.is_written()
    {
        let message = "`peak_burst` without `peak_rate`";
        let help = "add a `peak_rate`, or use `excess_burst`";
        problems.push(Problem::new(Code::Conflict, burst, message).help(help));
    }
    check_peak(policer, problems);
    let rate = *policer.rate.get()?;
    let burst = or_default(&policer.burst, rate);
    if policer.peak_rate.is_written() {
        let pir = *policer.peak_rate.get()?;
        let pbs = or_default(&policer.peak_burst, pir).max(burst);
        return Some(MeterRates::TwoRate {
            cir: rate,
            cbs: burst,
            pir,
            pbs: policer.peak_burst.get().copied().unwrap_or(pbs),
        });
    }
    Some(match policer.excess_burst.get() {
        Some(ebs) => MeterRates::SingleRate {
            cir: rate,
            cbs: burst,
            ebs: *ebs,
        },
        None => MeterRates::Plain { rate, burst },
    })
}

fn check_peak(policer: &model::Policer, problems: &mut Problems) {
    if let (Some(rate), Some(peak)) = (policer.rate.spanned(), policer.peak_rate.spanned())
        && peak.get_ref() < rate.get_ref()
    {
        let message = "`peak_rate` is lower than `rate`";
        let help = "the peak rate is what frames may reach at most: make it the higher one";
        let problem = Problem::new(Code::Conflict, peak.span(), message).help(help);
        problems.push(problem.also(rate.span(), "the committed rate"));
    }
}

/// What is written, or what comes in 50 ms, and 64 KiB at least.
fn or_default(burst: &Field<Burst>, rate: Rate) -> Burst {
    let by_rate = (rate.bits_per_second() / 160).clamp(64 << 10, Burst::MAX.bytes());
    burst
        .get()
        .copied()
        .or(Burst::new(by_rate))
        .unwrap_or(Burst::MAX)
}
