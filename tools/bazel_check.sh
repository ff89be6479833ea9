#!/usr/bin/env bash
# Checks BUILD and MODULE.bazel for real: buildifier, then Bazel's query and build, and two tests of core as a
# sample (`make test` runs them all).
#
# Runs without a network once the two programs are there. They come from npm, pinned with their digests in
# tools/bazel/package-lock.json. That Bazel (2.1.0) is the last one that npm carries whole; it predates
# MODULE.bazel, so the external repositories are replaced: @rules_python by Bazel's own rules, @pypi by empty
# libraries, one for each package of requirements.lock. What is proven is the graph: every label resolves,
# nothing invisible is used, and a test sees only the layers it declares.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly cache="$PWD/.cache/bazel"
readonly npm_root="$cache/npm" workspace="$cache/workspace" stubs="$cache/stubs" output="$cache/output"
readonly buildifier="$npm_root/node_modules/@bazel/buildifier/buildifier-linux_amd64"
readonly bazel="$npm_root/node_modules/@bazel/bazel-linux_x64/bazel-2.1.0-linux-x86_64"

fail() {
  echo "Bazel check failed: $*" >&2
  exit 1
}

install_programs() {
  local wanted='tools/bazel/package-lock.json'
  # npm writes its own copy of the lock last.
  if [[ -x "$buildifier" && -x "$bazel" ]] && cmp --silent "$wanted" "$npm_root/package-lock.json"; then
    return
  fi
  command -v npm > /dev/null ||
    fail 'npm is not on this machine, and Bazel and buildifier come from it; install Node.js 20 with npm'
  rm -rf "$npm_root"
  mkdir -p "$npm_root"
  cp tools/bazel/package.json "$wanted" "$npm_root"
  npm ci --prefix "$npm_root" --ignore-scripts --no-audit --no-fund --loglevel=error > "$cache/npm.log" 2>&1 || {
    cat "$cache/npm.log" >&2
    rm -rf "$npm_root"
    fail 'npm could not install the two packages of tools/bazel/package.json (its message is above)'
  }
}

# A folder that is a Bazel workspace named $1, with the BUILD text from standard input.
stub_repository() {
  mkdir -p "$stubs/$1"
  echo "workspace(name = \"$1\")" > "$stubs/$1/WORKSPACE"
  cat > "$stubs/$1/BUILD"
}

# Forwards the rules named after $2 in the file $1 to those that are built into Bazel 2.
stub_rules() {
  local file="$1" rule
  shift
  mkdir -p "$(dirname "$file")"
  touch "$(dirname "$file")/BUILD"
  for rule in "$@"; do
    printf 'def %s(**kwargs):\n    native.%s(tags = kwargs.pop("tags", []) + [%s], **kwargs)\n\n' \
      "$rule" "$rule" '"__PYTHON_RULES_MIGRATION_DO_NOT_USE_WILL_BREAK__", "__CC_RULES_MIGRATION_DO_NOT_USE_WILL_BREAK__", "__JAVA_RULES_MIGRATION_DO_NOT_USE_WILL_BREAK__"'
  done > "$file"
}

make_stubs() {
  local name
  rm -rf "$stubs"
  stub_repository rules_python < /dev/null
  stub_rules "$stubs/rules_python/python/defs.bzl" py_binary py_library py_test
  stub_repository rules_cc < /dev/null
  stub_rules "$stubs/rules_cc/cc/defs.bzl" cc_binary cc_import cc_library cc_test cc_toolchain cc_toolchain_suite
  stub_repository rules_java < /dev/null
  stub_rules "$stubs/rules_java/java/defs.bzl" java_binary java_import java_library java_plugin java_test \
    java_toolchain java_runtime java_package_configuration
  stub_repository remote_coverage_tools <<< \
    'filegroup(name = "coverage_report_generator", visibility = ["//visibility:public"])'
  mkdir -p "$stubs/remote_coverage_tools/tools" && touch "$stubs/remote_coverage_tools/tools/BUILD"
  stub_repository pypi < /dev/null
  for name in $(grep -ohE '^[a-z0-9._-]+==' requirements.lock | sort -u | tr -d = | tr '.-' '__'); do
    mkdir -p "$stubs/pypi/$name"
    echo "py_library(name = \"$name\", visibility = [\"//visibility:public\"])" > "$stubs/pypi/$name/BUILD"
  done
}

# The repository as Bazel sees it: links to what BUILD may name, so that .venv and runs/ are not searched and no
# WORKSPACE file or bazel-* link appears in the repository itself.
make_workspace() {
  local entry
  rm -rf "$workspace"
  mkdir -p "$workspace"
  touch "$workspace/WORKSPACE"
  for entry in *; do
    case "$entry" in
      runs | bazel-* | *.egg-info | MODULE.bazel) ;;
      *) ln -s "$PWD/$entry" "$workspace/$entry" ;;
    esac
  done
}

run_bazel() {
  local command="$1" name
  shift
  local -a overrides=()
  for name in rules_python rules_cc rules_java remote_coverage_tools pypi; do
    overrides+=("--override_repository=$name=$stubs/$name")
  done
  (cd "$workspace" && "$bazel" --batch --output_user_root="$output" --nohome_rc --nosystem_rc "$command" \
    "${overrides[@]}" --noshow_progress --color=no "$@") 2> "$cache/$command.log" || {
    cat "$cache/$command.log" >&2
    fail "bazel $command $*"
  }
}

main() {
  mkdir -p "$cache"
  install_programs
  "$buildifier" --mode=check --lint=warn --warnings=all BUILD MODULE.bazel ||
    fail "buildifier; to fix the layout: $buildifier BUILD MODULE.bazel"
  make_stubs
  make_workspace
  trap 'chmod -R u+w "$output" 2> /dev/null; rm -rf "$output" "$workspace" "$stubs"' EXIT
  local targets tests
  targets="$(run_bazel query //... | wc -l)"
  run_bazel build --spawn_strategy=local //...
  tests="$(run_bazel query 'attr(name, "^tests_core_(errors|files)_test$", tests(//...))')"
  [[ -n "$tests" ]] || fail 'BUILD does not declare the tests of core/errors.py and core/files.py'
  # shellcheck disable=SC2086
  run_bazel test --spawn_strategy=local --test_output=errors --test_env=PATH $tests
  echo "Bazel: $targets targets resolve and build; $(wc -w <<< "$tests") test(s) of core pass with their declared files"
}

main
