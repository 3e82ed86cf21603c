//! The linearizability checker: is there an order of concurrent operations in which each took
//! effect at one instant between its call and its answer?
//!
//! The search is that of Wing and Gong ("Testing and verifying concurrent objects", 1993) with the
//! memoization of Lowe ("Testing for linearizability", 2017). An operation may come next if it was
//! called before the first answer among the remaining operations; each pair of a set of completed
//! operations and the resulting state is tried once. Histories have at most 64 operations, which
//! keeps the search short.

use std::collections::HashSet;
use std::hash::Hash;

/// The sequential meaning of operations.
pub(super) trait Specification: Clone {
    /// A call.
    type Call;
    /// An answer.
    type Answer: PartialEq;
    /// Identifies a state: states with equal ids give equal answers from then on.
    type State: Eq + Hash;

    /// Executes a call.
    fn execute(&mut self, call: &Self::Call) -> Self::Answer;

    /// The id of the present state.
    fn state(&self) -> Self::State;
}

/// An operation as its caller saw it. All instants of a history come from one counter.
#[derive(Clone, Debug)]
pub(super) struct Operation<C, A> {
    pub(super) call: C,
    pub(super) called_at: u64,
    /// The answer and its instant. `None` if the caller dropped the call: then it took effect at
    /// any time after the call, or never.
    pub(super) answer: Option<(A, u64)>,
}

/// Returns an order of the operations, as indices, that explains all answers, or `None` if there is
/// none.
///
/// # Panics
///
/// If the history has more than 64 operations.
pub(super) fn linearize<S: Specification>(
    specification: &S,
    history: &[Operation<S::Call, S::Answer>],
) -> Option<Vec<usize>> {
    assert!(
        history.len() <= 64,
        "the set of completed operations is a u64"
    );
    let mut search = Search {
        history,
        tried: HashSet::new(),
        order: Vec::new(),
    };
    search.continues(specification, 0).then_some(search.order)
}

struct Search<'a, S: Specification> {
    history: &'a [Operation<S::Call, S::Answer>],
    tried: HashSet<(u64, S::State)>,
    order: Vec<usize>,
}

impl<S: Specification> Search<'_, S> {
    /// Whether the operations that are not `done` can follow in some order.
    fn continues(&mut self, state: &S, done: u64) -> bool {
        let left = |index: &usize| done & (1 << index) == 0;
        let answers = (0..self.history.len()).filter(left);
        let answers = answers.filter_map(|index| self.history[index].answer.as_ref());
        let Some(first_answer_at) = answers.map(|(_, at)| *at).min() else {
            return true;
        };
        if !self.tried.insert((done, state.state())) {
            return false;
        }
        for index in (0..self.history.len()).filter(left) {
            let operation = &self.history[index];
            if operation.called_at > first_answer_at {
                continue;
            }
            let mut next = state.clone();
            let answer = next.execute(&operation.call);
            let seen = operation.answer.as_ref();
            if seen.is_some_and(|(seen, _)| *seen != answer) {
                continue;
            }
            self.order.push(index);
            if self.continues(&next, done | (1 << index)) {
                return true;
            }
            self.order.pop();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A register with write, read, and compare-and-swap.
    #[derive(Clone, Default)]
    struct Register(u32);

    #[derive(Clone, Copy, Debug)]
    enum TestCall {
        Write(u32),
        Read,
        Swap { from: u32, to: u32 },
    }

    impl Specification for Register {
        type Call = TestCall;
        type Answer = u32;
        type State = u32;

        fn execute(&mut self, call: &TestCall) -> u32 {
            let before = self.0;
            match call {
                TestCall::Write(value) => self.0 = *value,
                TestCall::Swap { from, to } if *from == before => self.0 = *to,
                TestCall::Read | TestCall::Swap { .. } => {}
            }
            before
        }

        fn state(&self) -> u32 {
            self.0
        }
    }

    /// The call, its instant, its answer and the answer's instant.
    type Row = (TestCall, u64, Option<(u32, u64)>);

    fn check(rows: &[Row], expected: Option<&[usize]>) {
        let operation = |(call, called_at, answer): &Row| Operation {
            call: *call,
            called_at: *called_at,
            answer: *answer,
        };
        let history: Vec<_> = rows.iter().map(operation).collect();
        let order = linearize(&Register::default(), &history);
        assert_eq!(order.as_deref(), expected, "{rows:?}");
    }

    #[test]
    fn a_legal_history_has_an_order() {
        check(&[], Some(&[]));
        // Sequential.
        let (write, read) = (TestCall::Write(1), TestCall::Read);
        check(
            &[(write, 1, Some((0, 2))), (read, 3, Some((1, 4)))],
            Some(&[0, 1]),
        );
        // Concurrent: the read may come first or second.
        check(
            &[(write, 1, Some((0, 4))), (read, 2, Some((0, 3)))],
            Some(&[1, 0]),
        );
        check(
            &[(write, 1, Some((0, 4))), (read, 2, Some((1, 3)))],
            Some(&[0, 1]),
        );
        // One caller dropped its call; it took effect late, or never.
        check(
            &[
                (write, 1, None),
                (read, 2, Some((0, 3))),
                (read, 4, Some((1, 5))),
            ],
            Some(&[1, 0, 2]),
        );
        check(&[(write, 1, None), (read, 2, Some((0, 3)))], Some(&[1]));
    }

    #[test]
    fn an_illegal_history_has_none() {
        let (write, read) = (TestCall::Write(1), TestCall::Read);
        // A stale read: it began after the write was answered.
        check(&[(write, 1, Some((0, 2))), (read, 3, Some((0, 4)))], None);
        // A read of a value that was never written.
        check(&[(write, 1, Some((0, 4))), (read, 2, Some((2, 3)))], None);
        // Two readers disagree about the order during a write: new, then old.
        check(
            &[
                (write, 1, Some((0, 9))),
                (read, 2, Some((1, 3))),
                (read, 4, Some((0, 5))),
            ],
            None,
        );
        // The effect of a dropped call was seen before the call.
        check(&[(read, 1, Some((1, 2))), (write, 3, None)], None);
        // Two swaps from the same value both succeeded.
        let swap = |to| TestCall::Swap { from: 0, to };
        check(
            &[(swap(1), 1, Some((0, 4))), (swap(2), 2, Some((0, 3)))],
            None,
        );
        check(
            &[(swap(1), 1, Some((0, 4))), (swap(2), 2, Some((1, 3)))],
            Some(&[0, 1]),
        );
    }

    /// Goal: the search agrees with trying all orders. Method: random histories of five operations.
    #[test]
    fn the_search_agrees_with_trying_all_orders() {
        let given = std::env::var("RETOLD_SEED").ok();
        let seed = given.map_or_else(|| fastrand::u64(..), |it| it.parse().unwrap());
        let mut random = fastrand::Rng::with_seed(seed);
        let mut legal = 0;
        for _ in 0..2000 {
            let history: Vec<_> = (0..5).map(|_| random_operation(&mut random)).collect();
            let found = linearize(&Register::default(), &history).is_some();
            let mut all: Vec<usize> = (0..5).collect();
            let expected = some_order_explains(&history, &mut all, 0);
            assert_eq!(found, expected, "RETOLD_SEED={seed}: {history:?}");
            legal += u32::from(found);
        }
        assert!((100..1900).contains(&legal), "both kinds occur: {legal}");
    }

    fn random_operation(random: &mut fastrand::Rng) -> Operation<TestCall, u32> {
        let called_at = random.u64(0..20);
        let call = match random.u8(..3) {
            0 => TestCall::Read,
            1 => TestCall::Write(random.u32(..3)),
            _ => TestCall::Swap {
                from: random.u32(..3),
                to: random.u32(..3),
            },
        };
        let answer = (random.u32(..2), called_at + random.u64(1..15));
        let answer = (random.u8(..5) > 0).then_some(answer);
        Operation {
            call,
            called_at,
            answer,
        }
    }

    /// Tries all permutations, with each dropped call included or left out.
    fn some_order_explains(
        history: &[Operation<TestCall, u32>],
        order: &mut Vec<usize>,
        fixed: usize,
    ) -> bool {
        if fixed == order.len() {
            let unknown = history.iter().filter(|it| it.answer.is_none()).count();
            return (0..1_u32 << unknown).any(|lost| explains(history, order, lost));
        }
        (fixed..order.len()).any(|index| {
            order.swap(fixed, index);
            let found = some_order_explains(history, order, fixed + 1);
            order.swap(fixed, index);
            found
        })
    }

    fn explains(history: &[Operation<TestCall, u32>], order: &[usize], mut lost: u32) -> bool {
        let mut register = Register::default();
        let mut latest_call = 0;
        for operation in order.iter().map(|index| &history[*index]) {
            if operation.answer.is_none() {
                lost = lost.rotate_right(1);
                if lost >> 31 == 1 {
                    continue;
                }
            }
            // No operation may precede one that was answered before it was called.
            latest_call = latest_call.max(operation.called_at);
            let answer = register.execute(&operation.call);
            if let Some((seen, at)) = operation.answer
                && (seen != answer || at < latest_call)
            {
                return false;
            }
        }
        true
    }
}
