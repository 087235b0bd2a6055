//! What waits for a port: a queue for each of its classes, and which of them goes next.
//!
//! Transmission selection (802.1Q-2022, 8.6.8), in this order: a queue that has not had its minimum
//! rate; then strict priority, the queue of the highest class first; then deficit round robin among
//! the others, by weight. A queue over its maximum rate waits, and so do all while the port's
//! shaper is closed. A frame that a queue has no room for is given back, and CoDel gives frames
//! back later: each frame that was put in comes out exactly once.
//!
//! Everything is allocated when the scheduler is made. Time is an argument and goes forward.

use super::{
    bucket::{Burst, Rate},
    classes::Class,
    codel::{Codel, CodelRules},
    shaper::Shaper,
};
use crate::limits::{MAX_CHUNKS, MAX_PORTS, QUEUED_CHUNKS_PER_PORT, chunks_for_queues};

// What the region has for each port with queues by default is enough for the longest frames.
const _: () = assert!(chunks_for_queues(1, Class::COUNT) <= QUEUED_CHUNKS_PER_PORT);
const _: () = assert!(chunks_for_queues(MAX_PORTS, Class::COUNT) <= MAX_CHUNKS);

/// Bytes that a queue of weight 1 may send in each round.
const QUANTUM: i64 = 1536;
/// No slot.
const NONE: u16 = u16::MAX;

/// When a queue is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Whenever it has a frame, before all queues of lower classes and all weighted ones.
    Strict,
    /// In turns with the other weighted queues, with so many parts of what is left to them.
    Weighted(u16),
}

impl Service {
    /// The word in the configuration and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Weighted(_) => "weighted",
        }
    }
}

/// A queue as it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueueRules {
    /// The classes whose frames wait here, a bit for each.
    pub classes: u8,
    /// When it is served.
    pub service: Service,
    /// What it gets before all others.
    pub min_rate: Option<Rate>,
    /// What it gets at most.
    pub max_rate: Option<Rate>,
    /// Most bytes that wait.
    pub limit_bytes: u64,
    /// Dropping early, where it is on.
    pub codel: Option<CodelRules>,
}

/// A port's queues as they are configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulerRules {
    /// The name in the configuration.
    pub name: std::sync::Arc<str>,
    /// What the port sends at most, and at once.
    pub shaper: Option<(Rate, Burst)>,
    /// The queues. Each class is in exactly one of them.
    pub queues: Box<[QueueRules]>,
}

impl SchedulerRules {
    /// The position of the queue that has a class; the last one where none has it.
    #[must_use]
    pub fn queue_of(&self, class: Class) -> usize {
        let has = |queue: &QueueRules| queue.classes & 1 << class.get() != 0;
        let last = self.queues.len() - 1;
        self.queues.iter().position(has).unwrap_or(last)
    }

    fn queue_by_class(&self) -> [u8; Class::COUNT] {
        std::array::from_fn(|class| self.queue_of(Class::of_bits(class as u8)) as u8)
    }

    /// The positions of the queues in the order of strict priority: of the highest class first.
    fn by_priority(&self) -> Box<[u8]> {
        let mut order: Vec<_> = (0..self.queues.len() as u8).collect();
        let highest = |queue: &u8| self.queues[usize::from(*queue)].classes.leading_zeros();
        order.sort_by_key(highest);
        order.into()
    }
}

/// The burst of a queue's minimum and maximum rate: 4 ms, and the longest frame at least.
fn burst_of(rate: Rate) -> Burst {
    let bytes = rate.bits_per_second() / 2000;
    let bytes = bytes.clamp(Burst::MIN.bytes(), Burst::MAX.bytes());
    Burst::new(bytes).unwrap_or(Burst::MIN)
}

/// Why a frame came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The queue was at its limit, or the port had used up its share of the frames.
    Full,
    /// CoDel: the queue has stood for too long.
    Late,
}

/// What a scheduler has for whoever asks for the next frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// This frame goes now; it is of this queue.
    Frame(T, usize),
    /// Frames wait, and none may go before this time.
    At(u64),
    /// Nothing waits.
    Empty,
}

/// A frame that waits.
#[derive(Debug)]
struct Slot<T> {
    /// None: the slot is free.
    item: Option<T>,
    next: u16,
    chunks: u16,
    size: u32,
    since_ns: u64,
}

#[derive(Debug)]
struct Queue {
    rules: QueueRules,
    first: u16,
    last: u16,
    frames: u32,
    chunks: u32,
    bytes: u64,
    min: Option<Shaper>,
    max: Option<Shaper>,
    codel: Codel,
    /// Bytes that it may still send in this round; what it has sent too much is owed.
    deficit: i64,
}

impl Queue {
    fn new(rules: &QueueRules) -> Self {
        let shaper = |rate: Option<Rate>| rate.map(|rate| Shaper::new(rate, burst_of(rate)));
        Self {
            rules: *rules,
            first: NONE,
            last: NONE,
            frames: 0,
            chunks: 0,
            bytes: 0,
            min: shaper(rules.min_rate),
            max: shaper(rules.max_rate),
            codel: Codel::default(),
            deficit: 0,
        }
    }

    /// Goes on with the rates of the queue that its highest class had.
    fn take_over(&mut self, before: &Self) {
        let rates = [(&mut self.min, &before.min), (&mut self.max, &before.max)];
        for (shaper, before) in rates {
            if let (Some(shaper), Some(before)) = (shaper, before) {
                shaper.take_over(before);
            }
        }
    }

    fn may_go(&self) -> bool {
        self.frames > 0 && self.max.as_ref().is_none_or(Shaper::is_open)
    }

    fn is_owed(&self) -> bool {
        self.min.as_ref().is_some_and(Shaper::is_open)
    }

    fn weight(&self) -> Option<i64> {
        match self.rules.service {
            Service::Strict => None,
            Service::Weighted(weight) => Some(i64::from(weight)),
        }
    }
}

/// What waits in a queue now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Frames.
    pub frames: u32,
    /// Bytes, without FCS.
    pub bytes: u64,
}

/// The queues of one port.
#[derive(Debug)]
pub struct Scheduler<T> {
    queues: Box<[Queue]>,
    queue_by_class: [u8; Class::COUNT],
    by_priority: Box<[u8]>,
    shaper: Option<Shaper>,
    slots: Box<[Slot<T>]>,
    free: u16,
    /// Most chunks that one queue may hold, so that none takes the place of another.
    most_chunks: u32,
    frames: usize,
    /// The weighted queue whose turn it is, by position.
    turn: usize,
    /// It has had its quantum for this turn.
    granted: bool,
}

impl<T> Scheduler<T> {
    /// Empty queues that together hold frames of at most so many chunks.
    ///
    /// # Panics
    /// When there is no queue, or there are more than 65 534 chunks.
    #[must_use]
    pub fn new(rules: &SchedulerRules, chunks: usize) -> Self {
        assert!(!rules.queues.is_empty() && chunks < usize::from(NONE));
        let slot = |index: usize| Slot {
            item: None,
            next: if index + 1 == chunks {
                NONE
            } else {
                index as u16 + 1
            },
            chunks: 0,
            size: 0,
            since_ns: 0,
        };
        Self {
            queues: rules.queues.iter().map(Queue::new).collect(),
            queue_by_class: rules.queue_by_class(),
            by_priority: rules.by_priority(),
            shaper: rules.shaper.map(|(rate, burst)| Shaper::new(rate, burst)),
            slots: (0..chunks).map(slot).collect(),
            free: if chunks == 0 { NONE } else { 0 },
            most_chunks: (chunks / rules.queues.len()) as u32,
            frames: 0,
            turn: 0,
            granted: false,
        }
    }

    /// Lets the queues hold no more chunks than so many, nor than they were made for. What waits
    /// already stays.
    pub fn set_share(&mut self, chunks: usize) {
        let chunks = chunks.min(self.slots.len());
        self.most_chunks = (chunks / self.queues.len()) as u32;
    }

    /// Frames that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames
    }

    /// Whether nothing waits.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// The queue of a class.
    #[must_use]
    #[inline]
    pub fn queue_of(&self, class: Class) -> usize {
        usize::from(self.queue_by_class[class.index()])
    }

    /// What waits in a queue.
    #[must_use]
    pub fn waiting(&self, queue: usize) -> Waiting {
        Waiting {
            frames: self.queues[queue].frames,
            bytes: self.queues[queue].bytes,
        }
    }

    /// Puts a frame of so many bytes and chunks into a queue.
    ///
    /// # Errors
    /// Gives the frame back when the queue is full.
    pub fn put(
        &mut self,
        now_ns: u64,
        queue: usize,
        size: usize,
        chunks: usize,
        item: T,
    ) -> Result<(), T> {
        let position = self.free;
        let into = &mut self.queues[queue];
        let full = into.bytes + size as u64 > into.rules.limit_bytes
            || into.chunks + chunks as u32 > self.most_chunks
            || position == NONE;
        if full {
            return Err(item);
        }
        let slot = &mut self.slots[usize::from(position)];
        self.free = slot.next;
        *slot = Slot {
            item: Some(item),
            next: NONE,
            chunks: chunks as u16,
            size: size as u32,
            since_ns: now_ns,
        };
        if into.last == NONE {
            into.first = position;
        } else {
            self.slots[usize::from(into.last)].next = position;
        }
        into.last = position;
        into.frames += 1;
        into.chunks += chunks as u32;
        into.bytes += size as u64;
        self.frames += 1;
        Ok(())
    }

    /// The next frame to send; those that are dropped on the way go to `lost`, with their queue.
    pub fn next(&mut self, now_ns: u64, mut lost: impl FnMut(T, usize)) -> Next<T> {
        if self.frames == 0 {
            return Next::Empty;
        }
        self.fill(now_ns);
        while self.frames > 0 {
            if self.shaper.as_ref().is_some_and(|shaper| !shaper.is_open()) {
                return Next::At(self.opens_at());
            }
            let Some((queue, by_turn)) = self.select() else {
                return Next::At(self.opens_at());
            };
            let (item, size, late) = self.take(now_ns, queue);
            if late {
                lost(item, queue);
                continue;
            }
            self.charge(queue, size, by_turn);
            return Next::Frame(item, queue);
        }
        Next::Empty
    }

    /// Takes over what waits at another scheduler, in the order in which it came and as if it had
    /// always waited here; `class_of` tells where a frame belongs. Those that find no room go to
    /// `lost`, with their queue. What the port has sent too much of, or may send at once, stays,
    /// and so it does for each queue.
    pub fn take_over(
        &mut self,
        mut before: Self,
        class_of: impl Fn(&T) -> Class,
        mut lost: impl FnMut(T, usize),
    ) {
        if let (Some(shaper), Some(before)) = (&mut self.shaper, &before.shaper) {
            shaper.take_over(before);
        }
        for queue in &mut self.queues {
            if let Some(class) = queue.rules.classes.checked_ilog2() {
                let of_class = before.queue_by_class[class as usize];
                queue.take_over(&before.queues[usize::from(of_class)]);
            }
        }
        while let Some(from) = before.oldest() {
            let slot = &before.slots[usize::from(before.queues[from].first)];
            let (since_ns, chunks) = (slot.since_ns, usize::from(slot.chunks));
            let (item, size, _) = before.take(since_ns, from);
            let queue = self.queue_of(class_of(&item));
            if let Err(item) = self.put(since_ns, queue, size, chunks, item) {
                lost(item, queue);
            }
        }
    }

    /// The queue whose first frame has waited longest.
    fn oldest(&self) -> Option<usize> {
        let since_ns = |queue: &usize| {
            let first = self.queues[*queue].first;
            self.slots[usize::from(first)].since_ns
        };
        let waiting = (0..self.queues.len()).filter(|queue| self.queues[*queue].frames > 0);
        waiting.min_by_key(since_ns)
    }

    /// Gives a frame back, whatever the rates, until there is none: for a port that goes.
    pub fn evict(&mut self) -> Option<T> {
        let queue = self.queues.iter().position(|queue| queue.frames > 0)?;
        Some(self.take(0, queue).0)
    }

    fn fill(&mut self, now_ns: u64) {
        let shapers = self
            .queues
            .iter_mut()
            .flat_map(|queue| [&mut queue.min, &mut queue.max]);
        for shaper in shapers.chain([&mut self.shaper]).flatten() {
            shaper.fill(now_ns);
        }
    }

    /// The queue that goes next, and whether it does so in its turn of the round.
    fn select(&mut self) -> Option<(usize, bool)> {
        let in_order = || self.by_priority.iter().map(|queue| usize::from(*queue));
        let mut owed = in_order();
        if let Some(queue) = owed.find(|queue| {
            let queue = &self.queues[*queue];
            queue.may_go() && queue.is_owed()
        }) {
            return Some((queue, false));
        }
        let mut strict = in_order();
        if let Some(queue) = strict.find(|queue| {
            let queue = &self.queues[*queue];
            queue.may_go() && queue.weight().is_none()
        }) {
            return Some((queue, false));
        }
        self.select_by_turn().map(|queue| (queue, true))
    }

    /// Deficit round robin (Shreedhar and Varghese, 1995), with the surplus owed: a queue goes on
    /// while it has not sent all that its turns have given it.
    fn select_by_turn(&mut self) -> Option<usize> {
        let weighted = |queue: &Queue| queue.may_go() && queue.weight().is_some();
        if !self.queues.iter().any(weighted) {
            return None;
        }
        loop {
            let queue = &mut self.queues[self.turn];
            if let Some(weight) = queue.weight()
                && queue.may_go()
            {
                if !self.granted {
                    queue.deficit += weight * QUANTUM;
                    self.granted = true;
                }
                if queue.deficit > 0 {
                    return Some(self.turn);
                }
            } else {
                // Who has nothing to send, or may not, saves nothing up.
                queue.deficit = queue.deficit.min(0);
            }
            self.granted = false;
            self.turn = (self.turn + 1) % self.queues.len();
        }
    }

    /// Takes the first frame of a queue; gives its size, and whether CoDel wants it dropped.
    fn take(&mut self, now_ns: u64, queue: usize) -> (T, usize, bool) {
        let from = &mut self.queues[queue];
        let position = from.first;
        let slot = &mut self.slots[usize::from(position)];
        let item = slot.item.take().expect("a queue's slot has a frame");
        let (size, waited) = (slot.size as usize, now_ns.saturating_sub(slot.since_ns));
        from.first = slot.next;
        slot.next = self.free;
        self.free = position;
        from.frames -= 1;
        from.chunks -= u32::from(slot.chunks);
        from.bytes -= u64::from(slot.size);
        self.frames -= 1;
        if from.frames == 0 {
            from.last = NONE;
        }
        let late = match from.rules.codel {
            Some(rules) => {
                let small = from.frames == 0;
                from.codel.drops(&rules, now_ns, waited, small)
            }
            None => false,
        };
        if from.frames == 0 {
            from.codel.emptied();
        }
        (item, size, late)
    }

    fn charge(&mut self, queue: usize, size: usize, by_turn: bool) {
        let from = &mut self.queues[queue];
        if by_turn {
            from.deficit -= size as i64;
        }
        if let Some(max) = &mut from.max {
            max.charge(size);
        }
        if let Some(min) = &mut from.min {
            min.charge_at_most(size);
        }
        if let Some(shaper) = &mut self.shaper {
            shaper.charge(size);
        }
    }

    /// When something may go that must not go now.
    fn opens_at(&self) -> u64 {
        let waiting = self.queues.iter().filter(|queue| queue.frames > 0);
        let open = waiting.map(|queue| queue.max.as_ref().map_or(0, Shaper::opens_at_ns));
        let first = open.min().unwrap_or(0);
        let port = self.shaper.as_ref().map_or(0, Shaper::opens_at_ns);
        first.max(port)
    }
}
