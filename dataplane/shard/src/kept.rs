//! What a shard keeps about calls beside their legs and transactions, counted: for whoever looks
//! whether anything outlives its call.

use crate::Shard;

impl Shard<'_> {
    /// Entries by kind. Each goes with the leg that it is of: none is left when no leg is.
    #[must_use]
    pub fn kept(&self) -> [(&'static str, usize); 8] {
        let core = &self.core;
        [
            ("call on a route", self.routes.calls()),
            ("urgent leg", core.urgent.legs()),
            ("attempt", core.attempts.len()),
            ("refusal", core.refusals.len()),
            ("tail", core.tails.len()),
            ("proven name", core.proven.len()),
            ("hold", core.holds.len()),
            ("place that is given", core.gifts.len()),
        ]
    }
}
