//! Traces as the API gives them: asked of a copy, so that the switch does not notice.

use super::{problem::Problem, switch::Switch};
use crate::{
    api::trace::{Trace, TraceRequest},
    frame::build::Known,
    trace::{Names, explain, offline},
};

/// What would become of frames, one after the other.
///
/// # Errors
/// When the request makes no sense, or there is no memory for the copy.
pub fn trace(switch: &Switch, request: &TraceRequest) -> Result<Vec<Trace>, Problem> {
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
    let mut copy = copy.map_err(|error| Problem::refused(error.to_string(), "try again"))?;
    let names = Names {
        config: &switch.config,
        rules: engine.rules(),
        file: &switch.config_file.display().to_string(),
    };
    let trace = |bytes: &Vec<u8>| {
        let outcome = copy.forward(ingress, bytes);
        explain(names, ingress, bytes, &outcome)
    };
    Ok(frames.iter().map(trace).collect())
}
