//! Who asks. HTTP Basic with an AccountSid and its token, or an API key's sid and its secret. The
//! tenant comes from the credential; the path only chooses among what that tenant may address. An
//! unknown user costs the same comparison as a known one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use model::port::{Entity, EntityKey};
use model::{Account, AccountSid, AccountStatus};

use crate::backend::{Backend, Login};
use crate::context::{Shared, read};
use crate::door::{Digest, Source};
use crate::problem::Problem;

/// The longest user name or secret that is looked at, bytes.
const CREDENTIAL_BYTES_MAX: usize = 256;
/// The operator's user name.
const OPERATOR: &str = "operator";

/// The login behind the Authorization header. Guesses are slowed: one too many is not compared.
pub(crate) async fn authenticate(
    shared: &Shared,
    source: Source,
    headers: &HeaderMap,
) -> Result<Login, Problem> {
    let (username, secret) = basic(headers).ok_or_else(Problem::unauthenticated)?;
    let name = sha256(&[username.as_bytes()]);
    let credential = sha256(&[username.as_bytes(), b":", secret.as_bytes()]);
    shared.guess(source, name, credential)?;
    let login = read(shared.backend.login(&username).await)?;
    let expected = login.as_ref().map_or("", |login| login.secret.0.as_str());
    let second = login.as_ref().and_then(|login| login.second.as_ref());
    let second = second.map_or("", |second| second.0.as_str());
    let equal = is_secret(expected, &secret) | is_secret(second, &secret);
    match login {
        Some(login) if equal => {
            shared.was_right(source, name, credential);
            Ok(login)
        }
        _ => Err(Problem::unauthenticated()),
    }
}

/// Whether the Authorization header is the operator's. A tenant's own opens nothing here.
pub(crate) async fn operator(
    shared: &Shared,
    source: Source,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    let (username, secret) = basic(headers).ok_or_else(Problem::unauthenticated)?;
    if username != OPERATOR {
        authenticate(shared, source, headers).await?;
        return Err(Problem::new(403, 20_403, "This is the operator's; accounts have no access"));
    }
    let name = sha256(&[username.as_bytes()]);
    let credential = sha256(&[username.as_bytes(), b":", secret.as_bytes()]);
    shared.guess(source, name, credential)?;
    if !is_secret(&shared.operator.0, &secret) {
        return Err(Problem::unauthenticated());
    }
    shared.was_right(source, name, credential);
    Ok(())
}

/// The account that the path names, if `login` may address it: its own, or a sub-account of its
/// own. Whatever else there may be does not exist for this login.
pub(crate) async fn authorize(
    backend: &dyn Backend,
    login: &Login,
    sid: &str,
    path: &str,
) -> Result<Account, Problem> {
    let sid: AccountSid = sid.parse().map_err(|_| Problem::not_found(path))?;
    if sid == login.account.sid {
        return Ok(login.account.clone());
    }
    match read(backend.entity(EntityKey::Account(sid)).await)? {
        Some(Entity::Account(account)) if account.parent == login.account.sid => Ok(account),
        _ => Err(Problem::not_found(path)),
    }
}

/// A closed account is nobody; a suspended one may look but not change. Of a suspended account
/// nobody else comes in either: its sub-accounts neither look nor change.
pub(crate) async fn check_status(
    backend: &dyn Backend,
    login: &Login,
    changes: bool,
) -> Result<(), Problem> {
    let Account { sid, parent, status, .. } = &login.account;
    if parent != sid
        && let Some(Entity::Account(parent)) =
            read(backend.entity(EntityKey::Account(*parent)).await)?
    {
        match parent.status {
            AccountStatus::Active => {}
            AccountStatus::Suspended | AccountStatus::Held => {
                return Err(Problem::account_not_active());
            }
            AccountStatus::Closed => return Err(Problem::unauthenticated()),
        }
    }
    match status {
        AccountStatus::Active => Ok(()),
        AccountStatus::Suspended | AccountStatus::Held if !changes => Ok(()),
        AccountStatus::Suspended | AccountStatus::Held => Err(Problem::account_not_active()),
        AccountStatus::Closed => Err(Problem::unauthenticated()),
    }
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") || encoded.len() > 4 * CREDENTIAL_BYTES_MAX {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim_ascii()).ok()?).ok()?;
    let (username, secret) = pair.split_once(':')?;
    let short = username.len() <= CREDENTIAL_BYTES_MAX && secret.len() <= CREDENTIAL_BYTES_MAX;
    short.then(|| (username.to_owned(), secret.to_owned()))
}

fn sha256(parts: &[&[u8]]) -> Digest {
    use aws_lc_rs::digest::{Context, SHA256};
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// The secret is what is expected, and something is.
fn is_secret(expected: &str, secret: &str) -> bool {
    same(expected.as_bytes(), secret.as_bytes()) & !expected.is_empty()
}

/// Equal, in a time that depends on neither value: both are hashed first.
fn same(a: &[u8], b: &[u8]) -> bool {
    use aws_lc_rs::digest::{SHA256, digest};
    let (a, b) = (digest(&SHA256, a), digest(&SHA256, b));
    aws_lc_rs::constant_time::verify_slices_are_equal(a.as_ref(), b.as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn parse(value: &[u8]) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_bytes(value).expect("a header value");
        headers.insert(header::AUTHORIZATION, value);
        basic(&headers)
    }

    #[test]
    fn basic_credentials() {
        let pair = Some(("AC1".to_owned(), "a:b".to_owned()));
        assert_eq!(parse(b"Basic QUMxOmE6Yg=="), pair);
        assert_eq!(parse(b"bASIC  QUMxOmE6Yg== "), pair);
        for bad in
            [&b"Bearer x"[..], b"Basic", b"Basic ", b"Basic !!!!", b"Basic QUMx", b"Basic /////w=="]
        {
            assert_eq!(parse(bad), None);
        }
        assert!(same(b"x", b"x") && !same(b"x", b"y") && !same(b"", b"x"));
    }
}
