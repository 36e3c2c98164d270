"""Charts to SVG and PNG with vl-convert: no browser, no network."""

import re
from pathlib import Path
from typing import Any

# where fonts of a user may lie that the system's own list leaves out
_FONT_FOLDERS = ("~/.fonts", "~/.local/share/fonts", "~/Library/Fonts", "/usr/local/share/fonts")
_PROBE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">'
    '<text x="4" y="30" font-size="24" font-family="sans-serif">{}</text></svg>'
)
_NAMESPACE = re.compile(r'\sxmlns(:\w+)?="[^"]*"')
_ID = re.compile(r'(\sid="|url\(#|href="#)([\w-]+)')


def svg(chart: dict[str, Any], name: str) -> str:
    """Markup for a page: no namespaces (HTML needs none), ids that begin with `name`, since a page has many charts."""
    import vl_convert

    text = vl_convert.vegalite_to_svg(chart, allowed_base_urls=[])
    return _ID.sub(rf"\g<1>{name}-\2", _NAMESPACE.sub("", text))


def png(chart: dict[str, Any], path: Path) -> None:
    """Two pixels per unit, for dense screens."""
    import vl_convert

    path.write_bytes(vl_convert.vegalite_to_png(chart, scale=2, allowed_base_urls=[]))


def draws_hangul() -> bool:
    """Whether PNGs show Hangul: two syllables look different. Without a font, both are the same empty box or nothing.

    Folders of the user's own fonts are added when the system's do not suffice.
    """
    import vl_convert

    if _differ("가", "나"):
        return True
    for folder in map(Path, _FONT_FOLDERS):
        if (found := folder.expanduser()).is_dir():
            vl_convert.register_font_directory(str(found))
    return _differ("가", "나")


def _differ(a: str, b: str) -> bool:
    import vl_convert

    return vl_convert.svg_to_png(_PROBE.format(a)) != vl_convert.svg_to_png(_PROBE.format(b))


def has_hangul(text: str) -> bool:
    """Whether the text has a Hangul syllable or letter."""
    return any("\uac00" <= c <= "\ud7a3" or "\u1100" <= c <= "\u11ff" or "\u3130" <= c <= "\u318f" for c in text)
