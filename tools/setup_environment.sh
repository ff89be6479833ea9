#!/usr/bin/env bash
# Makes the project's virtual environment from requirements.lock. Called by the Makefile, from the project's root:
#
#   tools/setup_environment.sh VENV [PYTHON]
#   LOCK=requirements-beam.lock tools/setup_environment.sh VENV [PYTHON]
#
# VENV is the folder to make, PYTHON the interpreter to make it with (default: python3.11, else python3).
# A half-made environment is thrown away and made again; a whole one is kept, and only the project's own
# metadata is refreshed. The whole one is known by its copy of the lock, which is written last.
set -euo pipefail

readonly needed='3.11'
readonly venv="$1"
readonly asked="${2:-}"
readonly lock="${LOCK:-requirements.lock}"
readonly installed="$venv/requirements.lock"
# Packages needed to install the rest, from the same lock. Two dependencies are published as source only; they are
# built in the environment itself, because an isolated build would fetch the newest build tools of the day.
readonly installers='packaging|setuptools|setuptools-scm|typing-extensions|uv|vcs-versioning|wheel'

# An environment that is on PATH, activated or by the Makefile, must not become its own parent.
here="$(realpath --canonicalize-missing "$venv")/bin"
PATH=":$PATH:"
PATH="${PATH//":$here:"/:}"
PATH="${PATH#:}"
export PATH="${PATH%:}"

fail() {
  echo "Set-up failed: $*" >&2
  exit 1
}

# Prints the version of the interpreter $1, or nothing when it does not run.
version_of() {
  "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null || true
}

# Prints the interpreter to use; fails with one line that names what was found.
find_python() {
  local candidate version found=''
  local -a candidates=(python3.11 python3)
  [[ -n "$asked" ]] && candidates=("$asked")
  for candidate in "${candidates[@]}"; do
    version="$(version_of "$candidate")"
    if [[ "$version" == "$needed".* ]]; then
      echo "$candidate"
      return
    fi
    [[ -n "$version" ]] && found="${found:+$found, }$version ($candidate)"
  done
  fail "Python $needed is needed, found ${found:-none (tried ${candidates[*]})};" \
    "install it, or name it: make PYTHON=/path/to/python$needed"
}

install_lock() {
  local python="$1"
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python has no venv module; on Debian and Ubuntu: apt install python$needed-venv"
  echo "Installing the environment into $venv (about a minute, once) ..."
  rm -rf "$venv"
  "$python" -m venv "$venv"
  awk -v "names=^($installers)==" '/^[a-z]/ {keep = $1 ~ names} keep' "$lock" > "$venv/installers.lock"
  # Byte code is left to the first import: compiling all of the 150 packages costs more than it saves.
  local -a pip=("$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-compile --no-deps)
  local -a locked=(--no-build-isolation --require-hashes --requirement)
  "${pip[@]}" "${locked[@]}" "$venv/installers.lock" ||
    fail 'pip could not install the first packages (its message is above)'
  # uv does not read pip's settings (mirrors, certificates); where they are needed, pip does it, more slowly.
  if ! "$venv/bin/uv" pip install --python "$venv/bin/python" "${locked[@]}" "$lock" 2> "$venv/uv.log"; then
    echo 'uv could not do it; trying pip, which takes about two minutes ...'
    "${pip[@]}" "${locked[@]}" "$lock" ||
      fail "pip could not install $lock (its message is above); when that is fixed, run make again"
  fi
  cp "$lock" "$installed"
}

[[ "$(uname -sm)" == 'Linux x86_64' ]] ||
  fail "$lock is made for Linux x86_64, this machine is $(uname -sm); see CONTRIBUTING.md, Versions"
python="$(find_python)"
if ! cmp --silent "$lock" "$installed" || [[ -z "$(version_of "$venv/bin/python")" ]]; then
  install_lock "$python"
fi
"$venv/bin/python" -m pip install -qq --disable-pip-version-check \
  --no-deps --no-build-isolation --editable . ||
  fail 'pip could not install this project (its message is above)'
"$venv/bin/uv" pip check --quiet --python "$venv/bin/python" ||
  fail 'the packages contradict each other (the message is above); to start over: make clean setup'
"$venv/bin/python" tools/check_environment.py
