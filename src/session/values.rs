//! `Values` and `Changes`: what a session holds, and what one request did to it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What a session holds: a JSON text for each key.
///
/// Texts and not `serde_json::Value`: what nobody reads is never parsed, a store copies bytes and understands none of
/// them, and the text of an integer is just what an atomic increment of Redis or SQL works on.
///
/// A clone shares everything until one of the two is changed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Values(Arc<BTreeMap<Arc<str>, Arc<str>>>);

impl Values {
    /// The JSON text of this key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|text| &**text)
    }

    pub(super) fn shared(&self, key: &str) -> Option<Arc<str>> {
        self.0.get(key).cloned()
    }

    /// Keys and JSON texts, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, text)| (&**key, &**text))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Does to these values what a request did to its own.
    ///
    /// This is what every store promises to do, in one step as seen by any other request: first the clearing, then one
    /// change for each key. An increment counts from 0 where there is no integer, and stops at the ends of `i64`.
    ///
    /// ```
    /// use purlin::session::{Changes, Values};
    ///
    /// let mut values: Values = [("name", r#""Ada""#), ("visits", "41")].into_iter().collect();
    /// let mut changes = Changes::new();
    /// changes.increment("visits", 1);
    /// changes.remove("name");
    /// values.apply(&changes);
    /// assert!(values.iter().eq([("visits", "42")]));
    /// ```
    pub fn apply(&mut self, changes: &Changes) {
        if changes.cleared {
            self.0 = Arc::default();
        }
        for (key, change) in &changes.by_key {
            self.apply_one(key, change);
        }
    }

    pub(super) fn apply_one(&mut self, key: &Arc<str>, change: &Change) {
        let values = Arc::make_mut(&mut self.0);
        match change {
            Change::Set(text) => _ = values.insert(key.clone(), text.clone()),
            Change::Remove => _ = values.remove(key),
            Change::Increment(by) => {
                let sum = incremented(values.get(key).map(|text| &**text), *by);
                values.insert(key.clone(), sum.to_string().into());
            }
        }
    }
}

impl<K: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(K, V)> for Values {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(Arc::new(pairs.into_iter().map(|(key, text)| (key.into(), text.into())).collect()))
    }
}

impl fmt::Debug for Values {
    /// The keys only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The integer in a JSON text, if that is one.
pub(super) fn integer(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// What an increment makes of a value.
fn incremented(text: Option<&str>, by: i64) -> i64 {
    text.and_then(integer).unwrap_or(0).saturating_add(by)
}

/// What was done to a session: perhaps cleared, and then at most one change for each key.
///
/// This, and not the whole session, is what a store writes: two requests which change different keys at the same time
/// then both keep what they did.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Changes {
    cleared: bool,
    by_key: BTreeMap<Arc<str>, Change>,
}

/// What was done to one key.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It has this JSON text now.
    Set(Arc<str>),
    /// It is gone.
    Remove,
    /// So much is added to its integer; to 0 where it has none.
    Increment(i64),
}

impl Changes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the key this JSON text.
    pub fn set(&mut self, key: impl Into<Arc<str>>, json: impl Into<Arc<str>>) {
        self.by_key.insert(key.into(), Change::Set(json.into()));
    }

    /// Takes the key away.
    pub fn remove(&mut self, key: impl Into<Arc<str>>) {
        self.by_key.insert(key.into(), Change::Remove);
    }

    /// Adds to the key's integer.
    pub fn increment(&mut self, key: impl Into<Arc<str>>, by: i64) {
        let key = key.into();
        let change = match self.by_key.get(&key) {
            Some(Change::Set(text)) => Change::Set(incremented(Some(text), by).to_string().into()),
            Some(Change::Increment(before)) => Change::Increment(before.saturating_add(by)),
            Some(Change::Remove) => Change::Set(by.to_string().into()),
            None => Change::Increment(by),
        };
        self.by_key.insert(key, change);
    }

    /// Takes all keys away, also those set before.
    pub fn clear(&mut self) {
        self.cleared = true;
        self.by_key.clear();
    }

    /// Whether nothing was done.
    pub fn is_empty(&self) -> bool {
        !self.cleared && self.by_key.is_empty()
    }

    /// Whether all keys were taken away before the changes of [`iter`](Changes::iter).
    pub fn cleared(&self) -> bool {
        self.cleared
    }

    /// The changes by key; their order does not matter.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Change)> {
        self.by_key.iter().map(|(key, change)| (&**key, change))
    }
}

impl fmt::Debug for Changes {
    /// Without the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        if self.cleared {
            map.entry(&"*", &Change::Remove);
        }
        map.entries(&self.by_key).finish()
    }
}

impl fmt::Debug for Change {
    /// Without the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(_) => f.write_str("set"),
            Self::Remove => f.write_str("remove"),
            Self::Increment(by) => write!(f, "{by:+}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_one_key_become_one_change() {
        use Change::*;
        type Do = fn(&mut Changes);
        let text = |text: &str| Set(text.into());
        let set: Do = |c| c.set("k", "5");
        let word: Do = |c| c.set("k", "\"w\"");
        let more: Do = |c| c.increment("k", 2);
        let max: Do = |c| c.increment("k", i64::MAX);
        let remove: Do = |c| c.remove("k");
        let clear: Do = |c| c.clear();
        let table: &[(&[Do], bool, Option<Change>)] = &[
            (&[], false, None),
            (&[set], false, Some(text("5"))),
            (&[set, word], false, Some(text("\"w\""))),
            (&[set, more], false, Some(text("7"))),
            (&[word, more], false, Some(text("2"))),
            (&[more], false, Some(Increment(2))),
            (&[more, more], false, Some(Increment(4))),
            (&[max, max], false, Some(Increment(i64::MAX))),
            (&[more, set], false, Some(text("5"))),
            (&[more, remove], false, Some(Remove)),
            (&[remove, more], false, Some(text("2"))),
            (&[set, clear], true, None),
            (&[clear, set], true, Some(text("5"))),
            (&[clear, more, more], true, Some(Increment(4))),
        ];
        for (row, (steps, cleared, expected)) in table.iter().enumerate() {
            let mut changes = Changes::new();
            steps.iter().for_each(|step| step(&mut changes));
            assert_eq!(changes.cleared(), *cleared, "row {row}");
            assert_eq!(changes.iter().next().map(|(_, change)| change), expected.as_ref(), "row {row}");
        }
    }

    #[test]
    fn changes_at_once_are_the_same_as_one_by_one() {
        let before: Values = [("a", "1"), ("b", "\"x\""), ("c", "[]")].into_iter().collect();
        let steps: [fn(&mut Changes); 6] = [
            |c| c.increment("a", 3),
            |c| c.remove("b"),
            |c| c.increment("b", -1),
            |c| c.set("d", "true"),
            |c| c.increment("c", 1),
            |c| c.remove("d"),
        ];
        let (mut at_once, mut one_by_one) = (before.clone(), before.clone());
        let mut changes = Changes::new();
        for step in steps {
            step(&mut changes);
            let mut single = Changes::new();
            step(&mut single);
            one_by_one.apply(&single);
        }
        at_once.apply(&changes);
        assert!(at_once.iter().eq(one_by_one.iter()));
        assert!(at_once.iter().eq([("a", "4"), ("b", "-1"), ("c", "1")]));
        assert!(before.iter().eq([("a", "1"), ("b", "\"x\""), ("c", "[]")]), "the clone was not changed");
    }

    #[test]
    fn no_value_is_printed() {
        let mut changes = Changes::new();
        changes.clear();
        changes.set("card", "\"4111\"");
        changes.increment("n", 2);
        let values: Values = [("card", "\"4111\"")].into_iter().collect();
        assert_eq!(format!("{values:?} {changes:?}"), r#"{"card"} {"*": remove, "card": set, "n": +2}"#);
    }
}
