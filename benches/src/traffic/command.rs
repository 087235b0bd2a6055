//! `shunt-bench gen` and `shunt-bench sink`: what they do, and what they say.

use std::{
    io::{Write as _, stdout},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    Device, Distinct, GenOptions, Generator, Histogram, Received, Sent, Sink, SinkOptions, Via,
    options::{Output, time},
    pktgen,
    shape::FCS_SIZE,
    sys,
};

/// How often the sink says what came.
const PERIOD: Duration = Duration::from_secs(1);
/// How often it looks whether to end.
const LOOK: Duration = Duration::from_millis(20);

/// Sends frames and says how many.
///
/// # Errors
/// When the device or the kernel refuses.
pub fn generate(options: &GenOptions) -> Result<()> {
    let (shape, length) = (options.shape()?, options.length()?);
    let device = open(
        options.netns.as_deref(),
        &options.device,
        options.yes_this_device,
    )?;
    let stop = sys::catch_interrupts().context("cannot handle signals")?;
    if options.pktgen {
        let job = pktgen::Job::new(&shape, options.rate, length, options.core)?;
        let sent = pktgen::run(&device, &job, stop)?;
        return show(options.output, &sent.json(), &sent.lines());
    }
    let mut generator = match options.via {
        Some(way) => Generator::via(&device, &shape, way.into())?,
        // No redirect into a veth whose far end is a kernel's: and these are not many.
        None if options.announce => Generator::via(&device, &shape, Via::PacketSocket)?,
        None => Generator::new(&device, &shape)?,
    };
    let sent = generator.run_unless(options.rate, length, options.core, stop)?;
    show(options.output, &sent_json(&sent), &sent_lines(&sent))
}

/// Receives frames and says what came.
///
/// # Errors
/// When the device or the kernel refuses.
pub fn sink(options: &SinkOptions) -> Result<()> {
    let length = options.seconds.map(time).transpose()?;
    let device = open(
        options.netns.as_deref(),
        &options.device,
        options.yes_this_device,
    )?;
    let stop = sys::catch_interrupts().context("cannot handle signals")?;
    let mut sink = Sink::attach(&device, options.mode())?;
    eprintln!("receiving at {}", device.place());
    let begin = Instant::now();
    let mut total = Received::default();
    let mut second = 0;
    let is_over = |total: &Received| {
        stop.load(Relaxed)
            || length.is_some_and(|length| begin.elapsed() >= length)
            || options.count.is_some_and(|count| total.frames >= count)
    };
    while !is_over(&total) {
        second += 1;
        let period = Instant::now();
        let until = begin + PERIOD * second;
        wait(until, length.map(|length| begin + length), stop);
        let received = sink.take()?;
        total.add(&received);
        let rate = received.frames as f64 / period.elapsed().as_secs_f64();
        let json = json!({ "second": second, "received": received_json(&received) });
        let line = (
            "second",
            format!("{second}: {} ({})", count(&received), per_second(rate)),
        );
        show(options.output, &json, &[line])?;
    }
    let distinct = options.tell.then(|| sink.distinct()).transpose()?;
    let mut json = json!({ "total": received_json(&total) });
    if let Some(distinct) = distinct {
        json["total"]["distinct"] = distinct_json(distinct);
    }
    show(options.output, &json, &received_lines(&total, distinct))
}

/// Finds a device, and refuses one that the machine depends on.
fn open(namespace: Option<&str>, name: &str, is_meant: bool) -> Result<Device> {
    let device = Device::open(namespace, name)?;
    if !is_meant {
        device.refuse_if_needed_by_host()?;
    }
    Ok(device)
}

/// Waits for one of two moments, or until it shall stop.
fn wait(until: Instant, end: Option<Instant>, stop: &AtomicBool) {
    let until = end.map_or(until, |end| end.min(until));
    while Instant::now() < until && !stop.load(Relaxed) {
        thread::sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
    }
}

/// Prints a result: an object in a line, or lines with a name each.
fn show(output: Output, json: &Value, lines: &[(&str, String)]) -> Result<()> {
    let text = match output {
        Output::Json => format!("{json}\n"),
        Output::Table => {
            let line = |(name, text): &(&str, String)| format!("{name:<10}{text}\n");
            lines.iter().map(line).collect()
        }
    };
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

fn sent_json(sent: &Sent) -> Value {
    json!({
        "made": sent.made,
        "accepted": sent.accepted,
        "refused": sent.refused,
        "took_s": sent.took.as_secs_f64(),
        "made_per_s": sent.made_per_second(),
        "given_up_s": sent.given_up.as_secs_f64(),
        "burst": sent.burst,
        "lateness_ns": quantiles_json(&sent.lateness),
        "via": sent.via.text(),
    })
}

fn sent_lines(sent: &Sent) -> Vec<(&'static str, String)> {
    let rate = per_second(sent.made_per_second());
    let seconds = sent.took.as_secs_f64();
    let mut lines = vec![
        (
            "made",
            format!(
                "{} frames in {seconds:.3} s: {rate}, by {}",
                sent.made,
                sent.via.text()
            ),
        ),
        ("refused", format!("{} by the device", sent.refused)),
    ];
    if sent.lateness.count() > 0 {
        let late = quantiles(&sent.lateness);
        lines.push(("pace", format!("bursts of {}, late by {late}", sent.burst)));
        let part = sent.given_up.as_secs_f64() / seconds * 100.0;
        lines.push((
            "left out",
            format!("{part:.3} % of the time, in which something else had the core"),
        ));
    }
    lines
}

/// Sizes and bytes with FCS, as the options are.
fn received_json(received: &Received) -> Value {
    let fcs = FCS_SIZE as u64;
    json!({
        "frames": received.frames,
        "bytes": received.bytes + received.frames * fcs,
        "foreign_frames": received.foreign_frames,
        "foreign_bytes": received.foreign_bytes + received.foreign_frames * fcs,
        "missing": received.missing(),
        "reordered": received.reordered,
        "smallest": received.smallest.map(|size| size + fcs),
        "largest": received.largest.map(|size| size + fcs),
        "single_tagged": received.single_tagged,
        "double_tagged": received.double_tagged,
        "outer_vid": received.outer_vid,
        "inner_vid": received.inner_vid,
        "latency_ns": quantiles_json(&received.latency),
    })
}

fn distinct_json(distinct: Distinct) -> Value {
    json!({
        "sources": distinct.sources,
        "destinations": distinct.destinations,
        "flows": distinct.flows,
    })
}

fn received_lines(received: &Received, distinct: Option<Distinct>) -> Vec<(&'static str, String)> {
    let mut lines = vec![("total", count(received))];
    let missing = format!(
        "{} by their numbers; {} overtaken",
        received.missing(),
        received.reordered
    );
    lines.push(("missing", missing));
    if let (Some(smallest), Some(largest)) = (received.smallest, received.largest) {
        let (smallest, largest) = (smallest + FCS_SIZE as u64, largest + FCS_SIZE as u64);
        lines.push(("sizes", format!("{smallest} to {largest} bytes with FCS")));
    }
    if received.single_tagged + received.double_tagged > 0 {
        let vids = [received.outer_vid, received.inner_vid];
        let vids: Vec<String> = vids.iter().flatten().map(u16::to_string).collect();
        let tagged = format!(
            "{} with one, {} with two; the last VID {}",
            received.single_tagged,
            received.double_tagged,
            vids.join(",")
        );
        lines.push(("tags", tagged));
    }
    if let Some(distinct) = distinct {
        let text = format!(
            "{} source and {} destination addresses, {} flows",
            distinct.sources, distinct.destinations, distinct.flows
        );
        lines.push(("distinct", text));
    }
    if received.latency.count() > 0 {
        lines.push(("latency", quantiles(&received.latency)));
    }
    lines
}

fn count(received: &Received) -> String {
    format!(
        "{} frames, {} bytes, {} foreign frames",
        received.frames,
        received.bytes + received.frames * FCS_SIZE as u64,
        received.foreign_frames
    )
}

/// The parts of a histogram that are told: how they are called, and how much of it they are.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];

fn quantiles_json(histogram: &Histogram) -> Value {
    let quantiles = QUANTILES.map(|(name, part)| (name, histogram.quantile_ns(part)));
    match histogram.count() {
        0 => Value::Null,
        _ => quantiles
            .into_iter()
            .map(|(name, ns)| (name.to_owned(), json!(ns)))
            .collect(),
    }
}

fn quantiles(histogram: &Histogram) -> String {
    let quantile = |(name, part)| {
        let ns = histogram.quantile_ns(part).unwrap_or(0.0);
        format!("{name} {:.2} us", ns / 1e3)
    };
    QUANTILES.map(quantile).join(", ")
}

/// A rate for people: with a unit, and four digits.
pub(super) fn per_second(rate: f64) -> String {
    match rate {
        1e6.. => format!("{:.3} M/s", rate / 1e6),
        1e3.. => format!("{:.2} k/s", rate / 1e3),
        _ => format!("{rate:.1} /s"),
    }
}
