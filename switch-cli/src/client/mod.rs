//! The daemon's client: one HTTP request over the control socket for each command.

pub mod describe;
pub mod render;
pub mod security;
pub mod trace;
pub mod why;

use std::{fmt::Write as _, io, path::PathBuf, time::Duration};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use crate::{
    api::{
        self, FdbFilter, NewFdbEntry, Reloaded, Removed,
        trace::{Trace, TraceRequest},
    },
    failure::{Exit, Failure},
};

/// Asks one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
}

impl Client {
    /// A client of the daemon that listens on this socket. Nothing is opened yet.
    pub fn new(socket: PathBuf, timeout: Duration) -> Self {
        Self { socket, timeout }
    }

    /// The answer at this path.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.request(Method::GET, path, &())
    }

    /// The answer at a path that gives a list.
    pub fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Failure> {
        self.get(path)
    }

    /// The answer at this path as it is.
    pub fn get_json(&self, path: &str) -> Result<serde_json::Value, Failure> {
        self.get(path)
    }

    /// Lets the daemon read its configuration again.
    pub fn reload(&self) -> Result<Reloaded, Failure> {
        self.request(Method::POST, "/v1/reload", &())
    }

    /// What would become of frames.
    pub fn trace(&self, request: &TraceRequest) -> Result<Vec<Trace>, Failure> {
        self.request(Method::POST, "/v1/trace", request)
    }

    /// Removes the forwarding entries that match.
    pub fn fdb_flush(&self, filter: &FdbFilter) -> Result<Removed, Failure> {
        let mut query = String::new();
        for (key, value) in [
            ("port", &filter.port),
            ("network", &filter.network),
            ("mac", &filter.mac),
        ] {
            if let Some(value) = value {
                // Writing to a string cannot fail.
                let _ = write!(query, "{key}={}&", escape(value));
            }
        }
        let path = format!("/v1/fdb?{query}static={}", filter.include_static);
        self.request(Method::DELETE, &path, &())
    }

    /// Makes a static forwarding entry.
    pub fn fdb_add(&self, entry: &NewFdbEntry) -> Result<(), Failure> {
        self.request(Method::POST, "/v1/fdb", entry)
    }

    /// Removes the entry of one address.
    pub fn fdb_del(&self, network: &str, mac: &str) -> Result<Removed, Failure> {
        let path = format!("/v1/fdb/{}/{}", escape(network), escape(mac));
        self.request(Method::DELETE, &path, &())
    }

    fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| Failure::failed(format!("no runtime: {error}")))?;
        let body = if method == Method::POST {
            serde_json::to_vec(body).map_err(|error| Failure::failed(error.to_string()))?
        } else {
            Vec::new()
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "shunt")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Failure::failed(format!("cannot ask for {path}: {error}")))?;
        let (status, answer) = runtime.block_on(async {
            let answered = tokio::time::timeout(self.timeout, self.send(request)).await;
            answered.unwrap_or_else(|_| Err(self.late()))
        })?;
        self.decode(status, &answer)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), Failure> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|error| self.unreachable(&error))?;
        let broken = |error: hyper::Error| {
            let socket = self.socket.display();
            Failure::failed(format!("the daemon at {socket} broke off: {error}"))
                .help("its log says why; if it has ended, start it: shunt run --config FILE")
        };
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(broken)?;
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await.map_err(broken)?;
        Ok((status, bytes.to_bytes()))
    }

    fn decode<T: DeserializeOwned>(&self, status: StatusCode, answer: &[u8]) -> Result<T, Failure> {
        if status.is_success() {
            return serde_json::from_slice(answer).map_err(|error| {
                Failure::failed(format!("the daemon's answer is not understood: {error}"))
                    .help("use the shunt of the daemon's version")
            });
        }
        let exit = match status {
            StatusCode::UNPROCESSABLE_ENTITY => Exit::InvalidConfig,
            StatusCode::PRECONDITION_FAILED => Exit::Conflict,
            StatusCode::GATEWAY_TIMEOUT => Exit::Timeout,
            _ => Exit::Failed,
        };
        Err(match serde_json::from_slice::<api::Error>(answer) {
            Ok(api::Error {
                report: Some(report),
                ..
            }) => Failure::new(exit, report),
            Ok(api::Error { error, help, .. }) => Failure {
                exit,
                message: error,
                help: (!help.is_empty()).then_some(help),
            },
            Err(_) => {
                let text = String::from_utf8_lossy(answer);
                Failure::new(
                    exit,
                    format!("the daemon answers {status}: {}", text.trim()),
                )
            }
        })
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let socket = self.socket.display();
        if error.kind() == io::ErrorKind::PermissionDenied {
            let message = format!("not allowed to open the daemon's socket {socket}");
            return Failure::failed(message)
                .help("use sudo, or have yourself added to the group that the socket belongs to");
        }
        let cause = match error.kind() {
            io::ErrorKind::NotFound => "there is no such socket".to_owned(),
            io::ErrorKind::ConnectionRefused => "nobody listens on it".to_owned(),
            _ => error.to_string(),
        };
        let message = format!("no daemon at {socket}: {cause}");
        Failure::new(Exit::NoDaemon, message).help(
            "start it with `shunt run --config FILE`, or name its socket with --socket or in \
             SHUNT_SOCKET",
        )
    }

    fn late(&self) -> Failure {
        let (socket, seconds) = (self.socket.display(), self.timeout.as_secs());
        let message = format!("no answer from the daemon at {socket} within {seconds} s");
        Failure::new(Exit::Timeout, message).help("wait longer with --timeout, or see its log")
    }
}

/// A text for use in a path or query (RFC 3986, 2.1).
pub fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client::new("/nowhere/shunt.sock".into(), Duration::from_secs(1))
    }

    #[test]
    fn nobody_there_is_its_own_exit_code() {
        let failure = client().reload().unwrap_err();
        assert_eq!(failure.exit, Exit::NoDaemon);
        assert!(
            failure.message.contains("there is no such socket"),
            "{failure}"
        );
        assert!(failure.help.unwrap().contains("SHUNT_SOCKET"));
    }

    #[test]
    fn answers_that_are_errors_keep_their_words() {
        let check = |status, answer: &str, exit, text: &str| {
            let decoded = client().decode::<Removed>(status, answer.as_bytes());
            let failure = decoded.unwrap_err();
            assert_eq!((failure.exit, failure.to_string().as_str()), (exit, text));
        };
        check(
            StatusCode::NOT_FOUND,
            r#"{"error":"no port x","help":"see shunt get ports"}"#,
            Exit::Failed,
            "error: no port x\nhelp: see shunt get ports\n",
        );
        check(
            StatusCode::UNPROCESSABLE_ENTITY,
            r#"{"error":"invalid","help":"","report":"error: a\n\nf: 1 error\n"}"#,
            Exit::InvalidConfig,
            "error: a\n\nf: 1 error\n",
        );
        check(
            StatusCode::PRECONDITION_FAILED,
            r#"{"error":"changed","help":""}"#,
            Exit::Conflict,
            "error: changed\n",
        );
        check(
            StatusCode::BAD_GATEWAY,
            "oops\n",
            Exit::Failed,
            "error: the daemon answers 502 Bad Gateway: oops\n",
        );
    }

    #[test]
    fn escaping() {
        assert_eq!(escape("guest-a_1.x~"), "guest-a_1.x~");
        assert_eq!(escape("a b/ü&"), "a%20b%2F%C3%BC%26");
    }
}
