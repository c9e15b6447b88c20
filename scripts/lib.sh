# shellcheck shell=bash
# shellcheck disable=SC2034 # scripts that source this file use the variables
# Variables and functions that several scripts share. Source this file, do not run it.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Outside the checkout, so that a fresh clone and a `git clean` keep the cache.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/parlance
tools=$cache/tools
# The project's pinned tools take precedence over the machine's.
PATH=$tools/bin:$PATH

say() { echo "${0##*/}: $*" >&2; }
die() { say "$@"; exit 1; }
has() { command -v "$1" >/dev/null; }

# Prints the directory of Postgres' server programs: that on PATH, or else the newest that Debian or Homebrew installed.
# They are not on PATH there, because several versions can be installed.
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

# Prints the path of ClamAV's daemon. Debian and Homebrew install it outside of PATH.
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

# Prints the path of PgBouncer. Debian installs it outside of the PATH of ordinary users.
pgbouncer_program() {
  local program
  for program in "$(command -v pgbouncer || true)" /usr/sbin/pgbouncer {/opt/homebrew,/usr/local}/bin/pgbouncer; do
    if [[ -x $program ]]; then
      echo "$program"
      return
    fi
  done
  return 1
}
