//! What lists of credentials, and domains' mappings of them, must be like.

use model::port::{ApiError, Entity};
use model::{Credential, Directory, DomainAuth};

/// Longest user name and password, bytes.
const USERNAME_MAX: usize = 32;
const PASSWORD_MAX: usize = 256;
const PASSWORD_MIN: usize = 12;
/// Lists that a domain takes for one purpose: each is asked for every user name.
const MAPPED_MAX: usize = 20;

/// Why one of them may not be stored as it is.
pub(super) fn check(directory: &Directory, entity: &Entity) -> Result<(), ApiError> {
    match entity {
        Entity::Credential(it) => credential(directory, it),
        Entity::DomainAuth(it) => mappings(directory, it),
        _ => Ok(()),
    }
}

/// Why a thing cannot be deleted as long as another one needs it.
pub(super) fn may_delete(directory: &Directory, entity: &Entity) -> Result<(), ApiError> {
    let Entity::CredentialList(list) = entity else { return Ok(()) };
    let takes = |auth: &&DomainAuth| auth.mappings().any(|mapping| mapping.list == list.sid);
    match directory.of::<DomainAuth>(list.account).find(takes) {
        Some(auth) => bad(21_241, format!("the list is mapped to the domain {}", auth.domain)),
        None => Ok(()),
    }
}

fn credential(directory: &Directory, it: &Credential) -> Result<(), ApiError> {
    let is_ours = |of: &&model::CredentialList| of.account == it.account;
    if directory.get::<model::CredentialList>(it.list).filter(is_ours).is_none() {
        let message = "the requested resource was not found".to_owned();
        return Err(ApiError { status: 404, code: 20_404, message });
    }
    // It is the user part of a SIP URI, and stands in a quoted string and between colons.
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"\"\\:@<>%/;?".contains(&byte);
    let is_name = (1..=USERNAME_MAX).contains(&it.username.len()) && it.username.bytes().all(fits);
    if !is_name {
        let what = "printable ASCII without blanks and \" \\ : @ < > % / ; ?";
        return bad(21_243, format!("Username has 1 to {USERNAME_MAX} characters, {what}"));
    }
    let password = &it.password.0;
    let has = |kind: fn(&char) -> bool| password.chars().any(|c| kind(&c));
    let is_strong = has(char::is_ascii_digit)
        && has(char::is_ascii_lowercase)
        && has(char::is_ascii_uppercase)
        && (PASSWORD_MIN..=PASSWORD_MAX).contains(&password.len())
        && !password.chars().any(char::is_control);
    if !is_strong {
        let what = "with a digit, a small and a capital letter";
        let message = format!("Password has {PASSWORD_MIN} to {PASSWORD_MAX} characters, {what}");
        return bad(21_243, message);
    }
    match directory.credential(it.list, &it.username) {
        Some(known) if known.sid != it.sid => {
            let message = format!("{} is in the list already, as {}", it.username, known.sid);
            Err(ApiError { status: 409, code: 20_409, message })
        }
        _ => Ok(()),
    }
}

fn mappings(directory: &Directory, it: &DomainAuth) -> Result<(), ApiError> {
    let domain = directory.get::<model::SipDomain>(it.domain);
    let has_list = |sid| {
        let list = directory.get::<model::CredentialList>(sid);
        list.is_some_and(|list| list.account == it.account)
    };
    let is_whole = domain.is_some_and(|domain| domain.account == it.account)
        && it.mappings().all(|mapping| has_list(mapping.list));
    if !is_whole {
        let message = "the requested resource was not found".to_owned();
        return Err(ApiError { status: 404, code: 20_404, message });
    }
    if it.calls.len() > MAPPED_MAX || it.registrations.len() > MAPPED_MAX {
        return bad(21_239, format!("a domain takes {MAPPED_MAX} lists at most"));
    }
    Ok(())
}

fn bad<T>(code: u32, message: String) -> Result<T, ApiError> {
    Err(ApiError { status: 400, code, message })
}
