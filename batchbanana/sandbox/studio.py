"""Makes the pictures of answers, off the event loop, and keeps those that are to be fetched."""

from functools import partial

import anyio
import anyio.to_thread

from batchbanana.sandbox.downloads import Downloads
from batchbanana.sandbox.pictures import WORKERS
from batchbanana.sandbox.plans import Plan, data_uri, paint
from batchbanana.sandbox.rules import Script


class Studio:
    """The painters of one sandbox, and its shelf of pictures behind addresses."""

    def __init__(self, script: Script) -> None:
        self._size = script.bytes
        self._plain = script.pictures == "plain"
        self._painters = anyio.CapacityLimiter(WORKERS)
        self._painting = anyio.Lock()
        self._ready: dict[object, list[bytes]] = {}  # the plain pictures, by all they depend on
        self.downloads = Downloads()

    async def images(self, planned: Plan) -> list[bytes]:
        """Make the images of an answer, as `paint` gives them."""
        if not self._plain:
            return await self._paint(planned)
        key = planned.look
        if key not in self._ready:
            async with self._painting:  # a thousand clients at once must not paint the first one a thousand times
                if key not in self._ready:
                    self._ready[key] = await self._paint(planned)
        return self._ready[key]

    async def _paint(self, planned: Plan) -> list[bytes]:
        job = partial(paint, planned, size=self._size, plain=self._plain)
        return await anyio.to_thread.run_sync(job, limiter=self._painters)

    def uris(self, planned: Plan, images: list[bytes], host: str) -> list[str]:
        """Give for each image its data as a URI, or its address at this host, where it is kept from now on."""
        if not planned.linked:
            return [data_uri(planned, index) for index in range(len(images))]
        keep = partial(
            self.downloads.keep, mime=planned.model.mime, label=planned.mime, effect=planned.effects.download
        )
        return [f"http://{host}{keep(image)}" for image in images]
