//! Classes of a time in ns: linear below 64, then 64 for each power of two, so that a class is
//! never wider than 1/64 of its times.

/// Classes for each power of two.
const LINEAR_BITS: u32 = 6;
const LINEAR: usize = 1 << LINEAR_BITS;

/// How many classes there are: up to 137 s; what is longer is in the last one.
pub const CLASSES: usize = 2048;

/// The class of a time.
#[inline(always)]
#[must_use]
pub fn class_of(ns: u64) -> usize {
    // Not 0, so that the logarithm is defined; both are in the same class.
    let shift = (63 - (ns | (LINEAR as u64 - 1)).leading_zeros()) - (LINEAR_BITS - 1);
    let shift = if ns < LINEAR as u64 { 0 } else { shift - 1 };
    let class = ((shift as usize) << LINEAR_BITS) + (ns >> shift) as usize;
    if class < CLASSES { class } else { CLASSES - 1 }
}

/// The times of a class: the lowest, and the lowest of the next one.
#[must_use]
pub const fn bounds_ns(class: usize) -> (u64, u64) {
    if class < LINEAR {
        return (class as u64, class as u64 + 1);
    }
    let shift = class / LINEAR - 1;
    let lowest = ((class % LINEAR + LINEAR) as u64) << shift;
    (lowest, lowest + (1 << shift))
}
