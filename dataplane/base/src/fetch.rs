//! Memory on its way before it is needed.

/// Bytes that memory is fetched in.
const LINE: usize = 64;

/// Asks for the cache line that the value begins in, and does not wait for it: with thousands of
/// legs a packet's lines are in no near cache, and a plain read would hold up whatever stands
/// behind it.
#[inline(always)]
pub fn ahead<T>(value: &T) {
    line(core::ptr::from_ref(value).cast());
}

/// Asks for every cache line of the value.
#[inline]
pub fn all<T>(value: &T) {
    let start = core::ptr::from_ref(value).cast::<u8>();
    let lines = size_of::<T>().div_ceil(LINE);
    for at in 0..lines {
        line(start.wrapping_add(at * LINE));
    }
    // A value that begins inside a line ends in one more.
    line(start.wrapping_add(size_of::<T>().saturating_sub(1)));
}

#[inline(always)]
#[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "an intrinsic of no effect"))]
fn line(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction changes nothing that a program can see and faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

#[cfg(test)]
mod tests {
    #[test]
    fn whatever_is_fetched_stays_what_it_is() {
        let values = [1_u64; 100];
        values.iter().for_each(super::ahead);
        super::all(&values);
        super::all(&());
        assert_eq!(values, [1; 100]);
    }
}
