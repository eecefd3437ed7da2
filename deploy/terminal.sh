# shellcheck shell=bash
# Speaking, looking, and the one way to change something. Sourced by deploy.sh.

DRY_RUN='' CHANGES=0 ANSWER='' INPUT='' SHOWN=''
SCRATCH=$(mktemp -d)

plain() { # stdin without what moves a terminal's cursor: names in Clockify may hold it
  LC_ALL=C tr -d '\000-\010\013-\037\177' | LC_ALL=C sed $'s/\xc2[\x80-\x9f]//g'
}

say() { printf '%s\n' "$*" | plain; }
die() { printf 'deploy.sh: %s\n' "$*" | plain >&2; exit 1; }

there() { # COMMAND...: run gcloud to read into FOUND; false when it says that nothing is there
  if FOUND=$("$@" 2>"$SCRATCH/complaint"); then return 0; fi
  # An API that is not enabled has nothing in it either, nor has a version that is switched off, nor
  # a region that an API is not in.
  if complains "not.(be.)?found|cannot find|does not exist|SERVICE_DISABLED|is in D[A-Z]+ state" ||
    complains "denied on 'locations/"; then return 1; fi
  plain <"$SCRATCH/complaint" >&2
  die "this command failed: $*"
}

change() { # COMMAND...: print it and run it, or stop with what to do; with --dry-run only print it
  try "$@" || stopped_by "$@"
}

try() { # COMMAND...: the same, but false where it fails; ANSWER is what it prints, INPUT its stdin
  CHANGES=$((CHANGES + 1)) ANSWER=''
  say "+$(printf ' %q' "$@")"
  [[ $DRY_RUN ]] || patiently "$@"
}

# What Google takes for a new right or API: 2 minutes, "potentially 7 minutes or longer".
# https://cloud.google.com/iam/docs/access-change-propagation
patiently() { # COMMAND...: run it, again for up to 8 minutes while what is new is not known yet
  local wait
  for wait in 1 2 3 4 6 6 6 6 6 6 2 0; do
    if attempt "$@"; then return; fi
    if ((!wait)) || ! may_pass; then break; fi
    say "Not yet: $(grep -m 1 . "$SCRATCH/complaint" | cut -c 1-200)"
    say "What is new takes Google up to 8 minutes: once more in $((wait * WAIT_SECONDS)) s."
    sleep $((wait * WAIT_SECONDS))
  done
  if [[ ! $SHOWN ]]; then plain <"$SCRATCH/complaint" >&2; fi
  return 1
}

attempt() { # COMMAND...: run it once; ANSWER is what it prints, $SCRATCH/complaint what it says
  local status=0
  # What takes minutes tells how far it is.
  SHOWN=''
  [[ " $* " != *' deploy '* && " $* " != *' submit '* ]] || SHOWN=1
  "$@" < <(printf '%s' "$INPUT") 2>&1 >"$SCRATCH/answer" | tee "$SCRATCH/complaint" |
    if [[ $SHOWN ]]; then cat >&2; else cat >/dev/null; fi
  status=${PIPESTATUS[0]}
  ANSWER=$(<"$SCRATCH/answer")
  if ((!status)) && [[ ! $SHOWN ]]; then plain <"$SCRATCH/complaint" >&2; fi
  return "$status"
}

may_pass() { # whether the last complaint is about a right, or about what is not there (yet)
  complains 'permission|does not have .*access|not.(be.)?found|cannot find|does not exist|not been used' &&
    ! complains 'constraint|organization policy|build failed|invoker_iam|unrecognized arguments'
}

complains() { grep -qiE "$1" "$SCRATCH/complaint"; }

stopped_by() { # COMMAND...: say in one sentence what to do about what Google said above
  if complains 'build failed'; then
    die "the build failed, nothing was deployed, and what served before serves on: the build's log" \
      "is at the address above."
  elif complains 'cannot run builds in this region'; then
    die "this project may not build in $REGION: take another --region, such as us-central1."
  elif complains 'constraint|organization policy|permitted customer'; then
    die "your organisation's policy forbids this, by the constraint that stands above: have its" \
      "administrator exempt project $PROJECT."
  elif may_pass; then
    die "Google says so for 8 minutes now: give yourself or the account above what is missing, and" \
      "run the same command again."
  fi
  die "this command failed, for the reason above: $*"
}

finish() {
  local status=$?
  rm -rf "$SCRATCH"
  if ((status && CHANGES)) && [[ ! $DRY_RUN ]]; then
    say "Stopped half-way: what has been made stays, the same command goes on." >&2
  fi
}
trap finish EXIT
