//! The classifier: a decision tree over the fields, with short lists of cases at its leaves.
//!
//! An inner node compares one field, where the packed key has it, with one number. Every case is
//! in all the leaves whose region it touches, so a look-up walks one way down and tries the cases
//! of one leaf. Cases that are wide where others are narrow would be in very many leaves: they are
//! kept apart in trees of their own. A look-up visits all trees, at most [`MOST_TREES`]; depth and
//! leaves are bounded when the tree is built, and [`Classifier::cost`] says what the worst frame
//! costs.

use std::sync::Arc;

use super::{
    case::Case,
    checks::Checks,
    key::Field,
    pack::{self, Packed, WORDS},
};

/// Cases of a leaf that are not split further.
const LEAF: usize = 2;
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
struct Node {
    /// The first of two children: for numbers below it, and for the others. Of a leaf: the first
    /// entry.
    next: u32,
    /// The word to compare, or [`LEAF_MARK`].
    word: u16,
    /// How far it is shifted to the left, so that the field has the upper bits. What is below them
    /// does not matter, since a threshold has nothing there.
    shift: u16,
    /// What to compare with. Of a leaf: how many entries it has.
    threshold: u64,
}

const _: () = assert!(size_of::<Node>() == 16);

/// The `word` of a leaf: there is no such word.
const LEAF_MARK: u16 = WORDS as u16;

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
}

/// The compiled form of a list of cases.
#[derive(Clone, Debug)]
pub struct Classifier {
    checks: Arc<Checks>,
    nodes: Box<[Node]>,
    /// Cases of the leaves, those of the first rules first.
    entries: Box<[u32]>,
    /// The root of each tree and the first rule that it has, the lowest first.
    roots: Box<[(u32, u32)]>,
    cost: Cost,
}

impl Classifier {
    /// Compiles cases, whatever their order: to one tree if that is good, and to as many as make
    /// the worst frame cheapest if it is not.
    #[must_use]
    pub fn new(mut cases: Vec<Case>) -> Self {
        cases.sort_by_key(|case| case.rule);
        let checks = Arc::new(Checks::new(&cases));
        let boxes: Vec<Bounds> = cases.iter().map(Bounds::of).collect();
        let built = GROUPINGS.map(|shapes| Self::grouped(&checks, &boxes, shapes));
        let cheapest = built.into_iter().min_by_key(|built| built.cost.weight());
        cheapest.expect("there is a way to group")
    }

    /// A tree for each group of cases that are narrow in the same of these fields.
    fn grouped(checks: &Arc<Checks>, boxes: &[Bounds], shapes: usize) -> Self {
        let mut groups: [Vec<u32>; MOST_TREES] = Default::default();
        for (index, bounds) in boxes.iter().enumerate() {
            groups[bounds.shape() & shapes].push(index as u32);
        }
        let mut builder = Builder {
            boxes,
            nodes: Vec::new(),
            entries: Vec::new(),
        };
        let mut roots = Vec::new();
        let mut cost = Cost::default();
        for group in groups.iter().filter(|group| !group.is_empty()) {
            let root = builder.node();
            let place = Place {
                region: Bounds::everything(),
                depth: 0,
                budget: MOST_COPIES * group.len().max(LEAF),
            };
            let worst = builder.build(root, group, &place);
            cost.comparisons += worst.comparisons;
            cost.cases += worst.cases;
            roots.push((root, checks.rule(group[0] as usize)));
        }
        roots.sort_by_key(|(_, first)| *first);
        let Builder { nodes, entries, .. } = builder;
        Self {
            nodes: nodes.into(),
            entries: entries.into(),
            roots: roots.into(),
            cost,
            checks: Arc::clone(checks),
        }
    }

    /// The first rule that a frame belongs to.
    #[must_use]
    #[inline]
    pub fn first_match(&self, key: &Packed) -> Option<u32> {
        let mut best = u32::MAX;
        for (root, first) in &self.roots {
            if *first >= best {
                break;
            }
            best = self.first_match_below(*root, key, best);
        }
        (best != u32::MAX).then_some(best)
    }

    /// The first rule of one tree, or `best` where that comes before it.
    #[inline]
    fn first_match_below(&self, root: u32, key: &Packed, best: u32) -> u32 {
        let mut node = &self.nodes[root as usize];
        while let Some(word) = key.0.get(usize::from(node.word)) {
            let above = u32::from(word << node.shift >= node.threshold);
            node = &self.nodes[(node.next + above) as usize];
        }
        let cases = &self.entries[node.next as usize..][..node.threshold as usize];
        self.checks.first_match(cases, key, best)
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

    /// The parts of a region below a threshold and from it on.
    fn cut(&self, field: usize, threshold: u64) -> [Self; 2] {
        let (mut below, mut above) = (self.clone(), self.clone());
        below.ranges[field].1 = threshold - 1;
        above.ranges[field].0 = threshold;
        [below, above]
    }

    fn touches(&self, field: usize, range: (u64, u64)) -> bool {
        self.ranges[field].0 <= range.1 && range.0 <= self.ranges[field].1
    }
}

/// A comparison that a node could make.
#[derive(Clone, Copy, Debug)]
struct Cut {
    field: usize,
    threshold: u64,
    /// Cases in both parts together.
    total: usize,
    /// Cases in the larger part.
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
}

struct Builder<'a> {
    boxes: &'a [Bounds],
    nodes: Vec<Node>,
    entries: Vec<u32>,
}

impl Builder<'_> {
    fn node(&mut self) -> u32 {
        self.nodes.push(Node {
            next: 0,
            word: LEAF_MARK,
            shift: 0,
            threshold: 0,
        });
        (self.nodes.len() - 1) as u32
    }

    /// Fills a node with the cases that touch its region, and gives the worst cost below it.
    fn build(&mut self, node: u32, cases: &[u32], place: &Place) -> Cost {
        let reachable = self.reachable(cases, &place.region);
        let cases = &reachable[..];
        if cases.len() <= LEAF || place.depth == MAX_DEPTH {
            return self.leaf(node, cases);
        }
        match self.best_cut(cases, &place.region) {
            Some(cut) if cut.total <= place.budget => self.split(node, cases, place, cut),
            _ => self.leaf(node, cases),
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

    fn leaf(&mut self, node: u32, cases: &[u32]) -> Cost {
        self.nodes[node as usize] = Node {
            next: self.entries.len() as u32,
            word: LEAF_MARK,
            shift: 0,
            threshold: cases.len() as u64,
        };
        self.entries.extend_from_slice(cases);
        Cost {
            comparisons: 0,
            cases: cases.len(),
        }
    }

    fn split(&mut self, node: u32, cases: &[u32], place: &Place, cut: Cut) -> Cost {
        let children = [self.node(), self.node()];
        let field = Field::ALL[cut.field];
        let (word, lowest) = pack::place(field);
        let above = pack::bits(field).leading_zeros() - lowest;
        self.nodes[node as usize] = Node {
            next: children[0],
            word: word as u16,
            shift: above as u16,
            threshold: cut.threshold << (lowest + above),
        };
        let mut worst = Cost::default();
        let parts = place.region.cut(cut.field, cut.threshold);
        for (child, region) in children.into_iter().zip(parts) {
            let range = region.ranges[cut.field];
            let boxes = self.boxes;
            let inside = |case: &&u32| boxes[**case as usize].touches(cut.field, range);
            let inside: Vec<u32> = cases.iter().filter(inside).copied().collect();
            let part = Place {
                region,
                depth: place.depth + 1,
                budget: place.budget * inside.len() / cut.total,
            };
            let cost = self.build(child, &inside, &part);
            worst.comparisons = worst.comparisons.max(cost.comparisons + 1);
            worst.cases = worst.cases.max(cost.cases);
        }
        worst
    }

    /// The comparison that leaves the fewest cases on the worse side, and few in both.
    fn best_cut(&self, cases: &[u32], region: &Bounds) -> Option<Cut> {
        let cuts = (0..Field::COUNT).filter_map(|field| self.cut_of(field, cases, region));
        cuts.min_by_key(|cut| (cut.badness(), cut.field))
    }

    /// The best threshold of one field: where a case begins or the one before has ended.
    fn cut_of(&self, field: usize, cases: &[u32], region: &Bounds) -> Option<Cut> {
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
                threshold,
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
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
