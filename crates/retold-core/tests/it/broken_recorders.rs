//! Checks that the conformance suite detects bugs: recorders that are broken on purpose, each in
//! one way, fail the test of the rule that they break.

mod amending_bugs;
mod broken;
mod bugs;

use retold_conformance::Subject;

use self::amending_bugs::*;
use self::broken::{Broken, Bug};
use self::bugs::*;
use crate::planted_bugs::{broken_rules, caught};

caught! {
    an_append_in_two_parts_is_caught: TwoParts => append_is_atomic;
    conditions_in_another_order_are_caught: LastConditionFirst => append_is_judged_in_one_order;
    a_condition_before_ids_is_caught: ConditionsBeforeIds => append_is_judged_in_one_order;
    unchecked_versions_are_caught: VersionsUnchecked => append_checks_stream_versions;
    versions_checked_outside_are_caught: CheckedThenActed => append_checks_stream_versions;
    an_inclusive_after_is_caught: InclusiveAfter => append_checks_queries;
    an_after_beyond_the_head_is_caught: AfterCutToTheHead => append_checks_queries;
    a_repeat_recorded_twice_is_caught: RepeatRecorded => a_repeated_append_records_nothing;
    an_id_given_twice_is_caught: TakenIdLeftOut => a_repeated_append_records_nothing;
    part_of_an_append_as_a_repeat_is_caught: PartIsRepeat => a_repeated_append_records_nothing;
    a_gap_in_versions_is_caught: VersionGap => versions_have_no_gaps;
    a_gap_in_positions_is_caught: PositionGap => positions_have_no_gaps;
    a_late_commit_below_the_head_is_caught: LateCommit => a_tailing_reader_never_skips;
    a_filtered_read_that_does_not_move_is_caught: FilteredReadStays => a_read_says_how_far_it_went;
    a_stale_read_is_caught: StaleHead => a_read_sees_what_was_acknowledged;
    an_early_acknowledgement_is_caught: AcknowledgedEarly => nothing_is_seen_before_it_is_durable;
    an_error_of_another_is_caught: SharedFailure => an_append_fails_alone;
    ranges_that_do_not_join_are_caught: RangesUnchecked => ranges_join;
    ranges_that_do_not_merge_are_caught: PolicyVersionsMerged => ranges_join;
    lost_events_are_caught: AcknowledgedEarly => acknowledged_events_survive_reopen;
    forgotten_ranges_are_caught: RangesForgotten => acknowledged_events_survive_reopen;
    a_dropped_future_that_tears_is_caught: DropTears => a_retry_settles_the_unknown;
    a_retry_recorded_twice_is_caught: RepeatRecorded => a_retry_settles_the_unknown;
    logs_that_are_one_are_caught: NamesWithoutCase => logs_are_isolated;
    an_append_too_large_is_caught: TooManySplit => limits_are_enforced;
    names_that_are_cut_are_caught: NamesCut => limits_are_enforced;
    a_log_born_by_a_reader_is_caught: ReaderBears => unknown_is_empty;
    a_checkpoint_that_is_not_proven_is_caught: CheckpointUnproven => a_read_proves_its_place;
    a_checkpoint_proven_by_its_position_is_caught: CheckpointByPosition => a_read_proves_its_place;
    an_unproven_checkpoint_of_a_stream_is_caught: StreamUnproven => a_read_proves_its_place;
    a_log_that_is_opened_by_its_name_is_caught: LogByName => a_recorder_never_serves_another_log;
    unchecked_events_of_streams_are_caught: EventsUnchecked => append_checks_the_events_of_streams;
    a_match_of_the_first_item_is_caught: FirstItemFirst => memory_is_the_model;
    a_torn_page_is_caught: TornPage => concurrent_operations_are_linearizable;
    a_prefix_as_a_pattern_is_caught: PrefixIsPattern => streams_are_listed_by_prefix;
    tags_without_case_are_caught: TagsWithoutCase => names_are_never_confused;
    a_time_cut_to_milliseconds_is_caught: TimeInMillis => events_come_back_as_they_were;
    a_newer_snapshot_is_caught: SnapshotBeyond => snapshots_are_kept_by_version;
    a_lease_for_everybody_is_caught: LeaseForAll => leases_have_one_holder;
    a_clock_of_its_own_is_caught: ForeignClock => leases_end_by_the_clock_that_is_given;
    amendments_that_are_ignored_are_caught: AmendmentsIgnored =>
        amendments_are_recorded_with_their_events;
    amendments_before_their_append_are_caught: AmendedFirst =>
        amendments_are_recorded_with_their_events;
    amendments_that_are_left_out_are_caught: LenientAmendments => amendments_are_judged_last;
    an_erasure_of_too_much_is_caught: ErasesAll => an_amendment_changes_only_what_it_names;
    snapshots_of_amended_streams_are_caught: SnapshotsKept => amended_streams_lose_their_snapshots;
    a_deleted_stream_that_takes_events_is_caught: DeletedTakesEvents =>
        a_deleted_stream_takes_no_events;
    a_backward_head_of_the_page_is_caught: BackwardReadTo => backward_reads_mirror_forward_reads;
}

/// The rules that do not hold for a broken recorder.
fn broken_rules<B: Bug>() -> Vec<&'static str> {
    retold_conformance::conformance_suite!(Broken<B>, broken_rules)
}

/// Without a bug, the wrapper of all these keeps every rule: the suite finds the bug, not the
/// wrapper.
#[test]
fn the_wrapper_itself_is_not_broken() {
    assert_eq!(broken_rules::<None>(), [""; 0]);
    const { assert!(Broken::<None>::IS_DURABLE) };
}

/// Some bugs show in no handwritten example.
#[test]
fn only_the_model_finds_the_match_of_the_first_item() {
    assert_eq!(broken_rules::<FirstItemFirst>(), ["memory_is_the_model"]);
}

#[test]
fn only_the_model_finds_a_cut_that_meets_the_end() {
    assert_eq!(broken_rules::<CutMeetsEnd>(), ["memory_is_the_model"]);
}

#[test]
fn only_the_linearizability_check_finds_a_torn_page() {
    let rules = ["concurrent_operations_are_linearizable"];
    assert_eq!(broken_rules::<TornPage>(), rules);
}
