//! `Rows`: what is known by key, in room that does not grow.

/// Each key has its place in one row of eight, and a row that is full forgets what is worth least.
///
/// A key is a hash of 64 bits by a secret of the process: nobody can choose keys of one row.
#[derive(Debug)]
pub(crate) struct Rows<T> {
    /// How many there will be; none before something is put there.
    count: usize,
    rows: Vec<[Place<T>; WAYS]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place<T> {
    key: u64,
    value: T,
}

const WAYS: usize = 8;

impl<T: Copy + Default> Rows<T> {
    /// Room for so many keys, up to the next multiple of eight.
    pub(crate) fn new(keys: usize) -> Self {
        Self { count: keys.div_ceil(WAYS).max(1), rows: Vec::new() }
    }

    /// What is there by this key.
    pub(crate) fn find(&mut self, key: u64) -> Option<&mut T> {
        let at = key as usize % self.count;
        let place = self.rows.get_mut(at)?.iter_mut().find(|place| place.key == key)?;
        Some(&mut place.value)
    }

    /// Puts it there, in place of what was there by this key, or else of what is worth least.
    pub(crate) fn put<W: Ord>(&mut self, key: u64, value: T, worth: impl Fn(&T) -> W) {
        if self.rows.is_empty() {
            self.rows = vec![[Place::default(); WAYS]; self.count];
        }
        let at = key as usize % self.count;
        let row = self.rows.get_mut(at).into_iter().flatten();
        if let Some(place) = row.min_by_key(|place| (place.key != key, worth(&place.value))) {
            *place = Place { key, value };
        }
    }

    /// How many keys have room, and what that takes.
    #[cfg(test)]
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.rows.len() * WAYS, size_of_val(self.rows.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_row_forgets_what_is_worth_least() {
        let mut rows = Rows::new(8);
        assert_eq!((rows.find(1).copied(), rows.size()), (None, (0, 0)));
        for key in 1..=8 {
            rows.put(key, 10 + key as u32, |value| *value);
        }
        assert_eq!(rows.size(), (8, 128));
        *rows.find(1).unwrap() = 100;
        rows.put(9, 50, |value| *value);
        let values: Vec<_> = (1..=9).map(|key| rows.find(key).copied()).collect();
        let all = [Some(100), None, Some(13), Some(14), Some(15), Some(16), Some(17), Some(18), Some(50)];
        assert_eq!(values, all);
        // A key has one place.
        rows.put(9, 1, |value| *value);
        rows.put(10, 2, |value| *value);
        assert_eq!((rows.find(9).copied(), rows.find(10).copied()), (None, Some(2)));
    }
}
