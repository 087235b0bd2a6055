//! Memory for a large table: on huge pages where the kernel gives them, aligned to cache lines.

use std::{
    alloc::{self, Layout},
    fmt,
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull,
    slice,
};

/// Bytes of a huge page, and the alignment of what is as large as one.
const HUGE_PAGE_SIZE: usize = 2 << 20;
/// The alignment of what is smaller.
const CACHE_LINE_SIZE: usize = 64;

/// A boxed slice of a power of two items that starts at a cache line. One of 2 MiB or more starts
/// at a huge page, and asks for huge pages: random access to ordinary ones misses the TLB.
pub struct HugeSlice<T> {
    start: NonNull<T>,
    count: usize,
    /// The offset of the last item, in bytes: the bits that choose one.
    mask: usize,
}

// SAFETY: the items are owned, as in a `Box<[T]>`.
unsafe impl<T: Send> Send for HugeSlice<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for HugeSlice<T> {}

impl<T> HugeSlice<T> {
    /// So many items, each made by `make`.
    ///
    /// # Panics
    /// When the count is no power of two, or the size of an item is none.
    pub fn new(count: usize, make: impl Fn() -> T) -> Self {
        // The model checker's items have odd sizes; of two, there is nothing to choose.
        assert!(count.is_power_of_two());
        assert!(count <= 2 || size_of::<T>().is_power_of_two());
        let layout = Self::layout(count);
        assert!(layout.size() > 0);
        // SAFETY: the layout has a size.
        let Some(start) = NonNull::new(unsafe { alloc::alloc(layout) }) else {
            alloc::handle_alloc_error(layout)
        };
        if layout.align() == HUGE_PAGE_SIZE {
            // A kernel that refuses leaves ordinary pages, which are slower and as good.
            // SAFETY: advice about pages of this allocation alone; it changes no content.
            unsafe { libc::madvise(start.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE) };
        }
        let start = start.cast::<T>();
        for index in 0..count {
            // SAFETY: inside the allocation, which is aligned for T.
            unsafe { start.add(index).write(make()) };
        }
        Self {
            start,
            count,
            mask: (count - 1) * size_of::<T>(),
        }
    }

    fn layout(count: usize) -> Layout {
        let layout = Layout::array::<T>(count).expect("a table fits the address space");
        let align = if layout.size() >= HUGE_PAGE_SIZE {
            HUGE_PAGE_SIZE
        } else {
            CACHE_LINE_SIZE
        };
        layout.align_to(align).expect("a small power of two")
    }

    /// The items, to choose from by a hash.
    #[must_use]
    #[inline]
    pub fn hashed(&self) -> Hashed<'_, T> {
        Hashed {
            start: self.start,
            mask: self.mask,
            items: PhantomData,
        }
    }
}

/// The items of a [`HugeSlice`], to choose from by a hash: by value, so that a loop keeps it in
/// registers.
#[derive(Debug)]
pub struct Hashed<'a, T> {
    start: NonNull<T>,
    mask: usize,
    items: PhantomData<&'a T>,
}

impl<T> Clone for Hashed<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Hashed<'_, T> {}

impl<'a, T> Hashed<'a, T> {
    /// The item that a hash chooses, by as many of its bits as it takes, from the bit on that is
    /// the size of an item.
    #[must_use]
    #[inline]
    pub fn choose(self, hash: u32) -> &'a T {
        // SAFETY: the mask leaves a multiple of the item size that is below the size of all.
        // JUSTIFICATION: the datapath comes here four times a frame; bounds check and scaling would
        // cost three instructions and a register each time, for an index that cannot be wrong.
        unsafe { self.start.byte_add(hash as usize & self.mask).as_ref() }
    }

    /// Asks the CPU to load what a hash chooses, given the bits that [`shorten`](Self::shorten) has
    /// left of it.
    #[inline]
    pub fn prefetch(self, shortened: u32) {
        prefetch(self.start.as_ptr().wrapping_byte_add(shortened as usize));
    }

    /// The bits of a hash that choose, and no others.
    #[must_use]
    #[inline]
    pub fn shorten(self, hash: u32) -> u32 {
        hash & self.mask as u32
    }

    /// The index of what [`choose`](Self::choose) gives.
    #[must_use]
    pub fn chosen_index(self, hash: u32) -> usize {
        (hash as usize & self.mask) / size_of::<T>()
    }
}

impl<T> Deref for HugeSlice<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `new` has made all the items.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl<T> Drop for HugeSlice<T> {
    fn drop(&mut self) {
        let items = NonNull::slice_from_raw_parts(self.start, self.count);
        // SAFETY: the items are owned, and nobody sees them after this.
        unsafe { items.drop_in_place() };
        // SAFETY: allocated by `new` with this layout.
        unsafe { alloc::dealloc(self.start.as_ptr().cast(), Self::layout(self.count)) };
    }
}

impl<T: fmt::Debug> fmt::Debug for HugeSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Asks the CPU to load the cache line of `item`, without waiting for it; any address will do.
#[inline]
pub fn prefetch<T>(item: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint: it reads nothing that the program could see, and cannot fault.
        // JUSTIFICATION: a load in its place has to end before the instructions behind it can.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(item.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _no_stable_hint = item;
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn items_are_made_and_dropped_once_and_start_at_a_line() {
        for count in [1, 2, 64, 1 << 18] {
            let item = std::sync::Arc::new(());
            let slice = HugeSlice::new(count, || item.clone());
            assert_eq!((slice.len(), slice.as_ptr().addr() % 64), (count, 0));
            assert_eq!(std::sync::Arc::strong_count(&item), count + 1);
            drop(slice);
            assert_eq!(std::sync::Arc::strong_count(&item), 1);
        }
        let aligned = HugeSlice::new(1 << 18, || 0_u64);
        assert_eq!(aligned.as_ptr().addr() % HUGE_PAGE_SIZE, 0);
    }

    #[test]
    fn any_hash_chooses_an_item() {
        for count in [1, 2, 8] {
            let numbers = std::cell::Cell::new(0_u64);
            let slice = HugeSlice::new(count, || numbers.replace(numbers.get() + 1));
            for hash in (0..200).chain([u32::MAX, u32::MAX / 2]) {
                let expected = u64::from(hash) / 8 % count as u64;
                let hashed = slice.hashed();
                assert_eq!(*hashed.choose(hash), expected);
                assert_eq!(hashed.chosen_index(hash) as u64, expected);
                prefetch(hashed.choose(hash));
            }
        }
    }
}
