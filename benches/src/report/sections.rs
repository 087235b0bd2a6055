//! The chapters of the report: what was asked, the plots that answer it, and what they say.

use super::human::{self, Unit};
use super::metrics::{self, Better, Load, Metric, TRIP_QUANTILES};
use super::plot::{self, Category, Curve, Grid, Labels, Line};
use super::readings;
use super::results::{Contender, Engine, Latency, Point, Results};
use super::tables::{self, Table};
use super::targets::per_frame;

/// A chapter.
pub struct Section {
    /// Its heading.
    pub title: &'static str,
    /// How the numbers were taken and what they mean.
    pub text: &'static str,
    /// Its plots; without one, nobody was measured.
    pub figures: Vec<Figure>,
    /// Its numbers, where the plots have more of them than can be read there.
    pub table: Option<Table>,
}

/// A plot with its sentence.
pub struct Figure {
    /// The name of its file.
    pub file: String,
    /// What it shows.
    pub title: String,
    /// What it says.
    pub reading: String,
    /// The plot.
    pub svg: String,
}

/// All chapters, in the order of the report.
pub fn sections(results: &Results) -> Vec<Section> {
    vec![
        throughput(results),
        loss(results),
        latency(results),
        round_trip(results),
        tcp(results),
        processor(results),
        memory(results),
        learning(results),
        by_count(results),
        policy(results),
        engines(results),
    ]
}

fn throughput(results: &Results) -> Section {
    let sizes = metrics::frame_sizes(results);
    let figure = |file: &str, title: &str, of: fn(&Results, usize) -> Metric| {
        let category = |size: &usize| (human::frame_size(*size), of(results, *size));
        let categories = sizes.iter().map(category).collect();
        figure(file, (title, "frames a second"), categories, false)
    };
    let zero_loss = figure(
        "throughput-zero-loss",
        "Throughput without loss, by frame size",
        metrics::zero_loss,
    );
    let mut full_load = figure(
        "throughput-full-load",
        "What arrives at full load, by frame size",
        metrics::full_load,
    );
    if let (Some(figure), Some(size)) = (&mut full_load, sizes.first()) {
        figure.reading += &readings::offered(results, *size);
    }
    Section {
        title: "Throughput by frame size",
        text: "Without loss is the highest offered rate at which every frame arrives (RFC 2544, \
               26.1). Full load is what arrives when the generator offers all that one core can \
               make: there a switch shows what it is worth to its users when too much comes. \
               Sizes \
               include the FCS, as in the RFC. Up to 3396 bytes the generator makes XDP live \
               frames, some millions a second. Larger ones do not fit into a page and go by a \
               packet socket, a system call for a burst and a copy for each frame, on devices \
               with an MTU of 9000: their rates are the generator's more often than not, and stand \
               beside each other only within their size.",
        figures: [zero_loss, full_load].into_iter().flatten().collect(),
        table: tables::throughput(results),
    }
}

/// Groups of bars or points; what they say is told for the first and the last group.
fn figure(
    file: &str,
    (title, side): (&str, &str),
    categories: Vec<Category>,
    logarithmic: bool,
) -> Option<Figure> {
    let measured: Vec<Category> = categories
        .into_iter()
        .filter(|(_, metric)| !metric.is_empty())
        .collect();
    let (first, last) = (measured.first()?, measured.last()?);
    let mut reading = format!("{}: {}", first.0, readings::metric(&first.1));
    if measured.len() > 1 {
        reading += &format!(" {}: {}", last.0, readings::metric(&last.1));
    }
    Some(Figure {
        file: format!("{file}.svg"),
        title: title.to_owned(),
        reading,
        svg: plot::grouped(title, side, &measured, logarithmic),
    })
}

fn loss(results: &Results) -> Section {
    let all = results.contenders.iter().flat_map(|one| &one.loss);
    let mut sizes: Vec<usize> = all.map(|point| point.frame_size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let figure = |size: usize| {
        let title = format!("Loss by offered load, {} frames", human::frame_size(size));
        let labels = Labels {
            title: &title,
            below: "offered, frames a second",
            side: "frames lost",
            unit: Unit::Percent,
        };
        let curve = |contender: &Contender| {
            let points = contender
                .loss
                .iter()
                .filter(|point| point.frame_size == size);
            let points = points.map(|point| (point.offered_fps, 100.0 * point.loss));
            curve(contender, points.collect(), None)
        };
        let curves: Vec<Curve> = results.contenders.iter().filter_map(curve).collect();
        Figure {
            file: format!("loss-{}.svg", file_part(&human::frame_size(size))),
            reading: readings::loss(&results.contenders, size),
            svg: plot::curves(labels, Grid::Loss, &curves),
            title,
        }
    };
    Section {
        title: "Loss by offered load",
        text: "The part of the offered frames that does not arrive (RFC 2544, 26.3).",
        figures: sizes.into_iter().map(figure).collect(),
        table: None,
    }
}

/// `64 B` as a part of a file's name: `64b`.
fn file_part(text: &str) -> String {
    text.replace(' ', "").to_lowercase()
}

/// A contender's curve, when it has points.
fn curve(
    contender: &Contender,
    mut points: Vec<(f64, f64)>,
    marks: Option<Vec<(f64, f64)>>,
) -> Option<Curve> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    (!points.is_empty()).then(|| Curve {
        name: contender.name.clone(),
        kind: contender.kind,
        marks: marks.unwrap_or_else(|| points.clone()),
        points,
    })
}

fn latency(results: &Results) -> Section {
    let loads = metrics::loads(results);
    let figures = loads.iter().enumerate().map(|(index, load)| {
        let title = format!("Latency by quantile, {}", load.format());
        let labels = Labels {
            title: &title,
            below: "part of the frames that took no longer",
            side: "time on the way",
            unit: Unit::Time,
        };
        let curve = |contender: &Contender| {
            let latency = load.of(contender)?;
            curve(
                contender,
                quantiles(latency),
                Some(known_quantiles(latency)),
            )
        };
        let curves: Vec<Curve> = results.contenders.iter().filter_map(curve).collect();
        Figure {
            file: format!("latency-{}.svg", index + 1),
            reading: latency_reading(results, *load),
            svg: plot::curves(labels, Grid::Quantiles, &curves),
            title,
        }
    });
    Section {
        title: "Latency",
        text: "Time from the generator to the sink, one direction, from timestamps in the frames, \
               under the same offered load for all. Both axes grow by factors, so that the last \
               in a thousand is seen as well as the middle.",
        figures: figures.collect(),
        table: None,
    }
}

fn latency_reading(results: &Results, load: Load) -> String {
    let [p50, _, p999] = metrics::QUANTILES.map(|quantile| {
        let metric = metrics::latency(results, load, quantile);
        format!("{}: {}", quantile.0, readings::metric(&metric))
    });
    format!("{p50} {p999}")
}

/// The three quantiles that every measurement of latency has, over `-log10(1 - quantile)`.
fn known_quantiles(latency: &Latency) -> Vec<(f64, f64)> {
    let known = [
        (0.5, latency.p50_ns),
        (0.99, latency.p99_ns),
        (0.999, latency.p999_ns),
    ];
    known
        .map(|(quantile, time)| (-f64::log10(1.0 - quantile), time.median))
        .to_vec()
}

/// Times over `-log10(1 - quantile)`, from the histogram where there is one.
fn quantiles(latency: &Latency) -> Vec<(f64, f64)> {
    let total: u64 = latency.histogram.iter().map(|(_, frames)| frames).sum();
    if total == 0 {
        return known_quantiles(latency);
    }
    let mut before = 0;
    let filled = latency.histogram.iter().filter(|(_, frames)| *frames > 0);
    filled
        .map(|(end_ns, frames)| {
            before += frames;
            // The last frame has nobody after it: it stands where one in `total` is.
            let slower = (total - before).max(1) as f64;
            (-(slower / total as f64).log10(), *end_ns)
        })
        .collect()
}

fn round_trip(results: &Results) -> Section {
    let figures = metrics::pauses(results).into_iter().filter_map(|pause_us| {
        let category = |quantile: &metrics::TripQuantile| {
            (
                quantile.0.to_owned(),
                metrics::round_trip(results, pause_us, *quantile),
            )
        };
        let categories: Vec<Category> = TRIP_QUANTILES.iter().map(category).collect();
        let title = format!("Round trip, {}", human::pause(pause_us));
        let file = format!("round-trip-{pause_us}us");
        figure(&file, (&title, "from request to answer"), categories, true)
    });
    Section {
        title: "Round trip",
        text: "A request and its answer, one at a time, between two network stacks. With a pause, \
               everything has gone to sleep before the next request: a switch whose threads spin \
               has an advantage that its owner pays for with a core.",
        figures: figures.collect(),
        table: None,
    }
}

/// One lying bar for each contender.
fn bars(file: &str, title: &str, metric: &Metric) -> Option<Figure> {
    (!metric.is_empty()).then(|| Figure {
        file: format!("{file}.svg"),
        title: title.to_owned(),
        reading: readings::metric(metric),
        svg: plot::single(title, metric),
    })
}

fn tcp(results: &Results) -> Section {
    let mut again = Metric::new(
        results,
        "segments sent again",
        (Unit::Count, Better::Less),
        |contender| contender.tcp_retransmissions,
    );
    again.values.retain(|value| value.measured.is_some());
    let figures = [
        bars("tcp", "Bulk TCP, one stream", &metrics::tcp(results)),
        bars(
            "tcp-without-offloads",
            "Bulk TCP, one stream, no offload",
            &metrics::tcp_without_offloads(results),
        ),
        bars(
            "tcp-retransmissions",
            "Bulk TCP, segments sent again",
            &again,
        ),
    ];
    Section {
        title: "TCP",
        text: "One stream between two network stacks on the same two cores. A switch that the \
               kernel forwards for keeps segmentation offload and so carries 64 KiB at a time; on \
               the others every segment crosses by itself. *No offload* is the same for all: the \
               devices of the kernel's switch have none either, so the difference between its two \
               numbers is what the offload does.",
        figures: figures.into_iter().flatten().collect(),
        table: None,
    }
}

fn processor(results: &Results) -> Section {
    let figures = [
        bars(
            "cpu",
            "CPU time for a million frames, all cores",
            &metrics::cpu(results),
        ),
        bars(
            "idle",
            "CPU time when no frame comes",
            &metrics::idle(results),
        ),
    ];
    Section {
        title: "CPU",
        text: "For a million frames: the time in which the cores of the machine were not idle \
               (/proc/stat; steal is not in it), under the same offered load for all, whoever \
               ran and whichever interrupt did the work; less the same for the same sender whose frames \
               are dropped at the first device. So it is the contender, the kernel's work for it, \
               the second device and the sink behind it, and what else ran on the machine. A \
               thread that spins takes its core whatever comes. When no frame comes, the \
               contender's own threads count.",
        figures: figures.into_iter().flatten().collect(),
        table: None,
    }
}

fn memory(results: &Results) -> Section {
    let figure = bars("memory", "Resident memory", &metrics::memory(results));
    Section {
        title: "Memory",
        text: "Resident memory of all processes that a contender needs; what the \
               kernel holds for a contender is not in it.",
        figures: figure.into_iter().collect(),
        table: None,
    }
}

fn learning(results: &Results) -> Section {
    let figures = [
        bars(
            "capacity",
            "Addresses known at once",
            &metrics::capacity(results),
        ),
        bars(
            "learning-rate",
            "New addresses learnt a second",
            &metrics::learning_rate(results),
        ),
    ];
    Section {
        title: "Learning",
        text: "Capacity is how many addresses are known at once without flooding, and the rate is \
               how many new ones a second are all learnt (RFC 2889, 5.7 and 5.8).",
        figures: figures.into_iter().flatten().collect(),
        table: None,
    }
}

fn by_count(results: &Results) -> Section {
    let figure = |file: &str, what: &str, points: fn(&Contender) -> &Vec<Point>| {
        let line = |contender: &Contender| {
            let points = points(contender);
            let line = Line {
                name: contender.name.clone(),
                kind: contender.kind,
                points: sorted(points.iter().map(|point| (point.count as f64, point.fps))),
            };
            (!points.is_empty()).then_some(line)
        };
        let lines = results.contenders.iter().filter_map(line).collect();
        let title = format!("What arrives at full load, by number of {what}");
        count_figure(file, &title, (what, "frames a second", Unit::Rate), lines)
    };
    let figures = [
        figure("flows", "flows", |one| &one.by_flows),
        figure("addresses", "MAC addresses", |one| &one.by_macs),
        figure("ports", "ports", |one| &one.by_ports),
    ];
    Section {
        title: "Cost by number of flows, addresses and ports",
        text: "The smallest frames at full load, when the switch has to remember more, or to look \
               after more ports: then the same generator sends by every second port in turns, to \
               the port behind it, so that all of them have their share of one load.",
        figures: figures.into_iter().flatten().collect(),
        table: None,
    }
}

fn sorted(
    points: impl Iterator<Item = (f64, super::results::Measured)>,
) -> Vec<(f64, super::results::Measured)> {
    let mut points: Vec<_> = points.collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

fn count_figure(
    file: &str,
    title: &str,
    (what, side, unit): (&str, &str, Unit),
    lines: Vec<Line>,
) -> Option<Figure> {
    let labels = Labels {
        title,
        below: &format!("number of {what}"),
        side,
        unit,
    };
    (!lines.is_empty()).then(|| Figure {
        file: format!("{file}.svg"),
        title: title.to_owned(),
        reading: readings::lines(&lines, unit, what),
        svg: plot::lines(labels, &lines),
    })
}

fn policy(results: &Results) -> Section {
    Section {
        title: "What policy costs",
        text: "The bare switch, and one with a list of 1000 rules at each port of which the last \
               is about the frames, `security = \"strict\"`, and a policer: both stand on beds \
               of their own at the same time, and trials at full load go to the one and the other \
               in turns. A ratio is of the middle trials of one round, and each round has new \
               beds. All frames were counted by the rule that they meet. Flows differ in their UDP \
               ports, so that each is a flow of its own to the rules.",
        figures: Vec::new(),
        table: tables::policy(results),
    }
}

fn engines(results: &Results) -> Section {
    let figure = |file: &str, what: &str, points: fn(&Engine) -> &Vec<Point>| {
        let line = |engine: &Engine| {
            let points = points(engine).iter();
            let times = points.filter_map(|one| Some((one.count as f64, per_frame(&one.fps)?)));
            let line = Line {
                name: engine.name.clone(),
                kind: results.kind(&engine.name),
                points: sorted(times),
            };
            (!line.points.is_empty()).then_some(line)
        };
        let lines = results.engines.iter().filter_map(line).collect();
        let title = format!("Time of the engine for a frame, by number of {what}");
        count_figure(file, &title, (what, "time a frame", Unit::Time), lines)
    };
    let figures = [
        figure("engine-flows", "flows", |engine| &engine.by_flows),
        figure("engine-addresses", "MAC addresses", |engine| {
            &engine.by_macs
        }),
    ];
    Section {
        title: "Engines without I/O",
        text: "Switching alone, on one core: no kernel and no device takes part. What the others \
               do to feed their engine in memory is in their numbers, as their descriptions say.",
        figures: figures.into_iter().flatten().collect(),
        table: tables::engines(results),
    }
}
