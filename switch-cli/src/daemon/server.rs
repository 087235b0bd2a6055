//! The API: HTTP with JSON over the control socket. It only translates; the control task answers.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State, rejection::QueryRejection},
    routing::{delete, get, post},
};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{
    acls, addresses, drops, flows, problem::Problem, switch::Switch, traces, view, view_qos,
    view_security,
};
use crate::api::{
    FdbFilter, NewFdbEntry, Reloaded, Removed,
    trace::{Dropped, Trace, TraceRequest},
};

/// The turn to trace frames: one at a time, since each has a copy of the switch.
static TRACES: Semaphore = Semaphore::const_new(1);

/// Requests that may wait for the control task; the next ones wait in their connections.
const WAITING: usize = 64;

/// Something to be done with the switch, by the task that owns it.
pub enum Request {
    /// A question, or a small change.
    Call {
        /// The devices' own counters are read first.
        with_devices: bool,
        /// What is to be done.
        call: Box<dyn FnOnce(&mut Switch) + Send>,
    },
    /// Take the changed configuration.
    Reload(oneshot::Sender<Result<Reloaded, Problem>>),
}

/// The way to the control task.
#[derive(Clone)]
pub struct Control(mpsc::Sender<Request>);

impl Control {
    /// A way, and its end for the control task.
    pub fn new() -> (Self, mpsc::Receiver<Request>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// Lets the control task call a closure, and answers what that gives.
    async fn call<T: Serialize + Send + 'static>(
        &self,
        closure: impl FnOnce(&mut Switch) -> Result<T, Problem> + Send + 'static,
    ) -> Result<Json<T>, Problem> {
        self.ask(false, closure).await.map(Json)
    }

    /// The same after the devices' own counters have been read.
    async fn call_with_devices<T: Serialize + Send + 'static>(
        &self,
        closure: impl FnOnce(&mut Switch) -> Result<T, Problem> + Send + 'static,
    ) -> Result<Json<T>, Problem> {
        self.ask(true, closure).await.map(Json)
    }

    async fn ask<T: Send + 'static>(
        &self,
        with_devices: bool,
        closure: impl FnOnce(&mut Switch) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        let call = Box::new(move |switch: &mut Switch| {
            // The client may have gone.
            let _ = reply.send(closure(switch));
        });
        let request = Request::Call { with_devices, call };
        self.0.send(request).await.map_err(|_| Problem::ending())?;
        answer.await.map_err(|_| Problem::ending())?
    }
}

/// All paths.
pub fn router(control: Control) -> Router {
    Router::new()
        .route("/v1/ports", get(ports))
        .route("/v1/ports/{name}", get(port))
        .route("/v1/ports/{name}/drops", get(port_drops))
        .route("/v1/networks", get(networks))
        .route("/v1/networks/{name}", get(network))
        .route("/v1/fdb", get(fdb).post(fdb_add).delete(fdb_flush))
        .route("/v1/fdb/{network}/{mac}", delete(fdb_del))
        .route("/v1/acl", get(all_acls))
        .route("/v1/acl/{name}", get(acl))
        .route("/v1/flows", get(all_flows))
        .route("/v1/counters", get(counters))
        .route("/v1/workers", get(workers))
        .route("/v1/qos", get(qos))
        .route("/v1/qos/{name}", get(policer))
        .route("/v1/trace", post(trace))
        .route("/v1/security", get(security))
        .route("/v1/queues", get(queues))
        .route("/v1/security/{name}", get(port_security))
        .route("/v1/reload", post(reload))
        .method_not_allowed_fallback(async || Problem::method())
        .fallback(async || {
            let help = "try /v1/ports, /v1/networks, /v1/fdb, /v1/qos, /v1/queues, /v1/security, \
                        /v1/acl, /v1/flows, /v1/counters or /v1/workers";
            Problem::not_found("there is no such path", help)
        })
        .with_state(control)
}

type Answer<T> = Result<Json<T>, Problem>;

async fn ports(State(control): State<Control>) -> Answer<Vec<crate::api::Port>> {
    control
        .call_with_devices(|switch| Ok(view::ports(switch)))
        .await
}

async fn port(
    State(control): State<Control>,
    Path(name): Path<String>,
) -> Answer<crate::api::PortDetail> {
    control
        .call_with_devices(move |switch| view::port(switch, &name))
        .await
}

async fn port_drops(
    State(control): State<Control>,
    Path(name): Path<String>,
) -> Answer<Vec<Dropped>> {
    let turn = TRACES.acquire().await.map_err(|_| Problem::ending())?;
    let copied = move |switch: &mut Switch| drops::copy(switch, &name);
    let copied = control.ask(false, copied).await?;
    drops::run(copied, turn).await.map(Json)
}

async fn networks(State(control): State<Control>) -> Answer<Vec<crate::api::Network>> {
    control.call(|switch| Ok(view::networks(switch))).await
}

async fn network(
    State(control): State<Control>,
    Path(name): Path<String>,
) -> Answer<crate::api::NetworkDetail> {
    control
        .call(move |switch| view::network(switch, &name))
        .await
}

async fn fdb(State(control): State<Control>) -> Answer<Vec<crate::api::FdbEntry>> {
    control.call(|switch| Ok(view::fdb(switch))).await
}

async fn all_acls(State(control): State<Control>) -> Answer<Vec<crate::api::AclRule>> {
    control.call(|switch| Ok(acls::rules(switch))).await
}

async fn acl(
    State(control): State<Control>,
    Path(name): Path<String>,
) -> Answer<crate::api::AclDetail> {
    control
        .call(move |switch| acls::describe(switch, &name))
        .await
}

async fn all_flows(State(control): State<Control>) -> Answer<Vec<crate::api::Flow>> {
    control.call(|switch| Ok(flows::flows(switch))).await
}

async fn counters(State(control): State<Control>) -> Answer<Vec<crate::api::Counter>> {
    control
        .call_with_devices(|switch| Ok(view::counters(switch)))
        .await
}

async fn workers(State(control): State<Control>) -> Answer<Vec<crate::api::Worker>> {
    control.call(|switch| Ok(view::workers(switch))).await
}

async fn qos(State(control): State<Control>) -> Answer<Vec<crate::api::Policer>> {
    control.call(|switch| Ok(view_qos::policers(switch))).await
}

async fn policer(
    State(control): State<Control>,
    Path(name): Path<String>,
) -> Answer<crate::api::PolicerDetail> {
    control
        .call(move |switch| view_qos::describe(switch, &name))
        .await
}

async fn port_security(
    State(control): State<Control>,
    Path(name): Path<String>,
) -> Answer<crate::api::PortSecurity> {
    let of_port = move |switch: &mut Switch| {
        let mut ports = view_security::ports(switch).into_iter();
        let found = ports.find(|port| port.port == name);
        found.ok_or_else(|| addresses::no_port(&name))
    };
    control.call(of_port).await
}

async fn trace(State(control): State<Control>, body: Bytes) -> Answer<Vec<Trace>> {
    let request: TraceRequest = serde_json::from_slice(&body).map_err(|error| {
        let help = r#"send {"from": "guest-a", "fields": {"tcp": 443}}"#;
        Problem::bad(format!("the body is not understood: {error}"), help)
    })?;
    let turn = TRACES.acquire().await.map_err(|_| Problem::ending())?;
    let copied = move |switch: &mut Switch| traces::copy(switch, &request);
    let copied = control.ask(false, copied).await?;
    traces::run(copied, turn).await.map(Json)
}

async fn security(State(control): State<Control>) -> Answer<Vec<crate::api::PortSecurity>> {
    control
        .call(|switch| Ok(view_security::ports(switch)))
        .await
}

async fn queues(State(control): State<Control>) -> Answer<Vec<crate::api::Queue>> {
    control.call(|switch| Ok(view_qos::queues(switch))).await
}

async fn fdb_add(State(control): State<Control>, body: Bytes) -> Answer<()> {
    let entry: NewFdbEntry = serde_json::from_slice(&body).map_err(|error| {
        let help = r#"send {"network": "web", "mac": "52:54:00:12:34:56", "port": "guest-a"}"#;
        Problem::bad(format!("the body is not understood: {error}"), help)
    })?;
    control
        .call(move |switch| addresses::add(switch, &entry))
        .await
}

async fn fdb_flush(
    State(control): State<Control>,
    filter: Result<Query<FdbFilter>, QueryRejection>,
) -> Answer<Removed> {
    let Query(filter) = filter.map_err(|error| {
        let help = "use port=, network=, mac= and static=true";
        Problem::bad(error.body_text(), help)
    })?;
    control
        .call(move |switch| addresses::flush(switch, &filter))
        .await
}

async fn fdb_del(
    State(control): State<Control>,
    Path((network, mac)): Path<(String, String)>,
) -> Answer<Removed> {
    control
        .call(move |switch| addresses::delete(switch, &network, &mac))
        .await
}

async fn reload(State(Control(control)): State<Control>) -> Answer<Reloaded> {
    let (reply, answer) = oneshot::channel();
    let sent = control.send(Request::Reload(reply)).await;
    sent.map_err(|_| Problem::ending())?;
    answer.await.map_err(|_| Problem::ending())?.map(Json)
}
