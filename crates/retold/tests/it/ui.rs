//! The errors that users see when they misuse a derive or a trait; and correct uses pass the lints.
//!
//! The messages are in `tests/ui/fail/*.stderr`. After an intended change, regenerate them with
//! `TRYBUILD=overwrite cargo test -p retold --test it ui`, and review the difference.

#[test]
fn misuse_is_a_compile_error_with_a_remedy() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}

// Compiled as part of this test crate rather than by trybuild, so that the lints of the workspace
// apply.
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
    #[allow(clippy::pedantic, reason = "its names are unusual on purpose")]
    pub(super) mod shadowed_names;
}

#[test]
fn correct_use_compiles_without_a_warning() {
    pass::enum_of_events::main();
    pass::joined_events::main();
    pass::made_by_macros::main();
    pass::shadowed_names::main();
}
