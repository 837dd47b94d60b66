"""Where each property of Toil's own tests, and each capability that its users have, is tested here.

`PROPERTIES` has a row for each of Toil's tests whose property is one of ours too; `CAPABILITIES` one for each thing that a
program written for Toil finds again. Services stand in both under their own tests, in modules named for them.
"""

import importlib
from functools import reduce
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PROPERTIES: dict[str, tuple[str, ...]] = {
    "static graphs with children and follow-ons, workers killed at random": (
        "tests/crash/test_crash.py::test_successors_come_in_order_though_workers_die",
        "tests/crash/test_crash.py::test_the_same_command_continues",
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
    "an engine that is paused and resumed late": (
        "tests/server/test_paused.py::test_commits_of_one_that_was_taken_for_dead_are_refused",
        "tests/server/test_paused.py::test_one_that_holds_the_lock_of_its_store_is_waited_for",
        "tests/server/test_several_engines.py::test_one_that_is_paused_for_too_long_is_ended_by_the_other",
        "tests/engine/test_fences.py::test_a_worker_of_a_dead_engine_is_refused",
    ),
}
