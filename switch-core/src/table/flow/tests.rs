use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const NOW: Tick = Tick(1000);

fn port(number: usize) -> PortIndex {
    PortIndex::new(number)
}

fn key(number: u64) -> FlowKey {
    [number, 0, 7, 0, 0, number << 20, 0, 1]
}

fn verdict(number: u64) -> Verdict {
    let mut hits = [0; MOST_HITS];
    hits[..2].copy_from_slice(&[number as u32, 5]);
    Verdict::new(number.is_multiple_of(2), hits, 2)
}

/// The verdict of [`FlowTable::find`].
fn find(table: &FlowTable, key: &FlowKey, size: usize, now: Tick) -> Option<Verdict> {
    table
        .find(&table.seek(*key), size, now)
        .map(|(verdict, _)| verdict)
}

/// Enters a flow, whether with its first frame or with its second.
fn enter(
    table: &FlowTable,
    key: &FlowKey,
    sender: PortIndex,
    verdict: &Verdict,
    size: usize,
    now: Tick,
) {
    let sought = table.seek(*key);
    let admit = || table.admit(&sought, sender, now);
    let vacancy = admit().or_else(admit).expect("no flow waits twice");
    table.insert(&sought, vacancy, sender, verdict, size, now);
}

/// Whether a flow is entered with this frame.
fn enters(table: &FlowTable, number: u64, sender: usize, now: Tick) -> bool {
    let sought = table.seek(key(number));
    let vacancy = table.admit(&sought, port(sender), now);
    if let Some(vacancy) = vacancy {
        let verdict = verdict(number);
        table.insert(&sought, vacancy, port(sender), &verdict, 60, now);
    }
    vacancy.is_some()
}

#[test]
fn what_is_counted_later_by_a_ticket_belongs_to_its_flow() {
    let table = FlowTable::new(1, [1, 2]);
    enter(&table, &key(1), port(3), &verdict(1), 60, NOW);
    let (_, ticket) = table.find(&table.seek(key(1)), 60, NOW).expect("entered");
    assert!(table.credit(ticket, 10, 1000, Tick(1007)));
    let flows: Vec<_> = table.flows(Tick(1008)).collect();
    assert_eq!((flows[0].frames, flows[0].bytes), (12, 1120));
    assert_eq!((flows[0].first_seen, flows[0].last_seen), (NOW, Tick(1007)));
    assert_eq!(table.events().found, 11);
    // Its place has another one, which is not credited.
    enter(&table, &key(2), port(3), &verdict(2), 60, NOW);
    assert!(!table.credit(ticket, 10, 1000, Tick(1007)));
    let flows: Vec<_> = table.flows(Tick(1008)).collect();
    assert_eq!((flows[0].frames, flows[0].bytes), (1, 60));
}

#[test]
fn what_is_entered_is_found_and_counted() {
    let table = FlowTable::new(64, [1, 2]);
    assert_eq!(find(&table, &key(1), 60, NOW), None);
    enter(&table, &key(1), port(3), &verdict(1), 60, NOW);
    assert_eq!(find(&table, &key(1), 100, Tick(1005)), Some(verdict(1)));
    assert_eq!(find(&table, &key(2), 100, NOW), None);
    let flows: Vec<_> = table.flows(Tick(1006)).collect();
    let expected = Flow {
        key: key(1),
        sender: port(3),
        verdict: verdict(1),
        frames: 2,
        bytes: 160,
        first_seen: NOW,
        last_seen: Tick(1005),
    };
    assert_eq!(flows, [expected]);
}

#[test]
fn every_word_of_a_key_counts() {
    let table = FlowTable::new(1024, [1, 2]);
    enter(&table, &key(1), port(0), &verdict(1), 60, NOW);
    for bit in 0..KEY_WORDS * 64 {
        let mut other = key(1);
        other[bit / 64] ^= 1 << (bit % 64);
        assert_eq!(find(&table, &other, 60, NOW), None, "bit {bit}");
    }
}

#[test]
fn verdicts_are_kept_with_their_hits() {
    for count in 0..=MOST_HITS {
        let numbers: [u32; MOST_HITS] = std::array::from_fn(|hit| hit as u32 * 1000 + 1);
        let kept = Verdict::new(true, numbers, count);
        assert_eq!(Verdict::of_words(kept.to_words()), kept);
        assert_eq!(kept.hits(), &numbers[..count]);
    }
}

#[test]
fn idle_flows_leave_and_begin_anew() {
    let table = FlowTable::new(8, [1, 2]);
    enter(&table, &key(1), port(0), &verdict(1), 60, NOW);
    let (last, gone) = (Tick(1000 + FLOW_IDLE_S), Tick(1001 + FLOW_IDLE_S));
    assert_eq!(table.flows(last).count(), 1);
    assert_eq!(table.flows(gone).count(), 0);
    assert_eq!(find(&table, &key(1), 60, gone), Some(verdict(1)));
    let flow = table.flows(gone).next().expect("a flow");
    assert_eq!(
        (flow.frames, flow.first_seen, flow.last_seen),
        (1, gone, gone)
    );
}

#[test]
fn a_table_with_one_place_has_the_last_flow() {
    let table = FlowTable::new(1, [1, 2]);
    assert_eq!(table.capacity(), 1);
    for number in 0..100 {
        enter(&table, &key(number), port(0), &verdict(number), 60, NOW);
        assert_eq!(find(&table, &key(number), 60, NOW), Some(verdict(number)));
        assert_eq!(table.flows(NOW).count(), 1);
    }
    assert_eq!(table.events().evicted, 99);
}

/// A million flows of one port, against ten steady ones of each of three others: each keeps what it
/// has wherever it has no more than its share of a set.
#[test]
fn a_port_that_sends_ever_new_flows_does_not_drive_out_others() {
    let table = FlowTable::new(4096, [1, 2]);
    let steady = |number: u64| key(1 << 40 | number);
    for number in 0..300 {
        enter(
            &table,
            &steady(number),
            port(number as usize % 3),
            &verdict(1),
            60,
            NOW,
        );
    }
    for number in 0..1_000_000 {
        enter(&table, &key(number), port(9), &verdict(0), 60, NOW);
    }
    let left = (0..300).filter(|number| find(&table, &steady(*number), 60, NOW).is_some());
    assert_eq!(left.count(), 300);
    // With a table full of somebody else's flows, a port still gets a place in every set.
    for number in 0..300 {
        enter(
            &table,
            &key(2 << 40 | number),
            port(4),
            &verdict(1),
            60,
            NOW,
        );
        assert!(find(&table, &key(2 << 40 | number), 60, NOW).is_some());
    }
}

#[test]
fn the_sets_are_filled_evenly_by_flows_that_differ_little() {
    let table = FlowTable::new(4096, [0, 0]);
    let sets = table.sets.len();
    for shift in [0, 8, 16, 32, 48] {
        for word in 0..KEY_WORDS {
            let mut counts = vec![0_usize; sets];
            for number in 0..8 * sets as u64 {
                let mut key = [0; KEY_WORDS];
                key[word] = number << shift;
                counts[table.seek(key).home.set] += 1;
            }
            let most = counts.iter().max().copied().unwrap_or_default();
            assert!(
                most <= 32,
                "word {word} shift {shift}: {most} in one set, 8 on average"
            );
        }
    }
}

#[test]
fn flows_of_a_single_frame_drive_out_nobody() {
    let table = FlowTable::new(8, [1, 2]);
    let known = |table: &FlowTable| {
        let found = |number: &u64| find(table, &key(*number), 60, NOW).is_some();
        (0..9).filter(found).count()
    };
    assert!((0..8).all(|number| enters(&table, number, 0, NOW)));
    for number in 100..1100 {
        assert!(!enters(&table, number, 0, NOW), "flow {number}");
    }
    assert_eq!(known(&table), 8);
    let events = table.events();
    assert_eq!((events.evicted, events.waited), (0, 1000));
    // With its second frame a flow gets a place.
    assert!(!enters(&table, 8, 0, NOW) && enters(&table, 8, 0, NOW));
    assert!(find(&table, &key(8), 60, NOW).is_some());
    assert_eq!((known(&table), table.events().evicted), (8, 1));
    // One that has been driven out waits like any other.
    let gone = (0..8).find(|number| find(&table, &key(*number), 60, NOW).is_none());
    assert!(!enters(&table, gone.expect("one of them"), 0, NOW));
    // Another port has fewer places, and gets one at once.
    assert!(enters(&table, 9, 1, NOW));
    assert_eq!((known(&table), table.events().evicted), (7, 2));
}

#[test]
fn a_flow_waits_until_four_others_have_come() {
    for (others, enters_then) in [(3, true), (4, false)] {
        let table = FlowTable::new(8, [1, 2]);
        assert!((0..8).all(|number| enters(&table, number, 0, NOW)));
        assert!(!enters(&table, 100, 0, NOW));
        assert!((0..others).all(|number| !enters(&table, 200 + number, 0, NOW)));
        assert_eq!(enters(&table, 100, 0, NOW), enters_then, "{others} others");
    }
}

#[test]
fn a_place_that_has_become_idle_is_taken_at_once() {
    let table = FlowTable::new(8, [1, 2]);
    let at = |seconds: u32| Tick(NOW.0 + seconds);
    for number in 0..8 {
        assert!(enters(&table, number, 0, at(number as u32)));
    }
    assert!(!enters(&table, 100, 0, at(10)));
    // The first one speaks again, so that the second is the first to leave.
    assert!(find(&table, &key(0), 60, at(20)).is_some());
    assert!(!enters(&table, 101, 0, at(FLOW_IDLE_S + 1)));
    assert!(enters(&table, 102, 0, at(FLOW_IDLE_S + 2)));
    assert_eq!(find(&table, &key(1), 60, at(FLOW_IDLE_S + 2)), None);
    assert!(!enters(&table, 103, 0, at(FLOW_IDLE_S + 2)));
    assert!(enters(&table, 104, 0, at(FLOW_IDLE_S + 3)));
    assert_eq!(table.events().evicted, 0);
}

/// Asks about a frame as a worker does: at first whether it is a newcomer, if `is_quick`. Says
/// whether that was enough.
fn receive(table: &FlowTable, number: u64, sender: usize, now: Tick, is_quick: bool) -> bool {
    if is_quick {
        match table.newcomer(key(number), port(sender), 60, now) {
            Newcomer::Enters(entering) => {
                entering.finish(&verdict(number));
                return true;
            }
            Newcomer::Waits => return true,
            Newcomer::Unclear => {}
        }
    }
    if find(table, &key(number), 60, now).is_none() {
        enters(table, number, sender, now);
    }
    false
}

fn sorted_flows(table: &FlowTable, now: Tick) -> Vec<Flow> {
    let mut flows: Vec<_> = table.flows(now).collect();
    flows.sort_by_key(|flow| flow.key);
    flows
}

#[test]
fn most_newcomers_are_seen_to_be_such_at_once() {
    let table = FlowTable::new(8, [1, 2]);
    for number in 0..8 {
        assert!(receive(&table, number, 0, NOW, true), "there is room");
    }
    assert!(!receive(&table, 0, 0, NOW, true), "it is known");
    assert!(!receive(&table, 8, 0, NOW, true), "is the set full?");
    for number in 9..1000 {
        assert!(receive(&table, number, 0, NOW, true), "it is");
    }
    assert!(!receive(&table, 999, 0, NOW, true), "it has waited");
    let events = table.events();
    assert_eq!((events.entered, events.evicted, events.waited), (9, 1, 992));
}

proptest! {
    /// Whether it is asked first, what becomes of a flow is the same.
    #[test]
    fn a_newcomer_gets_what_find_and_admit_say(
        capacity in 1..40_usize,
        steps in prop::collection::vec((0..60_u64, 0..4_usize, 0..8_u32, 0..4_u8), 1..400),
    ) {
        let [quick, slow] = [(); 2].map(|()| FlowTable::new(capacity, [3, 4]));
        let mut now = NOW;
        for (number, sender, pass, what) in steps {
            if what == 0 {
                now = Tick(now.0 + pass);
                quick.sweep(now);
                slow.sweep(now);
            }
            receive(&quick, number, sender, now, true);
            receive(&slow, number, sender, now, false);
            prop_assert_eq!(quick.events(), slow.events());
            prop_assert_eq!(sorted_flows(&quick, now), sorted_flows(&slow, now));
        }
    }
}

#[test]
fn idle_flows_make_room_part_by_part() {
    let table = FlowTable::new(1024, [1, 2]);
    let used = || {
        let used = |set: &Set| {
            (0..WAYS)
                .filter(|way| set.fingerprints.get(*way) != 0)
                .count()
        };
        table.sets.iter().map(used).sum::<usize>()
    };
    let enter = |number| enter(&table, &key(number), port(3), &verdict(1), 60, NOW);
    (0..300).for_each(enter);
    let (_, ticket) = table.find(&table.seek(key(7)), 60, NOW).expect("entered");
    let later = Tick(NOW.0 + 30);
    let stays = |number: &u64| number.is_multiple_of(3);
    let is_there = |number: u64| find(&table, &key(number), 60, later).is_some();
    assert!((0..300).filter(stays).all(is_there));

    let mut left = vec![used()];
    for second in 1..=SWEEPS as u32 {
        table.sweep(Tick(NOW.0 + FLOW_IDLE_S + second));
        left.push(used());
    }
    assert_eq!((left[0], left[SWEEPS]), (300, 100));
    let most = left.windows(2).map(|pair| pair[0] - pair[1]).max();
    assert!(most < Some(40), "a part at a time: {left:?}");
    assert!((0..300).filter(stays).all(is_there));
    // What others know of a flow that has left is not about the next one in its place.
    assert!(!table.credit(ticket, 1, 60, later));
    (0..300).filter(|number| !stays(number)).for_each(enter);
    assert!(!table.credit(ticket, 1, 60, later));
}

/// Flows wait only while there is no room.
#[test]
fn nobody_waits_for_a_place_that_was_swept() {
    let table = FlowTable::new(8, [1, 2]);
    assert!((0..8).all(|number| enters(&table, number, 0, NOW)));
    assert!(!enters(&table, 100, 0, NOW));
    // A single set is swept in one of so many seconds.
    let then = Tick((NOW.0 + FLOW_IDLE_S + 1).next_multiple_of(SWEEPS as u32));
    table.sweep(then);
    assert!(receive(&table, 100, 0, then, true), "there is room");
    assert!(find(&table, &key(100), 60, then).is_some());
    assert_eq!(table.flows(then).count(), 1);
}

/// What [`FlowTable::admit`] has to say, by looking at each place of the only set.
fn may_enter(table: &FlowTable, sender: usize, now: Tick) -> bool {
    let set = &table.sets[0];
    let ways = 0..table.capacity();
    let is_unused = |way: usize| set.fingerprints.get(way) == 0 || set.is_idle(way, now);
    let count = |port: usize| {
        let is_of = |way: &usize| usize::from(set.ports.get(*way)) == port;
        ways.clone().filter(is_of).count()
    };
    let most = (0..4).map(count).max().unwrap_or_default();
    ways.clone().any(is_unused) || count(sender) < most
}

proptest! {
    /// However it finds out, and whatever it remembers of that.
    #[test]
    fn a_flow_waits_only_for_a_place_of_its_own_port(
        capacity in 1..=WAYS,
        steps in prop::collection::vec((0..30_u64, 0..4_usize, 0..8_u32, any::<bool>()), 1..400),
    ) {
        let table = FlowTable::new(capacity, [3, 4]);
        prop_assert_eq!(table.sets.len(), 1);
        let mut waiting: Vec<u16> = Vec::new();
        let mut now = NOW;
        for (number, sender, pass, passes) in steps {
            now = Tick(now.0 + pass * u32::from(passes));
            if find(&table, &key(number), 60, now).is_some() {
                continue;
            }
            let fingerprint = table.seek(key(number)).home.fingerprint;
            let has_waited = waiting.contains(&fingerprint);
            let expected = has_waited || may_enter(&table, sender, now);
            prop_assert_eq!(enters(&table, number, sender, now), expected);
            waiting.retain(|other| *other != fingerprint);
            if !expected {
                waiting.insert(0, fingerprint);
                waiting.truncate(4);
            }
        }
    }
}

proptest! {
    /// Whatever happens, a verdict that is found is the one that was entered for this key last.
    #[test]
    fn it_agrees_with_a_map(
        capacity in 1..40_usize,
        steps in prop::collection::vec((0..60_u64, 0..4_usize, 0..30_u32), 1..400),
    ) {
        let table = FlowTable::new(capacity, [3, 4]);
        let mut map: HashMap<u64, (u64, u64)> = HashMap::new();
        let mut now = NOW;
        for (step, (number, sender, pass)) in steps.into_iter().enumerate() {
            now = Tick(now.0 + pass);
            let step = step as u64;
            match find(&table, &key(number), 60, now) {
                Some(found) => {
                    let (entered, _) = map[&number];
                    prop_assert_eq!(found, verdict(entered));
                }
                None => {
                    enter(&table, &key(number), port(sender), &verdict(step), 60, now);
                    map.insert(number, (step, u64::from(now.0)));
                    prop_assert_eq!(find(&table, &key(number), 60, now), Some(verdict(step)));
                }
            }
            prop_assert!(table.flows(now).count() <= table.capacity());
        }
    }
}

/// A thread that reads while the worker inserts sees no flow that is of two.
#[test]
fn readers_see_whole_flows() {
    let table = FlowTable::new(8, [1, 2]);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            for number in 0..300_000_u64 {
                enter(
                    &table,
                    &key(number),
                    port((number % 5) as usize),
                    &verdict(number),
                    60,
                    NOW,
                );
            }
        });
        let mut seen = 0;
        while !worker.is_finished() {
            for flow in table.flows(NOW) {
                let number = flow.key[0];
                assert_eq!(flow.key, key(number));
                assert_eq!(flow.verdict, verdict(number));
                assert_eq!(flow.sender, port((number % 5) as usize));
                assert_eq!((flow.frames, flow.bytes), (1, 60));
                seen += 1;
            }
        }
        assert!(seen > 0, "the reader has read");
    });
}

fn set_of(places: &[(u16, u16, u32)]) -> Set {
    let set = Set::new(places.len());
    for (way, (fingerprint, port, seen)) in places.iter().enumerate() {
        set.fingerprints.set(way, *fingerprint);
        set.ports.set(way, *port);
        set.set_seen(way, Tick(*seen));
    }
    set
}

proptest! {
    /// Looks at one place after the other instead of at all together.
    #[test]
    fn a_place_is_free_or_idle_or_the_oldest_of_who_has_most(
        places in prop::collection::vec((0..9_u16, 0..4_u16, 930..=1000_u32), 1..=WAYS),
        always_used in any::<bool>(),
        sender in 0..4_u16,
        start in 0..WAYS,
    ) {
        let places: Vec<_> = places
            .into_iter()
            .map(|(fingerprint, port, seen)| (fingerprint | u16::from(always_used), port, seen))
            .collect();
        let usable = Ways::first_of_all(places.len());
        let chosen = choose(&set_of(&places), usable, sender, start, NOW);
        prop_assert!(chosen.way < places.len());
        let (fingerprint, port, seen) = places[chosen.way];
        let is_idle = |seen: u32| NOW.0 - seen > FLOW_IDLE_S;
        prop_assert_eq!(chosen.evicts, fingerprint != 0 && !is_idle(seen));
        if places.iter().any(|place| place.0 == 0) {
            prop_assert_eq!(fingerprint, 0);
        } else if places.iter().any(|place| is_idle(place.2)) {
            prop_assert!(is_idle(seen));
        } else {
            let first_idle = places.iter().map(|place| place.2 + FLOW_IDLE_S + 1).min();
            prop_assert_eq!(Some(chosen.full_until.0), first_idle);
            let count = |port| places.iter().filter(|place| place.1 == port).count();
            let most = (0..4).map(count).max().unwrap_or_default();
            prop_assert_eq!(count(port), most);
            prop_assert!(port == sender || count(sender) < most);
            let oldest = places.iter().filter(|place| place.1 == port).map(|place| place.2).min();
            prop_assert_eq!(Some(seen), oldest);
        }
    }
}

/// Flows of one port that came in the same second make place for new ones in turn.
#[test]
fn places_of_the_same_age_take_turns() {
    let set = set_of(&[(1, 7, 1000); WAYS]);
    let chosen: Vec<usize> = (0..WAYS)
        .map(|start| choose(&set, Ways::first_of_all(WAYS), 7, start, NOW).way)
        .collect();
    let mut sorted = chosen.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..WAYS).collect::<Vec<_>>(), "{chosen:?}");
}
