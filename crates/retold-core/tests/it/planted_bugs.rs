//! Proof that a conformance suite finds bugs: an implementation that is broken on purpose, in one
//! way, fails the test of the rule that it breaks.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::runtime::RUNTIME;

/// Whether a test of the suite fails.
pub(crate) fn fails(test: impl Future<Output = ()>) -> bool {
    catch_unwind(AssertUnwindSafe(|| RUNTIME.block_on(test))).is_err()
}

/// Generates a test for each bug, with a type `Broken` in scope that has it.
macro_rules! caught {
    ($($test:ident: $bug:ty => $rule:ident;)*) => {$(
        #[test]
        fn $test() {
            let name = stringify!($rule);
            let test = retold_conformance::$rule::<Broken<$bug>>();
            assert!($crate::planted_bugs::fails(test), "{name} does not find it");
        }
    )*};
}

/// Returns the rules that a subject breaks, for the macro of a suite.
macro_rules! broken_rules {
    ($subject:ty: $($rule:ident)*) => {{
        let rules = [$((
            stringify!($rule),
            $crate::planted_bugs::fails(retold_conformance::$rule::<$subject>()),
        )),*];
        let broken = rules.into_iter().filter(|(_, fails)| *fails);
        broken.map(|(name, _)| name).collect::<Vec<&str>>()
    }};
}

pub(crate) use {broken_rules, caught};
