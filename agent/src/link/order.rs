//! In which order contents are fetched, and a plan is shown: `sortfirst`, `sortlast`, `sortnewfirst`, `sortbysize`.

use crate::core::filter::{FilterError, PathSet};
use crate::core::path::RelPath;
use crate::options::Order;

/// A compiled [`Order`].
#[derive(Debug)]
pub struct Sorter {
    first: PathSet,
    last: PathSet,
    new_first: bool,
    by_size: bool,
}

/// Where something stands in the order: what compares as less goes first. Equal ones stay in the order of a walk.
pub type Place = (u8, u8, u64);

impl Sorter {
    /// Compiles an order.
    ///
    /// # Errors
    /// When the patterns are too many or too large together.
    pub fn new(order: &Order) -> Result<Sorter, FilterError> {
        Ok(Sorter {
            first: PathSet::new(&order.first, &[], false)?,
            last: PathSet::new(&order.last, &[], false)?,
            new_first: order.new_first,
            by_size: order.by_size,
        })
    }

    /// Returns the place of a path with content of `size` bytes.
    pub fn place(&self, path: &RelPath, is_new: bool, size: u64) -> Place {
        let group = match (self.first.has(path), self.last.has(path)) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        };
        (group, u8::from(self.new_first && !is_new), if self.by_size { size } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::filter::Pathspec;

    #[test]
    fn first_then_new_then_small_then_last() {
        let specs = |text: &str| vec![Pathspec::parse(text.as_bytes()).unwrap()];
        let order =
            Order { first: specs("Name *.index"), last: specs("Name *.iso"), new_first: true, by_size: true };
        let sorter = Sorter::new(&order).unwrap();
        let mut all = [
            ("big", false, 9),
            ("a.iso", true, 1),
            ("small", false, 1),
            ("new", true, 99),
            ("z.index", false, 50),
        ];
        all.sort_by_key(|&(path, new, size)| {
            sorter.place(&RelPath::new(path.as_bytes()).unwrap(), new, size)
        });
        assert_eq!(all.map(|(path, ..)| path), ["z.index", "new", "small", "big", "a.iso"]);
        let plain = Sorter::new(&Order::default()).unwrap();
        assert_eq!(
            plain.place(&RelPath::new(b"x").unwrap(), true, 5),
            plain.place(&RelPath::new(b"y").unwrap(), false, 7)
        );
    }
}
