"""`python -m bench.timed_client PORT RECIPIENT FIRST COUNT RATE`: numbered messages, each at its scheduled instant.

Open loop, over eight kept sessions, in a process of its own for `second_isp`. Says on standard output the monotonic
time at which the first was due; exits other than 0 if one was refused.
"""

import asyncio
import sys
import time
from email.message import EmailMessage

import aiosmtplib

__all__: list[str] = []

_SESSIONS = 8


async def _run(port: int, recipient: str, first: int, count: int, rate: float) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue()
    began = time.monotonic() + 0.5
    print(began, flush=True)

    async def session() -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
            while (at := await queue.get()) >= 0:
                await client.send_message(_letter(first + at, recipient))

    async with asyncio.TaskGroup() as sessions:
        for _ in range(_SESSIONS):
            sessions.create_task(session())
        for at in range(count):
            await asyncio.sleep(max(0.0, began + at / rate - time.monotonic()))
            queue.put_nowait(at)
        for _ in range(_SESSIONS):
            queue.put_nowait(-1)


def _letter(number: int, recipient: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "bench@sender.test", recipient, str(number)
    message.set_content("a code\n" + "x" * 500)
    return message


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])))
