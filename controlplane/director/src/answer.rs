//! What applications answer, read. Whoever receives an answer reads the document in it, away from
//! the thread that decides: [`Answer::read`] asks nothing but the answer, so that it is the same
//! wherever it is done. What comes unread is read by the director when it takes it.

use model::port::{ApiCall, ApiRequest, HttpAnswer, HttpError, HttpId, HttpReply, Instructions};

use crate::encoding;
use crate::script::{self, DocumentError, Program};
use crate::web::Policy;

/// An answer of an application, and what was read in it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Without its body once that was read.
    pub(crate) reply: HttpReply,
    /// Of the body.
    bytes: usize,
    /// None: nobody has read it yet.
    read: Option<Result<Document, Failure>>,
}

/// A request of the API, and what was read in the document that came with it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub call: ApiCall,
    read: Option<Document>,
}

/// A document, and what it says.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) text: String,
    pub(crate) program: Result<Program, DocumentError>,
}

/// Why there is no document.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: u32,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) retry: Option<Retry>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Retry {
    Connect,
    Read,
    Status4xx,
    Status5xx,
}

impl Answer {
    /// Reads the document that was asked for. `bytes_max`: the longest one that is taken.
    #[must_use]
    pub fn read(reply: HttpReply, bytes_max: usize) -> Self {
        let mut answer = Self::from(reply);
        answer.read = Some(document(&mut answer.reply.result, bytes_max));
        answer
    }

    /// Bytes of the document that was read, or would have to be.
    pub(crate) fn document_bytes(&self) -> usize {
        let is_document = match (&self.read, &self.reply.result) {
            (Some(read), _) => read.is_ok(),
            (None, Ok(answer)) => (200..300).contains(&answer.status),
            (None, Err(_)) => false,
        };
        if is_document { self.bytes } else { 0 }
    }

    /// The document is not taken.
    pub(crate) fn refused(mut self, failure: Failure) -> Self {
        if let Ok(answer) = &mut self.reply.result {
            answer.body = Vec::new();
        }
        self.read = Some(Err(failure));
        self
    }

    /// Somebody has read it.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.read.is_some()
    }

    pub(crate) fn id(&self) -> HttpId {
        self.reply.id
    }

    /// Where redirects led to; "" where there were none.
    pub(crate) fn came_from(&self) -> String {
        self.reply.result.as_ref().map(|answer| answer.url.clone()).unwrap_or_default()
    }

    /// The document, read now if it was not yet.
    pub(crate) fn into_document(mut self, bytes_max: usize) -> Result<Document, Failure> {
        self.read.unwrap_or_else(|| document(&mut self.reply.result, bytes_max))
    }
}

impl From<HttpReply> for Answer {
    /// One that is not read: no document was asked for, or the director is to read it.
    fn from(reply: HttpReply) -> Self {
        let bytes = reply.result.as_ref().map_or(0, |answer| answer.body.len());
        Self { reply, bytes, read: None }
    }
}

impl Asked {
    /// Bytes of the document that the request brings; 0 for none.
    #[must_use]
    pub fn document_bytes(&self) -> usize {
        inline(&self.call.what).map_or(0, str::len)
    }

    /// Reads that document. `bytes_max`: the longest one that is taken.
    #[must_use]
    pub fn read(mut self, bytes_max: usize) -> Self {
        self.read = inline(&self.call.what).map(|text| Document::of(text.to_owned(), bytes_max));
        self
    }

    pub(crate) fn into_parts(self) -> (ApiCall, Option<Document>) {
        (self.call, self.read)
    }
}

impl From<ApiCall> for Asked {
    /// One whose document, if it has one, is not read yet.
    fn from(call: ApiCall) -> Self {
        Self { call, read: None }
    }
}

impl Document {
    /// Reads `text`.
    pub(crate) fn of(text: String, bytes_max: usize) -> Self {
        let program = script::parse(&text, bytes_max);
        Self { text, program }
    }
}

impl Failure {
    /// It is no document.
    pub(crate) fn of(error: &DocumentError) -> Self {
        let message = format!("line {}: {}", error.line, error.message);
        Self { code: 12_100, reason: "document", message, retry: None }
    }
}

impl Retry {
    pub(crate) fn allowed(self, policy: &Policy) -> bool {
        match self {
            Self::Connect => policy.retry_connect,
            Self::Read => policy.retry_read,
            Self::Status4xx => policy.retry_4xx,
            Self::Status5xx => policy.retry_5xx,
        }
    }
}

/// An answer that did not come, as applications know it.
pub(crate) fn code_of(error: HttpError) -> u32 {
    match error {
        HttpError::Resolve => 11_210,
        HttpError::Connect => 11_205,
        HttpError::Tls => 11_237,
        HttpError::Forbidden | HttpError::Timeout | HttpError::Protocol => 11_200,
        HttpError::TooLarge => 11_750,
        HttpError::BadUrl => 11_100,
    }
}

fn inline(what: &ApiRequest) -> Option<&str> {
    let instructions = match what {
        ApiRequest::CreateCall(create) => Some(&create.instructions),
        ApiRequest::UpdateCall { update, .. } => update.instructions.as_ref(),
        _ => None,
    };
    match instructions {
        Some(Instructions::Twiml(text)) => Some(text),
        _ => None,
    }
}

/// The document of an answer that can have one; an empty answer is an empty document. The body is
/// taken.
fn document(
    result: &mut Result<HttpAnswer, HttpError>,
    bytes_max: usize,
) -> Result<Document, Failure> {
    let fail = |code, reason, message, retry| Err(Failure { code, reason, message, retry });
    let answer = match result {
        Ok(answer) => answer,
        Err(error) => {
            let retry = match error {
                HttpError::Resolve | HttpError::Connect | HttpError::Tls => Some(Retry::Connect),
                HttpError::Timeout | HttpError::Protocol => Some(Retry::Read),
                HttpError::Forbidden | HttpError::TooLarge | HttpError::BadUrl => None,
            };
            let message = format!("no answer: {}", error.name());
            return fail(code_of(*error), error.name(), message, retry);
        }
    };
    if !(200..300).contains(&answer.status) {
        let retry = match answer.status {
            400..500 => Some(Retry::Status4xx),
            500.. => Some(Retry::Status5xx),
            _ => None,
        };
        return fail(11_200, "http-status", format!("HTTP status {}", answer.status), retry);
    }
    let kind = answer.content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let body = std::mem::take(&mut answer.body);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Document::of("<Response/>".to_owned(), bytes_max));
    }
    if !matches!(kind.as_str(), "" | "text/xml" | "application/xml" | "text/html" | "text/plain") {
        return fail(12_300, "content-type", format!("content type {kind:?} is not XML"), None);
    }
    match encoding::text(&body, &answer.content_type) {
        Ok(text) if text.trim().is_empty() => Ok(Document::of("<Response/>".to_owned(), bytes_max)),
        Ok(text) => Ok(Document::of(text, bytes_max)),
        Err(message) => fail(12_100, "encoding", message, None),
    }
}
