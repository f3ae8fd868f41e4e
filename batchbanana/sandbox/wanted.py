"""What a request wants, in whichever format it came, and whether its model can do that."""

from dataclasses import dataclass

from batchbanana.sandbox.catalog import MODELS, Model
from batchbanana.sandbox.forms import refuse
from batchbanana.sandbox.problems import Refusal, unknown_model

_MIMES = {"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A request that could be read.

    Attributes:
        model_id: the catalogue's, where the model is known.
        model_name: the model as the request spells it.
        prompt: its texts, a line each.
        ratio: as asked; None leaves it to the model.
        resolution: as asked; None leaves it to the model.
        references: MIME type as claimed, and bytes.
        modalities: what may be answered, TEXT and IMAGE.
        candidates: how many answers are asked for.
        flex: whether the half-price tier is asked for.
        token_cap: the most output tokens that were allowed.
        chat: whether it came in the chat format, and is answered in it.
    """

    model_id: str
    model_name: str
    prompt: str
    ratio: str | None
    resolution: str | None
    references: tuple[tuple[str, bytes], ...]
    modalities: frozenset[str]
    candidates: int = 1
    flex: bool
    token_cap: int | None
    chat: bool = False


def check(wanted: Wanted) -> Model:
    """Check a request against the model it names, and give the model.

    Raises:
        Refusal: no such model, or one that cannot do what is asked.
    """
    model = MODELS.get(wanted.model_id)
    if model is None:
        raise Refusal(unknown_model(wanted.model_name))
    if not (wanted.prompt or wanted.references):
        refuse("* GenerateContentRequest.contents: contents is not specified", "contents")
    if not wanted.modalities <= {"TEXT", "IMAGE"}:
        refuse("The model does not support the requested response modalities.", "generation_config.response_modalities")
    if wanted.candidates > 1:
        refuse("Multiple candidates is not enabled for this model", "generation_config.candidate_count")
    if len(wanted.references) > model.references:
        refuse(f"At most {model.references} images may be sent to {model.id}.", "contents")
    _check_picture(wanted, model)
    for index, (mime, data) in enumerate(wanted.references):
        _check_reference(index, mime, data)
    return model


def _check_picture(wanted: Wanted, model: Model) -> None:
    place = "generation_config.image_config."
    if wanted.ratio is not None and wanted.ratio not in model.pixels:
        known = ", ".join(sorted(model.pixels))
        refuse(f"aspect_ratio must be one of: {known}; got {wanted.ratio!r}.", place + "aspect_ratio")
    if wanted.resolution is not None and not model.takes_size:
        refuse(f"image_size is not supported by {model.id}.", place + "image_size")
    if wanted.resolution is not None and wanted.resolution not in model.prices:
        known = ", ".join(model.prices)
        refuse(f"image_size must be one of: {known}; got {wanted.resolution!r}.", place + "image_size")


def _check_reference(index: int, mime: str, data: bytes) -> None:
    place = f"contents.parts.inline_data[{index}]"
    if mime not in _MIMES:
        refuse(f"Unsupported MIME type: {mime}", place)
    if sniff(data) != mime and not {sniff(data), mime} <= {"image/heic", "image/heif"}:
        refuse(f"Unable to process input image: its bytes are not {mime}.", place)


def sniff(data: bytes) -> str | None:
    """Tell the MIME type from the first bytes; None when it is no image the service takes."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        return "image/heic" if data[8:12] in {b"heic", b"heix", b"hevc"} else "image/heif"
    return None
