#!/usr/bin/env python3
"""Prints the chains of two public suites (x509-limbo, BetterTLS) as lines for test_chains.c.

Argument: the folder with cases.jsonl.xz. A line: ID SUITE ACCEPT NAME TIME ROOTS CHAIN, parted by blanks. ACCEPT is yes or
no; NAME is "-" where there is none; ROOTS and CHAIN are certificates, DER in base64, parted by commas, or "-".
"""

import json
import lzma
import sys
from pathlib import Path


def listed(certificates):
    return ",".join(certificates) or "-"


with lzma.open(Path(sys.argv[1]) / "cases.jsonl.xz", "rt") as cases:
    for case in map(json.loads, cases):
        print(case["id"], case["suite"], "yes" if case["accept"] else "no", case["name"] or "-", case["time"],
              listed(case["roots"]), listed(case["chain"]))
