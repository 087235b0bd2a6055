//! Frames of known flows, entered by one loop for each kind until one needs a closer look.
//!
//! Nothing else is in such a loop, so that what it needs stays in registers.

use std::hint::cold_path;

use super::{
    Entry, Reading, Shortcuts, Slots, Touched, WAYS, has_spilt,
    key::{Form, Ipv4, Ipv6, Kind, Secrets, TAGGED, UNTAGGED, Unknown},
    set_of, touch,
};
use crate::{
    mem::{Frame, Region},
    table::fdb::View,
};

/// Frames that were entered one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::datapath) struct Run {
    pub(in crate::datapath) count: usize,
    pub(in crate::datapath) bytes: usize,
    /// Nothing is known of the flow of the next one.
    pub(in crate::datapath) is_unknown: bool,
}

impl Run {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.is_unknown = other.is_unknown;
    }
}

/// What has become of a frame whose flow is not in the first of its places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It has been entered, and goes on.
    Entered,
    /// It is an ordinary one, but nothing is known of its flow.
    Unknown,
    Other,
}

/// What the frames of a burst have in common.
#[derive(Clone, Copy, Debug)]
pub(in crate::datapath) struct Scene<'a> {
    pub(in crate::datapath) reading: &'a Reading,
    pub(in crate::datapath) stations: &'a View<'a>,
    /// Where their bytes are.
    pub(in crate::datapath) region: &'a Region,
}

impl Shortcuts {
    /// Enters frames as others of their flows have left the stages, and counts them, until one
    /// needs a closer look. All of them go on. `enter_unknown` is given packets of IPv4 without a
    /// tag of whose flow nothing is known, with their size; it says whether they have been entered
    /// and go on.
    #[inline(always)]
    pub(in crate::datapath) fn take_run<E>(
        &mut self,
        scene: Scene<'_>,
        frames: &[Frame],
        entries: &mut [Entry],
        enter_unknown: &mut E,
    ) -> Run
    where
        E: FnMut(Unknown<'_>, usize, &mut Entry) -> bool,
    {
        let run = self.take::<Ipv4<UNTAGGED>, _, E>(scene, frames, entries, enter_unknown);
        if run.is_unknown || run.count == frames.len() {
            return run;
        }
        self.go_on(run, scene, frames, entries, enter_unknown)
    }

    /// Goes on behind a run of frames of IPv4 without a tag.
    #[inline(never)]
    fn go_on<E>(
        &mut self,
        mut all: Run,
        scene: Scene<'_>,
        frames: &[Frame],
        entries: &mut [Entry],
        enter_unknown: &mut E,
    ) -> Run
    where
        E: FnMut(Unknown<'_>, usize, &mut Entry) -> bool,
    {
        loop {
            let (frames, entries) = (&frames[all.count..], &mut entries[all.count..]);
            let others = self.take_other_run(scene, frames, entries);
            all.add(others);
            if others.is_unknown || others.count == 0 {
                return all;
            }
            let (frames, entries) = (&frames[others.count..], &mut entries[others.count..]);
            let run = self.take::<Ipv4<UNTAGGED>, _, E>(scene, frames, entries, enter_unknown);
            all.add(run);
            if run.is_unknown || run.count == frames.len() {
                return all;
            }
        }
    }

    /// The same for frames of another kind than IPv4 without a tag, which the first of them says.
    #[inline(never)]
    fn take_other_run(&mut self, scene: Scene<'_>, frames: &[Frame], entries: &mut [Entry]) -> Run {
        let first = frames.first();
        let form = first.and_then(|first| scene.reading.form_of(scene.region, first));
        // Unknown flows of these kinds go through the stages.
        let none = &mut |_: Unknown<'_>, _, _: &mut _| false;
        match form {
            Some(Form::TaggedIpv4) => self.take::<Ipv4<TAGGED>, _, _>(scene, frames, entries, none),
            Some(Form::Ipv6) => self.take::<Ipv6<UNTAGGED>, _, _>(scene, frames, entries, none),
            Some(Form::TaggedIpv6) => self.take::<Ipv6<TAGGED>, _, _>(scene, frames, entries, none),
            Some(Form::Ipv4) | None => Run::default(),
        }
    }

    #[inline(always)]
    fn take<K: Kind<N>, const N: usize, E>(
        &mut self,
        scene: Scene<'_>,
        frames: &[Frame],
        entries: &mut [Entry],
        enter_unknown: &mut E,
    ) -> Run
    where
        E: FnMut(Unknown<'_>, usize, &mut Entry) -> bool,
    {
        let Scene {
            reading,
            stations,
            region,
        } = scene;
        let Self {
            slots,
            touched,
            secrets,
            ..
        } = self;
        let (slots, numbers): (&mut Slots, Secrets) = (slots, *secrets);
        let mut around = Around {
            touched,
            secrets,
            stations,
            enter_unknown,
        };
        let (mut count, mut bytes, mut next) = (0, 0, Next::Other);
        'frames: for (frame, entry) in frames.iter().zip(entries) {
            let size = frame.size();
            let Some(words) = K::words(reading, region, frame) else {
                break;
            };
            let index = numbers.first(&words);
            // A branch for each word, which the compiler would put together if they met again
            // behind it.
            for number in K::COMPARED {
                if slots[index].key.word(number) == words[number] {
                    continue;
                }
                cold_path();
                let seen = Seen { words, index, size };
                next = look_closer::<K, N, E>(slots, &mut around, &seen, entry);
                if next != Next::Entered {
                    break 'frames;
                }
                bytes += size;
                count += 1;
                continue 'frames;
            }
            if slots[index].follow(stations, size, entry) {
                touch(slots, around.touched, index);
            }
            bytes += size;
            count += 1;
        }
        let is_unknown = next == Next::Unknown;
        Run {
            count,
            bytes,
            is_unknown,
        }
    }
}

/// What is needed besides for frames whose flow is not in the first of its places. In memory, so
/// that nothing of it has to be kept in registers for the frames behind them.
struct Around<'a, E> {
    touched: &'a mut Touched,
    secrets: &'a Secrets,
    stations: &'a View<'a>,
    enter_unknown: &'a mut E,
}

/// A frame whose flow is not in the first of its places; in memory for the same reason.
struct Seen<const N: usize> {
    words: [u64; N],
    /// The first of its places.
    index: usize,
    size: usize,
}

/// Looks for a flow where it is not at home, and enters the frame if it is there or nowhere. So
/// small that it has nothing to save: what is found or not is followed by others.
#[cold]
#[inline(never)]
fn look_closer<K: Kind<N>, const N: usize, E>(
    slots: &mut Slots,
    around: &mut Around<'_, E>,
    seen: &Seen<N>,
    entry: &mut Entry,
) -> Next
where
    E: FnMut(Unknown<'_>, usize, &mut Entry) -> bool,
{
    // Side by side, whichever of them is the first: so they need not be counted out one by one.
    let (sets, _) = slots.as_chunks::<WAYS>();
    let set = &sets[seen.index / WAYS];
    let is_near = set.iter().any(|place| place.key.may_be_of(&seen.words));
    if is_near || has_spilt(slots, seen.index) {
        return follow_elsewhere::<K, N, E>(slots, around, seen, entry);
    }
    enter_new::<K, N, E>(around, seen, entry)
}

/// Enters a frame of whose flow nothing is known, if it is of a kind that can be entered so.
#[inline(never)]
fn enter_new<K: Kind<N>, const N: usize, E>(
    around: &mut Around<'_, E>,
    seen: &Seen<N>,
    entry: &mut Entry,
) -> Next
where
    E: FnMut(Unknown<'_>, usize, &mut Entry) -> bool,
{
    let words = &seen.words;
    if !K::are_ordinary(words) {
        return Next::Other;
    }
    match K::unknown(words) {
        Some(unknown) if (around.enter_unknown)(unknown, seen.size, entry) => Next::Entered,
        _ => Next::Unknown,
    }
}

/// Enters a frame whose flow is known, but not at home, if its frames go on, or that of a flow that
/// is not known either.
#[inline(never)]
fn follow_elsewhere<K: Kind<N>, const N: usize, E>(
    slots: &mut Slots,
    around: &mut Around<'_, E>,
    seen: &Seen<N>,
    entry: &mut Entry,
) -> Next
where
    E: FnMut(Unknown<'_>, usize, &mut Entry) -> bool,
{
    let words = &seen.words;
    let mut found = search::<K, N>(slots, seen.index, words);
    if found.is_none() {
        found = search::<K, N>(slots, around.secrets.second(words), words);
    }
    let Some((index, goes_on)) = found else {
        return enter_new::<K, N, E>(around, seen, entry);
    };
    if !goes_on {
        return Next::Other;
    }
    if slots[index].follow(around.stations, seen.size, entry) {
        touch(slots, around.touched, index);
    }
    Next::Entered
}

/// Looks for a flow in a set, given its first place: where it is, and whether its frames go on.
#[inline(always)]
fn search<K: Kind<N>, const N: usize>(
    slots: &Slots,
    first: usize,
    words: &[u64; N],
) -> Option<(usize, bool)> {
    set_of(first).find_map(|index| {
        let goes_on = slots[index].key.is_of_words::<K, N>(words)?;
        Some((index, goes_on))
    })
}

impl Shortcuts {
    /// Where the flow of a frame of IPv4 without a tag is, if it goes on and is at home.
    #[inline(always)]
    pub(super) fn find_at_home(
        &self,
        reading: &Reading,
        (frame, region): (&Frame, &Region),
    ) -> Option<usize> {
        let words = Ipv4::<UNTAGGED>::words(reading, region, frame)?;
        let index = self.secrets.first(&words) ^ reading.far();
        let key = &self.slots[index].key;
        for number in Ipv4::<UNTAGGED>::COMPARED {
            if key.word(number) != words[number] {
                cold_path();
                return None;
            }
        }
        Some(index)
    }
}
