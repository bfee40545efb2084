"""What is offered is explained to users, word for word."""

import re
from pathlib import Path

from lane_relay.smtp.server import Options

PAGE = Path(__file__).parents[3] / "docs" / "submission.md"


def test_every_keyword_of_ehlo_stands_in_the_page_and_no_other() -> None:
    options = Options("out1.example.com")
    offered = {line.split()[0] for tls in (False, True) for line in options.ehlo_lines(tls=tls)[1:]}
    table = PAGE.read_text().partition("## What EHLO offers")[2].partition("\n## ")[0]
    explained = {
        word
        for row in table.splitlines()
        if row.startswith("| ")
        for word in re.findall(r"[A-Z8]{3,}", row.split("|")[1])
    }

    assert explained - {"PLAIN", "LOGIN"} == offered
