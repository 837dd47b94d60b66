"""Where each property of Toil's own tests, and each capability that its users have, is tested here.

`PROPERTIES` has a row for each of Toil's tests whose property is one of ours too; `CAPABILITIES` one for each thing
that a program written for Toil finds again.
"""

import ast
import importlib
import inspect
import textwrap
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]

PROPERTIES: dict[str, tuple[str, ...]] = {
    "static graphs with children and follow-ons, workers killed at random": (
        "tests/crash/test_crash.py::test_successors_come_in_order_though_workers_die",
        "tests/crash/test_crash.py::test_the_same_command_continues",
        "tests/crash/test_random_graphs.py::test_effects_count_once_though_workers_die",
    ),
    "graphs with one back edge": (
        "tests/graph/test_below.py::test_circles_are_where_networkx_finds_them",
        "tests/graph/test_below.py::test_circles_through_ends_are_told_by_name_and_place",
        "tests/graph/test_below.py::test_circles_in_what_a_task_grows",
        "tests/graph/test_order.py::test_circles_are_found_wherever_they_run",
    ),
    "checkpoints": (
        "tests/client/test_below.py::test_a_checkpoint_does_everything_below_it_again",
        "tests/client/test_below.py::test_a_checkpoint_that_fails_for_good_and_a_second_start",
        "tests/client/test_below.py::test_commands_and_other_values_are_no_checkpoints",
    ),
    "a failure that others were promised ends the run": (
        "tests/client/test_below.py::test_a_failure_that_others_were_promised_ends_everything",
        "tests/engine/test_promises.py::test_a_target_that_fails_fails_the_promise_and_a_retry_makes_it_hold_again",
    ),
    "backoff of retries": (
        "tests/engine/test_retry.py::test_the_gaps_between_attempts_double",
        "tests/engine/test_escalation.py::test_pauses_double_and_there_is_one_attempt_more_than_retries",
    ),
    "promises: forwarded, indexed, nested": (
        "tests/client/test_below.py::test_results_of_work_that_has_not_run",
        "tests/engine/test_promises.py::test_a_chain_of_promises",
    ),
    "promised requirements": (
        "tests/server/test_resources.py::test_what_an_earlier_step_computed_holds_the_number_at_the_limit",
        "tests/server/test_resources.py::test_a_request_from_the_fraction_of_a_processor_holds_the_number_at_the_limit",
        "tests/graph/test_promised.py::test_a_small_local_step_waits_for_the_value",
    ),
    "encapsulation": (
        "tests/client/test_below.py::test_what_follows_comes_after_the_whole_subtree",
        "tests/engine/test_below.py::test_a_run_comes_after_all_that_the_block_before_it_grew",
    ),
    "a diamond with one failing parent, restarted": (
        "tests/server/test_restarts.py::test_the_child_of_a_failing_parent_never_runs",
    ),
    "restart after a failed follow-on": (
        "tests/server/test_restarts.py::test_after_a_failed_follow_on_only_that_runs_again",
    ),
    "export after a restart, and after a failed export": (
        "tests/server/test_restarts.py::test_results_of_a_finished_workflow_can_be_had_at_any_time",
        "tests/client/test_files_end_to_end.py::test_what_could_not_be_sent_is_sent_later",
    ),
    "deferred functions": (
        "tests/workers/test_deferred.py::test_it_is_done_before_the_outcome_is_told",
        "tests/workers/test_deferred.py::test_it_is_done_when_the_process_has_died",
        "tests/workers/test_deferred.py::test_it_is_done_when_the_pool_ends",
        "tests/server/test_files_in_tasks.py::test_what_was_deferred_is_done_however_a_task_ends",
        "tests/server/test_files_in_tasks.py::test_what_was_deferred_is_done_after_the_engine_was_killed",
    ),
    "two handles on one store": (
        "tests/state/test_stores.py::TestSqlite::test_nothing_is_seen_before_it_is_committed",
        "tests/state/test_stores.py::TestPostgres::test_nothing_is_seen_before_it_is_committed",
        "tests/state/test_stores.py::TestPostgres::test_settings",
        "tests/cli/test_operating.py::test_settings_are_kept_in_the_store_and_count_for_everybody",
    ),
    "deletion of jobs and files, in batches": (
        "tests/engine/test_files.py::test_deleted_runs_take_their_files_with_them",
        "tests/client/test_files.py::test_a_deleted_file_is_gone_for_all_who_hold_its_id",
        "tests/client/test_files_end_to_end.py::test_temporary_files_go_when_their_block_ends_however_many",
    ),
    "a stream that fails leaves the old content or nothing": (
        "tests/workers/test_filestore.py::test_an_error_at_any_write_leaves_nothing",
        "tests/workers/test_filestore.py::test_streams_of_shared_names",
        "tests/objects/test_stores.py::TestLocal::test_a_stream_that_fails_leaves_nothing",
        "tests/objects/test_stores.py::TestS3::test_a_stream_that_fails_leaves_nothing",
    ),
    "shared files; bytes and text": (
        "tests/workers/test_filestore.py::test_a_shared_name_is_put_and_read",
        "tests/workers/test_filestore.py::test_text_comes_back_as_it_was",
        "tests/client/test_files.py::test_text_bytes_and_streams",
        "tests/client/test_files_end_to_end.py::test_a_named_file_is_there_for_everybody_at_once",
    ),
    "messages: each once, all on request, a megabyte long": (
        "tests/client/test_files.py::test_each_message_is_given_once_and_all_again_on_request",
        "tests/state/test_stores.py::TestSqlite::test_a_message_may_be_a_megabyte",
        "tests/state/test_stores.py::TestPostgres::test_of_those_who_read_at_once_one_is_given_it",
    ),
    "many jobs at once; growing and shrinking jobs; cleaning": (
        "tests/engine/test_resume.py::test_the_first_chunks_run_before_the_last_are_there",
        "tests/client/test_files_end_to_end.py::test_arguments_grow_and_shrink",
        "tests/cli/test_operating.py::test_cleaning_deletes_results_and_keeps_the_record",
    ),
    "import and export between every pair of stores": (
        "tests/objects/test_places.py::test_files_of_any_size_come_back_from_anywhere",
        "tests/objects/test_places.py::test_a_file_is_moved_into_a_store",
        "tests/objects/test_stores.py::TestS3::test_import_and_export",
        "tests/objects/test_s3.py::TestMoto::test_parts",
    ),
    "part of a stream": (
        "tests/workers/test_filestore.py::test_part_of_a_long_stream_may_be_read",
        "tests/objects/test_stores.py::TestS3::test_a_stream_need_not_be_read_to_its_end",
        "tests/objects/test_places.py::test_a_stream_from_a_bucket_can_be_closed_early",
    ),
    "destroying twice, and what is damaged": (
        "tests/cli/test_operating.py::test_a_damaged_and_a_half_deleted_store_are_destroyed",
    ),
    "ids are not used again": (
        "tests/engine/test_files.py::test_an_id_is_never_used_again",
        "tests/workers/test_filestore.py::test_ids_are_never_used_again",
    ),
    "empty, large and very large files": (
        "tests/workers/test_filestore.py::test_what_is_written_is_what_is_read",
        "tests/objects/test_stores.py::TestS3::test_files",
        "tests/objects/test_s3.py::TestMoto::test_parts",
    ),
    "eviction from the cache, whole, in part and not possible": (
        "tests/cache/test_node.py::test_a_job_that_asks_for_disk_evicts",
        "tests/cache/test_node.py::test_victims_are_those_of_the_rule",
    ),
    "the cache with many readers and kills": (
        "tests/cache/test_model.py::test_the_cache_against_a_model",
        "tests/cache/test_processes.py::test_one_download_for_many_readers_who_are_woken",
        "tests/cache/test_processes.py::test_when_the_downloader_dies_another_one_downloads",
        "tests/cache/test_processes.py::test_what_a_killed_process_owned_is_adopted",
    ),
    "reading one's own writes before they are sent": (
        "tests/cache/test_node.py::test_a_file_is_taken_at_once_and_sent_later",
        "tests/workers/test_filestore.py::test_a_task_reads_what_it_wrote",
    ),
    "random operations under kills, sizes as in a model": (
        "tests/client/test_files_end_to_end.py::test_sizes_are_those_of_a_model_though_workers_die",
        "tests/workers/test_filestore_random.py::test_random_operations_do_what_the_model_does",
        "tests/engine/test_journal.py::test_whatever_happens_nothing_that_is_named_is_deleted",
    ),
    "copies removed by hand, and twice": (
        "tests/workers/test_filestore.py::test_deleting_is_told_and_not_done",
        "tests/cache/test_node.py::test_a_file_that_was_removed_by_hand_is_downloaded_again",
    ),
    "the executable bit; hostile readers": (
        "tests/workers/test_filestore.py::test_who_may_execute_it_is_kept",
        "tests/workers/test_hostile.py::test_what_was_given_is_no_way_to_the_store",
        "tests/workers/test_hostile.py::test_an_ordinary_user_has_no_way_to_the_store",
        "tests/objects/test_stores.py::TestLocal::test_user_code_cannot_change_what_it_was_given",
    ),
    "states, statistics and kills from another process": (
        "tests/cli/test_operating.py::test_the_states_of_a_workflow_as_another_process_sees_them",
        "tests/cli/test_operating.py::test_statistics_by_task",
        "tests/server/test_halting.py::test_kill_now_stops_the_engine_and_its_workers_and_nothing_is_marked",
    ),
    "services: trees, messages, random kills, deadlock": (
        "tests/server/test_services.py::test_a_tree_of_them_is_up_before_its_users_and_down_after_them",
        "tests/server/test_services.py::test_messages_are_exchanged",
        "tests/server/test_services.py::test_killed_at_random_the_right_result_comes",
        "tests/server/test_services.py::test_more_services_than_fit_are_an_error_at_once",
        "tests/server/test_services.py::test_a_check_that_raises_is_a_failed_attempt",
    ),
    "an engine that is paused and resumed late": (
        "tests/server/test_paused.py::test_commits_of_one_that_was_taken_for_dead_are_refused",
        "tests/server/test_paused.py::test_one_that_holds_the_lock_of_its_store_is_waited_for",
        "tests/server/test_several_engines.py::test_one_that_is_paused_for_too_long_is_ended_by_the_other",
        "tests/engine/test_fences.py::test_a_worker_of_a_dead_engine_is_refused",
    ),
}

CAPABILITIES: dict[str, tuple[str, ...]] = {
    "1 ids of files are texts with size and mode": (
        "tests/workers/test_filestore.py::test_names_and_modes_are_kept",
        "tests/client/test_files_end_to_end.py::test_an_id_in_a_sentence_is_as_good_as_any",
    ),
    "2 writing files and streams": (
        "tests/workers/test_filestore.py::test_what_is_written_is_what_is_read",
        "tests/workers/test_filestore.py::test_who_may_execute_it_is_kept",
        "tests/engine/test_files.py::test_temporary_files_go_when_their_block_has_ended_well",
    ),
    "3 reading by link or copy, never over something": (
        "tests/workers/test_filestore.py::test_reading_never_overwrites",
        "tests/workers/test_hostile.py::test_what_was_given_is_no_way_to_the_store",
    ),
    "4 reading streams, of own files too": (
        "tests/workers/test_filestore.py::test_a_task_reads_what_it_wrote",
        "tests/workers/test_filestore.py::test_a_long_stream_comes_back_as_it_was",
        "tests/workers/test_filestore.py::test_text_comes_back_as_it_was",
    ),
    "5 sizes": (
        "tests/client/test_files.py::test_a_store_with_nothing",
        "tests/client/test_files_end_to_end.py::test_an_id_in_a_sentence_is_as_good_as_any",
    ),
    "6 deleting here and everywhere": (
        "tests/server/test_files_in_tasks.py::test_files_are_deleted_when_an_attempt_is_accepted_and_never_before",
        "tests/workers/test_filestore.py::test_deleting_is_told_and_not_done",
        "tests/engine/test_files.py::test_what_keeps_bytes",
    ),
    "7 temporary directories and files": (
        "tests/workers/test_filestore.py::test_temporary_files_are_gone_however_it_ends",
        "tests/server/test_files_in_tasks.py::test_what_was_deferred_is_done_after_the_engine_was_killed",
    ),
    "8 disk use while it runs": (
        "tests/server/test_sampling.py::test_who_exceeds_a_limit_is_to_be_ended",
        "tests/server/test_resources.py::test_what_was_on_the_disk_is_recorded",
        "tests/workers/test_diskuse.py::test_files_in_all_depths_count",
    ),
    "9 what was read is recorded": (
        "tests/workers/test_filestore.py::test_every_read_is_told",
        "tests/client/test_files.py::test_a_run_comes_from_those_whose_files_it_read",
    ),
    "10 import, export, listings": (
        "tests/objects/test_places.py::test_what_is_there",
        "tests/objects/test_places.py::test_directories_are_listed",
        "tests/client/test_transfer.py::test_commands_for_addresses",
    ),
    "11 addresses of stored files": (
        "tests/client/test_transfer.py::test_urls_of_stored_files",
        "tests/client/test_transfer.py::test_signed_urls",
        "tests/client/test_serving.py::test_it_gives_the_bytes_and_says_what_they_are",
        "tests/client/test_serving.py::test_nothing_else_is_served",
    ),
    "12 messages and texts to the workflow": (
        "tests/workers/test_filestore.py::test_messages_are_sent_at_once_and_are_in_the_log",
        "tests/client/test_files.py::test_streams_are_shown_with_the_logs",
    ),
    "13 commit in two phases": (
        "tests/workers/test_filestore.py::test_outcomes_come_in_order_and_never_before_their_bytes",
        "tests/workers/test_filestore.py::test_nor_before_a_cache_has_sent_their_bytes",
        "tests/engine/test_files.py::test_deletions_count_with_the_outcome",
        "tests/engine/test_journal.py::test_a_store_that_is_killed_while_it_deletes",
    ),
    "14 limits and figures of the cache": (
        "tests/cache/test_node.py::test_limits_change_while_running",
        "tests/cache/test_node.py::test_reading_and_forgetting",
        "tests/cache/test_node.py::test_a_store_on_the_same_file_system_is_read_in_place",
    ),
    "15 states of the cache, adoption": (
        "tests/cache/test_node.py::test_every_transition_leads_to_a_state_with_a_way_out",
        "tests/cache/test_processes.py::test_what_a_killed_process_owned_is_adopted",
        "tests/cache/test_processes.py::test_the_cache_is_removed_when_nobody_uses_it",
    ),
    "16 errors of the cache": (
        "tests/cache/test_processes.py::test_an_ordinary_user_gets_links_and_cannot_write_through_them",
        "tests/cache/test_node.py::test_only_files_of_its_own_directory_are_taken_from_a_job",
        "tests/cache/test_node.py::test_what_cannot_be_sent_is_told_once",
    ),
    "17 jobs as classes and functions": (
        "tests/graph/test_classes.py::test_workers_make_an_instance_and_run_it",
        "tests/graph/test_calls.py::test_options_make_another_task_with_the_same_digest",
        "tests/server/test_resources.py::test_local_runs_take_no_processors",
    ),
    "18 children, follow-ons, subtrees, checkpoints": (
        "tests/client/test_below.py::test_what_follows_comes_after_the_whole_subtree",
        "tests/client/test_below.py::test_checkpoints_in_checkpoints",
        "tests/client/test_below.py::test_a_worker_that_dies_while_it_grows_leaves_nothing_half_grown",
    ),
    "19 promises with paths; promised requirements": (
        "tests/client/test_below.py::test_results_of_work_that_has_not_run",
        "tests/graph/test_calls.py::test_parts_of_a_result_are_selected_by_the_run_that_wants_them",
        "tests/server/test_resources.py::test_any_task_may_ask_for_what_another_step_computed",
    ),
    "20 checks of the graph": (
        "tests/graph/test_below.py::test_circles_are_where_networkx_finds_them",
        "tests/graph/test_below.py::test_the_search_is_linear",
        "tests/graph/test_below.py::test_long_chains_are_no_problem",
    ),
    "21 deferred functions": (
        "tests/server/test_files_in_tasks.py::test_what_was_deferred_is_done_however_a_task_ends",
    ),
    "22 options in the user's program; debugging": (
        "tests/client/test_arguments.py::test_a_program_takes_the_engines_options_beside_its_own",
        "tests/client/test_debugging.py::test_files_and_large_values_are_fetched",
        "tests/cli/test_laying.py::test_a_shell_is_opened_where_the_inputs_are",
    ),
    "23 services": (
        "tests/graph/test_service.py::test_classes",
        "tests/server/test_services.py::test_a_tree_of_them_is_up_before_its_users_and_down_after_them",
        "tests/server/test_services.py::test_its_start_fails_for_good",
        "tests/engine/test_services.py::test_users_wait_until_it_is_up_and_it_ends_after_them",
        "tests/engine/test_services.py::test_failing_for_good_it_is_the_root_cause_of_its_users",
    ),
    "24 code is found again, in the version that was submitted": (
        "tests/workers/test_loader.py::test_other_code_than_was_submitted_is_not_run",
        "tests/workers/test_loader.py::test_modules_beside_a_script_are_found",
    ),
    "25 a run is a row": (
        "tests/state/test_stores.py::TestSqlite::test_transitions_of_runs",
        "tests/state/test_stores.py::TestSqlite::test_changes_of_runs",
        "tests/client/test_queries.py::test_a_run_with_its_inputs_and_outputs",
    ),
    "26 life of a store": (
        "tests/cli/test_operating.py::test_how_a_workflow_was_started_is_kept_and_restored",
        "tests/cli/test_operating.py::test_destroying_takes_what_is_the_stores_and_nothing_else",
        "tests/state/test_migrations.py::test_a_new_store_is_never_seen_half_made",
    ),
    "27 rows are changed together": (
        "tests/state/test_stores.py::TestSqlite::test_nothing_stays_of_a_transaction_that_raises",
        "tests/state/test_stores.py::TestPostgres::test_a_kill_leaves_data_as_whole_as_before",
        "tests/state/test_stores.py::TestPostgres::test_no_two_engines_claim_the_same_run",
    ),
    "28 shared files, sealed or not": (
        "tests/workers/test_filestore.py::test_a_shared_name_that_is_none_is_refused",
        "tests/client/test_files.py::test_a_name_that_was_changed_by_others",
        "tests/client/test_files.py::test_a_store_whose_objects_are_sealed",
    ),
    "29 messages and statistics once, or all": (
        "tests/client/test_files.py::test_each_message_is_given_once_and_all_again_on_request",
        "tests/cli/test_operating.py::test_statistics_by_task",
    ),
    "30 who serves a store, and stopping it": (
        "tests/server/test_halting.py::test_kill_now_stops_the_engine_and_its_workers_and_nothing_is_marked",
        "tests/server/test_halting.py::test_one_workflow_is_stopped_and_the_others_go_on",
        "tests/server/test_halting.py::test_all_engines_of_a_database_are_stopped",
    ),
    "31 processes are known across containers": (
        "tests/launchers/test_local.py::test_a_workers_identity_is_that_of_its_process",
        "tests/launchers/test_reaping.py::test_a_pid_that_belongs_to_somebody_else_now_is_left_alone",
        "tests/server/test_namespaces.py::test_an_engine_outside_never_takes_the_work_of_a_living_one_inside",
    ),
    "32 helpers": (
        "tests/client/test_helpers.py::test_a_copy_that_fails_leaves_what_was_there",
        "tests/client/test_helpers.py::test_a_public_directory_can_be_passed_through",
        "tests/client/test_helpers.py::test_a_tree_is_deleted_whatever_its_modes_and_links",
        "tests/client/test_helpers.py::test_space_is_that_of_the_file_system",
        "tests/client/test_helpers.py::test_what_may_be_over_soon_is_tried_again",
        "tests/client/test_helpers.py::test_the_last_error_is_raised_and_another_kind_at_once",
        "tests/client/test_helpers.py::test_a_function_may_say_which_errors_and_it_may_go_on_for_ever",
    ),
    "33 commands": (
        "tests/cli/test_commands.py::test_run_prints_the_result_and_reuses_it",
        "tests/cli/test_operating.py::test_failed_runs_are_listed_with_why_and_what_they_printed",
        "tests/cli/test_operating.py::test_cleaning_deletes_results_and_keeps_the_record",
    ),
    "34 local workers, and what starts them": (
        "tests/launchers/test_local.py::test_a_crash_says_where_in_python_it_happened",
        "tests/launchers/test_local.py::test_killing_reaches_processes_that_have_lost_their_parent",
        "tests/launchers/test_local.py::test_stopping_hands_over_what_is_finished_and_leaves_nothing",
        "tests/launchers/test_local.py::test_when_the_host_is_killed_the_whole_group_dies",
    ),
}


@pytest.mark.parametrize(
    "node", sorted({node for table in (PROPERTIES, CAPABILITIES) for row in table.values() for node in row})
)
def test_it_is_tested(node: str) -> None:
    path, *names = node.split("::")
    assert (ROOT / path).is_file()
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    function = reduce(getattr, names, module)
    assert callable(function)
    collected = [Path(path).name.startswith("test_"), names[-1].startswith("test_")]
    assert all([*collected, *(name.startswith("Test") for name in names[:-1])]), "pytest does not collect it"
    assert _asserts(function, set()), "it asserts nothing"


_ASSERTING = {"pytest.raises", "run_state_machine_as_test"}


def _asserts(function: Any, seen: set[Any]) -> bool:
    """Whether a test asserts anything, or has an exception raised, itself or by what it calls of the tests' own: that
    may raise one by itself. A state machine is its invariants and its rules."""
    function = inspect.unwrap(getattr(getattr(function, "hypothesis", None), "inner_test", function))
    helps = bool(seen)
    seen.add(function)
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if isinstance(node, ast.Assert) or (helps and isinstance(node, ast.Raise)):
            return True
        if isinstance(node, (ast.Attribute, ast.Name)) and ast.unparse(node) in _ASSERTING:
            return True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = function.__globals__.get(node.func.id)
            ours = inspect.isfunction(called) and called.__module__.startswith(("tests.", "tidemill.testing"))
            if ours and called not in seen and _asserts(called, seen):
                return True
    return False


def test_a_test_without_an_assertion_is_noticed() -> None:
    def helped() -> None:
        test_no_capability_is_left_out()

    def idle() -> None:
        len(sorted([2, 1]))

    assert _asserts(helped, set())
    assert not _asserts(idle, set())


def test_no_capability_is_left_out() -> None:
    assert [int(row.split()[0]) for row in CAPABILITIES] == list(range(1, 35))
    assert all(PROPERTIES.values()) and all(CAPABILITIES.values())
