"""Refuses a package name that Cargo or Rust would refuse later, and answers that cannot be together, for those who run
the cookiecutter tool.

`purlin new` does not run this: src/site_name.rs holds the same rules for names, and a test keeps the two together; the rest
is the template's own `__refused`.
"""

import re
import sys

KEYWORDS = """
    abstract as async await become box break const continue crate do dyn else enum extern false final fn for gen if impl
    in let loop macro match mod move mut override priv pub ref return self static struct super trait true try type
    typeof unsafe unsized use virtual where while yield
""".split()
TAKEN = "alloc core proc_macro std test build deps examples incremental purlin serde".split()
DEVICES = ["con", "prn", "aux", "nul"] + [f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)]

slug = {{ cookiecutter.project_slug | tojson }}
refused = {{ cookiecutter.__refused | tojson }}

if not re.fullmatch(r"[a-z][a-z0-9_-]{0,63}", slug):
    sys.exit(f"project_slug cannot be {slug!r}: it takes 1 to 64 lower-case letters, digits, - and _, a letter first")
if slug.replace("-", "_") in KEYWORDS + TAKEN + DEVICES:
    sys.exit(f"project_slug cannot be {slug!r}: the name is taken by Rust, Cargo, Windows or Purlin itself")
if refused:
    sys.exit(refused)
