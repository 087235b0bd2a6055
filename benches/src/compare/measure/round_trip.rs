//! A request and its answer, one at a time, by UDP between two guests' stacks.

use std::{
    io::ErrorKind,
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use shunt_tests::sys;

use super::super::{
    bed::{Bed, GUEST_CORE, Guest},
    signals,
};

/// The pauses between an answer and the next request.
pub const PAUSES: [Duration; 2] = [Duration::ZERO, Duration::from_millis(2)];

/// UDP's echo (RFC 862).
const PORT: u16 = 7;
/// Bytes of a request.
const SIZE: usize = 18;
/// Time that an answer has.
const LIMIT: Duration = Duration::from_millis(200);
/// Requests before the first that counts: addresses are resolved, caches are filled.
const WARM_UP: usize = 50;

/// Asks again and again for so long; gives how long each answer took, in ascending order.
///
/// Both ends are on the guests' core.
///
/// # Errors
/// When more than one of a hundred requests has no answer.
pub fn round_trips(bed: &Bed, pause: Duration, length: Duration) -> Result<Vec<Duration>> {
    let (asks, answers) = (&bed.guests[0], &bed.guests[1]);
    let server = socket(answers, PORT)?;
    let client = socket(asks, 0)?;
    client.connect((answers.address.as_str(), PORT))?;
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let serving = scope.spawn(|| serve(&server, &ended));
        let asked = scope.spawn(|| ask(&client, pause, length)).join();
        ended.store(true, Relaxed);
        serving.join().expect("the server does not panic")?;
        asked.expect("the client does not panic")
    })
}

fn socket(guest: &Guest, port: u16) -> Result<UdpSocket> {
    let address = (guest.address.as_str(), port);
    let socket = guest.namespace.enter(|| UdpSocket::bind(address))?;
    let socket = socket.with_context(|| format!("bind {address:?}"))?;
    socket.set_read_timeout(Some(LIMIT))?;
    Ok(socket)
}

fn serve(socket: &UdpSocket, ended: &AtomicBool) -> Result<()> {
    sys::pin_to_core(GUEST_CORE)?;
    let mut buffer = [0; SIZE];
    while !ended.load(Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((size, from)) => {
                socket.send_to(&buffer[..size], from)?;
            }
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error).context("the answering end"),
        }
    }
    Ok(())
}

fn ask(socket: &UdpSocket, pause: Duration, length: Duration) -> Result<Vec<Duration>> {
    sys::pin_to_core(GUEST_CORE)?;
    let (mut times, mut lost) = (Vec::new(), 0);
    for number in 0..WARM_UP {
        answer(socket, number as u64)?;
    }
    let begin = Instant::now();
    let mut number = WARM_UP as u64;
    while begin.elapsed() < length {
        signals::check()?;
        match answer(socket, number)? {
            Some(time) => times.push(time),
            None => lost += 1,
        }
        number += 1;
        if !pause.is_zero() {
            thread::sleep(pause);
        }
    }
    ensure!(
        lost * 100 <= times.len(),
        "{lost} requests had no answer, {} had one",
        times.len()
    );
    times.sort_unstable();
    Ok(times)
}

/// One request; how long its answer took, if there was one.
fn answer(socket: &UdpSocket, number: u64) -> Result<Option<Duration>> {
    let mut request = [0; SIZE];
    request[..8].copy_from_slice(&number.to_be_bytes());
    let begin = Instant::now();
    socket.send(&request)?;
    let mut buffer = [0; SIZE];
    loop {
        match socket.recv(&mut buffer) {
            // An answer that came after its time is not one to this request.
            Ok(_) if buffer == request => return Ok(Some(begin.elapsed())),
            Ok(_) => {}
            Err(error) if is_timeout(&error) => return Ok(None),
            Err(error) => return Err(error).context("the asking end"),
        }
        if begin.elapsed() > LIMIT {
            return Ok(None);
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// The time that this part of all answers took at most; `part` from 0 to 1. None without answers.
#[must_use]
pub fn quantile(ascending: &[Duration], part: f64) -> Option<Duration> {
    let rank = (part * ascending.len() as f64).ceil() as usize;
    ascending.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let times: Vec<_> = (1..=1000).map(Duration::from_micros).collect();
        for (part, expected) in [(0.5, 500), (0.99, 990), (0.999, 999), (1.0, 1000), (0.0, 1)] {
            let found = quantile(&times, part);
            assert_eq!(found, Some(Duration::from_micros(expected)), "{part}");
        }
        assert_eq!(quantile(&[], 0.5), None);
        let two = [1, 2].map(Duration::from_micros);
        assert_eq!(quantile(&two, 0.5), Some(two[0]));
        assert_eq!(quantile(&two, 0.51), Some(two[1]));
    }
}
