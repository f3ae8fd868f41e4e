"""The program itself, as its users start it; this process writes the manifest and becomes the program."""

import json
import os
import sys

from benchmarks.peers import asking


def main() -> None:
    asked = asking.read()
    limits = {"concurrency": asked.workers, "requests_per_minute": asked.rpm, "max_cost": asked.max_cost}
    # Numbers and not prompts, so that names stay short; the text is the same.
    job = {"id": "all", "prompt": "A mug, number {n}, on a table", "vars": {"n": list(range(asked.images))}}
    manifest = {
        "model": asking.MODEL,
        "resolution": asking.SIZE,
        "ratio": asking.RATIO,
        "limits": {name: value for name, value in limits.items() if value is not None},
        "timeouts": {asking.SIZE: asked.timeout},
        "jobs": [job],
    }
    path = asked.folder / "job.yaml"
    path.write_text(json.dumps(manifest))  # JSON is YAML
    places = [str(path), "--output", str(asked.folder / "out"), "--base-url", asked.url]
    command = [sys.executable, "-m", "batchbanana", "run", *places, "--yes", "--json", "--quiet"]
    os.execve(sys.executable, command, {**os.environ, "GEMINI_API_KEY": asking.KEY})  # noqa: S606 -- our own program


if __name__ == "__main__":
    main()
