#!/bin/sh
# What the images install: one virtual environment with the pinned versions of constraints.txt.
#   docker/install.sh FOLDER api|generation|worker [cpu|cuda]
# Run from the source folder. PIP_EXTRA_INDEX_URL, or a wheel that pip finds, decides which build of torch comes; the
# build is refused unless it is the one that was asked for.
set -eu
folder=$1 process=$2 variant=${3:-cpu}
case $process in
  api) what=. ;;
  generation | worker) what='.[model]' ;;
  *) echo "docker/install.sh: there is no process $process: api, generation or worker" >&2; exit 2 ;;
esac
case $variant in cpu | cuda) ;; *) echo "docker/install.sh: there is no variant $variant: cpu or cuda" >&2; exit 2 ;; esac
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check -c constraints.txt "$what"
if [ "$process" != api ]; then
  "$folder/bin/python" - "$variant" <<'PYTHON'
import sys

import torch

found = "cpu" if torch.version.cuda is None else "cuda"
if found != sys.argv[1]:
    sys.exit(
        f"this is the {found} build of torch {torch.__version__}, and {sys.argv[1]} was asked for: "
        "give the index that has it by TORCH_INDEX_URL, or build with --build-arg VARIANT=" + found
    )
PYTHON
fi
