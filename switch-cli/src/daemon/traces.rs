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

/// All that a trace needs of the switch.
pub struct Copied {
    switch: DryRun,
    ingress: PortIndex,
    frames: Vec<Vec<u8>>,
    config: Config,
    rules: Arc<Ruleset>,
    file: String,
}

/// Copies the switch for a request.
///
/// # Errors
/// When the request makes no sense, or there is no memory for the copy.
pub fn copy(switch: &Switch, request: &TraceRequest) -> Result<Copied, Problem> {
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
    let copy = engine.dry_run(ingress);
    Ok(Copied {
        switch: copy.map_err(|error| Problem::refused(error.to_string(), "try again"))?,
        ingress,
        frames,
        config: switch.config.clone(),
        rules: Arc::clone(engine.rules()),
        file: switch.config_file.display().to_string(),
    })
}

/// What would become of the frames, one after the other. It is over when the client has gone.
///
/// # Errors
/// When there is no thread for it.
pub async fn run(
    mut copied: Copied,
    turn: SemaphorePermit<'static>,
) -> Result<Vec<Trace>, Problem> {
    let (reply, answer) = oneshot::channel();
    let body = move || {
        let frames = std::mem::take(&mut copied.frames).into_iter();
        let wanted = frames.take_while(|_| !reply.is_closed());
        let traces = wanted.map(|bytes| copied.trace(&bytes)).collect();
        drop(turn);
        // The client may have gone.
        let _ = reply.send(traces);
    };
    let thread = thread::Builder::new().name("trace".into()).spawn(body);
    thread.map_err(|error| Problem::refused(format!("no thread: {error}"), "try again"))?;
    answer.await.map_err(|_| Problem::ending())
}

impl Copied {
    fn trace(&mut self, bytes: &[u8]) -> Trace {
        let outcome = self.switch.forward(self.ingress, bytes);
        let names = Names {
            config: &self.config,
            rules: &self.rules,
            file: &self.file,
        };
        explain(names, self.ingress, bytes, &outcome)
    }
}
