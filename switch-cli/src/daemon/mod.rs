//! The daemon: one task owns the switch, and everything that happens comes to it in turn.
//!
//! Requests of the API, changes of devices, answers of attempts to attach, signals and the clock
//! meet in [`Daemon::live`]. Workers forward frames on threads of their own all the while.

mod acls;
mod addresses;
mod attachment;
mod claim;
mod drops;
mod flows;
mod instance;
mod port;
mod problem;
mod reconciler;
mod reload;
mod rule_log;
mod server;
pub mod settings;
mod switch;
mod tally;
#[cfg(test)]
mod tests;
mod traces;
mod upkeep;
mod view;
mod view_qos;
mod view_security;

use std::{
    io::{self, IsTerminal as _},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use switch_core::{
    config::{self, Config, Indices},
    engine::{Engine, EngineError},
    port::{
        core::keep_current_thread_off,
        xdp::program::{self, Program},
    },
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::MissedTickBehavior,
};
use tracing_subscriber::EnvFilter;

use crate::{
    cli::RunArgs,
    device::{Namespace, monitor::Monitor},
    failure::Failure,
    sys,
};
use instance::Instance;
use reconciler::{Answer, Reconciler};
use server::{Control, Request};
use switch::Switch;

/// How often everything is looked at although nothing has happened.
const POLL_PERIOD: Duration = Duration::from_secs(1);

/// Runs the switch until it is told to end.
///
/// # Errors
/// When it cannot start, or a worker died.
pub fn run(arguments: &RunArgs, socket: &Path) -> Result<(), Failure> {
    let started = Instant::now();
    sys::allocate_from_one_arena();
    let config = settings::read(&arguments.config)?;
    log_to_stderr(&arguments.log)?;
    // One of them for trying: it tells what is missing of privilege, BPF and AF_XDP.
    Program::load(program::Role::Guest).map_err(|error| Failure::failed(error.to_string()))?;
    let mut instance = Instance::claim(socket)?;
    let listener = instance.listen()?;
    let state_dir = arguments.state_dir.clone();
    let state_dir = state_dir.unwrap_or_else(|| socket.with_extension("state"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot make a runtime: {error}")))?;
    runtime.block_on(async {
        let config_file = std::path::absolute(&arguments.config);
        let config_file = config_file.unwrap_or_else(|_| arguments.config.clone());
        let mut daemon = Daemon::start(config, config_file, state_dir).await?;
        serve(listener, daemon.control.clone())?;
        let socket = socket.display();
        tracing::info!(%socket, start_ms = started.elapsed().as_millis(), "running");
        let lived = daemon.live().await;
        daemon.end().await.and(lived)
    })
}

fn log_to_stderr(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Failure::failed(format!("--log {filter:?} is not understood: {error}"))
            .help("use error, warn, info, debug or trace")
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    // journald has the time already.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().init();
    } else {
        log.init();
    }
    Ok(())
}

/// Keeps this thread, and those that it will start, off the workers' cores where others are left,
/// and says what may hold the workers up.
fn make_way_for_workers(engine: &Engine, cores: &[Option<usize>]) {
    let cores: Vec<_> = cores.iter().copied().flatten().collect();
    if let Err(error) = keep_current_thread_off(&cores) {
        tracing::warn!("the control thread shares the workers' cores: {error}");
    }
    if let Err(error) = engine.precedence() {
        tracing::warn!(
            "workers run no sooner than other programs, and may lose frames when those hold their \
             cores: {error}; give the daemon CAP_SYS_NICE"
        );
    }
}

/// Answers requests on the socket, in a task of its own, until the runtime ends.
fn serve(listener: UnixListener, control: Control) -> Result<(), Failure> {
    let listener = tokio::net::UnixListener::from_std(listener)
        .map_err(|error| Failure::failed(format!("cannot listen: {error}")))?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, server::router(control)).await {
            tracing::error!("the control socket is closed: {error}");
        }
    });
    Ok(())
}

/// All that the control task has.
struct Daemon {
    switch: Switch,
    reconciler: Reconciler,
    monitor: Monitor,
    control: Control,
    requests: mpsc::Receiver<Request>,
    answers: mpsc::UnboundedReceiver<Answer>,
    signals: Signals,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

impl Daemon {
    /// Starts the engine. Ports get their devices in [`live`](Self::live).
    async fn start(
        config: Config,
        config_file: PathBuf,
        state_dir: PathBuf,
    ) -> Result<Self, Failure> {
        let failed = |error: crate::device::Error| Failure::failed(error.to_string());
        let signals = Signals::new()
            .map_err(|error| Failure::failed(format!("cannot hear signals: {error}")))?;
        let namespace = Namespace::open().map_err(failed)?;
        let links = namespace.links().await.map_err(failed)?;
        let options = settings::options(&config, &links)?;
        let compiled = config::compile(&config, &Indices::new())
            .map_err(|error| Failure::failed(error.to_string()))?;
        let mut engine = Engine::start(&options).map_err(engine_failed)?;
        engine.apply(compiled.rules).map_err(engine_failed)?;
        tracing::info!(
            workers = options.cores.len(),
            cores = ?options.cores,
            chunks = options.chunks,
            "the engine is up"
        );
        make_way_for_workers(&engine, &options.cores);
        let mut monitor = Monitor::open(&namespace).map_err(failed)?;
        // The first event comes when all devices are known.
        monitor.next().await.map_err(failed)?;
        let (reconciler, answers) = Reconciler::new(namespace, state_dir);
        reconciler.clean_up(&config).await;
        let (control, requests) = Control::new();
        let cores = options.cores;
        Ok(Self {
            switch: Switch::new(engine, config, config_file, compiled.indices, cores),
            reconciler,
            monitor,
            control,
            requests,
            answers,
            signals,
        })
    }

    /// Lives until a signal ends it, or a worker has died.
    async fn live(&mut self) -> Result<(), Failure> {
        let mut second = tokio::time::interval(POLL_PERIOD);
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let retry = self.switch.next_retry(Instant::now());
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(Request::Call { with_devices, call }) => {
                        if with_devices {
                            self.reconciler.read_devices(&mut self.switch).await;
                        }
                        call(&mut self.switch);
                        continue;
                    }
                    Some(Request::Reload(reply)) => {
                        let answer = self.reload().await?;
                        // The client may have gone.
                        let _ = reply.send(answer);
                    }
                    None => return Ok(()),
                },
                event = self.monitor.next() => match event {
                    Ok(event) => self.reconciler.heed(&mut self.switch, &event),
                    Err(error) => {
                        tracing::warn!("{error}");
                        tokio::time::sleep(POLL_PERIOD).await;
                    }
                },
                Some(answer) = self.answers.recv() => {
                    let taken = self.reconciler.take(&mut self.switch, answer).await;
                    taken.map_err(engine_failed)?;
                }
                _ = second.tick() => {
                    self.switch.every_second();
                    self.reconciler.recheck(&mut self.switch);
                }
                () = tokio::time::sleep(retry.unwrap_or(POLL_PERIOD)) => {}
                _ = self.signals.hang_up.recv() => {
                    // What is wrong has been logged.
                    drop(self.reload().await?);
                }
                _ = self.signals.terminate.recv() => return Ok(()),
                _ = self.signals.interrupt.recv() => return Ok(()),
            }
            let links = self.monitor.links();
            let reconciled = self.reconciler.reconcile(&mut self.switch, links).await;
            reconciled.map_err(engine_failed)?;
        }
    }

    async fn reload(&mut self) -> Result<Result<crate::api::Reloaded, problem::Problem>, Failure> {
        let reloaded = reload::reload(&self.reconciler, &mut self.switch).await;
        reloaded.map_err(engine_failed)
    }

    /// Leaves every interface as it was found, and counts the frames.
    async fn end(mut self) -> Result<(), Failure> {
        tracing::info!("ending");
        let ended = self
            .reconciler
            .end(&mut self.switch, &mut self.answers)
            .await;
        let census = self.switch.engine.stop().map_err(engine_failed)?;
        if census.is_complete() {
            tracing::info!("all {} frames came back", census.chunks);
        } else {
            let missing = census.chunks - census.free;
            tracing::error!("{missing} of {} frames did not come back", census.chunks);
        }
        ended.map_err(engine_failed)
    }
}

fn engine_failed(error: EngineError) -> Failure {
    Failure::failed(error.to_string())
}
