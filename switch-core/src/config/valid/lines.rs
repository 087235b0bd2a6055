//! Where things stand in the file.

/// The lines of the keys of a table, from 1.
#[derive(Clone, Debug, Default)]
pub struct KeyLines(Vec<(&'static str, usize)>);

impl KeyLines {
    /// Those of keys at positions, which become lines when the whole file is known to be right.
    pub(in crate::config) fn new(keys: impl Iterator<Item = (&'static str, usize)>) -> Self {
        Self(keys.collect())
    }

    /// The line of a key; none where it is not written, or not one of those that are kept.
    #[must_use]
    pub fn of(&self, key: &str) -> Option<usize> {
        let found = self.0.iter().find(|(it, _)| *it == key);
        found.map(|(_, line)| *line)
    }

    /// All of them, to be changed.
    pub(in crate::config) fn iter_mut(&mut self) -> impl Iterator<Item = &mut usize> {
        self.0.iter_mut().map(|(_, line)| line)
    }
}

impl PartialEq for KeyLines {
    /// What only stands elsewhere in the file is the same.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for KeyLines {}
