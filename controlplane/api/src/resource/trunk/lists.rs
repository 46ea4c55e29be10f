//! Which lists a trunk takes calls by: credentials, and networks. What is mapped has the sid of its
//! list; lists are made and changed in 2010-04-01.

use base::Wall;
use model::query::Cursor;
use model::stamp::rfc3339;
use model::{AccessMapping, CredentialList, IpAccessControlList, Mapping, Trunk};
use serde_json::{Value, json};

use super::{INVALID, parts, store};
use crate::context::{Context, Outcome, Reply};
use crate::problem::Problem;
use crate::resource::{Verb, fetch};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Credentials,
    Access,
}

/// A list that is mapped, whichever it is.
struct Row {
    sid: String,
    number: u128,
    name: String,
    at: Wall,
}

impl Which {
    fn path(self) -> &'static str {
        match self {
            Self::Credentials => "CredentialLists",
            Self::Access => "IpAccessControlLists",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Credentials => "credential_lists",
            Self::Access => "ip_access_control_lists",
        }
    }

    fn parameter(self) -> &'static str {
        match self {
            Self::Credentials => "CredentialListSid",
            Self::Access => "IpAccessControlListSid",
        }
    }

    /// The account's list of this sid: its name and its number.
    async fn named(self, context: &Context<'_>, sid: &str) -> Result<(String, u128), Problem> {
        Ok(match self {
            Self::Credentials => {
                let list = fetch::<CredentialList>(context, sid).await?;
                (list.friendly_name, list.sid.0)
            }
            Self::Access => {
                let list = fetch::<IpAccessControlList>(context, sid).await?;
                (list.friendly_name, list.sid.0)
            }
        })
    }

    /// Sids and moments.
    fn of(self, trunk: &Trunk) -> Vec<(String, Wall)> {
        let credentials = trunk.credentials.iter().map(|it| (it.list.to_string(), it.at));
        let access = trunk.access.iter().map(|it| (it.list.to_string(), it.at));
        match self {
            Self::Credentials => credentials.collect(),
            Self::Access => access.collect(),
        }
    }
}

pub(super) async fn handle(
    context: &Context<'_>,
    trunk: &str,
    which: Which,
    rest: &[&str],
) -> Outcome {
    let verb = Verb::of(context, rest)?;
    let _changing = context.changing().await;
    let mut trunk = fetch::<Trunk>(context, trunk).await?;
    let mut rows = Vec::new();
    for (sid, at) in which.of(&trunk) {
        let (name, number) = which.named(context, &sid).await?;
        rows.push(Row { sid, number, name, at });
    }
    let find = |sid: &str| rows.iter().position(|row| row.sid == sid);
    match verb {
        Verb::List => {
            let url = context.url(&format!("/v1/Trunks/{}/{}", trunk.sid, which.path()));
            let cursor = |row: &Row| Cursor { at: row.at, id: row.number };
            let show = |row: &_| show(context, &trunk, which, row);
            parts(context, (which.key(), &url), &rows, cursor, show)
        }
        Verb::Fetch(sid) => {
            let at = find(sid).ok_or_else(|| context.not_found())?;
            Ok(Reply::Shown(show(context, &trunk, which, &rows[at])))
        }
        Verb::Create => {
            let sid = context.form.filled(which.parameter()).unwrap_or_default();
            let Ok((name, number)) = which.named(context, sid).await else {
                let message = format!("{} names no list of this account", which.parameter());
                return Err(Problem::new(400, INVALID, message));
            };
            if let Some(at) = find(sid) {
                return Ok(Reply::Created(show(context, &trunk, which, &rows[at])));
            }
            let at = context.backend().now();
            match which {
                Which::Credentials => {
                    let list = model::CredentialListSid(number);
                    trunk.credentials.push(Mapping { list, at });
                }
                Which::Access => {
                    let list = model::AccessListSid(number);
                    trunk.access.push(AccessMapping { list, at });
                }
            }
            let trunk = store(context, trunk).await?;
            let row = Row { sid: sid.to_owned(), number, name, at };
            Ok(Reply::Created(show(context, &trunk, which, &row)))
        }
        Verb::Update(_) => Err(Problem::method_not_allowed()),
        Verb::Delete(sid) => {
            let at = find(sid).ok_or_else(|| context.not_found())?;
            match which {
                Which::Credentials => drop(trunk.credentials.remove(at)),
                Which::Access => drop(trunk.access.remove(at)),
            }
            store(context, trunk).await?;
            Ok(Reply::Deleted)
        }
    }
}

fn show(context: &Context<'_>, trunk: &Trunk, which: Which, row: &Row) -> Value {
    let path = format!("/v1/Trunks/{}/{}/{}", trunk.sid, which.path(), row.sid);
    json!({
        "sid": row.sid,
        "account_sid": trunk.account.to_string(),
        "trunk_sid": trunk.sid.to_string(),
        "friendly_name": row.name,
        "date_created": rfc3339(row.at),
        "date_updated": rfc3339(row.at),
        "url": context.url(&path),
    })
}
