"""The tests of olmOCR-Bench: each says yes or no to the markdown of a page.

Definitions are those of allenai/olmocr (Apache-2.0), olmocr/bench/tests.py and table_parsing.py at commit dc802aa; what
they accept is kept, also where it is odd, as scores would not compare otherwise. The code is our own.
"""
