# SPDX-License-Identifier: Apache-2.0
"""Can this model look at pictures? It is shown one of three and asked which: for `ade-hpc doctor`."""

from __future__ import annotations

import base64
import io
import secrets
from collections.abc import Mapping

from langchain_core.messages import AIMessage, HumanMessage

from ade_hpc.agent.budget import Allowance, Meter
from ade_hpc.agent.deadline import Deadline
from ade_hpc.agent.model import Caller, chat_model, read_key
from ade_hpc.agent.redact import redactor
from ade_hpc.metrics.text import printable
from ade_hpc.spec.site import Llm

COLOURS = ("red", "green", "blue")
SECONDS = 40.0
IMAGE_TOKENS = 1_500
QUESTION = "This picture has one colour. Answer in one word: is it red, green or blue?"


def mistaken(name: str, llm: Llm, environ: Mapping[str, str]) -> str:
    """What the model said of a picture that shows something else; empty where it saw what is there.

    Costs some hundred tokens. Raises NoJudgement where it gave no answer, or was never reached.
    """
    colour = secrets.choice(COLOURS)
    redact = redactor(environ, *([read_key(llm, environ)] if llm.key_file else []))
    caller = Caller(Meter(Allowance(calls=2)), Deadline.after(SECONDS), min(llm.timeout_s, SECONDS), redact)
    model = chat_model(name, llm, environ, timeout_s=caller.timeout_s)
    message = HumanMessage(
        [
            {"type": "text", "text": QUESTION},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_picture(colour)}"}},
        ]
    )
    answer = caller.call(name, IMAGE_TOKENS, lambda: model.invoke([message]), _as_answer)
    words = printable(redact(answer.text), 80) or "nothing"
    named = [one for one in COLOURS if one in words.lower()]
    return "" if named == [colour] else f"{words!r} of a {colour} picture"


def _picture(colour: str) -> str:
    from PIL import Image

    png = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(png, "PNG")
    return base64.b64encode(png.getvalue()).decode()


def _as_answer(message: AIMessage) -> AIMessage:
    return message
