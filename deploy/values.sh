# shellcheck shell=bash
# Secret values: in variables of this shell only, from a file, a prompt or gcloud's stdout, and what
# is chosen with them. Sourced by deploy.sh.

# A name that came with the environment would be passed on to every command, with its new value.
unset TOKEN CREDENTIALS SIGNING_SECRETS API_KEY STORED_KEY FOUND ANSWER INPUT typed now found kept key
ANSWER='' INPUT='' STORED_KEY='' SKIP_WEBHOOKS=''

command_of() { # NAME OPTION...: run one of the project's own commands, not the current folder's (-P)
  PYTHONPATH=$HERE "$PYTHON" -P -m "commands.$1" "${@:2}"
}

value_of() { # KIND FILE QUESTION: print the checked value, or stop with what is wrong with it
  local typed
  if [[ ! $2 ]]; then return; fi
  if [[ $2 != - ]]; then
    [[ -r $2 && ! -d $2 ]] || die "cannot read the file '$2'."
    command_of secret_values "$1" <"$2"
  elif [[ -t 0 ]]; then
    IFS= read -rsp "$3: " typed || true
    printf '\n' >&2
    if [[ ! $typed && $1 == clockify-api-key ]]; then return; fi
    command_of secret_values "$1" < <(printf '%s' "$typed")
  else
    command_of secret_values "$1"
  fi
}

read_values() { # what is given, before anything is asked of Google
  CREDENTIALS=$(value_of salesforce-credentials "$CREDENTIALS_FILE" "Salesforce's JSON")
  SIGNING_SECRETS=$(value_of signing-secrets "$SECRETS_FILE" "A webhook's signing secret")
  API_KEY=$(value_of clockify-api-key "$API_KEY_FILE" "Clockify API key")
}

is_secret() { grep -qxF "$1" <<<"$(cut -f 1 <<<"$SECRETS")"; }

has_value() { # SECRET: true when its newest version can be read
  is_secret "$1" && there gcloud secrets versions describe latest --secret="$1" \
    --format='value(state)' && [[ $FOUND == ENABLED || $FOUND == enabled ]]
}

current_value() { # SECRET: print what its newest version holds, nothing if there is none
  if is_secret "$1" && there gcloud secrets versions access latest --secret="$1"; then
    printf '%s' "$FOUND"
  fi
}

ask_for_missing() { # what neither is given nor was stored by an earlier run
  if [[ ! $CREDENTIALS ]] && ! has_value "$CREDENTIALS_NAME"; then
    [[ -t 0 ]] ||
      die "the Salesforce credentials are missing: give --salesforce-credentials-file."
    say 'Salesforce: {"domain": "acme.my", "consumer_key": "...", "consumer_secret": "..."}'
    CREDENTIALS=$(value_of salesforce-credentials - "Paste your JSON as one line")
  fi
  if [[ ! $API_KEY$STORED_KEY$SIGNING_SECRETS && -t 0 ]] && ! has_value "$SIGNING_SECRETS_NAME"
  then
    API_KEY=$(value_of clockify-api-key - "Clockify API key (Enter: none, and webhooks by hand)")
  fi
}

choose() { # whether the API key is kept and the repair is set up: as now, as earlier, or yes
  local asked=$KEEP_API_KEY$NIGHTLY
  if [[ $NIGHTLY == yes ]]; then KEEP_API_KEY=yes; fi
  KEEP_API_KEY=${KEEP_API_KEY:-$(live label.keep-api-key)}
  NIGHTLY=${NIGHTLY:-$(live label.nightly-repair)}
  KEEP_API_KEY=${KEEP_API_KEY:-yes} NIGHTLY=${NIGHTLY:-yes}
  if [[ $KEEP_API_KEY == no ]]; then NIGHTLY=no; fi
  if [[ $KEEP_API_KEY == yes ]]; then STORED_KEY=$(current_value "$API_KEY_NAME"); fi
  if [[ ! $DRY_RUN ]]; then ask_for_missing; fi
  [[ $asked != *yes* || $API_KEY$STORED_KEY ]] ||
    die "the Clockify API key is missing: give --clockify-api-key-file."
  choose_kinds
  can_ask_clockify
}

wants_kinds() { [[ $WITH && $WITH != none ]]; }

choose_kinds() { # WITH: the kinds beside time entries, as now or as earlier; DROPPED: no longer
  local each before
  before=$(live label.with)
  before=${before//_/,} DROPPED=''
  WITH=${WITH:-$before}
  for each in ${before//,/ }; do
    if [[ $each != none && ",$WITH," != *",$each,"* ]]; then DROPPED+=${DROPPED:+,}$each; fi
  done
}

keeps_key() { [[ $KEEP_API_KEY == yes && $API_KEY$STORED_KEY ]]; }
repairs() { [[ $NIGHTLY == yes ]] && keeps_key; }

can_ask_clockify() { # commands.webhooks needs a package
  if [[ ! $API_KEY$STORED_KEY ]] || "$PYTHON" -c 'import requests' 2>/dev/null; then return; fi
  [[ ! $API_KEY ]] ||
    die "to create webhooks, Python needs 'requests': run  python3 -m venv $HERE/.venv &&" \
      "$HERE/.venv/bin/pip install requests"
  say "! Clockify's webhooks are not compared: Python has no 'requests'."
  SKIP_WEBHOOKS=1
}

# The workspace of the first run is MAIN; each of the OTHERS has jobs, and at need a key, of its own.
choose_workspaces() {
  local each
  MAIN=$(column "$SECRETS" "$API_KEY_NAME" 2) OTHERS=''
  MAIN=${MAIN:-$(column "$JOBS" "$SERVICE-repair" 2)}
  if [[ $API_KEY$STORED_KEY && ! $WORKSPACE ]] && [[ $API_KEY || ! $MAIN ]]; then
    WORKSPACE=$(command_of webhooks --find-workspace ${MAIN:+--preferred="$MAIN"} \
      < <(printf '%s\n' "${API_KEY:-$STORED_KEY}"))
    [[ ! $MAIN || $WORKSPACE == "$MAIN" ]] ||
      die "this API key sees workspace $WORKSPACE and not $MAIN, which is set up here: to have both," \
        "add --workspace $WORKSPACE."
  fi
  MAIN=${MAIN:-$WORKSPACE}
  for each in $(cut -f 2 <<<"$JOBS" | sort -u) "$WORKSPACE"; do
    if [[ $each != "$MAIN" && " $OTHERS " != *" $each "* ]]; then OTHERS+=" $each"; fi
  done
}

suffix_of() { # WORKSPACE: what the names of its parts end with
  if [[ $1 != "$MAIN" ]]; then printf -- '-%s' "${1: -8}"; fi
}

key_name_of() { # WORKSPACE: print the name of the secret that holds its API key
  local own=$API_KEY_NAME$(suffix_of "$1")
  if is_secret "$own" || { [[ $1 == "$WORKSPACE" ]] && gives_other_key; }; then
    printf '%s' "$own"
  else
    printf '%s' "$API_KEY_NAME"
  fi
}

gives_other_key() { [[ $API_KEY && $API_KEY != "$STORED_KEY" ]]; }

key_of() { # WORKSPACE: print its API key
  if [[ $API_KEY && $1 == "${WORKSPACE:-$MAIN}" ]]; then
    printf '%s' "$API_KEY"
  elif [[ $(key_name_of "$1") == "$API_KEY_NAME" ]]; then
    printf '%s' "$STORED_KEY"
  else
    current_value "$(key_name_of "$1")"
  fi
}
