import os
import pathlib

pathlib.Path("figures").mkdir()
pathlib.Path("figures/one.svg").write_text(os.environ["THEME"])
