# shellcheck shell=bash
# shellcheck disable=SC2034 # some of it is for those who source this alone
# What several scripts need. Sourced, not run.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Outside the checkout, so that a fresh clone starts warm and `git clean` costs nothing.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/parlance
tools=$cache/tools
# This project's pinned tools win over the machine's own.
PATH=$tools/bin:$PATH

say() { echo "${0##*/}: $*" >&2; }
die() { say "$@"; exit 1; }
has() { command -v "$1" >/dev/null; }

# The directory of Postgres's server programs. Debian and Homebrew keep them off PATH, so that
# several versions can live side by side; the newest one wins.
postgres_bin() {
  if has initdb && has postgres; then
    dirname "$(command -v initdb)"
    return
  fi
  local dir newest=
  for dir in /usr/lib/postgresql/*/bin {/opt/homebrew,/usr/local}/opt/postgresql@*/bin; do
    if [[ -x $dir/initdb && -x $dir/postgres ]]; then newest=$dir; fi
  done
  [[ -n $newest ]] && echo "$newest"
}

# ClamAV's daemon, which Debian and Homebrew keep off PATH.
clamd_program() {
  local program
  for program in "$(command -v clamd || true)" /usr/sbin/clamd {/opt/homebrew,/usr/local}/sbin/clamd; do
    if [[ -x $program ]]; then
      echo "$program"
      return
    fi
  done
  return 1
}
