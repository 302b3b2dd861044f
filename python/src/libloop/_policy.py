"""For programs that choose their event loop by policy."""

import asyncio
import warnings

from ._event_loop import EventLoop, new_event_loop

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.14 on policies are on their way out

    class EventLoopPolicy(asyncio.DefaultEventLoopPolicy):
        """asyncio.set_event_loop_policy(libloop.EventLoopPolicy()) makes libloop's loop the default."""

        def _loop_factory(self) -> EventLoop:
            return new_event_loop()
