//! Whose word inside a dialog is taken. A tag proves that its sender has heard of the dialog, not
//! that it is the far end: it crosses networks in clear text, and stands in other people's logs.

use core::net::IpAddr;

use base::Arena;
use wire::table::SignallingSources;

use super::guard::Standing;
use super::policy::address_of;
use crate::leg::Signalling;
use crate::media::network;

/// From where a far end is obeyed inside its dialog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Obeyed {
    /// Anywhere: phones roam (RFC 3261 has it so).
    #[default]
    Anywhere,
    /// The networks of the dialog's hosts, and every network in somebody's list: from there a call
    /// of that far end would be taken, too.
    Listed,
    /// The networks of the dialog's hosts, and those that static routes take calls from.
    Trunks,
    /// The dialog's hosts alone.
    Hosts,
}

impl Obeyed {
    /// By what is known of where the far end is.
    pub(crate) fn of(far_end: Standing) -> Self {
        match far_end {
            Standing::Trunk => Self::Trunks,
            Standing::Known => Self::Listed,
            Standing::Proven | Standing::Stranger => Self::Anywhere,
        }
    }

    /// By the policy of the static route that a leg follows or was dialled for.
    pub(crate) fn by_route(policy: SignallingSources) -> Self {
        match policy {
            SignallingSources::Anywhere => Self::Anywhere,
            SignallingSources::Network => Self::Trunks,
            SignallingSources::Host => Self::Hosts,
        }
    }
}

impl Signalling {
    /// Whether what comes from there is the far end's word.
    pub(crate) fn obeys(&self, source: IpAddr, standing: Standing, arena: &Arena) -> bool {
        let source = source.to_canonical();
        let is_near = |host: IpAddr| match self.obeyed {
            Obeyed::Hosts => host.to_canonical() == source,
            _ => network(host.to_canonical()) == network(source),
        };
        let is_listed = match self.obeyed {
            Obeyed::Anywhere => return true,
            Obeyed::Listed => matches!(standing, Standing::Trunk | Standing::Known),
            Obeyed::Trunks => standing == Standing::Trunk,
            Obeyed::Hosts => false,
        };
        is_listed || is_near(self.host) || is_near(self.hop.to.ip()) || {
            let text = arena.get(&self.text);
            let named = self.dialog.map(|dialog| [dialog.target(text), dialog.next_hop(text)]);
            let mut hosts = named.into_iter().flatten().filter_map(address_of);
            hosts.any(|host| is_near(host.ip()))
        }
    }
}
