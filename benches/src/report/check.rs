//! What no measurement can be: results are looked over before anything is written about them.

use anyhow::{Result, ensure};

use super::results::{Contender, Kind, Measured, Point, Results};

/// Refuses results that cannot have been measured.
///
/// # Errors
/// Names the first number that is not finite, is below zero or is out of its range, a name that
/// occurs twice, or a second contender that is ours.
pub fn check(results: &Results) -> Result<()> {
    let mut names = Vec::new();
    for contender in &results.contenders {
        names.push(&contender.name);
        check_contender(contender)?;
    }
    let ours = results
        .contenders
        .iter()
        .filter(|one| one.kind == Kind::Ours);
    ensure!(ours.count() <= 1, "more than one contender is ours");
    unique(names)?;
    for engine in &results.engines {
        points(
            &format!("the engine of {}, flows", engine.name),
            &engine.by_flows,
        )?;
        points(
            &format!("the engine of {}, addresses", engine.name),
            &engine.by_macs,
        )?;
    }
    for cost in &results.policy {
        let what = format!("what policy costs, {} bytes", cost.frame_size);
        for one in [cost.bare_fps, cost.policed_fps, cost.ratio] {
            measured(&what, Some(one))?;
        }
    }
    unique(results.engines.iter().map(|engine| &engine.name).collect())?;
    for (case, instructions) in &results.instructions {
        number(&format!("instructions a frame, {case}"), *instructions)?;
    }
    Ok(())
}

fn unique(mut names: Vec<&String>) -> Result<()> {
    names.sort();
    for pair in names.windows(2) {
        ensure!(pair[0] != pair[1], "`{}` occurs twice", pair[0]);
    }
    Ok(())
}

fn check_contender(contender: &Contender) -> Result<()> {
    let name = &contender.name;
    ensure!(!name.is_empty(), "a contender without a name");
    for throughput in &contender.throughput {
        let what = format!("{name}, throughput of {} bytes", throughput.frame_size);
        measured(&what, throughput.zero_loss_fps)?;
        measured(&what, throughput.overload_fps)?;
        measured(&what, throughput.offered_fps)?;
    }
    for point in &contender.loss {
        let what = format!("{name}, loss at an offered rate");
        number(&what, point.offered_fps)?;
        number(&what, point.loss)?;
        ensure!(point.loss <= 1.0, "{what}: {} is more than all", point.loss);
    }
    for latency in &contender.latency {
        let what = format!("{name}, latency");
        number(&what, latency.offered_fps)?;
        for quantile in [latency.p50_ns, latency.p99_ns, latency.p999_ns] {
            measured(&what, Some(quantile))?;
        }
        for pair in latency.histogram.windows(2) {
            ensure!(pair[0].0 < pair[1].0, "{what}: the classes do not rise");
        }
        for (end_ns, _) in &latency.histogram {
            number(&what, *end_ns)?;
        }
    }
    for trip in &contender.round_trip {
        for quantile in [trip.p50_ns, trip.p99_ns, trip.p999_ns] {
            measured(&format!("{name}, round trip"), Some(quantile))?;
        }
    }
    if let Some(rate) = contender.learning.and_then(|learning| learning.rate_per_s) {
        number(&format!("{name}, learning rate"), rate)?;
    }
    measured(&format!("{name}, TCP"), contender.tcp_bps)?;
    measured(
        &format!("{name}, TCP without offloads"),
        contender.tcp_without_offloads_bps,
    )?;
    for one in &contender.throughput {
        let size = one.frame_size;
        ensure!(
            !contender.cannot(size),
            "{name}: {size} bytes were measured and are not possible"
        );
    }
    measured(
        &format!("{name}, retransmissions"),
        contender.tcp_retransmissions,
    )?;
    if let Some(cpu) = contender.cpu {
        measured(&format!("{name}, CPU"), cpu.ms_per_million_frames)?;
        measured(&format!("{name}, CPU when idle"), cpu.idle_percent)?;
        number(&format!("{name}, CPU"), cpu.offered_fps.unwrap_or(0.0))?;
    }
    number(
        &format!("{name}, memory"),
        contender.memory_mib.unwrap_or(0.0),
    )?;
    points(&format!("{name}, flows"), &contender.by_flows)?;
    points(&format!("{name}, addresses"), &contender.by_macs)?;
    points(&format!("{name}, ports"), &contender.by_ports)
}

fn points(what: &str, points: &[Point]) -> Result<()> {
    for point in points {
        ensure!(point.count > 0, "{what}: a number for none");
        measured(what, Some(point.fps))?;
    }
    Ok(())
}

fn measured(what: &str, measured: Option<Measured>) -> Result<()> {
    let Some(measured) = measured else {
        return Ok(());
    };
    ensure!(measured.turns > 0, "{what}: a number without a turn");
    ordered(what, [measured.min, measured.median, measured.max])
}

fn ordered(what: &str, numbers: [f64; 3]) -> Result<()> {
    numbers.into_iter().try_for_each(|one| number(what, one))?;
    ensure!(numbers.is_sorted(), "{what}: {numbers:?} are not in order");
    Ok(())
}

fn number(what: &str, number: f64) -> Result<()> {
    ensure!(
        number.is_finite() && number >= 0.0,
        "{what}: {number} cannot have been measured"
    );
    Ok(())
}
