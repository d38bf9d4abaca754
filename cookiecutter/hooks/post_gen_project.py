"""Removes what the answers leave out, for those who run the cookiecutter tool; `purlin new` does the same by itself."""

import os
import shutil

for path in {{ cookiecutter.__left_out | tojson }}.split():
    if os.path.isdir(path):
        shutil.rmtree(path)
    else:
        os.remove(path)
