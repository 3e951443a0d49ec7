"""Exits with code 0 if the address answers without an error within three seconds: ``healthcheck.py http://127.0.0.1:8000/readyz``."""

import sys
import urllib.error
import urllib.request

try:
    urllib.request.urlopen(sys.argv[1], timeout=3).close()  # noqa: S310 - the image's own address
except (urllib.error.URLError, OSError) as error:
    sys.exit(f"{sys.argv[1]}: {error}")
