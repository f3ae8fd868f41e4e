"""`data-designer` with an image column over a table of prompts, through the chat format, which it speaks."""

import os
import sys

os.environ["NEMO_TELEMETRY_ENABLED"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

import data_designer.config as dd  # type: ignore[import-not-found]
import pandas as pd  # type: ignore[import-untyped]
from data_designer.config.run_config import ResumeMode  # type: ignore[import-not-found]
from data_designer.interface import DataDesigner  # type: ignore[import-not-found]

from benchmarks.peers import asking


def _job(asked: asking.Asked) -> dd.DataDesignerConfigBuilder:
    wish = {"modalities": ["image", "text"], "image_config": {"aspect_ratio": asking.RATIO, "image_size": asking.SIZE}}
    inference = dd.ImageInferenceParams(max_parallel_requests=asked.workers, timeout=asked.timeout, extra_body=wish)
    model = dd.ModelConfig(
        alias="banana", model=asking.MODEL, provider="relay", inference_parameters=inference, skip_health_check=True
    )  # fmt: skip
    job = dd.DataDesignerConfigBuilder(model_configs=[model])
    table = asked.folder / "prompts.parquet"
    if not table.exists():
        pd.DataFrame({"prompt": [asking.prompt(number) for number in range(asked.images)]}).to_parquet(table)
    job.with_seed_dataset(dd.LocalFileSeedSource(path=str(table)))
    job.add_column(dd.ImageColumnConfig(name="picture", prompt="{{ prompt }}", model_alias="banana"))
    return job


def main() -> int:
    asked = asking.read()
    provider = dd.ModelProvider(name="relay", endpoint=f"{asked.url}/v1", api_key=asking.KEY)
    designer = DataDesigner(asked.folder / "out", model_providers=[provider])
    group = 1 if asked.careful else 1000  # what is not yet of a whole group is made again; 1000 is its own default
    designer.set_run_config(
        dd.RunConfig(
            buffer_size=group,
            max_concurrent_row_groups=max(3, -(-asked.workers // group)),
            max_in_flight_tasks=max(1024, asked.workers),
            disable_early_shutdown=True,
            otel_metrics_port=None,
        )
    )
    resume = ResumeMode.ALWAYS if (asked.folder / "out" / "dataset").exists() else ResumeMode.NEVER
    made = designer.create(_job(asked), num_records=asked.images, resume=resume)
    return 0 if len(made.load_dataset()) == asked.images else 1


if __name__ == "__main__":
    sys.exit(main())
