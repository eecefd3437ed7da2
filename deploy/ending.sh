# shellcheck shell=bash
# What the person hears in the end. Sourced by deploy.sh.

end_dry_run() {
  say "Nothing was changed. Commands that would change something: $CHANGES."
}

tell_the_end() {
  if ((!CHANGES)); then say "Nothing differed, nothing was changed."; fi
  say ""
  say "The URL for Clockify's webhooks:"
  say "  $URL"
  if ! keeps_key; then
    say "Without a stored API key people are not found by their e-mail address, and nothing is"
    say "repaired at night; to have both: ./deploy.sh --clockify-api-key-file FILE"
  fi
  say "People, clients and projects that do not find their Salesforce record by themselves:"
  say "  $PYTHON -m commands.match_records --help"
}

check_all() { # the project's own check of the whole installation, where its packages are installed
  local pair settings=()
  if [[ ! $CHECK || ! -f $HERE/commands/check.py ]]; then return; fi
  if ! "$PYTHON" -c 'import google.cloud.secretmanager, simple_salesforce' 2>/dev/null; then
    say "To check that all works: $PYTHON -m pip install -r requirements.txt, then ./deploy.sh again."
    return
  fi
  while IFS= read -r pair; do settings+=("$pair"); done <<<"$(settings_for "$API_KEY_NAME")"
  say ""
  env "${settings[@]}" PYTHONPATH="$HERE" "$PYTHON" -P -m commands.check \
    --project="$PROJECT" --region="$REGION" --service="$SERVICE" ${MAIN:+--workspace="$MAIN"}
}
