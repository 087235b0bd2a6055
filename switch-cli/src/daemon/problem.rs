//! An answer of the API that is an error.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::{
    api,
    failure::{Exit, Failure},
};

/// The status and the body of an answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    body: api::Error,
}

impl Problem {
    fn new(status: StatusCode, error: impl Into<String>, help: impl Into<String>) -> Self {
        let body = api::Error {
            error: error.into(),
            help: help.into(),
            report: None,
        };
        Self { status, body }
    }

    /// The request makes no sense.
    pub fn bad(error: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, help)
    }

    /// There is nothing of this name.
    pub fn not_found(error: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error, help)
    }

    /// Understood, and refused in the switch's present state.
    pub fn refused(error: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, error, help)
    }

    /// The path is known and the method is not.
    pub fn method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "this path does not take that method",
            "GET reads; POST and DELETE change /v1/fdb, POST /v1/reload reloads, \
             POST /v1/trace asks",
        )
    }

    /// The daemon cannot answer any more.
    pub fn ending() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the daemon is ending",
            "ask again when it has been started again",
        )
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let help = failure.help.unwrap_or_default();
        if failure.exit == Exit::InvalidConfig {
            let mut problem = Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "the configuration is not valid; nothing was changed",
                "correct what the report says, and reload again",
            );
            problem.body.report = Some(failure.message);
            problem
        } else {
            Self::refused(failure.message, help)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}
