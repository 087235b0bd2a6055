//! An end by signal that still tears everything down: Ctrl-C sets a mark, and who waits sees it.
//!
//! # Who may own a frame
//! Nobody here: no frame comes near this file.
#![allow(
    unsafe_code,
    reason = "sigaction has no safe form in the standard library"
)]

use std::{
    io,
    mem::zeroed,
    sync::atomic::{AtomicI32, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// The signal that has come, 0 for none.
static CAUGHT: AtomicI32 = AtomicI32::new(0);
/// How long a wait goes on before it looks at the mark.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

extern "C" fn note(signal: libc::c_int) {
    CAUGHT.store(signal, Relaxed);
}

/// From now on, SIGINT, SIGTERM and SIGHUP set the mark and do not end the process.
///
/// # Errors
/// What the kernel said.
pub fn catch() -> io::Result<()> {
    let handler: extern "C" fn(libc::c_int) = note;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the action is plain data, read during the call only; the handler stores to an
        // atomic and does nothing else, which a handler may do at any moment.
        let result = unsafe {
            let mut action: libc::sigaction = zeroed();
            action.sa_sigaction = handler as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Whether a signal has asked for the end.
#[must_use]
pub fn has_come() -> bool {
    CAUGHT.load(Relaxed) != 0
}

/// Goes on unless a signal has asked for the end.
///
/// # Errors
/// When one has.
pub fn check() -> Result<()> {
    match CAUGHT.load(Relaxed) {
        0 => Ok(()),
        signal => bail!("ended by signal {signal}"),
    }
}

/// Sleeps for so long.
///
/// # Errors
/// At once, when a signal asks for the end.
pub fn sleep(length: Duration) -> Result<()> {
    let deadline = Instant::now() + length;
    loop {
        check()?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(LOOK_INTERVAL));
    }
}

/// Waits until a look gives something.
///
/// # Errors
/// What the look says, or when there is still nothing after `patience`: `what` is missing.
pub fn wait_for<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("not within {patience:?}: {what}");
        }
        sleep(LOOK_INTERVAL)?;
    }
}
