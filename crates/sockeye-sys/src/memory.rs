//! Hints about memory.

/// Asks the processor to bring the first lines of a value near, without waiting for it.
///
/// A loop that visits thousands of connections finds each of them far away, for the kernel's work in between has taken
/// the caches. Asked for one visit ahead, they are near when their turn comes. Elsewhere than on x86-64 it does nothing.
#[inline(always)]
pub fn prefetch<T, const LINES: usize>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        const LINE_BYTES: usize = 64;
        let start = std::ptr::from_ref(value).cast::<i8>();
        for line in 0..LINES {
            let place = start.wrapping_add(line * LINE_BYTES);
            // SAFETY: a prefetch is a hint: it reads nothing into the program, and cannot fault whatever the address.
            unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_hint_beyond_the_value_is_harmless() {
        let value = Box::new(7_u8);

        super::prefetch::<u8, 64>(&value);

        assert_eq!(*value, 7);
    }
}
