"""What stands on a page."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """The tags, the visible text and the scripts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        inside = self.tags[-1][0] if self.tags else ""
        (self.scripts if inside in ("script", "style") else self.words).append(data)
