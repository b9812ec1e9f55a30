"""Answers without what may differ: order, compression, the case of names. Fast, since there are tens of thousands."""

import struct

# How RDATA with names in it is built: octets, names, and the rest.
LAYOUT = {2: (0, 1), 5: (0, 1), 6: (0, 2), 12: (0, 1), 15: (2, 1), 17: (0, 2), 18: (2, 1), 33: (6, 1), 36: (2, 1), 39: (0, 1)}
OPT = 41


def read_name(message, at):
    """The name in lower case and wire form, and where it ends."""
    labels, end = [], None
    while True:
        length = message[at]
        if length >= 0xC0:
            end = end or at + 2
            at = (length & 0x3F) << 8 | message[at + 1]
        elif length == 0:
            return b"".join(labels) + b"\0", end or at + 1
        else:
            labels.append(message[at : at + 1 + length].lower())
            at += 1 + length


def _rdata(message, rtype, at, length):
    if rtype not in LAYOUT:
        return message[at : at + length]
    before, names = LAYOUT[rtype]
    parts, end = [message[at : at + before]], at + length
    at += before
    for _ in range(names):
        name, at = read_name(message, at)
        parts.append(name)
    return b"".join(parts) + message[at:end]


class Answer:
    """flags: of the header without the ID; sections: three of {(owner, type, class, data): TTL}; opt: (size, TTL) or
    None; options: the octets in it."""

    def __init__(self, message):
        self.size = len(message)
        self.id, self.flags, questions, *counts = struct.unpack_from("!HHHHHH", message)
        assert questions == 1
        at = read_name(message, 12)[1] + 4
        self.question = message[12:at]
        self.sections, self.opt, self.options, self.records = [], None, b"", 0
        for count in counts:
            section = {}
            for _ in range(count):
                owner, at = read_name(message, at)
                rtype, rclass, ttl, length = struct.unpack_from("!HHIH", message, at)
                at += 10
                if rtype == OPT:
                    self.opt = (rclass, ttl)
                    self.options = message[at : at + length]
                else:
                    section[owner, rtype, rclass, _rdata(message, rtype, at, length)] = ttl
                    self.records += 1
                at += length
            self.sections.append(section)
        assert at == len(message), "octets behind the last record"

    @property
    def rcode(self):
        return self.flags & 15 | (self.opt[1] >> 24 << 4 if self.opt else 0)
