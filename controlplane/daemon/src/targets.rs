//! Which targets the shards ask last, since when and why, for the operator: told by `/metrics` and
//! `/healthz`, and in the log as it happens.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base::{Mono, ShardId, Target, Wall};
use model::stamp::rfc3339;
use wire::event::{OutWhy, TargetNews};

/// A shard tells again each minute what is still so: what is older went with a dataplane.
const OLD: Duration = Duration::from_secs(150);
/// How many are kept: what 64 shards remember of a few hundred targets.
const TARGETS_MAX: usize = 20_000;
/// How many a person is told of.
const LINES_MAX: usize = 20;

/// All that shards have told.
#[derive(Debug, Default)]
pub struct Outs(Mutex<BTreeMap<(String, Target, ShardId), Out>>);

#[derive(Debug)]
struct Out {
    why: OutWhy,
    since: Wall,
    heard: Mono,
}

impl Outs {
    /// A shard has told this of a target of the trunk (or account) with this name.
    pub(crate) fn learn(&self, now: Mono, shard: ShardId, name: &str, news: &TargetNews) {
        let mut outs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), news.target, shard);
        let target = news.target;
        let Some(out) = news.out else {
            if outs.remove(&key).is_some() {
                tracing::info!(trunk = name, %target, shard, "a target is asked as before");
            }
            return;
        };
        outs.retain(|_, known| now.since(known.heard) < OLD);
        let is_news = !outs.contains_key(&key);
        if is_news {
            let (reason, seconds) = (reason(out.why), out.seconds);
            tracing::warn!(trunk = name, %target, shard, reason, seconds, "a target is out");
        }
        if !is_news || outs.len() < TARGETS_MAX {
            outs.insert(key, Out { why: out.why, since: out.since, heard: now });
        }
    }

    /// Labels and since when, seconds of 1970.
    pub(crate) fn figures(&self, now: Mono) -> Vec<(String, u64)> {
        let outs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = outs.iter().filter(|(_, out)| now.since(out.heard) < OLD);
        let line = |((name, target, shard), out): (&(String, Target, ShardId), &Out)| {
            let name = name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ");
            let labels = format!(
                "{{shard=\"{shard}\",trunk=\"{name}\",target=\"{target}\",reason=\"{}\"}}",
                reason(out.why)
            );
            (labels, out.since.seconds())
        };
        known.map(line).collect()
    }

    /// A line for each target that is out, whatever shard says so, the first of them.
    pub(crate) fn lines(&self, now: Mono) -> Vec<String> {
        let outs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines: Vec<String> = Vec::new();
        let mut last = None;
        for ((name, target, _), out) in outs.iter() {
            if now.since(out.heard) >= OLD || last == Some((name, target)) {
                continue;
            }
            last = Some((name, target));
            if lines.len() == LINES_MAX {
                lines.push("and more targets are out: see /metrics".to_owned());
                break;
            }
            let mut line = String::new();
            let (since, reason) = (rfc3339(out.since), reason(out.why));
            // Writing to a String does not fail.
            let _ = write!(line, "trunk {name}: {target} is out since {since}: {reason}");
            lines.push(line);
        }
        lines
    }
}

fn reason(why: OutWhy) -> &'static str {
    match why {
        OutWhy::Silent => "silent",
        OutWhy::Unavailable => "retry_after",
        OutWhy::Unhealthy => "health",
    }
}

#[cfg(test)]
mod tests {
    use wire::event::OutNews;

    use super::*;

    #[test]
    fn a_target_is_told_of_while_it_is_out_and_is_told_again() {
        let outs = Outs::default();
        let target: Target = "192.0.2.1:5060".parse().unwrap();
        let news = |out: Option<OutWhy>| {
            let out = out.map(|why| OutNews { why, since: Wall(5_000_000), seconds: 30 });
            TargetNews { at: Wall(0), group: 1, target, out }
        };
        for shard in [0, 1] {
            outs.learn(Mono(1), shard, "a \"b\"", &news(Some(OutWhy::Silent)));
        }
        let figures = outs.figures(Mono(2));
        let first =
            "{shard=\"0\",trunk=\"a \\\"b\\\"\",target=\"192.0.2.1:5060\",reason=\"silent\"}";
        assert_eq!((figures.len(), figures[0].0.as_str(), figures[0].1), (2, first, 5));
        let lines = outs.lines(Mono(2));
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("192.0.2.1:5060 is out since 1970-01-01"), "{lines:?}");
        outs.learn(Mono(3), 1, "a \"b\"", &news(None));
        assert_eq!(outs.figures(Mono(4)).len(), 1);
        assert!(outs.figures(Mono(1) + OLD).is_empty(), "its dataplane is gone");
    }
}
