//! BYEs of ours that nobody has answered yet, by the slots of their legs. Until then the far end's
//! own BYE may cross ours, and is answered as one that ends a dialog (RFC 5407 section 3.3.1): the
//! leg itself may be gone by then.

use base::LegId;
use sip::{Message, Name};

use super::{ClientId, Clients, Method};
use crate::cx::Core;

/// The last BYE of each slot. Nothing is ever taken out: a transaction's id carries a generation,
/// and the next leg's BYE takes the place.
#[derive(Debug)]
pub(super) struct Byes(Vec<ClientId>);

impl Byes {
    pub(super) fn new(legs: u32) -> Self {
        Self(vec![ClientId::NONE; legs as usize])
    }

    /// A dialog of this leg's ends so; nothing for no leg's.
    pub(super) fn begin(&mut self, leg: LegId, id: ClientId) {
        if leg != LegId::NONE
            && let Some(place) = self.0.get_mut(leg.index() as usize)
        {
            *place = id;
        }
    }

    /// The same for a dialog that its leg does not want: our tag in it is the leg's.
    pub(super) fn begin_unwanted(&mut self, tag: &[u8], core: &Core<'_>, id: ClientId) {
        if let Some((_, leg)) = sip::token::read_tag(tag, &core.plan.keys.token) {
            self.begin(LegId(leg), id);
        }
    }
}

impl Clients {
    /// Whether a request crosses our BYE: it belongs to the dialog that this leg's unanswered BYE
    /// ends.
    pub(crate) fn crosses_bye(&self, core: &Core<'_>, leg: LegId, request: &Message<'_>) -> bool {
        let Some(id) = self.byes.0.get(leg.index() as usize) else { return false };
        let entry = self.index(*id).and_then(|index| self.slab.get(index));
        let Some(entry) = entry.filter(|it| it.method == Method::Bye) else { return false };
        let Ok(bye) = Message::parse(core.arena.get(&entry.text)) else { return false };
        let (ours, (theirs, named)) = (tags(&bye), tags(request));
        ours == (named, theirs) && bye.header(Name::CallId) == request.header(Name::CallId)
    }
}

/// Of From and of To.
fn tags<'m>(message: &Message<'m>) -> (Option<&'m [u8]>, Option<&'m [u8]>) {
    (message.from().ok().and_then(|from| from.tag), message.to_tag())
}
