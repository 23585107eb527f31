# SPDX-License-Identifier: Apache-2.0
# Shared by scripts/test and scripts/demo; to be sourced by bash, from the top of the project.

say() { echo "==> $*" >&2; }
die() { echo "$(basename "$0"): $*" >&2; exit 1; }

# The python3 that makes .venv: $PYTHON, or the one on PATH if it will do, or the system's.
find_python() {
    local python
    for python in "${PYTHON:-python3}" /usr/bin/python3; do
        if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
            echo "$python"
            return
        fi
    done
    die "needs Python 3.11 or newer with venv; on Debian: sudo apt-get install python3 python3-venv"
}

# ensure_venv EXTRA... : .venv holds the project (editable) with these extras, in the versions of constraints.txt.
# A note of what was installed makes this a no-op until pyproject.toml or constraints.txt change. The note is written
# last, so an installation that broke off is done again; two scripts that start at once wait for each other.
ensure_venv() {
    local extras extra note python
    extras=$(IFS=,; echo "$*")
    exec 9> .venv.lock
    flock 9
    # A venv dies with the Python that made it, and when its folder is moved.
    if ! .venv/bin/python -c pass 2> /dev/null || ! grep -qF "$PWD/.venv" .venv/bin/activate; then
        say "making .venv"
        python=$(find_python)
        "$python" -m venv --clear .venv
    fi
    note=$(cat pyproject.toml constraints.txt | sha256sum | cut -d' ' -f1)
    for extra in "$@"; do
        if [ "$(cat ".venv/ade-$extra" 2> /dev/null)" != "$note" ]; then
            say "installing ade-hpc[$extras] into .venv (about 1.5 GB; a minute or two the first time)"
            .venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[$extras]" < /dev/null
            for extra in "$@"; do echo "$note" > ".venv/ade-$extra"; done
            break
        fi
    done
    exec 9>&-
}
