"""A page as a browser would read it, as far as elements, attributes and text go."""

import json
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """Reads a page as a browser would, as far as elements, attributes and text go."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[tuple[dict[str, str], str]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        values = {key: value or "" for key, value in attrs}
        self.elements.append((tag, values))
        if tag == "script":
            self.scripts.append((values, ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, "elements are nested"

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            values, before = self.scripts[-1]
            self.scripts[-1] = values, before + data
        elif self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(tag, tuple(values)) for tag, values in self.elements]

    @property
    def policy(self) -> str:
        return next(
            v["content"] for _, v in self.elements if v.get("http-equiv") == "Content-Security-Policy"
        )

    @property
    def data(self) -> dict:
        return next(json.loads(body) for values, body in self.scripts if values.get("id") == "report-data")
