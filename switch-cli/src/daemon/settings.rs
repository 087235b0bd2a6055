//! From the configuration to what the engine is made of.

use std::{fs, io, io::IsTerminal as _, io::Read as _, path::Path};

use switch_core::{
    config::{self, Config},
    engine::{HugePages, Options},
    limits::{
        FDB_SLOTS, MAX_CHUNKS, MAX_CONFIG_SIZE, MAX_QUEUES, MAX_WORKERS, QUEUED_CHUNKS_PER_PORT,
        chunks_needed,
    },
    port::core::allowed_cores,
};

use crate::{
    device::links::Link,
    failure::{Exit, Failure},
};

/// Queues that there is memory for at least: ports that are missing at the start, or come by a
/// reload, need frames too.
const QUEUES_PROVIDED_FOR: usize = 8;

/// Reads a configuration file.
///
/// # Errors
/// When it cannot be read, or holds mistakes: then the message is the report with all of them.
pub fn read(file: &Path) -> Result<Config, Failure> {
    let name = file.display().to_string();
    let cannot = |error: io::Error| {
        Failure::failed(format!("cannot read the configuration {name}: {error}"))
            .help("name a file that you may read")
    };
    // One byte more than is taken shows that the file is too long, without reading all of it.
    let mut bytes = Vec::new();
    fs::File::open(file)
        .and_then(|file| {
            file.take(MAX_CONFIG_SIZE as u64 + 1)
                .read_to_end(&mut bytes)
        })
        .map_err(cannot)?;
    config::decode(&name, &bytes)
        .and_then(|text| config::parse(&name, text))
        .map_err(|report| {
            let color = io::stderr().is_terminal();
            Failure::new(Exit::InvalidConfig, report.render(color))
        })
}

/// The engine for a configuration and the devices that are there.
///
/// # Errors
/// When the configuration wants cores that this process may not use.
pub fn options(config: &Config, links: &[Link]) -> Result<Options, Failure> {
    let allowed = allowed_cores();
    let queues: usize = config
        .ports
        .iter()
        .map(|port| expected_queues(port, links))
        .sum();
    let workers = config.switch.workers.map_or_else(
        || allowed.len().min(queues).clamp(1, MAX_WORKERS),
        std::num::NonZero::get,
    );
    if let Some(core) = config
        .switch
        .cores
        .iter()
        .find(|core| !allowed.contains(core))
    {
        let message = format!("`cores` names core {core}, which this process may not use");
        return Err(Failure::failed(message).help(format!("use some of {}", ranges(&allowed))));
    }
    let cores = if config.switch.cores.is_empty() {
        // More workers than cores are not pinned: the kernel knows better then.
        let pinned = workers <= allowed.len();
        (0..workers)
            .map(|worker| pinned.then(|| allowed[worker]))
            .collect()
    } else {
        config.switch.cores.iter().copied().map(Some).collect()
    };
    let waiting = config.ports.iter().filter(|port| port.scheduler.is_some());
    let by_formula = chunks_needed(workers, queues.max(QUEUES_PROVIDED_FOR))
        + waiting.count() * QUEUED_CHUNKS_PER_PORT;
    Ok(Options {
        cores,
        chunks: config.switch.frames.unwrap_or(by_formula.min(MAX_CHUNKS)),
        huge_pages: match config.switch.huge_pages {
            true => HugePages::Yes,
            false => HugePages::No,
        },
        fdb_capacity: FDB_SLOTS,
        hash_key: random_key()?,
        idle: config.switch.idle,
    })
}

/// The queues that a port will have: those of its device, or one while that is missing.
fn expected_queues(port: &config::Port, links: &[Link]) -> usize {
    let link = links.iter().find(|link| link.name == port.device.as_str());
    link.map_or(1, |link| queues(port, link))
}

/// The queues of a device that the engine serves. A frame can only leave by a queue that
/// transmits, so those are paired.
pub fn queues(port: &config::Port, link: &Link) -> usize {
    let paired = link.rx_queues.min(link.tx_queues) as usize;
    let limit = port.queues.map_or(MAX_QUEUES, std::num::NonZero::get);
    paired.min(limit).clamp(1, MAX_QUEUES)
}

/// A secret for the forwarding database's hash, so that nobody can aim addresses at a bucket.
fn random_key() -> Result<[u64; 2], Failure> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| Failure::failed(format!("cannot read /dev/urandom: {error}")))?;
    let number = u128::from_ne_bytes(bytes);
    Ok([number as u64, (number >> 64) as u64])
}

fn ranges(cores: &[usize]) -> String {
    let mut text = String::new();
    let mut rest = cores;
    while let Some(first) = rest.first() {
        let run = rest
            .iter()
            .zip(*first..)
            .take_while(|(core, next)| *core == next);
        let count = run.count();
        let comma = if text.is_empty() { "" } else { ", " };
        text += &match count {
            1 => format!("{comma}{first}"),
            _ => format!("{comma}{first}-{}", first + count - 1),
        };
        rest = &rest[count..];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_told_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2, 5, 7-8");
        assert_eq!(ranges(&[]), "");
    }

    #[test]
    fn there_is_memory_for_ports_to_come() {
        let text = "[[network]]\nname = \"n\"\n";
        let config = config::parse("test", text).unwrap();
        let options = options(&config, &[]).unwrap();
        assert_eq!(options.cores.len(), 1);
        assert_eq!(options.chunks, chunks_needed(1, QUEUES_PROVIDED_FOR));
    }

    #[test]
    fn a_core_that_is_not_there_is_refused() {
        let text = "[switch]\nworkers = 1\ncores = [1023]\n[[network]]\nname = \"n\"\n";
        let config = config::parse("test", text).unwrap();
        let failure = options(&config, &[]).unwrap_err();
        assert!(failure.message.contains("core 1023"), "{failure}");
    }

    #[test]
    fn a_file_that_is_not_there_is_no_mistake_in_it() {
        let failure = read(Path::new("/nowhere/switch.toml")).unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
    }
}
