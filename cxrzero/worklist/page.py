"""The worklist as one page: what made it, the tools, the list and the film; everything else is its scripts' work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from cxrzero._version import __version__
from cxrzero.display.counts import counted
from cxrzero.display.page import escape, page
from cxrzero.worklist.content import Content
from cxrzero.worklist.table import LeftOut

# In the order in which they run.
SCRIPTS = ("state.js", "list.js", "viewer.js", "reviews.js")
# Pictures lie beside the page, wherever that is opened from.
IMAGES = "'self' file:"

STATES = {"": "all", "open": "not yet", "done": "reviewed", "1": "positive", "0": "negative", "-1": "unsure"}


@dataclass(frozen=True, slots=True)
class About:
    """What is said of the list.

    Attributes:
        title: plain text, as are all others.
        order: in a sentence, what the order is by.
        facts: what made the table, name → value.
        prompts: label → the sentences for and against it.
        warnings: what must be read first.
        left_out: rows that no list has, with paths as the page may show them.
    """

    title: str
    order: str
    facts: Mapping[str, str]
    prompts: Mapping[str, tuple[Sequence[str], Sequence[str]]]
    warnings: Sequence[str]
    left_out: LeftOut


def render(about: About, content: Content) -> str:
    """The whole page."""
    body = f"""<header class="short">
<h1>{escape(about.title)}</h1>
<p class="soft">{escape(about.order)}</p>
<p><span class="device">Research use only. Not a medical device.</span></p>
</header>
<main>
{_warnings(about.warnings)}<section class="printed" id="printed" aria-label="The list on paper"></section>
{_about(about)}
{_tools(content)}
<p class="message" id="message" role="status"></p>
<div class="split">
<section aria-label="Films"><div class="rows" id="rows" role="listbox" aria-label="Films in order" tabindex="0"></div>
<p class="nothing" id="nothing" hidden>No film is like that.</p></section>
{_viewer()}
</div>
</main>
<footer class="unseen">cxrzero {__version__}</footer>
<script type="application/json" id="data">{content.as_json()}</script>"""
    style = _own("page.css")
    return page(about.title, body, wide=True, images=IMAGES, style=style, script="\n".join(map(_own, SCRIPTS)))


def _own(name: str) -> str:
    return files("cxrzero.worklist").joinpath(name).read_text(encoding="utf-8")


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(each)}</li>" for each in warnings)
    return f'<section class="warnings" aria-label="Read this first"><ul>{items}</ul></section>\n'


def _about(about: About) -> str:
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in about.facts.items())
    return f"""<details class="about" id="about"><summary>What made this list, keys, and what was left out</summary>
<dl>{facts}</dl>
{_keys()}{_left_out(about.left_out)}{_prompts(about.prompts)}</details>"""


def _keys() -> str:
    keys = {
        "j k": "next and previous film",
        "p n u": "positive, negative, unsure for the label chosen; once more takes it back",
        "c": "comment (Esc leaves it)",
        "h": "overlay",
        "i": "invert",
        "+ −": "zoom",
        "0": "as it was",
    }
    rows = "; ".join(f"{' '.join(f'<kbd>{key}</kbd>' for key in each.split())} {says}" for each, says in keys.items())
    return (
        f'<div class="keys"><h2>Keys</h2><p>{rows}. Drag over the film: sideways for contrast (window), up and down '
        "for brightness (level); with Shift the film moves; the wheel zooms.</p></div>"
    )


def _left_out(left_out: LeftOut) -> str:
    if not left_out.counts:
        return "<h2>Left out</h2><p>No row of the table was left out.</p>"
    counts = "".join(
        f"<tr><td>{escape(status)}</td><td>{escape(code)}</td><td>{count:,}</td></tr>"
        for (status, code), count in left_out.counts.most_common()
    )
    films = "".join(
        f"<tr><td>{escape(path)}{f', frame {escape(frame)}' if frame else ''}</td><td>{escape(error)}</td></tr>"
        for path, frame, error in left_out.examples
    )
    total = left_out.counts.total()
    more = f"the first {len(left_out.examples)}" if total > len(left_out.examples) else "all of them"
    return (
        f"<h2>Left out: {counted(total, 'row')}</h2><table><thead><tr><th scope='col'>Status</th><th scope='col'>Reason"
        f"</th><th scope='col'>Rows</th></tr></thead><tbody>{counts}</tbody></table>"
        f"<details><summary>Which ones: {more}</summary><table><thead><tr><th scope='col'>Film</th><th scope='col'>Why"
        f"</th></tr></thead><tbody>{films}</tbody></table></details>"
    )


def _prompts(prompts: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> str:
    if not prompts:
        return ""
    rows = "".join(
        f"<tr><th scope='row'>{escape(label)}</th><td>{'<br>'.join(map(escape, positive))}</td>"
        f"<td>{'<br>'.join(map(escape, negative))}</td></tr>"
        for label, (positive, negative) in prompts.items()
    )
    return (
        "<h2>Prompts</h2><table><thead><tr><th scope='col'>Label</th><th scope='col'>For</th><th scope='col'>Against"
        f"</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _tools(content: Content) -> str:
    flags = sorted({flag for film in content.films for flag in film.flags})
    labels = [(str(number), label) for number, label in enumerate(content.labels)]
    sort = [("", "this list's order"), ("study", "study")]
    judged = [*([] if content.is_blind else [("", "what gives the place")]), *labels]
    score = ""
    if not content.is_blind:
        sort += [("name", "path")]
        sort += [(f"{end}{number}", f"{label}, {word} first") for end, word in (("high", "highest"), ("low", "lowest"))
                 for number, label in labels]  # fmt: skip
        score = (
            f"<label>Score of {_select('of', labels)}</label>"
            '<label>at least <input type="number" id="least" min="0" max="1" step="any"></label>'
        )
    flag = [("", "any or none"), ("none", "none"), *((f"={each}", each) for each in flags)]
    return f"""<details class="tools" id="tools" open><summary>Sort, filter, reviews</summary>
<div class="bar" role="group" aria-label="Sort, filter, reviews">
<label>Sort by {_select("sort", sort)}</label>{score}
<label>Flag {_select("flag", flag)}</label><label>Reviews {_select("state", list(STATES.items()))}</label>
<button type="button" id="all-studies" hidden>All studies</button><output id="count" aria-live="polite"></output>
<label>Keys judge {_select("active", judged)}</label>
<label>Reviewer <input id="reviewer" autocomplete="off" size="10"></label>
<button type="button" id="export">Export reviews</button>
<label class="button">Import <input class="unseen" type="file" id="import" accept=".csv,text/csv"></label>
<button type="button" id="forget">Forget draft</button>
</div></details>"""


def _select(name: str, options: Sequence[tuple[str, str]]) -> str:
    inside = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in options)
    return f'<select id="{name}">{inside}</select>'


def _viewer() -> str:
    functions = "".join(f'<feFunc{channel} type="linear" slope="1" intercept="0"/>' for channel in "RGB")
    return f"""<section class="viewer" aria-label="Film">
<div class="bar"><button type="button" id="previous" aria-label="Previous film">←</button>
<button type="button" id="next" aria-label="Next film">→</button>
<button type="button" id="see" aria-pressed="false">Overlay</button>
<button type="button" id="invert" aria-pressed="false">Invert</button>
<button type="button" id="in" aria-label="Zoom in">+</button>
<button type="button" id="out" aria-label="Zoom out">−</button>
<button type="button" id="reset">Reset</button><output id="window-text"></output></div>
<div class="stage" id="stage" tabindex="0" role="group" aria-label="Picture: drag for brightness and contrast">
<svg class="unseen" aria-hidden="true" width="0" height="0"><filter id="window" color-interpolation-filters="sRGB">
<feComponentTransfer>{functions}</feComponentTransfer></filter></svg>
<img id="film" alt="" draggable="false"><img id="overlay" alt="" draggable="false" hidden>
<p class="fault" id="fault"></p>
</div>
<div class="facts" id="facts" role="region" aria-label="What is known of the film" tabindex="0"></div>
</section>"""
