"""Make an SVG fit to stand inside a page: no prolog, no foreign names, ids of its own."""

import re
import xml.etree.ElementTree as ET

_DROPPED = {"metadata", "script", "style", "foreignObject", "title"}
_URL = re.compile(r"url\(\s*['\"]?#([^)'\"]+)['\"]?\s*\)")
_FONT_FAMILY = re.compile(r"font-family:[^;]*(;|$)")
_FONT = re.compile(r"font:\s*((?:[a-z0-9.]+\s+)*?)([0-9.]+)px[^;]*(;|$)")


def inline_svg(svg: str, prefix: str, label: str = "") -> str:
    """Rewrite an SVG document for use inside HTML.

    Ids and the references to them get a prefix, so several charts can share a page. Metadata,
    scripts, event handlers, styles that would reach the whole page, and every reference that is
    not to the chart itself (``#id``) or inline data are dropped. Fonts are left to the page, so
    Chinese finds a font that has it.

    Parameters
    ----------
    prefix : str
        Unique in the page.
    label : str
        Alternative text.

    Examples
    --------
    >>> s = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><g id="a"/></svg>'
    >>> inline_svg(s, "x")
    '<svg viewBox="0 0 9 9" class="chart" role="img"><g id="x-a" /></svg>'
    """
    root = ET.fromstring(svg)
    _clean(root, prefix)
    width = root.attrib.pop("width", "")
    root.attrib.pop("height", None)
    root.attrib.pop("version", None)
    root.set("class", "chart")
    root.set("role", "img")
    if label:
        root.set("aria-label", label)
    if size := re.fullmatch(r"([0-9.]+)(pt|px)?", width):
        # Points become pixels at 4/3, as a browser would have done with the attribute.
        scale = 4 / 3 if size[2] == "pt" else 1.0
        root.set("style", f"max-width:{float(size[1]) * scale:.0f}px")
    return ET.tostring(root, encoding="unicode")


def _clean(element: ET.Element, prefix: str) -> None:
    element.tag = _local(element.tag)
    for name, value in list(element.attrib.items()):
        del element.attrib[name]
        kept = _attribute(_local(name), value, prefix)
        if kept is not None:
            element.set(_local(name), kept)
    for child in list(element):
        # A comment's tag is a function.
        if not isinstance(child.tag, str) or _local(child.tag) in _DROPPED:
            element.remove(child)
        else:
            _clean(child, prefix)
    if element.tag not in ("text", "tspan"):
        element.text = None
        for child in element:
            child.tail = None


def _attribute(name: str, value: str, prefix: str) -> str | None:
    if name.startswith("on"):
        return None
    if name == "id":
        return f"{prefix}-{value}"
    if name == "href":
        if value.startswith("#"):
            return f"#{prefix}-{value[1:]}"
        return value if value.startswith("data:image/png;base64,") else None
    value = _URL.sub(rf"url(#{prefix}-\1)", value)
    if "url(" in value.replace(f"url(#{prefix}-", "") or "@import" in value:
        return None
    if name == "style":
        value = _FONT.sub(r"font-size:\2px;", _FONT_FAMILY.sub("", value)).strip().rstrip(";")
    elif name == "font-family":
        return None
    elif name == "d":
        value = " ".join(value.split())
    return value


def _local(name: str) -> str:
    return name.rsplit("}", 1)[-1]
