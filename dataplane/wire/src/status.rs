//! What a status that one far end gave means to the other: one table, for calls that a static
//! route carries and for calls that an application dials.

/// The status to give on for a final status (300-699) that came from the other side.
///
/// What says something of the callee passes (RFC 3261 section 16.7 step 6). What is about *our*
/// request (a challenge, a redirection, a header of ours) means nothing to whoever stands behind
/// us, and a bare 401, 407 or 3xx is of no use to anybody. 503 would say that this switch is full.
#[must_use]
pub fn passed_on(code: u16) -> u16 {
    match code {
        404 | 410 | 480 | 484 | 486 | 487 | 488 | 600 | 603 | 604 | 606 | 607 | 608 => code,
        // A redirection that is not followed: the callee is not where it was looked for.
        300..=399 => 480,
        // The target wants credentials, payment or another client: we may not call it.
        401..=403 | 407 => 403,
        406 | 415 => 488,
        // Nobody there answered in time, or the way there has failed.
        408 | 430 => 480,
        485 => 484,
        493 | 494 => 488,
        // The server behind is full or down for now, not we.
        503 | 504 => 480,
        // The way goes in a circle, which the caller's own hops count.
        482 | 483 => 483,
        // Any other fault of the request, or of the server that took it.
        400..=599 => 500,
        600..=699 => 603,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_the_callee_passes_and_nothing_bare_does() {
        for code in [404, 410, 480, 484, 486, 487, 488, 600, 603, 604, 606, 607, 608] {
            assert_eq!(passed_on(code), code);
        }
        for code in 300..700 {
            let on = passed_on(code);
            assert!((400..700).contains(&on), "{code} -> {on}");
            assert!(!matches!(on, 401 | 407 | 503 | 422), "{code} -> {on}");
            assert_eq!(code >= 600, on >= 600, "{code} -> {on}: a 6xx is final for both");
        }
        assert_eq!((passed_on(302), passed_on(401), passed_on(503)), (480, 403, 480));
    }
}
