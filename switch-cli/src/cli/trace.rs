//! The commands that ask what would become of a frame.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use super::{Output, OutputArgs, print};
use crate::{
    api::{
        Port,
        trace::{Trace, TraceRequest},
    },
    client::{self, Client},
    failure::Failure,
    frame::{fields::Fields, hex, pcap},
    trace::{offline::Offline, verdicts},
};

/// What `shunt trace` is told.
#[derive(Clone, Debug, Args)]
pub struct TraceArgs {
    /// The port that the frame comes from
    #[arg(long, value_name = "PORT")]
    from: String,
    #[command(flatten)]
    fields: Fields,
    /// The whole frame in hexadecimal, without FCS
    #[arg(long, value_name = "DIGITS", conflicts_with_all = ["Fields", "pcap"])]
    hex: Option<String>,
    /// Every frame of a capture, one after the other
    #[arg(long, value_name = "FILE", conflicts_with = "Fields")]
    pcap: Option<PathBuf>,
    /// Ask this configuration instead of the daemon, with every device up and no address learnt
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What is done with access control lists.
#[derive(Clone, Debug, Subcommand)]
pub enum Acl {
    /// Compare what becomes of frames with what a file expects; fails if anything differs
    #[command(after_help = "Example:\n  shunt acl test --config switch.toml policy-tests.toml")]
    Test {
        /// The frames and the expected verdicts
        file: PathBuf,
        /// Ask this configuration instead of the daemon
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// Does what `shunt trace` says.
pub fn trace(client: &Client, arguments: TraceArgs) -> Result<(), Failure> {
    let by_fields = arguments.hex.is_none() && arguments.pcap.is_none();
    let frames = match &arguments.pcap {
        Some(file) => capture(file)?,
        None => arguments.hex.into_iter().collect(),
    };
    if frames.is_empty() && !by_fields {
        return Err(Failure::failed("the capture has no frames"));
    }
    let request = TraceRequest {
        from: arguments.from,
        fields: by_fields.then_some(arguments.fields),
        frames,
    };
    let traces = ask(client, arguments.config.as_deref())?.trace(&request)?;
    print(&match arguments.output.output {
        Output::Table => client::trace::traces(&traces),
        Output::Json => client::render::json(&traces),
    })
}

/// Does what `shunt why` says.
pub fn why(client: &Client, port: &str, output: OutputArgs) -> Result<(), Failure> {
    let path = format!("/v1/ports/{}/drops", client::escape(port));
    print(&match output.output {
        Output::Table => client::why::why(port, &client.list(&path)?),
        Output::Json => client::render::json(&client.get_json(&path)?),
    })
}

/// Does what `shunt acl` says.
pub fn acl(client: &Client, action: &Acl) -> Result<(), Failure> {
    let Acl::Test {
        file,
        config,
        output,
    } = action;
    let name = file.display().to_string();
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::failed(format!("cannot read {name}: {error}")))?;
    let asked = ask(client, config.as_deref())?;
    let results = verdicts::run(&name, &text, &asked.ports()?, |it| asked.trace(it))?;
    print(&match output.output {
        Output::Table => verdicts::report(&name, &results),
        Output::Json => client::render::json(&results),
    })?;
    match results.iter().filter(|result| !result.passed).count() {
        0 => Ok(()),
        failed => Err(Failure::failed(format!(
            "{failed} of {} verdicts are not as expected",
            results.len()
        ))),
    }
}

/// Who is asked.
enum Asked<'a> {
    File(Box<Offline>),
    Daemon(&'a Client),
}

impl Asked<'_> {
    fn trace(&self, request: &TraceRequest) -> Result<Vec<Trace>, Failure> {
        match self {
            Self::File(switch) => switch.trace(request),
            Self::Daemon(client) => client.trace(request),
        }
    }

    /// The names of the ports that there are.
    fn ports(&self) -> Result<Vec<String>, Failure> {
        match self {
            Self::File(switch) => Ok(switch.ports()),
            Self::Daemon(client) => {
                let ports: Vec<Port> = client.list("/v1/ports")?;
                Ok(ports.into_iter().map(|port| port.name).collect())
            }
        }
    }
}

/// A file if there is one, or else the daemon.
fn ask<'a>(client: &'a Client, config: Option<&Path>) -> Result<Asked<'a>, Failure> {
    Ok(match config {
        Some(file) => Asked::File(Box::new(Offline::read(file)?)),
        None => Asked::Daemon(client),
    })
}

/// The frames of a capture, in hexadecimal.
fn capture(file: &Path) -> Result<Vec<String>, Failure> {
    let name = file.display();
    let bytes = fs::read(file);
    let bytes = bytes.map_err(|error| Failure::failed(format!("cannot read {name}: {error}")))?;
    let frames = pcap::frames(&bytes);
    let frames = frames.map_err(|error| Failure::failed(format!("{name}: {error}")))?;
    Ok(frames.iter().map(|frame| hex::encode(frame)).collect())
}
