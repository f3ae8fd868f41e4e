"""What a manifest says, after it was checked: frozen values, money in integer micro-dollars, times in seconds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from batchbanana.manifest.template import Template
from batchbanana.models import Model, Prices, Registry
from batchbanana.names import NameTemplate
from batchbanana.task import OnMismatch, Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """Whom to ask, and how.

    Attributes:
        format: the wire format, `gemini` or `openai`.
        base_url: a relay's; None is Google.
        api_key_env: the environment variable that holds the key; None for the usual ones.
        auth: `bearer` or `google`; None decides by host.
        dialect: how the openai format says ratio and size; None is `none`, which cannot say them.
        price: what a call costs there, whatever the models' list prices say; None leaves it to these.
    """

    format: str = "gemini"
    base_url: str | None = None
    api_key_env: str | None = None
    auth: str | None = None
    dialect: str | None = None
    price: Prices | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """What may not be passed; None is no limit. Money in micro-dollars."""

    concurrency: int = 16
    requests_per_minute: int | None = None
    images_per_minute: int | None = None
    requests_per_day: int | None = None
    spend_per_10_minutes: int | None = None
    max_cost: int | None = None
    max_possibly_billed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Variables that are set together: one of `vars`, or all columns of `rows`.

    Attributes:
        names: of the variables.
        values: as shown in prompts and names, one tuple for each step along the axis.
        paths: what references see in the place of a single variable's values; None when that is the same.
    """

    names: tuple[str, ...]
    values: Sequence[tuple[str, ...]]
    paths: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """Cells to take out: those whose value is among the wanted ones in every field that is named here."""

    line: int
    wanted: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """A reproducible random part of a matrix."""

    line: int
    count: int
    seed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One entry of a manifest: prompts and their axes.

    Attributes:
        id: as written; in a CSV without ids, the manifest's name.
        line: where it stands in the manifest.
        ratios: None among them leaves the ratio to the model.
        samples: the numbers of the images of one cell.
        files: the images that rendered references name, by the path as rendered; shared by all jobs.
        include: what is added to the matrix, as jobs of their own without exclusions.
        fallback: the resolution to try after another one.
        timeouts: seconds a whole attempt may take, by size.
        stall: seconds within which an arriving body must make progress.
        extra: merged into the request body.
        on_mismatch: what becomes of an image that is not what was asked.
    """

    id: str
    line: int
    prompts: tuple[Template, ...]
    axes: tuple[Axis, ...]
    models: tuple[Model, ...]
    ratios: tuple[str | None, ...]
    resolutions: tuple[str, ...]
    samples: Sequence[int]
    references: tuple[Template, ...]
    files: Mapping[str, Reference]
    fallback: Mapping[str, str]
    timeouts: Mapping[str, float]
    stall: float
    extra: Mapping[str, object]
    images: NameTemplate
    on_mismatch: OnMismatch = OnMismatch.KEEP
    exclude: tuple[Exclusion, ...] = ()
    include: tuple["Job", ...] = ()
    pick: Pick | None = None

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of all variables, in the manifest's order."""
        return tuple(name for axis in self.axes for name in axis.names)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of steps along the axes, in the order of walking: what changes the prompt first, samples last."""
        variables = [len(axis.values) for axis in self.axes]
        settings = (len(self.models), len(self.ratios), len(self.resolutions), len(self.samples))
        return (len(self.prompts), *variables, *settings)

    @property
    def spanned(self) -> int:
        """How many cells the axes span, before `exclude`, `pick` and `include`."""
        return prod(self.sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Jobs that differ in ids, texts and the files of references alone: one of them, and how many there are."""

    job: Job
    jobs: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A copy of a manifest's text, for the record: its sha256, and the text itself, or zlib's packing of a long one."""

    sha256: str
    content: str | bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What the manifest says to do.

    Attributes:
        name: of the job directory; a plain name.
        path: the file.
        copy: of its text as it was read.
        jobs: in the order of the file; those of a CSV are made when they are looked at.
        kinds: gives the same jobs, those that cost and take the same together.
        registry: the models as they hold for this manifest, with its own entries and its provider's prices.
        models: those that its jobs ask for, each once.
        sandbox: free settings for `run --sandbox`.
        warnings: sentences for the user.
    """

    name: str
    path: Path
    copy: Copy = field(repr=False)
    provider: ProviderSettings
    limits: LimitSettings
    jobs: Sequence[Job] = field(repr=False)
    kinds: Callable[[], Iterable[Kind]] = field(repr=False)
    registry: Registry = field(repr=False)
    models: tuple[Model, ...]
    sandbox: Mapping[str, object]
    warnings: tuple[str, ...]
