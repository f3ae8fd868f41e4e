"""A quota of the service, by the minute and by the day: told in the manifest, learnt from its 429s, used up."""

from benchmarks.limits.trial import Row, answers, asked, at_most, exactly, trial
from benchmarks.measuring import server

TASKS, QUOTA = 100, 60
SERVER = {"latency": 0.5, "quota": {"requests_per_minute": QUOTA}}
TOLD = {"requests_per_minute": QUOTA, "concurrency": 32}
KILLED_AT = 20.0  # seconds after the start
HINT = 24.0  # seconds; the service has been seen to send such a one with a day's quota, and does not mean it
SHORTEST, LONGEST = (
    60.0,
    25 * 3600.0 + 60.0,
)  # seconds until midnight in California, and a minute for clocks that differ


def told() -> list[Row]:
    """Keep to 60 a minute when the manifest says so, without the wait of even spacing."""
    with trial(SERVER, asked(TASKS, TOLD)) as job:
        ended = job.run()
        return [
            exactly("images", ended.summary["done"], TASKS),
            exactly("answers of 429", len(answers(job.handle, 429)), 0),
            at_most("the whole run", ended.wall, 66, " s"),
        ]


def told_killed() -> list[Row]:
    """Keep to it also when the run is killed and started again: the server counts what came to it."""
    with trial(SERVER, asked(TASKS, TOLD)) as job:
        job.kill(KILLED_AT)
        ended = job.run()
        return [
            exactly("images", ended.summary["done"], TASKS),
            exactly("answers of 429", len(answers(job.handle, 429)), 0),
            at_most("starts in any 60 s", job.handle.bill()["max_starts_in_60s"], QUOTA),
        ]


def untold() -> list[Row]:
    """Learn of the quota from 429s alone, and lose nothing by them."""
    with trial(SERVER, asked(TASKS, {})) as job:
        ended = job.run()
        return [
            exactly("images", ended.summary["done"], TASKS),
            at_most("answers of 429", len(answers(job.handle, 429)), 20),
            at_most("the whole run", ended.wall, 75, " s"),
        ]


def day() -> list[Row]:
    """Pause when the day's quota is used up, say until when, and go on the next day where it stopped."""
    used_up = {"when": {"after": 3.0}, "then": {"error": "rate_day", "retry_delay": HINT}}
    with trial({"latency": 0.5, "faults": [used_up]}, asked(TASKS, {"concurrency": 4})) as job:
        first = job.run()
        made = job.handle.bill()["billed"]
        with server() as tomorrow:
            job.handle = tomorrow
            second = job.run()
            bought = tomorrow.bill()["billed"]
    reason, wait = str(first.summary["stopped"]), first.summary["resume_in"] or 0.0
    return [
        exactly("exit code", first.code, 75),
        exactly("failed", first.summary["failed"], 0),
        exactly("the hour in the message", "UTC" in reason and reason in first.words, wanted=True),
        Row(needed="resume_in of the summary: at midnight", seen=f"{wait:.0f} s", holds=SHORTEST <= wait <= LONGEST),
        exactly("images, the next day", second.summary["done"], TASKS),
        exactly("bought in all", made + bought, TASKS),
    ]
