#!/bin/sh
# Installs Errata for one image: a virtual environment with the pinned versions of constraints.txt.
#   docker/install.sh FOLDER api|generation|worker [cpu|cuda]
# Run it from the source folder. PIP_EXTRA_INDEX_URL, or a wheel that pip finds, decides which build of torch is
# installed. The script fails if it is not the requested one.
set -eu
folder=$1 process=$2 variant=${3:-cpu}
case $process in
  api) what=. ;;
  generation | worker) what='.[model]' ;;
  *) echo "docker/install.sh: unknown process $process: choose api, generation or worker" >&2; exit 2 ;;
esac
case $variant in cpu | cuda) ;; *) echo "docker/install.sh: unknown variant $variant: choose cpu or cuda" >&2; exit 2 ;; esac
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check -c constraints.txt "$what"
if [ "$process" != api ]; then
  "$folder/bin/python" - "$variant" <<'PYTHON'
import sys

import torch

found = "cpu" if torch.version.cuda is None else "cuda"
if found != sys.argv[1]:
    sys.exit(
        f"pip installed the {found} build of torch {torch.__version__}, but {sys.argv[1]} was requested: "
        "set TORCH_INDEX_URL to an index that has it, or build with --build-arg VARIANT=" + found
    )
PYTHON
fi
