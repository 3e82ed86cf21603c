//! What users see when they use a derive or a trait wrongly, and that what is right passes lints.
//!
//! The messages are in `tests/ui/fail/*.stderr`. After a change that is meant, write them anew with
//! `TRYBUILD=overwrite cargo test -p retold --test it ui`, and read what changed.

#[test]
fn misuse_is_a_compile_error_that_says_what_to_do() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}

// Compiled with this test and not by the test itself: so the lints of the workspace see it too.
#[deny(missing_docs, clippy::pedantic)]
#[allow(
    unreachable_pub,
    reason = "they are written as they would be in a library"
)]
#[path = "../ui/pass"]
mod pass {
    pub(super) mod enum_of_events;
    pub(super) mod joined_events;
    pub(super) mod made_by_macros;
    #[allow(clippy::pedantic, reason = "it has names that nobody would choose")]
    pub(super) mod shadowed_names;
}

#[test]
fn right_use_compiles_without_a_warning() {
    pass::enum_of_events::main();
    pass::joined_events::main();
    pass::made_by_macros::main();
    pass::shadowed_names::main();
}
