//! Proof that the conformance suite of view stores finds bugs: view stores that each break one rule
//! fail the test of that rule.

mod broken;
mod bugs;

use self::broken::Broken;
use self::bugs::*;
use crate::planted_bugs::{broken_rules, caught};

caught! {
    a_checkpoint_without_its_events_is_caught: EventsLost => view_and_checkpoint_change_together;
    an_empty_page_that_is_ignored_is_caught: EmptyPageIgnored =>
        view_and_checkpoint_change_together;
    a_page_at_any_checkpoint_is_caught: CheckpointUnchecked => a_page_is_applied_once;
    a_checkpoint_that_is_a_position_is_caught: CheckpointByPosition => a_page_is_applied_once;
    a_skip_at_any_checkpoint_is_caught: SkipUnchecked => a_page_is_applied_once;
    a_switch_at_any_checkpoint_is_caught: SwitchUnchecked => a_page_is_applied_once;
    a_page_that_fails_as_a_whole_is_caught: FailedWhole => an_event_that_fails_leaves_no_trace;
    an_event_that_is_passed_over_is_caught: FailedPassed => an_event_that_fails_leaves_no_trace;
    a_skip_that_is_not_listed_is_caught: SkipUnlisted => skipped_events_are_listed;
    a_list_that_begins_again_is_caught: ListFromTheStart => skipped_events_are_listed;
    a_dropped_call_that_tears_is_caught: DropTears => a_dropped_call_takes_effect_completely_or_not;
    a_version_that_begins_again_is_caught: BeginsAgain => a_version_begins_once;
    a_version_of_the_first_log_is_caught: FirstLogKept => a_version_begins_once;
    a_version_seen_too_early_is_caught: SeenTooEarly => readers_see_the_first_version_at_once;
    readers_that_move_backward_are_caught: AlwaysSwitches => readers_never_move_backward;
    a_switch_that_waits_for_a_cut_log_is_caught: NeverDiverged => readers_never_move_backward;
    a_switch_that_keeps_its_checkpoint_is_caught: SwitchStays => readers_never_move_backward;
    an_older_version_that_begins_is_caught: OlderBegins => a_switch_drops_older_versions;
    a_version_that_begins_by_itself_is_caught: BeginsUnasked =>
        a_version_that_is_not_stored_changes_nothing;
    a_version_that_is_not_discarded_is_caught: DiscardIgnored => a_discarded_version_begins_again;
    a_view_of_two_logs_is_caught: LogUnchecked => versions_have_events_of_one_log;
    a_view_that_starts_over_is_caught: BeginsAgain => a_view_resumes_after_a_restart;
    a_view_of_another_store_that_is_replaced_is_caught: LogUnchecked =>
        a_newer_version_does_not_replace_the_view_of_another_store;
}

/// Without a bug, the wrapper of all these keeps every rule: the suite finds the bug, not the
/// wrapper.
#[test]
fn the_wrapper_itself_is_not_broken() {
    let broken = retold_conformance::view_conformance_suite!(Broken<NoBug>, broken_rules);
    assert_eq!(broken, [""; 0]);
}
