//! Small numbers of people are not shown to artists: what stands behind too few is told together.

/// One number among those that a whole is broken down into.
pub trait Foldable: Default {
    /// How many people stand behind it at least.
    fn people(&self) -> u64;

    /// Adds another's numbers to its own.
    fn absorb(&mut self, other: Self);
}

/// Folds numbers of fewer than `people_min` people into one.
///
/// The whole is known elsewhere, so what is folded must not be so little that it can be told by subtraction: while
/// fewer than `people_min` people stand behind all of it, the smallest of the others is folded too.
pub fn fold<T: Foldable>(numbers: Vec<T>, people_min: u64) -> Vec<T> {
    let (mut shown, small): (Vec<T>, Vec<T>) = numbers.into_iter().partition(|number| number.people() >= people_min);
    if small.is_empty() {
        return shown;
    }
    let mut folded = T::default();
    small.into_iter().for_each(|number| folded.absorb(number));
    // The smallest is last.
    shown.sort_by_key(|number| std::cmp::Reverse(number.people()));
    while folded.people() < people_min {
        let Some(smallest) = shown.pop() else { break };
        folded.absorb(smallest);
    }
    shown.push(folded);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Clone, PartialEq, Eq)]
    struct Count(u64);

    impl Foldable for Count {
        fn people(&self) -> u64 {
            self.0
        }

        fn absorb(&mut self, other: Self) {
            self.0 += other.0;
        }
    }

    #[test]
    fn few_people_are_told_together_with_so_many_that_nobody_can_subtract_them() {
        for (what, numbers, folded) in [
            ("nothing is small", &[9, 5][..], &[9, 5][..]),
            ("two small ones are enough together", &[9, 4, 3], &[9, 7]),
            ("a single small one takes the next along", &[20, 9, 6, 4], &[20, 9, 10]),
            ("four and one make five", &[9, 4, 1], &[9, 5]),
            ("everything is small", &[1, 1], &[2]),
            ("the only large one goes too", &[8, 2], &[10]),
            ("nothing at all", &[], &[]),
        ] {
            let counts = |numbers: &[u64]| numbers.iter().copied().map(Count).collect::<Vec<_>>();
            assert_eq!(fold(counts(numbers), 5), counts(folded), "{what}");
        }
    }
}
