r"""LaTeX read as a tree: its width on a page, and the same formula in MathML.

One subset of LaTeX is printed by this package (fractions, roots, indices, accents,
named functions, brackets); what is read here is that subset.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field

TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[{}^_&]|\s+|\d+(?:\.\d+)?|.", re.DOTALL)
LETTERS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "Delta": "Δ",
    "varepsilon": "ε", "epsilon": "ϵ", "zeta": "ζ", "eta": "η", "kappa": "κ",
    "lambda": "λ", "Lambda": "Λ", "mu": "μ", "nu": "ν", "rho": "ρ", "sigma": "σ",
    "tau": "τ", "xi": "ξ", "varphi": "φ", "phi": "ϕ", "Phi": "Φ", "psi": "ψ", "pi": "π",
    "Pi": "Π",
    "omega": "ω", "Gamma": "Γ", "theta": "θ", "ell": "ℓ", "infty": "∞", "chi": "χ",
}  # fmt: skip
SIGNS = {
    "cdot": "·", "sim": "∼", "le": "≤", "ge": "≥", "to": "→", "pm": "±", "mp": "∓",
    "sum": "∑", "partial": "∂", "in": "∈", "quad": "\u2003", "perp": "⊥", "neq": "≠",
    "propto": "∝", "int": "∫", "times": "×", "ldots": "…", "prime": "′", ",": "\u2009",
    "langle": "⟨", "rangle": "⟩", "|": "‖", "{": "{", "}": "}", ";": "\u2005",
    ":": "\u2005", " ": " ", "mid": "|", "equiv": "≡", "approx": "≈", "ll": "≪",
}  # fmt: skip
FUNCTIONS = {
    "tanh", "log", "exp", "sin", "cos", "tan", "sinh", "cosh", "min", "max",
}  # fmt: skip
FONTS = {"mathbb", "mathcal", "mathrm", "text", "operatorname", "rm", "mathbf"}
ACCENTS = {"dot": "˙", "hat": "^", "bar": "¯", "tilde": "~", "ddot": "¨"}
DOTS = "˙¨"
DOUBLE = {"E": "𝔼", "P": "ℙ", "R": "ℝ"}
SCRIPT = {"L": "ℒ"}
BRACKETS = ("big", "Big", "bigg", "Bigg")
OPENING = ("left", *(f"{x}l" for x in BRACKETS))
CLOSING = ("right", *(f"{x}r" for x in BRACKETS))
SIZES = (*OPENING, *CLOSING, "big", "displaystyle")
FENCES = ("open", "close", "fence")
SPACES = {"\u2009": 0.17, "\u2003": 1, "\u2005": 0.25, " ": 0.25}
CAPITALS = "ΔΛΦΓΠ"
TALL = ("frac", "big", "sqrt")
"""Kinds that brackets stretch to; around letters with indices they are plain."""
RELATIONS = "=<>≤≥∼→("


@dataclass
class Node:
    """A piece of a formula: its kind, its text, and what it is made of."""

    kind: str
    text: str = ""
    parts: list[Node] = field(default_factory=list)


def parse(latex: str) -> Node:
    """Return the tree of a formula."""
    latex = re.sub(r"\\rm (\w+)", r"\\mathrm{\1}", latex)
    tokens = [x for x in TOKEN.findall(latex) if not x.isspace()]
    row, rest = _row(tokens, "")
    if rest:
        raise ValueError(f"The formula {latex!r} has an unmatched {rest[0]!r}.")
    return row


def _row(tokens: list[str], end: str) -> tuple[Node, list[str]]:
    parts: list[Node] = []
    while tokens and tokens[0] != end:
        if tokens[0] in ("^", "_"):
            kind, tokens = tokens[0], tokens[1:]
            script, tokens = _one(tokens)
            base = parts.pop() if parts else Node("row")
            parts.append(_scripted(base, kind, script))
            continue
        node, tokens = _one(tokens)
        parts.append(node)
        if node.kind == "close":
            _enclose(parts)
    return Node("row", parts=parts), tokens[1:] if end else tokens


def _enclose(parts: list[Node]) -> None:
    """Make one piece of a bracket that closes, what opened it and what is inside.

    The brackets stretch to that alone, and a power stands on the whole.
    """
    for i in reversed(range(len(parts))):
        if parts[i].kind == "open":
            if not any(map(_tall, parts[i:])):
                parts[i].kind = parts[-1].kind = "o"
            parts[i:] = [Node("row", parts=parts[i:])]
            return


def _tall(node: Node) -> bool:
    return node.kind in TALL or any(map(_tall, node.parts))


def _scripted(base: Node, kind: str, script: Node) -> Node:
    name = "sup" if kind == "^" else "sub"
    if base.kind in ("sup", "sub") and base.kind != name:
        first, other = base.parts
        pair = [other, script] if base.kind == "sub" else [script, other]
        return Node("subsup", parts=[first, *pair])
    return Node(name, parts=[base, script])


def _one(tokens: list[str]) -> tuple[Node, list[str]]:
    """Return the next piece and what is left."""
    head, tokens = tokens[0], tokens[1:]
    if head == "{":
        return _row(tokens, "}")
    if not head.startswith("\\"):
        kind = "n" if head[0].isdigit() else "i" if head.isalpha() else "o"
        return Node(kind, head), tokens
    name = head[1:]
    if name in ("frac", "tfrac"):
        top, tokens = _one(tokens)
        bottom, tokens = _one(tokens)
        return Node("frac", parts=[top, bottom]), tokens
    if name == "sqrt":
        inside, tokens = _one(tokens)
        return Node("sqrt", parts=[inside]), tokens
    if name in ACCENTS:
        inside, tokens = _one(tokens)
        return _accented(ACCENTS[name], inside), tokens
    if name in FONTS:
        return _font(name, tokens)
    if name in SIZES:
        node, tokens = _one(tokens)
        kind = "open" if name in OPENING else "close" if name in CLOSING else "fence"
        return (Node("row") if node.text == "." else Node(kind, node.text)), tokens
    return _named(name), tokens


def _accented(mark: str, inside: Node) -> Node:
    """A letter under its accent; indices of the letter are left outside."""
    if inside.kind == "row" and len(inside.parts) == 1:
        inside = inside.parts[0]
    if inside.kind in ("sub", "sup", "subsup"):
        letter, *scripts = inside.parts
        return Node(inside.kind, parts=[_accented(mark, letter), *scripts])
    return Node("accent", mark, [inside])


def _font(name: str, tokens: list[str]) -> tuple[Node, list[str]]:
    inside, tokens = _one(tokens)
    text = _plain(inside)
    if name == "mathbb":
        return Node("v", DOUBLE.get(text, text)), tokens
    if name == "mathcal":
        return Node("v", SCRIPT.get(text, text)), tokens
    return Node("f" if name == "operatorname" else "v", text), tokens


def _plain(node: Node) -> str:
    return node.text + "".join(map(_plain, node.parts))


def _named(name: str) -> Node:
    if name in LETTERS:
        return Node("i", LETTERS[name])
    if name in FUNCTIONS:
        return Node("f", name)
    if name in SIGNS:
        return Node("big" if name == "sum" else "o", SIGNS[name])
    raise ValueError(
        f"The command \\{name} is not read. Add it to this module's tables."
    )


# ---------------------------------------------------------------------------- width

EM = {"n": 0.5, "i": 0.58, "v": 0.68, "o": 0.78, "big": 1.5}
NARROW = {
    "(": 0.4,
    ")": 0.4,
    "[": 0.3,
    "]": 0.3,
    "|": 0.28,
    ",": 0.45,
    "/": 0.5,
    ".": 0.3,
}
SMALL = 0.72


def width(latex: str) -> float:
    """Return about how wide a formula is in display, in em of the text."""
    return _width(parse(latex))


def _width(node: Node) -> float:
    if node.kind == "row":
        return sum(map(_width, node.parts))
    if node.kind == "frac":
        return max(map(_width, node.parts)) + 0.25
    if node.kind == "sqrt":
        return _width(node.parts[0]) + 0.9
    if node.kind == "accent":
        return _width(node.parts[0])
    if node.kind in ("sup", "sub", "subsup"):
        base, *scripts = node.parts
        return _width(base) + SMALL * max(map(_width, scripts)) + 0.05
    if node.kind == "f":
        return 0.55 * len(node.text) + 0.2
    if node.kind in FENCES:
        return 0.45
    if node.text in NARROW:
        return NARROW[node.text]
    return EM.get(node.kind, 0.6) * max(1, len(node.text))


# --------------------------------------------------------------------------- MathML


def mathml(latex: str) -> str:
    """Return a formula as presentation MathML."""
    space = "http://www.w3.org/1998/Math/MathML"
    return f'<math xmlns="{space}">{_element(parse(latex))}</math>'


def mathml_pieces(latex: str, room: float, goes_on: bool = False) -> list[str]:
    """Return a formula in display as pieces that a page may put on lines of their own.

    It is cut before its signs, and between those in a bracket if a piece is wider than
    `room`, in em. One that goes on begins with a sign between two terms.
    """
    whole = parse(latex)
    for part in whole.parts:
        if part.kind in ("open", "close"):  # its other end is in another line
            part.kind = "fixed" if _tall(whole) else "o"
    return [
        f'<math displaystyle="true">{_row_element(group, goes_on or i > 0)}</math>'
        for i, group in enumerate(_cut(whole.parts, room))
    ]


def _cut(parts: list[Node], room: float) -> list[list[Node]]:
    """Return the pieces of a row."""
    groups: list[list[Node]] = [[]]
    for before, part in zip([None, *parts], parts, strict=False):
        if part.kind == "o" and part.text in "+-" and not _leads(before):
            groups.append([])
        groups[-1].append(part)
    return [x for group in groups for x in _opened(group, room)]


def _leads(before: Node | None) -> bool:
    """Return whether a sign after this belongs to what follows, as in ``= -1``."""
    return before is None or before.kind == "open" or before.text in (*RELATIONS, ",")


def _opened(group: list[Node], room: float) -> list[list[Node]]:
    """Cut a piece that is too wide in its widest bracket, which keeps its height."""
    brackets = [
        x for x in group if x.kind == "row" and len(_cut(x.parts[1:-1], 1e9)) > 1
    ]
    if not brackets or sum(map(_width, group)) <= room:
        return [group]
    wide = max(brackets, key=_width)
    i, (first, *inside, last) = group.index(wide), wide.parts
    kind = "fixed" if any(map(_tall, inside)) else "o"
    ends = Node(kind, first.text), Node(kind, last.text)
    inner = _cut(inside, room)
    inner[0] = [*group[:i], ends[0], *inner[0]]
    inner[-1] = [*inner[-1], ends[1], *group[i + 1 :]]
    return inner


TAGS = {"n": "mn", "o": "mo", "big": "mo"}


def _row_element(nodes: list[Node], goes_on: bool = False) -> str:
    """A row, whose signs after a relation or at an end are those of a number.

    The first sign of a row that goes on stands between two terms.
    """
    parts = [_element(x) for x in nodes]
    for i, node in enumerate(nodes):
        if node.kind == "o" and node.text in "+-±∓":
            alone = _leads(nodes[i - 1] if i else None) or i == len(nodes) - 1
            how = 'lspace="0" rspace="0"' if alone else 'form="infix"'
            how = 'form="infix"' if goes_on and i == 0 else how
            parts[i] = parts[i].replace("<mo>", f"<mo {how}>")
    return f"<mrow>{''.join(parts)}</mrow>" if len(parts) != 1 else parts[0]


def _element(node: Node) -> str:
    if node.kind == "row":
        return _row_element(node.parts)
    parts = [_element(x) for x in node.parts]
    if node.kind == "frac":
        return f"<mfrac>{''.join(parts)}</mfrac>"
    if node.kind == "sqrt":
        return f"<msqrt>{parts[0]}</msqrt>"
    if node.kind == "accent":
        how = "" if node.text in DOTS else ' accent="true"'  # browsers shift that dot
        return f"<mover{how}>{parts[0]}<mo>{node.text}</mo></mover>"
    if node.kind in ("sup", "sub", "subsup"):
        big = node.parts[0].kind == "big"
        tag = {"sub": "munder", "subsup": "munderover"}.get(node.kind, "msup")
        tag = tag if big else f"m{node.kind}"
        if node.parts[0].kind == "f":
            parts[0] = f"<mi>{html.escape(node.parts[0].text)}</mi>"
            return f"<{tag}>{''.join(parts)}</{tag}><mo>&#8289;</mo>"
        return f"<{tag}>{''.join(parts)}</{tag}>"
    text = html.escape(node.text).replace("-", "−")
    if node.kind in FENCES:
        return f"<mo>{text}</mo>"
    if node.kind == "fixed":
        return f'<mo minsize="2.2em" maxsize="2.2em">{text}</mo>'
    if node.text in SPACES:
        return f'<mspace width="{SPACES[node.text]}em"/>'
    if node.kind == "f":
        return f"<mi>{text}</mi><mo>&#8289;</mo>"
    if node.kind == "v" or (node.kind == "i" and text in CAPITALS):
        return f'<mi mathvariant="normal">{text}</mi>'
    tag = TAGS.get(node.kind, "mi")
    still = ' stretchy="false"' if tag == "mo" and node.text in "()[]|" else ""
    still += ' lspace="0" rspace="0"' if tag == "mo" and node.text in "|/" else ""
    return f"<{tag}{still}>{text}</{tag}>"
