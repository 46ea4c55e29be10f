//! Calls by `tandem load`, and what the ledger says of them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::bed::{Bed, Peer, Web, eventually, program};

pub(crate) const NUMBER: &str = "+15550100";

/// Where the load tool answers, and how calls get there.
pub(crate) struct Route {
    pub(crate) callee: SocketAddr,
    pub(crate) to: String,
}

/// By webhook: a number whose application dials the callee.
pub(crate) fn by_webhook(bed: &mut Bed) -> (Route, Web) {
    let callee = bed.ports.address();
    let web = Web::dialling(&format!("sip:callee@{callee}"), "answerOnBridge=\"true\"");
    let _ = bed.number(NUMBER, &web.url("/voice"), &web.url("/status"));
    (Route { callee, to: format!("sip:{NUMBER}@{}", bed.sip) }, web)
}

/// A run of `tandem load`.
pub(crate) struct Load {
    peer: Peer,
    json: PathBuf,
}

impl Load {
    /// `calls` calls at `rate` a second that talk for `seconds` each; either side hangs up in turn.
    pub(crate) fn start(bed: &Bed, route: &Route, calls: u32, rate: u32, seconds: u32) -> Self {
        Self::ended_by("both", bed, route, calls, rate, seconds)
    }

    /// The same; `who` (`caller`, `callee`, `both`) hangs up.
    pub(crate) fn ended_by(
        who: &str,
        bed: &Bed,
        route: &Route,
        calls: u32,
        rate: u32,
        seconds: u32,
    ) -> Self {
        let json = bed.folder().join(format!("load-{}.json", bed.said().len() + 1));
        let mut command = Command::new(program("tandem"));
        command
            .args(["load", "--to", &route.to, "--callee", &route.callee.to_string()])
            .args(["--calls", &calls.to_string(), "--concurrent", &calls.to_string()])
            .args(["--rate", &rate.to_string(), "--duration", &format!("{seconds}s")])
            .args(["--hangup", who, "--quiet", "--json"])
            .arg(&json);
        let peer = Peer::start("load", &mut command, bed.folder());
        Self { peer, json }
    }

    /// The report, once all calls are over.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Report {
        let status = self.peer.wait(Duration::from_secs(120));
        assert!(status.success(), "tandem load: {status}: {}", self.peer.said());
        let text = std::fs::read_to_string(&self.json).expect("a report");
        println!("{}", self.peer.said());
        Report(serde_json::from_str(&text).expect("it is JSON"))
    }
}

/// What `tandem load` saw.
pub(crate) struct Report(pub(crate) Value);

impl Report {
    pub(crate) fn number(&self, role: &str, name: &str) -> u64 {
        self.0[role][name].as_u64().unwrap_or_else(|| panic!("{role}.{name} is a number"))
    }

    /// Every call was answered, talked, and hung up in order, by both sides' account.
    #[track_caller]
    pub(crate) fn expect_whole(&self, calls: u64) {
        assert_eq!(self.number("caller", "answered"), calls, "{}", self.0["caller"]);
        assert_eq!(self.number("callee", "answered"), calls, "{}", self.0["callee"]);
        for role in ["caller", "callee"] {
            for wrong in ["unanswered", "unacknowledged", "bye_unanswered", "left_standing"] {
                assert_eq!(self.number(role, wrong), 0, "{role}: {wrong}: {}", self.0[role]);
            }
            let refused = self.0[role]["bye_refused"].as_object().expect("codes");
            assert!(refused.is_empty(), "{role}: BYE refused: {refused:?}");
        }
        for direction in self.directions() {
            // Where the callee hung up, the caller hears our silence until its script ends:
            // "corrupt" there.
            let silence = direction["name"] == "callee -> caller";
            let wrongs =
                ["silent", "foreign", "restarted", if silence { "silent" } else { "corrupt" }];
            for wrong in wrongs {
                assert_eq!(direction[wrong].as_u64(), Some(0), "{wrong}: {direction}");
            }
        }
    }

    pub(crate) fn directions(&self) -> &[Value] {
        self.0["directions"].as_array().expect("directions")
    }

    pub(crate) fn lost(&self) -> u64 {
        self.directions().iter().filter_map(|it| it["lost"].as_u64()).sum()
    }

    pub(crate) fn received(&self) -> u64 {
        self.directions().iter().filter_map(|it| it["received"].as_u64()).sum()
    }

    pub(crate) fn talk_seconds(&self, role: &str) -> f64 {
        self.0[role]["talk_seconds"].as_f64().expect("seconds")
    }
}

/// Waits until `count` calls stand answered at the switch.
#[track_caller]
pub(crate) fn standing(bed: &Bed, count: usize) {
    let what = format!("{count} legs in progress");
    eventually(&what, Duration::from_secs(30), || {
        (bed.calls("in-progress").len() >= count).then_some(())
    });
}

/// CDR and usage rows of every call of the account, judged: one CDR each, no row twice.
pub(crate) struct Books {
    pub(crate) cdrs: Vec<Value>,
    pub(crate) rows: Vec<Value>,
}

impl Books {
    /// Waits until `legs` legs are booked.
    #[track_caller]
    pub(crate) fn of(bed: &Bed, legs: usize) -> Self {
        let calls = bed.ended(legs);
        assert_eq!(calls.len(), legs, "as many calls as legs");
        let mut books = Self { cdrs: Vec::new(), rows: Vec::new() };
        for call in &calls {
            let sid = call["sid"].as_str().expect("a sid");
            let list = |kind: &str, key: &str| {
                bed.rest.list(&format!("/Calls/{sid}/{kind}.json"), key, "")
            };
            let cdrs = eventually("a CDR", Duration::from_secs(15), || {
                Some(list("Cdrs", "cdrs")).filter(|cdrs| !cdrs.is_empty())
            });
            assert_eq!(cdrs.len(), 1, "exactly one CDR per leg: {cdrs:?}");
            let rows = list("Usage", "usage_rows");
            let key = |row: &Value| (row["category"].to_string(), row["segment"].to_string());
            let mut keys: Vec<_> = rows.iter().map(key).collect();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), rows.len(), "no usage row twice: {rows:?}");
            books.cdrs.extend(cdrs);
            books.rows.extend(rows);
        }
        books
    }

    /// Microseconds of a category, by the ledger's rows.
    pub(crate) fn ledger_us(&self, category: &str) -> u64 {
        let rows = self.rows.iter().filter(|row| row["category"] == category);
        rows.map(|row| exact_us(&row["usage_exact"])).sum()
    }

    /// The same, recomputed from the CDRs: from answer to end of the legs of that direction.
    pub(crate) fn cdr_us(&self, direction: &str) -> u64 {
        let cdrs = self.cdrs.iter().filter(|cdr| cdr["direction"] == direction);
        cdrs.map(|cdr| exact_us(&cdr["duration_exact"])).sum()
    }
}

/// `12.345678` as microseconds.
pub(crate) fn exact_us(text: &Value) -> u64 {
    let text = text.as_str().expect("a decimal string");
    let (whole, part) = text.split_once('.').expect("six decimals");
    whole.parse::<u64>().expect("seconds") * 1_000_000 + part.parse::<u64>().expect("microseconds")
}
