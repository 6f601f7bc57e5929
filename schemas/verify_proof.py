#!/usr/bin/env python3
"""Check a proof of an issued document: `python verify_proof.py FILE`, without anything of Talea.

Whoever was billed runs it. It says what holds and what does not; exit 1 where anything does not.

What it checks: the content is the one that the issue record names; the seal is that of the record;
each record behind it holds the seal before it, up to the head, which a checkpoint signs where there
is one; totals of children sum to their lines, those of lines to the document, also in its notes;
quantities are what the usage beside them comes to, also with notes; the sealed digest is that of
the windows, where they are in the file.

What it cannot check: that this chain is the one that was published. Compare the key that it prints
with the one that the issuer is known by, and the head with what somebody else was given.
"""

import json
import sys
from fractions import Fraction
from hashlib import sha256, sha512

FORMAT, SEALED = "talea.proof.1", "the one that was sealed"
TOTALS = (
    "amount_minor",
    "charges_total_minor",
    "discounts_total_minor",
    "taxes_inclusive_total_minor",
    "taxes_exclusive_total_minor",
    "taxes_total_minor",
    "total_minor",
)


def digest(text):
    """Return the SHA-256 of a text."""
    return sha256(text.encode()).hexdigest()


class Faults(list):
    """What does not hold, told as it is found."""

    def unless(self, holds, fault):
        """Note a fault unless something holds."""
        if not holds:
            self.append(fault)
        return holds


def check_sealed(name, document, faults):
    """Check content, record and seal of one document; return what both say."""
    content, record = document["content"], document["record"]
    told = json.loads(record)
    faults.unless(told["content_digest"] == digest(content), f"{name}: its content is not {SEALED}")
    faults.unless(digest(record) == document["seal"], f"{name}: its issue record is not {SEALED}")
    faults.unless(told["number"] == name, f"{name}: it was sealed as number {told['number']}")
    return json.loads(content), told


def check_chain(proof, faults):
    """Check that every record behind the document holds the seal before it, up to the head."""
    seal, place, number = proof["seal"], proof["place"], proof["number"]
    for record in proof["following"]:
        told, place = json.loads(record), place + 1
        faults.unless(
            told["previous_seal"] == seal and told["issuer"] == proof["issuer"],
            f"{told['number']}: it does not follow {number}: one was removed, added or moved",
        )
        seal, number = digest(record), told["number"]
    head = proof["head"]
    faults.unless(
        (head["place"], head["number"], head["seal"]) == (place, number, seal),
        f"the chain ends with {number} at place {place}, the head is told as"
        f" {head['number']} at place {head['place']}",
    )


def check_checkpoint(proof, faults):
    """Check that the head is signed; return by which key."""
    checkpoint, head = proof.get("checkpoint"), proof["head"]
    if checkpoint is None:
        return "which nobody signed"
    text, told = checkpoint["statement"], json.loads(checkpoint["statement"])
    faults.unless(
        (told["issuer"], told["place"], told["seal"])
        == (proof["issuer"], head["place"], head["seal"]),
        f"the checkpoint signs place {told['place']} of {told['issuer']}, not the head",
    )
    key, signature = (bytes.fromhex(checkpoint[name]) for name in ("key", "signature"))
    faults.unless(
        is_signed(text.encode(), key, signature), "the signature of the checkpoint does not hold"
    )
    return f"signed {told['at']} with the key {checkpoint['key']}"


# Ed25519 (RFC 8032): points of the curve -x2 + y2 = 1 + D x2 y2, as (X, Y, Z, T) with x = X/Z,
# y = Y/Z, xy = T/Z. Slow and not secret, which is all that checking wants.
PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, PRIME) % PRIME


def add(one, other):
    """Return the sum of two points."""
    x, y, z, t = one
    u, v, w, s = other
    a, b = (y - x) * (v - u), (y + x) * (v + u)
    c, d = 2 * D * t * s, 2 * z * w
    e, f, g, h = b - a, d - c, d + c, b + a
    return tuple(part % PRIME for part in (e * f, g * h, f * g, e * h))


def times(count, point):
    """Return a point added to itself so many times."""
    total = (0, 1, 1, 0)
    while count:
        if count & 1:
            total = add(total, point)
        point, count = add(point, point), count >> 1
    return total


def point_of(text):
    """Return the point that 32 bytes name: y, and in the last bit whether x is odd."""
    number = int.from_bytes(text, "little")
    y, odd = number % 2**255, number >> 255
    square = (y * y - 1) * pow(D * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if (x * x - square) % PRIME:
        x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    if len(text) != 32 or y >= PRIME or (x * x - square) % PRIME or (x == 0 and odd):
        raise ValueError("these bytes name no point")
    x = x if x % 2 == odd else PRIME - x
    return x, y, 1, x * y % PRIME


def is_signed(text, key, signature):
    """Return whether a signature is that of a public key over a text."""
    try:
        start, public = point_of(signature[:32]), point_of(key)
    except ValueError:
        return False
    scalar = int.from_bytes(signature[32:], "little")
    hashed = int.from_bytes(sha512(signature[:32] + key + text).digest(), "little") % ORDER
    base = point_of((4 * pow(5, -1, PRIME) % PRIME).to_bytes(32, "little"))
    x, y, z, _ = times(scalar, base)
    u, v, w, _ = add(start, times(hashed, public))
    same = (x * w - u * z) % PRIME == 0 == (y * w - v * z) % PRIME
    return same and scalar < ORDER and len(signature) == 64


def totals_of(parts):
    """Return the seven totals of parts together."""
    return {name: sum(part["totals"][name] for part in parts) for name in TOTALS}


def check_sums(name, content, faults):
    """Check that children sum to their lines, and lines to the document."""
    for line in content["lines"]:
        if line["children"]:
            faults.unless(
                totals_of(line["children"]) == line["totals"],
                f"{name}: the children of line {line['id']} do not sum to it",
            )
        faults.unless(
            line["total_minor"] == line["totals"]["total_minor"],
            f"{name}: line {line['id']} has two totals",
        )
    faults.unless(
        totals_of(content["lines"]) == content["totals"],
        f"{name}: its lines do not sum to it",
    )


def check_notes(proof, content, faults):
    """Check the notes of the document; return what is left of it, in minor units."""
    left = content["totals"]["total_minor"]
    for note in proof["notes"]:
        told, _ = check_sealed(note["number"], note, faults)
        check_sums(note["number"], told, faults)
        faults.unless(
            told.get("corrects") == content["id"],
            f"{note['number']}: it corrects another document",
        )
        left += told["totals"]["total_minor"]
    faults.unless(
        left == proof["left_minor"],
        f"{proof['number']}: with its notes it comes to {left}, told is {proof['left_minor']}",
    )
    return left


def quantity_of(aggregation, parts):
    """Return the quantity that parts [scale, count, sum, minimum, maximum] come to."""
    count = sum(part[1] for part in parts)
    if aggregation == "count":
        return Fraction(count)
    if aggregation in ("sum", "average"):
        total = sum((Fraction(part[2], 10 ** part[0]) for part in parts), Fraction(0))
        return total if aggregation == "sum" else total / (count or 1)
    index, pick = {"min": (3, min), "max": (4, max)}[aggregation]
    return pick((Fraction(part[index], 10 ** part[0]) for part in parts), default=Fraction(0))


def within(window, usage):
    """Return whether a window is among those that a line bills."""
    customer, meter, _, dimensions, start = window[:5]
    known = json.loads(dimensions)
    return (
        (customer, meter) == (usage["customer"], usage["meter"])
        and usage["start_us"] <= start < usage["end_us"]
        and all(known.get(name) in values for name, values in usage["filter"].items())
        and all(known.get(name) == usage["group"].get(name) for name in usage["group_by"])
    )


def check_usage(proof, content, record, faults):
    """Check quantities against usage, and windows against their digest; return how many lines."""
    windows = proof["windows"]
    if windows is not None:
        lines = sorted(canonical(window) for window in windows)
        faults.unless(
            sha256(b"\n".join(lines)).hexdigest() == record["evidence"]["windows_digest"],
            f"{proof['number']}: its windows are not the ones that were sealed",
        )
    lines, checked = {line["id"]: line for line in content["lines"]}, 0
    for usage in proof["usage"]:
        line, parts = lines.get(usage["line"]), usage["parts"]
        if not faults.unless(line, f"{usage['line']}: usage of a line that there is not"):
            continue
        if windows is not None:
            own = [window for window in windows if within(window, usage)]
            parts = [[window[2], *window[5:]] for window in own]
        if usage["aggregation"] is None:
            continue
        checked += 1
        faults.unless(
            quantity_of(usage["aggregation"], parts) == Fraction(line["metered_quantity"]),
            f"{proof['number']}: the usage of line {line['id']} does not come to its quantity",
        )
    return checked


def check_corrected(proof, content, faults):
    """Check quantities with those of notes against the usage at the last; return how many."""
    notes = [json.loads(note["content"]) for note in proof["notes"]]
    lines = [line for each in (content, *notes) for line in each["lines"]]
    for usage in proof.get("corrected", []):
        own = [line for line in lines if usage["line"] in (line["id"], line.get("corrects"))]
        counted = sum(Fraction(line["metered_quantity"] or 0) for line in own)
        holds = counted == quantity_of(usage["aggregation"], usage["parts"])
        fault = f"{proof['number']}: line {usage['line']} with its notes is not its usage"
        faults.unless(holds, fault)
    return len(proof.get("corrected", []))


def canonical(value):
    """Return canonical JSON: keys sorted, no spaces, UTF-8."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode()


def check(proof):
    """Return what does not hold of a proof, and a line that says what was looked at."""
    faults = Faults()
    if not faults.unless(proof.get("format") == FORMAT, f"this is no {FORMAT}"):
        return faults, ""
    content, record = check_sealed(proof["number"], proof, faults)
    check_sums(proof["number"], content, faults)
    check_chain(proof, faults)
    signed = check_checkpoint(proof, faults)
    left = check_notes(proof, content, faults)
    checked = check_usage(proof, content, record, faults)
    corrected = check_corrected(proof, content, faults)
    head = proof["head"]
    return faults, (
        f"{proof['number']} of {content['customer']}: {left} minor units {content['currency']}"
        f" after {len(proof['notes'])} notes, {corrected} quantities with these recomputed;"
        f" {len(content['lines'])} lines sum, {checked} of {len(proof['usage'])} recomputed from"
        f" {'usage' if proof['windows'] is None else 'windows'};"
        f" {len(proof['following'])} seals up to {head['number']}, {head['seal']},"
        f" {signed}"
    )


def main(arguments):
    """Check one file."""
    if len(arguments) != 1:
        print("usage: python verify_proof.py FILE")
        return 2
    try:
        with open(arguments[0], encoding="utf-8") as file:
            faults, told = check(json.load(file))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"{arguments[0]} is no proof: {type(error).__name__} {error}")
        return 1
    print("\n".join(faults) if faults else told)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
