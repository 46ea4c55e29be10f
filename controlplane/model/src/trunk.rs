//! Trunks: a tenant's own switch behind ours. Calls to the numbers of a trunk go to its origination
//! URLs; what its switch sends to the trunk's domain is dialled as its account would dial it.

use base::Wall;
use serde::{Deserialize, Serialize};

use crate::credential::Mapping;
use crate::directory::Directory;
use crate::resource::Described;
use crate::sid::{AccountSid, NumberSid, OriginationSid, TrunkSid};
use crate::{AccessMapping, Hook};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trunk {
    pub sid: TrunkSid,
    pub account: AccountSid,
    pub friendly_name: String,
    /// Host name, lower case; empty for none. Unique over all trunks and SIP domains.
    pub domain_name: String,
    /// Asked for a document when none of the origination URLs can be reached.
    pub disaster: Option<Hook>,
    pub transfer: TransferMode,
    pub transfer_caller: TransferCaller,
    /// TLS alone, both ways.
    pub secure: bool,
    pub recording: RecordingMode,
    /// Silence is cut from recordings.
    pub recording_trim: bool,
    pub urls: Vec<OriginationUrl>,
    /// Credentials that calls to the domain may show.
    pub credentials: Vec<Mapping>,
    /// Lists of networks that may call the domain.
    pub access: Vec<AccessMapping>,
    pub date_created: Wall,
    pub date_updated: Wall,
}

/// Where calls to a trunk's numbers go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginationUrl {
    pub sid: OriginationSid,
    pub friendly_name: String,
    pub sip_url: String,
    /// Low ones first.
    pub priority: u16,
    /// Its share of the calls among those of one priority.
    pub weight: u16,
    pub is_enabled: bool,
    pub date_created: Wall,
    pub date_updated: Wall,
}

/// Whom the trunk's switch may refer a call to (REFER).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferMode {
    #[default]
    DisableAll,
    EnableAll,
    /// To SIP URIs, not to numbers.
    SipOnly,
}

/// Who is shown to the target of a referral.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferCaller {
    /// Whom it will talk with.
    #[default]
    Transferee,
    /// Who refers.
    Transferor,
}

/// What is recorded, once there is media that records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordingMode {
    #[default]
    DoNotRecord,
    FromRinging,
    FromAnswer,
    FromRingingDual,
    FromAnswerDual,
}

/// A number whose calls are a trunk's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkNumber {
    pub number: NumberSid,
    pub trunk: TrunkSid,
    pub account: AccountSid,
    pub at: Wall,
}

/// What names a [`TrunkNumber`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TrunkNumberKey(pub NumberSid);

impl Trunk {
    /// Origination URLs of one trunk at most.
    pub const URLS_MAX: usize = 10;

    /// The enabled URLs in the order in which a call tries them: by priority, and within one drawn
    /// by weight (RFC 2782). `random` gives numbers.
    pub fn order(&self, mut random: impl FnMut() -> u64) -> Vec<&OriginationUrl> {
        let mut left: Vec<&OriginationUrl> = self.urls.iter().filter(|it| it.is_enabled).collect();
        left.sort_by_key(|it| it.priority);
        let mut order = Vec::with_capacity(left.len());
        while let Some(first) = left.first() {
            let same = left.iter().take_while(|it| it.priority == first.priority);
            let sum: u64 = same.clone().map(|it| u64::from(it.weight)).sum();
            let drawn = random() % sum.max(1);
            let running = same.scan(0, |sum, it| {
                *sum += u64::from(it.weight);
                Some(*sum)
            });
            let at = running.take_while(|sum| *sum <= drawn).count();
            order.push(left.remove(at.min(left.len() - 1)));
        }
        order
    }
}

impl TransferMode {
    pub const ALL: [Self; 3] = [Self::DisableAll, Self::EnableAll, Self::SipOnly];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DisableAll => "disable-all",
            Self::EnableAll => "enable-all",
            Self::SipOnly => "sip-only",
        }
    }
}

impl TransferCaller {
    pub const ALL: [Self; 2] = [Self::Transferee, Self::Transferor];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Transferee => "from-transferee",
            Self::Transferor => "from-transferor",
        }
    }
}

impl RecordingMode {
    pub const ALL: [Self; 5] = [
        Self::DoNotRecord,
        Self::FromRinging,
        Self::FromAnswer,
        Self::FromRingingDual,
        Self::FromAnswerDual,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DoNotRecord => "do-not-record",
            Self::FromRinging => "record-from-ringing",
            Self::FromAnswer => "record-from-answer",
            Self::FromRingingDual => "record-from-ringing-dual",
            Self::FromAnswerDual => "record-from-answer-dual",
        }
    }
}

impl Directory {
    /// The trunk that a number's calls go to.
    #[must_use]
    pub fn trunk_of(&self, number: NumberSid) -> Option<&Trunk> {
        self.get(self.get::<TrunkNumber>(TrunkNumberKey(number))?.trunk)
    }
}

impl Described for Trunk {
    type Key = TrunkSid;

    fn key(&self) -> TrunkSid {
        self.sid
    }

    fn owner(&self) -> Option<AccountSid> {
        Some(self.account)
    }

    fn listed(&self) -> Option<(&str, Wall)> {
        Some((&self.friendly_name, self.date_created))
    }
}

impl Described for TrunkNumber {
    type Key = TrunkNumberKey;

    fn key(&self) -> TrunkNumberKey {
        TrunkNumberKey(self.number)
    }

    fn owner(&self) -> Option<AccountSid> {
        Some(self.account)
    }

    fn listed(&self) -> Option<(&str, Wall)> {
        Some(("", self.at))
    }
}

impl TrunkNumberKey {
    pub(crate) fn number(self) -> u128 {
        self.0.0
    }
}

impl std::fmt::Display for TrunkNumberKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use base::Prng;

    use super::*;

    fn url(sid: u128, priority: u16, weight: u16) -> OriginationUrl {
        let (sid, is_enabled) = (OriginationSid(sid), true);
        OriginationUrl { sid, priority, weight, is_enabled, ..OriginationUrl::default() }
    }

    #[test]
    fn urls_are_tried_by_priority_and_drawn_by_weight() {
        let mut urls = vec![url(1, 20, 1), url(2, 10, 30), url(3, 10, 10), url(4, 5, 1)];
        urls[3].is_enabled = false;
        let trunk = Trunk { urls, ..Trunk::default() };
        let mut random = Prng::new(1);
        let mut first = [0; 5];
        for _ in 0..4_000 {
            let order = trunk.order(|| random.below(u64::MAX));
            let sids: Vec<u128> = order.iter().map(|it| it.sid.0).collect();
            assert!(matches!(sids[..], [2, 3, 1] | [3, 2, 1]), "{sids:?}");
            first[usize::try_from(sids[0]).unwrap()] += 1;
        }
        assert!((2_900..3_100).contains(&first[2]), "three of four: {first:?}");
        let heavy = Trunk { urls: vec![url(1, 0, u16::MAX); 10], ..Trunk::default() };
        assert_eq!(heavy.order(|| u64::MAX).len(), 10);
    }
}
