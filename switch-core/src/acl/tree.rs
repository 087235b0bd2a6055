//! Decision trees over the fields, with short lists of cases at their leaves.
//!
//! An inner node cuts the numbers of one field, where the packed key has it, into parts: at one
//! number into two, or from there on into many of the same size. Every case is in all the leaves
//! whose region it touches, so a look-up walks one way down and tries the cases of one leaf, and of
//! their tests only those that the way has not answered. Cases that are wide where others are
//! narrow would be in very many leaves: they are kept apart in trees of their own. A look-up visits
//! all trees, at most [`MOST_TREES`]; depth and leaves are bounded when the tree is built, and
//! [`Forest::cost`] says what the worst frame costs.

use super::{
    case::{Case, Test},
    checks::{Checks, Collector},
    key::Field,
    pack::{self, Packed, Word},
};

/// Cases of a leaf that are not split further.
const LEAF: usize = 2;
/// Parts that a node cuts a field into, at most: the last has a number of 8 bits.
const MOST_PARTS: usize = 1 << u8::BITS;
/// Most inner nodes on the way to a leaf.
const MAX_DEPTH: usize = 32;
/// Entries of leaves for each case, on average, before splitting ends.
const MOST_COPIES: usize = 12;
/// Cases that each case of a list is compared with, to see whether they hide it.
const MOST_COMPARED: usize = 64;
/// The ways of grouping that are tried, as bits of [`Bounds::shape`]: one tree, by source, by both
/// addresses, by these and the destination port.
const GROUPINGS: [usize; 4] = [0, 1, 3, MOST_TREES - 1];
/// Trees: by which of the two address fields and the destination port a case is narrow in.
const MOST_TREES: usize = 8;

/// Where a way ends or goes on.
#[derive(Clone, Copy, Debug)]
enum Node {
    /// It goes on at the child whose part a frame belongs to.
    Inner {
        /// The child for the first part, which the others follow.
        children: u32,
        /// The word that has the field.
        word: Word,
        /// How far it is shifted to the left, so that the field has the upper bits. What is below
        /// them is smaller than any part.
        shift: u8,
        /// How far the distance from `base` is shifted to the right, so that it is a part's number.
        right: u8,
        /// The number of the last part, which all larger ones belong to.
        last: u8,
        /// What is subtracted from the shifted word; smaller numbers belong to the first part.
        base: u64,
    },
    /// It ends at the list of cases that begins here.
    Leaf { cases: u32 },
}

const _: () = assert!(size_of::<Node>() == 16);

/// The largest work that a frame can cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Comparisons on the way down, all trees together.
    pub comparisons: usize,
    /// Cases tried at leaves, all trees together.
    pub cases: usize,
}

impl Cost {
    /// A case at a leaf costs about as much as two comparisons.
    fn weight(self) -> usize {
        self.comparisons + 2 * self.cases
    }

    /// What is worse of both, each on its own.
    pub(super) fn worse(self, other: Self) -> Self {
        Self {
            comparisons: self.comparisons.max(other.comparisons),
            cases: self.cases.max(other.cases),
        }
    }
}

/// The compiled form of a list of cases, for frames of a region.
#[derive(Clone, Debug)]
pub struct Forest {
    nodes: Box<[Node]>,
    /// The lists of cases of the leaves, those of the first rules first.
    checks: Checks,
    /// The root of the tree with the first rule of all.
    first: u32,
    /// Of each other tree its root and the first rule that it has, the lowest first.
    others: Box<[(u32, u32)]>,
    cost: Cost,
}

impl Forest {
    /// Compiles cases, in the order of their rules: to one tree if that is good, and to as many as
    /// make the worst frame cheapest if it is not. Frames will be asked about only of which the
    /// given fields have these values.
    #[must_use]
    pub fn new(cases: &[Case], given: &[(Field, u64)]) -> Self {
        let boxes: Vec<Bounds> = cases.iter().map(Bounds::of).collect();
        let mut region = Bounds::everything();
        for (field, value) in given {
            region.ranges[*field as usize] = (*value, *value);
        }
        let built = GROUPINGS.map(|shapes| Self::grouped(cases, &boxes, &region, shapes));
        let cheapest = built.into_iter().min_by_key(|built| built.cost.weight());
        cheapest.expect("there is a way to group")
    }

    /// A tree for each group of cases that are narrow in the same of these fields.
    fn grouped(cases: &[Case], boxes: &[Bounds], region: &Bounds, shapes: usize) -> Self {
        let mut groups: [Vec<u32>; MOST_TREES] = Default::default();
        let inside = |(_, bounds): &(usize, &Bounds)| bounds.meets(region);
        for (index, bounds) in boxes.iter().enumerate().filter(inside) {
            groups[bounds.shape() & shapes].push(index as u32);
        }
        let mut builder = Builder {
            cases,
            boxes,
            nodes: Vec::new(),
            checks: Collector::default(),
        };
        let mut roots = Vec::new();
        let mut cost = Cost::default();
        for group in groups.iter().filter(|group| !group.is_empty()) {
            let root = builder.nodes(1);
            let place = Place {
                region: region.clone(),
                depth: 0,
                budget: MOST_COPIES * group.len().max(LEAF),
            };
            let worst = builder.build(root, group, &place);
            cost.comparisons += worst.comparisons;
            cost.cases += worst.cases;
            roots.push((root, cases[group[0] as usize].rule));
        }
        roots.sort_by_key(|(_, first)| *first);
        let mut roots = roots.into_iter();
        let first = roots
            .next()
            .map_or_else(|| builder.nodes(1), |(root, _)| root);
        let Builder { nodes, checks, .. } = builder;
        Self {
            nodes: nodes.into(),
            checks: checks.finish(),
            first,
            others: roots.collect(),
            cost,
        }
    }

    /// The first rule that a frame belongs to.
    #[must_use]
    #[inline(always)]
    pub fn first_match(&self, key: &Packed) -> Option<u32> {
        let rule = self.first_match_below(self.first, key);
        if self.others.is_empty() {
            return rule;
        }
        self.first_match_of_others(rule, key)
    }

    /// The same, given what the first tree has found.
    #[inline(never)]
    fn first_match_of_others(&self, found: Option<u32>, key: &Packed) -> Option<u32> {
        let mut best = found;
        for (root, first) in &self.others {
            if best.is_some_and(|best| best <= *first) {
                break;
            }
            let rule = self.first_match_below(*root, key);
            best = best.into_iter().chain(rule).min();
        }
        best
    }

    /// The first rule of one tree.
    #[inline(always)]
    fn first_match_below(&self, root: u32, key: &Packed) -> Option<u32> {
        let mut node = &self.nodes[root as usize];
        loop {
            match node {
                Node::Inner {
                    children,
                    word,
                    shift,
                    right,
                    last,
                    base,
                } => {
                    let distance = (key.word(*word) << shift).saturating_sub(*base);
                    let part = (distance >> right).min(u64::from(*last));
                    node = &self.nodes[*children as usize + part as usize];
                }
                Node::Leaf { cases } => return self.checks.first_match(*cases, key),
            }
        }
    }

    /// What the worst frame costs.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.cost
    }
}

/// The range of each field in which a case can match, or that a node is about.
#[derive(Clone, Debug)]
struct Bounds {
    ranges: [(u64, u64); Field::COUNT],
    /// Everything inside matches: no test is left to try.
    exact: bool,
}

impl Bounds {
    fn everything() -> Self {
        Self {
            ranges: Field::ALL.map(|field| (0, field.largest())),
            exact: true,
        }
    }

    fn of(case: &Case) -> Self {
        let mut bounds = Self::everything();
        for test in &case.tests {
            let Some((field, low, high, exact)) = test.bounds() else {
                bounds.exact = false;
                continue;
            };
            bounds.exact &= exact;
            let range = &mut bounds.ranges[field as usize];
            *range = (range.0.max(low), range.1.min(high));
        }
        bounds
    }

    /// Narrow or wide in both addresses and the destination port: three bits.
    fn shape(&self) -> usize {
        let narrow = |fields: &[Field]| {
            let whole = |field: &Field| self.ranges[*field as usize] == (0, field.largest());
            usize::from(!fields.iter().all(whole))
        };
        narrow(&[Field::SourceHigh, Field::SourceLow, Field::SourceMac])
            | narrow(&[
                Field::DestinationHigh,
                Field::DestinationLow,
                Field::DestinationMac,
            ]) << 1
            | narrow(&[Field::DestinationPort]) << 2
    }

    fn covers(&self, region: &Self) -> bool {
        let mut pairs = self.ranges.iter().zip(&region.ranges);
        self.exact && pairs.all(|(own, other)| own.0 <= other.0 && other.1 <= own.1)
    }

    /// What both have in common.
    fn within(&self, region: &Self) -> Self {
        let mut part = self.clone();
        for (own, other) in part.ranges.iter_mut().zip(&region.ranges) {
            *own = (own.0.max(other.0), own.1.min(other.1));
        }
        part
    }

    /// One part of a region.
    fn part(&self, cut: &Cut, number: usize) -> Self {
        let mut part = self.clone();
        let range = &mut part.ranges[cut.field];
        if number > 0 {
            range.0 = cut.start(number);
        }
        if number + 1 < cut.parts {
            range.1 = cut.start(number + 1) - 1;
        }
        part
    }

    /// Whether a test holds for all frames of a region.
    fn implies(&self, test: &Test) -> bool {
        test.bounds().is_some_and(|(field, low, high, exact)| {
            let range = self.ranges[field as usize];
            exact && low <= range.0 && range.1 <= high
        })
    }

    /// Whether some frame of a region matches.
    fn meets(&self, region: &Self) -> bool {
        let mut ranges = region.ranges.iter().enumerate();
        ranges.all(|(field, range)| self.touches(field, *range))
    }

    fn touches(&self, field: usize, range: (u64, u64)) -> bool {
        self.ranges[field].0 <= range.1 && range.0 <= self.ranges[field].1
    }
}

/// What a node could do: numbers of a field fall into parts of the same size from `base` on, those
/// below it into the first and those behind the last part into that.
#[derive(Clone, Copy, Debug)]
struct Cut {
    field: usize,
    base: u64,
    /// The size of a part, as a power of two.
    bits: u32,
    parts: usize,
    /// Cases in all parts together.
    total: usize,
    /// Cases in the largest part.
    larger: usize,
}

/// Where in the tree a node is.
#[derive(Clone, Debug)]
struct Place {
    region: Bounds,
    depth: usize,
    /// Most entries of the leaves below.
    budget: usize,
}

impl Cut {
    /// Cases on the worse side count most, and copies count.
    fn badness(&self) -> usize {
        2 * self.larger + self.total
    }

    fn part_of(&self, number: u64) -> usize {
        let part = number.saturating_sub(self.base) >> self.bits;
        part.min(self.parts as u64 - 1) as usize
    }

    /// Where a part but the first one begins.
    fn start(&self, part: usize) -> u64 {
        self.base + ((part as u64) << self.bits)
    }
}

struct Builder<'a> {
    cases: &'a [Case],
    boxes: &'a [Bounds],
    nodes: Vec<Node>,
    checks: Collector,
}

/// What is filled later.
const EMPTY: Node = Node::Leaf { cases: u32::MAX };

impl Builder<'_> {
    /// So many nodes side by side.
    fn nodes(&mut self, count: usize) -> u32 {
        let first = self.nodes.len();
        self.nodes.resize(first + count, EMPTY);
        first as u32
    }

    /// Fills a node with the cases that touch its region, and gives the worst cost below it.
    fn build(&mut self, node: u32, cases: &[u32], place: &Place) -> Cost {
        let reachable = self.reachable(cases, &place.region);
        let cases = &reachable[..];
        if cases.len() <= LEAF || place.depth == MAX_DEPTH {
            return self.leaf(node, cases, &place.region);
        }
        match self.best_cut(cases, place) {
            Some(cut) if cut.total <= place.budget => self.split(node, cases, place, &cut),
            _ => self.leaf(node, cases, &place.region),
        }
    }

    /// Those that some frame of the region reaches: not the cases that lie in one before them.
    fn reachable(&self, cases: &[u32], region: &Bounds) -> Vec<u32> {
        let mut reachable: Vec<u32> = Vec::with_capacity(cases.len());
        for case in cases {
            let part = self.boxes[*case as usize].within(region);
            // Comparing all with all is for short lists; long ones are split first.
            let before = &reachable[..reachable.len().min(MOST_COMPARED)];
            let hidden = before
                .iter()
                .any(|other| self.boxes[*other as usize].covers(&part));
            if !hidden {
                reachable.push(*case);
            }
        }
        reachable
    }

    fn leaf(&mut self, node: u32, cases: &[u32], region: &Bounds) -> Cost {
        let listed = cases.iter();
        let listed = listed.map(|number| (*number, &self.cases[*number as usize]));
        let start = self.checks.add(listed, |test| !region.implies(test));
        self.nodes[node as usize] = Node::Leaf { cases: start };
        Cost {
            comparisons: 0,
            cases: cases.len(),
        }
    }

    fn split(&mut self, node: u32, cases: &[u32], place: &Place, cut: &Cut) -> Cost {
        let children = self.nodes(cut.parts);
        let field = Field::ALL[cut.field];
        let (word, lowest) = pack::place(field);
        let above = pack::bits(field).leading_zeros() - lowest;
        self.nodes[node as usize] = Node::Inner {
            children,
            word,
            shift: above as u8,
            right: (lowest + above + cut.bits) as u8,
            last: (cut.parts - 1) as u8,
            base: cut.base << (lowest + above),
        };
        let mut worst = Cost::default();
        for (number, child) in (children..).enumerate().take(cut.parts) {
            let region = place.region.part(cut, number);
            let range = region.ranges[cut.field];
            let boxes = self.boxes;
            let inside = |case: &&u32| boxes[**case as usize].touches(cut.field, range);
            let inside: Vec<u32> = cases.iter().filter(inside).copied().collect();
            let part = Place {
                region,
                depth: place.depth + 1,
                budget: place.budget * inside.len() / cut.total.max(1),
            };
            let cost = self.build(child, &inside, &part);
            worst.comparisons = worst.comparisons.max(cost.comparisons + 1);
            worst.cases = worst.cases.max(cost.cases);
        }
        worst
    }

    /// The cut that leaves the fewest cases on the worse side, and few in both; or one into many
    /// parts, where that saves the second cut at least.
    fn best_cut(&self, cases: &[u32], place: &Place) -> Option<Cut> {
        let region = &place.region;
        let fields = 0..Field::COUNT;
        let in_two = fields
            .clone()
            .filter_map(|field| self.cut_in_two(field, cases, region))
            .min_by_key(|cut| (cut.badness(), cut.field))?;
        let in_many = fields
            .filter_map(|field| self.cut_in_many(field, cases, region))
            .filter(|cut| cut.total <= place.budget && 2 * cut.larger <= in_two.larger)
            .min_by_key(|cut| (cut.badness(), cut.field));
        Some(in_many.unwrap_or(in_two))
    }

    /// The best threshold of one field: where a case begins or the one before has ended.
    fn cut_in_two(&self, field: usize, cases: &[u32], region: &Bounds) -> Option<Cut> {
        let (first, last) = region.ranges[field];
        let range = |case: &u32| self.boxes[*case as usize].ranges[field];
        let mut lows: Vec<u64> = cases.iter().map(|case| range(case).0.max(first)).collect();
        let mut ends: Vec<u64> = cases.iter().map(|case| range(case).1.min(last)).collect();
        lows.sort_unstable();
        ends.sort_unstable();
        let starts = lows.iter().copied();
        let behind = ends.iter().filter_map(|end| end.checked_add(1));
        let mut best: Option<Cut> = None;
        for threshold in starts.chain(behind).filter(|at| first < *at && *at <= last) {
            let below = lows.partition_point(|low| *low < threshold);
            let above = cases.len() - ends.partition_point(|end| *end < threshold);
            let cut = Cut {
                field,
                // A part of one number, before which all are in the first one, too.
                base: threshold - 1,
                bits: 0,
                parts: 2,
                total: below + above,
                larger: below.max(above),
            };
            let better = best.is_none_or(|best| cut.badness() < best.badness());
            if cut.larger < cases.len() && better {
                best = Some(cut);
            }
        }
        best
    }

    /// Parts of one field from the first threshold to the last, about as many as there are cases.
    fn cut_in_many(&self, field: usize, cases: &[u32], region: &Bounds) -> Option<Cut> {
        let (first, last) = region.ranges[field];
        let ranges = cases.iter().map(|case| {
            let (low, high) = self.boxes[*case as usize].ranges[field];
            let low = low.max(first);
            // No number at all, where tests contradict each other.
            (low, high.min(last).max(low))
        });
        let starts = ranges.clone().map(|(low, _)| Some(low));
        let behind = ranges.clone().map(|(_, high)| high.checked_add(1));
        let inside = |at: &u64| first < *at && *at <= last;
        let thresholds = starts.chain(behind).flatten().filter(inside);
        let (lowest, highest) = (thresholds.clone().min()?, thresholds.max()?);
        // Up to two more where the lowest one is inside of a part.
        let most = (2 * cases.len()).min(MOST_PARTS) as u64;
        let distance = highest - lowest;
        let bits = (0..u64::BITS).find(|bits| distance >> bits <= most - 3)?;
        let start = lowest >> bits << bits;
        // The first part has a number of the region, whatever is below.
        let base = if start > first {
            start - (1 << bits)
        } else {
            start
        };
        let mut cut = Cut {
            field,
            base,
            bits,
            parts: ((highest - base) >> bits) as usize + 1,
            total: 0,
            larger: 0,
        };
        // By part, how many more cases it has than the one before.
        let mut more = vec![0_isize; cut.parts + 1];
        for (low, high) in ranges {
            let (low, high) = (cut.part_of(low), cut.part_of(high));
            more[low] += 1;
            more[high + 1] -= 1;
            cut.total += high + 1 - low;
        }
        let mut count = 0;
        for more in more {
            count += more;
            cut.larger = cut.larger.max(count as usize);
        }
        (cut.parts > 2).then_some(cut)
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
