//! Traces as the API gives them: asked of a copy, so that the switch does not notice, and in a
//! thread of their own, so that the control task does not wait for a thousand frames.

use std::{sync::Arc, thread};

use switch_core::{
    config::{Config, snapshot::Ruleset},
    engine::DryRun,
    limits::PortIndex,
};
use tokio::sync::{SemaphorePermit, oneshot};

use super::{problem::Problem, switch::Switch};
use crate::{
    api::trace::{Trace, TraceRequest},
    frame::build::Known,
    trace::{Names, explain, offline},
};

/// The switch as it is at one moment, and what things are called in it.
pub struct Still {
    /// What frames can be asked of.
    pub copy: DryRun,
    config: Config,
    rules: Arc<Ruleset>,
    file: String,
}

impl Still {
    /// Copies the switch.
    ///
    /// # Errors
    /// When there is no memory for the copy.
    pub fn of(switch: &Switch) -> Result<Self, Problem> {
        let copy = switch.engine.dry_run();
        Ok(Self {
            copy: copy.map_err(|error| Problem::refused(error.to_string(), "try again"))?,
            config: switch.config.clone(),
            rules: Arc::clone(switch.engine.rules()),
            file: switch.config_file.display().to_string(),
        })
    }

    /// What things are called.
    pub fn names(&self) -> Names<'_> {
        Names {
            config: &self.config,
            rules: &self.rules,
            file: &self.file,
        }
    }
}

/// Frames, and the switch that is asked what would become of them.
pub struct Asked {
    still: Still,
    ingress: PortIndex,
    frames: Vec<Vec<u8>>,
}

/// Copies the switch for a request.
///
/// # Errors
/// When the request makes no sense, or there is no memory for the copy.
pub fn copy(switch: &Switch, request: &TraceRequest) -> Result<Asked, Problem> {
    let engine = &switch.engine;
    let index = |name: &str| switch.indices.port(name);
    let ingress = index(&request.from).ok_or_else(|| {
        let error = format!("there is no port {:?}", request.from);
        Problem::not_found(error, "`shunt get ports` shows all")
    })?;
    let learnt = |name: &str| {
        let port = index(name)?;
        let mut entries = engine.fdb().entries(engine.now());
        entries
            .find(|entry| entry.port == port)
            .map(|entry| entry.mac)
    };
    let known = Known {
        config: &switch.config,
        learnt: &learnt,
    };
    let help = r#"send {"from": "guest-a", "fields": {"tcp": 443}}, or "frames" in hexadecimal"#;
    let frames = offline::frames(request, &known).map_err(|error| Problem::bad(error, help))?;
    Ok(Asked {
        still: Still::of(switch)?,
        ingress,
        frames,
    })
}

/// What would become of the frames, one after the other. It is over when the client has gone.
///
/// # Errors
/// When there is no thread for it.
pub async fn run(asked: Asked, turn: SemaphorePermit<'static>) -> Result<Vec<Trace>, Problem> {
    let Asked {
        mut still,
        ingress,
        frames,
    } = asked;
    let trace = move |is_wanted: &dyn Fn() -> bool| {
        let mut traces = Vec::new();
        for bytes in frames.iter().take_while(|_| is_wanted()) {
            let outcome = still.copy.forward(ingress, bytes);
            traces.push(explain(still.names(), ingress, bytes, &outcome));
        }
        traces
    };
    aside(turn, trace).await
}

/// Does something in a thread of its own, in its turn; it is told whether the client still waits.
///
/// # Errors
/// When there is no thread for it.
pub async fn aside<T: Send + 'static>(
    turn: SemaphorePermit<'static>,
    work: impl FnOnce(&dyn Fn() -> bool) -> T + Send + 'static,
) -> Result<T, Problem> {
    let (reply, answer) = oneshot::channel();
    let body = move || {
        let done = work(&|| !reply.is_closed());
        drop(turn);
        // The client may have gone.
        let _ = reply.send(done);
    };
    let thread = thread::Builder::new().name("trace".into()).spawn(body);
    thread.map_err(|error| Problem::refused(format!("no thread: {error}"), "try again"))?;
    answer.await.map_err(|_| Problem::ending())
}
