//! Frames of known flows, entered by one loop for each kind until one needs a closer look.
//!
//! Nothing else is in such a loop, so that what it needs stays in registers.

use std::hint::cold_path;

use super::{
    Entry, Reading, Shortcuts, Slots, Touched, has_spilt,
    key::{Form, Ipv4, Ipv6, Kind, Secrets, TAGGED, UNTAGGED, WORDS, WORDS_IPV4},
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

/// What is known of a frame that is not in the first place of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    At(usize),
    /// It is an ordinary one, but nothing is known of its flow.
    Unknown,
    Other,
}

impl Shortcuts {
    /// Enters frames as others of their flows have left the stages, and counts them, until one
    /// needs a closer look. All of them go on.
    #[inline(always)]
    pub(in crate::datapath) fn take_run(
        &mut self,
        reading: &Reading,
        stations: &View<'_>,
        (frames, region): (&[Frame], &Region),
        entries: &mut [Entry],
    ) -> Run {
        let run = self.take::<Ipv4<UNTAGGED>, _>(reading, stations, (frames, region), entries);
        if run.is_unknown || run.count == frames.len() {
            return run;
        }
        self.go_on(run, reading, stations, (frames, region), entries)
    }

    /// Goes on behind a run of frames of IPv4 without a tag.
    #[inline(never)]
    fn go_on(
        &mut self,
        mut all: Run,
        reading: &Reading,
        stations: &View<'_>,
        (frames, region): (&[Frame], &Region),
        entries: &mut [Entry],
    ) -> Run {
        loop {
            let (frames, entries) = (&frames[all.count..], &mut entries[all.count..]);
            let others = self.take_other_run(reading, stations, (frames, region), entries);
            all.add(others);
            if others.is_unknown || others.count == 0 {
                return all;
            }
            let (frames, entries) = (&frames[others.count..], &mut entries[others.count..]);
            let run = self.take::<Ipv4<UNTAGGED>, _>(reading, stations, (frames, region), entries);
            all.add(run);
            if run.is_unknown || run.count == frames.len() {
                return all;
            }
        }
    }

    /// The same for frames of another kind than IPv4 without a tag, which the first of them says.
    fn take_other_run(
        &mut self,
        reading: &Reading,
        stations: &View<'_>,
        frames: (&[Frame], &Region),
        entries: &mut [Entry],
    ) -> Run {
        let (all, region) = frames;
        let form = all.first().and_then(|first| reading.form_of(region, first));
        match form {
            Some(Form::TaggedIpv4) => {
                self.take::<Ipv4<TAGGED>, _>(reading, stations, frames, entries)
            }
            Some(Form::Ipv6) => self.take::<Ipv6<UNTAGGED>, _>(reading, stations, frames, entries),
            Some(Form::TaggedIpv6) => {
                self.take::<Ipv6<TAGGED>, _>(reading, stations, frames, entries)
            }
            Some(Form::Ipv4) | None => Run::default(),
        }
    }

    #[inline(always)]
    fn take<K: Search<N>, const N: usize>(
        &mut self,
        reading: &Reading,
        stations: &View<'_>,
        (frames, region): (&[Frame], &Region),
        entries: &mut [Entry],
    ) -> Run {
        let Self {
            slots,
            touched,
            secrets,
            ..
        } = self;
        let (slots, numbers): (&mut Slots, Secrets) = (slots, *secrets);
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
                match K::elsewhere(slots, secrets, words) {
                    Next::At(found) => {
                        follow_elsewhere(slots, touched, found, stations, size, entry);
                        bytes += size;
                        count += 1;
                        continue 'frames;
                    }
                    other => next = other,
                }
                break 'frames;
            }
            if slots[index].follow(stations, size, entry) {
                touch(slots, touched, index);
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

/// Looks for flows where they are not at home, out of line.
trait Search<const N: usize>: Kind<N> {
    fn elsewhere(slots: &Slots, secrets: &Secrets, words: [u64; N]) -> Next;
}

impl<const L3: usize> Search<WORDS_IPV4> for Ipv4<L3>
where
    Self: Kind<WORDS_IPV4>,
{
    #[inline(always)]
    fn elsewhere(
        slots: &Slots,
        secrets: &Secrets,
        [w0, w1, w2, w3, place]: [u64; WORDS_IPV4],
    ) -> Next {
        elsewhere_of_ipv4::<L3>(slots, secrets, w0, w1, w2, w3, place)
    }
}

/// The words one by one, so that they stay in registers.
#[cold]
#[inline(never)]
fn elsewhere_of_ipv4<const L3: usize>(
    slots: &Slots,
    secrets: &Secrets,
    w0: u64,
    w1: u64,
    w2: u64,
    w3: u64,
    place: u64,
) -> Next
where
    Ipv4<L3>: Kind<WORDS_IPV4>,
{
    elsewhere::<Ipv4<L3>, _>(slots, secrets, &[w0, w1, w2, w3, place])
}

impl<const L3: usize> Search<WORDS> for Ipv6<L3> {
    #[cold]
    #[inline(never)]
    fn elsewhere(slots: &Slots, secrets: &Secrets, words: [u64; WORDS]) -> Next {
        elsewhere::<Self, _>(slots, secrets, &words)
    }
}

#[inline(always)]
fn elsewhere<K: Kind<N>, const N: usize>(
    slots: &Slots,
    secrets: &Secrets,
    words: &[u64; N],
) -> Next {
    let home = secrets.first(words);
    let mut found = search::<K, N>(slots, home, words);
    if found.is_none() && has_spilt(slots, home) {
        found = search::<K, N>(slots, secrets.second(words), words);
    }
    match found {
        Some(next) => next,
        None if K::are_ordinary(words) => Next::Unknown,
        None => Next::Other,
    }
}

/// Looks for a flow in a set, given its first place.
#[inline(always)]
fn search<K: Kind<N>, const N: usize>(
    slots: &Slots,
    first: usize,
    words: &[u64; N],
) -> Option<Next> {
    set_of(first).find_map(|index| {
        let goes_on = slots[index].key.is_of_words::<K, N>(words)?;
        Some(if goes_on {
            Next::At(index)
        } else {
            Next::Other
        })
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

/// Enters a frame whose flow is not at home.
#[inline(never)]
fn follow_elsewhere(
    slots: &mut Slots,
    touched: &mut Touched,
    index: usize,
    stations: &View<'_>,
    size: usize,
    entry: &mut Entry,
) {
    if slots[index].follow(stations, size, entry) {
        touch(slots, touched, index);
    }
}
