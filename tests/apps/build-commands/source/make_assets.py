import os
import pathlib

import tiny_web

pathlib.Path("static").mkdir()
pathlib.Path("static/site.css").write_text(f"/* {tiny_web.VERSION} {os.environ['THEME']} */\n" + "a { color: red }\n" * 500)
