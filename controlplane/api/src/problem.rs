//! What the API says when it refuses: an HTTP status and `{code, message, more_info, status}` with
//! the numbers of Twilio's error dictionary, which the helper libraries map to their exceptions.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status, 400-599.
    pub status: u16,
    /// Number in the error dictionary.
    pub code: u32,
    pub message: String,
    /// Retry-After of a 429 or 503.
    pub retry_s: u64,
}

impl Problem {
    #[must_use]
    pub fn new(status: u16, code: u32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_s: 1 }
    }

    /// 20003: no credentials, unknown ones, or ones of a closed account.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::new(401, 20_003, "Authenticate")
    }

    /// 20005: the account is suspended or closed.
    #[must_use]
    pub fn account_not_active() -> Self {
        Self::new(403, 20_005, "Account not active")
    }

    /// 20404: nothing there, or nothing of this account's.
    #[must_use]
    pub fn not_found(path: &str) -> Self {
        Self::new(404, 20_404, format!("The requested resource {path} was not found"))
    }

    /// 20004: the method is not for this resource.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::new(405, 20_004, "Method not allowed")
    }

    /// 20001: a parameter that cannot be read.
    #[must_use]
    pub fn bad_parameter(name: &str, why: &str) -> Self {
        Self::new(400, 20_001, format!("Invalid parameter {name}: {why}"))
    }

    /// 20001: a parameter that would change the call in a way this switch does not offer yet.
    #[must_use]
    pub fn unsupported(name: &str) -> Self {
        let message = format!("Parameter {name} is not supported by this switch; nothing was done");
        Self::new(400, 20_001, message)
    }

    /// 20429: more than the account may ask for now.
    #[must_use]
    pub fn too_many() -> Self {
        Self::new(429, 20_429, "Too Many Requests")
    }

    /// The same, for so long: told in whole seconds, rounded up.
    #[must_use]
    pub fn too_many_for(wait: Duration) -> Self {
        Self {
            retry_s: wait.as_millis().div_ceil(1_000).try_into().unwrap_or(1),
            ..Self::too_many()
        }
    }

    /// 20500: a fault of ours.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(500, 20_500, "Internal server error")
    }

    /// 20503: the switch cannot take the request now.
    #[must_use]
    pub fn unavailable() -> Self {
        Self::new(503, 20_503, "Service unavailable")
    }
}

impl Problem {
    pub(crate) fn body(&self) -> Value {
        json!({
            "code": self.code,
            "message": self.message,
            "more_info": format!("https://www.twilio.com/docs/errors/{}", self.code),
            "status": self.status,
        })
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self.body())).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            let realm = HeaderValue::from_static("Basic realm=\"Tandem API\"");
            headers.insert(header::WWW_AUTHENTICATE, realm);
        }
        if matches!(status.as_u16(), 429 | 503) {
            headers.insert(header::RETRY_AFTER, self.retry_s.max(1).into());
        }
        response
    }
}
