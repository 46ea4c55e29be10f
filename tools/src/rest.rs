//! A client of the switch's REST API, as small as the demo and `tandem ctl` need it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use ureq::Agent;

use crate::sign::{escape, to_form};
use crate::up::Endpoints;

const ANSWER_MAX: Duration = Duration::from_secs(20);

/// One account's view of the API.
#[derive(Clone, Debug)]
pub struct Rest {
    agent: Agent,
    base: String,
    account: String,
    authorization: String,
}

impl Rest {
    #[must_use]
    pub fn new(endpoints: &Endpoints) -> Self {
        Self::with_login(endpoints, &endpoints.account_sid, &endpoints.auth_token)
    }

    /// With another login than the first account's.
    #[must_use]
    pub fn with_login(endpoints: &Endpoints, username: &str, secret: &str) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(ANSWER_MAX))
            .http_status_as_error(false)
            .build();
        let login = format!("{username}:{secret}");
        Self {
            agent: config.into(),
            base: endpoints.api_base.clone(),
            account: endpoints.account_sid.clone(),
            authorization: format!("Basic {}", STANDARD.encode(login)),
        }
    }

    /// The value of its Authorization header.
    #[must_use]
    pub fn authorization(&self) -> &str {
        &self.authorization
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> String {
        let mut url = if path.starts_with('/') {
            format!("{}{path}", self.base)
        } else {
            format!("{}/2010-04-01/Accounts/{}{path}", self.base, self.slashed(path))
        };
        for (at, (name, value)) in query.iter().enumerate() {
            url.push(if at == 0 { '?' } else { '&' });
            url.push_str(&format!("{}={}", escape(name), escape(value)));
        }
        url
    }

    /// The account, and the slash before a resource.
    fn slashed(&self, path: &str) -> String {
        if path.starts_with('.') { self.account.clone() } else { format!("{}/", self.account) }
    }

    /// GET of a resource below the account (`Calls.json`), of the account itself (`.json`), or of a
    /// whole path.
    ///
    /// # Errors
    /// The API cannot be reached, or refuses: with its own words.
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let url = self.url(path, query);
        let answer = self.agent.get(&url).header("Authorization", &self.authorization).call();
        read(&url, answer)
    }

    /// GET of a whole path, as text.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn text(&self, path: &str) -> Result<String> {
        let url = self.url(path, &[]);
        let mut answer = self.agent.get(&url).call().with_context(|| format!("no {url}"))?;
        answer.body_mut().read_to_string().with_context(|| format!("{url} broke off"))
    }

    /// POST of a form.
    ///
    /// # Errors
    /// As [`Rest::get`].
    pub fn post(&self, path: &str, fields: &[(&str, &str)]) -> Result<Value> {
        let url = self.url(path, &[]);
        let answer = self
            .agent
            .post(&url)
            .header("Authorization", &self.authorization)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .send(to_form(fields).as_bytes());
        read(&url, answer)
    }

    /// DELETE.
    ///
    /// # Errors
    /// As [`Rest::get`].
    pub fn delete(&self, path: &str) -> Result<()> {
        let url = self.url(path, &[]);
        let answer = self.agent.delete(&url).header("Authorization", &self.authorization).call();
        read(&url, answer).map(drop)
    }

    /// All elements of a list, over its pages.
    ///
    /// # Errors
    /// As [`Rest::get`].
    pub fn list(&self, path: &str, key: &str, query: &[(&str, &str)]) -> Result<Vec<Value>> {
        let mut page = self.get(path, query)?;
        let mut all = Vec::new();
        loop {
            if let Some(rows) = page[key].as_array_mut() {
                all.append(rows);
            }
            let Some(next) = page["next_page_uri"].as_str().map(str::to_owned) else {
                return Ok(all);
            };
            page = self.get(&next, &[])?;
        }
    }
}

type Answer = std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>;

fn read(url: &str, answer: Answer) -> Result<Value> {
    let mut answer = answer.with_context(|| format!("{url} cannot be reached"))?;
    let status = answer.status().as_u16();
    let text = answer.body_mut().read_to_string().with_context(|| format!("{url} broke off"))?;
    let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    if (200..300).contains(&status) {
        return Ok(value);
    }
    let message = value["message"].as_str().unwrap_or_else(|| text.trim());
    bail!("{url}: {status} {} {message}", value["code"])
}
