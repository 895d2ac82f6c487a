"""A self-contained HTML page of tables, notes and pictures: it opens offline and loads nothing.

All text is escaped, since names of problems and runs may come from anywhere.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment

TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 sans-serif; margin: 1.5em auto; max-width: 70em; padding: 0 1em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #8888; padding: .2em .8em; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
img { background: white; height: auto; max-width: 100%; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% for section in sections %}
<section>
{% if section.title %}<h2>{{ section.title }}</h2>{% endif %}
{% if section.table %}
<div class="wide" tabindex="0" role="region" aria-label="{{ section.title or title }}">
<table>
<thead><tr>{% for cell in section.table[0] %}<th scope="col">{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>
{% for line in section.table[1:] %}
<tr>{% for cell in line %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endif %}
{% if section.picture %}
<img src="data:image/png;base64,{{ section.picture }}" alt="{{ section.alt }}">
{% endif %}
{% if section.notes %}
<ul>
{% for note in section.notes %}<li>{{ note }}</li>
{% endfor %}
</ul>
{% endif %}
</section>
{% endfor %}
</body>
</html>
"""


@dataclass(frozen=True)
class Section:
    """A part of the page; what is empty is left out."""

    title: str = ""
    table: Sequence[Sequence[str]] = ()  # headings, then rows
    notes: Sequence[str] = ()
    png: bytes = b""
    alt: str = ""  # what the picture shows, for those who do not see it

    @property
    def picture(self) -> str:
        return base64.b64encode(self.png).decode()


def html_page(title: str, sections: Sequence[Section]) -> str:
    """The page as text."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE).render(title=title, sections=sections) + "\n"
