from __future__ import annotations

import pytest
from rq import SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from tests.support.facts import fact, take_in
from tests.support.redis_server import Bench, open_bench
from worker.protocol.keys import COMMIT_UNIT, targets_unit
from worker.protocol.queue import JobState


def test_unit_that_waits_is_not_enqueued_again(bench: Bench) -> None:
    assert bench.queue.enqueue_unit("targets-b1-0")
    assert not bench.queue.enqueue_unit("targets-b1-0")
    assert bench.queue.depth() == 1
    assert bench.queue.job_state("targets-b1-0") == JobState.WAITING


def test_unit_in_a_living_workers_hand_is_not_enqueued_and_in_a_dead_ones_is(bench: Bench) -> None:
    queue = bench.queue
    queue.beat("targets-b1-0", ttl_seconds=30)
    assert not queue.enqueue_unit("targets-b1-0")
    assert queue.without_job(["targets-b1-0", "targets-b1-1"]) == ["targets-b1-1"]
    queue.stop_beating("targets-b1-0")
    assert queue.enqueue_unit("targets-b1-0")


def test_commits_go_to_the_front(bench: Bench) -> None:
    bench.queue.enqueue_units(["targets-b1-0", "targets-b1-1", COMMIT_UNIT])
    assert bench.queue.rq.job_ids[0] == bench.queue.job_id(COMMIT_UNIT)


def test_job_lost_between_queue_and_worker_is_enqueued_again_once(bench: Bench) -> None:
    queue = bench.queue
    queue.enqueue_unit("targets-b1-0")
    bench.redis.lmove(queue.rq.key, queue.rq.intermediate_queue_key, "LEFT", "RIGHT")
    assert queue.job_state("targets-b1-0") == JobState.NONE
    assert queue.enqueue_unit("targets-b1-0")
    assert (queue.depth(), bench.redis.llen(queue.rq.intermediate_queue_key)) == (1, 0)


@pytest.mark.parametrize("status", ["started", "failed", "finished"])
def test_remains_of_an_older_job_do_not_keep_the_unit_from_the_queue(bench: Bench, status: str) -> None:
    queue = bench.queue
    queue.enqueue_unit("targets-b1-0")
    bench.redis.delete(queue.rq.key)
    job = Job.fetch(queue.job_id("targets-b1-0"), connection=bench.queue_redis, serializer=JSONSerializer)
    job.set_status(status)
    assert queue.enqueue_unit("targets-b1-0")
    assert queue.depth() == 1


def test_listed_job_whose_hash_is_gone_is_enqueued_again(bench: Bench) -> None:
    queue = bench.queue
    queue.enqueue_unit("targets-b1-0")
    bench.redis.delete(Job.key_for(queue.job_id("targets-b1-0")))
    assert queue.without_job(["targets-b1-0"]) == ["targets-b1-0"]
    assert queue.enqueue_unit("targets-b1-0")
    assert queue.depth() == 1


def test_hash_that_is_no_job_does_not_keep_the_unit_from_the_queue(bench: Bench) -> None:
    """What a worker leaves that wrote its state into a job which was deleted after it had popped it."""
    queue = bench.queue
    bench.redis.hset(Job.key_for(queue.job_id(COMMIT_UNIT)), mapping={"status": "started", "worker_name": "dead"})
    assert queue.without_job([COMMIT_UNIT]) == [COMMIT_UNIT]
    assert queue.enqueue_unit(COMMIT_UNIT)
    assert queue.job_state(COMMIT_UNIT) == JobState.WAITING


def test_jobs_carry_json_and_a_timeout_of_hours(bench: Bench) -> None:
    bench.queue.enqueue_unit("targets-b1-2")
    fields = bench.queue_redis.hgetall(Job.key_for(bench.queue.job_id("targets-b1-2")))
    job = Job.fetch(bench.queue.job_id("targets-b1-2"), connection=bench.queue_redis, serializer=JSONSerializer)
    assert (job.func_name, job.args, job.timeout) == ("worker.tasks.compute_targets", ["b1", 2], 3600)
    assert b"pickle" not in fields[b"data"]


def test_job_of_a_failing_task_leaves_the_unit_free(bench: Bench) -> None:
    """Outside a worker process the task finds no stages and raises."""
    bench.queue.enqueue_unit(COMMIT_UNIT)
    SimpleWorker([bench.queue.rq], connection=bench.queue_redis, serializer=JSONSerializer).work(burst=True)
    assert bench.queue.job_state(COMMIT_UNIT) == JobState.NONE
    assert bench.queue.enqueue_unit(COMMIT_UNIT)


def test_queues_of_two_stores_on_one_redis_are_apart(bench: Bench) -> None:
    batch = take_in(bench.ledger, fact("P", "x")).record.spec.id
    bench.queue.enqueue_unit(targets_unit(batch, 0))
    mine = bench.queue.depth()
    with open_bench(bench.url) as other:  # empties the Redis, and has another store's id
        other.queue.enqueue_unit(COMMIT_UNIT)
        assert (mine, bench.queue.depth(), other.queue.depth()) == (1, 0, 1)
