"""The machine that reads an answer's body as it arrives, the same for every format of JSON."""

from collections.abc import Callable, Sequence

from batchbanana.providers import Choice, Event, ImageBytes, ImageEnded, ImageStarted, Received
from batchbanana.providers.answer import Answer, choose, failure_of_broken, failure_without_image
from batchbanana.providers.base64stream import Base64Stream
from batchbanana.providers.jsonskim import Piece, Skim
from batchbanana.providers.outline import Use
from batchbanana.task import Attempt, Billed, Failure

IMAGE_LIMIT = 128 * 1024 * 1024  # bytes of one decoded image; whole answers of 30 MB were seen


class AnswerReader:
    """The reader of one answer's body.

    Args:
        use: what is done with a string, as for a `Skim`.
        read: given the document and the number of images that came: what it says.
    """

    def __init__(self, use: Callable[[str, str], Use], read: Callable[[object, int], Answer]) -> None:
        self._skim = Skim(use)
        self._read = read
        self._decoder = Base64Stream(limit=IMAGE_LIMIT)
        self._started = 0
        self._open = False

    @property
    def complete(self) -> bool:
        """Whether the document has closed."""
        return self._skim.complete

    def feed(self, data: bytes) -> Sequence[Event]:
        """Take the next bytes; never raises."""
        events: list[Event] = []
        for piece in self._skim.feed(data):
            self._take(piece, events)
        return events

    def finish(self) -> Sequence[Event]:
        """Say that no more comes; an image that is still open ends with a fault."""
        events = [ImageEnded("the answer broke off within the image")] if self._open else []
        self._open = False
        return events

    def judge(self, attempt: Attempt, images: Sequence[Received]) -> Choice | Failure:
        """Say what the answer meant; `images` are those that were started, in order."""
        answer = self._read(self._skim.document(), len(images))
        chosen = choose(answer, images, attempt, whole=self.complete)
        if chosen:
            return Choice(
                main=chosen[-1],
                extras=tuple(chosen[:-1]),
                model_version=answer.model_version,
                billed=Billed.NO if answer.is_free else Billed.YES,
                charge=answer.charge,
            )
        if answer.says_why or (self.complete and answer.readable):
            return failure_without_image(answer, images)
        fault = "not JSON" if self.complete else self._skim.fault
        return failure_of_broken(answer, fault, self._skim.head)

    def _take(self, piece: Piece, events: list[Event]) -> None:
        if piece.index == self._started:
            self._started += 1
            self._decoder = Base64Stream(limit=IMAGE_LIMIT)
            events.append(ImageStarted(piece.index))
        data = self._decoder.feed(piece.data)
        if piece.last:
            data += self._decoder.finish()
        self._open = not piece.last
        if data:
            events.append(ImageBytes(data))
        if piece.last:
            events.append(ImageEnded(self._decoder.fault))
