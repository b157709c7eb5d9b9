//! Names made unique.

use std::collections::{HashMap, HashSet};

/// A set of names that are taken.
#[derive(Default)]
pub(crate) struct Names {
    taken: HashSet<String>,
    /// The last number put behind a name, so that a thousand nodes of one name cost a thousand steps.
    last: HashMap<String, usize>,
}

impl Names {
    /// Takes a name; false if it was taken.
    pub fn take(&mut self, name: &str) -> bool {
        self.taken.insert(name.to_string())
    }

    /// Takes `name`, or else `name_1`, `name_2`, ...
    pub fn unique(&mut self, name: &str) -> String {
        if self.take(name) {
            return name.to_string();
        }
        let mut n = self.last.get(name).copied().unwrap_or(0);
        let fresh = loop {
            n += 1;
            let candidate = format!("{name}_{n}");
            if self.take(&candidate) {
                break candidate;
            }
        };
        self.last.insert(name.to_string(), n);
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbered_around_those_taken() {
        let mut n = Names::default();
        assert!(n.take("a_1") && !n.take("a_1"));
        let made: Vec<String> = (0..3).map(|_| n.unique("a")).collect();
        assert_eq!(made, ["a", "a_2", "a_3"]);
    }
}
