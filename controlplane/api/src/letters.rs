//! Dead letters: callbacks that were given up, listed, sent again and forgotten; by the tenant his
//! own (`DeadLetters` below his account), by the operator all (`/v1/Operator/DeadLetters`).

use base::Wall;
use http::Method;
use model::port::{ApiDone, ApiRequest};
use model::query::{Cursor, LetterQuery, Listed, Seek, Window};
use model::stamp::rfc2822;
use model::{AccountSid, DeadLetter};
use serde_json::{Map, Value, json};

use crate::context::{Outcome, Reply, Shared, read};
use crate::form::Form;
use crate::page::{self, Asked};
use crate::problem::Problem;
use crate::resource::submit_for;

/// Letters that are sent again by one request.
pub(crate) const REPLAY_MAX: usize = 1_000;
/// Rows of other lists that a letter is as long as.
pub(crate) const LETTER_ROWS: usize = 5;
/// Refused letters that an answer names.
pub(crate) const NAMED_MAX: usize = 100;

/// One request, and whose letters it may see.
pub(crate) struct Asker<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) form: &'a Form,
    /// What the URIs of letters begin with.
    pub(crate) base: String,
    /// None: the operator, who sees everybody's.
    pub(crate) tenant: Option<AccountSid>,
    /// Whose are listed and sent; None for everybody's.
    pub(crate) account: Option<AccountSid>,
}

pub(crate) async fn handle(asker: &Asker<'_>, rest: &[&str]) -> Outcome {
    match (rest, asker.method.as_str()) {
        ([], "GET") => list(asker).await,
        (["Replay"], "POST") => replay_many(asker).await,
        ([token, "Replay"], "POST") => {
            let told = replay(asker, vec![one(asker, token).await?]).await?;
            Ok(Reply::Shown(told.into()))
        }
        ([token], "GET") => Ok(Reply::Shown(show(asker, &one(asker, token).await?))),
        ([token], "DELETE") => {
            let letter = one(asker, token).await?;
            let (account, token) = (letter.account, letter.idempotency_token);
            submit(asker, account, ApiRequest::Forget { account, token }).await?;
            Ok(Reply::Deleted)
        }
        ([] | [_] | [_, "Replay"], _) => Err(Problem::method_not_allowed()),
        _ => Err(Problem::not_found(asker.path)),
    }
}

async fn list(asker: &Asker<'_>) -> Outcome {
    let asked = Asked::read(asker.form)?;
    let query = LetterQuery { account: asker.account, window: asked.window() };
    let rows = read(asker.shared.backend.dead_letters(query).await)?;
    let _turn = asker.shared.writing(rows.len() * LETTER_ROWS).await;
    let suffix = if asker.tenant.is_some() { ".json" } else { "" };
    let uri = format!("{}{suffix}", asker.base);
    let show = |letter: &DeadLetter| show(asker, letter);
    Ok(Reply::Shown(asked.body("dead_letters", &uri, asker.form, rows, show)))
}

async fn one(asker: &Asker<'_>, token: &str) -> Result<DeadLetter, Problem> {
    let account = asker.tenant.unwrap_or_default();
    let found = read(asker.shared.backend.dead_letter(account, token.to_owned()).await)?;
    let ours = |it: &DeadLetter| asker.tenant.is_none_or(|tenant| it.account == tenant);
    found.filter(ours).ok_or_else(|| Problem::not_found(asker.path))
}

/// The oldest, or those that follow the ones that a request before asked for. The answer says where
/// the next ones begin, for what cannot be delivered stays where it is.
async fn replay_many(asker: &Asker<'_>) -> Outcome {
    let seek = match asker.form.filled("PageToken") {
        Some(token) => match page::parse_token(token) {
            Some(seek @ Seek::Before(_)) => seek,
            _ => return Err(Problem::bad_parameter("PageToken", "unknown")),
        },
        None => Seek::Before(Cursor { at: Wall(0), id: 0 }),
    };
    // As long as an account's letters are being sent, none are read: nobody pays for an answer that
    // says no.
    if asker.tenant.is_some() {
        replay(asker, Vec::new()).await?;
    }
    let window = Window { seek, limit: REPLAY_MAX };
    let query = LetterQuery { account: asker.account, window };
    let letters = read(asker.shared.backend.dead_letters(query).await)?;
    // Newest first.
    let last = letters.first().filter(|_| letters.len() >= REPLAY_MAX).map(Listed::cursor);
    let mut told = replay(asker, letters).await?;
    let token = last.and_then(|last| page::token(Seek::Before(last)));
    told.insert("next_page_token".to_owned(), token.into());
    Ok(Reply::Shown(told.into()))
}

/// What waits is told at once; what came of it is in the list, where what was delivered is not.
async fn replay(
    asker: &Asker<'_>,
    mut letters: Vec<DeadLetter>,
) -> Result<Map<String, Value>, Problem> {
    // Here, and not on the thread that decides: it finds them in order.
    letters.sort_by(|one, other| {
        (one.at, &one.idempotency_token).cmp(&(other.at, &other.idempotency_token))
    });
    let account = asker.tenant.unwrap_or_default();
    match submit(asker, account, ApiRequest::Replay(letters)).await? {
        ApiDone::Replay { waiting, refused } => {
            let named = refused.iter().take(NAMED_MAX);
            let named = named.map(|(token, why)| json!({ "sid": token, "reason": why }));
            let named = named.collect::<Vec<_>>();
            let told = [
                ("replaying", waiting.into()),
                ("refused", refused.len().into()),
                ("refusals", named.into()),
            ];
            Ok(told
                .map(|(key, value): (&str, Value)| (key.to_owned(), value))
                .into_iter()
                .collect())
        }
        _ => Err(Problem::internal()),
    }
}

async fn submit(
    asker: &Asker<'_>,
    account: AccountSid,
    what: ApiRequest,
) -> Result<ApiDone, Problem> {
    let what = if asker.tenant.is_some() { what } else { ApiRequest::Operate(Box::new(what)) };
    submit_for(&*asker.shared.backend, account, what).await
}

fn show(asker: &Asker<'_>, letter: &DeadLetter) -> Value {
    let suffix = if asker.tenant.is_some() { ".json" } else { "" };
    let params = letter.params.iter().map(|(name, value)| (name.clone(), value.clone().into()));
    json!({
        "sid": letter.idempotency_token,
        "account_sid": letter.account.to_string(),
        "call_sid": letter.call.to_string(),
        "date_created": rfc2822(letter.at),
        "url": letter.url,
        "method": letter.method.name(),
        "parameters": params.collect::<Map<String, Value>>(),
        "attempts": letter.attempts,
        "error": letter.error,
        "uri": format!("{}/{}{suffix}", asker.base, letter.idempotency_token),
    })
}
