"""The dashboard: plain files under `static/`, served by `gateway/routes/dashboard.py`. There is no build step.

`index.html` loads `app.js`, which shows one view of `views/` at a time; a view draws with `dom.js` and the parts of
`components/`, and speaks to the admin API through `api.js`. What models and users wrote is text to every one of them:
nothing here makes markup of a string.
"""

from pathlib import Path

STATIC = Path(__file__).parent / "static"
