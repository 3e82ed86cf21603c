//! The conformance suites: the contracts of recorders and view stores as tests, for every store.
//!
//! Each rule of the [contract](retold_core::recording::Recorder) is a function of the same name
//! here (rule 6 has two). The suite also tests the rest of the contract of the traits, which has no
//! numbers. To run it for a store, implement [`Subject`] and add one line to the tests of the
//! store:
//!
//! ```text
//! retold_conformance::conformance_suite!(TemporaryDogStore);
//! ```
//!
//! Each rule of a [view store](retold_core::projection::ViewStore) is a function as well; implement
//! [`ViewSubject`], and add:
//!
//! ```text
//! retold_conformance::view_conformance_suite!(TemporaryDogViews);
//! ```
//!
//! Random tests print a seed. To repeat a test, set the environment variable `RETOLD_SEED` to it.

mod subject;
mod view_subject;

mod scene;

mod view_scene;

mod dropping;
mod history;
mod operation;
mod whole;

mod random_operations;

mod amending;
mod atomicity;
mod content;
mod durability;
mod isolation;
mod judging;
mod judging_topics;
mod leases;
mod limits;
mod linearizability;
mod model;
mod names;
mod order;
mod processed_ranges;
mod proving;
mod reading;
mod replacing;
mod snapshots;
mod tailing;
mod view_pages;
mod view_pipelines;
mod view_versions;
mod waiting;

pub use self::amending::{
    a_deleted_stream_takes_no_events, amended_streams_lose_their_snapshots,
    amendments_are_judged_last, amendments_are_recorded_with_their_events,
    an_amendment_changes_only_what_it_names,
};
pub use self::atomicity::{an_append_fails_alone, append_is_atomic};
pub use self::content::events_come_back_as_they_were;
pub use self::durability::{
    a_retry_settles_the_unknown, acknowledged_events_survive_reopen,
    nothing_is_seen_before_it_is_durable,
};
pub use self::isolation::{a_log_is_born_once, logs_are_isolated};
pub use self::judging::{
    a_repeated_append_records_nothing, append_checks_queries, append_checks_stream_versions,
    append_checks_the_events_of_streams, append_is_judged_in_one_order,
};
pub use self::judging_topics::append_checks_the_count_of_topics;
pub use self::leases::{leases_end_by_the_clock_that_is_given, leases_have_one_holder};
pub use self::limits::limits_are_enforced;
pub use self::linearizability::concurrent_operations_are_linearizable;
pub use self::model::memory_is_the_model;
pub use self::names::{
    names_are_never_confused, streams_are_listed_by_prefix, topics_are_listed_and_counted,
};
pub use self::order::{positions_have_no_gaps, versions_have_no_gaps};
pub use self::processed_ranges::ranges_join;
pub use self::proving::a_read_proves_its_place;
pub use self::reading::{
    a_read_says_how_far_it_went, a_read_sees_what_was_acknowledged,
    backward_reads_mirror_forward_reads, unknown_is_empty,
};
pub use self::replacing::a_recorder_never_serves_another_log;
pub use self::snapshots::snapshots_are_kept_by_version;
pub use self::subject::Subject;
pub use self::tailing::a_tailing_reader_never_skips;
pub use self::view_pages::{
    a_dropped_call_takes_effect_completely_or_not, a_page_is_applied_once,
    an_event_that_fails_leaves_no_trace, skipped_events_are_listed,
    view_and_checkpoint_change_together,
};
pub use self::view_pipelines::{
    a_new_version_is_built_while_readers_see_the_old_one,
    a_newer_version_does_not_replace_the_view_of_another_store, a_view_from_now_on_begins_once,
    a_view_of_a_replaced_log_is_diverged_until_rebuilt, a_view_resumes_after_a_restart,
    poison_is_handled_as_declared, racing_pipelines_apply_each_event_once,
};
pub use self::view_subject::{TrickAdded, TrickProjection, ViewSubject};
pub use self::view_versions::{
    a_discarded_version_begins_again, a_switch_drops_older_versions, a_version_begins_once,
    a_version_that_is_not_stored_changes_nothing, readers_never_move_backward,
    readers_see_the_first_version_at_once, versions_have_events_of_one_log,
};
pub use self::waiting::changed_since_wakes_those_who_wait;

/// Generates one `#[test]` for every rule of the contract, for a [`Subject`]:
/// `retold_conformance::conformance_suite!(TemporaryDogStore);`
///
/// If the name of a macro follows, as in `conformance_suite!(TemporaryDogStore, each)`, it calls
/// that macro with all rules instead: `each! { TemporaryDogStore: append_is_atomic … }`.
#[macro_export]
macro_rules! conformance_suite {
    (@rules [$($each:tt)*] $subject:ty) => {
        $($each)* { $subject:
            append_is_atomic
            append_is_judged_in_one_order
            append_checks_stream_versions
            append_checks_queries
            a_repeated_append_records_nothing
            versions_have_no_gaps
            positions_have_no_gaps
            a_tailing_reader_never_skips
            a_read_says_how_far_it_went
            a_read_sees_what_was_acknowledged
            nothing_is_seen_before_it_is_durable
            an_append_fails_alone
            ranges_join
            acknowledged_events_survive_reopen
            a_retry_settles_the_unknown
            logs_are_isolated
            limits_are_enforced
            unknown_is_empty
            memory_is_the_model
            topics_are_listed_and_counted
            append_checks_the_count_of_topics
            a_read_proves_its_place
            a_recorder_never_serves_another_log
            append_checks_the_events_of_streams
            amendments_are_recorded_with_their_events
            amendments_are_judged_last
            an_amendment_changes_only_what_it_names
            amended_streams_lose_their_snapshots
            a_deleted_stream_takes_no_events
            concurrent_operations_are_linearizable
            backward_reads_mirror_forward_reads
            events_come_back_as_they_were
            names_are_never_confused
            streams_are_listed_by_prefix
            changed_since_wakes_those_who_wait
            a_log_is_born_once
            snapshots_are_kept_by_version
            leases_have_one_holder
            leases_end_by_the_clock_that_is_given
        }
    };
    ($subject:ty) => {
        $crate::conformance_suite! { @rules [$crate::conformance_suite!] $subject }
    };
    ($subject:ty, $each:ident) => {
        $crate::conformance_suite! { @rules [$each!] $subject }
    };
    ($subject:ty: $($rule:ident)*) => {$(
        #[test]
        fn $rule() {
            let test = $crate::$rule::<$subject>();
            <$subject as $crate::Subject>::block_on(test);
        }
    )*};
}

/// Generates one `#[test]` for every rule of a view store, for a [`ViewSubject`]:
/// `retold_conformance::view_conformance_suite!(TemporaryDogViews);`
///
/// If the name of a macro follows, it calls that macro with all rules instead, as
/// [`conformance_suite`] does.
#[macro_export]
macro_rules! view_conformance_suite {
    (@rules [$($each:tt)*] $subject:ty) => {
        $($each)* { $subject:
            view_and_checkpoint_change_together
            a_page_is_applied_once
            an_event_that_fails_leaves_no_trace
            skipped_events_are_listed
            a_dropped_call_takes_effect_completely_or_not
            a_version_begins_once
            readers_see_the_first_version_at_once
            readers_never_move_backward
            a_switch_drops_older_versions
            a_version_that_is_not_stored_changes_nothing
            a_discarded_version_begins_again
            versions_have_events_of_one_log
            a_view_resumes_after_a_restart
            a_view_from_now_on_begins_once
            poison_is_handled_as_declared
            racing_pipelines_apply_each_event_once
            a_new_version_is_built_while_readers_see_the_old_one
            a_view_of_a_replaced_log_is_diverged_until_rebuilt
            a_newer_version_does_not_replace_the_view_of_another_store
        }
    };
    ($subject:ty) => {
        $crate::view_conformance_suite! { @rules [$crate::view_conformance_suite!] $subject }
    };
    ($subject:ty, $each:ident) => {
        $crate::view_conformance_suite! { @rules [$each!] $subject }
    };
    ($subject:ty: $($rule:ident)*) => {$(
        #[test]
        fn $rule() {
            let test = $crate::$rule::<$subject>();
            <$subject as $crate::ViewSubject>::block_on(test);
        }
    )*};
}
